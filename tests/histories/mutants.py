"""Ways to break the tap, in this process, that the histories must notice.

python -m tests.histories.mutants [--count 200] [title ...]
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

from msgspec.structs import replace

from tap_listrak.config import Config
from tap_listrak.listrak import gate
from tap_listrak.streams import Stream
from tap_listrak.sync import plan, run, state, walk
from tap_listrak.sync.paging import PartPages
from tap_listrak.sync.parts import Part
from tap_listrak.sync.run import Runner
from tap_listrak.sync.state import StreamState
from tap_listrak.sync.turns import Rotation
from tests.histories.play import History, playing


@dataclass(frozen=True)
class Mutant:
    """A defect: `owner.name` becomes what `broken` makes of it, for histories of a scene."""

    title: str
    owner: Any
    name: str
    broken: Callable[[Any], Any]
    scene: str = "general"

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Break the tap for a while."""
        broken = self.broken(getattr(self.owner, self.name))
        with patch.object(self.owner, self.name, broken):
            yield


def _returning(value: Any) -> Callable[[Any], Any]:
    return lambda _: lambda *_args, **_names: value


def _having(value: Any) -> Callable[[Any], Any]:
    return lambda _: property(lambda _: value)


MUTANTS: Final = (
    Mutant("what fails is not set aside", StreamState, "part_failed",
           lambda _: lambda self, part, *_rest: self.part_finished(part)),
    Mutant("what fails again is taken out", StreamState, "retry_failed",
           lambda _: lambda self, part, *_rest: self.retry_finished(part)),
    Mutant("a range forgets what is set aside", StreamState, "range_finished",
           lambda original: lambda self: (original(self), self._update(set_aside=()))),
    Mutant("held parts are claimed", StreamState, "snapshot",
           lambda _: property(lambda self: self.entry), "bad row"),
    Mutant("held parts are not set aside", StreamState, "service_works", _returning([])),
    Mutant("the end of a run stops nothing", StreamState, "stop_if_held", _returning(None)),
    Mutant("a failed window of messages is passed over", StreamState, "part_failed",
           lambda original: lambda self, part, *rest:
           (part.parent_id is None and part.sent_range) or original(self, part, *rest)),
    Mutant("one stream stops all", Runner, "_stop_if_due",
           lambda _: lambda self, of: of.stopped_by
           and self._stopped.update(dict.fromkeys(self._selection, of.stopped_by))),
    Mutant("a page passes for its part", StreamState, "page_written",
           lambda _: lambda self, part, *_rest: self.part_finished(part)),
    Mutant("a range is claimed as it begins", StreamState, "begin",
           lambda original: lambda self, new:
           (original(self, new), self._update(bookmark=self.entry.bookmark and new.end))),
    Mutant("there is no lookback", Config, "lookback_days", _having(0)),
    Mutant("sends look back as events do", Stream, "late_days", _having(0)),
    Mutant("shifted pages are not noticed", PartPages, "_has_shifted", _returning(False)),
    Mutant("a resumed run ends with its first pass", Runner, "_begin_ranges",
           lambda original: lambda self, end:
           any(each.entry.covers for each in self._active()) or original(self, end)),
    Mutant("every list is covered", plan, "covers_list",
           lambda original: lambda covers, list_id, wanted: covers is not None
           and original(replace(covers, list_ids=(list_id,)), list_id, wanted)),
    Mutant("every start_date is covered", plan, "covers_list",
           lambda original: lambda covers, list_id, wanted: covers is not None
           and original(replace(covers, start_date=wanted.first_date), list_id, wanted)),
    Mutant("outages are not waited out", gate, "MAX_OUTAGE_SECONDS", lambda _: 0.0),
    Mutant("the service's clock is not looked at", run, "end_of_run",
           lambda _: lambda now, _offset: now),
    Mutant("windows are not halved", Part, "can_halve", _having(False)),
    Mutant("a run of turns is complete", state, "everything_requested_until",
           lambda _: lambda last_end, _every: last_end, "turns"),
    Mutant("old messages are never due", Rotation, "is_due", _returning(False), "turns"),
    Mutant("old windows of contacts are never due", Rotation, "due_windows",
           lambda original: lambda self, start, new_since:
           [each for each in original(self, start, new_since)
            if each[1] > min(self.recent_since, new_since)], "turns"),
    Mutant("what is due is requested from the last run", Rotation, "start_of_turn",
           lambda _: lambda self, _number: self.last_end, "turns"),
    Mutant("a known count waits for good", Rotation, "start_of_message",
           lambda original: lambda self, msg_id, sent, count:
           original(self, msg_id, sent, count)
           if not (self.counts and sent and sent < self.recent_since)
           or self.counts.lacks(sent, msg_id, count) else None, "turns"),
    Mutant("pages of a mirror are not verified", walk, "_is_read_twice", _returning(False),
           "mirror"),
    Mutant("a mirror with a hole is activated", StreamState, "is_complete", _having(True),
           "mirror"),
)  # fmt: skip


def first_failure(mutant: Mutant, count: int) -> History | None:
    """Play up to `count` histories on the broken tap; return the first that only fails there."""
    with playing(mutant.scene) as play:
        for seed in range(1, count + 1):
            with mutant.applied():
                history = play(seed)
            if history.failure and not play(seed).failure:
                return history
    return None


def main() -> int:
    """Break the tap in each way; return 1 if one goes unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="histories for each")
    parser.add_argument("titles", nargs="*", help="of what is broken; all")
    given = parser.parse_args()
    unnoticed = 0
    for mutant in MUTANTS:
        if mutant.title in (given.titles or [mutant.title]):
            found = first_failure(mutant, given.count)
            is_noticed = found is not None and found.kind != "bug"
            unnoticed += not is_noticed
            told = f"{'noticed' if is_noticed else 'NOT NOTICED'}: {mutant.title}"
            print(told, found.failure.partition("\n")[0][:100] if found else "", flush=True)
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
