"""The value of STATE messages, in and out; the forms of older versions are understood.

All that speaks for a stream stands in its entry under `bookmarks`, and every key of an entry is
always written, so that what a target makes of several STATEs (one stream's entry from each, or a
deep merge) still claims for no stream more than was emitted of it. See docs/state.md.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tap_listrak.errors import UsageError
from tap_listrak.streams import BY_NAME, PARENTS, STREAMS, Stream
from tap_listrak.sync.state import StreamState
from tap_listrak.sync.state_json import read_entry, read_object, read_scope, write_entry

LOGGER = logging.getLogger(__name__)


class SyncState:
    """The state of all streams; unknown streams and keys are kept as they came."""

    def __init__(self, given: dict[str, Any], streams: dict[Stream, StreamState]) -> None:
        """Keep of the `given` state what is not of a stream's progress."""
        self._given = msgspec.json.encode(given)
        self.streams = streams

    @property
    def is_known(self) -> bool:
        """Whether there is anything that a STATE would say."""
        return any(self.as_dict().values())

    def drop_outdated_ranges(self, start_date: datetime) -> None:
        """Drop unfinished ranges that bookmarks have passed, or that end before `start_date`.

        A merge of states keeps the former.
        """
        all_progress = [state.progress for state in self.streams.values()]
        bookmarks = [progress.last_end for progress in all_progress if progress.last_end]
        for state in self.streams.values():
            progress = state.progress
            passed = progress.last_end
            if not progress.stream.replication_key:
                passed = max(bookmarks, default=None)
            passed = max(passed, start_date) if passed else start_date
            if progress.range and progress.range.end <= passed:
                state.range_dropped()

    def unfinished_end(self, selected: Iterable[Stream]) -> datetime | None:
        """Return the end of the range that an earlier run left unfinished, if one did."""
        ranges = [self.streams[stream].progress.range for stream in selected]
        return max((progress.end for progress in ranges if progress), default=None)

    def deferred_counts(self) -> dict[Stream, int]:
        """Return how many parts of each stream are set aside."""
        return {stream: len(state.progress.deferred) for stream, state in self.streams.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return the value of a STATE message."""
        value: dict[str, Any] = msgspec.json.decode(self._given)
        for state in self.streams.values():
            if state.is_known:
                entry = value["bookmarks"].setdefault(state.progress.stream.name, {})
                entry.update(write_entry(state.progress))
        return value


def parse_state(raw: object, now: datetime, lookback: timedelta) -> SyncState:
    """Read a state file's JSON. Raises UsageError that names what is wrong in it.

    Understands a whole STATE message, what version 1.0.0 wrote (`covers` and `set_aside` at the
    top, for all streams) and what the published tap wrote.
    """
    if isinstance(raw, Mapping) and raw.get("type") == "STATE":
        raw = raw.get("value")
    if not isinstance(raw, Mapping):
        raise UsageError("The state must be a JSON object, such as the value of a STATE message.")
    try:
        value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(raw))
    except (TypeError, ValueError, RecursionError) as exc:
        raise UsageError(f"The state could not be written back: {exc}.") from exc
    if value and "bookmarks" not in value:
        LOGGER.warning("The state holds no bookmarks, so the sync starts at start_date.")
    bookmarks = read_object(value.setdefault("bookmarks", {}), "bookmarks")
    for name in bookmarks:
        read_object(bookmarks[name], f"bookmarks.{name}")
        if name not in BY_NAME:
            LOGGER.warning("The state's stream %s is not one of this tap's: kept as it is.", name)
    _migrate_bounce_bookmark(bookmarks)
    _migrate_shared_keys(value, bookmarks)
    streams = {}
    for stream in STREAMS:
        entry = bookmarks.get(stream.name)
        progress = read_entry(stream, entry or {}, now, lookback)
        streams[stream] = StreamState(progress, is_known=entry is not None)
    return SyncState(value, streams)


def _migrate_bounce_bookmark(bookmarks: dict[str, Any]) -> None:
    """Move the bookmark that the published tap, until 2026, left under message_unsubs."""
    stray = bookmarks.get("message_unsubs", {}).pop("BounceDate", None)
    if stray is not None:
        bookmarks.setdefault("message_bounces", {}).setdefault("BounceDate", stray)


def _migrate_shared_keys(value: dict[str, Any], bookmarks: dict[str, Any]) -> None:
    """Move what version 1.0.0 wrote at the top into the entries, whose own keys win.

    The keys at the top stay, empty, so that a merge with an older state cannot bring them back.
    """
    covers, set_aside = value.get("covers"), value.get("set_aside")
    read_scope(covers, "covers")
    for name, entry in bookmarks.items():
        if covers and name in BY_NAME and BY_NAME[name].replication_key:
            entry.setdefault("covers", covers)
    if not isinstance(set_aside, (list, type(None))):
        raise UsageError("In the state, set_aside must be an array.")
    own = {name for name, entry in bookmarks.items() if "set_aside" in entry}
    for owed in set_aside or []:
        stream = BY_NAME.get(str(read_object(owed, "set_aside").get("stream")))
        if stream is None or stream in PARENTS:
            raise UsageError("In the state, set_aside names a stream that cannot be set aside.")
        if stream.name not in own:
            bookmarks.setdefault(stream.name, {}).setdefault("set_aside", []).append(owed)
    if "covers" in value:
        value["covers"] = None
    if "set_aside" in value:
        value["set_aside"] = []
