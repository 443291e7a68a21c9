"""What is done to a state between runs, and how the published tap leaves one."""

import random
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from tests.histories.account import REPLICATION_KEYS
from tests.histories.rules import StateValue, entry_of

TOO_SMALL: Final = ("AA==", "/w==")
"""Filters of one byte: one knows no count, the other knows each."""

Filter = dict[str, Any]


def filters_of(states: Iterable[StateValue]) -> Iterator[Filter]:
    """Yield the filters of counts in some states."""
    for state in states:
        for stream in REPLICATION_KEYS:
            yield from entry_of(state, stream).get("turns") or ()


def published_state(bookmark: datetime) -> StateValue:
    """Return a state as the published tap leaves it."""
    text = f"{bookmark:%Y-%m-%dT%H:%M:%SZ}"
    return {"bookmarks": {stream: {name: text} for stream, name in REPLICATION_KEYS.items()}}


def move_bookmarks_back(state: StateValue | None) -> None:
    """Move bookmarks back by three days, as a user may who wants to load these again."""
    for stream, name in REPLICATION_KEYS.items():
        entry = entry_of(state, stream)
        if text := entry.get(name):
            earlier = datetime.fromisoformat(text.replace("Z", "+00:00")) - timedelta(days=3)
            entry[name] = f"{earlier:%Y-%m-%dT%H:%M:%SZ}"


def exchange_filters(state: StateValue | None, others: list[Filter], rng: random.Random) -> None:
    """Replace filters of counts by none, by one that is too small, or by that of another run."""
    for stream in REPLICATION_KEYS:
        entry = entry_of(state, stream)
        for own in entry.get("turns") or ():
            small = {**own, "counts": rng.choice(TOO_SMALL)}
            other = rng.choice((small, rng.choice(others)))
            other = {**other, "end": rng.choice((own["end"], own["end"], other["end"]))}
            entry["turns"] = rng.choice(([], [other], [other], [other]))
