"""The entry of one stream in a STATE: JSON to its progress, and back."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from tap_listrak.dates import format_instant, parse_instant
from tap_listrak.errors import UsageError
from tap_listrak.streams import Stream
from tap_listrak.sync.state import (
    BookmarkScope,
    Checkpoint,
    DeferredFetch,
    RangeProgress,
    StreamProgress,
)
from tap_listrak.sync.tasks import MAX_PAGES, WrittenPage

LOGGER = logging.getLogger(__name__)

# What the columns of IDs can hold.
MAX_ID = 2**63


def write_entry(progress: StreamProgress) -> dict[str, Any]:
    """Return the entry of a stream, with all of its keys at every depth.

    Where there is nothing, the values are null or empty: Meltano merges an object into no null.
    """
    stream = progress.stream
    if not stream.replication_key:
        return {"offset": _offset(stream, progress.range)}
    return {
        stream.replication_key: _text(progress.bookmark),
        "covers": _covers(progress.scope),
        "offset": _offset(stream, progress.range),
        "set_aside": [_set_aside(deferred) for deferred in progress.deferred],
    }


def _covers(scope: BookmarkScope | None) -> dict[str, Any]:
    return {
        "start_date": _text(scope and scope.start_date),
        "ListIDs": sorted(scope.list_ids) if scope else [],
        "include_test_messages": scope and scope.include_test_messages,
    }


def _offset(stream: Stream, progress: RangeProgress | None) -> dict[str, Any]:
    checkpoint = progress and progress.checkpoint
    return {
        "start_date": _text(progress and progress.start_date),
        "start": _text(progress and progress.start),
        "end": _text(progress and progress.end),
        "include_test_messages": progress and progress.include_test_messages,
        "timezone": progress and progress.timezone,
        "interval_days": progress and progress.interval_days,
        "ListIDs": sorted(progress.finished_lists) if progress else [],
        "ListID": checkpoint and checkpoint.list_id,
        _date_key(stream): checkpoint and _text(checkpoint.date),
        "MsgID": checkpoint and checkpoint.msg_id,
        **_page(checkpoint and checkpoint.written),
    }


def _set_aside(deferred: DeferredFetch) -> dict[str, Any]:
    return {
        "ListID": deferred.list_id,
        "MsgID": deferred.msg_id,
        "start": _text(deferred.start),
        "end": _text(deferred.end),
        **_page(deferred.written),
        "failed_since": _text(deferred.failed_since),
        "absent_since": _text(deferred.absent_since),
    }


def _page(written: WrittenPage | None) -> dict[str, Any]:
    return {"Page": written and written.number, "Digest": written and written.digest}


def _text(instant: datetime | None) -> str | None:
    return format_instant(instant) if instant else None


def _date_key(stream: Stream) -> str:
    """Return Listrak's name of the date that a checkpoint names."""
    return stream.replication_key if stream.is_by_list and stream.replication_key else "SendDate"


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
    is_unfinished = bool(offset) and _holds_anything(offset)
    progress = _range(stream, offset, f"{where}.offset") if is_unfinished else None
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
    )


def read_scope(value: Any, where: str) -> BookmarkScope | None:
    """Return what a bookmark speaks for. Raises UsageError."""
    if not _holds_anything(value):
        return None
    value = read_object(value, where)
    return BookmarkScope(
        _instant(value.get("start_date"), f"{where}.start_date"),
        _integers(value.get("ListIDs"), f"{where}.ListIDs"),
        _with_tests(value, where),
    )


def _range(stream: Stream, value: Any, where: str) -> RangeProgress:
    value = read_object(value, where)
    timezone = value.get("timezone")
    if not isinstance(timezone, (str, type(None))):
        raise UsageError(f"In the state, {where}.timezone must be the name of a time zone.")
    return RangeProgress(
        start_date=_instant(value.get("start_date"), f"{where}.start_date"),
        start=_instant(value.get("start"), f"{where}.start"),
        end=_instant(value.get("end"), f"{where}.end"),
        include_test_messages=_with_tests(value, where),
        timezone=timezone,
        interval_days=_optional_integer(value.get("interval_days"), f"{where}.interval_days"),
        finished_lists=_integers(value.get("ListIDs"), f"{where}.ListIDs"),
        checkpoint=_checkpoint(stream, value, where),
    )


def _checkpoint(stream: Stream, value: dict[str, Any], where: str) -> Checkpoint | None:
    list_id = _optional_integer(value.get("ListID"), f"{where}.ListID")
    date_key = _date_key(stream)
    date = _optional_instant(value.get(date_key), f"{where}.{date_key}")
    msg_id = _optional_integer(value.get("MsgID"), f"{where}.MsgID")
    written = _written(value, where)
    # Version 1.0.0 walked messages without a SendDate first, and could stop among them.
    return None if list_id is None or date is None else Checkpoint(list_id, date, msg_id, written)


def _deferred(stream: Stream, value: Any, where: str) -> DeferredFetch:
    value = read_object(value, where)
    msg_id = _optional_integer(value.get("MsgID"), f"{where}.MsgID")
    if (msg_id is not None) != stream.is_by_message:
        needs = "needs a MsgID" if stream.is_by_message else "takes no MsgID"
        raise UsageError(f"In the state, {where} {needs}.")
    return DeferredFetch(
        list_id=_integer(value.get("ListID"), f"{where}.ListID"),
        msg_id=msg_id,
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
    with_tests = value.get("include_test_messages", True)
    if not isinstance(with_tests, bool):
        raise UsageError(f"In the state, {where}.include_test_messages must be true or false.")
    return with_tests


def _check_not_ahead(instant: datetime, now: datetime, lookback: timedelta, where: str) -> None:
    if instant > now + lookback:
        raise UsageError(
            f"In the state, {where} lies in the future. Set it back to the last moment that was "
            "synced, or check this machine's clock."
        )
    if instant > now:
        LOGGER.warning("In the state, %s is ahead of this machine's clock.", where)
