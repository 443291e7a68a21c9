"""Make interrupted and successive runs of an account of a few pages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from fake_listrak import Account, Ask, Reply, raw
from tap_listrak.streams import BY_NAME, STREAMS
from tests.support.faults import part_of
from tests.support.tap import MakeTap, Run, Tap, catalog_of

BOOKMARKS = {stream.name: stream.replication_key for stream in STREAMS if stream.replication_key}
"""The name of the bookmark of each stream that has one."""
OPEN = BY_NAME["message_opens"].operation
CLICK = BY_NAME["message_clicks"].operation
SENT = BY_NAME["message_sends"].operation
CONTACTS = BY_NAME["subscribed_contacts"].operation
MESSAGES = BY_NAME["messages"].operation
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


def at(moment: datetime) -> Callable[[], datetime]:
    """Return a clock that stands still at this moment."""
    return lambda: moment


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


def asked_in(tap: Tap, **given: Any) -> tuple[Run, list[Ask]]:
    """Run the tap; return the run and the calls that it made."""
    before = len(tap.service.asked)
    run = tap.run(**given)
    return run, tap.service.asked[before:]


# What was emitted.


def rows(*runs: Run) -> Counter[tuple[str, str]]:
    """The records of these runs, whole, with how often they came."""
    return Counter(
        (each["stream"], json.dumps(each["record"], sort_keys=True))
        for run in runs
        for each in run.of_type("RECORD")
    )


def addresses(run: Run, stream: str = "message_opens") -> set[str]:
    """Return the addresses in the emitted rows of a stream."""
    return {record["EmailAddress"] for record in run.records(stream)}


def prefixes(run: Run) -> list[Run]:
    """Yield the outputs of this run, as if it had ended after each of its STATEs."""
    found, lines, last = [], [], None
    for line in run.out.split("\n"):
        lines.append(line)
        if line.startswith('{"type":"STATE"') and line != last:
            last = line
            found.append(Run(0, "\n".join([*lines, ""]), ""))
    return found


def cut_within(run: Run, stream: str = "message_opens") -> Run:
    """A run as it would be, had it ended among the pages of a part of this stream."""
    inside = [each for each in prefixes(run) if place(each, stream).get("page")]
    return inside[len(inside) // 2]


# What the last STATE says.


def entry(run: Run, stream: str = "message_opens") -> dict[str, Any]:
    """The entry of a stream."""
    found: dict[str, Any] = run.state["bookmarks"].get(stream, {})
    return found


def covers(run: Run, stream: str = "message_opens") -> dict[str, Any]:
    """What the bookmark of a stream covers."""
    (found,) = entry(run, stream)["covers"]
    assert isinstance(found, dict)
    return found


def place(run: Run, stream: str = "message_opens") -> dict[str, Any]:
    """Return the place of an unfinished range in its list, if any."""
    unfinished = entry(run, stream).get("unfinished") or [{}]
    found: dict[str, Any] = unfinished[0].get("place") or {}
    return found


def is_finished(state: dict[str, Any]) -> bool:
    """Whether a state holds no unfinished range."""
    return not any(each.get("unfinished") for each in state["bookmarks"].values())


def bookmarks(run: Run) -> dict[str, str | None]:
    """The bookmark of each stream that has an entry."""
    entries = run.state["bookmarks"]
    return {name: entries[name][key] for name, key in BOOKMARKS.items() if name in entries}


def set_aside(run: Run) -> list[dict[str, Any]]:
    """Return what the last STATE has set aside, with the streams."""
    return [
        {"stream": name, **each}
        for name, found in run.state["bookmarks"].items()
        for each in found.get("set_aside", [])
    ]


def warnings(run: Run, text: str) -> list[str]:
    """Return the WARNINGs that contain a text."""
    return [line for line in run.lines("WARNING") if text in line]


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
