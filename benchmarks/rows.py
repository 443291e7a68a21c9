"""CPU a row: the tap beside a bare loop and beside zeep's own deserialization, on the same pages.

The whole process counts, user and system time, at the tap's default concurrency. The three run in
turns, and the best of each is taken; one untimed pass before leaves every page in the service's
cache, so that its making disturbs nobody. The tap is measured three times: with stdout to
/dev/null, as the two others, to a pipe that is read, as in use, and with addresses hashed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from benchmarks.processes import (
    END,
    PASSWORD,
    START,
    USERNAME,
    Cost,
    Service,
    Tap,
    best,
    digest,
    measure,
    rows_of_messages,
    scaled,
)
from benchmarks.table import Line
from tap_listrak.dates import windows
from tap_listrak.streams import BY_NAME, Per, Stream
from tap_listrak.sync.turns import PAGED_WINDOW_DAYS

HERE = Path(__file__).parent
SCHEMAS = HERE.parent / "tap_listrak/schemas"


@dataclass(frozen=True)
class Table:
    """One stream's `rows` for each parent: a message, or a list of contacts."""

    stream: Stream
    parents: int
    rows: int
    page_size: int

    @property
    def total(self) -> int:
        """All its rows."""
        return self.parents * self.rows

    def shape(self) -> dict[str, Any]:
        """What makes an account of these rows."""
        if self.stream.per is not Per.MESSAGE:
            return {
                "lists": self.parents,
                "messages": 0,
                "contacts": self.rows,
                "page_size": self.page_size,
            }
        return {
            "lists": 1,
            "messages": self.parents,
            "contacts": 0,
            "sends": self.rows,
            "counts": rows_of_messages(self.rows),
            "page_size": self.page_size,
        }


def job(table: Table, service: Service) -> dict[str, Any]:
    """Give what bare_loop.py and zeep_loop.py are to ask, all pages of one stream."""
    stream = table.stream
    account = service.account
    lists = [int(str(row["ListID"])) for row in account.lists()]
    asks: list[dict[str, Any]] = []
    if stream.per is Per.MESSAGE:
        messages = [row for ListID in lists for row in account.messages(ListID)]
        messages.sort(key=lambda row: int(str(row["MsgID"])))
        asks = [
            {"MsgID": int(str(row["MsgID"])), "StartDate": START, "EndDate": END}
            for row in messages
        ]
    else:
        # In the tap's windows, which overlap by a second: other windows have other pages.
        asks = [
            {
                "ListID": ListID,
                "StartDate": (start - timedelta(seconds=1)).isoformat(),
                "EndDate": end.isoformat(),
            }
            for ListID in sorted(lists)
            for start, end in windows(
                datetime.fromisoformat(START), datetime.fromisoformat(END), PAGED_WINDOW_DAYS
            )
        ]
    properties = json.loads((SCHEMAS / f"{stream.name}.json").read_text("utf-8"))["properties"]
    return {
        "wsdl": service.url,
        "url": service.url.partition("?")[0],
        "username": USERNAME,
        "password": PASSWORD,
        "stream": stream.name,
        "operation": stream.operation,
        "row": stream.row,
        "parent_key": stream.supplied_key,
        "columns": list(properties),
        "dates": [name for name in properties if properties[name].get("format") == "date-time"],
        "asks": asks,
    }


def lines(folder: Path, *, quick: bool, share: float) -> Iterator[Line]:
    """Measure, and give the table's lines."""
    opens = Table(BY_NAME["message_opens"], 2 if quick else 5, scaled(50_000, share), 1000)
    # A shorter run has more of what a run costs whatever its rows.
    yield from _compared(
        opens, folder, scaled(2 if quick else 3, share), most=None if quick else 1.1
    )
    if not quick:
        clicks = Table(BY_NAME["message_clicks"], 5, scaled(50_000, share), 1000)
        contacts = Table(BY_NAME["subscribed_contacts"], 1, scaled(250_000, share), 2500)
        for table in (clicks, contacts):
            yield from _compared(table, folder, scaled(3, share), most=1.25)


def _compared(table: Table, folder: Path, times: int, *, most: float | None) -> Iterator[Line]:
    name = table.stream.name
    with Service(**table.shape()) as service, Path("/dev/null").open("wb") as nowhere:
        described = folder / f"{name}.json"
        described.write_text(json.dumps(job(table, service)), "utf-8")
        bare = [sys.executable, str(HERE / "bare_loop.py"), str(described)]
        zeep = [sys.executable, str(HERE / "zeep_loop.py"), str(described)]
        of_stream = Tap(service, folder, [name])
        tap, hashing = of_stream.command(), of_stream.command(email_hash_key="k" * 32)
        _same_records(bare, tap, folder)
        into = partial(_into, nowhere)
        piped = partial(measure, tap, subprocess.PIPE)
        of_bare, of_tap, of_zeep, of_hashing, of_piped = best(
            times, into(bare), into(tap), into(zeep), into(hashing), piped
        )

    def micro(cost: Cost) -> float:
        return 1e6 * cost.cpu / table.total

    said = f"{micro(of_tap):.1f} µs / {micro(of_bare):.1f} µs"
    at = f"{name}, {table.total:,} rows, pages of {table.page_size:,}"
    yield Line(
        f"CPU a row, tap to bare loop: {at}",
        of_tap.cpu / of_bare.cpu,
        said,
        most=most,
    )
    yield Line(
        "the same, the tap's stdout a pipe",
        of_piped.cpu / of_bare.cpu,
        f"{micro(of_piped):.1f} µs / {micro(of_bare):.1f} µs",
        most=most,
    )
    yield Line(
        f"CPU a row, with email_hash_key to without: {name}",
        of_hashing.cpu / of_tap.cpu,
        f"{micro(of_hashing):.1f} µs / {micro(of_tap):.1f} µs",
    )
    yield Line(
        f"CPU a row, zeep to tap: {name}",
        of_zeep.cpu / of_tap.cpu,
        f"{micro(of_zeep):.1f} µs / {micro(of_tap):.1f} µs",
        least=6 if table.stream.name == "message_opens" else None,
    )


def _into(nowhere: BinaryIO, command: Sequence[str]) -> Callable[[], Cost]:
    return lambda: measure(command, nowhere.fileno())


def _same_records(bare: Sequence[str], tap: Sequence[str], folder: Path) -> None:
    """Run both once, which fills the service's cache, and see that they print the same rows."""
    paths = folder / "bare.jsonl", folder / "tap.jsonl"
    for command, path in zip((bare, tap), paths, strict=True):
        with path.open("wb") as out:
            measure(command, out.fileno())
    # The tap prints a SCHEMA as well.
    records = folder / "records.jsonl"
    with paths[1].open("rb") as every, records.open("wb") as out:
        out.writelines(line for line in every if line.startswith(b'{"type":"RECORD"'))
    if digest(paths[0]) != digest(records):
        raise RuntimeError(f"The bare loop and the tap print different rows; see {folder}.")
