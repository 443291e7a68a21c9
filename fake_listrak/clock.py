"""Times as whole microseconds: instants (since 1970 in UTC) and walls (the same in local time).

Integers, because rows are compared and written by the hundred thousand.
"""

from __future__ import annotations

import re
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
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:(Z)|([+-])(\d\d):(\d\d))?", re.ASCII
)
_US: Final = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d\d):(\d\d) ([AP]M)", re.ASCII)
# How far a time is cut: to seconds, tenths, hundredths, milliseconds.
_UNITS: Final = (SECOND, SECOND // 10, SECOND // 100, SECOND // 1000)
# Tables, since most of a page of rows is the writing of its dates.
_TWO: Final = tuple(f"{number:02}" for number in range(60))
_FRACTIONS: Final = ("", *(f".{number:03}".rstrip("0") for number in range(1, 1000)))


def instant(moment: datetime) -> int:
    """The instant of `moment`; a datetime without a zone is UTC."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(timezone.utc).replace(tzinfo=None)
    return (moment - _EPOCH) // _MICROSECOND


@lru_cache(4096)
def _date(day: int) -> str:
    return (_EPOCH + timedelta(day)).date().isoformat()


def write_iso(wall: int, offset: str = "") -> str:
    """`wall` as .NET writes a dateTime: a fraction of up to 3 digits without trailing zeros."""
    day, rest = divmod(wall, DAY)
    seconds, micros = divmod(rest, SECOND)
    minutes = seconds // 60
    return (
        f"{_date(day)}T{_TWO[minutes // 60]}:{_TWO[minutes % 60]}:{_TWO[seconds % 60]}"
        f"{_FRACTIONS[micros // 1000]}{offset}"
    )


def write_us(wall: int) -> str:
    """`wall` as `M/D/YYYY h:mm:ss AM`."""
    time = _EPOCH + timedelta(0, wall // SECOND)
    half = "AM" if time.hour < 12 else "PM"
    return (
        f"{time.month}/{time.day}/{time.year} "
        f"{time.hour % 12 or 12}:{time.minute:02}:{time.second:02} {half}"
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
        if self.name == "UTC":
            return "Z"
        minutes = (self.wall(moment) - moment) // (60 * SECOND)
        sign = "-" if minutes < 0 else "+"
        return f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"

    def read_iso(self, text: str) -> int | None:
        """The wall time of an xs:dateTime, converted if it has an offset; None if it is not one."""
        match = _ISO.fullmatch(text.strip())
        if match is None:
            return None
        *numbers, fraction, utc, sign, hours, minutes = match.groups()
        try:
            wall = instant(datetime(*map(int, numbers)))  # type: ignore[arg-type]
        except ValueError:
            return None
        wall += int((fraction or "0")[:6].ljust(6, "0"))
        if utc:
            return self.wall(wall)
        if sign:
            ahead = (int(hours) * 60 + int(minutes)) * 60 * SECOND
            return self.wall(wall - ahead if sign == "+" else wall + ahead)
        return wall

    def read(self, text: str) -> int | None:
        """The wall time of any wire form; None for anything else."""
        match = _US.fullmatch(text.strip())
        if match is None:
            return self.read_iso(text)
        month, day, year, hour, minute, second = map(int, match.groups()[:6])
        try:
            noon = 12 if match[7] == "PM" else 0
            return instant(datetime(year, month, day, hour % 12 + noon, minute, second))
        except ValueError:
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
    """StartDate and EndDate of a request as walls, and which of the two belong to it."""

    start: int
    end: int
    with_start: bool
    with_end: bool

    def holds(self, wall: int | None) -> bool:
        """Whether a row of that time is selected; a row without a readable time always is."""
        if wall is None:
            return True
        after = self.start <= wall if self.with_start else self.start < wall
        return after and (wall <= self.end if self.with_end else wall < self.end)


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
    whole_seconds: bool = False

    def at(self, rank: int) -> int:
        """The instant of one row. Every ninth falls together with the one before it."""
        if rank % 9 == 8:
            rank -= 1
        jitter = (rank * 2_654_435_761 + self.salt & 0xFFFFFFFF) / 2**32
        share = (rank + jitter) / self.rows
        if self.early:
            share *= share
        moment = self.first + int(share * (self.last - self.first))
        if self.whole_seconds:
            return moment - moment % SECOND
        # The digits of the fraction depend only on the second, which keeps the order.
        return moment - moment % _UNITS[moment // SECOND * 40_503 >> 4 & 3]
