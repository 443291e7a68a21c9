"""Instants, wall-clock times and windows, for any time in any zone."""

import re
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
import pytz
from hypothesis import example, given
from hypothesis import strategies as st
from pytz import BaseTzInfo

from tap_listrak.dates import datetime_converter, format_instant, parse_instant, wall_clock, windows

UTC = timezone.utc
NEW_YORK = pytz.timezone("America/New_York")
# Hours that daylight saving repeats, half hours, whole days skipped, standard time that moved.
ZONES = [
    *("America/New_York", "America/St_Johns", "America/Caracas", "Africa/Casablanca"),
    *("Antarctica/Troll", "Australia/Lord_Howe", "Europe/Dublin", "Pacific/Apia"),
]
# Each zone with each moment at which its clocks change.
CHANGES = [
    (zone, moment.replace(tzinfo=UTC))
    for zone in map(pytz.timezone, ZONES)
    for moment in getattr(zone, "_utc_transition_times", [])
    if moment.year >= 1990
]
away = st.timedeltas(timedelta(hours=-4), timedelta(hours=4)) | st.timedeltas(
    timedelta(days=-200), timedelta(days=200)
)


def readings(wall: datetime, zone: BaseTzInfo) -> set[datetime]:
    """Every instant that a server may take a wall-clock time for."""
    return {zone.localize(wall, is_dst=is_dst).astimezone(UTC) for is_dst in (True, False)}


@given(st.sampled_from(CHANGES), away, st.booleans())
def test_a_bound_is_exact_or_hours_wider(
    change: tuple[BaseTzInfo, datetime], by: timedelta, end: bool
) -> None:
    zone, instant = change[0], change[1] + by
    second = instant.replace(microsecond=0)
    if end and second < instant:
        second += timedelta(seconds=1)
    shown = second.astimezone(zone).replace(tzinfo=None)
    wall = wall_clock(instant, zone, end=end)
    assert (wall == shown) == (len(readings(shown, zone)) == 1)
    # However it is read, a start is never later and an end never earlier. The longest stretch of
    # these zones is two hours, and it comes twice.
    for read in readings(wall, zone):
        widened = read - instant if end else instant - read
        assert timedelta(0) <= widened < timedelta(hours=4, minutes=2)


starts = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


@given(starts, st.timedeltas(timedelta(0), timedelta(days=4000)), st.integers(1, 3650))
@example(datetime(2025, 1, 1, tzinfo=UTC), timedelta(days=730), 365)
@example(datetime(2025, 1, 1, tzinfo=UTC), timedelta(0), 1)
def test_windows_tile_a_range_with_as_few_as_can_be(
    start: datetime, length: timedelta, days: int
) -> None:
    tiles = list(windows(start, start + length, days))
    assert (tiles[0][0], tiles[-1][1]) == (start, start + length)
    assert all(end == next_ for (_, end), (next_, _) in pairwise(tiles))
    assert all(end - begin <= timedelta(days=days) for begin, end in tiles)
    assert len(tiles) == max(1, -(-length // timedelta(days=days)))


UNSET = "0001-01-01T00:00:00"
TIMES: dict[BaseTzInfo, dict[str, str | None]] = {
    NEW_YORK: {
        "2026-11-01T00:59:59": "2026-11-01T04:59:59Z",
        # What comes twice, and what is skipped, is standard time.
        "2026-11-01T01:30:00": "2026-11-01T06:30:00Z",
        "2026-11-01T02:00:00": "2026-11-01T07:00:00Z",
        "2026-03-08T02:30:00": "2026-03-08T07:30:00Z",
        "2026-07-01T12:00:00.5": "2026-07-01T16:00:00.5Z",
        # An offset overrides the zone.
        "2026-07-01T12:00:00Z": "2026-07-01T12:00:00Z",
        "2026-07-01T12:00:00.1234567+05:30": "2026-07-01T06:30:00.123456Z",
        "6/30/2026 11:30:05 PM": "2026-07-01T03:30:05Z",
        "6/30/2026 12:00:00 AM": "2026-06-30T04:00:00Z",
        "12/1/2025 12:00:00 PM": "2025-12-01T17:00:00Z",
        " 1/2/2026 3:04:05 AM ": "2026-01-02T08:04:05Z",
        **dict.fromkeys((UNSET, f"{UNSET}+09:00", "1/1/0001 12:00:00 AM")),
        # Beyond the calendar, the first or last instant.
        "9999-12-31T23:59:59": "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59.9999999-01:00": "9999-12-31T23:59:59.999999Z",
        "0001-01-01T00:30:00+01:00": "0001-01-01T00:00:00Z",
    },
    pytz.utc: {
        "2026-07-01T12:00:00": "2026-07-01T12:00:00Z",
        "2026-07-01T12:00:00.120": "2026-07-01T12:00:00.12Z",
        "2026-07-01T12:00:00.1234567": "2026-07-01T12:00:00.123456Z",
        " 2026-07-01T12:00:00-0330\n": "2026-07-01T15:30:00Z",
        **dict.fromkeys((UNSET, f"{UNSET}.0000000", f"{UNSET}Z")),
    },
}


@pytest.mark.parametrize(
    ("zone", "sent", "due"),
    [(zone, *pair) for zone, pairs in TIMES.items() for pair in pairs.items()],
)
def test_a_time_is_read_as_the_people_of_its_zone_mean_it(
    zone: BaseTzInfo, sent: str, due: str | None
) -> None:
    assert datetime_converter(zone)(sent) == due


@pytest.mark.parametrize(
    "text",
    [
        *("yesterday", "6/30/2026", "30/6/2026 11:30:05 PM", "6/30/2026 13:30:05 PM"),
        *("6/30/2026 0:30:05 AM", "6/30/2026 11:60:05 PM", "2026-06-31T00:00:00", "2026-01-01"),
        *("2026-13-01T00:00:00", "2026-06-15T25:00:00", "2026-06-15T00:00:00+99:99"),
        *("-0001-01-01T00:00:00", "20260101T0000000000", "2026-06-15T00:00:00+", ""),
    ],
)
def test_a_date_of_no_known_form_or_day_is_refused(text: str) -> None:
    for zone in TIMES:
        with pytest.raises(ValueError, match=r"."):
            datetime_converter(zone)(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_an_instant_is_read_back_as_it_was_written(instant: datetime) -> None:
    text = format_instant(instant)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d*[1-9])?Z", text, re.ASCII)
    assert parse_instant(text) == parse_instant(text.removesuffix("Z")) == instant
