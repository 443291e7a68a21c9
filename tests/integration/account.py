"""An account that is hard to load, what is new in it a night later, and a pause of its service."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import Any

from fake_listrak import OPERATIONS, Account, Ask
from fake_listrak.contract import MESSAGE_OPERATIONS
from tap_listrak.streams import BY_NAME
from tests.integration.targets import Postgres
from tests.support.accounts import message_ids
from tests.support.published import KEYS
from tests.support.records import Keys, keys_held, list_ids
from tests.support.runs import CLICK, OPEN, is_page

SECONDS = 300  # more than anything here takes on a busy machine
START = "2025-01-01T00:00:00Z"
EVERY_EVENT = {"keep_every_event": True, "typed_event_dates": True}
"""Options of the tap under which no two rows of an account have the same key."""
WHOLE = ("lists", "messages")
"""The published tables that each run gives whole."""
IMPORTS = BY_NAME["imports"].operation
NEW, NEW_MESSAGE = "new@example.com", 9_000_001

TEXTS = (
    "a \\ b \"c\" 'd' , ; | \r\n\tnew line \x85\u2028\u2029"
    ' \U0001f389 é \\n \\\\N $1 %s {} {"e": [1]} <f>&amp;',
    *("\\N", "NULL", "\\.", '"', ",", "\\", "  ", "=1+1", "one\rtwo"),
)
"""What has a meaning in SQL, CSV, JSON or a COPY."""
NUMBERS: dict[str, Any] = {
    "OpenPercent": "33.333333333333336",
    "RemovePercent": "1E-05",
    "OrderTotal": "12345678901234567.8900",
    "ClickerPercent": "123456789012345678901234567890.123456789012345678901234567891",
    "DeliverCount": "9007199254740993",
}
"""Some that a float holds, and some that it would round."""


def ago(**time: float) -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0) - timedelta(**time)


def account_of_2025(**shape: Any) -> Account:
    """Return an account whose rows are dated in 2025; Listrak keeps imports for 30 days only."""
    return Account(start=datetime(2025, 1, 1), end=datetime(2025, 12, 31), imports=0, **shape)


def hard_account() -> Account:
    """Return an account with rows in every table, and texts and numbers that are easily harmed."""
    account = account_of_2025(lists=2, messages=4, contacts=15, sends=15, page_size=10)
    ListID, *_ = list_ids(account)
    account.add_list(ListID, ListName=TEXTS[0], GoogleTrackingDomains=list(TEXTS[:-2]))
    account.add_row(IMPORTS, ListID, ago(days=10))
    moment = datetime(2025, 6, 1, 12, 30, 15, 120_000)
    for MsgID, text in enumerate(TEXTS, 100):
        account.add_message(ListID, MsgID, moment, Subject=text, **NUMBERS)
        link = {"LinkDescription": text, "LinkUrl": text}
        account.add_event(CLICK, MsgID, f"o'{MsgID}@example.com", moment, **link)
    return account


def grow(account: Account) -> None:
    """Add, an hour ago, a list, a message, contacts, and an event of each kind, also to an old one.

    Somebody who opened the old message opens it once more.
    """
    moment = ago(hours=1)
    ListID, *_ = list_ids(account)
    old = next(MsgID for MsgID in sorted(message_ids(account)) if account.rows(OPEN, MsgID))
    account.add_list(ListID + 1)
    account.add_message(ListID, NEW_MESSAGE, moment)
    for list_id in (ListID, ListID + 1):
        account.add_contact(list_id, "joined@example.com", moment)
    for operation in MESSAGE_OPERATIONS:
        # Sends have no date: one of an old message would never be requested.
        for MsgID in (old, NEW_MESSAGE) if OPERATIONS[operation].date else (NEW_MESSAGE,):
            account.add_event(operation, MsgID, NEW, moment)
    account.add_event(OPEN, old, str(account.rows(OPEN, old)[0]["EmailAddress"]), moment)


def next_keys(account: Account, before: Keys) -> Keys:
    """By table, the keys of the rows that the next run gives: the new ones, if not all."""
    held = keys_held(account)
    return {table: rows if table in WHOLE else rows - before[table] for table, rows in held.items()}


def key_of(table: str, row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column] for column in KEYS[table])


def assert_stored(database: Postgres, account: Account) -> None:
    """The schema listrak holds the account's rows, one for each key."""
    for table, keys in keys_held(account).items():
        rows = database.rows(f"SELECT * FROM listrak.{table}")
        assert Counter(key_of(table, row) for row in rows) == Counter(set(keys))


@dataclass
class Pause:
    """A rule that lets nothing through from the n-th page on, until it is over."""

    at: int
    reached: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    seen: Iterator[int] = field(default_factory=lambda: count(1))

    def __call__(self, ask: Ask) -> None:
        if is_page(ask) and next(self.seen) >= self.at:
            self.reached.set()
            self.over.wait(SECONDS)
