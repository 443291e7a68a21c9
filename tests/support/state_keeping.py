"""How targets and runners keep a state: which rows are stored, which state the next run is given.

The rules of the targets that flush stream by stream are those of `persist_lines` and
`flush_streams` in pipelinewise-target-postgres 2.1.2 and target-duckdb 0.8.0; the merge is that of
`meltano.core.utils.merge` in Meltano 4.4.1, with what its state backend makes of it.
"""

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]
StateValue = dict[str, Any]


@dataclass
class Stored:
    """What a target made of the lines that it was given.

    printed: the states that it printed, in order.
    records: the RECORDs that are stored, and the ACTIVATE_VERSIONs obeyed, in order.
    has_all: whether the last printed state is the last STATE of the lines, and all rows are stored.
    """

    printed: list[StateValue] = field(default_factory=list)
    records: list[Message] = field(default_factory=list)
    has_all: bool = False


Target = Callable[[list[Message], random.Random], Stored]


def _records(messages: list[Message]) -> list[Message]:
    return [each for each in messages if each["type"] in ("RECORD", "ACTIVATE_VERSION")]


def _places_of_states(messages: list[Message]) -> list[int]:
    return [place for place, each in enumerate(messages) if each["type"] == "STATE"]


def keep_last(messages: list[Message], rng: random.Random) -> Stored:
    """Print each STATE; rows after the last one are stored as well, or lost."""
    places = _places_of_states(messages)
    if not places:
        return Stored(records=_records(messages) if rng.random() < 0.5 else [])
    stored = messages if rng.random() < 0.3 else messages[: places[-1]]
    printed = [messages[place]["value"] for place in places]
    return Stored(printed, _records(stored), has_all=True)


def keep_earlier(messages: list[Message], rng: random.Random) -> Stored:
    """Store up to any STATE, and print it and any of those before it."""
    places = _places_of_states(messages)
    chosen = rng.randint(0, len(places))
    if not chosen:
        return Stored()
    printed = [messages[place]["value"] for place in places[: chosen - 1] if rng.random() < 0.5]
    printed.append(messages[places[chosen - 1]]["value"])
    records = _records(messages[: places[chosen - 1]])
    return Stored(printed, records, has_all=chosen == len(places))


def keep_by_stream(messages: list[Message], rng: random.Random) -> Stored:
    """Flush a stream when its batch is full; print the first STATE with the entries flushed.

    These targets do not obey ACTIVATE_VERSION.
    """
    batch_size = rng.choice((1, 2, 3, 5, 8, 1000))
    dies_at = rng.randint(0, len(messages)) if rng.random() < 0.6 else None
    stored = Stored()
    buffers: dict[str, dict[str, list[Message]]] = {}
    keys: dict[str, list[str]] = {}
    state: StateValue | None = None
    flushed: StateValue | None = None

    def flush_all() -> None:
        nonlocal flushed
        for stream in buffers:
            flush(stream)
        if buffers:
            flushed = copy.deepcopy(state)

    def flush(stream: str) -> None:
        for rows in buffers[stream].values():
            stored.records += rows
        buffers[stream] = {}

    def emit() -> None:
        if flushed is not None:
            stored.printed.append(copy.deepcopy(flushed))

    for message in messages[:dies_at]:
        if message["type"] == "SCHEMA":
            if buffers.get(message["stream"]):
                flush_all()
                emit()
            keys[message["stream"]] = message["key_properties"]
        elif message["type"] == "RECORD":
            stream = message["stream"]
            key = ",".join(str(message["record"][name]) for name in keys[stream])
            # What another row of the batch replaces is as good as stored.
            buffers.setdefault(stream, {}).setdefault(key, []).append(message)
            if len(buffers[stream]) >= batch_size:
                flush(stream)
                if state is not None and stream in state.get("bookmarks", {}):
                    assert flushed is not None
                    flushed.setdefault("bookmarks", {})
                    flushed["bookmarks"][stream] = copy.deepcopy(state["bookmarks"][stream])
                emit()
        elif message["type"] == "STATE":
            state = message["value"]
            if not flushed:
                flushed = copy.deepcopy(state)
    if dies_at is None:
        if any(buffers.values()):
            flush_all()
        emit()
        stored.has_all = stored.printed[-1:] == [state]
    return stored


def keep_mixture(messages: list[Message], rng: random.Random) -> Stored:
    """Store each stream up to a STATE of its own; print the entries of these STATEs."""
    places = _places_of_states(messages)
    if not places:
        return Stored()
    whole = rng.random() < 0.3
    mixture = copy.deepcopy(messages[places[0]]["value"])
    last = messages[places[-1]]["value"]
    stored = Stored()
    names = {each["stream"] for each in messages if each["type"] == "SCHEMA"}
    for stream in sorted(names | last.get("bookmarks", {}).keys()):
        place = places[-1] if whole else rng.choice(places)
        entry = messages[place]["value"].get("bookmarks", {}).get(stream)
        if entry is not None:
            mixture.setdefault("bookmarks", {})[stream] = copy.deepcopy(entry)
        stored.records += [each for each in _records(messages[:place]) if each["stream"] == stream]
    stored.printed.append(mixture)
    stored.has_all = whole and mixture == last
    return stored


TARGETS: dict[str, Target] = {
    "last": keep_last,
    "earlier": keep_earlier,
    "by-stream": keep_by_stream,
    "mixture": keep_mixture,
}


class MergeFailed(Exception):
    """A deep merge met an object where the older state has something else, so it stops."""


def deep_merge(newer: StateValue, older: StateValue) -> StateValue:
    """Merge a newer state into an older one, object by object, and give the latter."""
    for key, value in newer.items():
        if not isinstance(value, dict):
            older[key] = value
            continue
        node = older.setdefault(key, {})
        if value and not isinstance(node, dict):
            raise MergeFailed(f"{key} is {node!r} in the older state, an object in the newer one")
        if value:
            deep_merge(value, node)
    return older


class StateBackend:
    """Where the runner keeps the states that a target prints."""

    def __init__(self) -> None:
        self._completed: StateValue = {}
        self._partial: StateValue = {}

    @property
    def state(self) -> StateValue | None:
        """The state for the next run; None where nothing was kept so far. Raises MergeFailed."""
        merged = deep_merge(copy.deepcopy(self._partial), copy.deepcopy(self._completed))
        return merged or None

    def replace(self, printed: list[StateValue]) -> None:
        """Keep the last state printed."""
        if printed:
            self._completed, self._partial = copy.deepcopy(printed[-1]), {}

    def merge(self, printed: list[StateValue]) -> None:
        """Merge each state printed into those kept. Raises MergeFailed."""
        for state in printed:
            self._partial = deep_merge(copy.deepcopy(state), self._partial)
