"""Every fault at every operation and page: the run does what its kind says, and loses no row.

`make test` plays a seeded share of the cells, `make long` all.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Literal, get_args

import pytest

from fake_listrak import Ask, ListrakService, Reply
from tap_listrak.listrak.faults import ListrakError, Scope
from tap_listrak.streams import LISTS, STREAMS, Per, Stream
from tests.support.faults import ANSWERS, FAULTS, START, part_of, tiny_account
from tests.support.runs import instant
from tests.support.tap import PASSWORD, USERNAME, Tap, catalog_of
from tests.support.tls import tls_context, trust_it

Kind = Literal["once", "one part", "everywhere"]


@dataclass(frozen=True)
class Cell:
    """A fault, where it strikes, and for how long. Calls that are concurrent are over TLS.

    once: the first call for that page; one part: each call for that page of one message, window or
    conversation; everywhere: each call for that page.
    """

    fault: str
    stream: Stream
    page: str | None
    kind: Kind
    concurrency: int

    def __str__(self) -> str:
        page = f" page {self.page}" if self.page else ""
        return f"{self.fault} {self.kind} in {self.stream}{page} x{self.concurrency}"

    @property
    def error(self) -> type[ListrakError]:
        """The error that the fault is."""
        return FAULTS[ANSWERS[self.fault][0]].error

    @property
    def is_healed(self) -> bool:
        """Whether retries, or halves of a batch, get past it."""
        is_batch = self.stream.per is Per.BATCH and self.error.scope is Scope.PART
        return self.kind == "once" and (self.error.is_retryable or is_batch)

    @property
    def outcome(self) -> str:
        """What the fault has to lead to."""
        if self.is_healed:
            return "healed"
        if self.error.scope is Scope.RUN or self.stream is LISTS:
            return "ended"
        if self.error.scope is Scope.STREAM:
            return "stopped"
        has_others = self.kind != "everywhere" and self.stream.per is not Per.ACCOUNT
        is_answered = has_others or self.error.is_answer or self.page not in (None, "1")
        return "set aside" if is_answered else "stopped"


def all_cells() -> list[Cell]:
    places = [
        (stream, page)
        for stream in STREAMS
        for page in (("1", "2", "3", "4") if stream.paged else (None,))
    ]
    return [
        Cell(fault, *place, kind, concurrency)
        for fault, place, kind, concurrency in product(ANSWERS, places, get_args(Kind), (1, 4))
    ]


def some_cells() -> list[Cell]:
    """A share in which each fault is, and a part of each stream that is set aside."""
    every, chance, chosen = all_cells(), random.Random(20), []
    for fault in ANSWERS:
        chosen += chance.sample([each for each in every if each.fault == fault], 2)
    aside = [each for each in every if each.outcome == "set aside"]
    for stream in STREAMS:
        of_stream = [each for each in aside if each.stream is stream and each.kind == "one part"]
        chosen += chance.sample(of_stream or [each for each in every if each.stream is stream], 1)
    return list(dict.fromkeys(chosen))


@dataclass
class Striking:
    """The rule of a cell, and how often it struck each part."""

    cell: Cell
    first: str | None = None
    struck: Counter[str] = field(default_factory=Counter)

    def __call__(self, ask: Ask) -> Reply | None:
        cell, parts = self.cell, part_of(ask)
        if ask.operation != cell.stream.operation or ask.arguments.get("Page") != cell.page:
            return None
        self.first = parts.split(",")[0] if self.first is None else self.first
        if cell.kind == "one part" and self.first not in parts.split(","):
            return None
        if cell.kind == "once" and self.struck:
            return None
        self.struck[parts] += 1
        return ANSWERS[cell.fault][1](ask)


@pytest.fixture(scope="module")
def taps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Tap]]:
    """By concurrency, a tap over plain HTTP and one over TLS."""
    folder = tmp_path_factory.mktemp("matrix")
    with (
        pytest.MonkeyPatch.context() as patch,
        ListrakService(tiny_account(), USERNAME, PASSWORD) as plain,
        ListrakService(tiny_account(), USERNAME, PASSWORD, tls=tls_context(folder)) as secure,
    ):
        trust_it(folder, patch)
        config = {"start_date": START, "request_timeout": 10}
        yield {
            concurrency: Tap(service, folder, {**config, "concurrency": concurrency})
            for concurrency, service in ((1, plain), (4, secure))
        }


@pytest.mark.parametrize("cell", some_cells(), ids=str)
def test_a_fault_costs_what_its_kind_says_and_no_row(cell: Cell, taps: dict[int, Tap]) -> None:
    check_cell(cell, taps[cell.concurrency])


@pytest.mark.long
@pytest.mark.parametrize("fault", ANSWERS)
def test_so_does_each_fault_in_each_place(fault: str, taps: dict[int, Tap]) -> None:
    for cell in all_cells():
        if cell.fault == fault:
            print(cell)
            check_cell(cell, taps[cell.concurrency])


def check_cell(cell: Cell, tap: Tap) -> None:
    """Play a night with the fault, and one without if rows are missing."""
    striking, name, outcome = Striking(cell), cell.stream.name, cell.outcome
    tap.service.rules[:] = [striking]
    tap.catalog = catalog_of(name)
    run = tap.night()
    tap.heal()
    assert "Traceback" not in run.err
    assert "has a defect" not in run.err
    expected = cell.error.exit_code if outcome in ("ended", "stopped") else 0
    assert (run.code, len(run.lines("CRITICAL"))) == (expected, bool(expected)), run.err
    tries = 5 if cell.error.is_retryable and cell.kind != "once" else 1
    assert max(striking.struck.values()) == tries
    owed = run.set_aside if run.states else []
    left_out = run.warnings("Skipped in this run")
    if outcome == "healed":
        assert tap.missing(run) == {}
    if outcome in ("healed", "set aside"):
        assert set(run.bookmarks.values()) <= {instant()}
        has_owed = outcome == "set aside" and bool(cell.stream.replication_key)
        assert (bool(owed), bool(left_out)) == (has_owed, outcome == "set aside" and not has_owed)
        assert {each["stream"] for each in owed} <= {name}
        assert {each.get("page") for each in owed} <= {int(cell.page or 1) - 1 or None}
    else:
        assert not owed
        assert set(run.bookmarks.values()) <= {None} if run.states else outcome == "ended"
    if outcome != "healed":
        rest = tap.night(1, run if run.states else None)
        assert rest.code == 0, rest.err
        if owed and cell.concurrency == 1:
            assert part_of(tap.service.asked[1]) in striking.struck, "it is first, after the lists"
        assert (rest.set_aside, tap.missing(run, rest)) == ([], {})
