"""Decide which lists and date ranges a run requests. Pure."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from msgspec.structs import replace

from tap_listrak.addresses import key_check
from tap_listrak.config import Config
from tap_listrak.dates import format_instant
from tap_listrak.errors import TapError
from tap_listrak.streams import Per, Stream, Table
from tap_listrak.sync.entry import Entry, Range, is_parent_window, mirror_version
from tap_listrak.sync.turns import Rotation

LOGGER = logging.getLogger(__name__)

# Ignore smaller differences between two clocks.
CLOCK_TOLERANCE = timedelta(minutes=1)


def choose_lists(shown: frozenset[int], wanted: frozenset[int] | None) -> tuple[int, ...]:
    """Return the ListIDs to sync, sorted. Raises TapError if there are none."""
    if not shown:
        raise TapError(
            "Listrak returned no lists for this user. Grant it access to lists under Manage, "
            "Accounts, User Manager."
        )
    if wanted is None:
        return tuple(sorted(shown))
    warn_of_unlisted(shown, wanted)
    if not wanted & shown:
        raise TapError("Listrak returned none of the lists in the config's `list_ids`.")
    return tuple(sorted(wanted & shown))


def warn_of_unlisted(shown: frozenset[int], wanted: frozenset[int]) -> None:
    """Log the `list_ids` of the config that Listrak did not return."""
    if missing := sorted(wanted - shown):
        names = ", ".join(map(str, missing))
        LOGGER.warning("Listrak did not return these list_ids of the config: %s.", names)


def end_of_run(now: datetime, clock_offset: timedelta | None) -> datetime:
    """Return the end of the run: now, or Listrak's time if this machine's clock is ahead."""
    if clock_offset is None or clock_offset >= -CLOCK_TOLERANCE:
        return now
    end = (now + clock_offset).replace(microsecond=0)
    LOGGER.warning(
        "This machine's clock is ahead of Listrak's by %s: the sync ends at %s. Correct the clock.",
        -clock_offset,
        format_instant(end),
    )
    return end


def describe_range(config: Config, end: datetime) -> str:
    """Describe the dates of the run for the log."""
    if config.backfill_from is None:
        return f"up to {format_instant(end)}"
    end = min(config.backfill_to or end, end)
    return (
        f"what happened from {format_instant(config.backfill_from)} to {format_instant(end)}; the "
        "state stays unchanged"
    )


# Adapting a loaded entry.


def config_changes(table: Table, entry: Entry, config: Config) -> list[str]:
    """Return warnings about options that changed since the last run."""
    stream, before = table.stream, entry.unfinished or entry.covers
    if before is None:
        return []
    # A backfill's requests do not depend on the last run.
    found = [] if config.backfill_from else _changes_of_range(stream, entry, before, config)
    # A mirror is reloaded, which corrects its times.
    keeps_times = table.depends_on_timezone and stream.name not in config.mirror
    if keeps_times and before.timezone != str(config.timezone.zone):
        found.append(
            f"timezone changed from {before.timezone} to {config.timezone.zone}: rows already in "
            "the target keep their old times and keys (see docs/times.md)"
        )
    for name, columns in (
        ("keep_every_event", stream.event_key),
        ("typed_event_dates", stream.event_dates),
    ):
        if columns and getattr(before, name) != getattr(config, name):
            found.append(
                f"{name} has changed and the target's tables no longer match: to reload them, drop "
                "the tables and delete the streams' entries in the state"
            )
    if before.email_hash != _email_hash(stream, config):
        found.append(
            "email_hash_key has changed: new rows have different keys, so they do not replace rows "
            "already in the target (see docs/hashing.md)"
        )
    return found


def _changes_of_range(stream: Stream, entry: Entry, before: Range, config: Config) -> list[str]:
    """Return warnings about options that make this run request more than the last."""
    found = []
    if config.start_date < before.first_date:
        found.append("start_date is earlier than before: everything since then is requested")
    elif config.include_test_messages and not before.include_test_messages:
        found.append("include_test_messages is on now: everything since start_date is requested")
    if _mirror_has_changed(stream, entry, config):
        found.append("mirror has changed: everything since start_date is requested")
    return found


def _email_hash(stream: Stream, config: Config) -> str | None:
    """Return the key_check of the key that hashes a stream's addresses; None if none does."""
    key = config.email_hash_key
    return key_check(key) if key and stream.holds_addresses else None


def adapt_entry(
    stream: Stream, entry: Entry, config: Config, list_ids: tuple[int, ...], end: datetime
) -> Entry:
    """Return the entry without values that the config invalidates; empty in a backfill."""
    if config.backfill_from:
        return Entry()
    known = entry.unfinished or entry.covers
    if known and known.timezone != str(config.timezone.zone):
        set_aside = tuple(aside.widened(stream) for aside in entry.set_aside)
        entry = replace(entry, set_aside=set_aside)
    now = _full_range(stream, config, end)
    if _mirror_has_changed(stream, entry, config):
        # The target may have deleted rows of a run whose state was lost: ignore the bookmark.
        whole = replace(now, bookmark=entry.bookmark)
        return replace(entry, unfinished=whole if stream.replication_key else None, version=None)
    unfinished = entry.unfinished
    if unfinished is None:
        return entry
    if _is_obsolete(stream, entry, unfinished, config, end):
        return replace(entry, unfinished=None)
    # A place is valid only if the windows are the same and its list is still walked.
    place, first_date = unfinished.place, max(unfinished.first_date, config.start_date)
    is_same = (unfinished.interval_days, unfinished.timezone) == (now.interval_days, now.timezone)
    is_walked = place and (stream.per is Per.ACCOUNT or place.list_id in list_ids)
    adapted = replace(
        unfinished,
        left_out_before=first_date if first_date > unfinished.start_date else None,
        include_test_messages=now.include_test_messages,
        interval_days=now.interval_days,
        timezone=now.timezone,
        keep_every_event=now.keep_every_event,
        typed_event_dates=now.typed_event_dates,
        email_hash=now.email_hash,
        place=place if is_same and is_walked else None,
    )
    return replace(entry, unfinished=adapted)


def _is_obsolete(
    stream: Stream, entry: Entry, unfinished: Range, config: Config, end: datetime
) -> bool:
    """Return whether to drop an unfinished range, because the config needs another."""
    return (
        unfinished.first_date > config.start_date
        or (config.include_test_messages and not unfinished.include_test_messages)
        or unfinished.end <= config.start_date
        or unfinished.end > end + CLOCK_TOLERANCE
        # The bookmark was edited, or a merge of states combined it with another range.
        or (unfinished.version is None and unfinished.bookmark != entry.bookmark)
        or (stream.per is Per.ACCOUNT and unfinished.list_ids != _list_filter(stream, config))
    )


def pin_covers(stream: Stream, entry: Entry, config: Config, list_ids: tuple[int, ...]) -> Entry:
    """Return the entry; if it has a bookmark but no `covers`, cover the lists of this run."""
    if entry.bookmark is None or entry.covers:
        return entry
    lists = () if stream.per is Per.ACCOUNT else list_ids
    covers = Range(start_date=config.start_date, end=entry.bookmark, list_ids=lists)
    return replace(entry, covers=covers)


def _mirror_has_changed(stream: Stream, entry: Entry, config: Config) -> bool:
    """Return whether `mirror` was switched off, or was switched on during a range."""
    if stream.name in config.mirror:
        return entry.unfinished is not None and entry.unfinished.version is None
    return entry.version is not None or bool(entry.unfinished and entry.unfinished.version)


# The ranges of a run.


def next_range(stream: Stream, entry: Entry, config: Config, end: datetime) -> Range | None:
    """Return the range of a stream up to `end`; None if there is nothing to request."""
    if config.backfill_to and stream.can_backfill:
        end = min(end, config.backfill_to)
    whole = _full_range(stream, config, end)
    if stream.name in config.mirror:
        is_done = entry.version is not None and entry.version >= mirror_version(end)
        return None if is_done else whole
    if not stream.replication_key:
        return whole
    new = replace(whole, bookmark=entry.bookmark, whole=False)
    if entry.covers and entry.last_end == end:
        # No new rows since; request only lists that are not covered.
        if stream.per is Per.ACCOUNT:
            return new if not covers_list(entry.covers, None, new) else None
        covered = (each for each in entry.covers.list_ids if covers_list(entry.covers, each, new))
        return replace(new, list_ids=tuple(covered))
    return new


def continued_range(finished: Range, end: datetime) -> Range:
    """Return the range from a mirror's finished range to `end`, with the same version."""
    return replace(finished, bookmark=finished.end, end=end, whole=False, list_ids=(), place=None)


def _full_range(stream: Stream, config: Config, end: datetime) -> Range:
    """Return the range from start_date to `end`."""
    is_mirror = stream.name in config.mirror
    rotates = stream.can_rotate and config.recent_days is not None and not is_mirror
    return Range(
        start_date=config.start_date,
        end=end,
        list_ids=_list_filter(stream, config),
        include_test_messages=config.include_test_messages,
        timezone=str(config.timezone.zone),
        keep_every_event=config.keep_every_event and bool(stream.event_key),
        typed_event_dates=config.typed_event_dates and bool(stream.event_dates),
        email_hash=_email_hash(stream, config),
        interval_days=config.interval_days,
        recent_days=config.recent_days if rotates else None,
        older_every_days=config.older_every_days if rotates else None,
        whole=True,
        version=mirror_version(end) if is_mirror else None,
    )


def _list_filter(stream: Stream, config: Config) -> tuple[int, ...]:
    """Return the lists whose rows of an account stream are kept; empty means all."""
    return tuple(sorted(config.list_ids or ())) if stream.per is Per.ACCOUNT else ()


def covers_list(covers: Range | None, list_id: int | None, wanted: Range) -> bool:
    """Return whether the bookmark covers a list (None: the account) for the `wanted` range."""
    if covers is None or covers.start_date > wanted.first_date:
        return False
    if wanted.include_test_messages and not covers.include_test_messages:
        return False
    if list_id is None:
        # For the account, `list_ids` are the lists kept; empty means all.
        is_narrower = bool(wanted.list_ids) and set(wanted.list_ids) <= set(covers.list_ids)
        return is_narrower or not covers.list_ids
    return list_id in covers.list_ids


# Start dates.


def start_of_list(
    stream: Stream, entry: Entry, list_id: int | None, config: Config, since: datetime | None = None
) -> datetime:
    """Return the start date for a list (None: the account) in this pass.

    This is `since`, or else the bookmark, less the lookback; start_date if there is neither. In a
    backfill it is `backfill_from`.
    """
    current = entry.current
    if config.backfill_from and stream.can_backfill:
        return min(config.backfill_from, current.end)
    start_date = current.first_date
    since = since or bookmark_of(entry, list_id)
    if since is None:
        return start_date
    lookback = timedelta(days=config.lookback_days + stream.late_days)
    return max(min(since, current.end), start_date + lookback) - lookback


def bookmark_of(entry: Entry, list_id: int | None) -> datetime | None:
    """Return the bookmark of a list (None: the account) in this pass; None if none applies."""
    current = entry.current
    if current.whole or not covers_list(entry.covers, list_id, current):
        return None
    return current.bookmark


def start_of_parent(
    stream: Stream,
    entry: Entry,
    list_id: int | None,
    config: Config,
    rotation: Rotation | None,
    parent_id: int,
    sent: datetime | None,
    count: int | None,
) -> datetime | None:
    """Return the start date for a message or conversation in this pass.

    Return None to skip it: it is not due, too old, or was sent before the range. `rotation` is the
    list's, from rotation_of.
    """
    current = entry.current
    if sent and sent < current.first_date:
        return None
    starts = [
        aside.start
        for aside in entry.set_aside
        if is_parent_window(aside, stream) and aside.list_id == list_id
        if not (sent and aside.sent_from and aside.sent_to)
        or aside.sent_from <= sent <= aside.sent_to
    ]
    since = bookmark_of(entry, list_id)
    if rotation:
        since = rotation.start_of_message(parent_id, sent, count)
    if (since or not rotation) and not _is_too_old(sent, since, config):
        starts.append(start_of_list(stream, entry, list_id, config, since))
    start = max(min(starts), current.first_date) if starts else None
    if start and stream.by_send_date and sent and sent < start:
        return None
    return start


def rotation_of(entry: Entry, list_id: int | None) -> Rotation | None:
    """Return how the messages or contacts of a list rotate; None if all are requested."""
    current, last_end, covers = entry.current, entry.last_end, entry.covers
    every, bookmark = current.older_every_days, bookmark_of(entry, list_id)
    if every is None or current.recent_days is None or bookmark is None or last_end is None:
        return None
    if covers is None or covers.older_every_days != every:
        return None
    recent_since = current.end - timedelta(days=current.recent_days)
    # A merge of states may combine the filter of one run with what another covers.
    counts = entry.turns if entry.turns and entry.turns.end == covers.end else None
    return Rotation(last_end, bookmark, current.end, every, recent_since, counts)


def _is_too_old(sent: datetime | None, since: datetime | None, config: Config) -> bool:
    """Return whether `activity_window_days` excludes a message."""
    days = config.activity_window_days
    return bool(days and sent and since and since - sent > timedelta(days=days))


def is_excluded(list_id: int | None, end: datetime | None, config: Config) -> bool:
    """Return whether `list_ids` or `start_date` excludes a set-aside part that ends at `end`."""
    by_list = list_id is not None and config.list_ids is not None and list_id not in config.list_ids
    return by_list or (end is not None and end < config.start_date)
