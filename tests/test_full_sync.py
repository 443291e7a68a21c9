"""A full sync gives every row, once, as it was sent."""

import json
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
import singer

from fake_listrak import Account
from tap_listrak.streams import BY_NAME
from tests.support.accounts import NOW, small
from tests.support.published import ALL_COLUMNS
from tests.support.records import all_due, all_emitted, assert_valid
from tests.support.tap import MakeTap

SINCE = {"start_date": "2026-04-01"}


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"event_dates": "us", "bounds": "exclusive"},
        {"offsets": True, "bounds": "start", "page_size": 1000},
        {"offsets": True, "timezone": "America/New_York"},
        {"page_size": 1, "lists": 1, "messages": 2},
        {"messages": 0, "contacts": 0, "conversations": 0, "campaigns": 0},
    ],
    ids=str,
)
def test_every_row_is_emitted_once_in_any_form(make_tap: MakeTap, shape: dict[str, Any]) -> None:
    tap = make_tap(small(**shape), SINCE).selecting_all()
    run = tap.run(clock=NOW)
    assert run.code == 0
    assert all_emitted(run) == all_due(tap.service.account, end=NOW)
    assert not run.warnings()
    assert_valid(run)
    seen = []
    for message in run.messages:
        if message["type"] == "SCHEMA":
            seen.append(message["stream"])
        assert message["type"] != "RECORD" or message["stream"] in seen
    assert sorted(seen) == sorted(ALL_COLUMNS), "each SCHEMA comes once, also without rows"


def test_test_messages_are_left_out_where_the_config_says_so(make_tap: MakeTap) -> None:
    config = {**SINCE, "include_test_messages": False}
    tap = make_tap(small(messages=6), config).selecting_all()
    operation = BY_NAME["messages"].operation
    due = {
        int(str(row["MsgID"]))
        for list_id in tap.list_ids
        for row in tap.service.account.select(operation, list_id, every=False)[:]
    }
    run = tap.run(clock=NOW)
    assert due < {*tap.msg_ids()}
    assert {record["MsgID"] for record in run.records("messages")} == due
    for stream in ("message_deliveries", "message_sends", "message_opens"):
        assert set() < {record["MsgID"] for record in run.records(stream)} <= due


# Zones.


def test_dates_of_another_zone_come_in_utc_and_nothing_is_lost(make_tap: MakeTap) -> None:
    # The clocks of New York went back on 2 November 2025 at 06:00 UTC.
    start, end = datetime(2025, 11, 1, 20), datetime(2025, 11, 2, 16)
    shape: dict[str, Any] = {"lists": 2, "messages": 12, "contacts": 30, "page_size": 25}
    account = Account(**shape, start=start, end=end, timezone="America/New_York")
    config = {"start_date": "2025-11-01T20:00:00Z", "timezone": "America/New_York"}
    tap = make_tap(account, config).selecting_all()
    moment = datetime(2025, 11, 2, 17, tzinfo=timezone.utc)
    run = tap.run(clock=moment)
    assert run.code == 0
    assert all_emitted(run) == all_due(account, "America/New_York", end=moment)
    ranged = [ask.arguments for ask in tap.service.asked if "StartDate" in ask.arguments]
    assert {each["StartDate"] for each in ranged} == {"2025-11-01T16:00:00", "2025-11-01T15:59:59"}
    assert {each["EndDate"] for each in ranged} == {"2025-11-02T12:00:00"}


# What stdout holds.


def test_stdout_holds_the_messages_of_singer_python_as_it_reads_them(make_tap: MakeTap) -> None:
    run = make_tap(small(), SINCE).selecting_all().run(clock=NOW)
    assert run.out.endswith("\n")
    assert {(message["type"], *message) for message in run.messages} == {
        ("SCHEMA", "type", "stream", "schema", "key_properties"),
        ("RECORD", "type", "stream", "record", "time_extracted"),
        ("STATE", "type", "value"),
    }
    assert run.messages[-1]["type"] == "STATE"
    for line in run.out.splitlines():
        read, message = singer.parse_message(line), json.loads(line, parse_float=Decimal)
        if message["type"] == "RECORD":
            assert (read.record, read.time_extracted) == (message["record"], NOW)
        elif message["type"] == "SCHEMA":
            stream = message["stream"]
            assert read.key_properties == list(BY_NAME[stream].key_properties)
            assert read.schema["properties"].keys() == ALL_COLUMNS[stream].keys()


def test_time_extracted_is_the_moment_the_reply_came(make_tap: MakeTap) -> None:
    before = datetime.now(timezone.utc)
    run = make_tap(small(), {**SINCE, "concurrency": 1}).run()
    texts = [each["time_extracted"] for each in run.of_type("RECORD")]
    moments = [datetime.fromisoformat(each.replace("Z", "+00:00")) for each in texts]
    assert moments == sorted(moments)
    assert before <= moments[0] <= moments[-1] <= datetime.now(timezone.utc)
    assert len(set(moments)) > 10


def test_the_order_of_a_run_is_the_same_each_time(make_tap: MakeTap) -> None:
    tap = make_tap(small(), SINCE).selecting_all()
    one, other = (tap.run(clock=NOW, config={"concurrency": count}) for count in (1, 32))
    assert one.of_type("RECORD") == other.of_type("RECORD")
