"""A stream of which too much fails is stopped alone, and costs no more in the next night."""

from dataclasses import replace
from datetime import datetime

import pytest

from fake_listrak import Account, Reply, fault
from fake_listrak.contract import MESSAGE_OPERATIONS
from tests.support.faults import START, UNREADABLE
from tests.support.runs import OPEN, REFUSED, instant, tap_for
from tests.support.tap import NOT_FOUND, MakeTap, Run


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


def critical(run: Run) -> str:
    """The one CRITICAL line of a run."""
    (line,) = run.lines("CRITICAL")
    return line


# How many calls at most: of each message once, or those that are under way.
@pytest.mark.parametrize(
    ("reply", "code", "most"),
    [(REFUSED, 3, 16), (NOT_FOUND, 1, 36), (fault(UNREADABLE), 1, 4)],
    ids=["refused", "404", "unreadable"],
)
def test_a_dead_operation_costs_its_stream_only(
    make_tap: MakeTap, reply: Reply, code: int, most: int
) -> None:
    tap = tap_for(make_tap, account=account_of(8, lists=2), concurrency=4)
    tap.fail("message_opens", reply)
    run = tap.night()
    assert (run.code, tap.missing(run), run.set_aside) == (code, {"message_opens": 32}, [])
    assert len(tap.calls("message_opens")) <= most
    assert "Stopped 1 of the streams; everything else was synced" in critical(run)
    assert "message_opens: " in critical(run)
    assert "a later start_date" in critical(run)
    assert run.bookmarks.pop("message_opens") is None
    tap.heal()
    rest = tap.night(1, run)
    assert (rest.code, tap.missing(run, rest)) == (0, {})
    assert set(rest.bookmarks.values()) == {instant(1)}


# A hundred and one that fail and about seven requested meanwhile; and twenty retries in all.
@pytest.mark.parametrize(
    ("reply", "concurrency", "most"), [(replace(REFUSED, delay=0.02), 32, 115), (NOT_FOUND, 1, 130)]
)
def test_a_dead_operation_costs_no_more_in_its_tenth_night(
    make_tap: MakeTap, reply: Reply, concurrency: int, most: int
) -> None:
    tap = tap_for(make_tap, "message_opens", account=account_of(300), concurrency=concurrency)
    tap.fail("message_opens", reply)
    run = None
    for number in (1, 2, 10):
        run = tap.night(number, run)
        assert run.set_aside == []
        assert 100 < len(tap.calls("message_opens")) <= most


def test_an_operation_that_dies_after_a_good_night_resumes_from_there(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens", account=account_of(12))
    run = first = tap.night()
    tap.fail("message_opens")
    for number in (1, 2):
        run = tap.night(number, run)
        assert (run.code, run.set_aside, run.entry()["OpenDate"]) == (1, [], instant())
    tap.heal()
    tap.service.account.add_event(OPEN, tap.msg_ids()[0], "new@example.com", datetime(2026, 7, 2))
    assert tap.missing(first, tap.night(4, run)) == {}


def test_a_hundred_and_one_failures_stop_a_stream_until_the_next_night(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens", account=account_of(206), concurrency=8)
    bad = tap.msg_ids()[::2]
    tap.fail("message_opens", REFUSED, MsgID=bad)
    first = tap.night()
    assert first.code == 3
    assert "more than 100 parts failed" in critical(first)
    assert [each["parent_id"] for each in first.set_aside] == bad[:100]
    # Those that are retried first do not count.
    second = tap.night(1, first)
    assert (second.code, {each["parent_id"] for each in second.set_aside}) == (0, set(bad))
    assert tap.missing(first, second) == {"message_opens": 2 * len(bad)}


def test_a_thousand_parts_may_be_set_aside_and_one_more_stops_the_stream(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens", account=account_of(3, lists=2))
    one, other = tap.list_ids
    bad, *good = tap.msg_ids()[:3]
    tap.fail("message_opens", MsgID=bad)

    def run_with(list_id: int, *owed: int) -> Run:
        dates = {"start": START, "end": instant()}
        aside = [{"list_id": list_id, "parent_id": each, **dates} for each in owed]
        state = {"bookmarks": {"message_opens": {"OpenDate": instant(), "set_aside": aside}}}
        return tap.night(1, state=state, config={"list_ids": [one]})

    # Those of a list that `list_ids` leaves out are not retried.
    within = run_with(other, *range(999))
    assert (within.code, len(within.set_aside)) == (0, 1000)
    # Listrak refuses the MsgIDs that it does not know.
    beyond = run_with(one, *range(1, 1001), *good)
    assert beyond.code == 1
    assert "more than 1,000 parts are set aside" in critical(beyond)
    assert [each["parent_id"] for each in beyond.set_aside] == [*range(1, 1001), bad]
    assert {row["MsgID"] for row in beyond.records("message_opens")} == {*good}


@pytest.mark.parametrize(("second", "code"), [(REFUSED, 3), (NOT_FOUND, 1)])
def test_one_line_names_every_stopped_stream_and_the_code_is_3_if_all_were_refused(
    make_tap: MakeTap, second: Reply, code: int
) -> None:
    # Of these, messages and campaigns have no bookmark.
    stopped = ("messages", "campaigns", "complaints")
    tap = tap_for(make_tap, "lists", "subscribed_contacts", *stopped)
    for stream in stopped:
        tap.fail(stream, second if stream == "complaints" else REFUSED)
    run = tap.night()
    assert run.code == code
    assert "Stopped 3 of the streams" in critical(run)
    assert all(f"{stream}: " in critical(run) for stream in stopped)
    assert tap.missing(run).keys() == {*stopped}
    assert run.messages[-1]["type"] == "STATE"
