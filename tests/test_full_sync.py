"""A full sync gives every row, once, as it was sent."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
import singer

from fake_listrak import Account
from tap_listrak.streams import BY_NAME, STREAMS
from tests.support.accounts import NOW, now, serving, small
from tests.support.published import ALL_COLUMNS
from tests.support.records import NEVER, all_due, all_emitted, assert_valid
from tests.support.tap import MakeTap, Run, keys_emitted, keys_held


@pytest.fixture(scope="module")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A sync of the account that services have by default, with its dates of months past."""
    with serving(Account(), tmp_path_factory.mktemp("default")) as tap:
        return tap.selecting_all().run()


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A sync of the small account."""
    folder = tmp_path_factory.mktemp("small")
    with serving(small(), folder, start_date="2026-04-01") as tap:
        return tap.selecting_all().run(clock=now)


def test_every_row_of_the_account_is_emitted_once(default_run: Run) -> None:
    assert default_run.code == 0
    assert keys_emitted(default_run) == keys_held(Account(), STREAMS)


def test_every_record_holds_what_its_row_does(default_run: Run) -> None:
    assert all_emitted(default_run) == all_due(Account())
    assert not default_run.lines("WARNING")


def test_every_record_is_valid_against_its_schema(default_run: Run) -> None:
    assert_valid(default_run)


@pytest.mark.parametrize(
    "shape",
    [
        {"event_dates": "us"},
        {"offsets": True},
        {"offsets": True, "timezone": "America/New_York"},
        {"domains": "string"},
        {"empty": "absent"},
        {"empty": "empty"},
        {"empty": "nil"},
        {"bounds": "exclusive"},
        {"bounds": "start"},
        {"page_size": 1, "lists": 1, "messages": 2},
        {"page_size": 1000},
        {"seed": 2},
    ],
    ids=str,
)
def test_whatever_the_form_of_the_replies_every_row_is_emitted_once(
    make_tap: MakeTap, shape: dict[str, Any]
) -> None:
    tap = make_tap(small(**shape), {"start_date": "2026-04-01"}).selecting_all()
    run = tap.run(clock=now)
    assert run.code == 0
    assert all_emitted(run) == all_due(tap.service.account)
    assert_valid(run)


def test_dates_of_another_zone_come_in_utc_and_nothing_is_lost(make_tap: MakeTap) -> None:
    # The clocks of New York went back on 1 November 2026 at 06:00 UTC.
    account = Account(
        lists=2,
        messages=12,
        contacts=30,
        page_size=25,
        start=datetime(2026, 10, 31, 20),
        end=datetime(2026, 11, 1, 16),
        timezone="America/New_York",
    )
    config = {"start_date": "2026-10-31T20:00:00Z", "timezone": "America/New_York"}
    tap = make_tap(account, config).selecting_all()
    run = tap.run(clock=lambda: datetime(2026, 11, 1, 17, tzinfo=timezone.utc))
    assert run.code == 0
    assert all_emitted(run) == all_due(account, "America/New_York")
    bounds = {
        (ask.arguments["StartDate"], ask.arguments["EndDate"])
        for ask in tap.service.asked
        if "StartDate" in ask.arguments
    }
    assert bounds == {("2026-10-31T16:00:00", "2026-11-01T12:00:00")}


def test_message_windows_are_as_long_as_interval_days_and_share_their_bounds(
    make_tap: MakeTap,
) -> None:
    tap = make_tap(small(lists=1), {"start_date": "2026-04-01", "interval_days": 30})
    run = tap.run(clock=now)
    assert keys_emitted(run)["messages"] == keys_held(tap.service.account)["messages"]
    windows = sorted(
        (ask.arguments["StartDate"], ask.arguments["EndDate"])
        for ask in tap.service.asked
        if ask.operation == "ReportListMessageActivity"
    )
    assert windows == [
        ("2026-04-01T00:00:00", "2026-05-01T00:00:00"),
        ("2026-05-01T00:00:00", "2026-05-31T00:00:00"),
        ("2026-05-31T00:00:00", "2026-06-30T00:00:00"),
        ("2026-06-30T00:00:00", "2026-07-01T12:00:00"),
    ]


@pytest.mark.parametrize("bounds", ["inclusive", "start"])
def test_a_message_on_the_bound_of_two_windows_is_taken_once(
    make_tap: MakeTap, bounds: str
) -> None:
    account = small(lists=1, bounds=bounds)
    ListID = int(str(account.lists()[0]["ListID"]))
    account.add_message(ListID, 42, datetime(2026, 5, 1))
    account.add_event("ReportMessageContactSent", 42, "ana@example.com")
    tap = make_tap(account, {"start_date": "2026-04-01", "interval_days": 30})
    run = tap.run(clock=now)
    assert [each["MsgID"] for each in run.records("messages")].count(42) == 1
    assert [each["MsgID"] for each in run.records("message_sends")].count(42) == 1


def test_test_messages_are_left_out_where_the_config_says_so(make_tap: MakeTap) -> None:
    account = small(messages=6)
    tests = {
        int(str(message["MsgID"]))
        for each in account.lists()
        for message in account.messages(int(str(each["ListID"])))
        if account.is_test(int(str(message["MsgID"])))
    }
    tap = make_tap(account, {"start_date": "2026-04-01"})
    with_tests = keys_emitted(tap.run(clock=now))
    without = keys_emitted(tap.run(clock=now, config={"include_test_messages": False}))
    assert tests
    assert with_tests["messages"] == keys_held(account)["messages"]
    for stream in ("messages", "message_sends", "message_opens"):
        assert without[stream] == {
            key: count for key, count in with_tests[stream].items() if key[0] not in tests
        }


def test_a_bound_in_the_hour_that_comes_twice_is_widened(make_tap: MakeTap) -> None:
    config = {"start_date": "2026-11-01T05:30:00Z", "timezone": "America/New_York"}
    tap = make_tap(small(timezone="America/New_York"), config)
    tap.run(clock=lambda: datetime(2026, 11, 1, 6, 30, tzinfo=timezone.utc))
    ranged = [ask.arguments for ask in tap.service.asked if "StartDate" in ask.arguments]
    assert ranged
    assert all(each["StartDate"] < "2026-11-01T01:00:00" for each in ranged)
    assert all(each["EndDate"] >= "2026-11-01T02:00:00" for each in ranged)


def test_nil_empty_unset_and_absent_values_are_null(make_tap: MakeTap) -> None:
    account = small(lists=1, messages=0, contacts=0)
    ListID = int(str(account.lists()[0]["ListID"]))
    account.add_list(ListID, Vmta=..., CreateDate=NEVER, FromName=None, FromEmail="")
    account.add_contact(ListID, "none@example.com", None, AdditionMethod=...)
    run = make_tap(account, {"start_date": "2026-04-01"}).run(clock=now)
    (record,) = run.records("lists")
    nulls = ("Vmta", "CreateDate", "FromName", "FromEmail")
    assert [record[column] for column in nulls] == [None] * 4
    assert [
        (each["AdditionDate"], each["AdditionMethod"])
        for each in run.records("subscribed_contacts")[:1]
    ] == [(None, None)]


def test_stdout_holds_singer_messages_and_nothing_else(small_run: Run) -> None:
    assert small_run.out.endswith("\n")
    for line in small_run.out.splitlines():
        assert singer.parse_message(line) is not None
        assert json.loads(line)["type"] in ("SCHEMA", "RECORD", "STATE")


def test_messages_have_the_keys_of_singer_python_in_its_order(small_run: Run) -> None:
    keys = {message["type"]: set[tuple[str, ...]]() for message in small_run.messages}
    for message in small_run.messages:
        keys[message["type"]].add(tuple(message))
    assert keys == {
        "SCHEMA": {("type", "stream", "schema", "key_properties")},
        "RECORD": {("type", "stream", "record", "time_extracted")},
        "STATE": {("type", "value")},
    }


def test_singer_python_reads_every_record_as_it_stands(small_run: Run) -> None:
    for line, message in zip(small_run.out.splitlines(), small_run.messages, strict=True):
        if message["type"] == "RECORD":
            read = singer.parse_message(line)
            assert read.record == json.loads(line, parse_float=Decimal)["record"]
            assert read.time_extracted == NOW


def test_time_extracted_is_the_moment_the_reply_came(make_tap: MakeTap) -> None:
    tap = make_tap(small(), {"start_date": "2026-04-01", "concurrency": 1})
    before = datetime.now(timezone.utc)
    run = tap.run()
    moments = [
        singer.parse_message(line).time_extracted
        for line in run.out.splitlines()
        if '"RECORD"' in line
    ]
    assert all(before <= moment <= datetime.now(timezone.utc) for moment in moments)
    assert len(set(moments)) > 10


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"messages": 0},
        {"contacts": 0},
        {"conversations": 0},
        {"messages": 0, "contacts": 0, "conversations": 0, "campaigns": 0},
    ],
    ids=str,
)
def test_each_schema_comes_once_before_its_first_record_also_without_rows(
    make_tap: MakeTap, shape: dict[str, Any]
) -> None:
    tap = make_tap(small(**shape), {"start_date": "2026-04-01"}).selecting_all()
    run = tap.run(clock=now)
    assert run.code == 0
    assert Counter(each["stream"] for each in run.of_type("SCHEMA")) == dict.fromkeys(
        ALL_COLUMNS, 1
    )
    seen = set()
    for message in run.messages:
        if message["type"] == "SCHEMA":
            seen.add(message["stream"])
        elif message["type"] == "RECORD":
            assert message["stream"] in seen
    assert all_emitted(run) == all_due(tap.service.account)


def test_schema_names_the_keys_and_every_column(small_run: Run) -> None:
    for message in small_run.of_type("SCHEMA"):
        assert message["key_properties"] == list(BY_NAME[message["stream"]].key_properties)
        assert set(message["schema"]["properties"]) == set(ALL_COLUMNS[message["stream"]])


def test_the_order_of_a_run_is_the_same_each_time(make_tap: MakeTap) -> None:
    tap = make_tap(small(), {"start_date": "2026-04-01"}).selecting_all()
    runs = [tap.run(clock=now, config={"concurrency": count}) for count in (1, 4, 32)]
    records = [
        [line for line in run.out.splitlines() if '"type":"STATE"' not in line] for run in runs
    ]
    assert records[0] == records[1] == records[2]


def test_the_last_message_is_a_state_without_offsets(small_run: Run) -> None:
    assert small_run.messages[-1]["type"] == "STATE"
    entries = small_run.state["bookmarks"]
    assert len(entries) == len(STREAMS)
    for entry in entries.values():
        assert entry["offset"]
        assert all(value in (None, []) for value in entry["offset"].values())
