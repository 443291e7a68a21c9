"""Every fault at every operation and page: the run does what its kind says, and loses no row.

FULL_MATRIX=1 runs all cells, in about an hour; without it, a seeded share of them.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

import pytest

from fake_listrak import Ask, ListrakService, Reply
from tap_listrak.listrak.faults import ListrakError, Scope
from tap_listrak.streams import LISTS, STREAMS, Per, Stream
from tests.support.faults import ANSWERS, FAULTS, part_of, tiny_account
from tests.support.nights import instant, missing, night, tap_for
from tests.support.runs import bookmarks, set_aside, warnings
from tests.support.tap import PASSWORD, USERNAME, MakeTap, Tap
from tests.support.tls import tls_context, trust_it

FULL = bool(os.environ.get("FULL_MATRIX"))
Kind = Literal["once", "one part", "everywhere"]


@dataclass(frozen=True)
class Cell:
    """A fault, where it strikes, and for how long.

    once: the first call for that page; one part: each call for that page of one message, window or
    conversation; everywhere: each call for that page.
    """

    fault: str
    stream: Stream
    page: str | None
    kind: Kind
    concurrency: int
    is_tls: bool = False

    def __str__(self) -> str:
        page = f" page {self.page}" if self.page else ""
        tls = " over TLS" if self.is_tls else ""
        return f"{self.fault} {self.kind} in {self.stream}{page} x{self.concurrency}{tls}"

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


def cells() -> list[Cell]:
    """All cells, or a share in which each fault and each stream is."""
    places = [
        (stream, page)
        for stream in STREAMS
        for page in (("1", "2", "3", "4") if stream.paged else (None,))
    ]
    kinds: tuple[Kind, ...] = ("once", "one part", "everywhere")
    every = [
        Cell(fault, *place, kind, concurrency, is_tls)
        for fault, place, kind, (concurrency, is_tls) in product(
            ANSWERS, places, kinds, ((1, False), (4, True))
        )
    ]
    if FULL:
        return every
    chance = random.Random(20)
    chosen = []
    for fault in ANSWERS:
        chosen += chance.sample([each for each in every if each.fault == fault], 3)
    for stream in STREAMS:
        chosen += chance.sample([each for each in every if each.stream is stream], 2)
    return list(dict.fromkeys(chosen))


class Striking:
    """The rule of a cell, and how often it struck each call."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._first: str | None = None
        self.struck: Counter[str] = Counter()

    def __call__(self, ask: Ask) -> Reply | None:
        cell = self._cell
        if ask.operation != cell.stream.operation or ask.arguments.get("Page") != cell.page:
            return None
        of = part_of(ask)
        if self._first is None:
            self._first = of.split(",")[0]
        if cell.kind == "one part" and self._first not in of.split(","):
            return None
        if cell.kind == "once" and self.struck:
            return None
        self.struck[of] += 1
        return ANSWERS[cell.fault][1](ask)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, ListrakService]]:
    """A service over plain HTTP, and one over TLS."""
    context = tls_context(tmp_path_factory.mktemp("tls"))
    with (
        ListrakService(tiny_account(), USERNAME, PASSWORD) as plain,
        ListrakService(tiny_account(), USERNAME, PASSWORD, tls=context) as secure,
    ):
        yield {False: plain, True: secure}


@pytest.mark.parametrize("cell", cells(), ids=str)
def test_a_fault_costs_what_its_kind_says_and_no_row(
    cell: Cell,
    services: dict[bool, ListrakService],
    make_tap: MakeTap,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tap = tap_for(make_tap, cell.stream.name, concurrency=cell.concurrency, request_timeout=10)
    if cell.is_tls:
        trust_it(tap.folder, monkeypatch)
    tap = Tap(
        services[cell.is_tls],
        tap.folder,
        {**tap.config, "wsdl_url": services[cell.is_tls].url},
        tap.catalog,
    )
    striking = Striking(cell)
    tap.service.rules[:] = [striking]
    run = night(tap)
    tap.service.rules.clear()

    name, outcome = cell.stream.name, cell.outcome
    assert "Traceback" not in run.err
    assert "has a defect" not in run.err
    expected = cell.error.exit_code if outcome in ("ended", "stopped") else 0
    assert run.code == expected, run.err
    assert len(run.lines("CRITICAL")) == bool(expected)
    tries = 5 if cell.error.is_retryable and cell.kind != "once" else 1
    assert max(striking.struck.values()) == tries
    owed = set_aside(run) if run.states else []
    left_out = warnings(run, "Skipped in this run")
    if outcome == "healed":
        assert missing(tap, run) == {}
    if outcome in ("healed", "set aside"):
        assert set(bookmarks(run).values()) <= {instant()}
        has_owed = outcome == "set aside" and bool(cell.stream.replication_key)
        assert (bool(owed), bool(left_out)) == (has_owed, outcome == "set aside" and not has_owed)
        assert {each["stream"] for each in owed} <= {name}
        assert {each.get("page") for each in owed} <= {int(cell.page or 1) - 1 or None}
    else:
        assert not owed
        assert set(bookmarks(run).values()) <= {None} if run.states else outcome == "ended"

    if outcome != "healed":
        rest = night(tap, 1, run if run.states else None)
        assert rest.code == 0, rest.err
        assert (set_aside(rest), missing(tap, run, rest)) == ([], {})
