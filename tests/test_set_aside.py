"""What fails for good is set aside: it costs only itself, and is asked for again until it heals."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fake_listrak import Ask, Reply, fault, html, with_exception
from tap_listrak.streams import BY_NAME
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
    pages,
    prefixes,
    rows,
    text,
    tiny_tap,
    wire,
)
from tests.support.tap import MakeTap, Run, Tap, selecting

SENT = BY_NAME["message_sends"].operation
REMOVAL = BY_NAME["message_unsubs"].operation
LATER = NOW + timedelta(days=1)
Which = Callable[[Ask], bool]


def poisonable(make_tap: MakeTap, concurrency: int, **more: Any) -> Tap:
    """A tap for a small account whose messages all have three pages of opens and sends."""
    counts = {stream.operation: 3 for stream in BY_NAME.values() if stream.is_by_message}
    return tiny_tap(make_tap, concurrency, counts={**counts, OPEN: 7, SENT: 7}, **more)


def poison(tap: Tap, which: Which, reply: Reply | None = None) -> None:
    """From now on these calls get an HTML page of status 404, or this reply."""
    tap.service.rules.append(lambda ask: (reply or html(404)) if which(ask) else None)


def heal(tap: Tap) -> None:
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


def asked_first(asked: list[Ask], most: int) -> list[tuple[str, dict[str, str]]]:
    """The first calls for pages; as many may arrive in any order as are under way at once."""
    calls = [(ask.operation, dict(ask.arguments)) for ask in asked if "Page" in ask.arguments]
    return calls[:most]


def owed(run: Run) -> list[dict[str, Any]]:
    """What the last STATE holds as set aside."""
    found: list[dict[str, Any]] = run.states[-1].get("set_aside", [])
    return found


def missing(whole: Run, *runs: Run) -> set[tuple[str, int]]:
    """By stream and message or list, where rows of the whole have not come."""
    lost = set()
    for name, row in rows(whole) - rows(*runs):
        record = json.loads(row)
        lost.add((name, record.get("MsgID") or record["ListID"]))
    return lost


@CONCURRENCIES
@pytest.mark.parametrize("operation", [OPEN, SENT])
def test_a_poisoned_message_costs_only_itself_and_is_asked_for_first_until_it_heals(
    make_tap: MakeTap, concurrency: int, operation: str
) -> None:
    tap = poisonable(make_tap, concurrency, messages=4)
    (stream,) = (name for name, each in BY_NAME.items() if each.operation == operation)
    whole = tap.run(clock=at(NOW))
    MsgID = MsgIDs(tap)[0]
    poison(tap, of_message(MsgID, operation, since=3))
    first, asked = asked_in(tap, clock=at(NOW))
    assert first.code == 0
    assert missing(whole, first) == {(stream, MsgID)}
    assert set(bookmarks(first).values()) == {text(NOW)}
    assert "\n".join(first.lines("WARNING")).count("Set aside") == 1
    assert len([ask for ask in asked if of_message(MsgID, operation, since=3)(ask)]) >= 5
    (debt,) = owed(first)
    assert debt["stream"] == stream
    assert debt["MsgID"] == MsgID
    assert (debt["start"], debt["end"]) == ("2026-02-01T00:00:00Z", text(NOW))
    assert debt["Page"] == 2

    second, asked = asked_in(tap, clock=at(LATER), state=first.states[-1])
    assert second.code == 0
    range_owed = {"StartDate": "2026-02-01T00:00:00", "EndDate": wire(NOW)}
    owing = {"MsgID": str(MsgID), "Page": "2", **(range_owed if operation == OPEN else {})}
    assert (operation, owing) in asked_first(asked, concurrency)
    assert len(owed(second)) == 1

    heal(tap)
    third, asked = asked_in(tap, clock=at(LATER), state=second.states[-1])
    assert (operation, owing) in asked_first(asked, concurrency)
    assert missing(whole, first, second, third) == set()
    assert owed(third) == []
    assert third.lines("WARNING") == []
    fourth, asked = asked_in(tap, clock=at(LATER), state=third.states[-1])
    assert owed(fourth) == []
    assert fourth.code == 0


@CONCURRENCIES
def test_a_message_that_fails_again_is_joined_and_not_doubled(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = poisonable(make_tap, concurrency, messages=4)
    MsgID = MsgIDs(tap)[0]
    poison(tap, of_message(MsgID))
    state = None
    for day in range(3):
        run = tap.run(clock=at(NOW + timedelta(days=day)), state=state)
        assert run.code == 0
        state = run.states[-1]
        (debt,) = owed(run)
        assert debt["MsgID"] == MsgID
        assert debt["start"] == "2026-02-01T00:00:00Z"
        assert debt["end"] == text(NOW + timedelta(days=day))
        assert debt["Page"] == 1


@CONCURRENCIES
def test_a_poisoned_window_of_contacts_costs_only_the_rest_of_its_list(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = poisonable(make_tap, concurrency, contacts=30)
    end = NOW + timedelta(days=60)
    ListID = ListIDs(tap)[0]
    whole = tap.run(clock=at(end))

    def which(ask: Ask) -> bool:
        of_list = ask.operation == CONTACTS and ask.arguments["ListID"] == str(ListID)
        return of_list and ask.arguments["StartDate"] == "2026-03-03T00:00:00"

    poison(tap, which)
    first = tap.run(clock=at(end))
    assert first.code == 0
    assert missing(whole, first) == {("subscribed_contacts", ListID)}
    assert owed(first) == [
        {
            "stream": "subscribed_contacts",
            "ListID": ListID,
            "start": "2026-03-03T00:00:00Z",
            "end": text(end),
            "Page": 1,
        }
    ]
    assert set(bookmarks(first).values()) == {text(end)}
    heal(tap)
    second, asked = asked_in(tap, clock=at(end + timedelta(days=1)), state=first.states[-1])
    owing = {
        "ListID": str(ListID),
        "StartDate": "2026-03-03T00:00:00",
        "EndDate": "2026-04-02T00:00:00",
        "Page": "1",
    }
    assert (CONTACTS, owing) in asked_first(asked, concurrency)
    assert missing(whole, first, second) == set()
    assert owed(second) == []


@CONCURRENCIES
def test_several_that_heal_together_are_all_asked_for_in_the_next_run(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = poisonable(make_tap, concurrency, messages=4)
    whole = tap.run(clock=at(NOW))
    poisoned = MsgIDs(tap)[:4]
    for MsgID in poisoned:
        poison(tap, of_message(MsgID))
    first = tap.run(clock=at(NOW))
    assert [debt["MsgID"] for debt in owed(first)] == poisoned
    heal(tap)
    second, asked = asked_in(tap, clock=at(LATER), state=first.states[-1])
    assert second.code == 0
    firsts = asked_first(asked, 16 if concurrency == 1 else 4 + concurrency)
    assert set(map(str, poisoned)) <= {arguments.get("MsgID") for _, arguments in firsts}
    assert missing(whole, first, second) == set()
    assert owed(second) == []


@CONCURRENCIES
def test_one_of_several_that_heals_is_forgotten_and_the_others_are_not(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = poisonable(make_tap, concurrency, messages=4)
    poisoned = MsgIDs(tap)[:3]
    for MsgID in poisoned:
        poison(tap, of_message(MsgID))
    first = tap.run(clock=at(NOW))
    heal(tap)
    poison(tap, of_message(poisoned[0]))
    poison(tap, of_message(poisoned[2]))
    second = tap.run(clock=at(LATER), state=first.states[-1])
    assert second.code == 0
    assert [debt["MsgID"] for debt in owed(second)] == [poisoned[0], poisoned[2]]


@CONCURRENCIES
def test_five_are_set_aside_and_the_sixth_ends_the_run_claiming_nothing_too_much(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = poisonable(make_tap, concurrency, messages=6)
    whole = tap.run(clock=at(NOW))
    poisoned = MsgIDs(tap)[1:7]
    for MsgID in poisoned[:5]:
        poison(tap, of_message(MsgID))
    five = tap.run(clock=at(NOW))
    assert five.code == 0
    assert [debt["MsgID"] for debt in owed(five)] == poisoned[:5]
    poison(tap, of_message(poisoned[5]))
    six = tap.run(clock=at(NOW))
    assert six.code == 1
    assert six.messages[-1]["type"] == "STATE"
    assert len(six.lines("CRITICAL")) == 1
    assert [debt["MsgID"] for debt in owed(six)] == poisoned[:5]
    assert "OpenDate" not in six.states[-1]["bookmarks"]["message_opens"]
    heal(tap)
    rest = tap.run(clock=at(LATER), state=six.states[-1])
    assert rest.code == 0
    assert missing(whole, six, rest) == set()
    assert owed(rest) == []
    assert set(bookmarks(rest).values()) == {text(NOW)}


@CONCURRENCIES
def test_a_stream_none_of_whose_calls_succeeded_ends_the_run(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = poisonable(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    poison(tap, lambda ask: ask.operation == OPEN)
    run = tap.run(clock=at(NOW))
    assert run.code == 1
    assert run.messages[-1]["type"] == "STATE"
    (critical,) = run.lines("CRITICAL")
    assert "message_opens" in critical
    heal(tap)
    rest = tap.run(clock=at(LATER), state=run.states[-1])
    assert rest.code == 0
    assert missing(whole, run, rest) == set()
    assert owed(rest) == []


FAILS = [html(404), fault("ReportListMessageActivity(): [List] [Locked] The list is locked")]


@CONCURRENCIES
@pytest.mark.parametrize("reply", FAILS, ids=["html", "code"])
def test_a_lasting_failure_of_message_windows_ends_the_run_with_a_state(
    make_tap: MakeTap, concurrency: int, reply: Reply
) -> None:
    tap = poisonable(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    _, other = ListIDs(tap)
    messages = BY_NAME["messages"].operation

    def of_other(ask: Ask) -> bool:
        return ask.operation == messages and ask.arguments["ListID"] == str(other)

    poison(tap, of_other, reply)
    run = tap.run(clock=at(NOW))
    assert run.code in (1, 3)
    assert run.messages[-1]["type"] == "STATE"
    assert len(run.lines("CRITICAL")) == 1
    assert owed(run) == []
    heal(tap)
    rest = tap.run(clock=at(LATER), state=run.states[-1])
    assert missing(whole, run, rest) == set()


@CONCURRENCIES
@pytest.mark.parametrize("reply", FAILS, ids=["html", "code"])
def test_a_lasting_failure_of_lists_ends_the_run_with_the_state_that_was_given(
    make_tap: MakeTap, concurrency: int, reply: Reply
) -> None:
    tap = poisonable(make_tap, concurrency)
    state = {"bookmarks": {name: {field: text(NOW)} for name, field in BOOKMARKS.items()}}
    poison(tap, lambda ask: ask.operation == BY_NAME["lists"].operation, reply)
    run = tap.run(clock=at(LATER), state=state)
    assert run.code in (1, 3)
    assert len(run.lines("CRITICAL")) == 1
    assert len(run.states) == 1
    for name, field in BOOKMARKS.items():
        assert run.states[-1]["bookmarks"][name][field] == text(NOW)


@CONCURRENCIES
def test_messages_that_cannot_be_read_end_the_run_with_a_state(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = poisonable(make_tap, concurrency)
    tap.service.account.add_message(ListIDs(tap)[1], 9_000_001, "2026-02-30T00:00:00")
    run = tap.run(clock=at(NOW))
    assert run.code == 1
    assert run.messages[-1]["type"] == "STATE"
    (critical,) = run.lines("CRITICAL")
    assert "SendDate" in critical
    assert "02-30" not in run.err


@CONCURRENCIES
def test_a_message_set_aside_that_vanished_is_dropped(make_tap: MakeTap, concurrency: int) -> None:
    tap = poisonable(make_tap, concurrency)
    MsgID = MsgIDs(tap)[0]
    poison(tap, of_message(MsgID))
    first = tap.run(clock=at(NOW))
    heal(tap)
    tap.service.account.hide_message(MsgID)
    second = tap.run(clock=at(LATER), state=first.states[-1])
    assert second.code == 0, second.lines("CRITICAL")
    assert owed(second) == []
    assert str(MsgID) in "\n".join(second.lines("WARNING"))
    assert set(bookmarks(second).values()) == {text(LATER)}


@CONCURRENCIES
def test_what_was_set_aside_of_a_list_that_vanished_stops_nothing(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = poisonable(make_tap, concurrency)
    MsgID = MsgIDs(tap)[0]
    poison(tap, of_message(MsgID))
    first = tap.run(clock=at(NOW))
    heal(tap)
    tap.service.account.hide_list(owed(first)[0]["ListID"])
    second = tap.run(clock=at(LATER), state=first.states[-1])
    assert second.code == 0
    assert set(bookmarks(second).values()) == {text(LATER)}


@CONCURRENCIES
def test_a_list_that_list_ids_leaves_out_keeps_what_was_set_aside(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = poisonable(make_tap, concurrency)
    MsgID = MsgIDs(tap)[0]
    poison(tap, of_message(MsgID))
    first = tap.run(clock=at(NOW))
    heal(tap)
    one, other = ListIDs(tap)
    assert owed(first)[0]["ListID"] == one
    second = tap.run(clock=at(LATER), state=first.states[-1], config={"list_ids": [other]})
    assert second.code == 0
    assert owed(second) == owed(first)


@CONCURRENCIES
def test_a_deselected_stream_keeps_what_was_set_aside(make_tap: MakeTap, concurrency: int) -> None:
    tap = poisonable(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    MsgID = MsgIDs(tap)[0]
    poison(tap, of_message(MsgID))
    first = tap.run(clock=at(NOW))
    clicks = selecting(tap.discover(), "message_clicks")
    second, asked = asked_in(tap, clock=at(LATER), catalog=clicks, state=first.states[-1])
    assert second.code == 0
    assert OPEN not in {ask.operation for ask in asked}
    assert owed(second) == owed(first)
    heal(tap)
    (tap.folder / "catalog.json").unlink()
    third = tap.run(clock=at(LATER), state=second.states[-1])
    assert missing(whole, first, second, third) == set()
    assert owed(third) == []


@CONCURRENCIES
def test_a_value_that_cannot_be_read_sets_its_message_aside(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = poisonable(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    MsgID = MsgIDs(tap)[-1]
    tap.service.account.add_event(REMOVAL, MsgID, "odd@example.com", "2026-02-30T00:00:00")
    run, asked = asked_in(tap, clock=at(NOW))
    assert run.code == 0
    assert {name for name, _ in missing(whole, run)} <= {"message_unsubs", "messages"}
    (debt,) = owed(run)
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
    tap = poisonable(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    MsgID = MsgIDs(tap)[0]

    def rule(ask: Ask) -> Reply | None:
        poisoned = of_message(MsgID, SENT)(ask)
        return with_exception(ask, "Timeout expired.", rows=True) if poisoned else None

    tap.service.rules.append(rule)
    run = tap.run(clock=at(NOW))
    assert run.code == 0
    assert missing(whole, run) == {("message_sends", MsgID)}
    assert owed(run)[0]["MsgID"] == MsgID


@CONCURRENCIES
@pytest.mark.usefixtures("state_behind_every_page")
def test_a_run_cut_off_anywhere_loses_nothing_of_what_was_set_aside(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = poisonable(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    opens, clicks = MsgIDs(tap)[0], MsgIDs(tap)[-1]
    ListID = ListIDs(tap)[0]
    poison(tap, of_message(opens, since=2))
    poison(tap, of_message(clicks, CLICK))
    poison(tap, lambda ask: ask.operation == CONTACTS and ask.arguments["ListID"] == str(ListID))
    first = tap.run(clock=at(NOW))
    assert len(owed(first)) == 3
    heal(tap)
    for before in prefixes(first)[::8]:
        rest = tap.run(clock=at(LATER), state=before.states[-1])
        assert rest.code == 0
        assert missing(whole, before, rest) == set()
        assert owed(rest) == []
    second = tap.run(clock=at(LATER), state=first.states[-1])
    for before in prefixes(second)[:8]:
        rest = tap.run(clock=at(LATER), state=before.states[-1])
        assert missing(whole, first, before, rest) == set()
        assert owed(rest) == []
