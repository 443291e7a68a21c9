"""Peak memory by rows: the child's own peak, as the kernel counts it.

It must not follow the rows: neither their number nor how long one message's pages go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import Cost, Service, Tap, measure
from benchmarks.rows import Table
from benchmarks.table import Line
from tap_listrak.streams import BY_NAME

OPENS = BY_NAME["message_opens"]


def lines(folder: Path, *, quick: bool) -> Iterator[Line]:
    """Measure, and give the table's lines."""
    size = 250 if quick else 1000
    few, many = (_peak(Table(OPENS, n, 10 * size, size), 4, folder) for n in (5, 100))
    yield Line(
        "peak memory at 20 times the rows, more messages",
        many.peak / few.peak,
        f"{many.peak:.0f} MiB / {few.peak:.0f} MiB",
        most=1.2,
    )
    long = _peak(Table(OPENS, 1, 1000 * size, size), 8, folder)
    yield Line(
        f"peak memory, one message of 1,000 pages of {size:,} rows, concurrency 8",
        long.peak,
        f"{long.peak / few.peak:.2f} times that of {50 * size:,} rows",
        most=150,
        unit=" MiB",
    )


def _peak(table: Table, concurrency: int, folder: Path) -> Cost:
    with Service(**table.shape()) as service, Path("/dev/null").open("wb") as nowhere:
        tap = Tap(service, folder, [OPENS.name])
        return measure(tap.command(concurrency=concurrency), nowhere.fileno())
