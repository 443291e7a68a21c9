"""A later run asks for what is new since the bookmarks, less the lookback."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from fake_listrak import FURTHER_OPERATIONS
from fake_listrak.contract import MESSAGE_OPERATIONS
from tap_listrak.dates import parse_instant
from tests.support.accounts import LATER, NOW, later, list_ids, message_ids, now, serving, small
from tests.support.faults import part_of
from tests.support.published import ALL_COLUMNS
from tests.support.records import KINDS, all_due, all_emitted, all_parents
from tests.support.runs import BOOKMARKS, bookmarks
from tests.support.tap import MakeTap, Run, Tap, keys_emitted

MESSAGES = "ReportListMessageActivity"
SENT = "ReportMessageContactSent"
CONTACTS = "ReportRangeSubscribedContacts"
# By operation, the streams whose calls name the range that their bookmark begins.
RANGED = {
    kind.name: name for name, kind in KINDS.items() if {"StartDate", "Page"} <= {*kind.arguments}
}
# What is asked in windows, so that it has several ranges if they are long.
IN_WINDOWS = {name for name in RANGED.values() if KINDS[name].asked_by in ("list", "account")}
# Each run gives them whole: all that an account has of them now.
WHOLE = ALL_COLUMNS.keys() - BOOKMARKS.keys()


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap for an account of two lists and three months, the last event two days old."""
    return make_tap(small(), {"start_date": "2026-04-01"}).selecting_all()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The first run for that account."""
    folder = tmp_path_factory.mktemp("first")
    with serving(small(), folder, start_date="2026-04-01") as tap:
        return tap.selecting_all().run(clock=now)


def ranges(tap: Tap) -> dict[str, set[tuple[str, str]]]:
    """By stream with a bookmark, the ranges that were asked for."""
    asked: dict[str, set[tuple[str, str]]] = {}
    for ask in tap.service.asked:
        if ask.operation in RANGED:
            bounds = (ask.arguments["StartDate"], ask.arguments["EndDate"])
            asked.setdefault(RANGED[ask.operation], set()).add(bounds)
    return asked


def starts(tap: Tap) -> dict[str, str]:
    """By stream with a bookmark, where what was asked for starts."""
    return {stream: min(each)[0] for stream, each in ranges(tap).items()}


def sends_asked_of(tap: Tap) -> set[int]:
    """The messages whose sends were asked for."""
    return {int(ask.arguments["MsgID"]) for ask in tap.service.asked if ask.operation == SENT}


def run_again(tap: Tap, first: Run, **config: Any) -> Run:
    """Run with the last STATE of a run before, three days later."""
    tap.service.asked.clear()
    return tap.run(clock=later, state=first.state, config=config)


def all_at(moment: str) -> dict[str, str]:
    return dict.fromkeys(BOOKMARKS, moment)


def test_the_first_run_asks_for_everything_since_start_date(tap: Tap) -> None:
    tap.run(clock=now)
    asked = ranges(tap)
    assert asked.keys() == set(RANGED.values())
    for stream in asked.keys() - IN_WINDOWS:
        assert asked[stream] == {("2026-04-01T00:00:00", "2026-07-01T12:00:00")}
    for stream in IN_WINDOWS:
        assert asked[stream] == {
            ("2026-04-01T00:00:00", "2026-05-01T00:00:00"),
            ("2026-05-01T00:00:00", "2026-05-31T00:00:00"),
            ("2026-05-31T00:00:00", "2026-06-30T00:00:00"),
            ("2026-06-30T00:00:00", "2026-07-01T12:00:00"),
        }


def test_bookmarks_stand_at_the_start_of_the_run_in_the_published_form(first: Run) -> None:
    assert bookmarks(first) == all_at("2026-07-01T12:00:00Z")


def test_the_start_of_the_run_is_taken_in_whole_seconds(tap: Tap) -> None:
    run = tap.run(clock=lambda: NOW + timedelta(milliseconds=999))
    assert bookmarks(run) == all_at("2026-07-01T12:00:00Z")


def test_a_second_run_asks_from_the_bookmark_less_the_lookback_to_its_own_start(
    tap: Tap,
    first: Run,
) -> None:
    run = run_again(tap, first)
    assert run.code == 0
    assert ranges(tap) == {
        stream: {("2026-06-30T12:00:00", "2026-07-04T16:05:06")} for stream in RANGED.values()
    }
    assert bookmarks(run) == all_at("2026-07-04T16:05:06Z")


def test_a_second_run_emits_whole_what_has_no_bookmark_and_no_old_events(
    tap: Tap, first: Run
) -> None:
    run = run_again(tap, first)
    due = all_due(tap.service.account)
    # The totals of links have no date, so that a bookmark says nothing of them.
    whole = WHOLE | {"message_links"}
    assert all_emitted(run) == {
        stream: rows if stream in whole else Counter() for stream, rows in due.items()
    }


def test_a_second_run_asks_for_messages_since_start_date(tap: Tap, first: Run) -> None:
    run_again(tap, first)
    assert {
        (ask.arguments["StartDate"], ask.arguments["EndDate"])
        for ask in tap.service.asked
        if ask.operation == MESSAGES
    } == {("2026-04-01T00:00:00", "2026-07-04T16:05:06")}


def test_events_of_every_message_are_asked_for_again(tap: Tap, first: Run) -> None:
    run_again(tap, first)
    asked = {(ask.operation, part_of(ask)) for ask in tap.service.asked}
    for operation, parent in all_parents(tap.service.account):
        if operation in RANGED or operation == KINDS["message_links"].name:
            assert (operation, "" if parent is None else str(parent)) in asked


def test_sends_are_asked_only_of_messages_sent_since_the_start_of_the_range(
    tap: Tap, first: Run
) -> None:
    account = tap.service.account
    first_list = list_ids(account)[0]
    account.add_message(first_list, 41, datetime(2026, 6, 30, 11, 59, 59))
    account.add_message(first_list, 42, datetime(2026, 6, 30, 12))
    account.add_message(first_list, 43, datetime(2026, 7, 2))
    run_again(tap, first)
    assert sends_asked_of(tap) == {42, 43}


def test_what_is_new_arrives_and_nothing_else(tap: Tap, first: Run) -> None:
    account = tap.service.account
    before = all_due(account)
    ListID, moment = list_ids(account)[0], datetime(2026, 7, 3, 1, 2, 3)
    old = min(message_ids(account))
    account.add_message(ListID, 42, moment - timedelta(hours=1), Subject="New & <shiny> \U0001f389")
    for operation in MESSAGE_OPERATIONS:
        account.add_event(operation, 42, "ana@example.com", moment)
        if operation != SENT:
            account.add_event(operation, old, "bo@example.com", moment)
    account.add_contact(ListID, "chidi@example.com", moment)
    parents = {"message": old, "list": ListID, "account": None}
    parents["conversation"] = account.conversation_ids(ListID)[0]
    for name in RANGED.values():
        operation, fields = KINDS[name].name, dict[str, Any]()
        if name == "complaints":
            fields = {"ListID": str(ListID), "MessageID": "42"}
        if operation in FURTHER_OPERATIONS:
            account.add_row(operation, parents[KINDS[name].asked_by], moment, **fields)
    run = run_again(tap, first)
    assert run.code == 0
    after = all_due(account)
    whole = WHOLE | {"message_links"}
    assert all_emitted(run) == {
        stream: rows if stream in whole else rows - before[stream] for stream, rows in after.items()
    }
    assert all(all_emitted(run)[name] for name in RANGED.values())
    assert keys_emitted(run)["message_sends"] == {(42, "ana@example.com"): 1}
    assert keys_emitted(run)["message_opens"] == {
        (42, "ana@example.com"): 1,
        (old, "bo@example.com"): 1,
    }


def test_what_came_late_within_the_lookback_arrives(tap: Tap, first: Run) -> None:
    MsgID = min(message_ids(tap.service.account))
    for hour, email in (
        (11, "too-late@example.com"),
        (12, "bound@example.com"),
        (13, "in@example.com"),
    ):
        moment = datetime(2026, 6, 30, hour)
        tap.service.account.add_event("ReportRangeMessageContactOpen", MsgID, email, moment)
    run = run_again(tap, first)
    assert {each["EmailAddress"] for each in run.records("message_opens")} == {
        "bound@example.com",
        "in@example.com",
    }


@pytest.mark.parametrize("days", [1, 7, "30"])
def test_the_lookback_is_as_long_as_the_config_says(days: int | str, tap: Tap, first: Run) -> None:
    run_again(tap, first, lookback_days=days)
    start = f"{NOW - timedelta(days=int(days)):%Y-%m-%dT%H:%M:%S}"
    assert starts(tap) == dict.fromkeys(RANGED.values(), start)
    assert sends_asked_of(tap) == message_ids(tap.service.account, since=start)


def test_the_lookback_never_reaches_before_start_date(tap: Tap, first: Run) -> None:
    run_again(tap, first, lookback_days=365)
    assert starts(tap) == dict.fromkeys(RANGED.values(), "2026-04-01T00:00:00")


def test_a_third_run_goes_on_from_the_second(tap: Tap, first: Run) -> None:
    second = run_again(tap, first)
    tap.service.asked.clear()
    tap.run(clock=lambda: LATER + timedelta(days=1), state=second.state)
    assert starts(tap) == dict.fromkeys(RANGED.values(), "2026-07-03T16:05:06")


def test_ranges_are_asked_for_in_the_wall_clock_of_the_zone(make_tap: MakeTap) -> None:
    account = small(timezone="America/New_York")
    config = {"start_date": "2026-04-01", "timezone": "America/New_York"}
    tap = make_tap(account, config).selecting_all()
    first = tap.run(clock=now)
    assert bookmarks(first) == all_at("2026-07-01T12:00:00Z")
    moment = datetime(2026, 7, 3, 1, 2, 3, tzinfo=timezone.utc)
    account.add_contact(list_ids(account)[0], "chidi@example.com", moment)
    run = run_again(tap, first)
    assert ranges(tap) == {
        stream: {("2026-06-30T08:00:00", "2026-07-04T12:05:06")} for stream in RANGED.values()
    }
    assert [each["AdditionDate"] for each in run.records("subscribed_contacts")] == [
        "2026-07-03T01:02:03Z"
    ]


# State files of the published tap.


PUBLISHED = {
    "bookmarks": {
        "message_sends": {"SendDate": "2026-06-02T15:00:00.000000Z"},
        "message_opens": {"OpenDate": "2026-06-03T10:20:30.123456Z"},
        "message_clicks": {"ClickDate": "2026-06-04T10:20:30.123456Z"},
        "message_reads": {"ReadDate": "2026-06-05T10:20:30.123456Z"},
        "message_bounces": {"BounceDate": "2026-06-06T10:20:30.123456Z"},
        "message_unsubs": {"RemovalDate": "2026-06-07T10:20:30.123456Z"},
        "subscribed_contacts": {"AdditionDate": "2026-06-08T10:20:30.123456Z"},
    }
}


def test_a_state_file_of_the_published_tap_carries_on(tap: Tap) -> None:
    tap.catalog = None
    run = tap.run(clock=now, state=PUBLISHED)
    assert run.code == 0
    assert not run.lines("WARNING")
    assert starts(tap) == {
        "message_opens": "2026-06-02T10:20:30",
        "message_clicks": "2026-06-03T10:20:30",
        "message_reads": "2026-06-04T10:20:30",
        "message_bounces": "2026-06-05T10:20:30",
        "message_unsubs": "2026-06-06T10:20:30",
        "subscribed_contacts": "2026-06-07T10:20:30",
    }
    assert sends_asked_of(tap) == message_ids(tap.service.account, since="2026-06-01T15:00:00")
    assert bookmarks(run) == dict.fromkeys(PUBLISHED["bookmarks"], "2026-07-01T12:00:00Z")


def test_nothing_between_the_published_bookmarks_and_now_is_lost(tap: Tap) -> None:
    emitted = all_emitted(tap.run(clock=now, state=PUBLISHED))
    for stream in ("message_opens", "message_clicks", "message_reads", "message_bounces"):
        field = BOOKMARKS[stream]
        since = PUBLISHED["bookmarks"][stream][field]
        new = {row for row in all_due(tap.service.account)[stream] if dict(row)[field] >= since}
        assert new <= set(emitted[stream])


def test_a_bounce_bookmark_under_unsubs_is_understood(tap: Tap) -> None:
    state = {
        "bookmarks": {
            "message_unsubs": {
                "RemovalDate": "2026-06-07T10:20:30.123456Z",
                "BounceDate": "2026-06-06T01:02:03.123456Z",
            }
        }
    }
    run = tap.run(clock=now, state=state)
    assert starts(tap)["message_bounces"] == "2026-06-05T01:02:03"
    assert starts(tap)["message_unsubs"] == "2026-06-06T10:20:30"
    assert bookmarks(run) == all_at("2026-07-01T12:00:00Z")


def test_a_bounce_bookmark_of_its_own_goes_before_one_under_unsubs(tap: Tap) -> None:
    state = {
        "bookmarks": {
            "message_bounces": {"BounceDate": "2026-06-20T00:00:00Z"},
            "message_unsubs": {"BounceDate": "2026-06-06T00:00:00Z"},
        }
    }
    tap.run(clock=now, state=state)
    assert starts(tap)["message_bounces"] == "2026-06-19T00:00:00"
    assert starts(tap)["message_unsubs"] == "2026-04-01T00:00:00"


def test_a_stream_without_a_bookmark_starts_at_start_date(tap: Tap) -> None:
    tap.run(clock=now, state={"bookmarks": {"message_opens": {"OpenDate": "2026-06-20T00:00:00Z"}}})
    assert starts(tap) == {
        **dict.fromkeys(RANGED.values(), "2026-04-01T00:00:00"),
        "message_opens": "2026-06-19T00:00:00",
    }
    assert sends_asked_of(tap) == message_ids(tap.service.account)


@pytest.mark.parametrize(
    ("bookmark", "start"),
    [
        ("2026-06-20", "2026-06-19T00:00:00"),
        ("2026-06-20T10:00:00", "2026-06-19T10:00:00"),
        ("2026-06-20T10:00:00+02:00", "2026-06-19T08:00:00"),
        ("2026-06-20T10:00:00.9Z", "2026-06-19T10:00:00"),
    ],
)
def test_a_bookmark_may_be_in_any_form_of_iso_8601(bookmark: str, start: str, tap: Tap) -> None:
    tap.run(clock=now, state={"bookmarks": {"message_opens": {"OpenDate": bookmark}}})
    assert starts(tap)["message_opens"] == start


def test_a_whole_state_message_is_a_state_too(tap: Tap) -> None:
    tap.run(clock=now, state={"type": "STATE", "value": PUBLISHED})
    assert starts(tap)["message_opens"] == "2026-06-02T10:20:30"


def test_the_bookmarks_of_streams_that_are_not_selected_stay(tap: Tap) -> None:
    entry = {"breadcrumb": [], "metadata": {"selected": True}}
    catalog = {"streams": [{"tap_stream_id": "message_opens", "metadata": [entry]}]}
    run = tap.run(clock=now, state=PUBLISHED, catalog=catalog)
    given = {stream: entry[BOOKMARKS[stream]] for stream, entry in PUBLISHED["bookmarks"].items()}
    assert {stream: parse_instant(moment) for stream, moment in bookmarks(run).items()} == {
        stream: parse_instant(moment)
        for stream, moment in {**given, "message_opens": "2026-07-01T12:00:00Z"}.items()
    }


def test_a_bookmark_a_little_ahead_is_warned_of_and_does_not_move_back(tap: Tap) -> None:
    ahead = "2026-07-02T11:00:00Z"
    run = tap.run(clock=now, state={"bookmarks": {"message_opens": {"OpenDate": ahead}}})
    assert run.code == 0
    (warning,) = run.lines("WARNING")
    assert "message_opens" in warning
    assert starts(tap)["message_opens"] == "2026-06-30T12:00:00"
    assert bookmarks(run)["message_opens"] == ahead


def test_a_bookmark_far_ahead_is_refused_before_any_request(tap: Tap) -> None:
    ahead = "2026-07-02T12:00:01Z"
    run = tap.run(clock=now, state={"bookmarks": {"message_opens": {"OpenDate": ahead}}})
    assert run.code == 2
    (line,) = run.lines("CRITICAL")
    assert "message_opens" in line
    assert tap.service.connections == 0


# What the bookmarks speak for.


def test_a_list_that_was_granted_since_is_walked_from_start_date(tap: Tap) -> None:
    account = tap.service.account
    hidden, shown = list_ids(account)
    account.hide_list(hidden)
    first = tap.run(clock=now)
    account.add_list(hidden)
    run = run_again(tap, first)
    asked = [ask.arguments for ask in tap.service.asked if ask.operation == CONTACTS]
    first_start = {
        ListID: min(each["StartDate"] for each in asked if each["ListID"] == str(ListID))
        for ListID in (hidden, shown)
    }
    assert first_start == {hidden: "2026-04-01T00:00:00", shown: "2026-06-30T12:00:00"}
    due = all_due(account)
    for stream in RANGED.values():
        assert all_emitted(first)[stream] + all_emitted(run)[stream] == due[stream]


def test_an_earlier_start_date_walks_everything_from_it_again(make_tap: MakeTap) -> None:
    tap = make_tap(small(), {"start_date": "2026-06-01"}).selecting_all()
    first = tap.run(clock=now)
    run = run_again(tap, first, start_date="2026-04-01")
    assert run.code == 0
    assert any("start_date" in line for line in run.lines("WARNING"))
    assert starts(tap) == dict.fromkeys(RANGED.values(), "2026-04-01T00:00:00")
    assert all_emitted(run) == all_due(tap.service.account)


def test_a_later_start_date_changes_nothing_for_what_is_new(tap: Tap, first: Run) -> None:
    run = run_again(tap, first, start_date="2026-05-01")
    assert not run.lines("WARNING")
    assert starts(tap) == dict.fromkeys(RANGED.values(), "2026-06-30T12:00:00")
