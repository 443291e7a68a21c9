"""Every fault at every operation and page: rows arrive, or are owed, and none is lost.

What is due, of each cell: a fault that may be asked again, and passes, is healed. Another sets its
part aside (a message, list or conversation, or the account), if its error is deferrable and no
other stream is asked by the operation; the rest comes all the same. All others stop the run, and so
does, at its end, a stream of which no part came whole.

FULL_MATRIX=1 runs all cells; without it, of the published streams all of the plainest run, and a
seeded sample of the rest; of the others, a sample of each.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pytest

from fake_listrak import Ask, ListrakService, Reply
from tap_listrak.listrak.faults import ListrakError, Scope
from tap_listrak.streams import BY_NAME, PARENTS, PUBLISHED, STREAMS, Stream
from tests.support.faults import ANSWERS, FAULTS, NOW, START, part_of, tiny_account
from tests.support.records import all_due, all_emitted
from tests.support.runs import BOOKMARKS, bookmarks, debts, debts_of, is_finished, rows
from tests.support.tap import PASSWORD, USERNAME, Run, Tap, catalog_of, workers_ended

FULL = bool(os.environ.get("FULL_MATRIX"))
Kind = Literal["passing", "lasting", "everywhere"]
Rows = Counter[tuple[str, str]]

STREAM_OF = {stream.operation: stream for stream in STREAMS}
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


@dataclass(frozen=True)
class Cell:
    """A fault, where it strikes, and for how long.

    passing: the first call for that page; lasting: each call for that page of one part;
    everywhere: each call for that page. `whole`: all streams are synced, not that one alone.
    """

    fault: str
    operation: str
    page: str | None
    kind: Kind
    concurrency: int
    whole: bool = False

    @property
    def stream(self) -> Stream:
        """The stream that the operation is of."""
        return STREAM_OF[self.operation]

    def __str__(self) -> str:
        page = f" page {self.page}" if self.page else ""
        whole = " of all streams" if self.whole else ""
        return f"{self.kind} {self.fault} in {self.operation}{page} x{self.concurrency}{whole}"


def cells() -> list[Cell]:
    places = [
        (stream.operation, page)
        for stream in STREAMS
        for page in (("1", "2", "3", "4") if stream.is_paged else (None,))
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
        published = [cell for cell in every if cell.stream in PUBLISHED]
        plain = [
            cell
            for cell in published
            if cell.concurrency == 4
            and cell.page in pages[cell.kind]
            and cell.fault not in VARIANTS
        ]
        chance = random.Random(7)
        rest = sorted(set(published) - set(plain), key=str)
        chosen = plain + chance.sample(rest, 60)
        for stream in STREAMS:
            if stream not in PUBLISHED:
                chosen += chance.sample([cell for cell in every if cell.stream is stream], 10)
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
            honest = self.tap.run(clock=lambda: NOW, catalog=catalog_of(*BY_NAME))
        assert all_emitted(honest) == all_due(service.account)
        self.honest = rows(honest)

    def run(self, cell: Cell, state: Any = None, days: int = 0) -> Run:
        catalog = catalog_of(*(BY_NAME if cell.whole else [cell.stream.name]))
        timeout = 1 if cell.fault == HANG else 10
        with workers_ended():
            return self.tap.run(
                catalog=catalog,
                state=state,
                config={"concurrency": cell.concurrency, "request_timeout": timeout},
                clock=lambda: NOW + timedelta(days=days),
            )

    def parts(self, stream: Stream) -> set[int | None]:
        """What a stream is asked by: IDs, or None for the account."""
        key = part_key(stream)
        return {json.loads(row).get(key) for name, row in self.honest if name == stream.name}

    def expected(self, cell: Cell) -> Rows:
        return Counter(
            {
                (stream, row): count
                for (stream, row), count in self.honest.items()
                if cell.whole or stream == cell.stream.name
            }
        )


class Striking:
    """The rule of a cell, and how often it struck each part, or messages asked for together."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._first: str | None = None
        self.struck: Counter[str] = Counter()

    def __call__(self, ask: Ask) -> Reply | None:
        cell = self._cell
        if ask.operation != cell.operation or ask.arguments.get("Page") != cell.page:
            return None
        of = part_of(ask)
        if self._first is None:
            self._first = of.split(",")[0]
        if cell.kind == "lasting" and self._first not in of.split(","):
            return None
        if cell.kind == "passing" and self.struck:
            return None
        self.struck[of] += 1
        if cell.fault == HANG:
            return Reply(hang=True)
        return ANSWERS[cell.fault][1](ask)


def error_of(cell: Cell) -> type[ListrakError]:
    """The error that the fault of a cell is."""
    if cell.fault == HANG:
        return FAULTS["timeout"].error
    return FAULTS[ANSWERS[cell.fault][0]].error


def due(cell: Cell) -> str:
    """What the fault of a cell has to lead to: healed, set aside or stopped."""
    error = error_of(cell)
    can_be_owed = (error.scope is Scope.PART) and cell.stream not in PARENTS
    # What many messages were asked for at once is asked for again, in halves.
    if cell.kind == "passing" and (error.is_retryable or (can_be_owed and cell.stream.is_by_batch)):
        return "healed"
    if not can_be_owed:
        return "stopped"
    # A stream of which nothing came whole ends the run at its end, for all that is set aside.
    is_everything = cell.kind == "everywhere" or cell.stream.is_by_account
    return "stopped" if is_everything else "set aside"


def owed_by(cell: Cell, struck: Iterable[str]) -> set[int | None]:
    """The parts that are owed, by their ID; None is the account."""
    error = error_of(cell)
    if due(cell) == "healed" or error.scope is not Scope.PART or cell.stream in PARENTS:
        return set()
    return {int(of) if of else None for of in struck if "," not in of}


def part_key(stream: Stream) -> str:
    """The column that names a part of a stream; complaints are of one part."""
    return "MsgID" if stream.is_by_batch else stream.supplied_key or ""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    service = ListrakService(tiny_account(), username=USERNAME, password=PASSWORD)
    with service:
        made = Bench(service, tmp_path_factory.mktemp("matrix"))
        yield made
        told = ("tried", "healed", "set aside", "stopped", "lost")
        print("\nmatrix: " + ", ".join(f"{name} {made.counts[name]}" for name in told))


def assert_all_has_come_but_what_is_owed(
    expected: Rows, run: Run, cell: Cell, owed: set[int | None]
) -> None:
    """Compare the records of a run with those of a good one; a page has two rows."""

    def by_part(found: Rows) -> Counter[tuple[str, int | None]]:
        key = part_key(cell.stream)
        return Counter((name, json.loads(row).get(key)) for name, row in found.elements())

    came = rows(run)
    assert not came - expected
    held, name = by_part(expected), cell.stream.name
    written = 2 * (int(cell.page or 1) - 1)
    due = {(name, part): max(0, held[name, part] - written) for part in owed}
    assert by_part(expected - came) == +Counter(due)


@pytest.mark.parametrize("cell", cells(), ids=str)
def test_a_fault_loses_no_row(cell: Cell, bench: Bench) -> None:
    striking = Striking(cell)
    bench.service.rules[:] = [striking]
    bench.counts["tried"] += 1
    bench.counts["lost"] += 1  # until it is shown that nothing was
    run = bench.run(cell)
    bench.service.rules.clear()

    error, outcome, owed = error_of(cell), due(cell), owed_by(cell, striking.struck)
    tries = 5 if error.is_retryable and cell.kind != "passing" else 1
    assert "Traceback" not in run.err
    assert "has a defect" not in run.err
    # Where the run stops at once, another worker may have been among its own tries.
    assert max(striking.struck.values()) == tries
    assert set(striking.struck.values()) == {tries} or outcome == "stopped"
    if cell.kind == "everywhere" and owed:
        assert owed == bench.parts(cell.stream)

    assert run.code == (error.exit_code if outcome == "stopped" else 0), run.err
    assert len(run.lines("CRITICAL")) == (outcome == "stopped")
    assert len([line for line in run.lines("WARNING") if "Set aside" in line]) == len(owed)
    state = run.state if run.states else None
    found = debts_of(state) if state else []
    assert {debt["stream"] for debt in found} <= {cell.stream.name}
    assert len(found) == len(owed)
    assert {debt.get(part_key(cell.stream)) for debt in found} == owed
    assert {debt["Page"] for debt in found} <= {int(cell.page or 1) - 1 or None}
    assert all((debt["Digest"] is None) == (debt["Page"] is None) for debt in found)
    if outcome == "healed" or owed:
        # All that is not owed has come, and the place stands behind it.
        assert is_finished(run.state)
        assert set(bookmarks(run).values()) <= {"2026-07-01T00:00:00Z"}
        assert_all_has_come_but_what_is_owed(bench.expected(cell), run, cell, owed)
    else:
        entries = state["bookmarks"] if state else {}
        assert not any(entries[name].get(key) for name, key in BOOKMARKS.items() if name in entries)

    if outcome != "healed":
        healed = bench.run(cell, state, days=1)
        assert healed.code == 0, healed.err
        assert not bench.expected(cell) - rows(run, healed)
        assert debts(healed) == []
        assert is_finished(healed.state)
    bench.counts[outcome] += 1
    bench.counts["lost"] -= 1
