"""Measure peak memory by rows: the child's own peak, as the kernel counts it.

It must not follow the rows: neither their number nor how long one message's pages go on. The
messages of a list come a window at a time, and a window is held whole, so that a list of very many
is measured by itself, with the time that a first sync takes to its first RECORD.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.processes import (
    Cost,
    Service,
    Tap,
    measure,
    measure_until,
    rows_of_messages,
    scaled,
)
from benchmarks.rows import Table
from benchmarks.table import Line
from tap_listrak.streams import BY_NAME

OPENS, CONTACTS = BY_NAME["message_opens"], BY_NAME["subscribed_contacts"]
# For a first sync of many messages: enough RECORDs to prefetch windows.
SOME_RECORDS = 2_000
TEN_YEARS = datetime(2016, 1, 1)


def lines(folder: Path, *, quick: bool, share: float) -> Iterator[Line]:
    """Measure, and return the table's lines."""
    size = 250 if quick else 1000
    rows = scaled(10 * size, share)
    few, many = (_peak(Table(OPENS, n, rows, size), 4, folder) for n in (5, 100))
    yield Line(
        "peak memory at 20 times the rows, more messages",
        many.peak / few.peak,
        f"{many.peak:.0f} MiB / {few.peak:.0f} MiB",
        most=1.2,
    )
    long = _peak(Table(OPENS, 1, 100 * rows, size), 8, folder)
    yield Line(
        f"peak memory, one message of {100 * rows:,} rows, pages of {size:,}, concurrency 8",
        long.peak,
        f"{long.peak / few.peak:.2f} times that of {5 * rows:,} rows",
        most=150,
        unit=" MiB",
    )
    contacts = scaled(250 * size, share)
    few, many = (
        _peak(Table(CONTACTS, 1, n * contacts, 5 * size // 2), 4, folder, mirror=[CONTACTS.name])
        for n in (1, 20)
    )
    yield Line(
        f"peak memory of a mirror of {20 * contacts:,} contacts, to a twentieth of them",
        many.peak / few.peak,
        f"{many.peak:.0f} MiB / {few.peak:.0f} MiB, {many.cpu:.0f} s CPU",
        most=1.2,
    )
    yield from _many_messages(2 * scaled(10_000 if quick else 100_000, share), folder)


def _many_messages(messages: int, folder: Path) -> Iterator[Line]:
    """Measure first syncs of one list of ten years."""
    count = min(SOME_RECORDS, messages // 2)
    shape: dict[str, Any] = {
        "lists": 1,
        "messages": messages,
        "contacts": 0,
        "sends": 1,
        "counts": rows_of_messages(1),
    }
    for days in (365, 30):
        with Service(start=TEN_YEARS, **shape) as service:
            config = {"start_date": f"{TEN_YEARS:%Y-%m-%d}", "interval_days": days}
            opens = Tap(service, folder, [OPENS.name], config, is_first=True).command()
            # Let the service cache the replies for the first windows, which are slow to build.
            measure_until(opens, 1)
            first, some = (measure_until(opens, records) for records in (1, count))
            with Path("/dev/null").open("wb") as nowhere:
                whole = Tap(service, folder, ["messages"], config, is_first=True).command()
                of_messages = measure(whole, nowhere.fileno())
        at = f"{messages:,} messages in one list, windows of {days} days"
        yield Line(
            f"first RECORD of a first sync: {at}",
            first.wall,
            f"{first.cpu:.1f} s CPU, peak {first.peak:.0f} MiB",
            unit=" s",
        )
        yield Line(
            f"peak memory at the {count:,}th RECORD: {at}",
            some.peak,
            f"{some.wall:.1f} s, {some.cpu:.1f} s CPU",
            unit=" MiB",
        )
        yield Line(
            f"peak memory of the messages alone: {at}",
            of_messages.peak,
            f"{of_messages.wall:.1f} s, {of_messages.cpu:.1f} s CPU",
            unit=" MiB",
        )


def _peak(table: Table, concurrency: int, folder: Path, **config: Any) -> Cost:
    with Service(**table.shape()) as service, Path("/dev/null").open("wb") as nowhere:
        tap = Tap(service, folder, [table.stream.name], config)
        return measure(tap.command(concurrency=concurrency), nowhere.fileno())
