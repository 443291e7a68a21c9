"""What a run is about: which lists, and from when to when each stream is requested. Pure."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from msgspec.structs import replace

from tap_listrak.config import Config
from tap_listrak.dates import format_instant
from tap_listrak.errors import TapError
from tap_listrak.streams import Per, Stream
from tap_listrak.sync.entry import Entry, Range, SetAside, holds_parents, version_of
from tap_listrak.sync.parts import ONE_DAY
from tap_listrak.sync.turns import requested_from

LOGGER = logging.getLogger(__name__)

# Two clocks that differ by less are not worth a warning.
CLOCK_TOLERANCE = timedelta(minutes=1)


def choose_lists(shown: frozenset[int], wanted: frozenset[int] | None) -> tuple[int, ...]:
    """Return the ListIDs, in order, that Listrak shows and the config's `list_ids` names.

    Raises TapError where there are none.
    """
    if not shown:
        raise TapError(
            "Listrak shows this user no lists. Grant it the lists to sync under Manage, Accounts, "
            "User Manager."
        )
    if wanted is None:
        return tuple(sorted(shown))
    warn_of_unlisted(shown, wanted)
    if not wanted & shown:
        raise TapError("None of the config's `list_ids` is a list that Listrak shows this user.")
    return tuple(sorted(wanted & shown))


def warn_of_unlisted(shown: frozenset[int], wanted: frozenset[int]) -> None:
    """Log a WARNING that names the `list_ids` that Listrak does not return."""
    if unlisted := sorted(wanted - shown):
        text = ", ".join(map(str, unlisted))
        LOGGER.warning("Listrak does not show these of the config's list_ids: %s.", text)


def end_of_run(now: datetime, clock_offset: timedelta | None) -> datetime:
    """Return up to when a run requests: now, by the service's clock where ours is ahead of it."""
    if clock_offset is None or clock_offset >= -CLOCK_TOLERANCE:
        return now
    end = (now + clock_offset).replace(microsecond=0)
    LOGGER.warning(
        "This machine's clock is ahead of Listrak's by %s: the sync ends at %s. Correct the clock.",
        -clock_offset,
        format_instant(end),
    )
    return end


# The entry as it is given.


def changes_since(stream: Stream, entry: Entry, config: Config) -> list[str]:
    """Return what a user should know of options that have changed since rows were loaded."""
    before = entry.unfinished or entry.covers
    if before is None:
        return []
    found = []
    if config.start_date < before.first_date:
        found.append("start_date is earlier than before: everything since then is requested")
    elif config.include_test_messages and not before.include_test_messages:
        found.append("include_test_messages is on now: everything since start_date is requested")
    if _mirror_has_changed(stream, entry, config):
        found.append("mirror has changed: everything since start_date is requested")
    if before.timezone != str(config.timezone.zone):
        found.append(
            f"timezone is {config.timezone.zone}, and was {before.timezone}: rows in the target "
            "keep their times, and the keys made of them (see docs/times.md)"
        )
    for name, columns in (
        ("keep_every_event", stream.event_key),
        ("typed_event_dates", stream.event_dates),
    ):
        if columns and getattr(before, name) != getattr(config, name):
            found.append(
                f"{name} has changed, so the tables in the target do not fit: to load them again, "
                "drop them, and delete the entries of their streams in the state"
            )
    return found


def fit_entry(
    stream: Stream, entry: Entry, config: Config, list_ids: tuple[int, ...], end: datetime
) -> Entry:
    """Return what of an entry holds under the config of now."""
    known = entry.unfinished or entry.covers
    if known and known.timezone != str(config.timezone.zone):
        entry = replace(entry, set_aside=tuple(map(_widened, entry.set_aside)))
    if _mirror_has_changed(stream, entry, config):
        # Deletions may have reached the target without the state, so no bookmark of it counts.
        whole = replace(_whole(stream, config, end), bookmark=entry.bookmark)
        return replace(entry, unfinished=whole if stream.replication_key else None, version=None)
    unfinished = entry.unfinished
    if unfinished is None:
        return entry
    if (
        unfinished.first_date > config.start_date
        or (config.include_test_messages and not unfinished.include_test_messages)
        or unfinished.end <= config.start_date
        or unfinished.end > end + CLOCK_TOLERANCE
        # The bookmark was moved by hand, or this is what a merge of states left of a range.
        or (unfinished.version is None and unfinished.bookmark != entry.bookmark)
        or (stream.per is Per.ACCOUNT and unfinished.list_ids != _kept_lists(stream, config))
    ):
        return replace(entry, unfinished=None)
    # The place means the same under the same windows alone, in a list that is walked.
    now, place = _whole(stream, config, end), unfinished.place
    first_date = max(unfinished.first_date, config.start_date)
    is_same = (unfinished.interval_days, unfinished.timezone) == (now.interval_days, now.timezone)
    is_walked = place and (stream.per is Per.ACCOUNT or place.list_id in list_ids)
    fitted = replace(
        unfinished,
        left_out_before=first_date if first_date > unfinished.start_date else None,
        include_test_messages=now.include_test_messages,
        interval_days=now.interval_days,
        timezone=now.timezone,
        keep_every_event=now.keep_every_event,
        typed_event_dates=now.typed_event_dates,
        place=place if is_same and is_walked else None,
    )
    return replace(entry, unfinished=fitted)


def pin_covers(stream: Stream, entry: Entry, config: Config, list_ids: tuple[int, ...]) -> Entry:
    """Return an entry whose bookmark covers the lists of this run, if it said of none."""
    if entry.bookmark is None or entry.covers:
        return entry
    lists = () if stream.per is Per.ACCOUNT else list_ids
    covers = Range(start_date=config.start_date, end=entry.bookmark, list_ids=lists)
    return replace(entry, covers=covers)


def _widened(owed: SetAside) -> SetAside:
    """Return what is set aside with a day more at both ends, as its times are of another zone."""
    return replace(
        owed,
        start=owed.start - ONE_DAY,
        end=owed.end + ONE_DAY,
        sent_from=owed.sent_from and owed.sent_from - ONE_DAY,
        sent_to=owed.sent_to and owed.sent_to + ONE_DAY,
        page=None,
        digest=None,
    )


def _mirror_has_changed(stream: Stream, entry: Entry, config: Config) -> bool:
    """Return whether a mirror was switched off, or on within a range."""
    if stream.name in config.mirror:
        return entry.unfinished is not None and entry.unfinished.version is None
    return entry.version is not None or bool(entry.unfinished and entry.unfinished.version)


# The ranges of a run.


def next_range(stream: Stream, entry: Entry, config: Config, end: datetime) -> Range | None:
    """Return the range of a stream up to `end`; None where there is nothing to request."""
    whole = _whole(stream, config, end)
    if stream.name in config.mirror:
        is_done = entry.version is not None and entry.version >= version_of(end)
        return None if is_done else whole
    if not stream.replication_key:
        return whole
    new = replace(whole, bookmark=entry.bookmark, whole=False)
    if entry.covers and entry.last_end == end:
        # Nothing can have come since; what is not covered is requested all the same.
        if stream.per is Per.ACCOUNT:
            return new if not covers_list(entry.covers, None, new) else None
        covered = (each for each in entry.covers.list_ids if covers_list(entry.covers, each, new))
        return replace(new, list_ids=tuple(covered))
    return new


def continued_range(finished: Range, end: datetime) -> Range:
    """Return what follows the finished range of a mirror that is not activated yet."""
    return replace(finished, bookmark=finished.end, end=end, whole=False, list_ids=(), place=None)


def _whole(stream: Stream, config: Config, end: datetime) -> Range:
    """Return the range of all that there is since start_date."""
    in_turns = stream.can_rotate and config.recent_days is not None
    return Range(
        start_date=config.start_date,
        end=end,
        list_ids=_kept_lists(stream, config),
        include_test_messages=config.include_test_messages,
        timezone=str(config.timezone.zone),
        keep_every_event=config.keep_every_event and bool(stream.event_key),
        typed_event_dates=config.typed_event_dates and bool(stream.event_dates),
        interval_days=config.interval_days,
        recent_days=config.recent_days if in_turns else None,
        older_every_days=config.older_every_days if in_turns else None,
        whole=True,
        version=version_of(end) if stream.name in config.mirror else None,
    )


def _kept_lists(stream: Stream, config: Config) -> tuple[int, ...]:
    """Return the lists whose rows are kept of a stream of the account; none: all."""
    return tuple(sorted(config.list_ids or ())) if stream.per is Per.ACCOUNT else ()


def covers_list(covers: Range | None, list_id: int | None, wanted: Range) -> bool:
    """Return whether a bookmark speaks for a list (None: the account) as a range wants it."""
    if covers is None or covers.start_date > wanted.first_date:
        return False
    if wanted.include_test_messages and not covers.include_test_messages:
        return False
    if list_id is None:
        # Of the account, `list_ids` are those whose rows were kept; none: all.
        is_narrower = bool(wanted.list_ids) and set(wanted.list_ids) <= set(covers.list_ids)
        return is_narrower or not covers.list_ids
    return list_id in covers.list_ids


# What a part is requested from.


def start_of(
    stream: Stream, entry: Entry, list_id: int | None, config: Config, since: datetime | None = None
) -> datetime:
    """Return where the range starts of a list (None: of the account) in this pass.

    That is at `since` instead of the bookmark where it is given, less the lookback in both cases.
    """
    active = entry.active
    start_date = active.first_date
    since = since or bookmark_of(entry, list_id)
    if since is None:
        return start_date
    lookback = timedelta(days=config.lookback_days + stream.late_days)
    return max(min(since, active.end), start_date + lookback) - lookback


def bookmark_of(entry: Entry, list_id: int | None) -> datetime | None:
    """Return the bookmark from which a list (None: the account) is requested in this pass."""
    active = entry.active
    if active.whole or not covers_list(entry.covers, list_id, active):
        return None
    return active.bookmark


def start_of_message(
    stream: Stream,
    entry: Entry,
    list_id: int | None,
    config: Config,
    parent_id: int,
    sent: datetime | None = None,
) -> datetime | None:
    """Return from when a message or conversation is requested in this pass.

    None where it is not: it waits for its turn, is too old, or was sent before the range.
    """
    active = entry.active
    if sent and sent < active.first_date:
        return None
    starts = [
        owed.start
        for owed in entry.set_aside
        if holds_parents(owed, stream) and owed.list_id == list_id
        if not (sent and owed.sent_from and owed.sent_to) or owed.sent_from <= sent <= owed.sent_to
    ]
    since = bookmark_of(entry, list_id)
    waits = False
    if since and entry.covers and is_in_turns(entry, list_id):
        since, waits = _turn_of(entry, since, parent_id, sent)
    is_too_old = _is_too_old(sent, since, config)
    if not waits and not is_too_old:
        starts.append(start_of(stream, entry, list_id, config, since))
    if not starts:
        return None
    start = max(min(starts), active.first_date)
    if stream.by_send_date and sent and sent < start:
        return None
    return start


def is_in_turns(entry: Entry, list_id: int | None) -> bool:
    """Return whether the messages of a list may wait in this pass."""
    active, covers = entry.active, entry.covers
    return (
        active.older_every_days is not None
        and covers is not None
        and covers.older_every_days == active.older_every_days
        and entry.last_end is not None
        and bookmark_of(entry, list_id) is not None
    )


def _turn_of(
    entry: Entry, bookmark: datetime, msg_id: int, sent: datetime | None
) -> tuple[datetime | None, bool]:
    """Return from when a message is requested, and whether it waits instead."""
    active, last_end = entry.active, entry.last_end
    if last_end is None or active.older_every_days is None or active.recent_days is None:
        raise ValueError("the messages do not take turns")
    due_from = requested_from(last_end, bookmark, active.end, msg_id, active.older_every_days)
    if due_from is not None:
        return due_from, False
    is_recent = sent is None or active.end - sent <= timedelta(days=active.recent_days)
    return last_end, not is_recent


def _is_too_old(sent: datetime | None, since: datetime | None, config: Config) -> bool:
    """Return whether `activity_window_days` leaves out a message that is requested from then."""
    days = config.activity_window_days
    return bool(days and sent and since and since - sent > timedelta(days=days))


def is_left_out(list_id: int | None, end: datetime | None, config: Config) -> bool:
    """Return whether `list_ids` or `start_date` leaves out what was set aside."""
    by_list = list_id is not None and config.list_ids is not None and list_id not in config.list_ids
    return by_list or (end is not None and end < config.start_date)
