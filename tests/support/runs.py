"""Make interrupted and successive runs of an account of a few pages."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from fake_listrak import Account, Ask, fault
from tap_listrak.streams import BY_NAME
from tests.support.faults import START as NIGHTS_START
from tests.support.faults import part_of, tiny_account
from tests.support.tap import FIRST_NIGHT, MakeTap, Run, Tap, catalog_of

OPEN = BY_NAME["message_opens"].operation
CLICK = BY_NAME["message_clicks"].operation
SENT = BY_NAME["message_sends"].operation
CONTACTS = BY_NAME["subscribed_contacts"].operation
MESSAGES = BY_NAME["messages"].operation
REFUSED = fault("Op(): [Message] [Locked] It is locked")

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
START = datetime(2026, 2, 1)
NOW = datetime(2026, 3, 20, 12, tzinfo=timezone.utc)
PAGE_SIZE = 3
TINY: dict[str, Any] = {
    **dict.fromkeys(("lists", "messages"), 2),
    **dict.fromkeys(("contacts", "sends"), 8),
    **dict.fromkeys(("removals", "hygiene", "imports", "complaints", "conversation_sends"), 4),
    **dict.fromkeys(("conversations", "campaigns"), 1),
    "page_size": PAGE_SIZE,
    "start": START,
    "end": datetime(2026, 3, 15),
}


def days(number: float) -> datetime:
    """Return the moment this many days after NOW."""
    return NOW + timedelta(days=number)


def text(moment: datetime) -> str:
    """Return a moment in the format of bookmarks."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def wire(moment: datetime) -> str:
    """Return a moment in the format of calls, in UTC."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}"


def instant(number: int = 0) -> str:
    """Return the time of a night, in the format of the state."""
    return text(FIRST_NIGHT + timedelta(days=number))


def tiny_tap(make_tap: MakeTap, concurrency: int = 1, **more: Any) -> Tap:
    """A tap that selects all of an account of a few pages, in February and March of 2026."""
    config = {"start_date": "2026-02-01", "concurrency": concurrency}
    return make_tap(config=config, **{**TINY, **more}).selecting_all()


def tap_for(
    make_tap: MakeTap, *streams: str, account: Account | None = None, **config: object
) -> Tap:
    """Return a tap for the tiny account (or another) with these streams, by default the nine."""
    config = {"start_date": NIGHTS_START, "concurrency": 1, **config}
    tap = make_tap(account or tiny_account(), config)
    tap.catalog = catalog_of(*streams) if streams else None
    return tap


def rotating_tap(make_tap: MakeTap, recent: int, every: int, contacts: int, end: datetime) -> Tap:
    """A tap with recent_days and older_every_days that selects opens of twenty messages."""
    config = {"start_date": "2025-12-15", "recent_days": recent, "older_every_days": every}
    start = datetime(2025, 12, 20)
    account = Account(lists=2, messages=10, contacts=contacts, sends=6, start=start, end=end)
    tap = make_tap(account, config)
    tap.catalog = catalog_of("message_opens")
    return tap


def is_due(number: int, day: float, every: int) -> bool:
    """Whether a message or window of this number is due on a day, counted from NOW."""
    return ((days(day) - EPOCH).days - number) % every == 0


def rows(*runs: Run) -> Counter[tuple[str, str]]:
    """The records of these runs, whole, with how often they came."""
    return Counter(
        (each["stream"], json.dumps(each["record"], sort_keys=True))
        for run in runs
        for each in run.of_type("RECORD")
    )


# What was requested.


def is_page(ask: Ask) -> bool:
    """Whether a call is for a page of events, contacts and the like."""
    return "Page" in ask.arguments


def pages(asked: Iterable[Ask]) -> list[tuple[str, ...]]:
    """The calls for pages, in order."""
    return [
        (ask.operation, *(f"{key}={value}" for key, value in sorted(ask.arguments.items())))
        for ask in filter(is_page, asked)
    ]


def requested(asked: Iterable[Ask], operation: str = OPEN) -> set[int]:
    """Return the messages for which an operation was called."""
    return {int(ask.arguments["MsgID"]) for ask in asked if ask.operation == operation}


def bounds_of(asked: Iterable[Ask], operation: str = OPEN) -> list[tuple[str, str]]:
    """The ranges that were requested of an operation, in order."""
    of_it = (ask.arguments for ask in asked if ask.operation == operation)
    return [(each["StartDate"], each["EndDate"]) for each in of_it]


def starts(asked: Iterable[Ask], operation: str = OPEN) -> set[str]:
    """Where the ranges that were requested start, one for each message, conversation or list."""
    of_it = [ask for ask in asked if ask.operation == operation]
    by_start = sorted(of_it, key=lambda ask: ask.arguments["StartDate"], reverse=True)
    return {ask.arguments["StartDate"] for ask in {part_of(ask): ask for ask in by_start}.values()}


def ends(asked: Iterable[Ask], operation: str = OPEN) -> set[str]:
    """Where the ranges that were requested end."""
    return {end for _, end in bounds_of(asked, operation)}
