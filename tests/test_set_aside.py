"""What fails for good is set aside: it costs only itself, and is asked for first in every run."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fake_listrak import Ask, Reply, fault, html, with_exception
from fake_listrak.contract import CONVERSATION_OPERATIONS, MESSAGE_OPERATIONS
from fake_listrak.further import PASSALONGS
from tap_listrak.streams import BY_NAME, PARENTS, STREAMS
from tests.support.faults import part_of
from tests.support.records import KINDS
from tests.support.runs import (
    BOOKMARKS,
    CLICK,
    CONCURRENCIES,
    CONTACTS,
    NOW,
    OPEN,
    asked_in,
    at,
    bookmarks,
    debts,
    debts_of,
    is_page,
    pages,
    prefixes,
    rows,
    text,
    tiny_tap,
    wire,
)
from tests.support.tap import MakeTap, Run, Tap, catalog_of, selecting

SENT = BY_NAME["message_sends"].operation
REMOVAL = BY_NAME["message_unsubs"].operation
LATER = NOW + timedelta(days=1)
Which = Callable[[Ask], bool]


def account_of_pages(make_tap: MakeTap, concurrency: int, **more: Any) -> Tap:
    """A tap for a small account whose messages all have three pages of opens and sends."""
    counts = dict.fromkeys((*MESSAGE_OPERATIONS, PASSALONGS, *CONVERSATION_OPERATIONS), 3)
    return tiny_tap(make_tap, concurrency, counts={**counts, OPEN: 7, SENT: 7}, **more)


def refuse(tap: Tap, which: Which, reply: Reply | None = None) -> None:
    """Answer these calls with an HTML page of status 404, or with this reply, from now on."""
    tap.service.rules.append(lambda ask: (reply or html(404)) if which(ask) else None)


def answer_again(tap: Tap) -> None:
    """Refuse no call any more."""
    tap.service.rules.clear()


def of_message(MsgID: int, operation: str = OPEN, since: int = 1) -> Which:
    def which(ask: Ask) -> bool:
        asked = ask.operation, ask.arguments.get("MsgID")
        return asked == (operation, str(MsgID)) and int(ask.arguments["Page"]) >= since

    return which


def MsgIDs(tap: Tap) -> list[int]:  # noqa: N802 - Listrak's own noun
    """The messages, in the order of the walk."""
    sent = [
        (ListID, str(each["SendDate"]), int(str(each["MsgID"])))
        for ListID in ListIDs(tap)
        for each in tap.service.account.messages(ListID)
    ]
    return [MsgID for _, _, MsgID in sorted(sent)]


def ListIDs(tap: Tap) -> list[int]:  # noqa: N802 - Listrak's own noun
    return sorted(int(str(each["ListID"])) for each in tap.service.account.lists())


def asked_before_the_walk(asked: list[Ask]) -> list[tuple[str, dict[str, str]]]:
    """The calls for pages that came before any for the messages of a list."""
    walk = BY_NAME["messages"].operation
    before = itertools.takewhile(lambda ask: ask.operation != walk, asked)
    return [(ask.operation, dict(ask.arguments)) for ask in before if is_page(ask)]


def missing(whole: Run, *runs: Run) -> set[tuple[str, int]]:
    """By stream and message or list, where rows of the whole have not come."""
    lost = set()
    for name, row in rows(whole) - rows(*runs):
        record = json.loads(row)
        lost.add((name, record.get("MsgID") or record["ListID"]))
    return lost


@CONCURRENCIES
@pytest.mark.parametrize("operation", [OPEN, SENT])
def test_a_message_that_fails_costs_only_itself_and_is_asked_for_first_until_it_is_answered(
    make_tap: MakeTap, concurrency: int, operation: str
) -> None:
    tap = account_of_pages(make_tap, concurrency, messages=4)
    (stream,) = (name for name, each in BY_NAME.items() if each.operation == operation)
    whole = tap.run(clock=at(NOW))
    MsgID = MsgIDs(tap)[0]
    refuse(tap, of_message(MsgID, operation, since=3))
    first, asked = asked_in(tap, clock=at(NOW))
    assert first.code == 0
    assert missing(whole, first) == {(stream, MsgID)}
    assert set(bookmarks(first).values()) == {text(NOW)}
    assert "\n".join(first.lines("WARNING")).count("Set aside") == 1
    of_page = Counter(ask.arguments["Page"] for ask in asked if of_message(MsgID, operation)(ask))
    assert of_page["3"] == 5
    (debt,) = debts(first)
    assert isinstance(debt["Digest"], str)
    assert debt == {
        "stream": stream,
        "ListID": ListIDs(tap)[0],
        "MsgID": MsgID,
        "start": "2026-02-01T00:00:00Z",
        "end": text(NOW),
        "Page": 2,
        "Digest": debt["Digest"],
        "failed_since": text(NOW),
        "absent_since": None,
    }

    second, asked = asked_in(tap, clock=at(LATER), state=first.state)
    assert second.code == 0
    range_owed = {"StartDate": "2026-02-01T00:00:00", "EndDate": wire(NOW)}
    owing = {"MsgID": str(MsgID), **(range_owed if operation == OPEN else {})}
    assert asked_before_the_walk(asked) == [
        (operation, {**owing, "Page": "2"}),
        (operation, {**owing, "Page": "3"}),
    ]
    assert len([ask for ask in asked if of_message(MsgID, operation)(ask)]) == 2
    assert set(bookmarks(second).values()) == {text(LATER)}
    (debt_after,) = debts(second)
    failed = {"failed_since": text(LATER)}
    if operation == OPEN:
        # This run's range was not asked for either, and its pages are other pages.
        assert debt_after == {**debt, **failed, "end": text(LATER), "Page": None, "Digest": None}
    else:
        # This run asks no message so old for its sends.
        assert debt_after == {**debt, **failed}

    answer_again(tap)
    third, asked = asked_in(tap, clock=at(LATER), state=second.state)
    if operation == OPEN:
        owing["EndDate"] = wire(LATER)
    first_page = 1 if operation == OPEN else 2
    assert asked_before_the_walk(asked) == [
        (operation, {**owing, "Page": str(page)}) for page in range(first_page, 5)
    ]
    assert missing(whole, first, second, third) == set()
    assert debts(third) == []
    assert third.lines("WARNING") == []
    fourth, asked = asked_in(tap, clock=at(LATER), state=third.state)
    assert asked_before_the_walk(asked) == []
    assert debts(fourth) == []
    assert fourth.code == 0


@pytest.mark.parametrize("name", [each.name for each in STREAMS if each not in PARENTS])
def test_a_part_of_any_stream_that_fails_is_asked_for_first_until_it_is_answered(
    make_tap: MakeTap, name: str
) -> None:
    tap = account_of_pages(make_tap, 1, conversations=2)
    tap.catalog = catalog_of(name)
    kind, ListID = KINDS[name], ListIDs(tap)[0]
    # Of the account there is no other part, so that nothing of the stream comes whole.
    is_of_account = kind.asked_by == "account"
    key, part = {
        "account": (None, ""),
        "list": (None, ListID),
        "message": ("MsgID", MsgIDs(tap)[0]),
        "conversation": ("ConversationID", tap.service.account.conversation_ids(ListID)[0]),
    }["message" if "MsgIDs" in kind.arguments else kind.asked_by]

    def which(ask: Ask) -> bool:
        return ask.operation == kind.name and str(part) in part_of(ask).split(",")

    whole = tap.run(clock=at(NOW))
    refuse(tap, which)
    first = tap.run(clock=at(NOW))
    assert first.code == (1 if is_of_account else 0)
    assert rows(first).keys() < rows(whole).keys()
    (debt,) = debts(first)
    id_key = "ConversationID" if kind.asked_by == "conversation" else "MsgID"
    assert debt == {
        "stream": name,
        "ListID": None if is_of_account else ListID,
        id_key: part if key else None,
        "start": "2026-02-01T00:00:00Z",
        "end": text(NOW),
        "Page": None,
        "Digest": None,
        "failed_since": text(NOW),
        "absent_since": None,
    }

    second, asked = asked_in(tap, clock=at(LATER), state=first.state)
    assert second.code == 0
    assert len([ask for ask in asked if which(ask)]) == 1
    # This run asks no message so old for its sends.
    end = NOW if name == "message_sends" else LATER
    assert debts(second) == [{**debt, "end": text(end)}]

    answer_again(tap)
    third, asked = asked_in(tap, clock=at(LATER), state=second.state)
    assert third.code == 0
    assert which(asked[1])
    assert debts(third) == []
    assert rows(first, second, third).keys() == rows(whole).keys()


@CONCURRENCIES
def test_a_message_that_fails_again_is_joined_and_not_doubled(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = account_of_pages(make_tap, concurrency, messages=4)
    MsgID = MsgIDs(tap)[0]
    refuse(tap, of_message(MsgID))
    state = None
    for day in range(3):
        moment = NOW + timedelta(days=day)
        run, asked = asked_in(tap, clock=at(moment), state=state)
        assert run.code == 0
        assert len([ask for ask in asked if of_message(MsgID)(ask)]) == (1 if state else 5)
        state = run.state
        assert debts(run) == [
            {
                "stream": "message_opens",
                "ListID": ListIDs(tap)[0],
                "MsgID": MsgID,
                "start": "2026-02-01T00:00:00Z",
                "end": text(moment),
                "Page": None,
                "Digest": None,
                "failed_since": text(NOW),
                "absent_since": None,
            }
        ]


@CONCURRENCIES
def test_a_window_of_contacts_that_fails_costs_only_the_rest_of_its_list(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = account_of_pages(make_tap, concurrency, contacts=30)
    end = NOW + timedelta(days=60)
    ListID = ListIDs(tap)[0]
    whole = tap.run(clock=at(end))

    def which(ask: Ask) -> bool:
        of_list = ask.operation == CONTACTS and ask.arguments["ListID"] == str(ListID)
        return of_list and ask.arguments["StartDate"] == "2026-03-03T00:00:00"

    refuse(tap, which)
    first = tap.run(clock=at(end))
    assert first.code == 0
    assert missing(whole, first) == {("subscribed_contacts", ListID)}
    assert debts(first) == [
        {
            "stream": "subscribed_contacts",
            "ListID": ListID,
            "MsgID": None,
            "start": "2026-03-03T00:00:00Z",
            "end": text(end),
            "Page": None,
            "Digest": None,
            "failed_since": text(end),
            "absent_since": None,
        }
    ]
    assert set(bookmarks(first).values()) == {text(end)}
    answer_again(tap)
    second, asked = asked_in(tap, clock=at(end + timedelta(days=1)), state=first.state)
    owing = {
        "ListID": str(ListID),
        "StartDate": "2026-03-03T00:00:00",
        "EndDate": "2026-04-02T00:00:00",
        "Page": "1",
    }
    before_the_walk = asked_before_the_walk(asked)
    assert (CONTACTS, owing) in before_the_walk
    assert {(each[0], each[1]["ListID"]) for each in before_the_walk} == {(CONTACTS, str(ListID))}
    assert missing(whole, first, second) == set()
    assert debts(second) == []


@CONCURRENCIES
def test_several_that_failed_are_all_asked_for_before_the_walk_of_the_next_run(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = account_of_pages(make_tap, concurrency, messages=4)
    whole = tap.run(clock=at(NOW))
    refused = MsgIDs(tap)[:4]
    for MsgID in refused:
        refuse(tap, of_message(MsgID))
    first = tap.run(clock=at(NOW))
    assert [debt["MsgID"] for debt in debts(first)] == refused
    answer_again(tap)
    second, asked = asked_in(tap, clock=at(LATER), state=first.state)
    assert second.code == 0
    before_the_walk = asked_before_the_walk(asked)
    assert {operation for operation, _ in before_the_walk} == {OPEN}
    assert {arguments["MsgID"] for _, arguments in before_the_walk} == set(map(str, refused))
    assert missing(whole, first, second) == set()
    assert debts(second) == []


@CONCURRENCIES
def test_one_of_several_that_is_answered_is_forgotten_and_the_others_are_not(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = account_of_pages(make_tap, concurrency, messages=4)
    refused = MsgIDs(tap)[:3]
    for MsgID in refused:
        refuse(tap, of_message(MsgID))
    first = tap.run(clock=at(NOW))
    answer_again(tap)
    refuse(tap, of_message(refused[0]))
    refuse(tap, of_message(refused[2]))
    second = tap.run(clock=at(LATER), state=first.state)
    assert second.code == 0
    assert [debt["MsgID"] for debt in debts(second)] == [refused[0], refused[2]]


@CONCURRENCIES
def test_five_in_a_row_of_one_stream_end_the_run_and_the_next_goes_on_behind_them(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = account_of_pages(make_tap, concurrency, messages=6)
    whole = tap.run(clock=at(NOW))
    refused = MsgIDs(tap)[1:6]
    for MsgID in refused[:4]:
        refuse(tap, of_message(MsgID))
    four = tap.run(clock=at(NOW))
    assert four.code == 0
    assert [debt["MsgID"] for debt in debts(four)] == refused[:4]
    refuse(tap, of_message(refused[4]))
    five = tap.run(clock=at(NOW))
    assert five.code == 1
    assert five.messages[-1]["type"] == "STATE"
    (critical,) = five.lines("CRITICAL")
    assert "message_opens" in critical
    assert [debt["MsgID"] for debt in debts_of(five.state)] == refused
    opens = five.state["bookmarks"]["message_opens"]
    assert opens["OpenDate"] is None
    assert opens["offset"]["MsgID"] == refused[4]

    # Each of the five has one try, and the walk goes on with what stands behind them.
    behind, asked = asked_in(tap, clock=at(LATER), state=five.state)
    assert behind.code == 0
    tries = Counter(ask.arguments["MsgID"] for ask in asked if ask.operation == OPEN)
    assert all(tries[str(MsgID)] == 1 for MsgID in refused)
    assert str(MsgIDs(tap)[0]) not in tries
    assert missing(whole, five, behind) == {("message_opens", MsgID) for MsgID in refused}
    assert [debt["MsgID"] for debt in debts(behind)] == refused
    assert set(bookmarks(behind).values()) == {text(NOW)}

    answer_again(tap)
    for given, runs in ((five, (five,)), (behind, (five, behind))):
        rest = tap.run(clock=at(LATER), state=given.state)
        assert rest.code == 0
        assert missing(whole, *runs, rest) == set()
        assert debts(rest) == []


@CONCURRENCIES
def test_five_of_one_stream_do_not_end_the_run_where_one_between_them_succeeds(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = account_of_pages(make_tap, concurrency, messages=6)
    whole = tap.run(clock=at(NOW))
    refused = [*MsgIDs(tap)[:4], *MsgIDs(tap)[5:9]]
    for MsgID in refused:
        refuse(tap, of_message(MsgID))
    run = tap.run(clock=at(NOW))
    assert run.code == 0
    assert [debt["MsgID"] for debt in debts(run)] == refused
    assert missing(whole, run) == {("message_opens", MsgID) for MsgID in refused}


@CONCURRENCIES
def test_five_in_a_row_of_several_streams_do_not_end_the_run(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = account_of_pages(make_tap, concurrency, messages=6)
    refused = MsgIDs(tap)[1:4]
    for MsgID in refused:
        for operation in (OPEN, CLICK):
            refuse(tap, of_message(MsgID, operation))
    run = tap.run(clock=at(NOW))
    assert run.code == 0
    assert len(debts(run)) == 6


@CONCURRENCIES
def test_more_than_a_hundred_set_aside_end_the_run_and_the_next_goes_on_behind_them(
    make_tap: MakeTap, concurrency: int
) -> None:
    counts = dict.fromkeys(MESSAGE_OPERATIONS, 1)
    tap = tiny_tap(make_tap, concurrency, lists=1, messages=206, contacts=1, counts=counts)
    tap.catalog = None
    whole = tap.run(clock=at(NOW))
    refused = MsgIDs(tap)[::2]
    which = {str(MsgID) for MsgID in refused}
    reply = fault(f"{OPEN}(): [Message] [Locked] The message is locked")
    refuse(tap, lambda ask: ask.operation == OPEN and ask.arguments["MsgID"] in which, reply)
    run = tap.run(clock=at(NOW))
    assert run.code == 3
    assert run.messages[-1]["type"] == "STATE"
    assert len(run.lines("CRITICAL")) == 1
    assert [debt["MsgID"] for debt in debts_of(run.state)] == refused[:101]
    following = tap.run(clock=at(LATER), state=run.state)
    assert following.code == 0
    assert [debt["MsgID"] for debt in debts(following)] == refused
    assert missing(whole, run, following) == {("message_opens", MsgID) for MsgID in refused}
    answer_again(tap)
    rest = tap.run(clock=at(LATER), state=following.state)
    assert rest.code == 0
    assert missing(whole, run, following, rest) == set()
    assert debts(rest) == []


@CONCURRENCIES
def test_a_thousand_may_be_set_aside_in_all(make_tap: MakeTap, concurrency: int) -> None:
    tap = account_of_pages(make_tap, concurrency)
    # What earlier runs set aside, of a list that `list_ids` leaves out.
    one, other = ListIDs(tap)
    debt = {"ListID": other, "start": "2026-02-01T00:00:00Z", "end": text(NOW)}
    entry = {"OpenDate": text(NOW), "set_aside": [{**debt, "MsgID": 1 + n} for n in range(999)]}
    state = {"bookmarks": {"message_opens": entry}}
    refuse(tap, of_message(MsgIDs(tap)[0]))
    within = tap.run(clock=at(NOW), state=state, config={"list_ids": [one]})
    assert within.code == 0
    assert len(debts(within)) == 1000
    answer_again(tap)
    refuse(tap, of_message(MsgIDs(tap)[1]))
    state = json.loads(json.dumps(within.state))
    state["bookmarks"]["message_opens"]["set_aside"][-1].update(MsgID=1000, ListID=other)
    beyond = tap.run(clock=at(NOW), state=state, config={"list_ids": [one]})
    assert beyond.code == 1
    assert beyond.messages[-1]["type"] == "STATE"
    assert len(debts_of(beyond.state)) == 1001


@CONCURRENCIES
def test_a_stream_none_of_whose_calls_succeeded_ends_the_run(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = account_of_pages(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    refuse(tap, lambda ask: ask.operation == OPEN)
    run = tap.run(clock=at(NOW))
    assert run.code == 1
    assert run.messages[-1]["type"] == "STATE"
    (critical,) = run.lines("CRITICAL")
    assert "message_opens" in critical
    answer_again(tap)
    rest = tap.run(clock=at(LATER), state=run.state)
    assert rest.code == 0
    assert missing(whole, run, rest) == set()
    assert debts(rest) == []


FAILS = [html(404), fault("ReportListMessageActivity(): [List] [Locked] The list is locked")]


@CONCURRENCIES
@pytest.mark.parametrize("reply", FAILS, ids=["html", "code"])
def test_a_lasting_failure_of_message_windows_ends_the_run_with_a_state(
    make_tap: MakeTap, concurrency: int, reply: Reply
) -> None:
    tap = account_of_pages(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    _, other = ListIDs(tap)
    messages = BY_NAME["messages"].operation

    def of_other(ask: Ask) -> bool:
        return ask.operation == messages and ask.arguments["ListID"] == str(other)

    refuse(tap, of_other, reply)
    run = tap.run(clock=at(NOW))
    assert run.code in (1, 3)
    assert run.messages[-1]["type"] == "STATE"
    assert len(run.lines("CRITICAL")) == 1
    assert debts(run) == []
    answer_again(tap)
    rest = tap.run(clock=at(LATER), state=run.state)
    assert missing(whole, run, rest) == set()


@CONCURRENCIES
@pytest.mark.parametrize("reply", FAILS, ids=["html", "code"])
def test_a_lasting_failure_of_lists_ends_the_run_with_the_state_that_was_given(
    make_tap: MakeTap, concurrency: int, reply: Reply
) -> None:
    tap = account_of_pages(make_tap, concurrency)
    state = {"bookmarks": {name: {field: text(NOW)} for name, field in BOOKMARKS.items()}}
    refuse(tap, lambda ask: ask.operation == BY_NAME["lists"].operation, reply)
    run = tap.run(clock=at(LATER), state=state)
    assert run.code in (1, 3)
    assert len(run.lines("CRITICAL")) == 1
    assert len(run.states) == 1
    for name, field in BOOKMARKS.items():
        assert run.state["bookmarks"][name][field] == text(NOW)


@CONCURRENCIES
def test_messages_that_cannot_be_read_end_the_run_with_a_state(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = account_of_pages(make_tap, concurrency)
    tap.service.account.add_message(ListIDs(tap)[1], 9_000_001, "2026-02-30T00:00:00")
    run = tap.run(clock=at(NOW))
    assert run.code == 1
    assert run.messages[-1]["type"] == "STATE"
    (critical,) = run.lines("CRITICAL")
    assert "SendDate" in critical
    assert "02-30" not in run.err


@CONCURRENCIES
def test_a_message_set_aside_that_vanished_is_dropped_after_thirty_days(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = account_of_pages(make_tap, concurrency)
    MsgID = MsgIDs(tap)[0]
    refuse(tap, of_message(MsgID))
    run = tap.run(clock=at(NOW))
    tap.service.account.hide_message(MsgID)
    for days in (1, 2, 30):
        moment = NOW + timedelta(days=days)
        run, asked = asked_in(tap, clock=at(moment), state=run.state)
        assert run.code == 0, run.lines("CRITICAL")
        assert len([ask for ask in asked if of_message(MsgID)(ask)]) == 1
        assert "given up" not in run.err
        (debt,) = debts(run)
        assert (debt["MsgID"], debt["start"]) == (MsgID, "2026-02-01T00:00:00Z")
        assert debt["end"] == text(moment)
        assert (debt["failed_since"], debt["absent_since"]) == (text(NOW), text(LATER))
        assert set(bookmarks(run).values()) == {text(moment)}
    moment = NOW + timedelta(days=31)
    run = tap.run(clock=at(moment), state=run.state)
    assert run.code == 0, run.lines("CRITICAL")
    assert debts(run) == []
    (warning,) = [line for line in run.lines("WARNING") if "given up" in line]
    assert str(MsgID) in warning
    assert set(bookmarks(run).values()) == {text(moment)}


@CONCURRENCIES
def test_what_was_set_aside_of_a_list_that_vanished_is_asked_for_and_stops_nothing(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = account_of_pages(make_tap, concurrency)
    MsgID = MsgIDs(tap)[0]
    refuse(tap, of_message(MsgID))
    first = tap.run(clock=at(NOW))
    tap.service.account.hide_list(debts(first)[0]["ListID"])
    second, asked = asked_in(tap, clock=at(LATER), state=first.state)
    assert second.code == 0
    assert [arguments["MsgID"] for _, arguments in asked_before_the_walk(asked)] == [str(MsgID)]
    assert debts(second) == [{**debts(first)[0], "absent_since": text(LATER)}]
    assert set(bookmarks(second).values()) == {text(LATER)}


@CONCURRENCIES
def test_a_list_that_list_ids_leaves_out_keeps_what_was_set_aside(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = account_of_pages(make_tap, concurrency)
    MsgID = MsgIDs(tap)[0]
    refuse(tap, of_message(MsgID))
    first = tap.run(clock=at(NOW))
    answer_again(tap)
    one, other = ListIDs(tap)
    assert debts(first)[0]["ListID"] == one
    second = tap.run(clock=at(LATER), state=first.state, config={"list_ids": [other]})
    assert second.code == 0
    assert debts(second) == debts(first)


@CONCURRENCIES
def test_a_deselected_stream_keeps_what_was_set_aside(make_tap: MakeTap, concurrency: int) -> None:
    tap = account_of_pages(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    MsgID = MsgIDs(tap)[0]
    refuse(tap, of_message(MsgID))
    first = tap.run(clock=at(NOW))
    clicks = selecting(tap.discover(), "message_clicks")
    second, asked = asked_in(tap, clock=at(LATER), catalog=clicks, state=first.state)
    assert second.code == 0
    assert OPEN not in {ask.operation for ask in asked}
    assert debts(second) == debts(first)
    answer_again(tap)
    (tap.folder / "catalog.json").unlink()
    third = tap.run(clock=at(LATER), state=second.state)
    assert missing(whole, first, second, third) == set()
    assert debts(third) == []


@CONCURRENCIES
def test_a_value_that_cannot_be_read_sets_its_message_aside(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = account_of_pages(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    MsgID = MsgIDs(tap)[-1]
    tap.service.account.add_event(REMOVAL, MsgID, "odd@example.com", "2026-02-30T00:00:00")
    run, asked = asked_in(tap, clock=at(NOW))
    assert run.code == 0
    assert {name for name, _ in missing(whole, run)} <= {"message_unsubs", "messages"}
    (debt,) = debts(run)
    assert (debt["stream"], debt["MsgID"]) == ("message_unsubs", MsgID)
    (warning,) = [line for line in run.lines("WARNING") if "Set aside" in line]
    assert "RemovalDate" in warning
    assert "02-30" not in run.err
    tries = [page for page in pages(asked) if page[0] == REMOVAL and str(MsgID) in str(page)]
    assert len(tries) == len(set(tries))


@CONCURRENCIES
def test_an_exception_in_a_good_reply_sets_its_message_aside(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = account_of_pages(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    MsgID = MsgIDs(tap)[0]

    def rule(ask: Ask) -> Reply | None:
        refused = of_message(MsgID, SENT)(ask)
        return with_exception(ask, "Timeout expired.", rows=True) if refused else None

    tap.service.rules.append(rule)
    run = tap.run(clock=at(NOW))
    assert run.code == 0
    assert missing(whole, run) == {("message_sends", MsgID)}
    assert debts(run)[0]["MsgID"] == MsgID


@CONCURRENCIES
@pytest.mark.usefixtures("state_behind_every_page")
def test_a_run_cut_off_anywhere_loses_nothing_of_what_was_set_aside(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = account_of_pages(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    opens, clicks = MsgIDs(tap)[0], MsgIDs(tap)[-1]
    ListID = ListIDs(tap)[0]
    refuse(tap, of_message(opens, since=2))
    refuse(tap, of_message(clicks, CLICK))
    others = ("subscribed_contacts", "list_hygiene", "campaigns")
    operations = {KINDS[name].name for name in others}
    refuse(tap, lambda ask: ask.operation in operations and part_of(ask) == str(ListID))
    analytics, reads = KINDS["message_analytics"].name, KINDS["conversation_reads"].name
    refuse(tap, lambda ask: ask.operation == analytics and str(opens) in part_of(ask).split(","))
    ConversationID = tap.service.account.conversation_ids(ListID)[0]
    refuse(tap, lambda ask: ask.operation == reads and part_of(ask) == str(ConversationID))
    first = tap.run(clock=at(NOW))
    assert len(debts(first)) == 7
    answer_again(tap)
    for before in prefixes(first)[::24]:
        rest = tap.run(clock=at(LATER), state=before.state)
        assert rest.code == 0
        assert missing(whole, before, rest) == set()
        assert debts(rest) == []
    second = tap.run(clock=at(LATER), state=first.state)
    for before in prefixes(second)[:16:4]:
        rest = tap.run(clock=at(LATER), state=before.state)
        assert missing(whole, first, before, rest) == set()
        assert debts(rest) == []
