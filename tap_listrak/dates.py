"""Convert instants and Listrak's wall-clock times, and split ranges into windows.

Inside the tap an instant is an aware datetime in UTC. Listrak writes and reads wall-clock times
in one zone (`timezone` in the config), usually without an offset.
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

# .NET's DateTime.MinValue, which means an unset date.
_UNSET = "0001-01-01T00:00:00"
# The common case: format_instant's format without the Z.
_LACKS_ONLY_Z = re.compile(
    f"(?!{_UNSET})"
    "[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}"
    r"(?:\.[0-9]{0,5}[1-9])?"
)
# Another format of event dates, which users reported.
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
    """Format as RFC 3339 in UTC, ending in Z, with a fraction only if it is not zero."""
    text = instant.replace(tzinfo=None).isoformat()
    return f"{text.rstrip('0') if '.' in text else text}Z"


def _to_utc(moment: datetime, zone: BaseTzInfo | None = None) -> datetime:
    """Convert to UTC, limited to the years 1 to 9999. A naive `moment` is in `zone`."""
    try:
        if zone is not None:
            moment = zone.localize(moment, is_dst=False)
        return moment.astimezone(UTC)
    except OverflowError:
        return FIRST_INSTANT if moment.year < 5000 else LAST_INSTANT


def datetime_converter(zone: BaseTzInfo) -> Callable[[str], str | None]:
    """Return a converter from Listrak's dates to RFC 3339 in UTC.

    Dates are xs:dateTime, and dates of events may be `M/D/YYYY h:mm:ss AM`. Times without an offset
    are in `zone`; times that are ambiguous or skipped at a DST change are read as standard time.
    The unset date becomes None. The converter raises ValueError.
    """
    is_utc, lacks_only_z, parse = zone is pytz.utc, _LACKS_ONLY_Z.fullmatch, ciso8601.parse_datetime

    def convert(text: str) -> str | None:
        if is_utc and lacks_only_z(text):
            parse(text)  # raises ValueError for an invalid day
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
    """Return a date's format, such as `YYYY-MM-DDThh:mm:ss.f`.

    In an unknown format, digits are masked as 9 and letters as a.
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

    Round outward: starts down, ends up. In the hour that is repeated when DST ends, a wall-clock
    time is ambiguous, so move a start to before that hour and an end to after it.
    """
    if instant - FIRST_INSTANT < timedelta(days=2):
        return datetime.min  # zones west of UTC cannot represent an earlier time
    if end and instant.microsecond:
        instant += timedelta(seconds=1)
    instant = instant.replace(microsecond=0)
    step = timedelta(minutes=1 if end else -1)
    while _is_repeated(instant, zone):
        instant = instant.replace(second=0) + step
    return instant.astimezone(zone).replace(tzinfo=None)


def _is_repeated(instant: datetime, zone: BaseTzInfo) -> bool:
    """Return whether this wall-clock time occurs twice in `zone`."""
    wall = instant.astimezone(zone).replace(tzinfo=None)
    return zone.localize(wall, is_dst=True) != zone.localize(wall, is_dst=False)


def windows(start: datetime, end: datetime, days: int) -> Iterator[tuple[datetime, datetime]]:
    """Split start..end into windows of at most `days` days that share only their bounds.

    Yield one window if start equals end.
    """
    longest = timedelta(days=days)
    while end - start > longest:
        yield start, start + longest
        start += longest
    yield start, end
