"""Old messages are asked in turns: each in its time, and never is more claimed than was asked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from random import Random
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as some

from tap_listrak.sync.turns import TurnOptions, Turns, all_asked

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

BEGINNINGS = some.datetimes(
    datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=some.just(timezone.utc)
)
OPTIONS = some.builds(TurnOptions, some.integers(1, 60), some.integers(2, 90))
FEW_CLASSES = some.builds(TurnOptions, some.integers(1, 60), some.integers(2, 9))


def ends(longest: timedelta) -> some.SearchStrategy[list[datetime]]:
    """When a first run and those after it began, from minutes to so long apart."""
    gaps = some.one_of(
        [
            some.timedeltas(timedelta(minutes=1), min(limit, longest))
            for limit in (HOUR, DAY, 31 * DAY)
        ]
    )

    def add(beginning: datetime, gaps: list[timedelta]) -> list[datetime]:
        moments = [beginning]
        for gap in gaps:
            moments.append(moments[-1] + gap)
        return moments

    return some.builds(add, BEGINNINGS, some.lists(gaps, max_size=40))


ANY_ENDS = ends(31 * DAY)
DAILY = ends(DAY)


class Step(NamedTuple):
    """A run that ended its range at `end`, and the turns before and after it."""

    end: datetime
    before: Turns
    after: Turns

    def asks(self, number: int) -> bool:
        """Whether old messages of a class were asked."""
        return self.before.bookmark_of(number, EPOCH, self.end) is not None


def steps(options: TurnOptions, ends: list[datetime]) -> Iterator[Step]:
    """Runs after a first one, which asked everything."""
    turns = all_asked(options, ends[0])
    for end in ends[1:]:
        before, turns = turns, turns.asked_until(end)
        yield Step(end, before, turns)


def day(moment: datetime) -> int:
    return (moment - EPOCH) // DAY


@given(OPTIONS, DAILY)
def test_where_runs_are_at_most_a_day_apart_no_class_waits_longer_than_the_option_says(
    options: TurnOptions, ends: list[datetime]
) -> None:
    asked_on = [day(ends[0])] * options.older_every_days
    for step in steps(options, ends):
        for number, last in enumerate(asked_on):
            if step.asks(number):
                asked_on[number] = day(step.end)
            assert day(step.end) - last <= options.older_every_days


@given(OPTIONS, ANY_ENDS)
def test_a_class_is_asked_once_on_its_day_and_else_only_if_it_is_overdue(
    options: TurnOptions, ends: list[datetime]
) -> None:
    every = options.older_every_days
    for step in steps(options, ends):
        for number, bookmark in enumerate(step.before.classes):
            is_overdue = step.end - bookmark >= every * DAY
            is_its_day = day(step.end) % every == number and day(bookmark) != day(step.end)
            assert step.asks(number) == (is_overdue or is_its_day)


@given(OPTIONS, ANY_ENDS)
def test_what_was_asked_is_claimed_up_to_the_end_and_nothing_else(
    options: TurnOptions, ends: list[datetime]
) -> None:
    for step in steps(options, ends):
        assert step.after.options == options
        assert step.after.recent == step.end
        for number, bookmark in enumerate(step.before.classes):
            assert step.after.classes[number] == (step.end if step.asks(number) else bookmark)
        assert step.after.oldest == min(step.after.classes)


@given(OPTIONS, ANY_ENDS, some.timedeltas(timedelta(0), 60 * DAY))
def test_no_bookmark_moves_back_though_a_clock_does(
    options: TurnOptions, ends: list[datetime], back: timedelta
) -> None:
    turns = all_asked(options, ends[0])
    for number, end in enumerate(ends):
        moved = turns.asked_until(end - back if number % 2 else end)
        pairs = zip((*turns.classes, turns.recent), (*moved.classes, moved.recent), strict=True)
        assert all(before <= after for before, after in pairs)
        assert turns.oldest <= moved.oldest
        turns = moved


@given(OPTIONS, BEGINNINGS, some.integers(), some.timedeltas(timedelta(0), 120 * DAY))
def test_a_message_that_is_recent_or_has_no_date_never_waits(
    options: TurnOptions, end: datetime, msg_id: int, age: timedelta
) -> None:
    turns = all_asked(options, end - HOUR)
    assert turns.bookmark_of(msg_id, None, end)
    is_asked = turns.bookmark_of(msg_id, end - age, end) is not None
    is_due = day(end) % options.older_every_days == msg_id % options.older_every_days
    assert is_asked == (
        age <= options.recent_days * DAY or (is_due and day(end) != day(end - HOUR))
    )


class Asked:
    """Up to when one message was asked, without a gap since a first run."""

    def __init__(self, until: datetime) -> None:
        self.until = until
        self._ranges: list[tuple[datetime, datetime]] = []

    def add(self, start: datetime, end: datetime) -> None:
        self._ranges.append((start, end))
        for start, end in sorted(self._ranges):
            if start <= self.until:
                self.until = max(self.until, end)


@given(FEW_CLASSES, ANY_ENDS, some.integers(), some.randoms(use_true_random=False))
def test_every_message_is_asked_without_gaps_up_to_its_bookmark_whatever_its_date_does(
    options: TurnOptions, ends: list[datetime], msg_id: int, chance: Random
) -> None:
    asked = Asked(ends[0])
    number = msg_id % options.older_every_days
    for step in steps(options, ends):
        send_date = chance.choice([None, EPOCH, step.end - DAY, step.end, step.end + 400 * DAY])
        start = step.before.bookmark_of(msg_id, send_date, step.end)
        if start is not None:
            assert start <= step.end
            asked.add(start, step.end)
        assert step.after.oldest <= step.after.classes[number] <= asked.until


@given(FEW_CLASSES, ANY_ENDS, some.integers(), some.booleans())
def test_a_message_that_stays_recent_is_asked_without_gaps_in_every_run(
    options: TurnOptions, ends: list[datetime], msg_id: int, is_dated: bool
) -> None:
    asked = Asked(ends[0])
    for step in steps(options, ends):
        start = step.before.bookmark_of(msg_id, step.end if is_dated else None, step.end)
        assert start is not None
        asked.add(start, step.end)
        assert asked.until == step.after.recent == step.end


@given(FEW_CLASSES, ANY_ENDS, BEGINNINGS)
def test_what_was_asked_besides_counts_for_every_class(
    options: TurnOptions, ends: list[datetime], bookmark: datetime
) -> None:
    for step in steps(options, ends):
        besides = step.after.not_before(bookmark)
        assert besides.oldest == max(step.after.oldest, bookmark)
        assert besides.classes == tuple(max(each, bookmark) for each in step.after.classes)
        assert besides.recent == max(step.after.recent, bookmark)
