"""From when to when each stream is requested, and what its bookmark covers."""

from datetime import datetime, timedelta
from email.utils import format_datetime
from itertools import count
from typing import Any

import pytest

from fake_listrak import Ask
from tap_listrak.streams import STREAMS, Per
from tests.support import runs
from tests.support.accounts import message_ids
from tests.support.records import KINDS
from tests.support.runs import NOW, OPEN, SENT, START, bounds_of, days, rows, starts, text, wire
from tests.support.tap import BOOKMARKS, MakeTap, Run, Tap, catalog_of

# The streams that are requested for a range of dates which the bookmark begins.
RANGED = [each for each in STREAMS if each.replication_key and each.dated]
OF_LISTS = BOOKMARKS.keys() - {"complaints"}
# One of each kind, where it does not matter which.
EACH_KIND = catalog_of(
    *("messages", "message_opens", "message_links", "message_deliveries", "subscribed_contacts"),
    *("conversation_opens", "campaigns", "complaints"),
)
ALL_AT_NOW = dict.fromkeys(BOOKMARKS, text(NOW))
SECOND = timedelta(seconds=1)


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap that selects all of an account of a few pages."""
    return runs.tiny_tap(make_tap)


def assert_start(asked: list[Ask], moment: datetime) -> None:
    """The ranges of all streams start then. Windows overlap by a second."""
    for stream in RANGED:
        overlap = SECOND if stream.per in (Per.LIST, Per.ACCOUNT) else timedelta(0)
        assert starts(asked, stream.operation) == {wire(moment - overlap)}, stream


# A first run, and the next.


def test_a_first_run_requests_everything_from_start_date_to_its_own_start(tap: Tap) -> None:
    minutes = count()
    run, asked = tap.asked_in(clock=lambda: NOW + next(minutes) * timedelta(seconds=60.999))
    assert max(each["time_extracted"] for each in run.of_type("RECORD")) > text(days(0.01))
    assert run.bookmarks == ALL_AT_NOW
    windows = {("2026-01-31T23:59:59", "2026-03-03T00:00:00"), ("2026-03-02T23:59:59", wire(NOW))}
    for stream in RANGED:
        due = windows if stream.per in (Per.LIST, Per.ACCOUNT) else {(wire(START), wire(NOW))}
        if stream.name == "imports":
            due = {(wire(days(-31) - SECOND), wire(NOW))}
        assert set(bounds_of(asked, stream.operation)) == due, stream
    complaints = [ask for ask in asked if ask.operation == KINDS["complaints"].name]
    assert asked[-len(complaints) :] == complaints, "the account comes last"


def test_the_next_run_requests_from_the_bookmark_less_the_lookback_to_its_start(tap: Tap) -> None:
    first = tap.run(clock=lambda: NOW + timedelta(milliseconds=999))
    second, asked = tap.asked_in(clock=days(3), state=first.state)
    assert_start(asked, days(-1))
    assert all(runs.ends(asked, each.operation) == {wire(days(3))} for each in RANGED)
    assert second.bookmarks == dict.fromkeys(BOOKMARKS, text(days(3)))
    assert runs.requested(asked) == message_ids(tap.service.account)
    config = {"lookback_days": "7"}
    _, asked = tap.asked_in(clock=days(4), state=second.state, config=config)
    assert_start(asked, days(-4))


def test_sends_are_requested_of_messages_sent_up_to_two_days_before_the_lookback(tap: Tap) -> None:
    tap.catalog = catalog_of("message_sends")
    first = tap.run(clock=NOW)
    account = tap.service.account
    account.add_message(tap.first_list, 41, days(-3) - SECOND)
    account.add_message(tap.first_list, 42, days(-3))
    account.add_message(tap.first_list, 43, days(1))
    # A message may go out over the day after its SendDate.
    account.add_event(SENT, 42, "late@example.com")
    run, asked = tap.asked_in(clock=days(2), state=first.state)
    assert runs.requested(asked, SENT) == {42, 43}
    assert run.addresses("message_sends") == {"late@example.com"}


@pytest.mark.parametrize("bounds", ["inclusive", "exclusive", "start"])
def test_a_row_on_a_bound_comes_and_a_message_comes_once(make_tap: MakeTap, bounds: str) -> None:
    tap = runs.tiny_tap(make_tap, bounds=bounds)
    account, bound = tap.service.account, START + timedelta(days=30)
    account.add_message(tap.first_list, 42, bound)
    account.add_event(SENT, 42, "ana@example.com")
    account.add_contact(tap.first_list, "bound@example.com", bound)
    account.add_contact(tap.first_list, "first@example.com", START)
    run = tap.run(clock=NOW, config={"interval_days": 30})
    for stream in ("messages", "message_sends"):
        assert [each["MsgID"] for each in run.records(stream)].count(42) == 1
    assert run.addresses("subscribed_contacts") >= {"bound@example.com", "first@example.com"}


# What a bookmark covers.

MARCH = {"start_date": "2026-03-01"}
NEW_YORK = {"timezone": "America/New_York"}
MIRROR = {"mirror": "subscribed_contacts"}


# Options before and after, from when the second run requests, and its warning.
@pytest.mark.parametrize(
    ("before", "after", "start", "warning"),
    [
        (MARCH, {}, START, "start_date is earlier than before"),
        ({}, MARCH, days(-1), None),
        ({"include_test_messages": False}, {}, START, "include_test_messages is on now"),
        ({}, {"include_test_messages": False}, days(-1), None),
        ({}, {"keep_every_event": True}, days(-1), "keep_every_event has changed"),
        ({}, NEW_YORK, days(-1 - 4 / 24), "subscribed_contacts, conversation_opens, complaints)."),
        # Of a mirror, the target keeps no row with a time of the other zone.
        ({}, {**NEW_YORK, **MIRROR}, days(-1 - 4 / 24), ": conversation_opens, complaints)."),
    ],
    ids=str,
)
def test_a_changed_option_is_warned_of_once_and_costs_no_row(
    tap: Tap, before: dict[str, Any], after: dict[str, Any], start: Any, warning: str | None
) -> None:
    tap.catalog = EACH_KIND
    account = tap.service.account
    account.add_message(tap.first_list, 77, START + timedelta(days=3), test=True)
    account.add_event(OPEN, 77, "a@example.com", START + timedelta(days=4))
    whole = tap.run(clock=NOW, config=after)
    first = tap.run(clock=NOW, config=before)
    second, asked = tap.asked_in(clock=days(1), state=first.state, config=after)
    assert starts(asked) == {wire(start)}
    assert second.warnings(warning or "nothing") == second.warnings()
    assert len(second.warnings()) == bool(warning)
    if after.keys() <= MARCH.keys() | {"include_test_messages"}:
        assert rows(first, second).keys() >= rows(whole).keys()
    third, asked = tap.asked_in(clock=days(2), state=second.state, config=after)
    assert third.warnings() == []
    assert min(starts(asked)) > wire(days(-0.5))


def test_a_list_newly_granted_is_walked_from_start_date_and_no_other_is(make_tap: MakeTap) -> None:
    # No imports: a later run requests only those of the last 31 days.
    tap = runs.tiny_tap(make_tap, imports=0)
    whole = tap.run(clock=NOW)
    old, new = tap.list_ids
    tap.service.account.hide_list(new)
    first = tap.run(clock=NOW)
    assert all(first.covers(name)["list_ids"] == [old] for name in OF_LISTS)
    tap.service.account.add_list(new)
    # A run that ends where the bookmark is requests nothing but that list.
    second, asked = tap.asked_in(clock=NOW, state=first.state)
    assert rows(first, second).keys() == rows(whole).keys()
    assert all(second.covers(name)["list_ids"] == [old, new] for name in OF_LISTS)
    assert {ask.arguments["ListID"] for ask in asked if ask.operation == runs.CONTACTS} == {
        str(new)
    }


def test_list_ids_narrowed_and_widened_lose_nothing(tap: Tap) -> None:
    tap.catalog = catalog_of("message_opens", "subscribed_contacts", "complaints")
    one, other = tap.list_ids
    made: list[Run] = []
    for number, chosen in enumerate([[one], None, [other], [one], [other], None]):
        for list_id in (one, other):
            email, added = f"day{number}@example.com", days(5 * number - 3)
            tap.service.account.add_contact(list_id, email, added)
        state = made[-1].state if made else None
        made.append(tap.run(clock=days(5 * number), state=state, config={"list_ids": chosen}))
        assert made[-1].code == 0
    assert rows(tap.run(clock=days(25))).keys() <= rows(*made).keys()


def test_complaints_are_kept_of_the_lists_in_list_ids_alone(tap: Tap) -> None:
    one, other = tap.list_ids
    for list_id in (one, other):
        fields = {"ListID": str(list_id), "MessageID": "1", "EmailAddress": f"{list_id}@x.com"}
        tap.service.account.add_row(KINDS["complaints"].name, None, days(-40), **fields)
    tap.catalog = catalog_of("complaints")
    for list_id in (one, other):
        run = tap.run(clock=NOW, config={"list_ids": [list_id]})
        assert {record["ListID"] for record in run.records("complaints")} == {list_id}


def test_a_state_without_covers_covers_the_lists_of_the_first_run_that_gets_it(tap: Tap) -> None:
    state = {"bookmarks": {name: {field: text(NOW)} for name, field in BOOKMARKS.items()}}
    run, asked = tap.asked_in(clock=days(5), state=state)
    assert_start(asked, days(-1))
    for name in OF_LISTS:
        (pinned,) = run.states[0]["bookmarks"][name]["covers"]
        assert pinned["list_ids"] == tap.list_ids


# The clock.


def show_clock(tap: Tap, moment: Any) -> None:
    """Set the clock that the service's replies show."""
    tap.service.date = lambda: format_datetime(moment, usegmt=True)


def test_where_this_machines_clock_is_ahead_a_run_ends_at_the_services_time(tap: Tap) -> None:
    # The first answered call is compared; the WSDL is no call.
    dates = iter([days(9), NOW])
    tap.service.date = lambda: format_datetime(next(dates, days(9)), usegmt=True)
    first, asked = tap.asked_in(clock=days(3))
    assert first.warnings("clock is ahead")
    assert runs.ends(asked) == {wire(NOW)}
    assert first.bookmarks == ALL_AT_NOW
    old = min(message_ids(tap.service.account))
    tap.service.account.add_event(OPEN, old, "meanwhile@example.com", days(0.1))
    show_clock(tap, days(2))
    assert "meanwhile@example.com" in tap.run(clock=days(2), state=first.state).addresses()


def test_a_stream_whose_bookmark_is_later_than_the_services_clock_is_left_alone(tap: Tap) -> None:
    tap.catalog = EACH_KIND
    first = tap.run(clock=NOW)
    show_clock(tap, days(-0.25))
    second, asked = tap.asked_in(clock=days(1), state=first.state)
    assert (second.code, runs.requested(asked), second.state) == (0, set(), first.state)
    assert second.warnings("Skipped message_opens: it was")


@pytest.mark.parametrize(
    "date", [format_datetime(days(3)), format_datetime(NOW), None, "yesterday"]
)
def test_a_service_clock_ahead_or_not_shown_changes_nothing(tap: Tap, date: str | None) -> None:
    tap.service.date = lambda: date
    tap.catalog = catalog_of("message_opens")
    run = tap.run(clock=NOW + 59 * SECOND)
    assert (run.warnings(), run.bookmarks) == ([], {"message_opens": text(NOW + 59 * SECOND)})


def test_a_clock_set_back_moves_no_bookmark_back(tap: Tap) -> None:
    first = tap.run(clock=NOW)
    second, asked = tap.asked_in(clock=days(-0.25), state=first.state)
    assert (second.code, second.bookmarks) == (0, ALL_AT_NOW)
    assert starts(asked) == {wire(days(-1.25))}
