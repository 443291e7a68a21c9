"""Instants, Listrak's wall-clock times, and windows that tile a range.

Inside the tap an instant is an aware datetime in UTC. Listrak writes and reads wall-clock times
of one zone (`timezone` in the config) without an offset, and now and then a time with one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone

import ciso8601
import pytz
from pytz import BaseTzInfo

UTC = timezone.utc
FIRST_INSTANT = datetime.min.replace(tzinfo=UTC)
LAST_INSTANT = datetime.max.replace(tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# How .NET writes a date that was never set.
_UNSET = "0001-01-01T00:00:00"
# Dates as `format_instant` writes them, but for the Z; most dates are so.
_LACKS_ONLY_Z = re.compile(
    f"(?!{_UNSET})"
    "[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}"
    r"(?:\.[0-9]{0,5}[1-9])?"
)
# The other form in which Listrak is said to write the dates of events.
_US_FORM = re.compile(
    r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}) (0?[1-9]|1[0-2]):([0-9]{2}:[0-9]{2}) ([AP])M"
)
_ISO_FORM = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)


def parse_instant(text: str) -> datetime:
    """Read an ISO 8601 date or date-time; without an offset it is UTC. Raises ValueError."""
    moment: datetime = ciso8601.parse_datetime(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else _to_utc(moment)


def format_instant(instant: datetime) -> str:
    """Return RFC 3339 in UTC ending in Z, with a fraction only where there is one."""
    text = instant.replace(tzinfo=None).isoformat()
    return f"{text.rstrip('0') if '.' in text else text}Z"


def _to_utc(moment: datetime, zone: BaseTzInfo | None = None) -> datetime:
    """Convert to UTC; what lies beyond the years 1 to 9999 there is held at their first or last.

    A `moment` without an offset is of `zone`.
    """
    try:
        if zone is not None:
            moment = zone.localize(moment, is_dst=False)
        return moment.astimezone(UTC)
    except OverflowError:
        return FIRST_INSTANT if moment.year < 5000 else LAST_INSTANT


def datetime_converter(zone: BaseTzInfo) -> Callable[[str], str | None]:
    """Return the function that turns a date of Listrak's into RFC 3339 in UTC.

    Dates are xs:dateTime, and those of events may be `M/D/YYYY h:mm:ss AM`. Times without an offset
    are of `zone`; those that daylight saving makes ambiguous or skips are read as standard time.
    The unset date becomes None. The function raises ValueError.
    """
    is_utc, lacks_only_z, parse = zone is pytz.utc, _LACKS_ONLY_Z.fullmatch, ciso8601.parse_datetime

    def convert(text: str) -> str | None:
        if is_utc and lacks_only_z(text):
            parse(text)  # raises ValueError for a day that there is not
            return text + "Z"
        text = text.strip()
        us_form = _US_FORM.fullmatch(text)
        if us_form:
            month, day, year, hour, rest, half = us_form.groups()
            hours = int(hour) % 12 + (12 if half == "P" else 0)
            text = f"{year}-{month:0>2}-{day:0>2}T{hours:02}:{rest}"
        if text.startswith(_UNSET):
            return None
        if len(text) < 19 or text[10] != "T":
            raise ValueError("not an xs:dateTime")
        moment: datetime = parse(text)
        if moment.tzinfo is not None:
            moment = _to_utc(moment)
        elif not is_utc:
            moment = _to_utc(moment, zone)
        return format_instant(moment)

    return convert


def form_of(text: str) -> str:
    """Describe how a date is written without the date itself, such as `YYYY-MM-DDThh:mm:ss.f`.

    Of a form that is not known, digits are shown as 9 and letters as a.
    """
    text = text.strip()
    if _US_FORM.fullmatch(text):
        return "M/D/YYYY h:mm:ss AM"
    found = _ISO_FORM.fullmatch(text)
    if not found:
        return re.sub(r"[^\W\d_]", "a", re.sub(r"\d", "9", text))[:40]
    fraction, offset = ".f" if found[1] else "", found[2] or ""
    return f"YYYY-MM-DDThh:mm:ss{fraction}{offset if offset in ('', 'Z') else '±hh:mm'}"


def wall_clock(instant: datetime, zone: BaseTzInfo, *, end: bool) -> datetime:
    """Return a window's bound as a naive wall-clock time of `zone`, in whole seconds.

    It makes no window narrower: a start is rounded down and an end up. Within the hour that a clock
    set back repeats, one wall-clock time means two instants; there a start goes back to before that
    hour and an end on to its end, since those mean one, however they are read.
    """
    if instant - FIRST_INSTANT < timedelta(days=2):
        return datetime.min  # in zones behind UTC there is no earlier time to name
    if end and instant.microsecond:
        instant += timedelta(seconds=1)
    instant = instant.replace(microsecond=0)
    step = timedelta(minutes=1 if end else -1)
    while _is_repeated(instant, zone):
        instant = instant.replace(second=0) + step
    return instant.astimezone(zone).replace(tzinfo=None)


def _is_repeated(instant: datetime, zone: BaseTzInfo) -> bool:
    """Tell whether the wall clock of `zone` shows this time twice."""
    wall = instant.astimezone(zone).replace(tzinfo=None)
    return zone.localize(wall, is_dst=True) != zone.localize(wall, is_dst=False)


def windows(start: datetime, end: datetime, days: int) -> Iterator[tuple[datetime, datetime]]:
    """Tile start..end with windows of at most `days` days that share only their bounds.

    An instant (start equal to end) is one window.
    """
    longest = timedelta(days=days)
    while end - start > longest:
        yield start, start + longest
        start += longest
    yield start, end
