"""The entry of one stream in a STATE: JSON to its progress, and back."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from tap_listrak.dates import EPOCH, format_instant, parse_instant
from tap_listrak.errors import UsageError
from tap_listrak.streams import PARENTS, Stream
from tap_listrak.sync.state import (
    BookmarkScope,
    Checkpoint,
    DeferredFetch,
    RangeProgress,
    StreamProgress,
)
from tap_listrak.sync.tasks import MAX_PAGES, WrittenPage
from tap_listrak.sync.turns import TurnOptions, Turns

LOGGER = logging.getLogger(__name__)

# What the columns of IDs can hold.
MAX_ID = 2**63


def write_entry(progress: StreamProgress) -> dict[str, Any]:
    """Return the entry of a stream, with all of its keys at every depth.

    Where there is nothing, the values are null or empty: Meltano merges an object into no null.
    """
    stream = progress.stream
    entry: dict[str, Any] = {}
    if stream.replication_key:
        entry[stream.replication_key] = _text(progress.bookmark)
        entry["covers"] = _covers(stream, progress.scope)
    entry["offset"] = _offset(stream, progress.range)
    if stream not in PARENTS:
        entry["set_aside"] = [_set_aside(stream, deferred) for deferred in progress.deferred]
    if stream.takes_turns:
        entry["turns"] = _turns(progress.turns)
    if stream.can_be_mirrored:
        entry["version"] = progress.version
    return entry


def _covers(stream: Stream, scope: BookmarkScope | None) -> dict[str, Any]:
    covers: dict[str, Any] = {"start_date": _text(scope and scope.start_date)}
    if not stream.is_by_account:
        covers["ListIDs"] = sorted(scope.list_ids) if scope else []
        covers["include_test_messages"] = scope and scope.include_test_messages
    return covers


def _offset(stream: Stream, progress: RangeProgress | None) -> dict[str, Any]:
    checkpoint = progress and progress.checkpoint
    offset: dict[str, Any] = {
        "start_date": _text(progress and progress.start_date),
        "start": _text(progress and progress.start),
        "end": _text(progress and progress.end),
        "include_test_messages": progress and progress.include_test_messages,
        "timezone": progress and progress.timezone,
        "interval_days": progress and progress.interval_days,
        "ListIDs": sorted(progress.finished_lists) if progress else [],
        "ListID": checkpoint and checkpoint.list_id,
        _date_key(stream): checkpoint and _text(checkpoint.date),
        _id_key(stream): checkpoint and checkpoint.parent_id,
        **_page(checkpoint and checkpoint.written),
    }
    if stream.takes_turns:
        offset |= _turn_options(progress and progress.turn_options)
    if stream.can_be_mirrored:
        offset["mirrored"] = progress and progress.is_mirrored
    return offset


def _set_aside(stream: Stream, deferred: DeferredFetch) -> dict[str, Any]:
    return {
        "ListID": deferred.list_id,
        _id_key(stream): deferred.parent_id,
        "start": _text(deferred.start),
        "end": _text(deferred.end),
        **_page(deferred.written),
        "failed_since": _text(deferred.failed_since),
        "absent_since": _text(deferred.absent_since),
    }


def _turns(turns: Turns | None) -> dict[str, Any]:
    """Return what an entry says of turns; classes in seconds since 1970, half as long as text."""
    classes = turns.classes if turns else ()
    return {
        **_turn_options(turns and turns.options),
        "recent": _text(turns and turns.recent),
        "classes": [(each - EPOCH) // timedelta(seconds=1) for each in classes],
    }


def _turn_options(options: TurnOptions | None) -> dict[str, Any]:
    return options._asdict() if options else dict.fromkeys(TurnOptions._fields)


def _page(written: WrittenPage | None) -> dict[str, Any]:
    return {"Page": written and written.number, "Digest": written and written.digest}


def _text(instant: datetime | None) -> str | None:
    return format_instant(instant) if instant else None


def _date_key(stream: Stream) -> str:
    """Return Listrak's name of the date that a checkpoint names."""
    is_in_windows = stream.is_by_list or stream.is_by_account
    return stream.replication_key if is_in_windows and stream.replication_key else "SendDate"


def _id_key(stream: Stream) -> str:
    """Return Listrak's name of what a part is asked by, besides its list."""
    return "ConversationID" if stream.is_by_conversation else "MsgID"


def read_entry(
    stream: Stream, entry: dict[str, Any], now: datetime, lookback: timedelta
) -> StreamProgress:
    """Return the progress that an entry tells of. Raises UsageError that names what is wrong."""
    where = f"bookmarks.{stream.name}"
    key = stream.replication_key
    bookmark = _optional_instant(entry.get(key), f"{where}.{key}") if key else None
    if bookmark:
        _check_not_ahead(bookmark, now, lookback, f"{where}.{key}")
    offset = entry.get("offset")
    if key and entry and key not in entry and not offset:
        LOGGER.warning("In the state, %s holds no %s.", where, key)
    # Singer's libraries leave an empty object where there is no offset.
    is_unfinished = bool(offset) and _holds_anything(_without_options(offset))
    turns = _read_turns(entry.get("turns"), bookmark, f"{where}.turns")
    for instant in (turns.recent, *turns.classes) if turns else ():
        _check_not_ahead(instant, now, lookback, f"{where}.turns")
    progress = _range(stream, offset, turns, f"{where}.offset") if is_unfinished else None
    if progress:
        _check_not_ahead(progress.end, now, lookback, f"{where}.offset.end")
    set_aside = entry.get("set_aside") or []
    if not isinstance(set_aside, list):
        raise UsageError(f"In the state, {where}.set_aside must be an array.")
    return StreamProgress(
        stream,
        bookmark,
        read_scope(entry.get("covers"), f"{where}.covers") if bookmark else None,
        progress,
        tuple(_deferred(stream, owed, f"{where}.set_aside") for owed in set_aside),
        turns,
        _optional_integer(entry.get("version"), f"{where}.version"),
    )


def read_scope(value: Any, where: str) -> BookmarkScope | None:
    """Return what a bookmark speaks for. Raises UsageError."""
    if not _holds_anything(value):
        return None
    value = read_object(value, where)
    return BookmarkScope(
        _instant(value.get("start_date"), f"{where}.start_date"),
        _integers(value.get("ListIDs", []), f"{where}.ListIDs"),
        _with_tests(value, where),
    )


def _read_turns(value: Any, bookmark: datetime | None, where: str) -> Turns | None:
    """Return the turns that an entry tells of, where the bookmark does not say otherwise.

    An earlier bookmark was set back by hand: from it, all is asked. A later one was moved by a
    version that knows no turns, or in a merge: up to it, all was asked.
    """
    if not _holds_anything(value) or bookmark is None:
        return None
    value = read_object(value, where)
    options = _read_turn_options(value, where)
    classes = value.get("classes")
    if options is None or not isinstance(classes, list) or len(classes) != options[1]:
        raise UsageError(f"In the state, {where}.classes must be one number for each class.")
    turns = Turns(
        options,
        _instant(value.get("recent"), f"{where}.recent"),
        tuple(_seconds(each, f"{where}.classes") for each in classes),
    )
    return turns.not_before(bookmark) if turns.oldest <= bookmark else None


def _read_turn_options(value: dict[str, Any], where: str) -> TurnOptions | None:
    numbers = [_optional_integer(value.get(key), f"{where}.{key}") for key in TurnOptions._fields]
    recent_days, older_every_days = numbers
    if recent_days is None or older_every_days is None:
        return None
    return TurnOptions(recent_days, older_every_days)


def _range(stream: Stream, value: Any, turns: Turns | None, where: str) -> RangeProgress | None:
    value = read_object(value, where)
    timezone = value.get("timezone")
    if not isinstance(timezone, (str, type(None))):
        raise UsageError(f"In the state, {where}.timezone must be the name of a time zone.")
    turn_options = _read_turn_options(value, where) if stream.takes_turns else None
    start = None
    if turn_options is None or value.get("start") is not None:
        start = _instant(value.get("start"), f"{where}.start")
    elif turns is None or turns.options != turn_options:
        # The bookmark was moved, so the range cannot be finished: the next one asks it anew.
        return None
    return RangeProgress(
        start_date=_instant(value.get("start_date"), f"{where}.start_date"),
        start=start,
        end=_instant(value.get("end"), f"{where}.end"),
        include_test_messages=_with_tests(value, where),
        timezone=timezone,
        interval_days=_optional_integer(value.get("interval_days"), f"{where}.interval_days"),
        finished_lists=_integers(value.get("ListIDs"), f"{where}.ListIDs"),
        checkpoint=_checkpoint(stream, value, where),
        is_mirrored=stream.can_be_mirrored and _flag(value, "mirrored", where, default=False),
        turn_options=turn_options,
    )


def _checkpoint(stream: Stream, value: dict[str, Any], where: str) -> Checkpoint | None:
    list_id = _optional_integer(value.get("ListID"), f"{where}.ListID")
    date_key, id_key = _date_key(stream), _id_key(stream)
    date = _optional_instant(value.get(date_key), f"{where}.{date_key}")
    parent_id = _optional_integer(value.get(id_key), f"{where}.{id_key}")
    written = _written(value, where)
    if list_id is None and not stream.is_by_account:
        return None
    # Version 1.0.0 walked messages without a SendDate first, and could stop among them.
    if (parent_id if stream.is_by_conversation else date) is None:
        return None
    return Checkpoint(list_id, date, parent_id, written)


def _deferred(stream: Stream, value: Any, where: str) -> DeferredFetch:
    value = read_object(value, where)
    list_id = _optional_integer(value.get("ListID"), f"{where}.ListID")
    parent_id = _optional_integer(value.get(_id_key(stream)), f"{where}.{_id_key(stream)}")
    has_parent = stream.is_by_message or stream.is_by_batch or stream.is_by_conversation
    for key, number, is_due in (
        ("ListID", list_id, not stream.is_by_account),
        (_id_key(stream), parent_id, has_parent),
    ):
        if (number is not None) != is_due:
            needs = "needs a" if is_due else "takes no"
            raise UsageError(f"In the state, {where} {needs} {key}.")
    return DeferredFetch(
        list_id=list_id,
        parent_id=parent_id,
        start=_instant(value.get("start"), f"{where}.start"),
        end=_instant(value.get("end"), f"{where}.end"),
        written=_written(value, where),
        failed_since=_optional_instant(value.get("failed_since"), f"{where}.failed_since"),
        absent_since=_optional_instant(value.get("absent_since"), f"{where}.absent_since"),
    )


def _written(value: dict[str, Any], where: str) -> WrittenPage | None:
    number, digest = _optional_integer(value.get("Page"), f"{where}.Page"), value.get("Digest")
    if not isinstance(digest, (str, type(None))):
        raise UsageError(f"In the state, {where}.Digest must be text.")
    if number is not None and not 1 <= number <= MAX_PAGES:
        raise UsageError(
            f"In the state, {where}.Page must be a whole number from 1 to {MAX_PAGES}."
        )
    return None if number is None else WrittenPage(number, digest)


def _holds_anything(value: Any) -> bool:
    """Tell whether a value is more than null, or an object of nulls and empty arrays."""
    if isinstance(value, dict) and value:
        return any(inner not in (None, []) for inner in value.values())
    return value is not None


def _without_options(offset: Any) -> Any:
    """Leave out of an offset what a merge with a state of 1.1.0, which lacks it, does not clear."""
    if not isinstance(offset, dict):
        return offset
    options = {*TurnOptions._fields, "mirrored"}
    return {key: value for key, value in offset.items() if key not in options}


def read_object(value: Any, where: str) -> dict[str, Any]:
    """Return a JSON object. Raises UsageError that names where there is none."""
    if not isinstance(value, dict):
        raise UsageError(f"In the state, {where} must be an object.")
    return value


def _instant(value: Any, where: str) -> datetime:
    try:
        return parse_instant(value)
    except (ValueError, TypeError) as exc:
        raise UsageError(f"In the state, {where} must be a date-time in RFC 3339.") from exc


def _seconds(value: Any, where: str) -> datetime:
    try:
        return EPOCH + timedelta(seconds=_integer(value, where))
    except OverflowError as exc:
        raise UsageError(f"In the state, {where} must be seconds since 1970.") from exc


def _optional_instant(value: Any, where: str) -> datetime | None:
    return None if value is None else _instant(value, where)


def _integer(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_ID:
        raise UsageError(f"In the state, {where} must be a whole number.")
    return value


def _optional_integer(value: Any, where: str) -> int | None:
    return None if value is None else _integer(value, where)


def _integers(value: Any, where: str) -> frozenset[int]:
    if not isinstance(value, list):
        raise UsageError(f"In the state, {where} must be an array of whole numbers.")
    return frozenset(_integer(number, where) for number in value)


def _with_tests(value: dict[str, Any], where: str) -> bool:
    return _flag(value, "include_test_messages", where, default=True)


def _flag(value: dict[str, Any], key: str, where: str, *, default: bool) -> bool:
    flag = value.get(key, default)
    if not isinstance(flag, bool):
        raise UsageError(f"In the state, {where}.{key} must be true or false.")
    return flag


def _check_not_ahead(instant: datetime, now: datetime, lookback: timedelta, where: str) -> None:
    if instant > now + lookback:
        raise UsageError(
            f"In the state, {where} lies in the future. Set it back to the last moment that was "
            "synced (delete `turns`), or check this machine's clock."
        )
    if instant > now:
        LOGGER.warning("In the state, %s is ahead of this machine's clock.", where)
