"""Compute the records expected from an account's rows, and read those that a run emitted."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from jsonschema import Draft4Validator, FormatChecker

from fake_listrak import OPERATIONS, Account, Row
from fake_listrak.contract import ID_OF
from tap_listrak.streams import BY_NAME, PUBLISHED, Stream
from tests.support.published import ALL_COLUMNS, ALL_KEYS

if TYPE_CHECKING:
    from tests.support.tap import Run

NEVER = "0001-01-01T00:00:00"
NO_DATE = "1970-01-01T00:00:00Z"
KINDS = {operation.table: operation for operation in OPERATIONS.values()}
Record = dict[str, Any]
Frozen = tuple[tuple[str, Any], ...]


# What is expected, computed from the rows on the wire, without the tap's code.


def in_utc(text: str, zone: str = "UTC") -> str | None:
    """Return the expected form of a date in a record; a repeated hour is standard time."""
    if text == NEVER:
        return None
    if text.endswith("M"):
        text = datetime.strptime(text, "%m/%d/%Y %I:%M:%S %p").isoformat()
    whole, fraction, offset = re.fullmatch(r"(.{19})(\.\d+)?(.*)", text).groups("")  # type: ignore[union-attr]
    moment = datetime.fromisoformat(whole + offset.replace("Z", "+00:00"))
    if not offset:
        moment = moment.replace(tzinfo=ZoneInfo(zone), fold=1)
    return f"{moment.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%S}{fraction}Z"


VALUES: dict[str, Callable[[Any], Any]] = {
    "integer": int,
    "number": Decimal,
    "boolean": {"true": True, "false": False}.__getitem__,
    "object": lambda vmta: {"VmtaID": int(vmta["VmtaID"]), "Description": vmta.get("Description")},
}
"""How the values of some types are read."""


def due(stream: str, row: Row, parent: int | None = None, zone: str = "UTC") -> Record:
    """Return the record expected from a row on the wire; `parent` is the ID of its parent."""
    record: Record = {}
    for column, kind in ALL_COLUMNS[stream].items():
        text: Any = row.get(column)
        if kind == "date-time" or column in ("AdditionDate", "RemovalDate"):
            record[column] = in_utc(text, zone) if text else None
        else:
            record[column] = VALUES.get(kind, lambda given: given)(text) if text else None
        if record[column] is None and kind == "date-time" and column in ALL_KEYS[stream]:
            record[column] = NO_DATE
    key = ID_OF.get(KINDS[stream].asked_by)
    if parent is not None and key in ALL_COLUMNS[stream]:
        record[str(key)] = parent
    return record


def all_rows(
    account: Account, streams: Collection[str] = ALL_COLUMNS
) -> Iterator[tuple[str, int | None, Row]]:
    """Every row that the account holds: its stream, the ID of its parent, and the row."""
    for operation, parent in all_parents(account):
        if OPERATIONS[operation].table in streams:
            for row in account.rows(operation, parent):
                yield OPERATIONS[operation].table, parent, row


def all_parents(account: Account) -> Iterator[tuple[str, int | None]]:
    """Every operation, with the ID of each of its parents (None: the account)."""
    lists = list_ids(account)
    by: dict[str, Iterable[int | None]] = {
        "account": [None],
        "list": lists,
        "message": [int(str(row["MsgID"])) for each in lists for row in account.messages(each)],
        "conversation": [each for ListID in lists for each in account.conversation_ids(ListID)],
    }
    for operation in OPERATIONS.values():
        for parent in by[operation.asked_by]:
            yield operation.name, parent


def all_due(
    account: Account, zone: str = "UTC", end: datetime | None = None
) -> dict[str, Counter[Frozen]]:
    """By stream, every record that the account's rows become, up to `end` (None: ever).

    A run requests imports of 31 days.
    """
    every: dict[str, Counter[Frozen]] = {stream: Counter() for stream in ALL_COLUMNS}
    first = f"{end - timedelta(days=31):%Y-%m-%dT%H:%M:%SZ}" if end else ""
    for stream, parent, row in all_rows(account):
        record = due(stream, row, parent, zone)
        if stream != "imports" or str(record["StartDate"]) >= first:
            every[stream][frozen(record)] += 1
    return every


def frozen(value: Any) -> Any:
    """Return a hashable form of a JSON value, in which numerically equal numbers are equal."""
    if isinstance(value, dict):
        return tuple((key, frozen(value[key])) for key in sorted(value))
    return tuple(map(frozen, value)) if isinstance(value, list) else value


# What was emitted.


def exactly(run: Run) -> list[dict[str, Any]]:
    """Return the messages on stdout, with numbers as their digits in the text."""
    return [json.loads(line, parse_float=Decimal) for line in run.out.split("\n")[:-1]]


def all_emitted(run: Run) -> dict[str, Counter[Frozen]]:
    """By stream, every record that a run emitted."""
    every: dict[str, Counter[Frozen]] = {stream: Counter() for stream in ALL_COLUMNS}
    for message in exactly(run):
        if message["type"] == "RECORD":
            every[message["stream"]][frozen(message["record"])] += 1
    return every


def is_date_time(text: object) -> bool:
    """Accept date-times only in RFC 3339 and in UTC."""
    if not isinstance(text, str):
        return True
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z", text, re.ASCII)
    return bool(found and datetime.fromisoformat(found[1]))


DATES = FormatChecker(formats=())
DATES.checks("date-time", raises=ValueError)(is_date_time)


def assert_valid(run: Run) -> None:
    """Assert that every record is valid against the SCHEMA before it."""
    validators: dict[str, Any] = {}
    for message in exactly(run):
        if message["type"] == "SCHEMA":
            Draft4Validator.check_schema(message["schema"])
            validator = Draft4Validator(message["schema"], format_checker=DATES)
            validators[message["stream"]] = validator
        elif message["type"] == "RECORD":
            validators[message["stream"]].validate(message["record"])


def list_ids(account: Account) -> list[int]:
    return sorted(int(str(row["ListID"])) for row in account.lists())


Keys = dict[str, Counter[tuple[Any, ...]]]


def keys_held(account: Account, streams: Iterable[Stream] = PUBLISHED) -> Keys:
    """By stream, the key of each row that the account holds, with how often it does."""
    held: Keys = {stream.name: Counter() for stream in streams}
    for name, parent, row in all_rows(account, held):
        record = due(name, row, parent)
        held[name][tuple(record[column] for column in ALL_KEYS[name])] += 1
    return held


def keys_emitted(*runs: Run) -> Keys:
    """By stream that these runs synced, the key of each record, with how often it came."""
    emitted: Keys = defaultdict(Counter)
    for run in runs:
        for each in run.messages:
            if each["type"] == "SCHEMA":
                emitted.setdefault(each["stream"], Counter())
            elif each["type"] == "RECORD":
                key = BY_NAME[each["stream"]].key_properties
                emitted[each["stream"]][tuple(each["record"][column] for column in key)] += 1
    return emitted
