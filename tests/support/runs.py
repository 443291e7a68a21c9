"""Make interrupted and successive runs of an account of a few pages."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from fake_listrak import Account, Ask, Reply, fault, raw
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
CONCURRENCIES = pytest.mark.parametrize("concurrency", [1, 8])

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
START = datetime(2026, 2, 1)
END = datetime(2026, 3, 15)
NOW = datetime(2026, 3, 20, 12, tzinfo=timezone.utc)
TINY: dict[str, Any] = {
    "lists": 2,
    "messages": 2,
    "contacts": 8,
    "sends": 8,
    "page_size": 3,
    "conversations": 1,
    "conversation_sends": 4,
    "campaigns": 1,
    "removals": 4,
    "hygiene": 4,
    "imports": 4,
    "complaints": 4,
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


def tiny_tap(make_tap: MakeTap, concurrency: int = 1, **more: Any) -> Tap:
    """A tap that selects all of an account of a few pages, in February and March of 2026."""
    config = {"start_date": "2026-02-01", "concurrency": concurrency}
    shape = {**TINY, "start": START, "end": END, **more}
    return make_tap(config=config, **shape).selecting_all()


def tap_for(
    make_tap: MakeTap, *streams: str, account: Account | None = None, **config: object
) -> Tap:
    """Return a tap for the tiny account (or another) with these streams, by default the nine."""
    tap = make_tap(
        account or tiny_account(), {"start_date": NIGHTS_START, "concurrency": 1, **config}
    )
    tap.catalog = catalog_of(*streams) if streams else None
    return tap


def instant(number: int = 0) -> str:
    """Return the time of a night, in the format of the state."""
    return text(FIRST_NIGHT + timedelta(days=number))


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


# What was emitted.


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
        (ask.operation, *(f"{key}={ask.arguments[key]}" for key in sorted(ask.arguments)))
        for ask in asked
        if is_page(ask)
    ]


def requested(asked: Iterable[Ask], operation: str = OPEN) -> set[int]:
    """Return the messages for which an operation was called."""
    return {int(ask.arguments["MsgID"]) for ask in asked if ask.operation == operation}


def starts(asked: Iterable[Ask], operation: str = OPEN) -> set[str]:
    """Where the ranges that were requested start, one for each message, conversation or list."""
    firsts: dict[str, str] = {}
    for ask in asked:
        if ask.operation == operation:
            part, start = part_of(ask), ask.arguments["StartDate"]
            firsts[part] = min(firsts.get(part, start), start)
    return set(firsts.values())


def ends(asked: Iterable[Ask], operation: str = OPEN) -> set[str]:
    """Where the ranges that were requested end."""
    return {ask.arguments["EndDate"] for ask in asked if ask.operation == operation}


def bounds_of(asked: list[Ask], operation: str) -> list[tuple[str, str]]:
    """The ranges that were requested of an operation, in order."""
    return [
        (ask.arguments["StartDate"], ask.arguments["EndDate"])
        for ask in asked
        if ask.operation == operation
    ]


def without_message(msg_id: int) -> Callable[[Ask], Reply | None]:
    """Return a rule that omits one message from the replies of messages only."""

    def rule(ask: Ask) -> Reply | None:
        if ask.operation != MESSAGES:
            return None
        before, row, after = ask.honest().body.partition(b"<MsgID>%d</MsgID>" % msg_id)
        if not row:
            return None
        start, end = before.rindex(b"<WSMessageActivity>"), after.index(b"</WSMessageActivity>")
        return raw(before[:start] + after[end + len(b"</WSMessageActivity>") :])

    return rule
