"""With recent_days, counts show which old messages have new events, and contacts rotate."""

import copy
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tap_listrak.sync import counts
from tap_listrak.sync.counts import Count, NewestCounts, filter_of, is_known
from tests.support.accounts import message_ids
from tests.support.runs import CONTACTS, EPOCH, OPEN, days, is_due, requested, rotating_tap
from tests.support.tap import MakeTap, Run, Tap, catalog_of

EVERY, RECENT = 9, 3
SENT = datetime(2026, 1, 1, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap that selects opens of messages of which none is recent."""
    return rotating_tap(make_tap, RECENT, EVERY, 6, datetime(2026, 3, 1))


def night(tap: Tap, day: int, before: Any) -> tuple[Run, set[int]]:
    """One run from a state; return it with the messages whose opens it requested."""
    run, asked = tap.asked_in(clock=days(day), state=before)
    assert run.code == 0
    return run, requested(asked)


def add_open(tap: Tap) -> int:
    """Add an open to a message that is not due for two days; return its MsgID."""
    ids = message_ids(tap.service.account)
    msg_id = min(each for each in ids if not any(is_due(each, day, EVERY) for day in (1, 2)))
    tap.service.account.add_event(OPEN, msg_id, "late@example.com", days(0.5))
    return msg_id


def test_a_new_open_of_an_old_message_arrives_a_night_later_with_one_message_more(tap: Tap) -> None:
    first = tap.run(clock=days(0))
    _, asked_without = night(tap, 1, first.state)
    msg_id = add_open(tap)
    run, asked = night(tap, 1, first.state)
    assert "late@example.com" in run.addresses()
    assert asked == asked_without | {msg_id}
    _, asked = night(tap, 2, run.state)
    assert msg_id not in asked


@pytest.mark.parametrize(
    "harm",
    [
        None,
        {"end": "2026-01-01T00:00:00Z"},
        {"counts": "/w=="},
        {"sent_from": "2026-03-15T00:00:00Z"},
    ],
    ids=["lost", "of another run", "too small", "of newer messages"],
)
def test_without_its_filter_an_event_comes_on_its_messages_due_day(tap: Tap, harm: Any) -> None:
    state = copy.deepcopy(tap.run(clock=days(0)).state)
    opens = state["bookmarks"]["message_opens"]
    opens["turns"] = [{**opens["turns"][0], **harm}] if harm else []
    msg_id = add_open(tap)
    run, asked = night(tap, 1, state)
    assert msg_id not in asked
    came: list[str] = []
    for day in range(2, EVERY + 1):
        run, _ = night(tap, day, run.state)
        came += run.addresses()
    assert "late@example.com" in came


# Contacts.


def test_old_windows_of_contacts_are_requested_whole_on_their_due_days(tap: Tap) -> None:
    tap.catalog = catalog_of("subscribed_contacts")
    run = whole = tap.run(clock=days(0))
    width, came = timedelta(days=30), set[str]()
    recent = (days(-RECENT) - EPOCH) // width
    for day in range(1, EVERY + 1):
        run, asked = tap.asked_in(clock=days(day), state=run.state)
        came |= run.addresses("subscribed_contacts")
        found = {
            (datetime.fromisoformat(f"{ask.arguments['EndDate']}+00:00") - EPOCH - MINUTE) // width
            for ask in asked
            if ask.operation == CONTACTS
        }
        assert all(is_due(each, day, EVERY) for each in found if each < recent)
        assert len(found) < 4
    assert came >= whole.addresses("subscribed_contacts") != set()


# Pure.


@pytest.mark.parametrize(("messages", "most"), [(1000, 0.02), (counts.MAX_MESSAGES, 0.04)])
def test_no_count_in_a_filter_is_new_and_few_others_are_known(messages: int, most: float) -> None:
    bits = filter_of(Count(SENT, number, 5) for number in range(messages))
    assert len(bits) <= counts.MAX_BYTES
    assert all(is_known(bits, number, 5) for number in range(messages))
    assert sum(is_known(bits, number, 6) for number in range(20_000)) < most * 20_000


def test_a_filter_that_is_full_holds_the_messages_sent_last() -> None:
    newest_counts = NewestCounts()
    for number in range(3 * counts.MAX_MESSAGES):
        newest_counts.add(Count(SENT + number // 2 * MINUTE, number, 1))
    sent_from, bits = newest_counts.build_filter() or (None, b"")
    newest = range(2 * counts.MAX_MESSAGES, 3 * counts.MAX_MESSAGES)
    assert all(is_known(bits, each, 1) for each in newest)
    assert sent_from == SENT + counts.MAX_MESSAGES * MINUTE
    assert len(bits) * 4 / 3 <= 12_000
