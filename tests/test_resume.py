"""A run that was cut off anywhere is finished by the next, which is complete to its own time."""

import copy
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from fake_listrak import OPERATIONS, Ask
from tap_listrak.streams import BY_NAME, PUBLISHED
from tests.support.accounts import list_ids, message_ids
from tests.support.records import keys_emitted
from tests.support.runs import (
    CLICK,
    NOW,
    OPEN,
    START,
    TINY,
    days,
    ends,
    pages,
    requested,
    rows,
    starts,
    text,
    tiny_tap,
    wire,
    without_message,
)
from tests.support.state_keeping import deep_merge
from tests.support.tap import BOOKMARKS, MakeTap, Run, Tap, catalog_of

AFTER_EVERY_PAGE = pytest.mark.usefixtures("state_after_every_page")
LATER = days(3)


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap that selects the published streams of an account of a few pages."""
    tap = tiny_tap(make_tap)
    tap.catalog = None
    return tap


def resume(tap: Tap, before: Run, moment: datetime = LATER, **given: Any) -> tuple[Run, list[Ask]]:
    """Run the tap from the last STATE of a run that was cut off; it ends well."""
    rest, asked = tap.asked_in(clock=moment, state=before.state, **given)
    assert rest.code == 0
    return rest, asked


def keys(*runs: Run) -> set[tuple[Any, ...]]:
    """The keys of the rows that came. There are no dates in them, which follow the zone."""
    return {(name, *key) for name, found in keys_emitted(*runs).items() for key in found}


# From each STATE.


@AFTER_EVERY_PAGE
@pytest.mark.parametrize(
    ("names", "step", "concurrency"),
    [
        pytest.param([each.name for each in PUBLISHED], 12, 1, id="published"),
        pytest.param(list(BY_NAME), 50, 8, id="all"),
        pytest.param(list(BY_NAME), 1, 1, id="all, each", marks=pytest.mark.long),
        pytest.param(list(BY_NAME), 1, 8, id="all, each, ahead", marks=pytest.mark.long),
    ],
)
def test_resuming_from_any_state_gives_just_the_rest(
    make_tap: MakeTap, names: list[str], step: int, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency)
    tap.catalog = catalog_of(*names)
    in_order = resumable(tap.asked_in(clock=NOW, config={"concurrency": 1})[1])
    assert len(in_order) == len(set(in_order))
    whole = tap.run(clock=NOW)
    claims_nothing, *cut = whole.prefixes()
    assert claims_nothing.of_type("RECORD") == []
    first = 0
    for before in cut[::step]:
        merged: dict[str, Any] = {}
        for state in before.states:
            merged = deep_merge(copy.deepcopy(state), merged)
        assert merged == before.state, "a state backend that merges has the last one"
        rest, asked = resume(tap, before, NOW)
        assert rows(before, rest).keys() == rows(whole).keys()
        assert rest.state == whole.state
        places = sorted(in_order.index(page) for page in resumable(asked))
        assert places == list(range(len(in_order) - len(places), len(in_order)))
        assert len(in_order) - len(places) >= first
        first = len(in_order) - len(places)
        twice = rows(before, rest) - rows(whole)
        assert sum(name in BOOKMARKS for name, _ in twice.elements()) <= TINY["page_size"]
    assert first > len(in_order) - 2 * max(step, concurrency)


def resumable(asked: list[Ask]) -> list[tuple[str, ...]]:
    """The calls for pages of streams that are not given whole in each run."""
    return [each for each in pages(asked) if OPERATIONS[each[0]].table in BOOKMARKS]


# Two passes.


@AFTER_EVERY_PAGE
def test_a_run_after_one_that_was_cut_off_is_complete_to_its_own_time(make_tap: MakeTap) -> None:
    tap = tiny_tap(make_tap, 8)
    account = tap.service.account
    before = tap.run(clock=NOW).cut_within()
    for ListID in list_ids(account):
        msg_id = int(str(account.messages(ListID)[0]["MsgID"]))
        account.add_event(OPEN, msg_id, f"late{ListID}@example.com", days(1))
        account.add_contact(ListID, f"late{ListID}@example.com", days(1))
    account.add_message(ListID, 9_000_001, days(1))
    account.add_event(OPEN, 9_000_001, "new@example.com", days(2))
    rest, asked = resume(tap, before)
    assert rows(tap.run(clock=LATER)).keys() <= rows(before, rest).keys()
    assert set(rest.bookmarks.values()) == {text(LATER)}
    # What was left unfinished comes first, up to its own end.
    of_opens = [ask for ask in asked if ask.operation == OPEN]
    bounds = [ask.arguments["EndDate"] for ask in of_opens]
    assert set(bounds) == {wire(NOW), wire(LATER)}
    assert bounds == sorted(bounds)
    second_pass = [ask for ask in of_opens if ask.arguments["EndDate"] == wire(LATER)]
    assert starts(second_pass) == {wire(days(-1))}


@AFTER_EVERY_PAGE
def test_each_range_is_finished_to_its_end_and_a_new_stream_begins_at_its_start(tap: Tap) -> None:
    opens = tap.run(clock=NOW, catalog=catalog_of("message_opens")).cut_within()
    alone = catalog_of("message_clicks")
    newly, asked = tap.asked_in(clock=days(1), state=opens.state, catalog=alone)
    assert starts(asked, CLICK) == {wire(START)}
    for state in newly.states:
        assert state["bookmarks"]["message_opens"] == opens.entry(), "a deselected stream keeps it"
    clicks = newly.cut_within("message_clicks")
    tap.catalog = catalog_of("message_opens", "message_clicks")
    rest, asked = resume(tap, clicks)
    assert ends(asked) == {wire(NOW), wire(LATER)}
    assert ends(asked, CLICK) == {wire(days(1)), wire(LATER)}
    assert keys(opens, clicks, rest) == keys(tap.run(clock=LATER))


# Under another config.


@AFTER_EVERY_PAGE
@pytest.mark.parametrize(
    ("begun", "followed"),
    [
        ({}, [{"start_date": "2026-03-01"}, {}]),
        ({"start_date": "2026-03-01"}, [{}]),
        ({"include_test_messages": False}, [{}, {}]),
        ({"interval_days": 1}, [{}]),
        ({}, [{"interval_days": 7, "lookback_days": 3}]),
        ({}, [{"list_ids": [345_018]}, {}]),
    ],
    ids=str,
)
def test_a_run_resumed_under_other_options_loses_nothing(
    tap: Tap, begun: dict[str, Any], followed: list[dict[str, Any]]
) -> None:
    tap.catalog = catalog_of("messages", "message_opens", "subscribed_contacts")
    account = tap.service.account
    account.add_message(345_001, 77, START + timedelta(days=3), test=True)
    account.add_event(OPEN, 77, "a@example.com", START + timedelta(days=4))
    whole, first = tap.run(clock=NOW), tap.run(clock=NOW, config=begun)
    for before in (first.cut_within(), first.cut_within("subscribed_contacts")):
        runs = [before]
        for day, config in enumerate(followed, 1):
            runs.append(resume(tap, runs[-1], days(day), config=config)[0])
        assert rows(*runs).keys() == rows(whole).keys()
        assert runs[-1].is_finished
    bounds = [ask.arguments for ask in tap.service.asked if "EndDate" in ask.arguments]
    assert all(each["StartDate"] <= each["EndDate"] for each in bounds)


@AFTER_EVERY_PAGE
def test_a_later_start_date_leaves_old_messages_out_of_an_unfinished_range(tap: Tap) -> None:
    account, later = tap.service.account, "2026-03-01"
    old = message_ids(account) - message_ids(account, since=later)
    before = tap.run(clock=NOW).cut_within()
    _, asked = resume(tap, before, NOW, config={"start_date": later})
    assert old
    assert not requested(asked) & old - {before.place()["parent_id"]}


@AFTER_EVERY_PAGE
def test_a_bookmark_set_back_by_hand_replaces_an_unfinished_range(tap: Tap) -> None:
    tap.catalog = catalog_of("message_opens")
    first = tap.run(clock=NOW)
    for number in range(8):
        msg_id = min(message_ids(tap.service.account))
        tap.service.account.add_event(OPEN, msg_id, f"{number}@example.com", days(1))
    state = tap.run(clock=days(2), state=first.state).cut_within().state
    state["bookmarks"]["message_opens"]["OpenDate"] = text(days(-20))
    _, asked = tap.asked_in(clock=LATER, state=state)
    assert starts(asked) == {wire(days(-21))}
    assert ends(asked) == {wire(LATER)}


@AFTER_EVERY_PAGE
def test_a_zone_that_changes_before_a_run_is_resumed_loses_nothing(make_tap: MakeTap) -> None:
    # No row is so near start_date that it is before it in another zone.
    tap = tiny_tap(make_tap, lists=1, messages=0, start=START + timedelta(days=2))
    tap.catalog = catalog_of("messages", "message_opens")
    # Another zone moves messages to another window.
    tap.config["interval_days"] = 1
    account = tap.service.account
    (ListID,) = list_ids(account)
    for hour in range(4):
        sent = START + timedelta(days=9, hours=hour)
        account.add_message(ListID, 70 + hour, sent)
        for reader in range(4):
            moment = sent + timedelta(hours=reader)
            account.add_event(OPEN, 70 + hour, f"{reader}@example.com", moment)
    whole = tap.run(clock=NOW)
    for before in whole.prefixes()[2::6]:
        rest, _ = resume(tap, before, days(1), config={"timezone": "Australia/Sydney"})
        assert keys(before, rest) == keys(whole)


# The account changes meanwhile.


@AFTER_EVERY_PAGE
def test_lists_that_vanish_or_come_between_runs_cost_nothing_else(make_tap: MakeTap) -> None:
    tap = tiny_tap(make_tap, 8, lists=3)
    tap.catalog = None
    account = tap.service.account
    whole = tap.run(clock=NOW)
    before = whole.cut_within()
    gone = before.place()["list_id"]
    of_gone = {gone, *(int(str(each["MsgID"])) for each in account.messages(gone))}
    account.hide_list(gone)
    for ListID in (1, 999_999):
        account.add_list(ListID)
        account.add_contact(ListID, f"new{ListID}@example.com", START + timedelta(days=1))
    rest, _ = resume(tap, before)
    for _, row in rows(whole) - rows(before, rest):
        assert of_gone & {json.loads(row).get("ListID"), json.loads(row).get("MsgID")}
    assert rest.addresses("subscribed_contacts") >= {"new1@example.com", "new999999@example.com"}
    first_state = rest.states[0]["bookmarks"]["message_opens"]
    assert "place" not in first_state["unfinished"][0], "it is void"
    # A list that was not walked to its end is not covered, so it comes whole when it is back.
    assert gone not in rest.covers()["list_ids"]
    account.add_list(gone)
    back, _ = resume(tap, rest, days(4))
    assert rows(whole).keys() <= rows(before, rest, back).keys()


@AFTER_EVERY_PAGE
@pytest.mark.parametrize("stream", ["message_opens", "message_sends"])
def test_a_message_in_progress_comes_if_a_reply_lacks_it(make_tap: MakeTap, stream: str) -> None:
    tap = tiny_tap(make_tap, lists=1, counts={BY_NAME[stream].operation: 8})
    tap.catalog = catalog_of(stream)
    whole = tap.run(clock=NOW)
    before = whole.cut_within(stream)
    tap.service.rules.append(without_message(before.place(stream)["parent_id"]))
    rest, _ = resume(tap, before, NOW)
    assert rows(before, rest).keys() == rows(whole).keys()


@AFTER_EVERY_PAGE
def test_a_vanished_message_in_progress_is_set_aside_until_it_is_back(make_tap: MakeTap) -> None:
    tap = tiny_tap(make_tap, lists=1, counts={OPEN: 8})
    tap.catalog = catalog_of("message_opens")
    account = tap.service.account
    whole = tap.run(clock=NOW)
    before = whole.cut_within()
    ListID, hidden = before.place()["list_id"], before.place()["parent_id"]
    sent = {int(str(row["MsgID"])): row["SendDate"] for row in account.messages(ListID)}[hidden]
    account.hide_message(hidden)
    account.add_message(ListID, 9_000_001, NOW - timedelta(hours=1))
    account.add_event(OPEN, 9_000_001, "new@example.com", NOW - timedelta(minutes=1))
    rest, _ = resume(tap, before, days(1))
    assert [each["parent_id"] for each in rest.set_aside] == [hidden]
    assert "new@example.com" in rest.addresses()
    account.add_message(ListID, hidden, str(sent))
    last, _ = resume(tap, rest)
    assert last.set_aside == []
    assert rows(before, rest, last).keys() >= rows(whole).keys()


@AFTER_EVERY_PAGE
@pytest.mark.parametrize("page_size", [2, 5])
@pytest.mark.parametrize("stream", ["message_opens", "subscribed_contacts"])
def test_a_part_whose_last_written_page_is_another_by_now_begins_at_its_first(
    make_tap: MakeTap, stream: str, page_size: int
) -> None:
    tap = tiny_tap(make_tap, lists=1, messages=1, contacts=20, counts={OPEN: 20})
    tap.catalog = catalog_of(stream)
    account = tap.service.account
    before = tap.run(clock=NOW).cut_within(stream)
    account.page_size, account.version = page_size, account.version + 1
    rest, asked = resume(tap, before, NOW)
    numbers = [int(ask.arguments["Page"]) for ask in asked if "Page" in ask.arguments]
    assert numbers[:2] == [before.place(stream)["page"], 1]
    assert rows(before, rest).keys() == rows(tap.run(clock=NOW)).keys()
