"""With recent_days, counts show which old messages have new events, and contacts rotate."""

import copy
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fake_listrak import Ask, Reply, raw
from tap_listrak.sync.counts import (
    MAX_BYTES,
    MAX_MESSAGES,
    Count,
    NewestCounts,
    filter_of,
    is_known,
)
from tests.support.accounts import list_ids, message_ids
from tests.support.runs import (
    CONTACTS,
    EPOCH,
    MESSAGES,
    OPEN,
    days,
    is_due,
    requested,
    rotating_tap,
    wire,
)
from tests.support.tap import MakeTap, Run, Tap, catalog_of

DAY = timedelta(days=1)
EVERY, RECENT = 9, 3
SENT = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap that selects opens of messages of which none is recent."""
    return rotating_tap(make_tap, RECENT, EVERY, 6, datetime(2026, 3, 1))


def waiting(tap: Tap, *on_days: int) -> int:
    """A message that is due on none of these days."""
    return min(
        each
        for each in message_ids(tap.service.account)
        if not any(is_due(each, day, EVERY) for day in on_days)
    )


def night(tap: Tap, day: int, before: Any) -> tuple[Run, set[int]]:
    """One run from a state; return it with the messages whose opens it requested."""
    run, asked = tap.asked_in(clock=days(day), state=before)
    assert run.code == 0
    return run, requested(asked)


def add_open(tap: Tap, msg_id: int, day: float) -> None:
    tap.service.account.add_event(OPEN, msg_id, "late@example.com", days(day))


def test_a_new_open_of_an_old_message_arrives_a_night_later_with_one_message_more(tap: Tap) -> None:
    first = tap.run(clock=days(0))
    msg_id = waiting(tap, 1, 2)
    _, asked_without = night(tap, 1, first.state)
    add_open(tap, msg_id, 0.5)
    run, asked = night(tap, 1, first.state)
    assert "late@example.com" in run.addresses()
    assert asked == asked_without | {msg_id}
    _, asked = night(tap, 2, run.state)
    assert msg_id not in asked


def lost(state: Any) -> None:
    state["turns"] = []


def of_another_run(state: Any) -> None:
    state["turns"][0]["end"] = "2026-01-01T00:00:00Z"


def too_small(state: Any) -> None:
    state["turns"][0]["counts"] = "/w=="


def of_newer_messages(state: Any) -> None:
    state["turns"][0]["sent_from"] = "2026-03-15T00:00:00Z"


@pytest.mark.parametrize("harm", [lost, of_another_run, too_small, of_newer_messages])
def test_without_its_filter_an_event_comes_on_its_messages_due_day(tap: Tap, harm: Any) -> None:
    first = tap.run(clock=days(0))
    msg_id = waiting(tap, 1)
    add_open(tap, msg_id, 0.5)
    state = copy.deepcopy(first.state)
    harm(state["bookmarks"]["message_opens"])
    run, asked = night(tap, 1, state)
    assert msg_id not in asked
    came: list[str] = []
    for day in range(2, EVERY + 1):
        run, _ = night(tap, day, run.state)
        came += run.addresses()
    assert "late@example.com" in came


def test_a_filter_of_nothing_costs_calls_alone(tap: Tap) -> None:
    first = tap.run(clock=days(0))
    state = copy.deepcopy(first.state)
    state["bookmarks"]["message_opens"]["turns"][0]["counts"] = "AA=="
    run, asked = night(tap, 1, state)
    assert asked == message_ids(tap.service.account)
    assert run.entry()["turns"] == [
        {**first.entry()["turns"][0], "end": run.entry()["covers"][0]["end"]}
    ]


def test_a_filter_that_cannot_be_read_is_a_mistake_of_the_state(tap: Tap) -> None:
    state = tap.run(clock=days(0)).state
    state["bookmarks"]["message_opens"]["turns"][0]["counts"] = "?"
    run = tap.run(clock=days(1), state=state)
    assert run.code != 0
    assert "bookmarks.message_opens.turns[0].counts" in run.err


def test_a_count_that_is_missing_leaves_a_message_to_its_turn(tap: Tap) -> None:
    def without(ask: Ask) -> Reply | None:
        if ask.operation != MESSAGES:
            return None
        return raw(re.sub(rb"<OpenCount>\d+</OpenCount>", b"", ask.honest().body))

    first = tap.run(clock=days(0))
    tap.service.rules.append(without)
    run, asked = night(tap, 1, first.state)
    assert asked == {each for each in message_ids(tap.service.account) if is_due(each, 1, EVERY)}
    assert run.entry()["turns"] == []


def test_without_recent_days_the_state_remembers_no_counts(tap: Tap) -> None:
    run = tap.run(clock=days(0), config={"recent_days": None})
    assert run.entry()["turns"] == []


# Contacts.


def windows_asked(asked: list[Any]) -> set[int]:
    """The numbers of the windows of contacts that were requested, by their ends."""
    ends = [
        datetime.fromisoformat(ask.arguments["EndDate"]).replace(tzinfo=timezone.utc)
        for ask in asked
        if ask.operation == CONTACTS
    ]
    return {(end - EPOCH - timedelta(seconds=1)) // (30 * DAY) for end in ends}


def test_old_windows_of_contacts_are_requested_whole_on_their_due_days(tap: Tap) -> None:
    tap.catalog = catalog_of("subscribed_contacts")
    whole = tap.run(clock=days(0))
    run, newest, seen = whole, (days(0) - EPOCH) // (30 * DAY), []
    for day in range(1, EVERY + 1):
        run, asked = tap.asked_in(clock=days(day), state=run.state)
        found = windows_asked(asked)
        late = {newest - 1, newest, newest + 1}
        assert all(is_due(each, day, EVERY) for each in found - late)
        assert len(found) < 4
        seen += run.records("subscribed_contacts")
    everyone = {
        (each["ListID"], each["ContactID"]) for each in whole.records("subscribed_contacts")
    }
    assert everyone
    assert {(each["ListID"], each["ContactID"]) for each in seen} >= everyone


@pytest.mark.parametrize(
    "change", [{}, {"EmailAddress": "new@example.com"}], ids=["came back", "changed address"]
)
def test_changed_contacts_arrive_within_older_every_days(tap: Tap, change: dict[str, str]) -> None:
    account = tap.service.account
    tap.catalog = catalog_of("subscribed_contacts")
    ListID = list_ids(account)[0]
    oldest = min(account.contacts(ListID), key=lambda row: str(row["AdditionDate"]))
    email, since = str(oldest["EmailAddress"]), str(oldest["AdditionDate"])
    if not change:
        account.hide_contact(ListID, email)
    run = tap.run(clock=days(0))
    if change:
        account.hide_contact(ListID, email)
    # Listrak keeps the first AdditionDate.
    account.add_contact(ListID, email, since, ContactID=oldest["ContactID"], **change)
    came = []
    for day in range(1, EVERY + 1):
        run = tap.run(clock=days(day), state=run.state)
        came += run.records("subscribed_contacts")
    (found,) = [
        each
        for each in came
        if (each["ListID"], str(each["ContactID"])) == (ListID, str(oldest["ContactID"]))
    ]
    assert found["EmailAddress"] == change.get("EmailAddress", email)


def test_without_recent_days_contacts_are_requested_from_the_bookmark(tap: Tap) -> None:
    tap.catalog = catalog_of("subscribed_contacts")
    tap.config["recent_days"] = None
    run = tap.run(clock=days(0))
    _, asked = tap.asked_in(clock=days(1), state=run.state)
    starts = {ask.arguments["StartDate"] for ask in asked if ask.operation == CONTACTS}
    assert starts == {wire(days(-1) - timedelta(seconds=1))}
    assert tap.list_ids


# Pure.

COUNTS = some.lists(
    some.builds(
        Count,
        some.integers(0, 2000).map(lambda hours: SENT + timedelta(hours=hours)),
        some.integers(-(2**63), 2**63 - 1),
        some.integers(0, 2**31),
    ),
    max_size=300,
)


@given(COUNTS)
def test_what_a_filter_holds_is_never_said_to_be_new(counts: list[Count]) -> None:
    bits = filter_of(counts)
    assert len(bits) <= MAX_BYTES
    assert all(is_known(bits, each.msg_id, each.value) for each in counts)


@pytest.mark.parametrize(("messages", "most"), [(1000, 0.02), (MAX_MESSAGES, 0.04)])
def test_few_new_counts_are_taken_for_known(messages: int, most: float) -> None:
    bits = filter_of(Count(SENT, number, 5) for number in range(messages))
    wrong = sum(is_known(bits, number, 6) for number in range(20_000)) / 20_000
    bits_each = 8 * len(bits) / messages
    expected = (1 - 2.718281828 ** (-5 / bits_each)) ** 5
    assert expected < most
    assert abs(wrong - expected) < 0.006


def test_a_filter_that_is_full_holds_the_messages_sent_last() -> None:
    counts = NewestCounts()
    for number in range(3 * MAX_MESSAGES):
        counts.add(Count(SENT + number // 2 * timedelta(minutes=1), number, 1))
    built = counts.build_filter()
    assert built
    sent_from, bits = built
    kept = [each for each in range(3 * MAX_MESSAGES) if is_known(bits, each, 1)]
    newest = range(2 * MAX_MESSAGES, 3 * MAX_MESSAGES)
    assert set(newest) <= set(kept)
    assert sent_from == SENT + MAX_MESSAGES * timedelta(minutes=1)
    assert len(bits) * 4 / 3 <= 12_000
