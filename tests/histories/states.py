"""What is read of a state, and what is done to it between runs."""

import random
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from tests.histories.account import REPLICATION_KEYS

TOO_SMALL: Final = ("AA==", "/w==")
"""Filters of one byte: one knows no count, the other knows each."""

StateValue = dict[str, Any]
Filter = dict[str, Any]


def entry_of(state: StateValue | None, stream: str) -> StateValue:
    """Return a stream's entry in a state."""
    found: StateValue = (state or {}).get("bookmarks", {}).get(stream, {})
    return found


def set_aside_count(state: StateValue | None, stream: str) -> int:
    """Return how many parts of a stream are set aside."""
    return len(entry_of(state, stream).get("set_aside") or ())


def turns_of(state: StateValue | None) -> tuple[int | None, str] | None:
    """Return the options that the turns of contacts depended on; None if nothing is covered."""
    for covers in entry_of(state, "subscribed_contacts").get("covers") or ():
        return covers.get("older_every_days"), covers.get("timezone", "UTC")
    return None


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
