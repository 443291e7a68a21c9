"""What has been emitted and what is still owed, as it stands in a STATE message.

One notion carries it: a part of the account owes a range of time. A stream owes what lies between
its bookmark and the run's end; a list that the bookmark does not speak for owes everything since
`start_date`; what was set aside owes its own range. An `Offset` says how much of a stream's range
has been emitted. See ARCHITECTURE.md for an example.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tap_listrak.config import Config
from tap_listrak.dates import format_instant, parse_instant
from tap_listrak.errors import UsageError
from tap_listrak.streams import BY_NAME, STREAMS, Stream

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """How far the walk of one list has come: all before it was emitted, and it up to `page`.

    For the streams of a message it is a message (`since` is its SendDate), for contacts the window
    that starts at `since`. `page` is the last one written; None when all of them were.
    """

    ListID: int
    since: datetime | None = None
    MsgID: int | None = None
    page: int | None = None


@dataclass(frozen=True)
class Covers:
    """What a bookmark speaks for: ListIDs, a start_date, and test messages or not."""

    start_date: datetime
    ListIDs: frozenset[int]
    with_tests: bool = True


@dataclass
class Offset:
    """A stream's range in this run, under which config, and how much of it has been emitted."""

    start_date: datetime
    start: datetime
    end: datetime
    done: set[int] = field(default_factory=set)
    place: Place | None = None
    with_tests: bool = True
    timezone: str | None = None


@dataclass
class SetAside:
    """One message's events, or one list's contacts, that failed: the range still owed."""

    ListID: int
    MsgID: int | None
    start: datetime
    end: datetime
    page: int = 1


@dataclass
class Progress:
    """All that the state knows of one stream."""

    stream: Stream
    bookmark: datetime | None = None
    covers: Covers | None = None
    offset: Offset | None = None
    set_aside: list[SetAside] = field(default_factory=list)

    def begin(self, config: Config, end: datetime, *, resuming: bool) -> bool:
        """Take up the range of this run, up to its `end`.

        False when the run is `resuming` an older range and the bookmark already stands at its end:
        then there is nothing to ask.
        """
        start_date, lookback = config.start_date, timedelta(days=config.lookback_days)
        with_tests, zone = config.include_test_messages, str(config.timezone.zone)
        before = self.offset or self.covers or Covers(start_date, frozenset())
        if resuming and not self.offset and self.bookmark and self.bookmark >= end:
            return False
        is_earlier = start_date < before.start_date
        is_wider = with_tests and not before.with_tests
        if is_earlier:
            LOGGER.warning(
                "start_date is earlier than before (%s): %s is walked again from there.",
                format_instant(before.start_date),
                self.stream.name,
            )
        elif is_wider:
            LOGGER.warning(
                "include_test_messages is on now: %s is walked again from start_date.",
                self.stream.name,
            )
        elif self.offset and self.offset.timezone not in (None, zone):
            # Its place and pages are those of other instants.
            LOGGER.warning(
                "timezone has changed: the unfinished range of %s begins anew.", self.stream.name
            )
        elif self.offset:
            # From here on no more is walked than the config says, so no more may be claimed.
            self.offset.start_date = max(self.offset.start_date, start_date)
            self.offset.with_tests &= with_tests
            return True
        start = start_date
        if is_earlier or is_wider:
            self.covers = Covers(start_date, frozenset(), with_tests)
        elif self.bookmark:
            start = max(min(self.bookmark, end), start_date + lookback) - lookback
        self.offset = Offset(start_date, start, end, with_tests=with_tests, timezone=zone)
        return True

    @property
    def range(self) -> Offset:
        """The range of this run, once it has begun."""
        assert self.offset is not None  # noqa: S101 - only a stream that began is asked
        return self.offset

    def bookmark_of(self, ListID: int) -> datetime | None:
        """The bookmark, where it speaks for this list."""
        covered = self.covers is None or ListID in self.covers.ListIDs
        return self.bookmark if covered else None

    def start_of(self, ListID: int) -> datetime:
        """Where this run's range starts in one list."""
        return self.range.start if self.bookmark_of(ListID) else self.range.start_date

    def complete(self) -> None:
        """Move the bookmark to the end of the range, all of which was emitted or set aside."""
        if self.offset and self.stream.bookmark:
            self.bookmark = max(self.bookmark or self.offset.end, self.offset.end)
            offset = self.offset
            self.covers = Covers(offset.start_date, frozenset(offset.done), offset.with_tests)
        self.offset = None

    def fail(self, owed: SetAside) -> None:
        """Set a range aside, joined with what the same message or list owes already."""
        for other in self.set_aside:
            if (other.ListID, other.MsgID) == (owed.ListID, owed.MsgID):
                same = (other.start, other.end) == (owed.start, owed.end)
                other.start, other.end = min(other.start, owed.start), max(other.end, owed.end)
                # The pages of another range are other pages.
                other.page = min(other.page, owed.page) if same else 1
                return
        self.set_aside.append(owed)


class State:
    """The state of all streams; unknown streams and keys are kept as they came, as JSON."""

    def __init__(self, kept: bytes, progress: dict[Stream, Progress]) -> None:
        self._kept = kept
        self.progress = progress

    def __getitem__(self, stream: Stream) -> Progress:
        return self.progress[stream]

    def forget_finished(self) -> None:
        """Drop offsets that bookmarks have passed: a keeper that merges states has kept them."""
        passed = max(
            (each.bookmark for each in self.progress.values() if each.bookmark), default=None
        )
        for progress in self.progress.values():
            bookmark = progress.bookmark if progress.stream.bookmark else passed
            if progress.offset and bookmark and progress.offset.end <= bookmark:
                progress.offset = None

    def unfinished_end(self, selected: Iterable[Stream]) -> datetime | None:
        """The end of the range that an earlier run left unfinished, if one did."""
        offsets = [self[stream].offset for stream in selected]
        return max((offset.end for offset in offsets if offset), default=None)

    def as_dict(self) -> dict[str, Any]:
        """The value of a STATE message."""
        value: dict[str, Any] = msgspec.json.decode(self._kept)
        bookmarks = value.setdefault("bookmarks", {})
        covers = Counter(each.covers for each in self.progress.values() if each.covers)
        shared = covers.most_common(1)[0][0] if covers else None
        if shared:
            value["covers"] = _covers_out(shared)
        set_aside = []
        for stream, progress in self.progress.items():
            entry = bookmarks.setdefault(stream.name, {})
            if stream.bookmark and progress.bookmark:
                entry[stream.bookmark] = format_instant(progress.bookmark)
                # A bookmark with no covers of its own speaks for the shared ones.
                if shared and progress.covers != shared:
                    entry["covers"] = _covers_out(progress.covers)
            if progress.offset:
                entry["offset"] = _offset_out(stream, progress.offset)
            if not entry:
                del bookmarks[stream.name]
            set_aside += [_set_aside_out(stream, owed) for owed in progress.set_aside]
        if set_aside:
            value["set_aside"] = set_aside
        return value


def _covers_out(covers: Covers | None) -> dict[str, Any] | None:
    if covers is None:
        return None
    tests = {} if covers.with_tests else {"include_test_messages": False}
    ListIDs = sorted(covers.ListIDs)
    return {"start_date": format_instant(covers.start_date), "ListIDs": ListIDs, **tests}


def _offset_out(stream: Stream, offset: Offset) -> dict[str, Any]:
    out: dict[str, Any] = {
        "start_date": format_instant(offset.start_date),
        "start": format_instant(offset.start),
        "end": format_instant(offset.end),
        "include_test_messages": offset.with_tests,
        "timezone": offset.timezone,
        "ListIDs": sorted(offset.done),
    }
    # Also what is null, or a keeper that merges states would leave an older value in its place.
    place = offset.place
    out["ListID"] = place and place.ListID
    out[_since(stream)] = place and place.since and format_instant(place.since)
    out["MsgID"] = place and place.MsgID
    out["Page"] = place and place.page
    return out


def _since(stream: Stream) -> str:
    return "SendDate" if stream.of_message else "AdditionDate"


def _set_aside_out(stream: Stream, owed: SetAside) -> dict[str, Any]:
    out = {
        "stream": stream.name,
        "ListID": owed.ListID,
        "MsgID": owed.MsgID,
        "start": format_instant(owed.start),
        "end": format_instant(owed.end),
        "Page": owed.page,
    }
    return {key: value for key, value in out.items() if value is not None}


def parse(raw: object, now: datetime, lookback: timedelta) -> State:
    """Read a state file's JSON. Raises UsageError that names what is wrong in it.

    Understands what the published tap wrote, and a whole STATE message.
    """
    if isinstance(raw, Mapping) and raw.get("type") == "STATE":
        raw = raw.get("value")
    if not isinstance(raw, Mapping):
        raise UsageError("The state must be a JSON object, such as the value of a STATE message.")
    try:
        kept: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(raw))
    except (TypeError, ValueError, RecursionError) as wrong:
        raise UsageError(f"The state could not be written back: {wrong}.") from wrong
    if kept and "bookmarks" not in kept:
        LOGGER.warning("The state holds no bookmarks, so the sync starts at start_date.")
    bookmarks = _object(kept.setdefault("bookmarks", {}), "bookmarks")
    for name in bookmarks:
        _object(bookmarks[name], f"bookmarks.{name}")
        if name not in BY_NAME:
            LOGGER.warning("The state's stream %s is not one of this tap's: kept as it is.", name)
    _mend_bounces(bookmarks)
    shared = _covers(kept.pop("covers", None), "covers")
    progress = {}
    for stream in STREAMS:
        entry = bookmarks.get(stream.name, {})
        where = f"bookmarks.{stream.name}"
        each = progress[stream] = Progress(stream, covers=shared)
        if "covers" in entry:
            each.covers = _covers(entry.pop("covers"), f"{where}.covers")
        if stream.bookmark and entry.get(stream.bookmark) is not None:
            where_bookmark = f"{where}.{stream.bookmark}"
            each.bookmark = _instant(entry[stream.bookmark], where_bookmark)
            _not_ahead(each.bookmark, now, lookback, where_bookmark)
        else:
            each.covers = None
            if stream.bookmark and entry and "offset" not in entry:
                LOGGER.warning("In the state, %s holds no %s.", where, stream.bookmark)
        if entry.get("offset"):
            each.offset = _offset(stream, entry["offset"], f"{where}.offset")
            _not_ahead(each.offset.end, now, lookback, f"{where}.offset.end")
        entry.pop("offset", None)
    set_aside = kept.pop("set_aside", None) or []
    if not isinstance(set_aside, list):
        raise UsageError("In the state, set_aside must be an array.")
    for owed in set_aside:
        of = BY_NAME.get(str(_object(owed, "set_aside").get("stream")))
        if of is None or not of.bookmark:
            raise UsageError("In the state, set_aside names a stream that cannot be set aside.")
        progress[of].set_aside.append(_set_aside(of, owed))
    return State(msgspec.json.encode(kept), progress)


def _mend_bounces(bookmarks: dict[str, Any]) -> None:
    """Move the bookmark that the published tap, until 2026, left under message_unsubs."""
    stray = bookmarks.get("message_unsubs", {}).pop("BounceDate", None)
    if stray is not None:
        bookmarks.setdefault("message_bounces", {}).setdefault("BounceDate", stray)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"In the state, {where} must be an object.")
    return value


def _instant(value: Any, where: str) -> datetime:
    try:
        return parse_instant(value)
    except (ValueError, TypeError) as wrong:
        raise UsageError(f"In the state, {where} must be a date-time in RFC 3339.") from wrong


def _integer(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"In the state, {where} must be a whole number from 1.")
    return value


def _integers(value: Any, where: str) -> set[int]:
    if not isinstance(value, list):
        raise UsageError(f"In the state, {where} must be an array of whole numbers.")
    return {_integer(each, where) for each in value}


def _with_tests(value: dict[str, Any], where: str) -> bool:
    with_tests = value.get("include_test_messages", True)
    if not isinstance(with_tests, bool):
        raise UsageError(f"In the state, {where}.include_test_messages must be true or false.")
    return with_tests


def _not_ahead(instant: datetime, now: datetime, lookback: timedelta, where: str) -> None:
    if instant > now + lookback:
        raise UsageError(
            f"In the state, {where} lies in the future. Set it back to the last moment that was "
            "synced, or check this machine's clock."
        )
    if instant > now:
        LOGGER.warning("In the state, %s is ahead of this machine's clock.", where)


def _covers(value: Any, where: str) -> Covers | None:
    if value is None:
        return None
    value = _object(value, where)
    return Covers(
        _instant(value.get("start_date"), f"{where}.start_date"),
        frozenset(_integers(value.get("ListIDs"), f"{where}.ListIDs")),
        _with_tests(value, where),
    )


def _offset(stream: Stream, value: Any, where: str) -> Offset:
    value = _object(value, where)
    offset = Offset(
        start_date=_instant(value.get("start_date"), f"{where}.start_date"),
        start=_instant(value.get("start"), f"{where}.start"),
        end=_instant(value.get("end"), f"{where}.end"),
        done=_integers(value.get("ListIDs"), f"{where}.ListIDs"),
        with_tests=_with_tests(value, where),
        timezone=value.get("timezone"),
    )
    if not isinstance(offset.timezone, (str, type(None))):
        raise UsageError(f"In the state, {where}.timezone must be the name of a time zone.")
    if value.get("ListID") is not None:
        place = Place(_integer(value["ListID"], f"{where}.ListID"))
        since, MsgID, page = value.get(_since(stream)), value.get("MsgID"), value.get("Page")
        if since is not None:
            place = replace(place, since=_instant(since, f"{where}.{_since(stream)}"))
        if MsgID is not None:
            place = replace(place, MsgID=_integer(MsgID, f"{where}.MsgID"))
        if page is not None:
            place = replace(place, page=_integer(page, f"{where}.Page"))
        offset.place = place
    return offset


def _set_aside(stream: Stream, value: dict[str, Any]) -> SetAside:
    MsgID = value.get("MsgID")
    if MsgID is not None and not stream.of_message:
        raise UsageError(f"In the state, set_aside.MsgID has no place with {stream.name}.")
    return SetAside(
        ListID=_integer(value.get("ListID"), "set_aside.ListID"),
        MsgID=_integer(MsgID, "set_aside.MsgID") if stream.of_message else None,
        start=_instant(value.get("start"), "set_aside.start"),
        end=_instant(value.get("end"), "set_aside.end"),
        page=_integer(value.get("Page", 1), "set_aside.Page"),
    )
