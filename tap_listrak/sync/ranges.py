"""The range of dates that a run asks a stream for. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from tap_listrak.config import Config
from tap_listrak.sync.state import BookmarkScope, RangeProgress, StreamProgress, version_at
from tap_listrak.sync.turns import TurnOptions


class RangeReason(Enum):
    """Why a stream's range is what it is."""

    NEW = "new"
    RESUMED = "resumed"
    ALREADY_COMPLETE = "already complete"
    EARLIER_START_DATE = "earlier start_date"
    TEST_MESSAGES_ADDED = "test messages added"
    TIMEZONE_CHANGED = "timezone changed"
    MIRROR_CHANGED = "mirror changed"


# What the user is told of a range that is not simply the next one.
WARNINGS = {
    RangeReason.EARLIER_START_DATE: "start_date is earlier than before: all of %s since then is "
    "asked for.",
    RangeReason.TEST_MESSAGES_ADDED: "include_test_messages is on now: all of %s since start_date "
    "is asked for.",
    RangeReason.TIMEZONE_CHANGED: "timezone has changed: the unfinished range of %s begins anew.",
    RangeReason.MIRROR_CHANGED: "mirror has changed: all of %s since start_date is asked for.",
}


class RangePlan(NamedTuple):
    """What a stream is to be asked for in this run, and why; no range where it is nothing."""

    range: RangeProgress | None
    scope: BookmarkScope | None
    reason: RangeReason


def start_behind(
    bookmark: datetime, start_date: datetime, end: datetime, lookback: timedelta
) -> datetime:
    """Return the start of a range up to `end` that goes on from a bookmark, less the lookback."""
    return max(min(bookmark, end), start_date + lookback) - lookback


def plan_range(
    progress: StreamProgress, config: Config, end: datetime, *, is_resuming: bool
) -> RangePlan:
    """Plan the range of one stream up to the run's `end`.

    A run that resumes an unfinished range asks nothing of a stream that was asked up to its end
    already. An unfinished range is taken up where it stopped, unless it is too narrow now.
    """
    unfinished, scope = progress.range, progress.scope
    if not unfinished and _is_complete(progress, config, end, is_resuming=is_resuming):
        return RangePlan(None, scope, RangeReason.ALREADY_COMPLETE)
    whole = _whole_range(progress, config, end)
    start_date, with_tests = whole.start_date, whole.include_test_messages
    known = unfinished or scope
    reason = RangeReason.NEW
    if known and start_date < known.start_date:
        reason = RangeReason.EARLIER_START_DATE
    elif known and with_tests and not known.include_test_messages:
        reason = RangeReason.TEST_MESSAGES_ADDED
    elif unfinished and unfinished.is_mirrored != whole.is_mirrored:
        reason = RangeReason.MIRROR_CHANGED
    if reason is not RangeReason.NEW:
        return RangePlan(whole, BookmarkScope(start_date, frozenset(), with_tests), reason)
    if unfinished and unfinished.timezone in (None, whole.timezone):
        return RangePlan(_resumed(progress, unfinished, whole), scope, RangeReason.RESUMED)
    if unfinished:
        # Its checkpoint and pages are those of other instants.
        reason = RangeReason.TIMEZONE_CHANGED
    if progress.bookmark and not whole.is_mirrored:
        start = None  # each message has its own
        if not progress.turns or progress.turns.options != whole.turn_options:
            lookback = timedelta(days=config.lookback_days)
            start = start_behind(progress.bookmark, start_date, end, lookback)
        whole = whole._replace(start=start)
    return RangePlan(whole, scope, reason)


def _is_complete(
    progress: StreamProgress, config: Config, end: datetime, *, is_resuming: bool
) -> bool:
    """Tell whether a stream was asked up to `end` already."""
    if progress.stream.name in config.mirror and (progress.version or 0) >= version_at(end):
        return True
    return bool(is_resuming and progress.last_end and progress.last_end >= end)


def _whole_range(progress: StreamProgress, config: Config, end: datetime) -> RangeProgress:
    """Return the range of all that there is since start_date."""
    turn_options = None
    if progress.stream.takes_turns and config.recent_days is not None:
        turn_options = TurnOptions(config.recent_days, config.older_every_days)
    return RangeProgress(
        config.start_date,
        config.start_date,
        end,
        config.include_test_messages,
        str(config.timezone.zone),
        config.interval_days,
        is_mirrored=progress.stream.name in config.mirror,
        turn_options=turn_options,
    )


def _resumed(
    progress: StreamProgress, unfinished: RangeProgress, whole: RangeProgress
) -> RangeProgress:
    """Return an unfinished range under the config of now: no more is asked, so none claimed."""
    resumed = unfinished._replace(
        start_date=max(unfinished.start_date, whole.start_date),
        include_test_messages=unfinished.include_test_messages and whole.include_test_messages,
        interval_days=whole.interval_days,
    )
    has_other_windows = (
        unfinished.interval_days not in (None, whole.interval_days)
        or resumed.start_date != unfinished.start_date
    )
    if has_other_windows and (progress.stream.is_by_message or not progress.stream.is_paged):
        # Messages come in another order, so its checkpoint says nothing: that list begins anew.
        resumed = resumed._replace(checkpoint=None)
    return resumed
