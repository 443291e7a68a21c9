"""The runs of a history: the tap in this process, and a target and runner that keep its states."""

import contextlib
import itertools
import logging
import random
import socket
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fake_listrak import Account, ListrakService
from tap_listrak.listrak import transport
from tap_listrak.sync import run as runner
from tests.histories import states
from tests.histories.account import REPLICATION_KEYS, STREAMS
from tests.histories.faults import MAX_REPLY_BYTES, Wire
from tests.histories.oracle import Oracle
from tests.histories.rules import Ended, Failed
from tests.histories.scenes import World
from tests.histories.states import StateValue, set_aside_count
from tests.support.in_process import workers_ended
from tests.support.state_keeping import TARGETS, StateBackend, Stored, keep
from tests.support.tap import PASSWORD, USERNAME, Tap, catalog_of


class History:
    """The history of a seed. kind: a word for what failed, if anything; failure: its text."""

    def __init__(self, service: ListrakService, folder: Path, seed: int, scene: str | None) -> None:
        self.counts = Counter[str]()
        self.kind: str | None = None
        self.failure = ""
        self.world = World(seed, scene)
        self._told: list[str] = []
        self._filters: list[states.Filter] = []
        self._seed, self._service, self._folder = seed, service, folder
        self._oracle = Oracle(self.world)
        self._backend = StateBackend()
        self._tap = Tap(service, folder)
        self._target = self.world.rng.choice((*TARGETS, "any"))
        self._merges = self.world.rng.random() < 0.33

    def __str__(self) -> str:
        command = f"python -m tests.histories --seed {self._seed} --scene '{self.world.name}'"
        return "\n".join([command, *self._told, self.failure])

    def play(self) -> None:
        """Play it to its end. Raises Failed."""
        world = self.world
        self._service.account = world.account
        self.counts[f"histories: {world.name}"] += 1
        for number in range(world.rng.randint(*world.scene.nights)):
            if number:
                world.pass_time()
            world.choose_faults()
            self._run()
            world.end_night()
        world.heal()
        self._run(is_last=True)
        for stream in REPLICATION_KEYS.keys() & {*world.selected}:
            is_all_requested = world.config["include_test_messages"]
            if is_all_requested and set_aside_count(self._backend.state, stream):
                raise Failed("unfinished", f"parts of {stream} are still set aside")

    def _run(self, *, is_last: bool = False) -> None:
        world, service = self.world, self._service
        is_refresh = self._merges and not is_last and world.rng.random() < 0.1
        given = self._change(None if is_refresh else self._backend.state)
        if any(set_aside_count(given, stream) for stream in REPLICATION_KEYS):
            # What is set aside gets one try, which must not meet what more tries would get past.
            world.faults = [each for each in world.faults if each.is_lasting]
            world.outage = None
        self._oracle.begin_run(given)
        self._told += [f"{world}, with {'a' if given else 'no'} state", *map(str, world.faults)]
        clock, leaver = world.clock + world.skew, self._choose_leaver()
        wire = Wire(service, clock, world.faults, world.outage, leaver)

        def now() -> datetime:
            return wire.clock.replace(tzinfo=timezone.utc)

        def date() -> str | None:
            return format_datetime(now() - world.skew, usegmt=True) if world.sends_date else None

        service.rules[:] = [wire]
        service.date = date
        (self._folder / "state.json").unlink(missing_ok=True)
        config = {key: value for key, value in world.config.items() if value is not None}
        catalog = catalog_of(*world.selected)
        with workers_ended():
            run = self._tap.run(
                config=config, catalog=catalog, state=given, clock=now, sleep=wire.sleep
            )
        service.rules.clear()
        self._filters += states.filters_of(run.states)
        wire.end_outage()
        kept, text = self._keep(run.messages, is_last=is_last)
        lines = f"exit {run.code}, {len(run.messages)} lines, {text}; calls {dict(wire.calls)}"
        self._told += [f"    {line[:300]}" for line in (lines, *run.lines("CRITICAL"))]
        self.counts.update(["runs", f"exit {run.code}", *["runs cut off"] * ("cut" in text)])
        self.counts.update(f"fault: {each.how}" for each in world.faults)
        self.counts["outages"] += world.outage is not None
        self.counts["calls"] += wire.calls.total()
        self._oracle.end_run(Ended(run, given, wire.answered, kept.has_all))
        self._oracle.tables.apply(kept.records)

    def _change(self, given: StateValue | None) -> StateValue | None:
        """Change a state by hand, in some runs; return what the next run is given."""
        world = self.world
        if not world.run and world.rng.random() < 0.1:
            self._told.append("The published tap ran before.")
            # It covers the lists that the first run of each stream sees.
            world.selected = [*STREAMS]
            bookmark = world.clock - timedelta(days=2)
            for row in world.account.all_rows():
                if row.stream in REPLICATION_KEYS and row.wall < bookmark:
                    self._oracle.tables.rows[row.stream][row.key] = None
            return states.published_state(bookmark)
        if world.rng.random() < 0.03:
            self._told.append("Bookmarks are set back by hand.")
            states.move_bookmarks_back(given)
            self._oracle.turns_since = None
        elif self._filters and world.rng.random() < 0.1:
            self._told.append("Filters of counts are exchanged.")
            states.exchange_filters(given, self._filters, world.rng)
        return given

    def _choose_leaver(self) -> tuple[int, Callable[[], None]] | None:
        """Choose a contact who leaves during a run, and after how many calls."""
        account, rng = self.world.account, self.world.rng
        rows = [row for row in account.rows_of["subscribed_contacts"] if account.shows(row)]
        if "subscribed_contacts" not in self.world.config["mirror"] or not rows:
            return None
        row = rng.choice(rows)

        def leave() -> None:
            account.leave(row)
            self._oracle.mirror.left_now.add(row)

        return rng.randint(2, 12), leave

    def _keep(self, messages: list[dict[str, Any]], *, is_last: bool) -> tuple[Stored, str]:
        """Let the target and the runner keep what they see; return what is stored, and how."""
        world = self.world
        # Drawn apart, since the lines of a run that fails may depend on the order of its threads.
        rng = random.Random(f"{self._seed} {world.run}")
        is_killed = not is_last and rng.randrange(100) < world.scene.kills
        seen = messages[: rng.randint(0, len(messages))] if is_killed else messages
        name = self._target if self._target != "any" else rng.choice(TARGETS)
        if is_last or (world.scene.bad_row and not is_killed):
            name = "last"
        stored = keep(name, seen, rng)
        is_merged = self._merges and not is_last and rng.random() < 0.7
        if is_merged:
            printed = [each for each in stored.printed[:-1] if rng.random() < 0.5]
            self._backend.merge(printed + stored.printed[-1:])
        else:
            self._backend.replace(stored.printed)
        stored.has_all = stored.has_all and not is_killed and not is_merged
        text = f"kept by {name}{', merged' if is_merged else ''}"
        return stored, f"cut off after line {len(seen)}, {text}" if is_killed else text


@contextlib.contextmanager
def playing(scene: str | None = None) -> Iterator[Callable[[int], History]]:
    """Play histories of a scene by their seeds, on one service, which writes every STATE."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(patch.object(runner, "SECONDS_BETWEEN_STATES", 0.0))
        stack.enter_context(patch.object(transport, "MAX_REPLY_BYTES", MAX_REPLY_BYTES))
        # What a worker logs after its run has ended is of no use.
        stack.enter_context(patch.object(logging, "lastResort", logging.NullHandler()))
        stack.enter_context(patch.dict("os.environ", {"TAP_LISTRAK_LOGLEVEL": "WARNING"}))
        service = ListrakService(
            Account(), USERNAME, PASSWORD, port=_free_port(), record=False, wsdl="nine"
        )
        stack.enter_context(service)

        def play(seed: int) -> History:
            history = History(service, folder, seed, scene)
            try:
                history.play()
            except Failed as failed:
                history.kind, history.failure = failed.kind, str(failed)
            except Exception:
                history.kind, history.failure = "bug", traceback.format_exc()
            return history

        yield play


def _free_port() -> int:
    """Return a port that no system hands out, so that nobody takes it during an outage."""
    while True:
        port = random.randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def play_every(first: int, step: int, seconds: float, scene: str | None) -> Counter[str]:
    """Play every `step`th history, at least one, until the seconds are over; print failed ones."""
    counts, until = Counter[str](), time.monotonic() + seconds
    with playing(scene) as play:
        for seed in itertools.count(first, step):
            history = play(seed)
            counts.update([*history.counts.elements(), "histories"])
            if history.failure:
                counts["histories that failed"] += 1
                print(history, flush=True)
            if time.monotonic() >= until:
                break
    return counts
