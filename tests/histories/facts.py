"""A run as the oracle sees it: what it was given, what it gave, and what a target made of that."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

from tests.histories.account import REPLICATION_KEYS, Key, key_of
from tests.histories.faults import Fault, Outage
from tests.support.tap import Run

MANY_PARTS: Final = 1000
SHORT_OUTAGE: Final = 120.0
"""In seconds; a run waits for longer."""

StateValue = Mapping[str, Any]


class Failed(Exception):
    """A history shows a defect; `kind` is a word for it."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


def bookmark_of(state: StateValue | None, stream: str) -> str | None:
    """Return a stream's bookmark; as text, later ones are greater."""
    found = (state or {}).get("bookmarks", {}).get(stream, {}).get(REPLICATION_KEYS[stream])
    assert found is None or isinstance(found, str)
    return found


def set_aside_count(state: StateValue | None, stream: str) -> int:
    """Return how many parts of a stream are set aside."""
    return len((state or {}).get("bookmarks", {}).get(stream, {}).get("set_aside") or ())


@dataclass(frozen=True)
class RunFacts:
    """One run, as far as what it owes depends on it.

    end: when it began, by the clock that its ranges must end by. recent_days: None where no
    message waits for its turn. mirrored: the streams that are given whole. message_window: the
    longest window in which messages were requested so far.
    """

    number: int
    end: datetime
    start_date: datetime
    zone: tzinfo
    lists: frozenset[int]
    with_tests: bool
    selected: frozenset[str]
    recent_days: int | None
    older_every_days: int
    mirrored: frozenset[str]
    message_window: timedelta
    faults: tuple[Fault, ...]
    outage: Outage | None
    given: StateValue | None

    def wall(self, moment: datetime) -> datetime:
        """Return the wall time of an instant in the zone of the config."""
        return moment.astimezone(self.zone).replace(tzinfo=None)

    def bad_parts(self, stream: str) -> int:
        """Return how many parts of a stream are bad; many where none is named."""
        faults = [each for each in self.faults if each.is_lasting and each.stream == stream]
        return sum(MANY_PARTS if each.ids is None else len(each.ids) for each in faults)

    @property
    def may_end_early(self) -> bool:
        """Whether something goes wrong that is no one stream's."""
        is_long = self.outage is not None and self.outage.seconds > SHORT_OUTAGE
        return is_long or any(
            each.is_lasting and each.stream in (None, "lists") for each in self.faults
        )


@dataclass(frozen=True)
class Ended:
    """What came of a run.

    calls, answered: by stream, how many calls there were, and how many no fault struck.
    """

    run: Run
    calls: Mapping[str, int]
    answered: Mapping[str, int]
    is_kept_whole: bool

    def last_state(self, given: StateValue | None) -> StateValue | None:
        """Return the value of the last STATE, or what was given where there is none."""
        return self.run.states[-1] if self.run.states else given


@dataclass
class Tables:
    """What a target holds: by stream, the version that each key was last written with."""

    rows: dict[str, dict[Key, int | None]] = field(default_factory=lambda: defaultdict(dict))

    def apply(self, messages: Iterable[Mapping[str, Any]]) -> list[tuple[str, Key, int]]:
        """Store RECORDs and obey ACTIVATE_VERSIONs; return what these deleted, by version."""
        deleted = []
        for each in messages:
            if each["type"] == "RECORD":
                key = key_of(each["stream"], each["record"])
                self.rows[each["stream"]][key] = each.get("version")
            elif each["type"] == "ACTIVATE_VERSION":
                stream, version = each["stream"], each["version"]
                kept = {k: v for k, v in self.rows[stream].items() if v == version}
                gone = self.rows[stream].keys() - kept.keys()
                deleted += [(stream, key, version) for key in gone]
                self.rows[stream] = kept
        return deleted
