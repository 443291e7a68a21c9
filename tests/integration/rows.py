"""An account that is hard to load, and the rows that are due of it in a target's tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import ciso8601

from fake_listrak import OPERATIONS, Account
from fake_listrak.contract import MESSAGE_OPERATIONS
from tests.support.published import COLUMNS
from tests.support.records import Record, due, frozen

START = "2025-01-01T00:00:00Z"

Row = tuple[tuple[str, Any], ...]
"""Columns with their values, sorted: a record that can be counted."""
Tables = dict[str, Counter[Row]]
"""By table, its rows, with how often each is there."""
Columns = Mapping[str, Mapping[str, str]]
"""By table and column, the type in the JSON schema; `date-time` for a string of that format."""
Keeps = Mapping[str, Callable[[Any], Any]]
"""By type in the JSON schema, what makes of a value that which a target keeps of it."""

TEXTS = (
    'a \\ b "c" \'d\' , ; | \r\n\tnew line \U0001f389 é \\n \\\\N $1 %s {} {"e": [1]} <f>&amp;',
    "\\N",
    "NULL",
    "\\.",
    '"',
    ",",
    "\\",
    "  ",
    "=1+1",
    "one\rtwo",
)
"""What has a meaning in SQL, CSV, JSON or a COPY."""
NUMBERS: dict[str, Any] = {
    "OrderTotal": "12345678901234567.8900",
    "AverageOrderValue": "0.1",
    "OpenPercent": "33.333333333333336",
    "RemovePercent": "1E-05",
    "ReadPercent": "-0.07",
    "ClickerPercent": "123456789012345678901234567890.123456789012345678901234567891",
    "DeliverCount": "9007199254740993",
}
"""Three that a float holds, and four that it would round."""

EVERY_EVENT = {"keep_every_event": True, "typed_event_dates": True}
"""Options of the tap under which no two rows of an account have the same key."""
TYPED: Columns = {
    table: {name: "date-time" if name.endswith("Date") else kind for name, kind in columns.items()}
    for table, columns in COLUMNS.items()
}
"""The columns that they make."""

_OPEN, _CLICK = "ReportRangeMessageContactOpen", "ReportRangeMessageContactClick"
_BOUNCE, _SENT = "ReportRangeMessageContactBounces", "ReportMessageContactSent"
_OLD_LIST, _NEW_LIST = 345_001, 1
_OLD_MESSAGE, _NEW_MESSAGES = 100, (200, 201)
LATE_READER = "late@example.com"


def hard_account() -> Account:
    """Several lists, several pages of each kind, and texts and numbers that are easily harmed."""
    start, end = datetime(2025, 1, 1), datetime(2025, 12, 31)
    account = Account(
        lists=3, messages=5, contacts=25, sends=25, page_size=10, start=start, end=end
    )
    account.add_list(_OLD_LIST, ListName=TEXTS[0], GoogleTrackingDomains=list(TEXTS[:-2]))
    moment = datetime(2025, 6, 1, 12, 30, 15, 120_000)
    for number, text in enumerate(TEXTS):
        MsgID, email = _OLD_MESSAGE + number, f"o'{number}@example.com"
        account.add_message(_OLD_LIST, MsgID, moment, Subject=text, **NUMBERS)
        account.add_event(_CLICK, MsgID, email, moment, LinkDescription=text, LinkUrl=text)
        account.add_event(_BOUNCE, MsgID, email, moment, BounceReason=text, BounceDetail=text)
    account.add_event(_OPEN, _OLD_MESSAGE, LATE_READER, moment)
    return account


def grow(account: Account) -> None:
    """Add, an hour ago, one of everything: a list with a message, more in an old list and message.

    LATE_READER opens the old message once more.
    """
    moment = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=1)
    account.add_list(_NEW_LIST, ListName="New")
    for ListID, MsgID in zip((_OLD_LIST, _NEW_LIST), _NEW_MESSAGES, strict=True):
        account.add_message(ListID, MsgID, moment, Subject=TEXTS[0])
        account.add_contact(ListID, "new@example.com", moment)
    for MsgID in (_OLD_MESSAGE, *_NEW_MESSAGES):
        for operation in MESSAGE_OPERATIONS:
            # Sends have no date: who is added to an old message's would never be asked for.
            if (operation, MsgID) != (_SENT, _OLD_MESSAGE):
                account.add_event(operation, MsgID, "new@example.com", moment)
    account.add_event(_OPEN, _OLD_MESSAGE, LATE_READER, moment)


def due_of(account: Account, columns: Columns, keeps: Keeps) -> Tables:
    """Give the rows that the tables are to hold."""
    tables: Tables = {table: Counter() for table in columns}

    def add(table: str, record: Record) -> None:
        if table in columns:
            tables[table][comparable(record, columns[table], keeps)] += 1

    for each in account.lists():
        add("lists", due("lists", each))
        ListID = int(str(each["ListID"]))
        for contact in account.contacts(ListID):
            add("subscribed_contacts", due("subscribed_contacts", contact, ListID))
        for message in account.messages(ListID):
            add("messages", due("messages", message, ListID))
            MsgID = int(str(message["MsgID"]))
            for operation in MESSAGE_OPERATIONS:
                table = OPERATIONS[operation].table
                for event in account.events(operation, MsgID):
                    add(table, due(table, event, MsgID))
    return tables


def sent_in_two(first: Tables, second: Tables) -> Tables:
    """Give the rows that two syncs send, of what was due at the time of each."""
    whole = {"lists", "messages"}  # Both send these, the second of all others what is new.
    return {
        table: first[table] + rows if table in whole else rows for table, rows in second.items()
    }


def comparable(record: Record, kinds: Mapping[str, str], keeps: Keeps) -> Row:
    """Give a record, due or stored, in the one form in which the two compare."""
    convert = {**_COMPARABLE, **keeps}
    return tuple(
        (column, None if record[column] is None else convert[kind](record[column]))
        for column, kind in sorted(kinds.items())
    )


def keys(rows: Counter[Row], key: Iterable[str]) -> Counter[tuple[Any, ...]]:
    """Give the keys of rows, with how often each is there."""
    columns = tuple(key)
    return Counter(tuple(dict(row)[column] for column in columns) for row in rows.elements())


def _instant(text: str) -> datetime:
    moment: datetime = ciso8601.parse_datetime(text)
    # What says no offset is to be UTC.
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


_COMPARABLE: Keeps = {
    "integer": int,
    "number": Decimal,
    "boolean": bool,
    "string": str,
    "date-time": _instant,
    "array": frozen,
    "object": frozen,
}
