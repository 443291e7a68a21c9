"""Measure start-up: discovery on a small account, and the share of importing the tap."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import Service, Tap, best, measure, scaled
from benchmarks.table import Line


def lines(folder: Path, *, quick: bool, share: float) -> Iterator[Line]:
    """Measure, and return the table's lines: wall seconds, best of several."""
    bare = [sys.executable, "-c", "pass"]
    imported = [sys.executable, "-c", "import tap_listrak.cli"]
    with Service() as service, Path("/dev/null").open("wb") as nowhere:
        discover = Tap(service, folder, []).command("--discover")
        of_bare, of_imported, of_discover = best(
            scaled(3 if quick else 7, share),
            *(
                lambda command=command: measure(command, nowhere.fileno())
                for command in (bare, imported, discover)
            ),
        )
    yield Line(
        "discovery on a small account, wall time",
        of_discover.wall,
        f"its imports alone {of_imported.wall:.2f} s, the interpreter alone {of_bare.wall:.2f} s",
        most=1,
        unit=" s",
    )
