"""An account that is hard to load, and the rows that are due of it in a target's tables."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import ciso8601

from fake_listrak import OPERATIONS, Account
from fake_listrak.contract import FURTHER_OPERATIONS, MESSAGE_OPERATIONS, Operation
from tap_listrak.streams import STREAMS
from tests.support.published import ALL_COLUMNS
from tests.support.records import Record, all_rows, due, frozen

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
    "a \\ b \"c\" 'd' , ; | \r\n\tnew line \x85\u2028\u2029"
    ' \U0001f389 é \\n \\\\N $1 %s {} {"e": [1]} <f>&amp;',
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
RATES: dict[str, Any] = {
    "OrderTotal": NUMBERS["OrderTotal"],
    "AverageOrderValue": NUMBERS["ClickerPercent"],
    "OpenRate": NUMBERS["OpenPercent"],
    "ReadRate": NUMBERS["RemovePercent"],
    "RemoveRate": NUMBERS["ReadPercent"],
}
"""The same, of a conversation."""

EVERY_EVENT = {"keep_every_event": True, "typed_event_dates": True}
"""Options of the tap under which no two rows of an account have the same key."""
TYPED: Columns = {
    table: {name: "date-time" if name.endswith("Date") else kind for name, kind in columns.items()}
    for table, columns in ALL_COLUMNS.items()
}
"""The columns that they make."""
WHOLE = {each.name for each in STREAMS if each.replication_key in (None, "AskedUntil")}
"""The tables that each run gives whole; totals to date have a bookmark, but no dates."""

_OPEN, _CLICK = "ReportRangeMessageContactOpen", "ReportRangeMessageContactClick"
_BOUNCE, _SENT = "ReportRangeMessageContactBounces", "ReportMessageContactSent"
_OLD_LIST, _NEW_LIST = 345_001, 1
_FIRST, _NEW = 100, (200, 201)
"""The ID of the first message and conversation of the old list; those of what comes later."""
_DERIVED = {"message_deliveries", "message_analytics", "conversations", "conversation_deliveries"}
_ROW_BY_ROW = [
    OPERATIONS[name] for name in FURTHER_OPERATIONS if OPERATIONS[name].table not in _DERIVED
]
"""The further operations whose rows are added one by one; others follow what they are of."""
LATE_READER = "late@example.com"


def account_of_2025(**shape: Any) -> Account:
    """Return an account whose rows are dated in 2025."""
    return Account(start=datetime(2025, 1, 1), end=datetime(2025, 12, 31), **shape)


def hard_account() -> Account:
    """Several lists, several pages of each kind, and texts and numbers that are easily harmed."""
    account = account_of_2025(lists=3, messages=5, contacts=25, sends=25, page_size=10, imports=0)
    account.add_list(_OLD_LIST, ListName=TEXTS[0], GoogleTrackingDomains=list(TEXTS[:-2]))
    moment = datetime(2025, 6, 1, 12, 30, 15, 120_000)
    for ID, text in enumerate(TEXTS, _FIRST):
        email = f"o'{ID}@example.com"
        account.add_message(_OLD_LIST, ID, moment, Subject=text, **NUMBERS)
        account.add_event(_CLICK, ID, email, moment, LinkDescription=text, LinkUrl=text)
        account.add_event(_BOUNCE, ID, email, moment, BounceReason=text, BounceDetail=text)
        names: dict[str, Any] = {"CampaignName": text, "ConversationName": text}
        account.add_conversation(_OLD_LIST, ID, moment, **names, **RATES)
        for operation in _ROW_BY_ROW:
            # Listrak keeps imports for 30 days.
            is_kept = operation.name != "ReportListImportHistory"
            _add_row(
                account, operation, _OLD_LIST, ID, moment if is_kept else _ago(10), text, email
            )
    account.add_event(_OPEN, _FIRST, LATE_READER, moment)
    return account


def _ago(days: float) -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0) - timedelta(days=days)


def grow(account: Account) -> None:
    """Add, an hour ago, one of everything: a list with all that it has, and more in an old one.

    An old message and an old conversation gain a row of each kind, too, and LATE_READER opens the
    old message once more.
    """
    moment = _ago(1 / 24)
    account.add_list(_NEW_LIST, ListName="New")
    added = tuple(zip((_OLD_LIST, _NEW_LIST), _NEW, strict=True))
    for ListID, ID in added:
        account.add_message(ListID, ID, moment, Subject=TEXTS[0])
        account.add_contact(ListID, "new@example.com", moment)
        account.add_conversation(ListID, ID, moment, ConversationName=TEXTS[0])
    for ListID, ID in ((_OLD_LIST, _FIRST), *added):
        for name in MESSAGE_OPERATIONS:
            # Sends have no date: rows added to an old message's would never be requested.
            if (name, ID) != (_SENT, _FIRST):
                account.add_event(name, ID, "new@example.com", moment)
        for operation in _ROW_BY_ROW:
            _add_row(account, operation, ListID, ID, moment, TEXTS[0], f"new{ID}@example.com")
    account.add_event(_OPEN, _FIRST, LATE_READER, moment)


def _add_row(
    account: Account, operation: Operation, ListID: int, ID: int, moment: datetime, text: str,
    email: str,
) -> None:  # fmt: skip
    """Add a row of a list, or of its message or conversation with this ID.

    Every column of text holds this text, but those of IDs and addresses.
    """
    fields: dict[str, Any] = {
        column: email if column.endswith("EmailAddress") else text
        for column, kind in ALL_COLUMNS[operation.table].items()
        if kind == "string" and not column.endswith("ContactID")
    }
    if operation.asked_by == "account":
        fields |= {"ListID": str(ListID), "MessageID": str(ID)}
    parents = {"list": ListID, "message": ID, "conversation": ID}
    account.add_row(operation.name, parents.get(operation.asked_by), moment, **fields)


def due_of(account: Account, columns: Columns, keeps: Keeps) -> Tables:
    """Give the rows that the tables are to hold."""
    tables: Tables = {table: Counter() for table in columns}
    for table, parent, row in all_rows(account, columns):
        tables[table][comparable(due(table, row, parent), columns[table], keeps)] += 1
    return tables


def sent_in_two(first: Tables, second: Tables) -> Tables:
    """Return the rows that two syncs send of those due at the time of each."""
    # Both send what is whole, the second of all others what is new.
    return {
        table: first[table] + rows if table in WHOLE else rows for table, rows in second.items()
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
