"""Read and write STATE values, including the published tap's format.

An entry describes only its own stream, and always has the same keys. So any mix of entries of
several STATEs, and any deep merge of them, covers only rows that were emitted.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tap_listrak.dates import format_instant, parse_instant
from tap_listrak.errors import UsageError
from tap_listrak.streams import BY_NAME, STREAMS, Stream
from tap_listrak.sync.entry import Entry, Range, SetAside
from tap_listrak.sync.state import StreamState
from tap_listrak.sync.turns import CountFilter

LOGGER = logging.getLogger(__name__)

_ARRAYS: dict[str, Any] = {
    "covers": Annotated[tuple[Range, ...], Meta(max_length=1)],
    "unfinished": Annotated[tuple[Range, ...], Meta(max_length=1)],
    "set_aside": tuple[SetAside, ...],
    "turns": Annotated[tuple[CountFilter, ...], Meta(max_length=1)],
}


def write_state(loaded: bytes, states: Mapping[Stream, StreamState]) -> dict[str, Any]:
    """Return the `loaded` state, updated with the entries of these streams."""
    value: dict[str, Any] = msgspec.json.decode(loaded)
    for stream, state in states.items():
        bookmarks = value["bookmarks"]
        is_kept = stream.replication_key or _is_mirror(state.snapshot)
        if state.has_entry and (is_kept or stream.name in bookmarks):
            bookmarks.setdefault(stream.name, {}).update(_write_entry(stream, state.snapshot))
    return value


def _is_mirror(entry: Entry) -> bool:
    return entry.version is not None or bool(entry.unfinished and entry.unfinished.version)


def _write_entry(stream: Stream, entry: Entry) -> dict[str, Any]:
    bookmark = format_instant(entry.bookmark) if entry.bookmark else None
    return {
        **({stream.replication_key: bookmark} if stream.replication_key else {}),
        "covers": msgspec.to_builtins([entry.covers] if entry.covers else []),
        "unfinished": msgspec.to_builtins([entry.unfinished] if entry.unfinished else []),
        "set_aside": msgspec.to_builtins(entry.set_aside),
        "turns": msgspec.to_builtins([entry.turns] if entry.turns else []),
        "version": entry.version,
    }


def read_state(
    raw: object, now: datetime, lookback: timedelta, *, is_backfill: bool = False
) -> tuple[bytes, dict[Stream, StreamState]]:
    """Read a state. Return its JSON unchanged, and a StreamState per stream.

    Accepts a STATE message, Meltano's `singer_state` and the published tap's state. Raises
    UsageError that names the path of the invalid value. A backfill writes no entries.
    """
    if isinstance(raw, Mapping) and raw.get("type") == "STATE":
        raw = raw.get("value")
    if isinstance(raw, Mapping) and "singer_state" in raw:
        raw = raw["singer_state"]
    if not isinstance(raw, Mapping):
        raise UsageError("The state must be a JSON object, such as the value of a STATE message.")
    try:
        value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(raw))
    except (TypeError, ValueError, RecursionError) as exc:
        raise UsageError(f"The state cannot be serialized as JSON: {exc}.") from exc
    if value and "bookmarks" not in value:
        LOGGER.warning("The state has no `bookmarks`, so the sync starts at start_date.")
    bookmarks = _object(value.setdefault("bookmarks", {}), "bookmarks")
    for name in bookmarks:
        on_one_line = json.dumps(name)[1:-1]
        _object(bookmarks[name], f"bookmarks.{on_one_line}")
        if name not in BY_NAME:
            LOGGER.warning("Unknown stream %s in the state: kept unchanged.", on_one_line)
    given = msgspec.json.encode(value)
    _move_bounce_bookmark(bookmarks)
    states = {}
    for stream in STREAMS:
        entry = _read_entry(stream, bookmarks.get(stream.name, {}), now, lookback)
        has_entry = stream.name in bookmarks and not is_backfill
        states[stream] = StreamState(stream, entry, has_entry=has_entry, is_backfill=is_backfill)
    return given if is_backfill else msgspec.json.encode(value), states


def _move_bounce_bookmark(bookmarks: dict[str, Any]) -> None:
    """Move the BounceDate that the published tap (before 2026) stored under message_unsubs."""
    stray = bookmarks.get("message_unsubs", {}).pop("BounceDate", None)
    if stray is not None:
        bookmarks.setdefault("message_bounces", {}).setdefault("BounceDate", stray)


def _read_entry(stream: Stream, entry: dict[str, Any], now: datetime, lookback: timedelta) -> Entry:
    where, key = f"bookmarks.{stream.name}", stream.replication_key
    bookmark = _bookmark(entry.get(key), f"{where}.{key}", now, lookback) if key else None
    arrays = {
        name: _convert(entry.get(name) or [], kind, f"{where}.{name}")
        for name, kind in _ARRAYS.items()
    }
    covers, unfinished, turns = arrays["covers"], arrays["unfinished"], arrays["turns"]
    if key and entry and key not in entry and not unfinished:
        LOGGER.warning("In the state, %s has no %s.", where, key)
    for each in (*covers, *unfinished):
        _check_not_ahead(each.end, now, lookback, f"{where}, in `end`,")
    return Entry(
        bookmark=bookmark,
        covers=covers[0] if covers and (bookmark or not key) else None,
        unfinished=unfinished[0] if unfinished else None,
        set_aside=arrays["set_aside"],
        turns=turns[0] if turns else None,
        version=_convert(entry.get("version"), int | None, f"{where}.version"),
    )


def _convert(value: Any, kind: Any, where: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        reason, _, path = str(exc).partition(" - at `$")
        raise UsageError(f"In the state, {where}{path.rstrip('`')}: {reason}.") from exc


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"In the state, {where} must be an object.")
    return value


def _bookmark(value: Any, where: str, now: datetime, lookback: timedelta) -> datetime | None:
    if value is None:
        return None
    try:
        bookmark = parse_instant(value)
    except (ValueError, TypeError) as exc:
        raise UsageError(f"In the state, {where} must be a date-time in RFC 3339.") from exc
    _check_not_ahead(bookmark, now, lookback, where)
    return bookmark


def _check_not_ahead(instant: datetime, now: datetime, lookback: timedelta, where: str) -> None:
    if instant > now + lookback:
        raise UsageError(
            f"In the state, {where} is in the future. Set it to the date of the last sync, or "
            "correct this machine's clock."
        )
    if instant > now:
        LOGGER.warning("In the state, %s is ahead of this machine's clock.", where)
