"""Ways to break the tap, in this process, that the histories must notice.

    python -m tests.histories.mutants [--count 200] [name ...]

Each replaces a behaviour while histories are played, and so needs no text of the tap.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from unittest.mock import patch

from msgspec.structs import replace

from tap_listrak.sync import plan, run, state, walk
from tap_listrak.sync.paging import PartPages
from tap_listrak.sync.parts import Part
from tap_listrak.sync.state import StreamState
from tap_listrak.sync.turns import Rotation
from tests.histories.play import Outcome, player

Method = Callable[..., Any]


@dataclass(frozen=True)
class Mutant:
    """A defect: `owner.name` becomes what `broken` makes of it, for histories of a scene."""

    title: str
    owners: tuple[Any, ...]
    name: str
    broken: Callable[[Method], Any]
    scene: str = "general"

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Break the tap for a while."""
        with contextlib.ExitStack() as stack:
            for owner in self.owners:
                broken = self.broken(getattr(owner, self.name))
                stack.enter_context(patch.object(owner, self.name, broken))
            yield


def _returning(value: Any) -> Callable[[Method], Method]:
    return lambda _: lambda *_args, **_names: value


def _lookback_of_an_hour(original: Method) -> Method:
    def start_of(stream: Any, entry: Any, list_id: Any, config: Any, since: Any = None) -> Any:
        start = original(stream, entry, list_id, config, since)
        begun = since or plan.bookmark_of(entry, list_id)
        return start if begun is None else max(start, begun - timedelta(hours=1))

    return start_of


def _sends_as_events(original: Method) -> Method:
    def start_of(stream: Any, *rest: Any) -> Any:
        start = original(stream, *rest)
        days = timedelta(days=2) if stream.by_send_date else timedelta()
        return start if plan.bookmark_of(rest[0], rest[1]) is None else start + days

    return start_of


def _keeping_lists_covered(original: Method) -> Method:
    def range_finished(self: StreamState, *rest: Any) -> None:
        before = self.entry.covers.list_ids if self.entry.covers else ()
        original(self, *rest)
        covers = self.entry.covers
        assert covers
        known = tuple(sorted({*covers.list_ids, *before}))
        self.entry = replace(self.entry, covers=replace(covers, list_ids=known))

    return range_finished


def _without_second_pass(original: Method) -> Method:
    def begin_ranges(self: run.Runner, end: Any) -> None:
        if not any(state.entry.covers for state in self._active()):
            original(self, end)

    return begin_ranges


def _covering(changes: Callable[[Any, Any, Any], dict[str, Any]]) -> Callable[[Method], Method]:
    """Let what is covered hold more."""

    def broken(original: Method) -> Method:
        def covers_list(covers: Any, list_id: Any, wanted: Any) -> bool:
            if covers is not None and list_id is not None:
                covers = replace(covers, **changes(covers, list_id, wanted))
            return bool(original(covers, list_id, wanted))

        return covers_list

    return broken


def _forgetting_what_is_set_aside(original: Method) -> Method:
    def range_finished(self: StreamState, *rest: Any) -> None:
        original(self, *rest)
        self.entry = replace(self.entry, set_aside=())

    return range_finished


def _stopping_all(original: Method) -> Method:
    def stop_if_due(self: run.Runner, of: StreamState) -> None:
        original(self, of)
        if of.stopped_by:
            for other in self._selection:
                self._stopped.setdefault(other, of.stopped_by)

    return stop_if_due


def _passing_pages(original: Method) -> Method:
    def page_written(self: StreamState, part: Part, *rest: Any) -> None:
        original(self, part, *rest)
        self.part_finished(part)

    return page_written


def _ending_later(original: Method) -> Method:
    def begin(self: StreamState, new: Any) -> None:
        original(self, new)
        self.entry = replace(self.entry, bookmark=self.entry.bookmark and new.end)

    return begin


def _due_from_the_last_run(_original: Method) -> Method:
    def start_of_turn(self: Rotation, _number: int) -> Any:
        return self.last_end

    return start_of_turn


def _trusting_counts(original: Method) -> Method:
    def start_of_message(self: Rotation, msg_id: int, sent: Any, count: Any) -> Any:
        is_old = sent is not None and sent < self.recent_since
        if is_old and self.counts and not self.counts.lacks(sent, msg_id, count):
            return None
        return original(self, msg_id, sent, count)

    return start_of_message


def _without_windows_of_messages(original: Method) -> Method:
    def part_failed(self: StreamState, part: Part, *rest: Any) -> None:
        if part.parent_id is not None or part.sent_range is None:
            original(self, part, *rest)

    return part_failed


STATE: Final = (StreamState,)
COVERS: Final = (plan,)
ROTATION: Final = (Rotation,)
MUTANTS: Final = (
    Mutant("what fails is not set aside", STATE, "part_failed",
           lambda _: lambda self, part, *_rest: self.part_finished(part)),
    Mutant("what fails again is taken out", STATE, "retry_failed",
           lambda _: lambda self, part, *_rest: self.retry_finished(part)),
    Mutant("a range forgets what is set aside", STATE, "range_finished",
           _forgetting_what_is_set_aside),
    Mutant("held parts are claimed", STATE, "snapshot",
           lambda _: property(lambda self: self.entry), "bad row"),
    Mutant("held parts are not set aside", STATE, "service_works", _returning([])),
    Mutant("the end of a run stops nothing", STATE, "stop_if_held", _returning(None)),
    Mutant("a failed window of messages is passed over", STATE, "part_failed",
           _without_windows_of_messages),
    Mutant("one stream stops all", (run.Runner,), "_stop_if_due", _stopping_all),
    Mutant("a page passes for its part", STATE, "page_written", _passing_pages),
    Mutant("a range is claimed as it begins", STATE, "begin", _ending_later),
    Mutant("the lookback is an hour", (plan, walk), "start_of_list", _lookback_of_an_hour),
    Mutant("sends look back as events do", (plan, walk), "start_of_list", _sends_as_events),
    Mutant("a list that is not walked stays covered", STATE, "range_finished",
           _keeping_lists_covered),
    Mutant("shifted pages are not noticed", (PartPages,), "_has_shifted", _returning(False)),
    Mutant("a resumed run ends with its first pass", (run.Runner,), "_begin_ranges",
           _without_second_pass),
    Mutant("every list is covered", COVERS, "covers_list",
           _covering(lambda covers, list_id, _: {"list_ids": (*covers.list_ids, list_id)})),
    Mutant("every start_date is covered", COVERS, "covers_list",
           _covering(lambda covers, _, wanted: {
               "start_date": min(covers.start_date, wanted.start_date)})),
    Mutant("test messages are covered", COVERS, "covers_list",
           _covering(lambda *_: {"include_test_messages": True})),
    Mutant("the service's clock is not looked at", (run,), "end_of_run",
           lambda _: lambda now, _offset: now),
    Mutant("windows are not halved", (Part,), "can_halve", lambda _: property(lambda _: False)),
    Mutant("a run of turns is complete", (state,), "everything_requested_until",
           lambda _: lambda last_end, _every: last_end, "turns"),
    Mutant("old messages are never due", ROTATION, "is_due", _returning(False), "turns"),
    Mutant("what is due is requested from the last run", ROTATION, "start_of_turn",
           _due_from_the_last_run, "turns"),
    Mutant("a known count waits for good", ROTATION, "start_of_message", _trusting_counts,
           "turns"),
    Mutant("pages of a mirror are not verified", (walk,), "_is_read_twice", _returning(False),
           "mirror"),
    Mutant("a mirror with a hole is activated", STATE, "is_complete",
           lambda _: property(lambda _: True), "mirror"),
)  # fmt: skip


def first_failure(mutant: Mutant, count: int, first: int = 1) -> Outcome | None:
    """Play up to `count` histories on the broken tap; return the first that only fails there."""
    with player(scene=mutant.scene) as playing:
        for seed in range(first, first + count):
            with mutant.applied():
                outcome = playing.play(seed)
            if outcome.failure and not playing.play(seed).failure:
                return outcome
    return None


def main() -> int:
    """Break the tap in each way; return 1 if one goes unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="histories for each")
    parser.add_argument("names", nargs="*", help="of what is broken; all")
    given = parser.parse_args()
    unnoticed = 0
    for mutant in MUTANTS:
        if given.names and mutant.title not in given.names:
            continue
        found = first_failure(mutant, given.count)
        unnoticed += found is None
        told = "NOT NOTICED"
        if found and found.failure:
            told = f"history {found.seed}: {found.failure.strip().splitlines()[0][:100]}"
            if found.kind == "bug":
                told = f"BROKEN MUTANT {found.failure}"
        print(f"{mutant.title}: {told}", flush=True)
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
