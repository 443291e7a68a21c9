"""The range of dates that a run asks a stream for. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from tap_listrak.config import Config
from tap_listrak.sync.state import BookmarkScope, RangeProgress, StreamProgress


class RangeReason(Enum):
    """Why a stream's range is what it is."""

    NEW = "new"
    RESUMED = "resumed"
    ALREADY_COMPLETE = "already complete"
    EARLIER_START_DATE = "earlier start_date"
    TEST_MESSAGES_ADDED = "test messages added"
    TIMEZONE_CHANGED = "timezone changed"


# What the user is told of a range that is not simply the next one.
WARNINGS = {
    RangeReason.EARLIER_START_DATE: "start_date is earlier than before: all of %s since then is "
    "asked for.",
    RangeReason.TEST_MESSAGES_ADDED: "include_test_messages is on now: all of %s since start_date "
    "is asked for.",
    RangeReason.TIMEZONE_CHANGED: "timezone has changed: the unfinished range of %s begins anew.",
}


class RangePlan(NamedTuple):
    """What a stream is to be asked for in this run, and why; no range where it is nothing."""

    range: RangeProgress | None
    scope: BookmarkScope | None
    reason: RangeReason


def plan_range(
    progress: StreamProgress, config: Config, end: datetime, *, is_resuming: bool
) -> RangePlan:
    """Plan the range of one stream up to the run's `end`.

    A run that resumes an unfinished range asks nothing of a stream whose bookmark stands at its end
    already. An unfinished range is taken up where it stopped, unless it is too narrow now.
    """
    start_date, lookback = config.start_date, timedelta(days=config.lookback_days)
    with_tests, zone = config.include_test_messages, str(config.timezone.zone)
    unfinished, scope = progress.range, progress.scope
    if is_resuming and not unfinished and progress.bookmark and progress.bookmark >= end:
        return RangePlan(None, scope, RangeReason.ALREADY_COMPLETE)
    whole = RangeProgress(start_date, start_date, end, with_tests, zone, config.interval_days)
    known = unfinished or scope
    reason = RangeReason.NEW
    if known and start_date < known.start_date:
        reason = RangeReason.EARLIER_START_DATE
    elif known and with_tests and not known.include_test_messages:
        reason = RangeReason.TEST_MESSAGES_ADDED
    if reason is not RangeReason.NEW:
        return RangePlan(whole, BookmarkScope(start_date, frozenset(), with_tests), reason)
    if unfinished and unfinished.timezone in (None, zone):
        # From here on no more is asked than the config says, so no more may be claimed.
        resumed = unfinished._replace(
            start_date=max(unfinished.start_date, start_date),
            include_test_messages=unfinished.include_test_messages and with_tests,
            interval_days=config.interval_days,
        )
        has_other_windows = (
            unfinished.interval_days not in (None, config.interval_days)
            or resumed.start_date != unfinished.start_date
        )
        if has_other_windows and not progress.stream.is_by_list:
            # Messages come in another order, so its checkpoint says nothing: that list begins anew.
            resumed = resumed._replace(checkpoint=None)
        return RangePlan(resumed, scope, RangeReason.RESUMED)
    if unfinished:
        # Its checkpoint and pages are those of other instants.
        reason = RangeReason.TIMEZONE_CHANGED
    if progress.bookmark:
        start = max(min(progress.bookmark, end), start_date + lookback) - lookback
        whole = whole._replace(start=start)
    return RangePlan(whole, scope, reason)
