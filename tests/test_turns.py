"""With recent_days, old messages are requested in rotation: later, and nothing of them is lost."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tap_listrak.streams import PUBLISHED, Per
from tap_listrak.sync.turns import Rotation, everything_requested_until, last_due_day
from tests.support import runs
from tests.support.accounts import message_ids
from tests.support.records import keys_emitted
from tests.support.replies import add_message_without_date
from tests.support.runs import NOW, OPEN, days, is_due, requested, text, wire
from tests.support.tap import MakeTap, Run, Tap

DAY = timedelta(days=1)
EVERY, RECENT = 5, 14
OFF = {"recent_days": None}


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap that selects opens of messages of three months, of which few are recent."""
    return runs.rotating_tap(make_tap, RECENT, EVERY, 3, datetime(2026, 3, 18))


def nights(tap: Tap, *numbers: float) -> Run:
    """Runs at these days, each from where the one before it ended; return the last."""
    run = None
    for number in numbers:
        run = tap.run(clock=days(number), state=run and run.state)
    assert run
    assert run.code == 0
    return run


def everything(tap: Tap) -> set[int]:
    return message_ids(tap.service.account)


def sent_since(tap: Tap, number: float) -> set[int]:
    return message_ids(tap.service.account, since=wire(days(number)))


# Which messages are requested.


@pytest.mark.parametrize(
    "numbers",
    [[1, 2, 3, 4, 5, 6], [0.25, 0.6, 1.0, 1.4], [3, 9, 40]],
    ids=["daily", "within a day", "with gaps"],
)
def test_a_run_requests_what_is_new_or_due_since_the_last(tap: Tap, numbers: list[float]) -> None:
    run, last, bookmark = nights(tap, 0), 0.0, ten_days(0)
    for number in numbers:
        run, asked = tap.asked_in(clock=days(number), state=run.state)
        since = range(round(last) + 1, round(number) + 1)
        due = {ID for ID in everything(tap) for day in since if is_due(ID, day, EVERY)}
        expected = due | sent_since(tap, number - RECENT)
        assert requested(asked) == expected
        of_recent = [ask for ask in asked if int(ask.arguments.get("MsgID", 0)) not in due]
        assert runs.starts(of_recent) <= {wire(days(last - 1))}
        waiting = len(everything(tap)) - len(expected)
        counted = f"{waiting} older message{'s' * (waiting != 1)} not due"
        assert counted in run.err if waiting else "not due in" not in run.err
        last, bookmark = number, max(bookmark, ten_days(number))
        assert run.bookmarks == {"message_opens": text(bookmark)}


def ten_days(number: float) -> datetime:
    """The start of the ten days up to a run's end: each message was due on two of them."""
    return days(number).replace(hour=0, minute=0, second=0) - (2 * EVERY - 1) * DAY


def test_all_streams_of_events_take_turns_and_sends_do_not(tap: Tap) -> None:
    tap.catalog = None
    add_message_without_date(tap, 42, "2026-01-20T01:02:03")
    _, asked = tap.asked_in(clock=days(1), state=nights(tap, 0).state)
    for stream in PUBLISHED:
        if stream.can_rotate and stream.per is Per.MESSAGE:
            assert requested(asked, stream.operation) == requested(asked) < everything(tap)
    assert requested(asked, runs.SENT) == sent_since(tap, -3) | {42}
    assert 42 in requested(asked), "it has no date"


def test_without_counts_a_message_waits_for_its_turn(tap: Tap) -> None:
    counts = re.compile(rb"<(\w+Count)>\d+</\1>")
    tap.change("messages", lambda body: counts.sub(b"", body))
    run, asked = tap.asked_in(clock=days(1), state=nights(tap, 0).state)
    due = {each for each in everything(tap) if is_due(each, 1, EVERY)}
    assert requested(asked) == due | sent_since(tap, 1 - RECENT) < everything(tap)
    assert run.entry()["turns"] == []


# What makes everything due.


@pytest.mark.parametrize("changed", [{"older_every_days": 7}, OFF], ids=str)
def test_a_change_of_older_every_days_requests_everything(
    tap: Tap, changed: dict[str, Any]
) -> None:
    run = nights(tap, 0, 1, 2)
    run, asked = tap.asked_in(clock=days(3), state=run.state, config=changed)
    assert requested(asked) == everything(tap)
    assert runs.starts(asked) == {wire(ten_days(2) - DAY)}
    bookmark = days(3) if changed == OFF else ten_days(2)
    assert run.bookmarks == {"message_opens": text(bookmark)}
    _, asked = tap.asked_in(clock=days(4), state=run.state, config=changed)
    assert (requested(asked) == everything(tap)) == (changed == OFF)
    # And so does the change back.
    _, asked = tap.asked_in(clock=days(4), state=run.state)
    assert requested(asked) == everything(tap)
    assert runs.starts(asked) == {wire(bookmark - DAY)}


def test_a_bookmark_set_back_by_hand_requests_everything_from_it(tap: Tap) -> None:
    state = nights(tap, *range(12)).state
    assert state["bookmarks"]["message_opens"]["OpenDate"] > text(NOW)
    state["bookmarks"]["message_opens"]["OpenDate"] = text(days(-20))
    run, asked = tap.asked_in(clock=days(12), state=state)
    assert requested(asked) == everything(tap)
    assert runs.starts(asked) == {wire(days(-21))}
    assert run.bookmarks == {"message_opens": "2026-03-23T00:00:00Z"}


@pytest.mark.usefixtures("state_after_every_page")
@pytest.mark.parametrize("after", [{}, OFF, {"older_every_days": 30}], ids=str)
def test_an_unfinished_range_is_finished_as_it_was_begun(tap: Tap, after: dict[str, Any]) -> None:
    tap.config["concurrency"] = 1
    first = nights(tap, 0)
    for each in everything(tap):
        tap.service.account.add_event(OPEN, each, "late@example.com", days(0.25))
    whole, asked_whole = tap.asked_in(clock=days(1), state=first.state)
    due = keys_emitted(whole)["message_opens"].keys()
    for before in whole.prefixes()[1:-1:6]:
        (unfinished,) = before.entry()["unfinished"]
        assert (unfinished["recent_days"], unfinished["older_every_days"]) == (RECENT, EVERY)
        rest, asked = tap.asked_in(clock=days(2), state=before.state, config=after)
        of_range = [ask for ask in asked if ask.arguments.get("EndDate") == wire(days(1))]
        assert requested(of_range) <= requested(asked_whole)
        assert keys_emitted(before, rest)["message_opens"].keys() >= due


# Pure.

MOMENTS = some.datetimes(
    datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=some.just(timezone.utc)
)
GAPS = [some.timedeltas(timedelta(minutes=1), limit) for limit in (DAY / 24, DAY, 31 * DAY)]


def moments(first: datetime, gaps: list[timedelta]) -> list[datetime]:
    return [first + sum(gaps[:number], timedelta(0)) for number in range(len(gaps) + 1)]


def requests(
    ends: list[datetime], number: int, every: int
) -> Iterator[tuple[datetime, datetime, datetime | None]]:
    """The end of each run after the first, its bookmark, and from when it requested, if it did."""
    bookmark = ends[0]
    for last, end in pairwise(ends):
        rotation = Rotation(last, bookmark, end, every, recent_since=end)
        bookmark = max(bookmark, everything_requested_until(end, every))
        yield end, bookmark, rotation.start_of_turn(number) if rotation.is_due(number) else None


@given(MOMENTS, some.lists(some.one_of(GAPS), max_size=30), some.integers(), some.integers(2, 9))
def test_no_gap_is_left_up_to_the_bookmark(
    first: datetime, gaps: list[timedelta], number: int, every: int
) -> None:
    until = first
    for end, bookmark, start in requests(moments(first, gaps), number, every):
        if start:
            assert start <= until
            until = end
        assert until >= last_due_day(end, number, every) or until == first
        assert bookmark <= until


@given(MOMENTS, some.integers(), some.integers(2, 9), some.lists(some.booleans(), min_size=30))
def test_one_due_day_may_be_missed_where_runs_are_daily(
    first: datetime, number: int, every: int, is_missed: list[bool]
) -> None:
    until, missed_before = first, False
    ends = moments(first, [DAY] * len(is_missed))
    for (end, bookmark, start), misses in zip(requests(ends, number, every), is_missed):
        if start:
            missed_before = misses and not missed_before
            if not missed_before:
                assert start <= until
                until = end
        assert bookmark <= until
