"""How targets and runners keep a state: which rows are stored, which state the next run is given.

Targets that flush stream by stream, as pipelinewise-target-postgres and target-duckdb do, print the
first STATE with the entries of the streams flushed since: each entry may be of another STATE.
"""

import copy
import random
from dataclasses import dataclass, field
from typing import Any, Final

Json = dict[str, Any]
TARGETS: Final = ("last", "earlier", "mixture")
"""What a target prints: the last STATE, any of them, or for each stream the entry of any."""


@dataclass
class Stored:
    """What a target made of the lines that it was given.

    printed: the states that it printed, in order.
    records: the RECORDs that are stored, and the ACTIVATE_VERSIONs obeyed, in order.
    has_all: whether the last printed state is the last STATE of the lines.
    """

    printed: list[Json] = field(default_factory=list)
    records: list[Json] = field(default_factory=list)
    has_all: bool = False


def keep(target: str, messages: list[Json], rng: random.Random) -> Stored:
    """Store rows up to the STATEs that the target prints; maybe also those after the last."""
    places = [place for place, each in enumerate(messages) if each["type"] == "STATE"]
    if not places:
        return Stored()
    last = places[-1] if target == "last" else rng.choice(places)
    printed = [copy.deepcopy(messages[place]["value"]) for place in places if place <= last]
    up_to = dict.fromkeys((each.get("stream") for each in messages), last)
    if target == "mixture":
        printed = printed[:1]
        up_to = {stream: rng.choice(places) for stream in up_to}
        for stream, place in up_to.items():
            entry = messages[place]["value"]["bookmarks"].get(stream)
            if entry is not None:
                printed[0]["bookmarks"][stream] = copy.deepcopy(entry)
    has_all = {*up_to.values()} == {places[-1]}
    if has_all and rng.random() < 0.3:
        up_to = dict.fromkeys(up_to, len(messages))
    kinds = ("RECORD", "ACTIVATE_VERSION")
    stored = [each for n, each in enumerate(messages) if n < up_to[each.get("stream")]]
    return Stored(printed, [each for each in stored if each["type"] in kinds], has_all)


def deep_merge(newer: Json, older: Json) -> Json:
    """Merge a newer state into an older one, object by object, and return the latter.

    As `meltano.core.utils.merge` in Meltano 4.4.1, it raises AttributeError or TypeError where one
    has an object and the other none.
    """
    for key, value in newer.items():
        if isinstance(value, dict):
            deep_merge(value, older.setdefault(key, {}))
        else:
            older[key] = value
    return older


class StateBackend:
    """Where the runner keeps the states that a target prints."""

    def __init__(self) -> None:
        self._completed: Json = {}
        self._partial: Json = {}

    @property
    def state(self) -> Json | None:
        """The state for the next run; None where nothing was kept so far."""
        return deep_merge(copy.deepcopy(self._partial), copy.deepcopy(self._completed)) or None

    def replace(self, printed: list[Json]) -> None:
        """Keep the last state printed."""
        if printed:
            self._completed, self._partial = copy.deepcopy(printed[-1]), {}

    def merge(self, printed: list[Json]) -> None:
        """Merge each state printed into those kept."""
        for state in printed:
            self._partial = deep_merge(copy.deepcopy(state), self._partial)
