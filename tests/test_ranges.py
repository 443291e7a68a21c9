"""From when to when each stream is requested, and what its bookmark covers."""

from collections import Counter
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from itertools import count
from typing import Any

import pytest

from fake_listrak import FURTHER_OPERATIONS, Ask
from tap_listrak.streams import BY_NAME, STREAMS, Per, Stream
from tests.support.accounts import list_ids, message_ids
from tests.support.faults import part_of
from tests.support.published import ALL_COLUMNS
from tests.support.records import KINDS, all_due, all_emitted, all_parents
from tests.support.runs import (
    CONTACTS,
    MESSAGES,
    NOW,
    OPEN,
    SENT,
    START,
    bounds_of,
    days,
    ends,
    requested,
    rows,
    starts,
    text,
    tiny_tap,
    wire,
)
from tests.support.tap import BOOKMARKS, MakeTap, Run, Tap, catalog_of

# The streams that are requested for a range of dates which the bookmark begins.
RANGED = [each for each in STREAMS if each.replication_key and each.dated]
# What each run gives whole. Totals to date have no dates of their own.
WHOLE = {name for name in ALL_COLUMNS if BOOKMARKS.get(name) in (None, "AskedUntil")}
OF_LISTS = BOOKMARKS.keys() - {"complaints"}
NAMES = {kind.name: name for name, kind in KINDS.items()}
# One of each kind, where it does not matter which.
EACH_KIND = catalog_of(
    *("messages", "message_opens", "message_links", "message_deliveries", "subscribed_contacts"),
    *("conversation_opens", "campaigns", "complaints"),
)
ALL_AT_NOW = dict.fromkeys(BOOKMARKS, text(NOW))


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap that selects all of an account of a few pages."""
    return tiny_tap(make_tap)


def request_start(stream: Stream, moment: datetime) -> str:
    """Where the calls of a stream start for a range that starts then: windows overlap."""
    is_window = stream.per in (Per.LIST, Per.ACCOUNT)
    return wire(moment - timedelta(seconds=is_window))


def assert_start(asked: list[Ask], moment: datetime) -> None:
    """The ranges of all streams start then."""
    for stream in RANGED:
        assert starts(asked, stream.operation) == {request_start(stream, moment)}, stream


# A first run, and the next.


def test_a_first_run_requests_everything_since_start_date(tap: Tap) -> None:
    run, asked = tap.asked_in(clock=NOW)
    windows = {("2026-01-31T23:59:59", "2026-03-03T00:00:00"), ("2026-03-02T23:59:59", wire(NOW))}
    whole = {("2026-02-01T00:00:00", wire(NOW))}
    last_31_days = {(request_start(BY_NAME["imports"], days(-31)), wire(NOW))}
    for stream in RANGED:
        bounds = bounds_of(asked, stream.operation)
        is_window = stream.per in (Per.LIST, Per.ACCOUNT)
        due = last_31_days if stream.name == "imports" else windows if is_window else whole
        assert set(bounds) == due, stream
    assert run.bookmarks == ALL_AT_NOW
    complaints = [ask for ask in asked if ask.operation == KINDS["complaints"].name]
    assert asked[-len(complaints) :] == complaints, "the account comes last"
    assert [ask.arguments["Page"] for ask in complaints].count("1") == 2


def test_the_next_run_requests_from_the_bookmark_less_the_lookback_to_its_start(tap: Tap) -> None:
    first = tap.run(clock=lambda: NOW + timedelta(milliseconds=999))
    assert first.bookmarks == ALL_AT_NOW
    second, asked = tap.asked_in(clock=days(3), state=first.state)
    assert_start(asked, days(-1))
    assert all(ends(asked, stream.operation) == {wire(days(3))} for stream in RANGED)
    assert second.bookmarks == dict.fromkeys(BOOKMARKS, text(days(3)))
    requested = {(ask.operation, part_of(ask)) for ask in asked}
    for operation, parent in all_parents(tap.service.account):
        if NAMES[operation] in BOOKMARKS and operation != SENT:
            assert (operation, "" if parent is None else str(parent)) in requested
    config = {"lookback_days": "7"}
    _, asked = tap.asked_in(clock=days(4), state=second.state, config=config)
    assert_start(asked, days(-4))


def test_the_next_run_gives_what_is_new_and_whole_what_has_no_bookmark(tap: Tap) -> None:
    first = tap.run(clock=NOW)
    account = tap.service.account
    before = all_due(account)
    new, old, moment = 9_000_001, min(message_ids(account)), days(1)
    account.add_message(tap.first_list, new, moment - timedelta(hours=1))
    account.add_event(SENT, new, "ana@example.com")
    parents = {Per.MESSAGE: old, Per.LIST: tap.first_list, Per.ACCOUNT: None}
    parents[Per.CONVERSATION] = account.conversation_ids(tap.first_list)[0]
    for stream in RANGED:
        if stream.operation == CONTACTS:
            account.add_contact(tap.first_list, "chidi@example.com", moment)
        elif stream.operation not in FURTHER_OPERATIONS:
            account.add_event(stream.operation, old, "bo@example.com", moment)
        else:
            of = {"ListID": str(tap.first_list), "MessageID": str(old)}
            fields = of if stream.name == "complaints" else {}
            account.add_row(stream.operation, parents[stream.per], moment, **fields)
    run = tap.run(clock=days(3), state=first.state)
    after, emitted = all_due(account), all_emitted(run)
    for name in ALL_COLUMNS:
        if name != "message_sends":
            new_rows = after[name] - (Counter() if name in WHOLE else before[name])
            assert emitted[name] == new_rows, name
    assert all(emitted[stream.name] for stream in RANGED)
    assert "ana@example.com" in run.addresses("message_sends")


def test_sends_are_requested_of_messages_sent_up_to_two_days_before_the_lookback(tap: Tap) -> None:
    tap.catalog = catalog_of("message_sends")
    first = tap.run(clock=NOW)
    account, a_second = tap.service.account, timedelta(seconds=1)
    account.add_message(tap.first_list, 41, days(-3) - a_second)
    account.add_message(tap.first_list, 42, days(-3))
    account.add_message(tap.first_list, 43, days(1))
    # A message may go out over the day after its SendDate.
    account.add_event(SENT, 42, "late@example.com")
    run, asked = tap.asked_in(clock=days(2), state=first.state)
    assert requested(asked, SENT) == {42, 43}
    assert run.addresses("message_sends") == {"late@example.com"}


@pytest.mark.parametrize("bounds", ["inclusive", "exclusive", "start"])
def test_a_row_on_a_bound_comes_and_a_message_comes_once(make_tap: MakeTap, bounds: str) -> None:
    tap = tiny_tap(make_tap, bounds=bounds)
    account, bound = tap.service.account, START + timedelta(days=30)
    account.add_message(tap.first_list, 42, bound)
    account.add_event(SENT, 42, "ana@example.com")
    account.add_contact(tap.first_list, "bound@example.com", bound)
    account.add_contact(tap.first_list, "first@example.com", START)
    run, asked = tap.asked_in(clock=NOW, config={"interval_days": 30})
    first = ("2026-01-31T23:59:59", "2026-03-03T00:00:00")
    assert bounds_of(asked, MESSAGES) == [first, ("2026-03-02T23:59:59", wire(NOW))] * 2
    for stream in ("messages", "message_sends"):
        assert [each["MsgID"] for each in run.records(stream)].count(42) == 1
    assert run.addresses("subscribed_contacts") >= {"bound@example.com", "first@example.com"}


# What a bookmark covers.


def test_an_entry_says_what_its_bookmark_covers(tap: Tap) -> None:
    lists = tap.list_ids
    config = {"include_test_messages": False, "timezone": "America/New_York"}
    for run, more in ((tap.run(clock=NOW), {}), (tap.run(clock=NOW, config=config), config)):
        for name in BOOKMARKS:
            due = {"start_date": "2026-02-01T00:00:00Z", "end": text(NOW), **more}
            assert run.covers(name) == due | ({"list_ids": lists} if name in OF_LISTS else {})


def test_a_list_newly_granted_is_walked_from_start_date_and_no_other_is(make_tap: MakeTap) -> None:
    # No imports: a later run requests only those of the last 31 days.
    tap = tiny_tap(make_tap, imports=0)
    whole = tap.run(clock=NOW)
    old, new = tap.list_ids
    tap.service.account.hide_list(new)
    first = tap.run(clock=NOW)
    assert all(first.covers(name)["list_ids"] == [old] for name in OF_LISTS)
    tap.service.account.add_list(new)
    # A run that ends where the bookmark is requests nothing but that list.
    for moment in (NOW, days(5)):
        second, asked = tap.asked_in(clock=moment, state=first.state)
        assert rows(first, second).keys() == rows(whole).keys()
        assert all(second.covers(name)["list_ids"] == [old, new] for name in OF_LISTS)
        of_old = [ask for ask in asked if ask.arguments.get("ListID") == str(old)]
        of_new = [ask for ask in asked if ask.arguments.get("ListID") == str(new)]
        contacts = BY_NAME["subscribed_contacts"]
        since = {request_start(contacts, days(-1))} if moment > NOW else set()
        assert starts(of_new, CONTACTS) == {request_start(contacts, START)}
        assert starts(of_old, CONTACTS) == starts(asked, KINDS["complaints"].name) == since
        assert starts(asked) == {wire(START)} | ({wire(days(-1))} if moment > NOW else set())


def test_list_ids_narrowed_and_widened_lose_nothing(tap: Tap) -> None:
    tap.catalog = catalog_of("message_opens", "subscribed_contacts")
    one, other = tap.list_ids
    runs: list[Run] = []
    for number, chosen in enumerate([[one], None, [other], [one], [other], None]):
        moment = days(5 * number)
        for ListID in (one, other):
            contact = f"day{number}@example.com"
            tap.service.account.add_contact(ListID, contact, moment - timedelta(days=3))
        state = runs[-1].state if runs else None
        runs.append(tap.run(clock=moment, state=state, config={"list_ids": chosen}))
        assert runs[-1].code == 0
    whole = tap.run(clock=days(25))
    assert rows(whole).keys() <= rows(*runs).keys()


def test_complaints_are_kept_of_the_lists_in_list_ids_alone(tap: Tap) -> None:
    account = tap.service.account
    one, other = list_ids(account)
    for ListID in (one, other):
        fields = {"ListID": str(ListID), "MessageID": "1", "EmailAddress": f"{ListID}@example.com"}
        account.add_row(KINDS["complaints"].name, None, START + timedelta(days=3), **fields)
    tap.catalog = catalog_of("complaints")
    whole = rows(tap.run(clock=NOW))
    runs = {ID: tap.run(clock=NOW, config={"list_ids": [ID]}) for ID in (one, other)}
    for ID, run in runs.items():
        assert {record["ListID"] for record in run.records("complaints")} == {ID}
        assert run.covers("complaints")["list_ids"] == [ID]
    assert rows(runs[one]).keys() | rows(runs[other]).keys() == whole.keys()
    widened = tap.run(clock=days(1), state=runs[one].state)
    assert rows(widened) == whole


def test_an_earlier_start_date_walks_everything_from_it_again_and_says_so(tap: Tap) -> None:
    tap.catalog = EACH_KIND
    whole = tap.run(clock=NOW)
    first = tap.run(clock=NOW, config={"start_date": "2026-03-01"})
    assert rows(first).keys() < rows(whole).keys()
    second, asked = tap.asked_in(clock=days(1), state=first.state)
    assert rows(second).keys() == rows(whole).keys()
    assert starts(asked) == {wire(START)}
    assert "start_date is earlier than before" in "\n".join(second.warnings())
    third, asked = tap.asked_in(clock=days(2), state=second.state)
    assert third.warnings() == []
    assert starts(asked) == {wire(NOW)}


def test_a_later_start_date_changes_nothing_for_what_is_new(tap: Tap) -> None:
    tap.catalog = EACH_KIND
    first = tap.run(clock=NOW)
    config = {"start_date": "2026-03-01"}
    run, asked = tap.asked_in(clock=days(1), state=first.state, config=config)
    assert not run.warnings()
    assert starts(asked) == {wire(days(-1))}
    assert starts(asked, MESSAGES) == {"2026-02-28T23:59:59"}
    back, asked = tap.asked_in(clock=days(2), state=run.state)
    assert starts(asked) == {wire(START)}, "the bookmark covers no more than the later start_date"
    assert rows(tap.run(clock=days(2))).keys() == rows(back).keys()


def test_test_messages_that_are_switched_on_come_whole_and_a_warning_says_so(tap: Tap) -> None:
    tap.catalog = EACH_KIND
    account = tap.service.account
    account.add_message(tap.first_list, 77, START + timedelta(days=3), test=True)
    account.add_event(OPEN, 77, "a@example.com", START + timedelta(days=4))
    whole = tap.run(clock=NOW)
    first = tap.run(clock=NOW, config={"include_test_messages": False})
    assert not [row for row in first.records("message_opens") if row["MsgID"] == 77]
    second = tap.run(clock=days(1), state=first.state)
    assert "include_test_messages is on now" in "\n".join(second.warnings())
    assert rows(first, second).keys() == rows(whole).keys()
    third, asked = tap.asked_in(clock=days(2), state=second.state)
    assert third.warnings() == []
    assert starts(asked) == {wire(NOW)}


def test_a_state_without_covers_covers_the_lists_of_the_first_run_that_gets_it(tap: Tap) -> None:
    state = {"bookmarks": {name: {field: text(NOW)} for name, field in BOOKMARKS.items()}}
    run, asked = tap.asked_in(clock=days(5), state=state)
    assert_start(asked, days(-1))
    for name in OF_LISTS:
        (pinned,) = run.states[0]["bookmarks"][name]["covers"]
        assert pinned["list_ids"] == tap.list_ids


@pytest.mark.parametrize(
    "changed", [{"timezone": "America/New_York"}, {"keep_every_event": True}], ids=str
)
def test_options_that_make_other_rows_are_warned_of(tap: Tap, changed: dict[str, Any]) -> None:
    tap.catalog = EACH_KIND
    first = tap.run(clock=NOW)
    second = tap.run(clock=days(1), state=first.state, config=changed)
    (name,) = changed
    assert [line for line in second.warnings() if f"{name} " in line and "_opens" in line]
    third = tap.run(clock=days(2), state=second.state, config=changed)
    assert third.warnings() == []


def test_a_new_time_zone_is_warned_of_only_where_rows_in_the_target_keep_other_times(
    tap: Tap,
) -> None:
    tap.catalog = EACH_KIND
    state = tap.run(clock=NOW).state
    changed = {"timezone": "America/New_York"}

    def named(config: dict[str, Any]) -> str:
        (line,) = tap.run(clock=days(1), state=state, config=config).warnings()
        return line.partition("(streams: ")[2]

    assert named(changed) == "subscribed_contacts, conversation_opens, complaints)."
    assert named({**changed, "mirror": "subscribed_contacts"}) == "conversation_opens, complaints)."


# The clock.


def service_clock(tap: Tap, moment: datetime) -> None:
    """Set the clock that the service's replies show."""
    tap.service.date = lambda: format_datetime(moment, usegmt=True)


def test_where_this_machines_clock_is_ahead_a_run_ends_at_the_services_time(tap: Tap) -> None:
    # The first answered call is compared; the WSDL is no call.
    dates = iter([days(9), NOW])
    tap.service.date = lambda: format_datetime(next(dates, days(9)), usegmt=True)
    first, asked = tap.asked_in(clock=days(3))
    assert any("clock is ahead" in line for line in first.warnings())
    assert ends(asked) == {wire(NOW)}
    assert first.bookmarks == ALL_AT_NOW
    old = min(message_ids(tap.service.account))
    tap.service.account.add_event(OPEN, old, "meanwhile@example.com", NOW + timedelta(hours=1))
    service_clock(tap, days(2))
    second = tap.run(clock=days(2), state=first.state)
    assert second.addresses() >= {"meanwhile@example.com"}


def test_a_stream_whose_bookmark_is_later_than_the_services_clock_is_left_alone(tap: Tap) -> None:
    tap.catalog = EACH_KIND
    first = tap.run(clock=NOW)
    service_clock(tap, NOW - timedelta(hours=6))
    second, asked = tap.asked_in(clock=days(1), state=first.state)
    assert second.code == 0
    assert requested(asked) == set()
    assert any("Skipped message_opens: it was" in line for line in second.warnings())
    assert second.state == first.state


@pytest.mark.parametrize(
    "date",
    [
        format_datetime(days(3), usegmt=True),
        format_datetime(NOW - timedelta(seconds=59), usegmt=True),
        *(None, "yesterday", ""),
    ],
)
def test_a_service_clock_ahead_or_not_shown_changes_nothing(tap: Tap, date: str | None) -> None:
    tap.service.date = lambda: date
    tap.catalog = catalog_of("message_opens")
    run = tap.run(clock=NOW)
    assert run.warnings() == []
    assert run.bookmarks == {"message_opens": text(NOW)}


def test_a_run_that_ends_where_the_bookmark_is_requests_only_what_has_none(tap: Tap) -> None:
    first = tap.run(clock=NOW)
    second, asked = tap.asked_in(clock=NOW, state=first.state)
    assert second.state == first.state
    assert second.warnings() == []
    names = {NAMES[ask.operation] for ask in asked}
    assert names == ALL_COLUMNS.keys() - BOOKMARKS.keys()


def test_a_clock_set_back_moves_no_bookmark_back(tap: Tap) -> None:
    first = tap.run(clock=NOW)
    earlier = NOW - timedelta(hours=6)
    second, asked = tap.asked_in(clock=earlier, state=first.state)
    assert second.code == 0
    assert second.bookmarks == ALL_AT_NOW
    assert starts(asked) == {wire(earlier - timedelta(days=1))}


def test_a_run_over_midnight_ends_its_range_where_it_began(tap: Tap) -> None:
    begin = datetime(2026, 3, 19, 23, 58, tzinfo=timezone.utc)
    minutes = count()
    first, asked = tap.asked_in(clock=lambda: begin + timedelta(minutes=next(minutes)))
    assert max(each["time_extracted"] for each in first.of_type("RECORD")) > "2026-03-20T00:10"
    assert set(first.bookmarks.values()) == {text(begin)}
    assert ends(asked) == {wire(begin)}
