"""Runs that are killed over and over lose nothing, and request little twice."""

import multiprocessing
import os
import random
import threading
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fake_listrak import Ask
from tap_listrak.cli import main
from tap_listrak.sync import run as runner
from tests.support.runs import MESSAGES, NOW, START, ends, rows
from tests.support.tap import MakeTap, Run, Tap


def _tap(arguments: list[str], out: str) -> None:
    """Be the tap in a process of its own, which writes many a STATE."""
    runner.SECONDS_BETWEEN_STATES = 0.01
    for descriptor, name in ((1, out), (2, f"{out}.err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os._exit(main(arguments))


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["__main__", __name__])


def run_until(tap: Tap, calls: int, *, wait: float, state: Any) -> Run:
    """Run the tap as a process, and kill it `wait` seconds after this many calls.

    The code is that of the process if it ended before. Half lines are left out.
    """
    seen, reached = count(1), threading.Event()

    def watch(_: Ask) -> None:
        if next(seen) >= calls:
            reached.set()

    out = tap.folder / "out.jsonl"
    process = FORKS.Process(target=_tap, args=(tap.arguments(state=state), str(out)))
    tap.service.rules.append(watch)
    process.start()
    while process.is_alive() and not reached.wait(0.01):
        pass
    process.join(wait)
    process.kill()
    process.join()
    tap.heal()
    whole, end, _ = out.read_text("utf-8").rpartition("\n")
    assert process.exitcode is not None
    return Run(process.exitcode, whole + end, Path(f"{out}.err").read_text("utf-8"))


def dated(asked: list[Ask]) -> list[Ask]:
    """The calls for pages within dates."""
    return [ask for ask in asked if {"Page", "EndDate"} <= ask.arguments.keys()]


@pytest.mark.parametrize(
    ("kills", "messages", "concurrency"),
    [
        (6, 8, 1),
        pytest.param(50, 24, 1, marks=pytest.mark.long),
        pytest.param(50, 200, 8, marks=pytest.mark.long),
    ],
)
def test_a_run_killed_many_times_gives_every_row_with_few_calls_more(
    make_tap: MakeTap, kills: int, messages: int, concurrency: int
) -> None:
    # More pages are in hand when the kill comes, for which a longer account makes up.
    shape: dict[str, Any] = {"lists": 4, "messages": messages, "start": START, "end": NOW}
    config = {"start_date": "2026-02-01", "concurrency": concurrency}
    tap = make_tap(config=config, latency=0.002, **shape)
    undisturbed, asked = tap.asked_in()
    needed = len(dated(asked))
    tap.service.asked.clear()

    chance = random.Random(f"killed {concurrency}")
    runs: list[Run] = []
    state: Any = None
    while not runs or runs[-1].code < 0:
        calls = chance.randrange(1, 3 * needed // (2 * kills)) if len(runs) < kills else 10**9
        runs.append(run_until(tap, calls, wait=chance.uniform(0, 0.01), state=state))
        state = runs[-1].state if runs[-1].states else state
    assert (runs[-1].code, runs[-1].is_finished) == (0, True), runs[-1].err
    assert rows(*runs).keys() == rows(undisturbed).keys()
    # The second pass of the last run is another range.
    first_range = min(ends(dated(tap.service.asked)))
    made = [ask for ask in dated(tap.service.asked) if ask.arguments["EndDate"] <= first_range]
    assert needed <= len(made) <= 1.2 * needed
    others = [ask for ask in tap.service.asked if ask.operation == MESSAGES]
    assert len(others) <= (len(runs) + 1) * shape["lists"]
