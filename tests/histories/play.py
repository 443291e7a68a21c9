"""The runs of a history: the tap in this process, and a target and runner that keep its states."""

import contextlib
import copy
import itertools
import json
import logging
import random
import socket
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch
from zoneinfo import ZoneInfo

from fake_listrak import Account, ListrakService
from tap_listrak.listrak import transport
from tap_listrak.sync import run as runner
from tests.histories.account import REPLICATION_KEYS
from tests.histories.facts import Ended, Failed, RunFacts, set_aside_count
from tests.histories.faults import MAX_REPLY_BYTES, Wire
from tests.histories.oracle import Oracle
from tests.histories.scenes import World
from tests.support.in_process import workers_ended
from tests.support.state_keeping import TARGETS, StateBackend, Stored, keep
from tests.support.tap import PASSWORD, USERNAME, Tap, catalog_of

DEFAULT_OLDER_EVERY_DAYS: Final = 7
FIRST_PORT: Final = 20_000
"""Below the ports that systems hand out, so that nobody takes one while it is closed."""


@dataclass
class Outcome:
    """What became of one history. options: what else replays it, besides its seed."""

    seed: int
    kind: str | None
    failure: str | None
    told: list[str]
    counts: Counter[str]
    options: str

    def describe(self) -> str:
        """Return how it went, and the command that plays it again."""
        title = f"History {self.seed} failed." if self.failure else f"History {self.seed}:"
        replay = f"Replay: python -m tests.histories --seed {self.seed}{self.options}"
        return "\n".join([title, *self.told, *filter(None, [self.failure]), replay])


@dataclass
class Player:
    """Plays histories on one service, one after the other; of one scene, if it is named."""

    service: ListrakService
    folder: Path
    scene: str | None

    def play(self, seed: int) -> Outcome:
        """Play the history of a seed."""
        history = History(self, seed)
        kind = failure = None
        try:
            history.play()
        except Failed as failed:
            kind, failure = failed.kind, str(failed)
        except Exception:
            kind, failure = "bug", traceback.format_exc()
        options = f" --scene '{self.scene}'" if self.scene else ""
        return Outcome(seed, kind, failure, history.world.told, history.counts, options)


class History:
    """One history while it is played."""

    def __init__(self, player: Player, seed: int) -> None:
        self.seed, self.counts = seed, Counter[str]()
        self.world = World(seed, player.scene)
        self._service, self._folder = player.service, player.folder
        self._oracle = Oracle(self.world.account)
        self._backend = StateBackend()
        self._tap = Tap(player.service, player.folder)
        self._target = self.world.rng.choice((*TARGETS, "any"))
        self._merges = self.world.rng.random() < 0.33
        self._message_window = timedelta()

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
        is_all_requested = world.config.get("include_test_messages", True)
        for stream in REPLICATION_KEYS.keys() & set(world.selected):
            if is_all_requested and set_aside_count(self._backend.state, stream):
                raise Failed("unfinished", f"parts of {stream} are still set aside")

    def _run(self, *, is_last: bool = False) -> None:
        world, service = self.world, self._service
        is_refresh = self._merges and not is_last and world.rng.random() < 0.1
        given = None if is_refresh else self._backend.state
        if any(set_aside_count(given, stream) for stream in REPLICATION_KEYS):
            # What is set aside gets one try, which must not meet what more tries would get past.
            world.faults = [each for each in world.faults if each.is_lasting]
        facts = self._facts(given)
        self._oracle.begin_run(facts)
        self._tell_run(facts)
        clock = world.clock + world.skew
        wire = Wire(service, clock, world.faults, world.outage, self._choose_leaver())

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
        wire.end_outage()
        service.rules.clear()
        if run.out and not run.out.endswith("\n"):
            raise Failed("lines", f"the last line is not whole: {run.out[-200:]!r}")
        kept, text = self._keep(run.messages, is_last=is_last)
        lines = f"exit {run.code}, {len(run.messages)} lines, {text}; calls {dict(wire.calls)}"
        world.told += [f"    {line[:300]}" for line in (lines, *run.lines("CRITICAL"))]
        self.counts.update(["runs", f"exit {run.code}", *["runs cut off"] * ("cut" in text)])
        self.counts.update(f"fault: {each.how}" for each in facts.faults)
        self.counts["calls"] += wire.calls.total()
        self._oracle.end_run(facts, Ended(run, wire.calls, wire.answered, kept.has_all))
        self._oracle.tables.apply(kept.records)

    def _facts(self, given: dict[str, Any] | None) -> RunFacts:
        world, config = self.world, self.world.config
        lists = frozenset(world.account.visible_lists)
        interval = timedelta(days=config.get("interval_days") or 365, hours=1)
        self._message_window = max(self._message_window, interval)
        is_limited = world.skew > timedelta(minutes=1) and world.sends_date
        end = world.clock + (timedelta() if is_limited else world.skew)
        return RunFacts(
            number=world.run,
            end=end.replace(tzinfo=timezone.utc),
            start_date=datetime.fromisoformat(config["start_date"].replace("Z", "+00:00")),
            zone=ZoneInfo(config.get("timezone") or "UTC"),
            lists=lists & {*(config.get("list_ids") or lists)},
            with_tests=config.get("include_test_messages", True),
            selected=frozenset(world.selected),
            recent_days=config.get("recent_days"),
            older_every_days=config.get("older_every_days") or DEFAULT_OLDER_EVERY_DAYS,
            mirrored=frozenset(config.get("mirror") or ()),
            message_window=self._message_window,
            faults=tuple(copy.copy(each) for each in world.faults),
            outage=world.outage,
            given=given,
        )

    def _choose_leaver(self) -> tuple[int, Callable[[], None]] | None:
        """Choose a contact who leaves during a run, and after how many calls."""
        account, rng = self.world.account, self.world.rng
        rows = [row for row in account.rows_of["subscribed_contacts"] if account.shows(row)]
        is_mirrored = "subscribed_contacts" in (self.world.config.get("mirror") or ())
        if not is_mirrored or not rows or rng.random() < 0.3:
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
        rng = random.Random(f"{self.seed} {world.run}")
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

    def _tell_run(self, facts: RunFacts) -> None:
        world = self.world
        state = "no state" if facts.given is None else "a state"
        self.world.told += [
            f"Run {world.run} at {world.clock:%m-%d %H:%M}, {state}, the clock {world.skew} ahead, "
            f"Date sent: {world.sends_date}, {json.dumps(world.config)}, of {world.selected}",
            *(f"    {each}" for each in (*facts.faults, facts.outage) if each),
        ]


@contextlib.contextmanager
def player(scene: str | None = None) -> Iterator[Player]:
    """Serve histories, with a tap that writes a STATE wherever it has something new to say."""
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
        yield Player(stack.enter_context(service), folder, scene)


def _free_port() -> int:
    for port in random.sample(range(FIRST_PORT, FIRST_PORT + 10_000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError(f"no port is free from {FIRST_PORT} on")


def play_every(first: int, step: int, seconds: float, scene: str | None) -> Counter[str]:
    """Play every `step`th history, at least one, until the seconds are over; print failed ones."""
    counts, until = Counter[str](), time.monotonic() + seconds
    with player(scene) as playing:
        for seed in itertools.count(first, step):
            outcome = playing.play(seed)
            counts.update([*outcome.counts.elements(), "histories"])
            if outcome.failure:
                counts["histories that failed"] += 1
                print(outcome.describe(), flush=True)
            if time.monotonic() >= until:
                break
    return counts
