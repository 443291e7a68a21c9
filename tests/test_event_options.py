"""The options that change which events come, what tells them apart, and how they are dated."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from tap_listrak.streams import BY_NAME, STREAMS, Per
from tests.support.accounts import LATER, NOW, message_ids, small
from tests.support.records import assert_valid, keys_emitted
from tests.support.replies import EMAIL, NIL, add_message_without_date, rows_of
from tests.support.runs import requested, wire
from tests.support.tap import MakeTap, Run, catalog_of

# What an event is identified by, besides its message and contact.
EVENT_KEYS = {
    "message_opens": ["OpenDate"],
    "message_clicks": ["ClickDate", "LinkUrl"],
    "message_reads": ["ReadDate"],
    "message_bounces": ["BounceDate"],
}
EVENT_DATES = [
    *[(stream, key[0]) for stream, key in EVENT_KEYS.items()],
    ("message_unsubs", "AdditionDate"),
    ("message_unsubs", "RemovalDate"),
]
EVERY: dict[str, Any] = {"keep_every_event": True}
TYPED: dict[str, Any] = {"typed_event_dates": True}


def schema(run: Run, stream: str) -> dict[str, Any]:
    """The SCHEMA message of a stream."""
    return next(each for each in run.of_type("SCHEMA") if each["stream"] == stream)


def sync(make_tap: MakeTap, stream: str, *rows: str, **config: Any) -> Run:
    """Sync one message of which a stream's first page holds these rows."""
    tap = make_tap(small(lists=1, messages=0, contacts=0), {"start_date": "2026-06-29", **config})
    tap.service.account.add_message(tap.first_list, 42, datetime(2026, 6, 30))
    tap.fail(stream, rows_of(stream, *rows), Page=1)
    run = tap.run(clock=NOW, catalog=catalog_of(stream))
    assert_valid(run)
    return run


# keep_every_event


def test_with_keep_every_event_its_date_and_link_join_the_key(make_tap: MakeTap) -> None:
    tap = make_tap(small(), {**EVERY, **TYPED}).selecting_all()
    run = tap.run(clock=NOW)
    assert_valid(run)
    for entry in tap.discover()["streams"]:
        stream = entry["stream"]
        key = [*BY_NAME[stream].key_properties, *EVENT_KEYS.get(stream, [])]
        assert entry["metadata"][0]["metadata"]["table-key-properties"] == key
        for described in (entry, schema(run, stream)):
            assert described["key_properties"] == key
            types = [described["schema"]["properties"][column]["type"] for column in key]
            assert not any("null" in each for each in types)


def test_with_keep_every_event_the_key_comes_though_a_catalog_lacks_it(make_tap: MakeTap) -> None:
    tap = make_tap(small())
    catalog = json.loads(tap.run("--discover", config={"select": "message_clicks"}).out)
    for entry in catalog["streams"]:
        for each in entry["metadata"][1:]:
            each["metadata"]["selected"] = False
    run = tap.run(clock=NOW, catalog=catalog, config=EVERY)
    key = {"MsgID", "EmailAddress", "ClickDate", "LinkUrl"}
    assert schema(run, "message_clicks")["schema"]["properties"].keys() == key
    assert {*map(frozenset, run.records("message_clicks"))} == {frozenset(key)}


@pytest.mark.parametrize("absent", ["", f"<ClickDate /><LinkUrl {NIL} />"])
@pytest.mark.parametrize(
    ("config", "date", "link"),
    [(EVERY, "", ""), ({**EVERY, **TYPED}, "1970-01-01T00:00:00Z", ""), (TYPED, None, None)],
    ids=["text", "typed", "not of the key"],
)
# Beside a row of the plain form, and beside one that is read by itself.
@pytest.mark.parametrize("beside", [EMAIL, f"{EMAIL}<New>field</New>"])
def test_an_absent_part_of_the_key_is_filled(
    make_tap: MakeTap, absent: str, config: dict[str, Any], date: Any, link: Any, beside: str
) -> None:
    rows = (f"{EMAIL}{absent}", beside, f"{EMAIL}<LinkUrl>u</LinkUrl>")
    run = sync(make_tap, "message_clicks", *rows, **config)
    found = [(row["ClickDate"], row["LinkUrl"]) for row in run.records("message_clicks")]
    assert (run.code, found) == (0, [(date, link), (date, link), (date, "u")])


# typed_event_dates


@pytest.mark.parametrize(("stream", "column"), EVENT_DATES)
def test_dates_of_events_are_typed_and_in_utc(stream: str, column: str, make_tap: MakeTap) -> None:
    row = f"{EMAIL}<{column}>6/30/2026 11:30:05 PM</{column}>"
    run = sync(make_tap, stream, row, **TYPED, timezone="America/New_York")
    assert [record[column] for record in run.records(stream)] == ["2026-07-01T03:30:05Z"]
    assert schema(run, stream)["schema"]["properties"][column]["format"] == "date-time"


def test_a_date_that_cannot_be_read_is_set_aside_and_not_lost(make_tap: MakeTap) -> None:
    run = sync(make_tap, "message_opens", f"{EMAIL}<OpenDate>yesterday</OpenDate>", **TYPED)
    assert [each["stream"] for each in run.set_aside] == ["message_opens"]
    assert "OpenDate" in run.err
    assert "yesterday" not in run.err


# activity_window_days


def test_events_of_messages_long_before_the_bookmark_are_not_requested(make_tap: MakeTap) -> None:
    tap = make_tap(small(), {"start_date": "2026-04-01", "activity_window_days": 30})
    first = tap.selecting_all().run(clock=NOW)
    everything = keys_emitted(tap.run(clock=NOW, config={"activity_window_days": None}))
    assert keys_emitted(first) == everything, "a first run knows no bookmark"
    add_message_without_date(tap, 42, "2026-04-02T11:22:33")
    run, asked = tap.asked_in(clock=LATER, state=first.state)
    every = message_ids(tap.service.account)
    young = message_ids(tap.service.account, since=wire(NOW - timedelta(days=30)))
    assert set() < young < every - {42}
    for stream in STREAMS:
        if stream.can_rotate and stream.per is Per.MESSAGE:
            assert requested(asked, stream.operation) == young | {42}, "one without a date comes"
    assert len(run.records("messages")) == len(every)
