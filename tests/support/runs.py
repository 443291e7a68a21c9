"""Runs that are cut off or follow one another, of an account of a few pages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Any

import pytest

from fake_listrak import Ask
from tap_listrak.streams import BY_NAME, STREAMS
from tests.support.faults import part_of
from tests.support.published import ALL_COLUMNS
from tests.support.records import KINDS
from tests.support.tap import MakeTap, Run, Tap

BOOKMARKS = {stream.name: stream.replication_key for stream in STREAMS if stream.replication_key}
"""The name of the bookmark of each stream that has one."""
OF_LISTS = BOOKMARKS.keys() - {"complaints"}
"""The streams whose bookmark speaks for lists."""
TAKES_TURNS = {
    name for name, kind in KINDS.items() if kind.asked_by == "message" and name != "message_sends"
}
"""The streams that are asked of old messages in turns."""
MIRRORABLE = {"lists", "messages", "subscribed_contacts"}
OPEN = BY_NAME["message_opens"].operation
CLICK = BY_NAME["message_clicks"].operation
CONTACTS = BY_NAME["subscribed_contacts"].operation
CONCURRENCIES = pytest.mark.parametrize("concurrency", [1, 8])

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
    "transactional": 1,
    "removals": 4,
    "hygiene": 4,
    "imports": 4,
    "complaints": 4,
}


def at(moment: datetime) -> Callable[[], datetime]:
    """A clock that stands at this moment."""
    return lambda: moment


def text(moment: datetime) -> str:
    """A moment as bookmarks have it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def seconds(moment: datetime) -> int:
    """A moment as the classes of turns hold it: seconds since 1970."""
    return int(moment.timestamp())


def wire(moment: datetime) -> str:
    """A moment as calls have it, in UTC."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}"


def tiny_tap(make_tap: MakeTap, concurrency: int = 1, **more: Any) -> Tap:
    """A tap that selects all of an account of a few pages, in February and March of 2026."""
    config = {"start_date": "2026-02-01", "concurrency": concurrency}
    shape = {**TINY, "start": START, "end": END, **more}
    return make_tap(config=config, **shape).selecting_all()


def rows(*runs: Run) -> Counter[tuple[str, str]]:
    """The records of these runs, whole, with how often they came."""
    return Counter(
        (each["stream"], json.dumps(each["record"], sort_keys=True))
        for run in runs
        for each in run.of_type("RECORD")
    )


def bookmarks(run: Run) -> dict[str, str]:
    """The bookmarks that a run ended with; there may be no offset beside them."""
    entries = run.state["bookmarks"]
    assert is_finished(run.state)
    return {
        name: entries[name][key]
        for name, key in BOOKMARKS.items()
        if name in entries and entries[name][key]
    }


def debts(run: Run) -> list[dict[str, Any]]:
    """What the last STATE holds as set aside, each with its stream."""
    return debts_of(run.state)


def debts_of(state: dict[str, Any]) -> list[dict[str, Any]]:
    """What a state holds as set aside, each with its stream."""
    return [
        {"stream": name, **debt}
        for name, entry in state["bookmarks"].items()
        for debt in entry.get("set_aside") or []
    ]


def _no_offset(name: str) -> dict[str, Any]:
    kind = KINDS[name]
    is_in_windows = kind.asked_by in ("list", "account") and "Page" in kind.arguments
    return {
        "start_date": None,
        "start": None,
        "end": None,
        "include_test_messages": None,
        "timezone": None,
        "interval_days": None,
        "ListIDs": [],
        "ListID": None,
        str(kind.date) if is_in_windows else "SendDate": None,
        "ConversationID" if kind.asked_by == "conversation" else "MsgID": None,
        "Page": None,
        "Digest": None,
        **(dict.fromkeys(["recent_days", "older_every_days"]) if name in TAKES_TURNS else {}),
        **({"mirrored": None} if name in MIRRORABLE else {}),
    }


NO_TURNS: dict[str, Any] = {
    "recent_days": None,
    "older_every_days": None,
    "recent": None,
    "classes": [],
}
"""The turns of a stream whose messages are all asked in every run."""
NO_OFFSET = {name: _no_offset(name) for name in ALL_COLUMNS}
"""By stream, the offset of one whose range is complete."""


def is_finished(state: dict[str, Any]) -> bool:
    """Whether a state holds no unfinished range."""
    offsets = (entry.get("offset") or {} for entry in state["bookmarks"].values())
    return not any(offset.get("end") for offset in offsets)


def scope(run: Run, stream: str = "message_opens") -> dict[str, Any]:
    """What the bookmark of a stream speaks for, in the last STATE."""
    covers: dict[str, Any] = run.state["bookmarks"][stream]["covers"]
    return covers


def starts(asked: Iterable[Ask], operation: str) -> set[str]:
    """Where the ranges that were asked for started, one for each message, conversation or list."""
    firsts: dict[str, str] = {}
    for ask in asked:
        if ask.operation == operation:
            part, start = part_of(ask), ask.arguments["StartDate"]
            firsts[part] = min(firsts.get(part, start), start)
    return set(firsts.values())


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


def prefixes(run: Run) -> list[Run]:
    """The outputs that this run would have left, had it ended behind each of its STATEs."""
    found, lines, last = [], [], None
    for line in run.out.split("\n"):
        lines.append(line)
        if line.startswith('{"type":"STATE"') and line != last:
            last = line
            found.append(Run(0, "\n".join([*lines, ""]), ""))
    return found


def asked_in(tap: Tap, **given: Any) -> tuple[Run, list[Ask]]:
    """Run the tap; give the run and what was asked in it."""
    before = len(tap.service.asked)
    run = tap.run(**given)
    return run, tap.service.asked[before:]
