"""The runs of a history: the tap in this process, and a target and runner that keep its states."""

import contextlib
import copy
import logging
import random
import socket
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch
from zoneinfo import ZoneInfo

from fake_listrak import Account, ListrakService
from tap_listrak.listrak import transport
from tests.histories.account import REPLICATION_KEYS, STREAMS
from tests.histories.facts import Ended, Failed, RunFacts
from tests.histories.faults import MAX_REPLY_BYTES, Wire
from tests.histories.oracle import Oracle
from tests.histories.scenes import DEFAULT_OLDER_EVERY_DAYS, World
from tests.histories.states import (
    Filter,
    exchange_filters,
    filters_of,
    move_bookmarks_back,
    set_aside_count,
)
from tests.support.in_process import workers_ended
from tests.support.state_keeping import TARGETS, MergeFailed, StateBackend, Stored
from tests.support.tap import PASSWORD, USERNAME, Run, Tap, catalog_of

UTC: Final = timezone.utc
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
        lines = [f"History {self.seed} failed." if self.failure else f"History {self.seed}:"]
        lines += [*self.told, *([self.failure] if self.failure else [])]
        replay = f"Replay: python -m tests.histories --seed {self.seed}{self.options}"
        return "\n".join([*lines, replay])


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
        finally:
            self.service.rules.clear()
        options = f" --scene '{self.scene}'" if self.scene else ""
        return Outcome(seed, kind, failure, history.world.told, history.counts, options)


class History:
    """One history while it is played."""

    def __init__(self, player: Player, seed: int) -> None:
        self.player, self.seed = player, seed
        self.counts = Counter[str]()
        self.world = World(seed, player.scene)
        self.world.tell(f"Scene: {self.world.name}")
        self._oracle = Oracle(self.world.account, [] if self.world.scene.dead else None)
        self._wire = Wire(player.service)
        self._backend = StateBackend()
        self._tap = Tap(player.service, player.folder)
        self._target = self.world.rng.choice((*TARGETS, "any"))
        self._merges = self.world.rng.random() < 0.33
        self._message_window = timedelta()
        self._filters: list[Filter] = []

    def play(self) -> None:
        """Play it to its end. Raises Failed."""
        world, service = self.world, self.player.service
        service.account = world.account
        service.rules[:] = [self._wire]
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

    # One run

    def _run(self, *, is_last: bool = False) -> None:
        world = self.world
        is_refresh = self._merges and not is_last and world.rng.random() < 0.1
        given = None if is_refresh else self._backend.state
        if not world.run and world.rng.random() < 0.1:
            given = self._published_state()
        elif world.rng.random() < 0.03:
            move_bookmarks_back(given)
            self._oracle.turns_since = None
        elif self._filters and world.rng.random() < 0.1:
            exchange_filters(given, self._filters, world.rng)
        if any(set_aside_count(given, stream) for stream in REPLICATION_KEYS):
            # What is set aside gets one try, which must not meet what more tries would get past.
            world.faults = [each for each in world.faults if each.is_lasting]
        facts = self._facts(given)
        self._oracle.begin_run(facts)
        self._tell_run(facts, is_refresh)
        self._wire.begin_run(
            world.clock + world.skew, world.faults, world.outage, self._choose_leaver()
        )
        self.player.service.date = self._date
        run = self._run_tap(given)
        self._wire.end_run()
        if run.out and not run.out.endswith("\n"):
            raise Failed("lines", f"the last line is not whole: {run.out[-200:]!r}")
        messages = run.messages
        kept, text = self._keep(messages, is_last=is_last)
        self._tell_end(run, text)
        self._filters += filters_of(run.states)
        self._count(run, facts, text)
        calls, answered = dict(self._wire.calls), dict(self._wire.answered)
        ended = Ended(messages, run.code, run.err, calls, answered, kept.has_all)
        self._oracle.end_run(facts, ended)
        self._oracle.tables.apply(kept.records)

    def _published_state(self) -> dict[str, Any]:
        """Return a state as the published tap leaves it, whose rows the target has.

        Every stream is selected, since it covers the lists that the first run with it sees.
        """
        self.world.selected = list(STREAMS)
        now = self.world.clock - timedelta(days=2)
        for stream in REPLICATION_KEYS:
            rows = (row for row in self.world.account.rows_of[stream] if row.wall < now)
            self._oracle.tables.rows[stream].update(dict.fromkeys(row.key for row in rows))
        bookmark = f"{now:%Y-%m-%dT%H:%M:%SZ}"
        return {"bookmarks": {key: {name: bookmark} for key, name in REPLICATION_KEYS.items()}}

    def _run_tap(self, given: dict[str, Any] | None) -> Run:
        (self.player.folder / "state.json").unlink(missing_ok=True)
        config = {key: value for key, value in self.world.config.items() if value is not None}
        with workers_ended():
            return self._tap.run(
                config=config,
                catalog=catalog_of(*self.world.selected),
                state=given,
                clock=self._now,
                sleep=self._wire.sleep,
            )

    def _now(self) -> datetime:
        return self._wire.clock.replace(tzinfo=UTC)

    def _date(self) -> str | None:
        sent = format_datetime(self._now() - self.world.skew, usegmt=True)
        return sent if self.world.sends_date else None

    def _facts(self, given: dict[str, Any] | None) -> RunFacts:
        world, config = self.world, self.world.config
        lists = frozenset(world.account.visible_lists())
        interval = timedelta(days=config.get("interval_days") or 365, hours=1)
        self._message_window = max(self._message_window, interval)
        is_limited = world.skew > timedelta(minutes=1) and world.sends_date
        end = world.clock + (timedelta() if is_limited else world.skew)
        return RunFacts(
            number=world.run,
            end=end.replace(tzinfo=UTC),
            start_date=datetime.fromisoformat(config["start_date"].replace("Z", "+00:00")),
            zone=ZoneInfo(config.get("timezone") or "UTC"),
            lists=lists & set(config.get("list_ids") or lists),
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

    def _choose_leaver(self) -> tuple[int, Any] | None:
        """Choose a contact who leaves during a run, and after how many calls."""
        world, rng = self.world, self.world.rng
        is_mirrored = "subscribed_contacts" in (world.config.get("mirror") or ())
        if not is_mirrored or rng.random() < 0.3:
            return None
        rows = [row for row in world.account.rows_of["subscribed_contacts"]
                if world.account.shows(row)]  # fmt: skip
        if not rows:
            return None
        row = rng.choice(rows)

        def leave() -> None:
            world.account.leave(row)
            self._oracle.mirror.left_now.add(row)

        return rng.randint(2, 12), leave

    def _keep(self, messages: list[dict[str, Any]], *, is_last: bool) -> tuple[Stored, str]:
        """Let the target and the runner keep what they see; return what is stored, and how."""
        world = self.world
        # Drawn apart, since the lines of a run that fails may depend on the order of its threads.
        rng = random.Random(f"{self.seed} {world.run}")
        is_killed = not is_last and rng.randrange(100) < world.scene.kills
        seen = messages[: rng.randint(0, len(messages))] if is_killed else messages
        name = self._target if self._target != "any" else rng.choice(list(TARGETS))
        if is_last or world.scene.dead or (world.scene.has_bad_row and not is_killed):
            name = "last"
        stored = TARGETS[name](seen, rng)
        is_merged = self._merges and not is_last and rng.random() < 0.7
        try:
            if is_merged:
                printed = [each for each in stored.printed[:-1] if rng.random() < 0.5]
                self._backend.merge(printed + stored.printed[-1:])
            else:
                self._backend.replace(stored.printed)
            self._backend.state  # noqa: B018 # it merges, which may fail
        except MergeFailed as failed:
            raise Failed("merge", str(failed)) from failed
        stored.has_all = stored.has_all and not is_killed and not is_merged
        text = f"kept by {name}{', merged' if is_merged else ''}"
        return stored, f"cut off after line {len(seen)}, {text}" if is_killed else text

    # What is told

    def _tell_run(self, facts: RunFacts, is_refresh: bool) -> None:
        world = self.world
        skew = f", the clock {world.skew} ahead" if world.skew else ""
        skew += "" if world.sends_date else ", no Date"
        world.tell(
            f"Run {world.run} at {world.clock:%m-%d %H:%M}{skew}, "
            f"{world.describe_options()}, of {', '.join(world.selected)}"
            f"{', full refresh' if is_refresh else ''}"
        )
        for each in (*facts.faults, *([facts.outage] if facts.outage else [])):
            world.tell(f"    {each}")

    def _tell_end(self, run: Run, kept: str) -> None:
        calls, struck = dict(self._wire.calls), dict(self._wire.struck)
        self.world.tell(
            f"    exit {run.code}, {len(run.messages)} lines, {kept}; calls {calls}, "
            f"struck {struck}"
        )
        for line in run.lines("CRITICAL"):
            self.world.tell(f"    {line[:300]}")

    def _count(self, run: Run, facts: RunFacts, kept: str) -> None:
        names = ["runs", f"exit {run.code}", kept[kept.index("kept by") :]]
        names += ["runs cut off"] * ("cut off" in kept)
        names += [f"fault: {each.kind}" for each in facts.faults]
        names += [f"fault: outage of {facts.outage.seconds:.0f} s"] if facts.outage else []
        names += [f"fault: clock off by {self.world.skew}"] * bool(self.world.skew)
        self.counts.update(names)
        self.counts["calls"] += self._wire.calls.total()
        for name, number in self._wire.struck.items():
            self.counts[f"calls struck by {name.partition(': ')[2]}"] += number


@contextlib.contextmanager
def player(scene: str | None = None) -> Iterator[Player]:
    """Serve histories, with a tap that writes a STATE wherever it has something new to say."""
    module = next(
        each for name, each in sys.modules.items()
        if name.startswith("tap_listrak.") and hasattr(each, "SECONDS_BETWEEN_STATES")
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(patch.object(module, "SECONDS_BETWEEN_STATES", 0.0))
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
