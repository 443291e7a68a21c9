"""Measure wall time and calls by concurrency, on two accounts, at several latencies.

Many short messages are what an account holds most of; a few of hundreds of pages are what paging
must not make slow. The least calls are what the account's rows take in any order: each page with
rows, the empty one that ends it, the message windows and the lists.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import Cost, Service, Tap, digest, measure, rows_of_messages, scaled
from benchmarks.table import Line
from tap_listrak.streams import BY_NAME

OPENS = BY_NAME["message_opens"]


@dataclass(frozen=True)
class Held:
    """An account: `messages` in each list, `rows` opens per message, `page_size` rows per page."""

    name: str
    lists: int
    messages: int
    rows: int
    page_size: int

    def shape(self) -> dict[str, Any]:
        """Return the arguments of the account."""
        return {
            "lists": self.lists,
            "messages": self.messages,
            "contacts": 0,
            "sends": self.rows,
            "counts": rows_of_messages(self.rows),
            "page_size": self.page_size,
        }

    @property
    def least_calls(self) -> int:
        """Return the minimum number of calls for its rows."""
        pages = math.ceil(self.rows / self.page_size) + 1
        return 1 + self.lists + self.lists * self.messages * pages


@dataclass(frozen=True)
class Timed:
    """One run: its cost, the calls it made and what it printed."""

    cost: Cost
    calls: int
    printed: str


def accounts(share: float) -> tuple[Held, Held]:
    """Return one account of many messages, and one of few with many pages."""
    messages, rows = scaled(100, share), scaled(3000, share)
    return (
        Held("many short messages", 4, messages, 5, 10),
        Held(f"3 messages of {math.ceil(rows / 10)} pages", 1, 3, rows, 10),
    )


# From this latency on, runs with few concurrent requests mostly wait.
WAITING, IDLE = 0.02, 2


def lines(folder: Path, *, quick: bool, share: float) -> Iterator[Line]:
    """Measure, and return the table's lines."""
    many = (1, 8) if quick else (1, 2, 4, 8, 16)
    for latency in (0.02,) if quick else (0.0, 0.02, 0.1):
        runs = _all(accounts(share), latency, many, folder)
        for held in accounts(share):
            yield from _compared(held, latency, {n: runs[held, n] for n in many})


def _all(
    of: Sequence[Held], latency: float, many: Sequence[int], folder: Path
) -> dict[tuple[Held, int], Timed]:
    """Time every run. Runs that mostly wait go side by side, each with its own service."""
    todo = [(held, n) for n in many for held in of]
    idle = [(held, n) for held, n in todo if latency >= WAITING and n <= IDLE]
    with ThreadPoolExecutor(max(1, len(idle))) as together:
        futures = {run: together.submit(_timed, latency, *run, folder) for run in idle}
        timed = {run: future.result() for run, future in futures.items()}
    return timed | {run: _timed(latency, *run, folder) for run in todo if run not in timed}


def _timed(latency: float, held: Held, concurrency: int, folder: Path) -> Timed:
    printed = folder / f"{held.lists}-{latency}-{concurrency}.jsonl"
    with Service(latency, **held.shape()) as service, printed.open("wb") as out:
        tap = Tap(service, folder, [OPENS.name])
        if not latency:
            # If nothing else takes time, fill the service's cache first.
            with Path("/dev/null").open("wb") as nowhere:
                measure(tap.command(), nowhere.fileno())
        before = service.calls
        cost = measure(tap.command(concurrency=concurrency), out.fileno())
        made = service.calls - before
    del made["WSDL"]
    return Timed(cost, made.total(), digest(printed))


def _compared(held: Held, latency: float, runs: Mapping[int, Timed]) -> Iterator[Line]:
    one = runs[1]
    others = {n: run for n, run in runs.items() if n > 1}
    at = f"{held.name}, {1000 * latency:.0f} ms a call"
    for n, run in others.items():
        yield Line(
            f"concurrency {n} as fast as 1: {at}",
            one.cost.wall / run.cost.wall,
            f"{one.cost.wall:.1f} s / {run.cost.wall:.1f} s",
            least=7 if n == 8 and latency >= 0.1 else None,
        )
    for n, run in others.items():
        yield Line(
            f"calls at concurrency {n} to those at 1: {at}",
            run.calls / one.calls,
            f"{run.calls} / {one.calls}",
            most=1.05 if n == 8 else None,
        )
    yield Line(
        f"calls at concurrency 1 to the least possible: {at}",
        one.calls / held.least_calls,
        f"{one.calls} / {held.least_calls}",
    )
    differ = sum(run.printed != one.printed for run in others.values())
    yield Line(f"runs that print other rows than concurrency 1: {at}", differ, "", most=0)
