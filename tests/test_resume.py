"""A run that was cut off anywhere is finished by the next, which is complete to its own time."""

import copy
import json
import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from fake_listrak import OPERATIONS, Ask
from tap_listrak.streams import BY_NAME, PUBLISHED
from tests.support import runs
from tests.support.accounts import list_ids, message_ids
from tests.support.records import keys_emitted
from tests.support.runs import NOW, OPEN, START, days, ends, rows, starts, text, wire
from tests.support.state_keeping import deep_merge
from tests.support.tap import BOOKMARKS, MakeTap, Run, Tap, catalog_of

pytestmark = pytest.mark.usefixtures("state_after_every_page")
LATER = days(3)
OPENS = catalog_of("message_opens")


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap that selects the published streams of an account of a few pages."""
    tap = runs.tiny_tap(make_tap)
    tap.catalog = None
    return tap


def resume(tap: Tap, before: Run, moment: datetime = LATER, **given: Any) -> tuple[Run, list[Ask]]:
    """Run the tap from the last STATE of a run that was cut off; it ends well."""
    rest, asked = tap.asked_in(clock=moment, state=before.state, **given)
    assert rest.code == 0
    return rest, asked


# From each STATE.


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
    tap = runs.tiny_tap(make_tap, concurrency)
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
        assert sum(name in BOOKMARKS for name, _ in twice.elements()) <= runs.PAGE_SIZE
    assert first > len(in_order) - 2 * max(step, concurrency)


def resumable(asked: list[Ask]) -> list[tuple[str, ...]]:
    """The calls for pages of streams that are not given whole in each run."""
    return [each for each in runs.pages(asked) if OPERATIONS[each[0]].table in BOOKMARKS]


# Two passes.


def test_a_run_after_one_that_was_cut_off_is_complete_to_its_own_time(make_tap: MakeTap) -> None:
    tap = runs.tiny_tap(make_tap, 8)
    account = tap.service.account
    before = tap.run(clock=NOW).cut_within()
    for list_id in list_ids(account):
        msg_id = int(str(account.messages(list_id)[0]["MsgID"]))
        account.add_event(OPEN, msg_id, f"late{list_id}@example.com", days(1))
        account.add_contact(list_id, f"late{list_id}@example.com", days(1))
    account.add_message(list_id, 9_000_001, days(1))
    account.add_event(OPEN, 9_000_001, "new@example.com", days(2))
    rest, asked = resume(tap, before)
    assert rows(tap.run(clock=LATER)).keys() <= rows(before, rest).keys()
    assert set(rest.bookmarks.values()) == {text(LATER)}
    # What was left unfinished comes first, up to its own end.
    bounds = runs.bounds_of(asked, OPEN)
    assert [end for _, end in bounds] == sorted(end for _, end in bounds)
    assert ends(asked) == {wire(NOW), wire(LATER)}
    assert {start for start, end in bounds if end == wire(LATER)} == {wire(days(-1))}


# Under another config.


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
        made = [before]
        for day, config in enumerate(followed, 1):
            made.append(resume(tap, made[-1], days(day), config=config)[0])
        assert rows(*made).keys() == rows(whole).keys()
        assert made[-1].is_finished
    bounds = [ask.arguments for ask in tap.service.asked if "EndDate" in ask.arguments]
    assert all(each["StartDate"] <= each["EndDate"] for each in bounds)


@pytest.mark.parametrize("how", ["bookmark set back", "earlier start_date"])
def test_an_unfinished_range_is_replaced_by_one_from_before_it(tap: Tap, how: str) -> None:
    tap.catalog = OPENS
    later = {"start_date": "2026-02-10"}
    first = tap.run(clock=NOW, config=later)
    old = min(message_ids(tap.service.account, since="2026-02-10"))
    for number in range(8):
        tap.service.account.add_event(OPEN, old, f"{number}@example.com", days(1))
    state = tap.run(clock=days(2), state=first.state, config=later).cut_within().state
    if how == "bookmark set back":
        state["bookmarks"]["message_opens"]["OpenDate"] = text(days(-20))
        tap.config |= later
    _, asked = tap.asked_in(clock=LATER, state=state)
    assert starts(asked) == {wire(START if how == "earlier start_date" else days(-21))}
    assert ends(asked) == {wire(LATER)}


def test_a_zone_that_changes_before_a_run_is_resumed_loses_nothing(make_tap: MakeTap) -> None:
    # No row is so near start_date that it is before it in another zone.
    tap = runs.tiny_tap(make_tap, lists=1, messages=0, start=START + timedelta(days=2))
    tap.catalog = catalog_of("messages", "message_opens")
    # Another zone moves messages to another window.
    tap.config["interval_days"] = 1
    account = tap.service.account
    for hour in range(4):
        sent = START + timedelta(days=9, hours=hour)
        account.add_message(tap.first_list, 70 + hour, sent)
        for reader in range(4):
            moment = sent + timedelta(hours=reader)
            account.add_event(OPEN, 70 + hour, f"{reader}@example.com", moment)
    whole = tap.run(clock=NOW)
    for before in whole.prefixes()[2::6]:
        rest, _ = resume(tap, before, days(1), config={"timezone": "Australia/Sydney"})
        # The dates of the rows follow the zone, and are no keys.
        for name, keys in keys_emitted(whole).items():
            assert keys_emitted(before, rest)[name].keys() == keys.keys()


# The account changes meanwhile.


def test_lists_that_vanish_or_come_between_runs_cost_nothing_else(make_tap: MakeTap) -> None:
    tap = runs.tiny_tap(make_tap, 8, lists=3)
    tap.catalog = None
    account = tap.service.account
    whole = tap.run(clock=NOW)
    before = whole.cut_within()
    gone = before.place()["list_id"]
    of_gone = {gone, *(int(str(each["MsgID"])) for each in account.messages(gone))}
    account.hide_list(gone)
    for list_id in (1, 999_999):
        account.add_list(list_id)
        account.add_contact(list_id, f"new{list_id}@example.com", START + timedelta(days=1))
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


@pytest.mark.parametrize("stream", ["message_opens", "message_sends"])
def test_a_message_in_progress_comes_if_a_reply_lacks_it(make_tap: MakeTap, stream: str) -> None:
    tap = runs.tiny_tap(make_tap, lists=1, counts={BY_NAME[stream].operation: 8})
    tap.catalog = catalog_of(stream)
    whole = tap.run(clock=NOW)
    before = whole.cut_within(stream)
    row = rb"<WSMessageActivity>((?!</WSMess).)*<MsgID>%d<.*?</WSMessageActivity>"
    row %= before.place(stream)["parent_id"]
    tap.change("messages", lambda body: re.sub(row, b"", body, flags=re.DOTALL))
    rest, _ = resume(tap, before, NOW)
    assert rows(before, rest).keys() == rows(whole).keys()


@pytest.mark.parametrize("page_size", [2, 5])
@pytest.mark.parametrize("stream", ["message_opens", "subscribed_contacts"])
def test_a_part_whose_last_written_page_is_another_by_now_begins_at_its_first(
    make_tap: MakeTap, stream: str, page_size: int
) -> None:
    tap = runs.tiny_tap(make_tap, lists=1, messages=1, contacts=20, counts={OPEN: 20})
    tap.catalog = catalog_of(stream)
    account = tap.service.account
    before = tap.run(clock=NOW).cut_within(stream)
    account.page_size, account.version = page_size, account.version + 1
    rest, asked = resume(tap, before, NOW)
    numbers = [int(ask.arguments["Page"]) for ask in asked if "Page" in ask.arguments]
    assert numbers[:2] == [before.place(stream)["page"], 1]
    assert rows(before, rest).keys() == rows(tap.run(clock=NOW)).keys()
