"""Times as whole microseconds: instants (since 1970 in UTC) and walls (the same in local time).

Integers, because rows are compared and written by the hundred thousand.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND
NEVER: Final = "0001-01-01T00:00:00"
""".NET's DateTime.MinValue: an unset date."""

_EPOCH: Final = datetime(1970, 1, 1)
_MICROSECOND: Final = timedelta(microseconds=1)
_QUARTER: Final = 900 * SECOND
_ISO: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?", re.ASCII
)
# How far a time is cut: to seconds, tenths, hundredths, milliseconds.
_UNITS: Final = (SECOND, SECOND // 10, SECOND // 100, SECOND // 1000)


def instant(moment: datetime) -> int:
    """Return the instant of `moment`; a datetime without a zone is UTC."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(timezone.utc).replace(tzinfo=None)
    return (moment - _EPOCH) // _MICROSECOND


def write_iso(wall: int, offset: str = "") -> str:
    """Return `wall` as .NET writes a dateTime: its fraction has no trailing zeros."""
    text = (_EPOCH + timedelta(0, 0, wall)).isoformat()
    return (text.rstrip("0") if "." in text else text) + offset


def write_us(wall: int) -> str:
    """Return `wall` as `M/D/YYYY h:mm:ss AM`."""
    time = _EPOCH + timedelta(0, 0, wall)
    return (
        f"{time.month}/{time.day}/{time.year} {time.hour % 12 or 12}:{time:%M:%S} "
        f"{'AM' if time.hour < 12 else 'PM'}"
    )


@dataclass(frozen=True)
class Zone:
    """A time zone by its IANA name. Raises KeyError if there is none."""

    name: str

    def __post_init__(self) -> None:
        ZoneInfo(self.name)

    def wall(self, moment: int) -> int:
        """Return the wall time of an instant."""
        return moment + _offset(self.name, moment // _QUARTER)

    def write_offset(self, moment: int) -> str:
        """Return the offset at an instant as xs:dateTime carries it."""
        aware = datetime.fromtimestamp(moment // SECOND, ZoneInfo(self.name))
        return aware.isoformat()[19:].replace("+00:00", "Z")

    def read_iso(self, text: str) -> int:
        """Return the wall time of an xs:dateTime, with any offset applied. Raises ValueError."""
        match = _ISO.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"not an xs:dateTime: {text}")
        whole, fraction, offset = match.groups("")
        moment = instant(datetime.fromisoformat(whole + offset.replace("Z", "+00:00")))
        moment += int(fraction[:6].ljust(6, "0"))
        return self.wall(moment) if offset else moment

    def read(self, text: str) -> int | None:
        """Return the wall time of any form on the wire; None for anything else."""
        with suppress(ValueError, OverflowError):
            return self.read_iso(text)
        with suppress(ValueError):
            return instant(datetime.strptime(text.strip(), "%m/%d/%Y %I:%M:%S %p"))
        return None


@lru_cache(65536)
def _offset(name: str, quarter: int) -> int:
    """Return local time less UTC. Zones change their offsets on a quarter of an hour."""
    if name == "UTC":
        return 0
    local = datetime.fromtimestamp(quarter * 900, ZoneInfo(name)).replace(tzinfo=None)
    return (local - _EPOCH) // _MICROSECOND - quarter * _QUARTER


@dataclass(frozen=True)
class Range:
    """The walls from `start` up to, but not including, `end`."""

    start: int
    end: int

    def holds(self, wall: int | None) -> bool:
        """Return whether a row of that time is selected; one without a readable time always is."""
        return wall is None or self.start <= wall < self.end


@dataclass(frozen=True)
class Timeline:
    """Times of `rows` rows between two instants, never falling from one rank to the next.

    Each is computed from its rank only, so that a million rows need no setup.
    """

    rows: int
    first: int
    last: int
    salt: int
    early: bool = False
    """Most of them soon after `first`, as people open mail; else evenly."""

    def at(self, rank: int) -> int:
        """Return the instant of one row. Every ninth falls together with the one before it."""
        if rank % 9 == 8:
            rank -= 1
        jitter = (rank * 2_654_435_761 + self.salt & 0xFFFFFFFF) / 2**32
        share = (rank + jitter) / self.rows
        if self.early:
            share *= share
        moment = self.first + int(share * (self.last - self.first))
        # The digits of the fraction depend only on the second, which keeps the order.
        return moment - moment % _UNITS[moment // SECOND * 40_503 >> 4 & 3]
