"""A small account of three months, the moments at which the tap is run for it, and its service."""

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from fake_listrak import Account, ListrakService
from tests.support.records import list_ids as list_ids
from tests.support.tap import PASSWORD, USERNAME, Tap

NOW = datetime(2026, 7, 1, 12, 0, 0, tzinfo=timezone.utc)
LATER = NOW + timedelta(days=3, hours=4, minutes=5, seconds=6)

# Three months of an account that has every kind of row.
SMALL: dict[str, Any] = {
    "lists": 2,
    "messages": 4,
    "contacts": 9,
    "sends": 20,
    "page_size": 7,
    "start": datetime(2026, 4, 1),
    "end": datetime(2026, 6, 29),
}


def small(**shape: Any) -> Account:
    """A small account, of this shape."""
    return Account(**{**SMALL, **shape})


@contextlib.contextmanager
def serving(account: Account, folder: Path, **config: Any) -> Iterator[Tap]:
    """A tap for an account that several tests share."""
    with ListrakService(account, username=USERNAME, password=PASSWORD) as service:
        yield Tap(service, folder, config)


def message_ids(account: Account, *, since: str = "") -> set[int]:
    return {
        int(str(row["MsgID"]))
        for ListID in list_ids(account)
        for row in account.messages(ListID)
        if str(row["SendDate"]) >= since
    }
