"""The options that change which events come, what tells them apart, and how they are dated."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tap_listrak.streams import BY_NAME, STREAMS, Per
from tests.support.accounts import LATER, NOW, list_ids, message_ids, small
from tests.support.records import assert_valid, keys_emitted
from tests.support.replies import EMAIL, NIL, add_message_without_date, rows_of
from tests.support.tap import MakeTap, Run, catalog_of, selecting

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
UNTYPED: dict[str, Any] = {"keep_every_event": True}
TYPED: dict[str, Any] = {"keep_every_event": True, "typed_event_dates": True}


def schemas(run: Run) -> dict[str, dict[str, Any]]:
    """By stream, the SCHEMA message."""
    return {each["stream"]: each for each in run.of_type("SCHEMA")}


def sync(make_tap: MakeTap, stream: str, *rows: str, **config: Any) -> Run:
    """Sync one message of which a stream's first page holds these rows."""
    account = small(lists=1, messages=0, contacts=0)
    account.add_message(list_ids(account)[0], 42, datetime(2026, 6, 30))
    tap = make_tap(account, {"start_date": "2026-06-29", **config})
    page = rows_of(stream, *rows)
    tap.answer(
        BY_NAME[stream].operation, lambda ask: page if ask.arguments["Page"] == "1" else None
    )
    run = tap.run(clock=NOW, catalog=catalog_of(stream))
    assert_valid(run)
    return run


# keep_every_event


def test_with_keep_every_event_its_date_and_link_join_the_key(make_tap: MakeTap) -> None:
    tap = make_tap(small(), TYPED).selecting_all()
    catalog = tap.discover()
    run = tap.run(clock=NOW)
    assert_valid(run)
    for entry in catalog["streams"]:
        stream = entry["stream"]
        key = [*BY_NAME[stream].key_properties, *EVENT_KEYS.get(stream, [])]
        assert schemas(run)[stream]["key_properties"] == key
        assert entry["key_properties"] == key
        table, *columns = entry["metadata"]
        assert table["metadata"]["table-key-properties"] == key
        automatic = [
            each["breadcrumb"][1]
            for each in columns
            if each["metadata"]["inclusion"] == "automatic"
        ]
        assert sorted(automatic) == sorted(key)
        for schema in (entry["schema"], schemas(run)[stream]["schema"]):
            for column in key:
                assert "null" not in schema["properties"][column]["type"]


def test_with_keep_every_event_the_key_comes_though_a_catalog_lacks_it(make_tap: MakeTap) -> None:
    tap = make_tap(small())
    catalog = selecting(tap.discover(), "message_clicks")
    for entry in catalog["streams"]:
        for each in entry["metadata"][1:]:
            each["metadata"]["selected"] = False
    run = tap.run(clock=NOW, catalog=catalog, config=UNTYPED)
    (schema,) = run.of_type("SCHEMA")
    assert set(schema["schema"]["properties"]) == {"MsgID", "EmailAddress", "ClickDate", "LinkUrl"}
    assert {frozenset(record) for record in run.records("message_clicks")} == {
        frozenset(schema["schema"]["properties"])
    }


@pytest.mark.parametrize("absent", ["", f"<ClickDate /><LinkUrl {NIL} />"])
@pytest.mark.parametrize(
    ("config", "date"), [(UNTYPED, ""), (TYPED, "1970-01-01T00:00:00Z")], ids=["text", "typed"]
)
# Beside a row of the plain form, and beside one that is read by itself.
@pytest.mark.parametrize("beside", [EMAIL, f"{EMAIL}<New>field</New>"])
def test_an_absent_part_of_the_key_is_filled(
    absent: str, config: dict[str, Any], date: str, beside: str, make_tap: MakeTap
) -> None:
    run = sync(
        make_tap, "message_clicks", f"{EMAIL}{absent}", beside, f"{EMAIL}<LinkUrl>u</LinkUrl>",
        **config,
    )  # fmt: skip
    found = [(row["ClickDate"], row["LinkUrl"]) for row in run.records("message_clicks")]
    assert found == [(date, ""), (date, ""), (date, "u")]
    assert run.code == 0


def test_without_keep_every_event_what_is_absent_is_null(make_tap: MakeTap) -> None:
    run = sync(make_tap, "message_clicks", EMAIL, typed_event_dates=True)
    (record,) = run.records("message_clicks")
    assert record["ClickDate"] is None
    assert record["LinkUrl"] is None


# typed_event_dates


@pytest.mark.parametrize(("stream", "column"), EVENT_DATES)
def test_dates_of_events_are_typed_and_in_utc(stream: str, column: str, make_tap: MakeTap) -> None:
    run = sync(
        make_tap, stream, f"{EMAIL}<{column}>6/30/2026 11:30:05 PM</{column}>",
        typed_event_dates=True, timezone="America/New_York",
    )  # fmt: skip
    assert [record[column] for record in run.records(stream)] == ["2026-07-01T03:30:05Z"]
    assert schemas(run)[stream]["schema"]["properties"][column]["format"] == "date-time"


def test_a_date_that_cannot_be_read_is_set_aside_and_not_lost(make_tap: MakeTap) -> None:
    row = f"{EMAIL}<OpenDate>yesterday</OpenDate>"
    run = sync(make_tap, "message_opens", row, typed_event_dates=True)
    (owed,) = run.set_aside
    assert owed["stream"] == "message_opens"
    assert "OpenDate" in run.err
    assert "yesterday" not in run.err


# activity_window_days


def test_events_of_messages_long_before_the_bookmark_are_not_requested(make_tap: MakeTap) -> None:
    tap = make_tap(small(), {"start_date": "2026-04-01", "activity_window_days": 30})
    first = tap.selecting_all().run(clock=NOW)
    everything = keys_emitted(tap.run(clock=NOW, config={"activity_window_days": None}))
    assert keys_emitted(first) == everything, "a first run knows no bookmark"
    tap.service.asked.clear()
    run = tap.run(clock=LATER, state=first.state)
    since = (NOW - timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%S")
    young = message_ids(tap.service.account, since=since)
    assert young < message_ids(tap.service.account)
    assert young
    for stream in STREAMS:
        if stream.can_rotate and stream.per is Per.MESSAGE:
            assert young == {
                int(ask.arguments["MsgID"])
                for ask in tap.service.asked
                if ask.operation == stream.operation
            }
    assert run.state["bookmarks"]["message_opens"]["OpenDate"] == f"{LATER:%Y-%m-%dT%H:%M:%S}Z"
    assert len(run.records("messages")) == len(message_ids(tap.service.account))


def test_a_list_that_the_bookmark_does_not_cover_comes_whole(make_tap: MakeTap) -> None:
    account = small()
    ListIDs = list_ids(account)
    tap = make_tap(account, {"start_date": "2026-04-01", "activity_window_days": 30})
    first = tap.run(clock=NOW, config={"list_ids": ListIDs[:1]})
    run = tap.run(clock=LATER, state=first.state)
    of_second = {int(str(row["MsgID"])) for row in account.messages(ListIDs[1])}
    due = sum(len(account.rows(BY_NAME["message_opens"].operation, each)) for each in of_second)
    assert len([row for row in run.records("message_opens") if row["MsgID"] in of_second]) == due


def test_a_message_without_a_date_is_requested_however_short_the_window(make_tap: MakeTap) -> None:
    tap = make_tap(small(messages=0), {"activity_window_days": 1, "interval_days": 3650})
    add_message_without_date(tap, 42)
    state = {"bookmarks": {"message_opens": {"OpenDate": "2026-06-30T00:00:00Z"}}}
    tap.run(clock=NOW, state=state, catalog=catalog_of("message_opens"))
    assert [ask.arguments["MsgID"] for ask in tap.service.asked if "MsgID" in ask.arguments] == [
        "42"
    ]


def test_a_bookmark_in_the_first_year_is_no_trouble(make_tap: MakeTap) -> None:
    tap = make_tap(small(), {"activity_window_days": 3650, "lookback_days": 365})
    state = {"bookmarks": {"message_opens": {"OpenDate": "0001-01-01T00:00:00Z"}}}
    assert tap.run(clock=NOW, state=state, catalog=catalog_of("message_opens")).code == 0
