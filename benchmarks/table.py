"""Format the table that a benchmark run prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One measurement: a ratio (or, with `unit`, a figure), its target, and its components.

    `most` and `least` are the targets; without either the line only informs.
    """

    what: str
    value: float
    figures: str
    most: float | None = None
    least: float | None = None
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is none."""
        if self.most is not None:
            return self.value <= self.most
        return None if self.least is None else self.value >= self.least

    def cells(self) -> tuple[str, ...]:
        """The line's cells, as text."""
        target = f"≤ {self.most:g}{self.unit}" if self.most is not None else ""
        if self.least is not None:
            target = f"≥ {self.least:g}{self.unit}"
        met = {True: "yes", False: "NO", None: ""}[self.met]
        value = f"{self.value:.2f}" if 0 < self.value < 100 else f"{self.value:.0f}"
        return value + self.unit, target, met, self.what, self.figures


HEAD = ("ratio", "target", "met", "measured", "figures")


def markdown(lines: Iterable[Line]) -> str:
    """Return the lines as a Markdown table, aligned for reading as plain text."""
    rows = [HEAD, *(line.cells() for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (rows[0], rule, *rows[1:])
    )
