"""A part that fails costs only its own rows: it is set aside, and the next run retries it first."""

import re
from datetime import datetime

import pytest

from fake_listrak import Reply
from tap_listrak.streams import BY_NAME, MESSAGES, STREAMS
from tests.support.accounts import small
from tests.support.faults import START, part_of, tiny_account
from tests.support.runs import OPEN, REFUSED, ends, instant, starts, tap_for
from tests.support.tap import NOT_FOUND, MakeTap, Run, Tap

MIDDLE = "2026-04-30T23:59:59"


def pages_asked(tap: Tap, stream: str, **arguments: object) -> list[str]:
    return [ask.arguments["Page"] for ask in tap.calls(stream, **arguments)]


def assert_nothing_owed(tap: Tap, *nights: Run) -> None:
    """The last of these nights ended well, owes nothing, and no row is missing."""
    assert (nights[-1].code, nights[-1].set_aside, tap.missing(*nights)) == (0, [], {})


def test_a_message_that_fails_is_set_aside_until_it_is_answered(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, concurrency=8)
    msg_id = tap.msg_ids()[1]
    tap.fail("message_opens", MsgID=msg_id, Page=3)
    first = tap.night()
    assert (first.code, tap.missing(first)) == (0, {"message_opens": 1})
    assert set(first.bookmarks.values()) == {instant()}
    (warning,) = first.warnings("Set aside; the next run retries it first")
    assert f"of message {msg_id} in list {tap.first_list}, page 3" in warning
    (owed,) = first.set_aside
    assert isinstance(owed.pop("digest"), str)
    assert owed.pop("sent_from") == owed.pop("sent_to")
    where = {"stream": "message_opens", "list_id": tap.first_list, "parent_id": msg_id, "page": 2}
    assert owed == {**where, "start": START, "end": instant(), "failed_since": instant()}

    tap.service.account.add_event(OPEN, msg_id, "late@example.com", datetime(2026, 7, 3, 12))
    second = tap.night(3, first)
    assert pages_asked(tap, "message_opens", MsgID=msg_id) == ["2", "3"], "it has one try"
    assert len(second.warnings("Still set aside")) == 1
    (owed,) = second.set_aside
    assert (owed["start"], owed["end"]) == (START, instant(3))
    tap.heal()
    third = tap.night(4, second)
    assert tap.service.asked[1].arguments["MsgID"] == str(msg_id), "it is first, after the lists"
    asked = tap.calls("message_opens", MsgID=msg_id)
    assert [ask.arguments["Page"] for ask in asked] == ["2", "3", "4"]
    assert (starts(asked), ends(asked)) == ({START[:-1]}, {instant(4)[:-1]})
    assert third.warnings() == []
    assert_nothing_owed(tap, first, second, third)


# Held until the stream is answered.


@pytest.mark.parametrize("how", ["page", "empty", "unreadable"])
def test_failed_parts_are_held_until_their_stream_is_answered(make_tap: MakeTap, how: str) -> None:
    tap = tap_for(make_tap, "message_opens", account=tiny_account(12))
    bad, answered, after = tap.msg_ids()[:8], tap.msg_ids()[8], tap.msg_ids()[9:]
    tap.fail("message_opens", REFUSED, MsgID=[*bad, *after])
    by = {
        "page": lambda body: body,
        "empty": lambda body: re.sub(rb"<WSMess.*</WSMess[^>]*>", b"", body, flags=re.DOTALL),
        "unreadable": lambda body: body.replace(b"<OpenDate>", b"<OpenDate><b/>"),
    }[how]
    tap.change("message_opens", by, MsgID=answered)
    run = tap.night()
    assert [each["parent_id"] for each in run.set_aside] == bad
    # Those after it stay held. A part with an unreadable value is one of them.
    assert run.place()["parent_id"] == (bad[-1] if how == "unreadable" else answered)


@pytest.mark.parametrize(("bad", "code"), [(5, 0), (6, 3)])
def test_at_most_five_held_parts_are_set_aside(make_tap: MakeTap, bad: int, code: int) -> None:
    tap = tap_for(make_tap, "message_opens", "message_clicks", account=tiny_account(7))
    tap.fail("message_opens", REFUSED, MsgID=tap.msg_ids()[-bad:])
    run = tap.night()
    assert (run.code, len(run.set_aside)) == (code, 0 if code else bad)
    assert run.bookmarks["message_opens"] == (None if code else instant())
    assert run.place().get("parent_id") == (tap.msg_ids()[-bad - 1] if code else None)
    tap.heal()
    assert_nothing_owed(tap, run, tap.night(1, run))


@pytest.mark.usefixtures("state_after_every_page")
def test_a_run_cut_off_while_it_retries_loses_nothing_set_aside(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens", "list_hygiene")
    tap.fail("message_opens", MsgID=tap.msg_ids()[0], Page=2)
    tap.fail("list_hygiene", ListID=tap.first_list)
    first = tap.night()
    assert len(first.set_aside) == 2
    tap.heal()
    for before in tap.night(1, first).prefixes()[:9:2]:
        assert_nothing_owed(tap, first, before, tap.night(2, before))


@pytest.mark.usefixtures("state_after_every_page")
def test_a_window_stays_set_aside_while_its_newer_dates_are_held(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens")
    tap.fail("messages", ListID=tap.list_ids[1])
    first = tap.night()
    assert len(first.set_aside) == 1
    before = [each for each in tap.night(1, first).prefixes() if not each.is_finished]
    # It resumes a range of which only the window that fails is left.
    resumed = tap.night(2, before[-1])
    tap.heal()
    assert_nothing_owed(tap, first, before[-1], resumed, tap.night(3, resumed))


# What is given up, kept or dropped.


@pytest.mark.parametrize("stream", ["message_opens", "conversation_opens", "subscribed_contacts"])
def test_what_is_absent_and_fails_thirty_days_is_given_up(make_tap: MakeTap, stream: str) -> None:
    tap = tap_for(make_tap, stream)
    account, list_id = tap.service.account, tap.first_list
    named, hide = {
        "message_opens": (tap.msg_ids()[0], account.hide_message),
        "conversation_opens": (account.conversation_ids(list_id)[0], account.hide_conversation),
        "subscribed_contacts": (list_id, account.hide_list),
    }[stream]
    operation = BY_NAME[stream].operation
    tap.fail_calls(lambda ask: ask.operation == operation and part_of(ask) == str(named))
    run = tap.night()
    (owed,) = run.set_aside
    hide(named)
    for number in (1, 30):
        run = tap.night(number, run)
        (still,) = run.set_aside
        assert still == {**owed, "end": still["end"], "absent_since": instant(1)}
    last = tap.night(31, run)
    (warning,) = last.warnings("Gave up")
    assert str(named) in warning
    assert (last.code, last.set_aside) == (0, [])


def test_what_comes_back_is_not_given_up(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens")
    msg_id, account = tap.msg_ids()[0], tap.service.account
    tap.fail("message_opens", MsgID=msg_id)
    first = tap.night()
    account.hide_message(msg_id)
    absent = tap.night(20, first)
    assert absent.set_aside[0]["absent_since"] == instant(20)
    account.add_message(tap.first_list, msg_id, datetime(2026, 6, 10))
    (owed,) = tap.night(60, absent).set_aside
    assert "absent_since" not in owed
    assert owed["failed_since"] == instant()


def test_what_list_ids_leaves_out_is_kept_and_not_requested(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens")
    tap.fail("message_opens", MsgID=tap.msg_ids()[0])
    first = tap.night()
    second = tap.night(40, first, config={"list_ids": tap.list_ids[1:]})
    assert second.set_aside == first.set_aside
    assert not tap.calls("message_opens", MsgID=tap.msg_ids()[0])


def test_what_a_later_start_date_leaves_out_is_dropped_once_covered(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens")
    tap.fail("message_opens", MsgID=tap.msg_ids()[0])
    later = "2026-06-29T00:00:00Z"
    second = tap.night(1, tap.night(), config={"start_date": later})
    assert not tap.calls("message_opens", MsgID=tap.msg_ids()[0])
    for state in second.states:
        opens = state["bookmarks"]["message_opens"]
        assert bool(opens["set_aside"]) != (opens["covers"][0]["start_date"] == later)
    assert second.covers()["start_date"] == later


def test_a_window_that_fails_again_is_not_also_requested_in_its_turn(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "subscribed_contacts", start_date="2026-05-01")
    tap.fail("subscribed_contacts", ListID=tap.first_list, StartDate=MIDDLE)
    first = tap.night(config={"include_test_messages": False})
    # Then the walk requests all windows.
    second = tap.night(1, first)
    assert second.set_aside == first.set_aside
    assert len(tap.calls("subscribed_contacts", ListID=tap.first_list, StartDate=MIDDLE)) == 1
    tap.heal()
    assert_nothing_owed(tap, first, second, tap.night(2, second))


@pytest.mark.parametrize("order", [1, -1])
def test_windows_that_overlap_are_taken_out(make_tap: MakeTap, order: int) -> None:
    tap = tap_for(make_tap, "subscribed_contacts")
    first = tap.night()
    windows = (("2026-06-11", "2026-06-28"), ("2026-06-15", "2026-06-20"))
    owed = [
        {"list_id": tap.first_list, "start": f"{start}T00:00:00Z", "end": f"{end}T00:00:00Z"}
        for start, end in windows[::order]
    ]
    state = {"bookmarks": {"subscribed_contacts": {**first.entry("subscribed_contacts")}}}
    state["bookmarks"]["subscribed_contacts"]["set_aside"] = owed
    assert tap.night(1, state=state).set_aside == []


# Windows of messages, and the conversations of a list.


@pytest.mark.parametrize(
    ("reply", "concurrency"), [(REFUSED, 1), (NOT_FOUND, 8)], ids=["refused", "404"]
)
def test_a_window_of_messages_that_fails_costs_only_the_messages_sent_in_it(
    make_tap: MakeTap, reply: Reply, concurrency: int
) -> None:
    # The lists have their messages in three windows.
    config = {"start_date": "2026-04-01", "interval_days": 30, "concurrency": concurrency}
    tap = tap_for(make_tap, account=small(messages=6), **config)
    account, one, start = tap.service.account, tap.first_list, "2026-04-01T00:00:00Z"
    in_it = {
        int(str(row["MsgID"]))
        for row in account.messages(one)
        if "2026-05-01" <= str(row["SendDate"]) < "2026-05-31"
    }
    assert 0 < len(in_it) < 6
    tap.fail("messages", reply, ListID=one, StartDate=MIDDLE)
    first = tap.night()
    lost = tap.missing(first)
    assert (first.code, lost["messages"]) == (0, len(in_it))
    assert lost["message_opens"] == sum(len(account.rows(OPEN, each)) for each in in_it)
    assert not lost.keys() & {"lists", "subscribed_contacts"}
    by_message = [each.name for each in STREAMS if each.is_published and each.parent is MESSAGES]
    # What fails again stays set aside as one.
    second = tap.night(1, first)
    for night, run in enumerate((first, second)):
        assert [each["stream"] for each in run.set_aside] == by_message
        sent = {"sent_from": "2026-05-01T00:00:00Z", "sent_to": "2026-05-31T00:00:00Z"}
        dates = {"start": start, "end": instant(night), "failed_since": instant()}
        assert run.entry()["set_aside"] == [{"list_id": one, **sent, **dates}]

    tap.heal()
    third = tap.night(2, second)
    assert_nothing_owed(tap, first, second, third)
    asked_from = {
        (int(ask.arguments["MsgID"]) in in_it, ask.arguments["StartDate"])
        for ask in tap.calls("message_opens")
    }
    assert asked_from == {(True, start[:-1]), (False, instant()[:-1])}


def test_a_window_of_messages_is_taken_out_though_the_zone_has_changed(make_tap: MakeTap) -> None:
    config = {"start_date": "2026-04-01", "interval_days": 30}
    tap = tap_for(make_tap, "message_opens", account=small(messages=6), **config)
    tap.fail("messages", ListID=tap.first_list, StartDate=MIDDLE)
    first = tap.night()
    assert first.set_aside
    tap.heal()
    second = tap.night(0.5, first, config={"timezone": "America/New_York"})
    assert_nothing_owed(tap, first, second)


def test_conversations_that_fail_are_set_aside_for_their_streams(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "conversation_opens", "conversation_links", "complaints")
    tap.fail("conversations", REFUSED, ListID=tap.first_list)
    first = tap.night()
    assert first.code == 0
    assert tap.missing(first).keys() == {"conversation_opens", "conversation_links"}
    (owed,) = first.set_aside
    assert (owed["stream"], owed["list_id"]) == ("conversation_opens", tap.first_list)
    assert not owed.keys() & {"parent_id", "sent_from", "sent_to"}
    tap.heal()
    assert_nothing_owed(tap, first, tap.night(1, first))


@pytest.mark.parametrize(
    ("stream", "child", "column"),
    [
        ("messages", "message_opens", "OrderTotal"),
        ("conversations", "conversation_opens", "ReadCount"),
    ],
)
def test_an_unreadable_value_in_a_row_of_parents_costs_their_own_stream_alone(
    make_tap: MakeTap, stream: str, child: str, column: str
) -> None:
    tap = tap_for(make_tap, stream, child)
    element = f"<{column}>".encode()
    by = {"ListID": tap.first_list}
    tap.change(stream, lambda body: body.replace(element, element + b"robot", 1), **by)
    run = tap.night()
    assert (run.code, tap.missing(run)) == (0, {stream: 2})
    (warning,) = run.warnings("Skipped in this run; the next run requests it again")
    assert column in warning
    assert "robot" not in run.err
    assert (run.set_aside, run.is_finished) == ([], True)
