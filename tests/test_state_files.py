"""Every kind of state file that may be given, and what is made of it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tap_listrak.streams import BY_NAME, PUBLISHED, STREAMS
from tests.support.faults import part_of
from tests.support.runs import (
    BOOKMARKS,
    MIRRORABLE,
    NO_OFFSET,
    NO_TURNS,
    TAKES_TURNS,
    bookmarks,
    scope,
)
from tests.support.tap import MakeTap, Run, Tap, keys_emitted, keys_held

# 2026-06-20T00:00:00Z, as the classes of turns hold it.
SECONDS = 1781913600
NOW = datetime(2026, 7, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap that selects all of an account of one list and two messages, since May."""
    span = {"start": datetime(2026, 5, 1), "end": datetime(2026, 6, 30)}
    shape = {"lists": 1, "messages": 2, "contacts": 12, "sends": 12, "conversations": 1}
    config = {"start_date": "2026-05-01", "concurrency": 1}
    return make_tap(config=config, **shape, **span).selecting_all()


def now() -> datetime:
    return NOW


def state_at(instant: str, **more: Any) -> dict[str, Any]:
    """A state whose bookmarks all stand at one instant."""
    return {"bookmarks": {name: {field: instant} for name, field in BOOKMARKS.items()}, **more}


def final_bookmarks(run: Run) -> set[str]:
    """Where all bookmarks stand; the entries hold each of their keys, and nothing is owed."""
    entries = run.state["bookmarks"]
    assert entries.keys() == {stream.name for stream in STREAMS}
    for name, entry in entries.items():
        field = BOOKMARKS.get(name)
        owns = {
            "offset": NO_OFFSET[name],
            **({field: entry.get(field), "covers": entry.get("covers")} if field else {}),
            **({"set_aside": []} if name not in ("lists", "messages", "conversations") else {}),
            **({"turns": NO_TURNS} if name in TAKES_TURNS else {}),
            **({"version": None} if name in MIRRORABLE else {}),
        }
        assert entry == owns
    return {entries[name][field] for name, field in BOOKMARKS.items()}


def starts_asked(tap: Tap) -> set[str]:
    """Where what is asked in pages started, the earliest of each message, list and the like."""
    firsts: dict[tuple[str, str], str] = {}
    for ask in tap.service.asked:
        if {"StartDate", "Page"} <= ask.arguments.keys():
            part, start = (ask.operation, part_of(ask)), ask.arguments["StartDate"]
            firsts[part] = min(firsts.get(part, start), start)
    return set(firsts.values())


def is_everything(tap: Tap, run: Run) -> bool:
    return keys_emitted(run) == keys_held(tap.service.account, STREAMS)


def test_no_state_starts_at_start_date_and_bookmarks_the_start_of_the_run(tap: Tap) -> None:
    run = tap.run(clock=now)
    assert run.code == 0
    assert is_everything(tap, run)
    assert starts_asked(tap) == {"2026-05-01T00:00:00"}
    assert final_bookmarks(run) == {"2026-07-01T12:00:00Z"}
    (ListID,) = (int(str(each["ListID"])) for each in tap.service.account.lists())
    since = {"start_date": "2026-05-01T00:00:00Z"}
    for name in BOOKMARKS.keys() - {"complaints"}:
        assert scope(run, name) == {**since, "ListIDs": [ListID], "include_test_messages": True}
    assert scope(run, "complaints") == since


@pytest.mark.parametrize("text", ["", " \n", "\ufeff"])
def test_an_empty_state_file_is_no_state_and_a_warning(tap: Tap, text: str) -> None:
    run = tap.run(clock=now, state=text)
    assert run.code == 0
    assert is_everything(tap, run)
    (warning,) = run.lines("WARNING")
    assert "state.json is empty" in warning


@pytest.mark.parametrize("state", [{}, {"bookmarks": {}}, {"bookmarks": {"message_opens": {}}}])
def test_an_object_without_bookmarks_is_no_state(tap: Tap, state: dict[str, Any]) -> None:
    run = tap.run(clock=now, state=state)
    assert run.code == 0
    assert is_everything(tap, run)
    assert run.lines("WARNING") == []


def test_a_whole_state_message_is_understood(tap: Tap) -> None:
    state = {"type": "STATE", "value": state_at("2026-06-20T00:00:00Z")}
    run = tap.run(clock=now, state=state)
    assert run.code == 0
    assert starts_asked(tap) == {"2026-06-19T00:00:00"}
    assert final_bookmarks(run) == {"2026-07-01T12:00:00Z"}


def test_a_byte_order_mark_before_a_state_is_passed_over(tap: Tap) -> None:
    run = tap.run(clock=now, state="\ufeff" + json.dumps(state_at("2026-06-20T00:00:00Z")))
    assert run.code == 0
    assert starts_asked(tap) == {"2026-06-19T00:00:00"}


@pytest.mark.parametrize(
    "instant",
    [
        "2026-06-20",
        "2026-06-20T00:00:00",
        "2026-06-20T02:00:00+02:00",
        "2026-06-20T00:00:00.000000Z",
    ],
)
def test_a_bookmark_may_have_any_form_of_rfc_3339_or_a_date(tap: Tap, instant: str) -> None:
    run = tap.run(clock=now, state=state_at(instant))
    assert run.code == 0
    assert starts_asked(tap) == {"2026-06-19T00:00:00"}


def test_a_bookmark_a_little_ahead_starts_at_now_less_the_lookback(tap: Tap) -> None:
    run = tap.run(clock=now, state=state_at("2026-07-02T12:00:00Z"))
    assert run.code == 0
    assert starts_asked(tap) == {"2026-06-30T12:00:00"}
    assert final_bookmarks(run) == {"2026-07-02T12:00:00Z"}
    assert len(run.lines("WARNING")) == len(BOOKMARKS)
    assert "message_opens.OpenDate is ahead" in run.err


def test_a_bookmark_further_ahead_than_the_lookback_is_an_error(tap: Tap) -> None:
    run = tap.run(clock=now, state=state_at("2026-07-02T12:00:01Z"))
    assert_refused(tap, run, "bookmarks.message_sends.SendDate")


def test_a_longer_lookback_lets_a_bookmark_be_further_ahead(tap: Tap) -> None:
    config = {"lookback_days": 7}
    run = tap.run(clock=now, state=state_at("2026-07-08T12:00:00Z"), config=config)
    assert run.code == 0
    assert starts_asked(tap) == {"2026-06-24T12:00:00"}


def test_a_bookmark_from_the_beginning_of_time_starts_at_start_date(tap: Tap) -> None:
    run = tap.run(clock=now, state=state_at("0001-01-01T00:00:00Z"))
    assert run.code == 0
    assert starts_asked(tap) == {"2026-05-01T00:00:00"}
    assert final_bookmarks(run) == {"2026-07-01T12:00:00Z"}


def test_a_bookmark_before_start_date_starts_at_start_date(tap: Tap) -> None:
    run = tap.run(clock=now, state=state_at("2026-04-01T00:00:00Z"))
    assert run.code == 0
    assert starts_asked(tap) == {"2026-05-01T00:00:00"}


def test_a_stream_that_the_state_lacks_starts_at_start_date(tap: Tap) -> None:
    state = state_at("2026-06-20T00:00:00Z")
    del state["bookmarks"]["message_opens"]
    run = tap.run(clock=now, state=state)
    assert run.code == 0
    opens = [each for each in tap.service.asked if each.operation.endswith("MessageContactOpen")]
    assert {each.arguments["StartDate"] for each in opens} == {"2026-05-01T00:00:00"}
    clicks = [each for each in tap.service.asked if each.operation.endswith("ContactClick")]
    assert {each.arguments["StartDate"] for each in clicks} == {"2026-06-19T00:00:00"}


def test_unknown_streams_are_warned_of_and_kept(tap: Tap) -> None:
    state = state_at("2026-06-20T00:00:00Z", currently_syncing="message_opens")
    state["bookmarks"]["message_forwards"] = {"ForwardDate": "2026-01-01", "offset": {"Page": 3}}
    run = tap.run(clock=now, state=state)
    assert run.code == 0
    (warning,) = run.lines("WARNING")
    assert "message_forwards" in warning
    for each in run.states:
        assert each["bookmarks"]["message_forwards"] == state["bookmarks"]["message_forwards"]
        assert each["currently_syncing"] == "message_opens"


def deep(levels: int) -> Any:
    value: Any = "deep"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [10**30, float("nan"), "\ud800", deep(200), deep(600)],
                         ids=["big", "nan", "surrogate", "deep", "deeper"])  # fmt: skip
def test_odd_values_under_an_unknown_stream_are_kept_or_refused(tap: Tap, value: Any) -> None:
    run = tap.run(clock=now, state={"bookmarks": {"message_forwards": {"odd": value}}})
    assert run.code in (0, 2)
    assert "defect" not in run.err


def test_a_state_of_the_published_tap_carries_on_here(tap: Tap) -> None:
    state = {
        "currently_syncing": "message_unsubs",
        "bookmarks": {
            "message_sends": {"SendDate": "2026-06-20T10:11:12.000000Z"},
            "message_opens": {"OpenDate": "2026-06-20T00:00:00.123456Z"},
            "message_clicks": {"ClickDate": "2026-06-20T00:00:00.123456Z"},
            "message_reads": {"ReadDate": "2026-06-20T00:00:00.123456Z"},
            "message_unsubs": {
                "RemovalDate": "2026-06-20T00:00:00.123456Z",
                "BounceDate": "2026-06-20T00:00:00.123456Z",
            },
            "subscribed_contacts": {"AdditionDate": "2026-06-20T00:00:00.123456Z"},
        },
    }
    tap.catalog = None
    run = tap.run(clock=now, state=state)
    assert run.code == 0
    assert run.lines("WARNING") == []
    assert starts_asked(tap) == {"2026-06-19T00:00:00"}
    assert bookmarks(run) == {
        stream.name: "2026-07-01T12:00:00Z" for stream in PUBLISHED if stream.replication_key
    }
    assert "BounceDate" not in run.state["bookmarks"]["message_unsubs"]


def test_a_bounce_bookmark_of_its_own_wins_over_the_stray_one(tap: Tap) -> None:
    bookmarks = {
        "message_bounces": {"BounceDate": "2026-06-20T00:00:00Z"},
        "message_unsubs": {"BounceDate": "2026-06-01T00:00:00Z"},
    }
    run = tap.run(clock=now, state={"bookmarks": bookmarks})
    assert run.code == 0
    bounces = [each for each in tap.service.asked if each.operation.endswith("ContactBounces")]
    assert {each.arguments["StartDate"] for each in bounces} == {"2026-06-19T00:00:00"}


def assert_refused(tap: Tap, run: Run, place: str) -> None:
    assert run.code == 2
    assert run.out == ""
    (critical,) = run.lines("CRITICAL")
    assert place in critical
    assert "Traceback" not in run.err
    assert tap.service.asked == []
    assert tap.service.wsdl_requests == 0


@pytest.mark.parametrize("text", ["[]", "null", "1", '"state"', "true", '{"type": "STATE"}',
                                  '{"type": "STATE", "value": []}'])  # fmt: skip
def test_a_state_that_is_not_an_object_is_an_error(tap: Tap, text: str) -> None:
    assert_refused(tap, tap.run(clock=now, state=text), "The state must be a JSON object")


@pytest.mark.parametrize(
    "text",
    ["{", '{"bookmarks": {}} {}', "[" * 100_000, "1" * 5_000, '{"bookmarks": ' + "1" * 5_000],
)
def test_a_state_that_is_no_json_is_an_error(tap: Tap, text: str) -> None:
    assert_refused(tap, tap.run(clock=now, state=text), "state.json")


def test_a_state_file_that_is_no_utf_8_is_an_error(tap: Tap) -> None:
    arguments = tap.arguments(state={})
    (tap.folder / "state.json").write_bytes(b'{"bookmarks": "\xff"}')
    run = tap.run(*arguments[2:], clock=now)
    assert_refused(tap, run, "state.json")


def test_a_state_file_that_is_not_there_is_an_error(tap: Tap) -> None:
    run = tap.run("--state", str(tap.folder / "none.json"), clock=now)
    assert_refused(tap, run, "none.json")


OFFSET = {
    "start_date": "2026-05-01T00:00:00Z",
    "start": "2026-05-01T00:00:00Z",
    "end": "2026-06-30T00:00:00Z",
    "ListIDs": [1],
}
OWED = {
    "stream": "message_opens",
    "ListID": 1,
    "MsgID": 2,
    "start": "2026-05-01T00:00:00Z",
    "end": "2026-06-30T00:00:00Z",
    "Page": 3,
}
COVERS = {"start_date": "2026-05-01T00:00:00Z", "ListIDs": [1]}


def opens(**entry: Any) -> dict[str, Any]:
    return {"bookmarks": {"message_opens": entry}}


def turns(**changed: Any) -> dict[str, Any]:
    moment = "2026-06-20T00:00:00Z"
    sound = {"recent_days": 30, "older_every_days": 2, "recent": moment, "classes": [SECONDS] * 2}
    return opens(OpenDate=moment, turns={**sound, **changed})


def entry_of(stream: str, **entry: Any) -> dict[str, Any]:
    return {"bookmarks": {stream: entry}}


def offset(**changed: Any) -> dict[str, Any]:
    return opens(offset={**OFFSET, **changed})


def owed(**changed: Any) -> dict[str, Any]:
    return {"set_aside": [{**OWED, **changed}]}


MALFORMED: list[tuple[Any, str]] = [
    ({"bookmarks": []}, "bookmarks"),
    ({"bookmarks": None}, "bookmarks"),
    ({"bookmarks": {"message_opens": "2026-06-20T00:00:00Z"}}, "bookmarks.message_opens"),
    ({"bookmarks": {"message_opens": None}}, "bookmarks.message_opens"),
    ({"bookmarks": {"message_unsubs": []}}, "bookmarks.message_unsubs"),
    (opens(OpenDate=""), "bookmarks.message_opens.OpenDate"),
    (opens(OpenDate="yesterday"), "bookmarks.message_opens.OpenDate"),
    (opens(OpenDate="2026-13-01T00:00:00Z"), "bookmarks.message_opens.OpenDate"),
    (opens(OpenDate=1750000000), "bookmarks.message_opens.OpenDate"),
    (opens(OpenDate=[]), "bookmarks.message_opens.OpenDate"),
    (opens(OpenDate={}), "bookmarks.message_opens.OpenDate"),
    (opens(OpenDate=True), "bookmarks.message_opens.OpenDate"),
    ({"bookmarks": {"message_unsubs": {"BounceDate": "?"}}}, "BounceDate"),
    ({"covers": []}, "covers"),
    ({"covers": {}}, "covers.start_date"),
    ({"covers": {**COVERS, "start_date": 5}}, "covers.start_date"),
    ({"covers": {**COVERS, "ListIDs": 1}}, "covers.ListIDs"),
    ({"covers": {**COVERS, "ListIDs": ["1"]}}, "covers.ListIDs"),
    ({"covers": {**COVERS, "ListIDs": [1.5]}}, "covers.ListIDs"),
    (opens(OpenDate="2026-06-20T00:00:00Z", covers=3), "bookmarks.message_opens.covers"),
    (opens(offset=3), "bookmarks.message_opens.offset"),
    (opens(offset=["2026-06-20"]), "bookmarks.message_opens.offset"),
    (opens(offset={"Page": 3}), "bookmarks.message_opens.offset.start"),
    (offset(start=None), "bookmarks.message_opens.offset.start"),
    (offset(end="soon"), "bookmarks.message_opens.offset.end"),
    (offset(end="2026-08-01T00:00:00Z"), "bookmarks.message_opens.offset.end"),
    (offset(ListIDs={}), "bookmarks.message_opens.offset.ListIDs"),
    (offset(ListID="one"), "bookmarks.message_opens.offset.ListID"),
    (offset(ListID=1, SendDate=3), "bookmarks.message_opens.offset.SendDate"),
    (offset(ListID=1, MsgID="2"), "bookmarks.message_opens.offset.MsgID"),
    (offset(ListID=1, MsgID=2, Digest=3), "bookmarks.message_opens.offset.Digest"),
    (offset(ListID=1, MsgID=2, Page=0), "bookmarks.message_opens.offset.Page"),
    (offset(ListID=1, MsgID=2, Page=1.5), "bookmarks.message_opens.offset.Page"),
    ({"set_aside": {"stream": "message_opens"}}, "set_aside"),
    ({"set_aside": "all"}, "set_aside"),
    ({"set_aside": [3]}, "set_aside"),
    (owed(stream="message_forwards"), "set_aside"),
    (owed(stream=None), "set_aside"),
    (owed(stream="lists"), "set_aside"),
    (owed(MsgID=None), "set_aside needs a MsgID"),
    (owed(stream="subscribed_contacts"), "set_aside takes no MsgID"),
    (owed(ListID=None), "set_aside needs a ListID"),
    (owed(ListID="1"), "set_aside.ListID"),
    (owed(MsgID=True), "set_aside.MsgID"),
    (owed(start=None), "set_aside.start"),
    (owed(end=3), "set_aside.end"),
    (owed(Page="3"), "set_aside.Page"),
    (owed(Page=0), "set_aside.Page"),
    (owed(Digest=3), "set_aside.Digest"),
    (owed(failed_since="?"), "set_aside.failed_since"),
    (owed(absent_since=5), "set_aside.absent_since"),
    (opens(set_aside={"ListID": 1}), "bookmarks.message_opens.set_aside"),
    (opens(set_aside=[3]), "bookmarks.message_opens.set_aside"),
    (owed(stream="conversations"), "set_aside"),
    (owed(stream="conversation_opens"), "set_aside needs a ConversationID"),
    (owed(stream="message_analytics", MsgID=None), "set_aside needs a MsgID"),
    (owed(stream="complaints", MsgID=None), "set_aside takes no ListID"),
    (turns(classes=None), "bookmarks.message_opens.turns.classes"),
    (turns(classes={"0": SECONDS}), "bookmarks.message_opens.turns.classes"),
    (turns(classes=[SECONDS]), "bookmarks.message_opens.turns.classes"),
    (turns(classes=[SECONDS] * 3), "bookmarks.message_opens.turns.classes"),
    (turns(classes=[SECONDS, "2026-06-20T00:00:00Z"]), "bookmarks.message_opens.turns.classes"),
    (turns(classes=[SECONDS, None]), "bookmarks.message_opens.turns.classes"),
    (turns(classes=[SECONDS, 10**15]), "bookmarks.message_opens.turns.classes"),
    (turns(recent=None), "bookmarks.message_opens.turns.recent"),
    (turns(recent="2026-08-01T00:00:00Z"), "bookmarks.message_opens.turns"),
    (turns(recent_days=None), "bookmarks.message_opens.turns.classes"),
    (turns(recent_days="30"), "bookmarks.message_opens.turns.recent_days"),
    (turns(older_every_days=0), "bookmarks.message_opens.turns.classes"),
    (turns(older_every_days=2.5), "bookmarks.message_opens.turns.older_every_days"),
    (opens(OpenDate="2026-06-20T00:00:00Z", turns=[3]), "bookmarks.message_opens.turns"),
    (entry_of("message_sends", offset={**OFFSET, "start": None}), "message_sends.offset.start"),
    (entry_of("lists", version="1"), "bookmarks.lists.version"),
    (entry_of("lists", offset={**OFFSET, "mirrored": 1}), "bookmarks.lists.offset.mirrored"),
    (
        entry_of("conversation_opens", offset={**OFFSET, "ListID": 1, "ConversationID": "2"}),
        "bookmarks.conversation_opens.offset.ConversationID",
    ),
]


@pytest.mark.parametrize(("state", "place"), MALFORMED, ids=lambda value: json.dumps(value)[:80])
def test_what_is_malformed_is_named_before_anything_is_asked(
    tap: Tap, state: Any, place: str
) -> None:
    assert_refused(tap, tap.run(clock=now, state=state), place)


# Version 1.0.0 wrote no digests. A page cannot be taken for the one that was written without one.
@pytest.mark.parametrize(("place", "page"), [({"Digest": "c0ffee"}, "3"), ({}, "1")])
def test_the_sample_states_here_are_sound(tap: Tap, place: dict[str, str], page: str) -> None:
    MsgID = int(str(tap.service.account.messages(345_001)[0]["MsgID"]))
    debt = owed(ListID=345_001, MsgID=MsgID, **place)
    sound = {**offset(ListIDs=[]), "covers": COVERS, **debt}
    run = tap.run(clock=now, state=sound)
    assert run.code == 0
    first = next(ask for ask in tap.service.asked if "Page" in ask.arguments)
    assert first.operation == BY_NAME["message_opens"].operation
    assert (first.arguments["MsgID"], first.arguments["Page"]) == (str(MsgID), page)


@pytest.mark.parametrize("number", [0, -2, -(2**31)])
def test_an_id_in_a_state_may_be_any_whole_number(tap: Tap, number: int) -> None:
    covers = {**COVERS, "ListIDs": [number]}
    debt = owed(ListID=number, MsgID=number, Page=None)
    place = offset(ListIDs=[number], ListID=number, MsgID=number, SendDate=NOW.isoformat())
    run = tap.run(clock=now, state={**place, "covers": covers, **debt})
    assert run.code == 0
    assert is_everything(tap, run)


def test_a_state_a_day_old_asks_for_a_day_and_the_lookback(tap: Tap) -> None:
    bookmark = NOW - timedelta(days=1)
    run = tap.run(clock=now, state=state_at(f"{bookmark:%Y-%m-%dT%H:%M:%SZ}"))
    assert run.code == 0
    assert starts_asked(tap) == {"2026-06-29T12:00:00"}
    ends = {each.arguments["EndDate"] for each in tap.service.asked if "EndDate" in each.arguments}
    assert ends == {"2026-07-01T12:00:00"}
