"""Every fault at every operation and page: rows arrive, or are owed, and none is lost.

FULL_MATRIX=1 runs all cells; without it, all of the plainest and a seeded sample of the rest run.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pytest

from fake_listrak import Ask, ListrakService, Reply
from tap_listrak.streams import STREAMS
from tests.support.faults import ANSWERS, FAULTS, NOW, START, TransientError, tiny_account
from tests.support.runs import debts, debts_of, is_finished
from tests.support.tap import PASSWORD, USERNAME, Run, Tap, selecting, workers_ended

FULL = bool(os.environ.get("FULL_MATRIX"))
Kind = Literal["passing", "lasting", "everywhere"]
Rows = Counter[tuple[str, str]]

STREAM_OF = {stream.operation: stream.name for stream in STREAMS}
UNPAGED = {stream.operation for stream in STREAMS if "Page" not in stream.arguments}
HANG = "hang"
# Much like others, and so in the sample only.
VARIANTS = {
    "403",
    "408",
    "502 HTML",
    "cut gzip",
    "fault with code at 200",
    "fault with code at 404",
    "WSException and rows",
    "WSException with code at 500",
}
FOREVER = 10**9


@dataclass(frozen=True)
class Cell:
    """A fault, where it strikes, and for how long.

    passing: the first call for that page; lasting: each call for that page of one message or list;
    everywhere: each call for that page. `whole`: all streams are synced, not that one alone.
    """

    fault: str
    operation: str
    page: str | None
    kind: Kind
    concurrency: int
    whole: bool = False

    def __str__(self) -> str:
        page = f" page {self.page}" if self.page else ""
        whole = " of all streams" if self.whole else ""
        return f"{self.kind} {self.fault} in {self.operation}{page} x{self.concurrency}{whole}"


def cells() -> list[Cell]:
    places = [
        (operation, page)
        for operation in STREAM_OF
        for page in ((None,) if operation in UNPAGED else ("1", "2", "3", "4"))
    ]
    manners: tuple[tuple[Kind, int, bool], ...] = (
        ("passing", 4, False),
        ("lasting", 4, False),
        ("everywhere", 8, False),
        ("passing", 1, True),
    )
    every = [
        Cell(fault, operation, page, *manner)
        for manner, fault, (operation, page) in product(manners, ANSWERS, places)
    ]
    if FULL:
        chosen = every
    else:
        pages = {"passing": (None, "1", "3"), "lasting": (None, "2")}
        plain = [
            cell
            for cell in every
            if cell.concurrency == 4
            and cell.page in pages[cell.kind]
            and cell.fault not in VARIANTS
        ]
        rest = sorted(set(every) - set(plain), key=str)
        chosen = plain + random.Random(7).sample(rest, 60)
    hangs = [
        Cell(HANG, "GetContactListCollection", None, "passing", 1),
        Cell(HANG, "ReportListMessageActivity", None, "passing", 4),
        Cell(HANG, "ReportRangeMessageContactOpen", "2", "passing", 4),
        Cell(HANG, "ReportRangeSubscribedContacts", "2", "lasting", 4),
    ]
    return chosen + hangs


class Bench:
    """One service and one tap for all cells, and what a good run gives."""

    def __init__(self, service: ListrakService, folder: Path) -> None:
        self.service = service
        self.counts: Counter[str] = Counter()
        config = {"start_date": START, "request_timeout": 10}
        self.tap = Tap(service, folder, config)
        with workers_ended():
            self.catalog = json.dumps(self.tap.discover())
            self.honest = rows(self.tap.run(clock=lambda: NOW))
        assert self.honest.total() == 2 + 4 + 4 * 6 * 5 + 2 * 5

    def run(self, cell: Cell, state: Any = None, days: int = 0) -> Run:
        catalog = None
        if not cell.whole:
            catalog = selecting(json.loads(self.catalog), STREAM_OF[cell.operation])
        timeout = 1 if cell.fault == HANG else 10
        with workers_ended():
            return self.tap.run(
                catalog=catalog,
                state=state,
                config={"concurrency": cell.concurrency, "request_timeout": timeout},
                clock=lambda: NOW + timedelta(days=days),
            )

    def expected(self, cell: Cell) -> Rows:
        return Counter(
            {
                (stream, row): count
                for (stream, row), count in self.honest.items()
                if cell.whole or stream == STREAM_OF[cell.operation]
            }
        )


def rows(*runs: Run) -> Rows:
    return Counter(
        (each["stream"], json.dumps(each["record"], sort_keys=True))
        for run in runs
        for each in run.of_type("RECORD")
    )


class Striking:
    """The rule of a cell."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._left = 1 if cell.kind == "passing" else FOREVER
        self._of: str | None = None
        self.struck = 0

    def __call__(self, ask: Ask) -> Reply | None:
        cell = self._cell
        if ask.operation != cell.operation or ask.arguments.get("Page") != cell.page:
            return None
        of = ask.arguments.get("MsgID") or ask.arguments.get("ListID")
        if cell.kind == "lasting":
            # The message or list that is asked for first.
            self._of = self._of or of
            if of != self._of:
                return None
        if self.struck >= self._left:
            return None
        self.struck += 1
        if cell.fault == HANG:
            return Reply(hang=True)
        return ANSWERS[cell.fault][1](ask)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    service = ListrakService(tiny_account(), username=USERNAME, password=PASSWORD)
    with service:
        made = Bench(service, tmp_path_factory.mktemp("matrix"))
        yield made
        told = ("tried", "healed", "set aside", "stopped", "lost")
        print("\nmatrix: " + ", ".join(f"{name} {made.counts[name]}" for name in told))


@pytest.mark.parametrize("cell", cells(), ids=str)
def test_a_fault_loses_no_row(cell: Cell, bench: Bench) -> None:
    striking = Striking(cell)
    bench.service.rules[:] = [striking]
    bench.counts["tried"] += 1
    bench.counts["lost"] += 1  # until it is shown that nothing was
    run = bench.run(cell)
    bench.service.rules.clear()

    assert striking.struck
    assert "Traceback" not in run.err
    assert "has a defect" not in run.err
    row = FAULTS["timeout" if cell.fault == HANG else ANSWERS[cell.fault][0]]
    if issubclass(row.error, TransientError):
        assert striking.struck % 5 == 0 or cell.kind == "passing"
    elif cell.kind == "passing":
        assert striking.struck == 1

    state = run.states[-1] if run.states else None
    set_aside = debts_of(state) if state else []
    if run.code == 0 and not set_aside:
        assert cell.kind == "passing"
        assert rows(run) == bench.expected(cell)
        outcome = "healed"
    else:
        outcome = "set aside" if run.code == 0 else "stopped"
        assert issubclass(row.error, TransientError) <= (cell.kind != "passing")
        if run.code:
            assert len(run.lines("CRITICAL")) == 1
        assert len([line for line in run.lines("WARNING") if "Set aside" in line]) >= len(set_aside)
        healed = bench.run(cell, state, days=1)
        assert healed.code == 0, healed.err
        assert not bench.expected(cell) - rows(run, healed)
        assert debts(healed) == []
        assert is_finished(healed.states[-1])
    bench.counts[outcome] += 1
    bench.counts["lost"] -= 1
