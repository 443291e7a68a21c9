"""A stream of which too much fails is stopped alone, and costs no more in the next night."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

import pytest

from fake_listrak import Account, Ask, Reply, fault
from fake_listrak.contract import MESSAGE_OPERATIONS
from tap_listrak.streams import BY_NAME
from tests.support.faults import START, UNREADABLE
from tests.support.nights import (
    NOT_FOUND,
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
)
from tests.support.runs import prefixes
from tests.support.tap import MakeTap, Run, Tap

OPEN = BY_NAME["message_opens"].operation
MAX_CALLS = 150
TOO_BUSY = fault(UNREADABLE)


def account_of(messages: int, lists: int = 1) -> Account:
    """An account whose messages have two rows of each kind, on one page."""
    return Account(
        lists=lists,
        messages=messages,
        contacts=3,
        counts=dict.fromkeys(MESSAGE_OPERATIONS, 2),
        start=datetime(2026, 6, 10),
        end=datetime(2026, 6, 30),
    )


def criticals(run: Run) -> str:
    """The one CRITICAL line of a run."""
    (line,) = run.lines("CRITICAL")
    return line


@pytest.mark.parametrize(("reply", "code"), [(REFUSED, 3), (NOT_FOUND, 1)], ids=["refused", "404"])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_dead_operation_costs_its_stream_alone(
    make_tap: MakeTap, concurrency: int, reply: Reply, code: int
) -> None:
    tap = tap_for(make_tap, account=account_of(21, lists=2), concurrency=concurrency)
    fail(tap, "message_opens", reply)
    run = night(tap)
    assert run.code == code
    assert missing(tap, run) == {"message_opens": 42 * 2}
    assert criticals(run).startswith(
        "CRITICAL Stopped 1 of the streams; everything else was synced"
    )
    assert "message_opens: " in criticals(run)
    assert "a later start_date" in criticals(run)
    assert bookmarks(run) == {instant(), None}
    assert set_aside(run) == []
    heal(tap)
    rest = night(tap, 1, run)
    assert (rest.code, missing(tap, run, rest)) == (0, {})
    assert bookmarks(rest) == {instant(1)}


@pytest.mark.parametrize("reply", [REFUSED, NOT_FOUND], ids=["refused", "404"])
@pytest.mark.parametrize("concurrency", [1, 32])
def test_a_dead_operation_costs_no_more_in_its_tenth_night(
    make_tap: MakeTap, concurrency: int, reply: Reply
) -> None:
    tap = tap_for(make_tap, "message_opens", account=account_of(220), concurrency=concurrency)
    fail(tap, "message_opens", reply)
    run, cost = None, []
    for number in (1, 2, 10):
        run = night(tap, number, run)
        assert (run.code, set_aside(run)) == (3 if reply is REFUSED else 1, [])
        cost.append(len(calls(tap, "message_opens")))
    assert max(cost) <= MAX_CALLS
    # With more than one call at a time, some are under way when the stream is stopped.
    assert max(cost[1:]) < cost[0] + concurrency
    heal(tap)
    rest = night(tap, 11, run)
    assert (rest.code, missing(tap, rest)) == (0, {})


def test_an_operation_that_dies_after_a_good_night_owes_from_there(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens", account=account_of(12))
    run = first = night(tap)
    fail(tap, "message_opens")
    for number in (1, 2, 3):
        run = night(tap, number, run)
        assert (run.code, set_aside(run), bookmarks(run)) == (1, [], {instant()})
    heal(tap)
    tap.service.account.add_event(OPEN, msg_ids(tap)[0], "new@example.com", datetime(2026, 7, 2))
    assert missing(tap, first, night(tap, 4, run)) == {}


@pytest.mark.parametrize("concurrency", [1, 8])
def test_more_than_a_hundred_failed_parts_stop_a_stream_and_the_next_night_gets_past_them(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tap_for(
        make_tap, "message_opens", "message_clicks", account=account_of(206),
        concurrency=concurrency,
    )  # fmt: skip
    bad = msg_ids(tap)[::2]
    fail(tap, "message_opens", REFUSED, MsgID=bad)
    first = night(tap)
    assert first.code == 3
    assert "more than 100 parts failed" in criticals(first)
    assert [each["parent_id"] for each in set_aside(first)] == bad[:100]
    assert missing(tap, first).keys() == {"message_opens"}
    # Those that are retried first do not count.
    second = night(tap, 1, first)
    assert second.code == 0
    assert len(calls(tap, "message_opens", MsgID=bad[0])) == 1
    assert {each["parent_id"] for each in set_aside(second)} == set(bad)
    assert missing(tap, first, second) == {"message_opens": 2 * len(bad)}
    heal(tap)
    assert missing(tap, first, second, night(tap, 2, second)) == {}


def test_a_thousand_parts_may_be_set_aside_and_one_more_stops_the_stream(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, "message_opens", "message_clicks", account=account_of(3, lists=2))
    one, other = list_ids(tap)
    # Earlier runs set aside others of a list that `list_ids` leaves out.
    owed = {"list_id": other, "start": START, "end": instant()}
    entry = {"OpenDate": instant(), "set_aside": [{**owed, "parent_id": n} for n in range(999)]}
    state: Any = {"bookmarks": {"message_opens": entry}}
    fail(tap, "message_opens", MsgID=msg_ids(tap)[0])
    within = night(tap, 1, state=state, config={"list_ids": [one]})
    assert (within.code, len(set_aside(within))) == (0, 1000)
    entry["set_aside"].append({**owed, "parent_id": 999})  # type: ignore[attr-defined] # a list
    beyond = night(tap, 1, state=state, config={"list_ids": [one]})
    assert beyond.code == 1
    assert "more than 1,000 parts are set aside" in criticals(beyond)
    assert missing(tap, beyond).keys() == {"message_opens", "message_clicks"}


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_request_that_listrak_cannot_read_stops_its_stream_at_once(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tap_for(make_tap, account=account_of(12), concurrency=concurrency)
    fail(tap, "message_clicks", TOO_BUSY)
    run = night(tap)
    assert run.code == 1
    assert len(calls(tap, "message_clicks")) <= concurrency
    assert missing(tap, run) == {"message_clicks": 24}
    assert (set_aside(run), warnings(run, "retry")) == ([], [])


@pytest.mark.parametrize(("second", "code"), [(REFUSED, 3), (NOT_FOUND, 1)])
def test_one_line_names_every_stopped_stream_and_the_code_is_3_if_all_were_refused(
    make_tap: MakeTap, second: Reply, code: int
) -> None:
    tap = tap_for(make_tap, "lists", "message_opens", "message_clicks", "complaints")
    fail(tap, "message_opens", REFUSED)
    fail(tap, "complaints", second)
    run = night(tap)
    assert run.code == code
    assert "Stopped 2 of the streams" in criticals(run)
    for stream in ("message_opens: ", "complaints: "):
        assert stream in criticals(run)
    assert "message_clicks" not in criticals(run)
    assert missing(tap, run).keys() == {"message_opens", "complaints"}
    assert run.messages[-1]["type"] == "STATE"


@pytest.mark.parametrize("stream", ["messages", "campaigns", "message_analytics", "conversations"])
def test_a_stream_without_a_bookmark_is_stopped_too(make_tap: MakeTap, stream: str) -> None:
    tap = tap_for(make_tap, stream, "subscribed_contacts")
    fail(tap, stream, REFUSED)
    run = night(tap)
    assert run.code == 3
    assert f"{stream}: " in criticals(run)
    assert missing(tap, run).keys() == {stream}


@pytest.mark.parametrize("reply", [NOT_FOUND, REFUSED, TOO_BUSY], ids=["404", "refused", "unread"])
def test_lists_that_cannot_be_had_end_the_run_with_the_state_that_was_given(
    make_tap: MakeTap, reply: Reply
) -> None:
    tap = tap_for(make_tap)
    first = night(tap)
    fail(tap, "lists", reply)
    run = night(tap, 1, first)
    assert run.code == (3 if reply is REFUSED else 1)
    assert "lists" in criticals(run)
    assert [each["value"] for each in run.messages] == [first.state]
    assert len(tap.service.asked) == (5 if reply is NOT_FOUND else 1)


# Two passes.


def cut_off(run: Run, lists_done: int) -> Run:
    """What a run would have left, had it ended once it was done with so many lists."""
    for each in prefixes(run):
        entries = each.state["bookmarks"].values()
        if entries and all(
            unfinished and len(unfinished[0].get("list_ids", ())) == lists_done
            for unfinished in (entry["unfinished"] for entry in entries)
        ):
            return each
    raise AssertionError("no such state")


def test_a_run_after_one_that_was_cut_off_is_complete_up_to_its_own_time(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, account=account_of(4, lists=2))
    cut = cut_off(night(tap), 1)
    for msg_id in msg_ids(tap):
        tap.service.account.add_event(OPEN, msg_id, "new@example.com", datetime(2026, 7, 1, 9))
    second = night(tap, 1, cut)
    assert (second.code, missing(tap, cut, second)) == (0, {})
    assert (bookmarks(second), is_finished(second)) == ({instant(1)}, True)


@pytest.mark.parametrize("is_answered", [True, False])
def test_what_the_first_pass_holds_the_second_settles(make_tap: MakeTap, is_answered: bool) -> None:
    tap = tap_for(make_tap, "message_opens", account=account_of(10, lists=2))
    cut = cut_off(night(tap), 1)
    bad = msg_ids(tap)[10:] if is_answered else msg_ids(tap)
    fail(tap, "message_opens", MsgID=bad)
    second = night(tap, 1, cut)
    entry = second.state["bookmarks"]["message_opens"]
    if is_answered:
        # The first list answers in the second pass. At its end all of the second list is held.
        assert [each["parent_id"] for each in entry["set_aside"]] == bad
        assert {each["end"] for each in entry["set_aside"]} == {instant()}
        assert (entry["OpenDate"], entry["unfinished"][0]["end"]) == (instant(), instant(1))
    else:
        before = cut.state["bookmarks"]["message_opens"]
        assert (entry["OpenDate"], entry["set_aside"]) == (None, [])
        assert entry["unfinished"] == before["unfinished"]
    assert second.code == 1
    heal(tap)
    third = night(tap, 2, second)
    assert (third.code, missing(tap, cut, second, third)) == (0, {})
    assert (set_aside(third), bookmarks(third)) == ([], {instant(2)})


# A service that goes away.


def outage(tap: Tap, seconds: float) -> Any:
    """Let the service go away in the midst of the run; return the sleep that ends it in time."""
    lock, waited = threading.Lock(), [0.0]

    def go(ask: Ask) -> bool:
        if ask.operation.endswith("Click") and not waited[0]:
            waited[0] = 0.001
            tap.service.refuse_connections()
        return False

    def sleep(wait: float) -> None:
        with lock:
            was, waited[0] = waited[0], waited[0] + wait
            if was < seconds <= waited[0]:
                tap.service.accept_again()

    fail_calls(tap, go)
    return sleep


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_service_that_goes_away_for_90_seconds_costs_one_warning_and_nothing_else(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tap_for(make_tap, account=account_of(6), concurrency=concurrency)
    run = night(tap, sleep=outage(tap, 90))
    assert (run.code, missing(tap, run), set_aside(run)) == (0, {}, [])
    assert len(warnings(run, "until the service is reachable")) == 1
    # A call that was under way when the connections broke is retried as ever.
    assert len(run.lines("WARNING")) <= 1 + concurrency


def test_a_service_that_is_gone_for_longer_than_five_minutes_ends_the_run_after_a_state(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, account=account_of(6), concurrency=4)
    run = night(tap, sleep=outage(tap, 10_000))
    assert run.code == 1
    assert "Cannot connect to Listrak" in criticals(run)
    assert run.messages[-1]["type"] == "STATE"
    assert (set_aside(run), is_finished(run)) == ([], False)
    heal(tap)
    tap.service.accept_again()
    rest = night(tap, 1, run)
    assert (rest.code, missing(tap, run, rest)) == (0, {})
