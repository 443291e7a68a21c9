"""Instants, wall-clock times and windows, for any time in any zone."""

import re
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
import pytz
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pytz import BaseTzInfo

from tap_listrak.dates import datetime_converter, format_instant, parse_instant, wall_clock, windows

UTC = timezone.utc
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d*[1-9])?Z", re.ASCII)

# Hours that daylight saving repeats, half hours, whole days skipped, standard time that moved.
ZONES = [
    pytz.timezone(name)
    for name in (
        *("UTC", "America/New_York", "America/Sao_Paulo", "America/St_Johns", "America/Caracas"),
        *("Africa/Casablanca", "Antarctica/Troll", "Asia/Kathmandu", "Australia/Lord_Howe"),
        *("Europe/Dublin", "Europe/London", "Europe/Moscow", "Pacific/Apia", "Pacific/Kiritimati"),
    )
]
zones = st.sampled_from(ZONES)


def near_changes(zone: BaseTzInfo) -> st.SearchStrategy[datetime]:
    """Instants from 1990 on, about half of them near a change of the zone's clocks."""
    changes = [
        moment.replace(tzinfo=UTC)
        for moment in getattr(zone, "_utc_transition_times", [])
        if moment.year >= 1990
    ]
    anywhere = st.datetimes(datetime(1990, 1, 1), datetime(2037, 12, 31), timezones=st.just(UTC))
    if not changes:
        return anywhere
    away = st.timedeltas(timedelta(hours=-4), timedelta(hours=4))
    return anywhere | st.builds(lambda change, by: change + by, st.sampled_from(changes), away)


zones_and_instants = zones.flatmap(lambda zone: st.tuples(st.just(zone), near_changes(zone)))


def readings(wall: datetime, zone: BaseTzInfo) -> set[datetime]:
    """Every instant that a server may take a wall-clock time for."""
    return {zone.localize(wall, is_dst=is_dst).astimezone(UTC) for is_dst in (True, False)}


@given(zones_and_instants, st.booleans())
def test_a_bound_is_exact_or_hours_wider(given_: tuple[BaseTzInfo, datetime], end: bool) -> None:
    zone, instant = given_
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


spans = st.tuples(
    st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.timedeltas(timedelta(0), timedelta(days=4000)),
    st.integers(1, 3650),
)


@given(spans)
@example((datetime(2025, 1, 1, tzinfo=UTC), timedelta(days=730), 365))
@example((datetime(2025, 1, 1, tzinfo=UTC), timedelta(0), 1))
def test_windows_tile_a_range_with_as_few_as_can_be(span: tuple[datetime, timedelta, int]) -> None:
    start, length, days = span
    tiles = list(windows(start, start + length, days))
    assert tiles[0][0] == start
    assert tiles[-1][1] == start + length
    assert all(end == next_ for (_, end), (next_, _) in pairwise(tiles))
    assert all(begin < end for begin, end in tiles) or tiles == [(start, start)]
    assert all(end - begin <= timedelta(days=days) for begin, end in tiles)
    fewest = max(1, -(-length // timedelta(days=days)))
    assert len(tiles) == fewest


fractions = st.text("0123456789", max_size=9)


def with_fraction(moment: datetime, digits: str) -> str:
    return f"{moment.replace(tzinfo=None, microsecond=0).isoformat()}{'.' * bool(digits)}{digits}"


def micros(digits: str) -> int:
    return int(digits[:6].ljust(6, "0"))


@given(zones_and_instants, fractions)
def test_a_wall_clock_time_is_its_instant(given_: tuple[BaseTzInfo, datetime], digits: str) -> None:
    zone, instant = given_
    wall = instant.astimezone(zone).replace(tzinfo=None)
    assume(len(readings(wall, zone)) == 1)
    text = datetime_converter(zone)(with_fraction(wall, digits))
    assert text is not None
    assert RFC_3339.fullmatch(text)
    assert parse_instant(text) == instant.replace(microsecond=micros(digits))


new_york = near_changes(pytz.timezone("America/New_York"))


@given(new_york, fractions)
def test_a_time_that_comes_twice_is_read_as_standard_time(instant: datetime, digits: str) -> None:
    zone = pytz.timezone("America/New_York")
    wall = instant.astimezone(zone).replace(tzinfo=None, microsecond=micros(digits))
    text = datetime_converter(zone)(with_fraction(wall, digits))
    assert text is not None
    assert parse_instant(text) == max(readings(wall, zone))


@pytest.mark.parametrize(
    ("sent", "due"),
    [
        ("2026-11-01T00:59:59", "2026-11-01T04:59:59Z"),
        ("2026-11-01T01:30:00", "2026-11-01T06:30:00Z"),
        ("2026-11-01T02:00:00", "2026-11-01T07:00:00Z"),
        ("2026-03-08T02:30:00", "2026-03-08T07:30:00Z"),
        ("2026-07-01T12:00:00.5", "2026-07-01T16:00:00.5Z"),
        ("2026-07-01T12:00:00Z", "2026-07-01T12:00:00Z"),
        ("6/30/2026 11:30:05 PM", "2026-07-01T03:30:05Z"),
        ("6/30/2026 12:00:00 AM", "2026-06-30T04:00:00Z"),
        ("12/1/2025 12:00:00 PM", "2025-12-01T17:00:00Z"),
        (" 1/2/2026 3:04:05 AM ", "2026-01-02T08:04:05Z"),
        ("1/1/0001 12:00:00 AM", None),
        # Beyond the calendar, the first or last instant.
        ("9999-12-31T23:59:59", "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:59.9999999-01:00", "9999-12-31T23:59:59.999999Z"),
        ("0001-01-01T00:30:00+01:00", "0001-01-01T00:00:00Z"),
    ],
)
def test_times_of_new_york_are_read_as_its_people_mean_them(sent: str, due: str | None) -> None:
    assert datetime_converter(pytz.timezone("America/New_York"))(sent) == due


@pytest.mark.parametrize(
    "text",
    [
        *("yesterday", "6/30/2026", "30/6/2026 11:30:05 PM", "6/30/2026 13:30:05 PM"),
        *("6/30/2026 0:30:05 AM", "6/30/2026 11:60:05 PM", "2026-06-31T00:00:00", "2026-01-01"),
    ],
)
def test_a_date_of_no_known_form_or_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        datetime_converter(pytz.utc)(text)


offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(
    zones, st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=offsets), fractions
)
def test_an_offset_overrides_the_zone(zone: BaseTzInfo, moment: datetime, digits: str) -> None:
    offset = f"{moment:%z}"
    text = datetime_converter(zone)(f"{with_fraction(moment, digits)}{offset[:3]}:{offset[3:]}")
    assert text is not None
    assert parse_instant(text) == moment.replace(microsecond=micros(digits))


@given(zones, st.from_regex(r"0001-01-01T00:00:00(\.0{1,7})?(Z|[+-]0\d:00)?", fullmatch=True))
def test_the_unset_date_is_none(zone: BaseTzInfo, text: str) -> None:
    assert datetime_converter(zone)(text) is None


@given(zones, st.text(max_size=30) | st.from_regex(r"\d{4}-\d\d-\d\d[T ]?[\d:.Z+-]{0,14}"))
@example(pytz.utc, "0001-01-01T00:00:01+14:00")
@example(ZONES[1], "9999-12-31T23:59:59")
@example(ZONES[1], "0001-01-01T00:00:01")
@example(pytz.utc, "9999-12-31T23:59:59-01:00")
@example(pytz.utc, "2026-01-01")
@example(pytz.utc, "2026-W01-1T00:00:00")
@example(pytz.utc, "20260101T0000000000")
def test_a_text_becomes_rfc_3339_or_a_value_error(zone: BaseTzInfo, text: str) -> None:
    try:
        read = datetime_converter(zone)(text)
    except ValueError:
        return
    assert read is None or RFC_3339.fullmatch(read)


@given(st.datetimes(timezones=st.just(UTC)))
def test_an_instant_is_read_back_as_it_was_written(instant: datetime) -> None:
    text = format_instant(instant)
    assert RFC_3339.fullmatch(text)
    assert parse_instant(text) == instant


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)))
def test_a_config_date_without_an_offset_is_utc(moment: datetime) -> None:
    assert parse_instant(moment.isoformat()) == moment.replace(tzinfo=UTC)
