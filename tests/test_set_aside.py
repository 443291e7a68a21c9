"""A part that fails costs only its own rows: it is set aside, and the next run retries it first."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from fake_listrak import Ask, Reply
from tap_listrak.streams import BY_NAME, MESSAGES, STREAMS
from tests.support.accounts import list_ids, small
from tests.support.faults import NOW, START, part_of, tiny_account
from tests.support.nights import (
    NOT_FOUND,
    REFUSED,
    calls,
    fail,
    fail_calls,
    heal,
    instant,
    missing,
    msg_ids,
    night,
    tap_for,
)
from tests.support.records import KINDS
from tests.support.runs import (
    OPEN,
    bookmarks,
    covers,
    entry,
    is_finished,
    place,
    prefixes,
    set_aside,
    starts,
    warnings,
)
from tests.support.tap import MakeTap, Tap

SET_ASIDE = "Set aside; the next run retries it first"
LEFT_OUT = "Skipped in this run; the next run requests it again"


def first_list(tap: Tap) -> int:
    return list_ids(tap.service.account)[0]


def pages_asked(tap: Tap, stream: str, **arguments: object) -> list[str]:
    return [ask.arguments["Page"] for ask in calls(tap, stream, **arguments)]


@pytest.mark.parametrize(("stream", "concurrency"), [("message_opens", 8), ("message_sends", 1)])
def test_a_message_that_fails_is_set_aside_until_it_is_answered(
    make_tap: MakeTap, stream: str, concurrency: int
) -> None:
    tap = tap_for(make_tap, concurrency=concurrency)
    msg_id = msg_ids(tap)[1]
    fail(tap, stream, MsgID=msg_id, Page=3)
    first = night(tap)
    assert (first.code, missing(tap, first)) == (0, {stream: 1})
    assert set(bookmarks(first).values()) == {instant()}
    (warning,) = warnings(first, SET_ASIDE)
    assert f"of message {msg_id} in list {first_list(tap)}, page 3" in warning
    (owed,) = set_aside(first)
    assert isinstance(owed.pop("digest"), str)
    assert owed.pop("sent_from") == owed.pop("sent_to")
    assert owed == {
        "stream": stream,
        "start": START,
        "end": instant(),
        "list_id": first_list(tap),
        "parent_id": msg_id,
        "page": 2,
        "failed_since": instant(),
    }

    second = night(tap, 1, first)
    assert pages_asked(tap, stream, MsgID=msg_id) == ["2", "3"], "it has one try"
    heal(tap)
    third = night(tap, 2, second)
    assert tap.service.asked[1].arguments["MsgID"] == str(msg_id), "it is first, after the lists"
    assert pages_asked(tap, stream, MsgID=msg_id) == ["2", "3", "4"]
    assert (set_aside(third), third.lines("WARNING")) == ([], [])
    assert missing(tap, first, second, third) == {}


def test_a_message_set_aside_is_requested_up_to_now(make_tap: MakeTap) -> None:
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
    asked = calls(tap, "message_opens", MsgID=msg_id)
    assert {ask.arguments["EndDate"] for ask in asked} == {instant(4)[:-1]}
    assert starts(asked) == {START[:-1]}
    assert missing(tap, first, second, third) == {}


@pytest.mark.parametrize(
    "stream", ["message_links", "list_unsubs", "complaints", "conversation_reads"]
)
def test_windows_conversations_and_totals_are_set_aside_as_messages_are(
    make_tap: MakeTap, stream: str
) -> None:
    # Windows are of 30 days: here there are two.
    tap = tap_for(make_tap, stream, start_date="2026-05-15T00:00:00Z")
    kind, list_id = KINDS[stream], first_list(tap)
    part = {
        "account": "",
        "list": str(list_id),
        "message": str(msg_ids(tap)[0]),
        "conversation": str(tap.service.account.conversation_ids(list_id)[0]),
    }[kind.asked_by]

    def is_bad(ask: Ask) -> bool:
        is_first = ask.arguments.get("StartDate", "2026-05") < "2026-06"
        return ask.operation == kind.name and part_of(ask) == part and is_first

    fail_calls(tap, is_bad)
    first = night(tap)
    assert (first.code, list(missing(tap, first))) == (0, [stream])
    (owed,) = set_aside(first)
    assert owed.get("list_id") == (list_id if part else None)
    heal(tap)
    second = night(tap, 1, first)
    assert is_bad(tap.service.asked[1])
    assert (set_aside(second), missing(tap, first, second)) == ([], {})


@pytest.mark.parametrize("stream", ["campaigns", "message_analytics", "messages"])
def test_a_stream_without_a_bookmark_comes_whole_in_the_next_run_and_a_warning_says_so(
    make_tap: MakeTap, stream: str
) -> None:
    tap = tap_for(make_tap, stream, "subscribed_contacts")
    kind = KINDS[stream]
    part = msg_ids(tap)[0] if "MsgIDs" in kind.arguments else first_list(tap)
    fail_calls(tap, lambda ask: ask.operation == kind.name and str(part) in part_of(ask).split(","))
    first = night(tap)
    assert (first.code, list(missing(tap, first))) == (0, [stream])
    assert len(warnings(first, LEFT_OUT)) == 1
    assert list(first.state["bookmarks"]) == ["subscribed_contacts"]
    heal(tap)
    assert missing(tap, first, night(tap, 1, first)) == {}


# Held until the stream is answered.


@pytest.mark.parametrize("how", ["page", "empty", "unreadable"])
def test_failed_parts_are_held_until_a_later_call_of_their_stream_is_answered(
    make_tap: MakeTap, how: str
) -> None:
    tap = tap_for(make_tap, "message_opens", account=tiny_account(12))
    bad, answered, after = msg_ids(tap)[:8], msg_ids(tap)[8], msg_ids(tap)[9:]
    fail(tap, "message_opens", REFUSED, MsgID=[*bad, *after])

    def rule(ask: Ask) -> Reply | None:
        if ask.arguments.get("MsgID") != str(answered) or how == "page":
            return None
        if how == "empty":
            return replace(ask, arguments={**ask.arguments, "Page": "9"}).honest()
        honest = ask.honest()
        return replace(honest, body=honest.body.replace(b"<OpenDate>", b"<OpenDate><b/>"))

    tap.service.rules.append(rule)
    run = night(tap)
    assert [each["parent_id"] for each in set_aside(run)] == bad
    # Those after it stay held. A part with an unreadable value is one of them.
    assert place(run)["parent_id"] == (bad[-1] if how == "unreadable" else answered)


@pytest.mark.parametrize(("bad", "code"), [(5, 0), (6, 3)])
def test_at_most_five_held_parts_are_set_aside_at_the_end_of_a_range(
    make_tap: MakeTap, bad: int, code: int
) -> None:
    tap = tap_for(make_tap, "message_opens", "message_clicks", account=tiny_account(7))
    fail(tap, "message_opens", REFUSED, MsgID=msg_ids(tap)[-bad:])
    run = night(tap)
    assert (run.code, len(set_aside(run))) == (code, 0 if code else bad)
    assert bookmarks(run)["message_opens"] == (None if code else instant())
    assert place(run).get("parent_id") == (msg_ids(tap)[-bad - 1] if code else None)
    heal(tap)
    rest = night(tap, 1, run)
    assert (rest.code, set_aside(rest), missing(tap, run, rest)) == (0, [], {})


def test_nothing_is_set_aside_of_a_stream_that_was_never_answered(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens", "message_clicks")
    fail(tap, "message_opens")
    run = night(tap)
    assert (run.code, set_aside(run)) == (1, [])
    assert bookmarks(run)["message_opens"] is None


# Retries.


def test_of_several_set_aside_those_that_are_answered_are_taken_out(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, account=tiny_account(4))
    one, two, three = msg_ids(tap)[:3]
    fail(tap, "message_opens", MsgID=[one, two, three])
    first = night(tap)
    heal(tap)
    fail(tap, "message_opens", MsgID=[one, three])
    second = night(tap, 1, first)
    assert [each["parent_id"] for each in set_aside(second)] == [one, three]
    assert (second.code, len(warnings(second, "Still set aside"))) == (0, 2)


def test_more_than_a_thousand_are_all_retried_before_they_stop_their_stream(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, "message_opens")
    # Listrak refuses the MsgIDs that it does not know.
    bad = list(range(1, 1003))
    owed = [
        {"list_id": first_list(tap), "parent_id": each, "start": START, "end": instant(-1)}
        for each in [*bad, *msg_ids(tap)]
    ]
    opens = {"OpenDate": instant(-1), "set_aside": owed}
    run = night(tap, state={"bookmarks": {"message_opens": opens}})
    assert run.code != 0
    assert "1,000" in run.lines("CRITICAL")[0]
    assert [each["parent_id"] for each in set_aside(run)] == bad
    assert missing(tap, run) == {}


def test_a_part_set_aside_whose_last_page_is_another_by_now_begins_at_its_first(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, "message_clicks")
    bad = msg_ids(tap)[0]
    fail(tap, "message_clicks", MsgID=bad, Page=3)
    first = night(tap)
    assert set_aside(first)[0]["page"] == 2
    heal(tap)
    account = tap.service.account
    account.page_size, account.version = 3, account.version + 1
    second = night(tap, 1, first)
    assert pages_asked(tap, "message_clicks", MsgID=bad)[:2] == ["2", "1"]
    assert missing(tap, first, second) == {}


@pytest.mark.usefixtures("state_after_every_page")
def test_a_run_that_is_cut_off_while_it_retries_loses_nothing_of_what_was_set_aside(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, "message_opens", "list_hygiene")
    fail(tap, "message_opens", MsgID=msg_ids(tap)[0], Page=2)
    fail(tap, "list_hygiene", ListID=first_list(tap))
    first = night(tap)
    assert len(set_aside(first)) == 2
    heal(tap)
    second = night(tap, 1, first)
    for before in prefixes(second)[:9:2]:
        rest = night(tap, 2, before)
        assert set_aside(rest) == []
        assert missing(tap, first, before, rest) == {}


# What is given up, kept or dropped.


@pytest.mark.parametrize("stream", ["message_opens", "conversation_opens", "subscribed_contacts"])
def test_what_is_absent_and_fails_for_thirty_days_is_given_up(
    make_tap: MakeTap, stream: str
) -> None:
    tap = tap_for(make_tap, stream)
    account, list_id = tap.service.account, first_list(tap)
    named, hide = {
        "message_opens": (msg_ids(tap)[0], account.hide_message),
        "conversation_opens": (account.conversation_ids(list_id)[0], account.hide_conversation),
        "subscribed_contacts": (list_id, account.hide_list),
    }[stream]
    operation = BY_NAME[stream].operation
    fail_calls(tap, lambda ask: ask.operation == operation and part_of(ask) == str(named))
    run = night(tap)
    (owed,) = set_aside(run)
    hide(named)
    for number in (1, 30):
        run = night(tap, number, run)
        (still,) = set_aside(run)
        assert still == {**owed, "end": still["end"], "absent_since": instant(1)}
    last = night(tap, 31, run)
    (warning,) = warnings(last, "Gave up")
    assert str(named) in warning
    assert (last.code, set_aside(last)) == (0, [])


def test_what_comes_back_is_not_given_up(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens")
    msg_id, account = msg_ids(tap)[0], tap.service.account
    fail(tap, "message_opens", MsgID=msg_id)
    first = night(tap)
    account.hide_message(msg_id)
    absent = night(tap, 20, first)
    assert set_aside(absent)[0]["absent_since"] == instant(20)
    account.add_message(first_list(tap), msg_id, datetime(2026, 6, 10))
    (owed,) = set_aside(night(tap, 60, absent))
    assert "absent_since" not in owed
    assert owed["failed_since"] == instant()


def test_what_list_ids_leaves_out_is_kept_and_not_requested(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens")
    msg_id = msg_ids(tap)[0]
    fail(tap, "message_opens", MsgID=msg_id)
    first = night(tap)
    heal(tap)
    config = {"list_ids": list_ids(tap.service.account)[1:]}
    second = night(tap, 40, first, config=config)
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
    for state in second.states:
        opens = state["bookmarks"]["message_opens"]
        is_later = opens["covers"][0]["start_date"] == later["start_date"]
        assert bool(opens["set_aside"]) != is_later
    assert covers(second)["start_date"] == later["start_date"]


@pytest.mark.parametrize("inner_first", [True, False])
def test_windows_that_overlap_are_taken_out_when_all_their_dates_are_answered(
    make_tap: MakeTap, inner_first: bool
) -> None:
    tap = tap_for(make_tap, "subscribed_contacts")
    state = copy.deepcopy(night(tap).state)
    outer, inner = (
        {
            "list_id": first_list(tap),
            "start": f"2026-{start}T00:00:00Z",
            "end": f"2026-{end}T00:00:00Z",
        }
        for start, end in (("06-11", "06-28"), ("06-15", "06-20"))
    )
    owed = [inner, outer] if inner_first else [outer, inner]
    state["bookmarks"]["subscribed_contacts"]["set_aside"] = owed
    assert set_aside(night(tap, 1, state=state)) == []


# Windows of messages, and the conversations of a list.


def three_windows(make_tap: MakeTap, *streams: str, **config: object) -> Tap:
    """A tap whose lists have their messages in three windows of 30 days."""
    config = {"start_date": "2026-04-01", "interval_days": 30, **config}
    return tap_for(make_tap, *streams, account=small(messages=6), **config)


MIDDLE = "2026-04-30T23:59:59"


@pytest.mark.parametrize(
    ("reply", "concurrency"), [(REFUSED, 1), (NOT_FOUND, 8)], ids=["refused", "404"]
)
def test_a_window_of_messages_that_fails_costs_only_the_messages_sent_in_it(
    make_tap: MakeTap, reply: Reply, concurrency: int
) -> None:
    tap = three_windows(make_tap, concurrency=concurrency)
    account, one = tap.service.account, first_list(tap)
    in_it = {
        int(str(row["MsgID"]))
        for row in account.messages(one)
        if "2026-05-01" <= str(row["SendDate"]) < "2026-05-31"
    }
    assert 0 < len(in_it) < 6
    fail(tap, "messages", reply, ListID=one, StartDate=MIDDLE)
    first = night(tap)
    lost = missing(tap, first)
    assert (first.code, lost["messages"]) == (0, len(in_it))
    assert lost["message_opens"] == sum(len(account.rows(OPEN, each)) for each in in_it)
    assert not lost.keys() & {"lists", "subscribed_contacts"}
    by_message = [each.name for each in STREAMS if each.is_published and each.parent is MESSAGES]
    assert [each["stream"] for each in set_aside(first)] == by_message
    for each in set_aside(first):
        assert "parent_id" not in each
        assert (each["list_id"], each["start"]) == (one, "2026-04-01T00:00:00Z")
        sent = each["sent_from"], each["sent_to"]
        assert sent == ("2026-05-01T00:00:00Z", "2026-05-31T00:00:00Z")

    heal(tap)
    second = night(tap, 1, first)
    assert (second.code, set_aside(second), missing(tap, first, second)) == (0, [], {})
    asked_from = {
        (int(ask.arguments["MsgID"]) in in_it, ask.arguments["StartDate"])
        for ask in calls(tap, "message_opens")
    }
    assert asked_from == {(True, "2026-04-01T00:00:00"), (False, instant(-1)[:-1])}


def test_a_window_of_messages_that_fails_again_stays_set_aside_as_one(make_tap: MakeTap) -> None:
    tap = three_windows(make_tap, "message_opens")
    fail(tap, "messages", ListID=first_list(tap), StartDate=MIDDLE)
    first = night(tap)
    second = night(tap, 1, first)
    (owed,) = set_aside(second)
    assert (owed["start"], owed["end"]) == ("2026-04-01T00:00:00Z", instant(1))
    assert owed["failed_since"] == instant()
    heal(tap)
    rest = night(tap, 3, second)
    assert (set_aside(rest), missing(tap, first, second, rest)) == ([], {})


def test_a_window_of_messages_is_taken_out_by_the_next_run_also_if_the_zone_has_changed(
    make_tap: MakeTap,
) -> None:
    tap = three_windows(make_tap, "message_opens")
    fail(tap, "messages", ListID=first_list(tap), StartDate=MIDDLE)
    first = night(tap)
    heal(tap)
    config = {"timezone": "America/New_York"}
    second = tap.run(clock=lambda: NOW + timedelta(hours=12), state=first.state, config=config)
    assert (second.code, set_aside(second)) == (0, [])


def test_a_list_all_of_whose_messages_fail_costs_no_other_list_and_not_its_contacts(
    make_tap: MakeTap,
) -> None:
    tap = three_windows(make_tap)
    one, other = list_ids(tap.service.account)
    fail(tap, "messages", ListID=one)
    first = night(tap)
    assert first.code == 0
    assert {row["ListID"] for row in first.records("messages")} == {other}
    assert {row["ListID"] for row in first.records("subscribed_contacts")} == {one, other}
    heal(tap)
    assert missing(tap, first, night(tap, 1, first)) == {}


def test_the_conversations_of_a_list_that_fail_are_set_aside_for_their_streams(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, "conversation_opens", "conversation_links", "complaints")
    fail(tap, "conversations", REFUSED, ListID=first_list(tap))
    first = night(tap)
    assert first.code == 0
    assert missing(tap, first).keys() == {"conversation_opens", "conversation_links"}
    (owed,) = set_aside(first)
    assert (owed["stream"], owed["list_id"]) == ("conversation_opens", first_list(tap))
    assert not owed.keys() & {"parent_id", "sent_from", "sent_to"}
    heal(tap)
    second = night(tap, 1, first)
    assert (set_aside(second), missing(tap, first, second)) == ([], {})


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
    operation, bad = BY_NAME[stream].operation, str(first_list(tap))

    def spoil(ask: Ask) -> Reply | None:
        if ask.operation != operation or ask.arguments["ListID"] != bad:
            return None
        honest = ask.honest()
        head, start, tail = honest.body.partition(f"<{column}>".encode())
        return replace(honest, body=head + start + b"robot" + tail)

    tap.service.rules.append(spoil)
    run = night(tap)
    assert (run.code, missing(tap, run)) == (0, {stream: 2})
    (warning,) = warnings(run, LEFT_OUT)
    assert column in warning
    assert "robot" not in run.err
    assert (set_aside(run), is_finished(run.state)) == ([], True)


def test_an_unreadable_count_of_a_message_that_is_not_selected_costs_nothing(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, "message_opens")
    account = tap.service.account
    account.add_message(first_list(tap), 5, START[:19], OpenCount="1,234")
    account.add_event(OPEN, 5, "a@example.com", "2026-06-20T00:00:00")
    run = night(tap)
    assert (run.code, set_aside(run), missing(tap, run)) == (0, [], {})
    assert entry(run)["OpenDate"] == instant()
