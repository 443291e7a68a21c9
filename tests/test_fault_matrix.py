"""Every fault at every operation and page: rows arrive, or are owed, and none is lost.

What is due, of each cell: a fault that may be asked again, and passes, is healed. Another sets its
message or list aside, if its error is deferrable and no other stream is asked by the operation; the
rest of the account comes all the same. All others stop the run, and so does, at its end, a stream
of which no page came at all.

FULL_MATRIX=1 runs all cells; without it, all of the plainest and a seeded sample of the rest run.
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
from tap_listrak.listrak.errors import ListrakError
from tap_listrak.streams import PARENTS, STREAMS
from tests.support.faults import ANSWERS, FAULTS, NOW, START, tiny_account
from tests.support.runs import BOOKMARKS, bookmarks, debts, debts_of, is_finished, rows
from tests.support.tap import PASSWORD, USERNAME, Run, Tap, selecting, workers_ended

FULL = bool(os.environ.get("FULL_MATRIX"))
Kind = Literal["passing", "lasting", "everywhere"]
Rows = Counter[tuple[str, str]]

STREAM_OF = {stream.operation: stream.name for stream in STREAMS}
UNPAGED = {stream.operation for stream in STREAMS if "Page" not in stream.arguments}
# Others are asked by these.
OF_PARENTS = {stream.operation for stream in PARENTS}
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


class Striking:
    """The rule of a cell, and how often it struck each message or list."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._of: str | None = None
        self.struck: Counter[int] = Counter()

    def __call__(self, ask: Ask) -> Reply | None:
        cell = self._cell
        if ask.operation != cell.operation or ask.arguments.get("Page") != cell.page:
            return None
        of = ask.arguments.get("MsgID") or ask.arguments.get("ListID") or "0"
        # The message or list that is asked for first.
        self._of = self._of or of
        if cell.kind == "lasting" and of != self._of:
            return None
        if cell.kind == "passing" and self.struck:
            return None
        self.struck[int(of)] += 1
        if cell.fault == HANG:
            return Reply(hang=True)
        return ANSWERS[cell.fault][1](ask)


def error_of(cell: Cell) -> type[ListrakError]:
    """The error that the fault of a cell is."""
    if cell.fault == HANG:
        return FAULTS["timeout"].error
    if cell.fault == "unreadable value" and cell.page == "4":
        # There is no value on the empty page: half of it comes, see wrong_value.
        return FAULTS["not xml"].error
    return FAULTS[ANSWERS[cell.fault][0]].error


def due(cell: Cell) -> str:
    """What the fault of a cell has to lead to: healed, set aside or stopped."""
    error = error_of(cell)
    if error.is_retryable and cell.kind == "passing":
        return "healed"
    if not error.is_deferrable or cell.operation in OF_PARENTS:
        return "stopped"
    # A stream of which nothing came whole ends the run at its end, for all that is set aside.
    return "stopped" if cell.kind == "everywhere" else "set aside"


def debts_due(cell: Cell, struck: Iterable[int]) -> dict[int, int | None]:
    """By message or list, the last page written before the one that is owed."""
    error = error_of(cell)
    if due(cell) == "healed" or not error.is_deferrable or cell.operation in OF_PARENTS:
        return {}
    assert cell.page is not None
    return dict.fromkeys(struck, int(cell.page) - 1 or None)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    service = ListrakService(tiny_account(), username=USERNAME, password=PASSWORD)
    with service:
        made = Bench(service, tmp_path_factory.mktemp("matrix"))
        yield made
        told = ("tried", "healed", "set aside", "stopped", "lost")
        print("\nmatrix: " + ", ".join(f"{name} {made.counts[name]}" for name in told))


def assert_all_has_come_but_what_is_owed(
    expected: Rows, run: Run, stream: str, owed: dict[int, int | None]
) -> None:
    """Compare the records of a run with those of a good one; a page has two rows, the third one."""

    came = rows(run)
    assert not came - expected
    key = "ListID" if stream == "subscribed_contacts" else "MsgID"
    missing = Counter(
        (name, json.loads(row).get(key)) for name, row in (expected - came).elements()
    )
    assert missing == Counter(
        {(stream, part): 5 - min(5, 2 * (page or 0)) for part, page in owed.items()}
    )


@pytest.mark.parametrize("cell", cells(), ids=str)
def test_a_fault_loses_no_row(cell: Cell, bench: Bench) -> None:
    striking = Striking(cell)
    bench.service.rules[:] = [striking]
    bench.counts["tried"] += 1
    bench.counts["lost"] += 1  # until it is shown that nothing was
    run = bench.run(cell)
    bench.service.rules.clear()

    error, outcome, owed = error_of(cell), due(cell), debts_due(cell, striking.struck)
    tries = 5 if error.is_retryable and cell.kind != "passing" else 1
    assert "Traceback" not in run.err
    assert "has a defect" not in run.err
    # Where the run stops at once, another worker may have been among its own tries.
    assert max(striking.struck.values()) == tries
    assert set(striking.struck.values()) == {tries} or outcome == "stopped"
    if cell.kind == "everywhere" and owed:
        assert len(owed) == (2 if STREAM_OF[cell.operation] == "subscribed_contacts" else 4)

    assert run.code == (error.exit_code if outcome == "stopped" else 0), run.err
    assert len(run.lines("CRITICAL")) == (outcome == "stopped")
    assert len([line for line in run.lines("WARNING") if "Set aside" in line]) == len(owed)
    state = run.states[-1] if run.states else None
    found = debts_of(state) if state else []
    assert {debt["stream"] for debt in found} <= {STREAM_OF[cell.operation]}
    assert len(found) == len(owed)
    assert {debt["MsgID"] or debt["ListID"]: debt["Page"] for debt in found} == owed
    assert all((debt["Digest"] is None) == (debt["Page"] is None) for debt in found)
    if outcome == "healed" or owed:
        # All that is not owed has come, and the place stands behind it.
        assert is_finished(run.states[-1])
        assert set(bookmarks(run).values()) <= {"2026-07-01T00:00:00Z"}
        assert_all_has_come_but_what_is_owed(
            bench.expected(cell), run, STREAM_OF[cell.operation], owed
        )
    else:
        entries = state["bookmarks"] if state else {}
        assert not any(entries[name].get(key) for name, key in BOOKMARKS.items() if name in entries)

    if outcome != "healed":
        healed = bench.run(cell, state, days=1)
        assert healed.code == 0, healed.err
        assert not bench.expected(cell) - rows(run, healed)
        assert debts(healed) == []
        assert is_finished(healed.states[-1])
    bench.counts[outcome] += 1
    bench.counts["lost"] -= 1
