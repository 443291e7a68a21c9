"""A part that fails costs its own rows: it is set aside, and retried first in the next run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from fake_listrak import Ask, Reply, fault, with_exception
from tap_listrak.streams import BY_NAME, MESSAGES, STREAMS
from tests.support.accounts import small
from tests.support.faults import START, part_of, tiny_account
from tests.support.nights import (
    REFUSED,
    bookmarks,
    calls,
    fail,
    fail_calls,
    heal,
    instant,
    is_finished,
    list_ids,
    missing,
    msg_ids,
    night,
    set_aside,
    tap_for,
    warnings,
    wire,
)
from tests.support.records import KINDS
from tests.support.runs import CONCURRENCIES, prefixes
from tests.support.tap import MakeTap, Run, Tap, catalog_of

OPEN = BY_NAME["message_opens"].operation
SET_ASIDE = "Set aside; the next run retries it first"
LEFT_OUT = "Left out of this run; the next requests it again"


def first_asked(tap: Tap) -> Ask:
    """The first call of the last run after that for the lists."""
    return tap.service.asked[1]


@CONCURRENCIES
@pytest.mark.parametrize("stream", ["message_opens", "message_sends"])
def test_a_message_that_fails_is_set_aside_until_it_is_answered(
    make_tap: MakeTap, concurrency: int, stream: str
) -> None:
    tap = tap_for(make_tap, concurrency=concurrency)
    msg_id = msg_ids(tap)[1]
    fail(tap, stream, MsgID=msg_id, Page=3)
    first = night(tap)
    assert first.code == 0
    assert missing(tap, first) == {stream: 1}
    assert bookmarks(first) == {instant()}
    (warning,) = warnings(first, SET_ASIDE)
    assert f"of message {msg_id} in list {list_ids(tap)[0]}, page 3" in warning
    assert len(calls(tap, stream, MsgID=msg_id, Page=3)) == 5
    (sent,) = {each["sent_from"] for each in set_aside(first)}
    (owed,) = set_aside(first)
    assert isinstance(owed.pop("digest"), str)
    assert owed == {
        "stream": stream,
        "start": START,
        "end": instant(),
        "list_id": list_ids(tap)[0],
        "parent_id": msg_id,
        "sent_from": sent,
        "sent_to": sent,
        "page": 2,
        "failed_since": instant(),
    }

    second = night(tap, 1, first)
    assert second.code == 0
    assert (first_asked(tap).arguments["MsgID"], first_asked(tap).operation) == (
        str(msg_id),
        BY_NAME[stream].operation,
    )
    assert [ask.arguments["Page"] for ask in calls(tap, stream, MsgID=msg_id)] == ["2", "3"]
    (again,) = set_aside(second)
    assert (again["end"], again["failed_since"]) == (instant(1), instant(1))
    assert bookmarks(second) == {instant(1)}

    heal(tap)
    third = night(tap, 2, second)
    assert [ask.arguments["Page"] for ask in calls(tap, stream, MsgID=msg_id)] == ["2", "3", "4"]
    assert third.code == 0
    assert set_aside(third) == []
    assert third.lines("WARNING") == []
    assert missing(tap, first, second, third) == {}


def test_what_is_set_aside_is_requested_up_to_now(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens")
    msg_id = msg_ids(tap)[0]
    fail(tap, "message_opens", MsgID=msg_id)
    first = night(tap)
    tap.service.account.add_event(OPEN, msg_id, "late@example.com", datetime(2026, 7, 3, 12))
    second = night(tap, 3, first)
    (owed,) = set_aside(second)
    assert (owed["start"], owed["end"], owed["failed_since"]) == (START, instant(3), instant())
    heal(tap)
    third = night(tap, 4, second)
    (ask, *_) = calls(tap, "message_opens", MsgID=msg_id)
    assert (ask.arguments["StartDate"], ask.arguments["EndDate"]) == (START[:-1], wire(4))
    assert (
        len({each.arguments["StartDate"] for each in calls(tap, "message_opens", MsgID=msg_id)})
        == 1
    )
    assert missing(tap, first, second, third) == {}


@pytest.mark.parametrize("stream", [each.name for each in STREAMS if each.replication_key])
def test_a_part_of_any_stream_with_a_bookmark_is_set_aside(make_tap: MakeTap, stream: str) -> None:
    # What is not requested by message or conversation has parts by window: here two.
    tap = tap_for(make_tap, stream, start_date="2026-05-15T00:00:00Z")
    kind, list_id = KINDS[stream], list_ids(tap)[0]
    part = {
        "account": "",
        "list": str(list_id),
        "message": str(msg_ids(tap)[0]),
        "conversation": str(tap.service.account.conversation_ids(list_id)[0]),
    }[kind.asked_by]

    def which(ask: Ask) -> bool:
        is_part = ask.operation == kind.name and part_of(ask) == part
        is_first = ask.arguments.get("StartDate", "2026-05") < "2026-06"
        return is_part and (is_first or kind.asked_by in ("message", "conversation"))

    fail_calls(tap, which)
    first = night(tap)
    assert first.code == 0
    assert len(missing(tap, first)) == 1
    assert len(set_aside(first)) == len(warnings(first, SET_ASIDE)) == 1
    assert {each.get("list_id") for each in set_aside(first)} == {list_id if part else None}

    second = night(tap, 1, first)
    assert len([ask for ask in tap.service.asked if which(ask)]) == len(set_aside(first))
    assert len(set_aside(second)) == len(set_aside(first))

    heal(tap)
    third = night(tap, 2, second)
    assert which(first_asked(tap))
    assert (third.code, set_aside(third)) == (0, [])
    assert missing(tap, first, second, third) == {}


@pytest.mark.parametrize(
    "stream", ["campaigns", "message_analytics", "message_deliveries", "messages"]
)
def test_of_a_stream_without_a_bookmark_a_warning_says_what_is_missing(
    make_tap: MakeTap, stream: str
) -> None:
    tap = tap_for(make_tap, stream, "message_opens")
    kind = KINDS[stream]
    part = msg_ids(tap)[0] if "MsgIDs" in kind.arguments else list_ids(tap)[0]
    fail_calls(tap, lambda ask: ask.operation == kind.name and str(part) in part_of(ask).split(","))
    first = night(tap)
    assert first.code == 0
    assert stream in missing(tap, first)
    assert len(warnings(first, LEFT_OUT)) == 1
    assert list(first.state["bookmarks"]) == ["message_opens"]
    heal(tap)
    assert missing(tap, night(tap, 1, first)).keys() <= {"message_opens"}


# Held until the stream is answered.


@CONCURRENCIES
@pytest.mark.parametrize("how", ["page", "empty", "unreadable"])
def test_a_failed_part_is_held_until_a_later_call_of_its_stream_is_answered(
    make_tap: MakeTap, concurrency: int, how: str
) -> None:
    tap = tap_for(make_tap, "message_opens", account=tiny_account(12), concurrency=concurrency)
    bad, answered = msg_ids(tap)[:8], msg_ids(tap)[8]
    fail(tap, "message_opens", REFUSED, MsgID=bad)
    fail(tap, "message_opens", REFUSED, MsgID=msg_ids(tap)[9:])

    def rule(ask: Ask) -> Reply | None:
        if ask.arguments.get("MsgID") != str(answered) or how == "page":
            return None
        honest = ask.honest()
        if how == "empty":
            return replace(ask, arguments={**ask.arguments, "Page": "9"}).honest()
        return replace(honest, body=honest.body.replace(b"<OpenDate>", b"<OpenDate><b/>"))

    tap.service.rules.append(rule)
    run = night(tap)
    assert [each["parent_id"] for each in set_aside(run)] == bad
    assert run.code == 3
    # What cannot be read is held itself, with those after it.
    (place,) = run.state["bookmarks"]["message_opens"]["unfinished"]
    assert place["place"]["parent_id"] == (bad[-1] if how == "unreadable" else answered)


@pytest.mark.parametrize(("bad", "code"), [(5, 0), (6, 3)])
def test_at_most_five_are_set_aside_at_the_end_of_a_range(
    make_tap: MakeTap, bad: int, code: int
) -> None:
    tap = tap_for(make_tap, "message_opens", "message_clicks", account=tiny_account(7))
    fail(tap, "message_opens", REFUSED, MsgID=msg_ids(tap)[-bad:])
    run = night(tap)
    assert run.code == code
    assert len(set_aside(run)) == (0 if code else bad)
    opens = run.state["bookmarks"]["message_opens"]
    assert bool(opens["OpenDate"]) == (code == 0)
    if code:
        assert opens["unfinished"][0]["place"]["parent_id"] == msg_ids(tap)[-bad - 1]
    heal(tap)
    rest = night(tap, 1, run)
    assert (rest.code, set_aside(rest)) == (0, [])
    assert missing(tap, run, rest) == {}


def test_nothing_is_set_aside_of_a_stream_that_was_never_answered(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens", "message_clicks")
    fail(tap, "message_opens")
    run = night(tap)
    assert run.code == 1
    assert set_aside(run) == []
    assert run.state["bookmarks"]["message_opens"]["OpenDate"] is None


def test_one_of_several_that_is_answered_is_taken_out_and_the_others_stay(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, account=tiny_account(4))
    one, two, three = msg_ids(tap)[:3]
    fail(tap, "message_opens", MsgID=[one, two, three])
    first = night(tap)
    heal(tap)
    fail(tap, "message_opens", MsgID=[one, three])
    second = night(tap, 1, first)
    assert [each["parent_id"] for each in set_aside(second)] == [one, three]
    assert second.code == 0
    assert len(warnings(second, "Still set aside")) == 2


def test_an_exception_beside_rows_sets_its_message_aside(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_sends")
    msg_id = msg_ids(tap)[0]
    tap.service.rules.append(
        lambda ask: (
            with_exception(ask, "Timeout expired.", rows=True)
            if ask.arguments.get("MsgID") == str(msg_id)
            else None
        )
    )
    run = night(tap)
    assert missing(tap, run) == {"message_sends": 5}
    assert [each["parent_id"] for each in set_aside(run)] == [msg_id]


# What is never retried, or given up.


def drop_after_thirty_days(tap: Tap, first: Run) -> None:
    """Play the nights in which what is set aside is absent."""
    (owed,) = set_aside(first)
    run = first
    for number in (1, 2, 30):
        run = night(tap, number, run)
        assert run.code == 0
        (still,) = set_aside(run)
        assert still == {**owed, "end": still["end"], "absent_since": instant(1)}
        assert not warnings(run, "given up")
    last = night(tap, 31, run)
    (warning,) = warnings(last, "given up")
    assert str(owed.get("parent_id") or owed["list_id"]) in warning
    assert (last.code, set_aside(last)) == (0, [])


def test_what_is_absent_and_fails_for_thirty_days_is_given_up(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap)
    msg_id = msg_ids(tap)[0]
    fail(tap, "message_opens", MsgID=msg_id)
    first = night(tap)
    tap.service.account.hide_message(msg_id)
    drop_after_thirty_days(tap, first)


def test_so_is_a_conversation(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "conversation_opens")
    odd = tap.service.account.conversation_ids(list_ids(tap)[0])[0]
    fail(tap, "conversation_opens", ConversationID=odd)
    first = night(tap)
    tap.service.account.hide_conversation(odd)
    drop_after_thirty_days(tap, first)


def test_so_is_a_window_of_a_list_that_has_gone(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "subscribed_contacts")
    list_id = list_ids(tap)[0]
    fail(tap, "subscribed_contacts", ListID=list_id)
    first = night(tap)
    tap.service.account.hide_list(list_id)
    drop_after_thirty_days(tap, first)


def test_what_comes_back_or_is_answered_is_not_given_up(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens")
    msg_id, account = msg_ids(tap)[0], tap.service.account
    fail(tap, "message_opens", MsgID=msg_id)
    first = night(tap)
    account.hide_message(msg_id)
    absent = night(tap, 20, first)
    assert set_aside(absent)[0]["absent_since"] == instant(20)
    account.add_message(list_ids(tap)[0], msg_id, datetime(2026, 6, 10))
    shown = night(tap, 40, absent)
    (owed,) = set_aside(shown)
    assert "absent_since" not in owed
    assert owed["failed_since"] == instant()
    heal(tap)
    assert set_aside(night(tap, 41, shown)) == []


def test_what_list_ids_leaves_out_is_kept_and_not_requested(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens")
    msg_id = msg_ids(tap)[0]
    fail(tap, "message_opens", MsgID=msg_id)
    first = night(tap)
    heal(tap)
    second = night(tap, 40, first, config={"list_ids": list_ids(tap)[1:]})
    assert set_aside(second) == set_aside(first)
    assert not calls(tap, "message_opens", MsgID=msg_id)


def test_what_a_later_start_date_leaves_out_is_dropped_once_that_is_covered(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, "message_opens")
    msg_id = msg_ids(tap)[0]
    fail(tap, "message_opens", MsgID=msg_id)
    first = night(tap)
    later = {"start_date": "2026-06-29T00:00:00Z"}
    second = night(tap, 1, first, config=later)
    assert not calls(tap, "message_opens", MsgID=msg_id)
    covers = [state["bookmarks"]["message_opens"] for state in second.states]
    for entry in covers:
        is_later = entry["covers"][0]["start_date"] == later["start_date"]
        assert bool(entry["set_aside"]) != is_later
    assert set_aside(second) == []


def test_a_deselected_stream_keeps_what_was_set_aside(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens", "message_clicks")
    fail(tap, "message_opens", MsgID=msg_ids(tap)[0])
    first = night(tap)
    second = night(tap, 1, first, catalog=catalog_of("message_clicks"))
    assert not calls(tap, "message_opens")
    assert set_aside(second) == set_aside(first)


# Windows of messages, and the conversations of a list.


def two_windows(make_tap: MakeTap, *streams: str, **config: Any) -> Tap:
    """A tap whose lists have their messages in three windows of 30 days."""
    account = small(messages=6)
    return tap_for(
        make_tap, *streams, account=account, start_date="2026-04-01", interval_days=30, **config
    )


@CONCURRENCIES
@pytest.mark.parametrize("reply", [REFUSED, Reply(b"", 503)], ids=["refused", "503"])
def test_a_window_of_messages_that_fails_costs_only_the_messages_sent_in_it(
    make_tap: MakeTap, concurrency: int, reply: Reply
) -> None:
    tap = two_windows(make_tap, concurrency=concurrency)
    one, _ = list_ids(tap)
    in_it = {
        int(str(row["MsgID"]))
        for row in tap.service.account.messages(one)
        if "2026-05-01" <= str(row["SendDate"]) < "2026-05-31"
    }
    assert 0 < len(in_it) < 6
    fail(tap, "messages", reply, ListID=one, StartDate="2026-04-30T23:59:59")
    first = night(tap)
    assert first.code == 0
    lost = missing(tap, first)
    assert lost["messages"] == len(in_it)
    assert lost["message_opens"] == sum(
        len(tap.service.account.events(OPEN, each)) for each in in_it
    )
    assert not lost.keys() & {"lists", "subscribed_contacts"}
    by_message = [each.name for each in STREAMS if each.is_published and each.parent is MESSAGES]
    owed = set_aside(first)
    assert [each["stream"] for each in owed] == by_message
    for each in owed:
        assert "parent_id" not in each
        assert (each["list_id"], each["start"]) == (one, "2026-04-01T00:00:00Z")
        assert (each["sent_from"], each["sent_to"]) == (
            "2026-05-01T00:00:00Z",
            "2026-05-31T00:00:00Z",
        )

    heal(tap)
    second = night(tap, 1, first)
    assert (second.code, set_aside(second)) == (0, [])
    assert missing(tap, first, second) == {}
    starts = {
        (int(ask.arguments["MsgID"]) in in_it, ask.arguments["StartDate"])
        for ask in calls(tap, "message_opens")
    }
    assert starts == {(True, "2026-04-01T00:00:00"), (False, wire(-1))}


def test_a_window_of_messages_that_fails_again_stays_set_aside_as_one(make_tap: MakeTap) -> None:
    tap = two_windows(make_tap, "message_opens")
    one, _ = list_ids(tap)
    fail(tap, "messages", ListID=one, StartDate="2026-04-30T23:59:59")
    first = night(tap)
    second = night(tap, 1, first)
    (owed,) = set_aside(second)
    assert (owed["start"], owed["end"]) == ("2026-04-01T00:00:00Z", instant(1))
    assert owed["failed_since"] == instant()
    fail(tap, "messages", ListID=one)
    third = night(tap, 2, second)
    assert third.code == 0
    heal(tap)
    rest = night(tap, 3, third)
    assert (set_aside(rest), missing(tap, first, second, third, rest)) == ([], {})


def test_a_list_all_of_whose_messages_fail_costs_no_other_list_and_not_its_contacts(
    make_tap: MakeTap,
) -> None:
    tap = two_windows(make_tap)
    one, other = list_ids(tap)
    fail(tap, "messages", ListID=one)
    first = night(tap)
    assert first.code == 0
    assert {row["ListID"] for row in first.records("messages")} == {other}
    assert {row["ListID"] for row in first.records("subscribed_contacts")} == {one, other}
    heal(tap)
    assert missing(tap, first, night(tap, 1, first)) == {}


def test_the_conversations_of_a_list_that_fail_are_set_aside_for_what_is_requested_by_them(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, "conversation_opens", "conversation_links", "complaints")
    one, _ = list_ids(tap)
    fail(tap, "conversations", REFUSED, ListID=one)
    first = night(tap)
    assert first.code == 0
    assert missing(tap, first).keys() == {"conversation_opens", "conversation_links"}
    (owed,) = set_aside(first)
    assert (owed["stream"], owed["list_id"]) == ("conversation_opens", one)
    assert not owed.keys() & {"parent_id", "sent_from", "sent_to"}
    heal(tap)
    second = night(tap, 1, first)
    assert set_aside(second) == []
    assert missing(tap, first, second) == {}


@pytest.mark.parametrize(
    ("stream", "child", "column"),
    [
        ("messages", "message_opens", "OrderTotal"),
        ("conversations", "conversation_opens", "ReadCount"),
    ],
)
def test_a_value_in_a_row_of_parents_costs_their_own_stream_alone(
    make_tap: MakeTap, stream: str, child: str, column: str
) -> None:
    tap = tap_for(make_tap, stream, child)
    one, _ = list_ids(tap)
    operation = BY_NAME[stream].operation

    def spoil(ask: Ask) -> Reply | None:
        if ask.operation != operation or ask.arguments["ListID"] != str(one):
            return None
        honest = ask.honest()
        start, end = f"<{column}>".encode(), f"</{column}>".encode()
        assert start in honest.body
        head, _, tail = honest.body.partition(start)
        return replace(honest, body=head + start + b"robot" + end + tail.partition(end)[2])

    tap.service.rules.append(spoil)
    run = night(tap)
    assert run.code == 0
    assert missing(tap, run) == {stream: 2}
    (warning,) = warnings(run, LEFT_OUT)
    assert column in warning
    assert "robot" not in run.err
    assert (set_aside(run), is_finished(run)) == ([], True)
    assert len([ask for ask in tap.service.asked if ask.operation == operation]) == 2


# Kills.


@CONCURRENCIES
@pytest.mark.usefixtures("state_behind_every_page")
def test_a_run_cut_off_anywhere_loses_nothing_of_what_was_set_aside(
    make_tap: MakeTap, concurrency: int
) -> None:
    streams = ("message_opens", "message_clicks", "list_hygiene", "conversation_reads")
    tap = tap_for(make_tap, *streams, concurrency=concurrency)
    one = list_ids(tap)[0]
    fail_calls(tap, lambda ask: ask.operation == OPEN and ask.arguments["Page"] > "1"
               and ask.arguments["MsgID"] == str(msg_ids(tap)[0]))  # fmt: skip
    fail(tap, "message_clicks", MsgID=msg_ids(tap)[-1])
    fail(tap, "list_hygiene", ListID=one)
    fail(tap, "conversation_reads", ConversationID=tap.service.account.conversation_ids(one)[0])
    first = night(tap)
    assert Counter(each["stream"] for each in set_aside(first)) == dict.fromkeys(streams, 1)
    heal(tap)
    for before in prefixes(first)[::5]:
        rest = night(tap, 1, before)
        assert (rest.code, set_aside(rest)) == (0, [])
        assert missing(tap, before, rest) == {}
    second = night(tap, 1, first)
    for before in prefixes(second)[:16:3]:
        rest = night(tap, 2, before)
        assert set_aside(rest) == []
        assert missing(tap, first, before, rest) == {}


# Many, and odd ones.


def test_more_than_a_thousand_are_all_retried_before_they_stop_their_stream(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, "message_opens")
    # Listrak refuses the MsgIDs that it does not know.
    bad = list(range(1, 1003))
    owed = [
        {"list_id": list_ids(tap)[0], "parent_id": each, "start": START, "end": instant(-1)}
        for each in [*bad, *msg_ids(tap)]
    ]
    entry = {"OpenDate": instant(-1), "set_aside": owed}
    run = night(tap, state={"bookmarks": {"message_opens": entry}})
    assert run.code != 0
    assert "1,000" in run.lines("CRITICAL")[0]
    assert [each["parent_id"] for each in set_aside(run)] == bad
    assert missing(tap, run) == {}


@pytest.mark.parametrize("code", ["[Report] [timeout] x", "Op(): [Report] [value] x"])
def test_an_unknown_code_is_a_refusal_whatever_it_is_called(make_tap: MakeTap, code: str) -> None:
    tap = tap_for(make_tap, "message_opens")
    bad = msg_ids(tap)[0]
    fail(tap, "message_opens", fault(code), MsgID=bad)
    run = night(tap)
    assert len(calls(tap, "message_opens", MsgID=bad)) == 1
    assert [each["parent_id"] for each in set_aside(run)] == [bad]


def test_a_count_that_cannot_be_read_and_is_not_selected_costs_nothing(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens")
    account = tap.service.account
    account.add_message(list_ids(tap)[0], 5, START[:19], OpenCount="1,234")
    account.add_event(BY_NAME["message_opens"].operation, 5, "a@example.com", "2026-06-20T00:00:00")
    run = night(tap)
    assert (run.code, set_aside(run), missing(tap, run)) == (0, [], {})
