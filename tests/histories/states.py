"""What is read of a state, and what is done to it between runs."""

import random
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from tests.histories.account import REPLICATION_KEYS

StateValue = Mapping[str, Any]
Filter = Mapping[str, Any]
TOO_SMALL: Final = ("AA==", "/w==")
"""Filters of one byte: one knows no count, the other knows each."""


def _entries(state: StateValue | None) -> dict[str, dict[str, Any]]:
    return (state or {}).get("bookmarks") or {}


def bookmark_of(state: StateValue | None, stream: str) -> datetime | None:
    """Return a stream's bookmark."""
    text = _entries(state).get(stream, {}).get(REPLICATION_KEYS[stream])
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))


def set_aside_count(state: StateValue | None, stream: str) -> int:
    """Return how many parts of a stream are set aside."""
    return len(_entries(state).get(stream, {}).get("set_aside") or ())


def turns_of(state: StateValue | None) -> tuple[int | None, str] | None:
    """Return the options that the turns of contacts depended on; None if nothing is covered."""
    for covers in _entries(state).get("subscribed_contacts", {}).get("covers") or ():
        return covers.get("older_every_days"), covers.get("timezone", "UTC")
    return None


def filters_of(states: Iterable[StateValue]) -> Iterator[Filter]:
    """Yield the filters of counts in some states."""
    for state in states:
        for entry in _entries(state).values():
            yield from entry.get("turns") or ()


def move_bookmarks_back(state: StateValue | None) -> None:
    """Move bookmarks back by three days, as a user may who wants to load these again."""
    for stream, entry in _entries(state).items():
        bookmark = bookmark_of(state, stream) if stream in REPLICATION_KEYS else None
        if bookmark:
            earlier = bookmark - timedelta(days=3)
            entry[REPLICATION_KEYS[stream]] = f"{earlier:%Y-%m-%dT%H:%M:%SZ}"


def exchange_filters(state: StateValue | None, others: list[Filter], rng: random.Random) -> None:
    """Replace filters of counts by none, by one that is too small, or by that of another run."""
    for entry in _entries(state).values():
        for own in entry.get("turns") or ():
            small = [{**own, "counts": counts} for counts in TOO_SMALL]
            other = rng.choice((rng.choice(small), rng.choice(others)))
            exchanged = {**other, "end": rng.choice((own["end"], own["end"], other["end"]))}
            entry["turns"] = rng.choice(([], [exchanged], [exchanged], [exchanged]))
