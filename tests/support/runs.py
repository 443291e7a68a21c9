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
from tests.support.tap import MakeTap, Run, Tap

BOOKMARKS = {stream.name: stream.replication_key for stream in STREAMS if stream.replication_key}
OPEN = BY_NAME["message_opens"].operation
CLICK = BY_NAME["message_clicks"].operation
CONTACTS = BY_NAME["subscribed_contacts"].operation
CONCURRENCIES = pytest.mark.parametrize("concurrency", [1, 8])

START = datetime(2026, 2, 1)
END = datetime(2026, 3, 15)
NOW = datetime(2026, 3, 20, 12, tzinfo=timezone.utc)
TINY = {"lists": 2, "messages": 2, "contacts": 8, "sends": 8, "page_size": 3}


def at(moment: datetime) -> Callable[[], datetime]:
    """A clock that stands at this moment."""
    return lambda: moment


def text(moment: datetime) -> str:
    """A moment as bookmarks have it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def wire(moment: datetime) -> str:
    """A moment as calls have it, in UTC."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}"


def tiny_tap(make_tap: MakeTap, concurrency: int = 1, **more: Any) -> Tap:
    """A tap for an account of a few pages, all of it in February and March of 2026."""
    config = {"start_date": "2026-02-01", "concurrency": concurrency}
    return make_tap(config=config, **{**TINY, "start": START, "end": END, **more})


def rows(*runs: Run) -> Counter[tuple[str, str]]:
    """The records of these runs, whole, with how often they came."""
    return Counter(
        (each["stream"], json.dumps(each["record"], sort_keys=True))
        for run in runs
        for each in run.of_type("RECORD")
    )


def bookmarks(run: Run) -> dict[str, str]:
    """The bookmarks that a run ended with; there may be no offset beside them."""
    entries = run.states[-1]["bookmarks"]
    assert is_finished(run.states[-1])
    return {
        name: entries[name][key]
        for name, key in BOOKMARKS.items()
        if name in entries and entries[name][key]
    }


def debts(run: Run) -> list[dict[str, Any]]:
    """What the last STATE holds as set aside, each with its stream."""
    return debts_of(run.states[-1])


def debts_of(state: dict[str, Any]) -> list[dict[str, Any]]:
    """What a state holds as set aside, each with its stream."""
    return [
        {"stream": name, **debt}
        for name, entry in state["bookmarks"].items()
        for debt in entry.get("set_aside") or []
    ]


NO_OFFSET: dict[str, Any] = {
    "start_date": None,
    "start": None,
    "end": None,
    "include_test_messages": None,
    "timezone": None,
    "interval_days": None,
    "ListIDs": [],
    "ListID": None,
    "SendDate": None,
    "MsgID": None,
    "Page": None,
    "Digest": None,
}
"""The offset of a stream whose range is complete; contacts have AdditionDate for SendDate."""


def is_finished(state: dict[str, Any]) -> bool:
    """Whether a state holds no unfinished range."""
    offsets = (entry.get("offset") or {} for entry in state["bookmarks"].values())
    return not any(offset.get("end") for offset in offsets)


def scope(run: Run, stream: str = "message_opens") -> dict[str, Any]:
    """What the bookmark of a stream speaks for, in the last STATE."""
    covers: dict[str, Any] = run.states[-1]["bookmarks"][stream]["covers"]
    return covers


def is_page(ask: Ask) -> bool:
    """Whether a call is for a page of events or contacts."""
    return "Page" in ask.arguments


def pages(asked: Iterable[Ask]) -> list[tuple[str, ...]]:
    """The calls for pages of events and contacts, in order."""
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
