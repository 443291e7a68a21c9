"""A run that was cut off anywhere is finished by the next, which is complete to its own time."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import random
import threading
from collections import Counter
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fake_listrak import OPERATIONS, Ask
from fake_listrak.contract import MESSAGE_OPERATIONS
from tap_listrak.cli import main
from tap_listrak.streams import BY_NAME, PUBLISHED
from tap_listrak.sync import run as runner
from tests.support.accounts import list_ids
from tests.support.nights import set_aside
from tests.support.published import ALL_KEYS
from tests.support.runs import (
    BOOKMARKS,
    CLICK,
    CONCURRENCIES,
    MESSAGES,
    NOW,
    OPEN,
    START,
    TINY,
    addresses,
    asked_in,
    at,
    bookmarks,
    covers,
    cut_within,
    days,
    ends,
    entry,
    is_finished,
    msg_ids,
    pages,
    place,
    prefixes,
    refuse,
    rows,
    starts,
    text,
    tiny_tap,
    wire,
    without_message,
)
from tests.support.state_keeping import deep_merge
from tests.support.tap import MakeTap, Run, Tap, catalog_of, keys_emitted


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap that selects the published streams of an account of a few pages."""
    tap = tiny_tap(make_tap)
    tap.catalog = None
    return tap


AFTER_EVERY_PAGE = pytest.mark.usefixtures("state_behind_every_page")
LATER = days(3)


# Killed.


def _tap(arguments: list[str], out: str, seconds_between_states: float) -> None:
    """Be the tap in a process of its own."""
    runner.SECONDS_BETWEEN_STATES = seconds_between_states
    os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(os.open(f"{out}.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os._exit(main(arguments))


KILLS = int(os.environ.get("KILLS", "12"))
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["__main__", __name__])


def run_until(tap: Tap, calls: int, operation: str = "", *, wait: float, state: Any) -> Run:
    """Run the tap as a process, and kill it `wait` seconds after this many calls.

    Only calls of the operation count, if one is given. The code is that of the process if it ended
    before. Half lines are left out.
    """
    seen = count(1)
    reached = threading.Event()

    def watch(ask: Ask) -> None:
        if operation in ("", ask.operation) and next(seen) >= calls:
            reached.set()

    out = tap.folder / "out.jsonl"
    process = FORKS.Process(target=_tap, args=(tap.arguments(state=state), str(out), 0.01))
    tap.service.rules.append(watch)
    process.start()
    while process.is_alive() and not reached.wait(0.01):
        pass
    process.join(wait)
    process.kill()
    process.join()
    tap.service.rules.remove(watch)
    whole, end, _ = out.read_text("utf-8").rpartition("\n")
    assert process.exitcode is not None
    return Run(process.exitcode, whole + end, Path(f"{out}.err").read_text("utf-8"))


@CONCURRENCIES
def test_a_run_killed_many_times_gives_every_row_with_few_calls_more(
    make_tap: MakeTap, concurrency: int
) -> None:
    lists = 4
    tap = make_tap(
        config={"start_date": "2026-02-01", "concurrency": concurrency},
        latency=0.002,
        lists=lists,
        # More pages are in hand when the kill comes, for which a longer account makes up.
        messages=12 if concurrency == 1 else 50,
        start=START,
        end=NOW,
    )
    undisturbed, asked = asked_in(tap)
    needed = len(dated(asked))
    tap.service.asked.clear()

    chance = random.Random(f"killed {concurrency}")
    runs: list[Run] = []
    state: Any = None
    while not runs or runs[-1].code < 0:
        calls = chance.randrange(1, 3 * needed // (2 * KILLS)) if len(runs) < KILLS else 10**9
        runs.append(run_until(tap, calls, wait=chance.uniform(0, 0.01), state=state))
        state = runs[-1].state if runs[-1].states else state
    assert runs[-1].code == 0, runs[-1].err
    assert rows(*runs).keys() == rows(undisturbed).keys()
    assert is_finished(runs[-1].state)
    # The second pass of the last run is another range.
    first_end = min(ask.arguments["EndDate"] for ask in dated(tap.service.asked)
                    if ask.operation == OPEN)  # fmt: skip
    made = [ask for ask in dated(tap.service.asked) if ask.arguments["EndDate"] <= first_end]
    assert needed <= len(made) <= 1.2 * needed
    others = Counter(ask.operation for ask in tap.service.asked if "Page" not in ask.arguments)
    assert others[MESSAGES] <= (len(runs) + 1) * lists


def dated(asked: list[Ask]) -> list[Ask]:
    """The calls for pages within dates."""
    return [ask for ask in asked if {"Page", "EndDate"} <= ask.arguments.keys()]


@CONCURRENCIES
def test_runs_that_are_always_killed_soon_get_through_a_message_of_100_pages(
    make_tap: MakeTap, concurrency: int
) -> None:
    counts = {**dict.fromkeys(MESSAGE_OPERATIONS, 0), OPEN: 1_000}
    shape: dict[str, Any] = {"lists": 1, "messages": 1, "contacts": 0, "counts": counts}
    config = {"start_date": "2026-02-01", "concurrency": concurrency}
    tap = make_tap(config=config, latency=0.003, start=START, end=NOW, **shape)
    runs: list[Run] = []
    state: Any = None
    while not runs or runs[-1].code < 0:
        runs.append(run_until(tap, 1, OPEN, wait=0.1, state=state))
        assert len(runs) < 100
        state = runs[-1].state if runs[-1].states else state
    assert runs[-1].code == 0, runs[-1].err
    assert len(runs) > 2
    assert rows(*runs).keys() == rows(tap.run()).keys()


# From each STATE.


@CONCURRENCIES
@pytest.mark.parametrize(
    ("names", "step"),
    [([each.name for each in PUBLISHED], 2), (list(BY_NAME), 9)],
    ids=["published", "all"],
)
@AFTER_EVERY_PAGE
def test_resuming_from_any_state_gives_just_the_rest(
    make_tap: MakeTap, concurrency: int, names: list[str], step: int
) -> None:
    tap = tiny_tap(make_tap, concurrency)
    tap.catalog = catalog_of(*names)
    in_order = resumable(asked_in(tap, clock=at(NOW), config={"concurrency": 1})[1])
    whole = tap.run(clock=at(NOW))
    assert len(in_order) == len(set(in_order))
    claims_nothing, *cut = prefixes(whole)
    assert claims_nothing.of_type("RECORD") == []
    assert claims_nothing.states == [{"bookmarks": {}}]
    first = 0
    for before in cut[::step]:
        rest, asked = asked_in(tap, clock=at(NOW), state=before.state)
        assert rest.code == 0
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


def merged(*states: dict[str, Any]) -> dict[str, Any]:
    """What a deep merge makes of several states, each over the earlier ones."""
    whole: dict[str, Any] = {}
    for state in states:
        deep_merge(copy.deepcopy(state), whole)
    return whole


@AFTER_EVERY_PAGE
def test_a_state_backend_that_merges_states_loses_nothing(make_tap: MakeTap) -> None:
    tap = tiny_tap(make_tap, contacts=30)
    tap.catalog = None
    whole = tap.run(clock=at(NOW))
    for before in [*prefixes(whole)[::9], whole]:
        rest = tap.run(clock=at(LATER), state=merged(*before.states))
        assert rest.code == 0
        assert rows(before, rest).keys() == rows(whole).keys()


def test_a_target_that_kept_the_last_entry_of_one_stream_alone_loses_nothing(
    make_tap: MakeTap,
) -> None:
    tap = tiny_tap(make_tap)
    bad = min(int(str(each["MsgID"])) for each in tap.service.account.messages(345_001))
    refuse(tap, lambda ask: ask.operation == CLICK and ask.arguments["MsgID"] == str(bad))
    first = tap.run(clock=at(NOW))
    assert first.code == 0
    tap.service.rules.clear()
    whole = rows(tap.run(clock=at(NOW)))
    for name in ("message_opens", "message_clicks", "subscribed_contacts", "conversation_opens"):
        state = {"bookmarks": {name: entry(first, name)}}
        rest = tap.run(clock=at(days(1)), state=state)
        assert rest.code == 0
        kept = {row for row in rows(first) if row[0] == name}
        assert whole.keys() == rows(rest).keys() | kept


# Two passes.


@CONCURRENCIES
@AFTER_EVERY_PAGE
def test_a_run_after_one_that_was_cut_off_is_complete_to_its_own_time(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency)
    account = tap.service.account
    before = cut_within(tap.run(clock=at(NOW)))
    first, last = list_ids(account)
    for ListID in (first, last):
        msg_id = int(str(account.messages(ListID)[0]["MsgID"]))
        account.add_event(OPEN, msg_id, f"late{ListID}@example.com", days(1))
        account.add_contact(ListID, f"late{ListID}@example.com", days(1))
    account.add_message(first, 9_000_001, days(1))
    account.add_event(OPEN, 9_000_001, "new@example.com", days(2))
    rest, asked = asked_in(tap, clock=at(LATER), state=before.state)
    assert rest.code == 0
    assert rows(tap.run(clock=at(LATER))).keys() <= rows(before, rest).keys()
    assert set(bookmarks(rest).values()) == {text(LATER)}
    # What was left unfinished comes first, up to its own end.
    bounds = [ask.arguments["EndDate"] for ask in asked if ask.operation == OPEN]
    assert set(bounds) == {wire(NOW), wire(LATER)}
    assert bounds == sorted(bounds)
    new = {ask.arguments["StartDate"] for ask in asked if ask.arguments.get("EndDate") ==
           wire(LATER) and ask.operation == OPEN}  # fmt: skip
    assert new == {wire(days(-1))}


@AFTER_EVERY_PAGE
def test_each_range_is_finished_to_its_own_end_and_a_new_stream_begins_at_its_own_start(
    tap: Tap,
) -> None:
    tap.catalog = catalog_of("message_opens")
    opens = cut_within(tap.run(clock=at(NOW)))
    tap.catalog = catalog_of("message_clicks")
    newly, asked = asked_in(tap, clock=at(days(1)), state=opens.state)
    assert starts(asked, CLICK) == {wire(START)}
    clicks = cut_within(newly, "message_clicks")
    tap.catalog = catalog_of("message_opens", "message_clicks")
    rest, asked = asked_in(tap, clock=at(LATER), state=clicks.state)
    assert ends(asked) == {wire(NOW), wire(LATER)}
    assert ends(asked, CLICK) == {wire(days(1)), wire(LATER)}
    whole = keys_emitted(tap.run(clock=at(LATER)))
    assert keys_emitted(opens, clicks, rest)["message_opens"].keys() == (
        whole["message_opens"].keys()
    )
    assert keys_emitted(clicks, rest)["message_clicks"].keys() == whole["message_clicks"].keys()


@AFTER_EVERY_PAGE
def test_a_deselected_stream_keeps_its_entry_and_is_resumed_when_it_is_selected_again(
    tap: Tap,
) -> None:
    tap.catalog = both = catalog_of("message_opens", "message_clicks")
    before = cut_within(tap.run(clock=at(NOW)))
    alone = tap.run(clock=at(days(1)), catalog=catalog_of("message_clicks"), state=before.state)
    assert alone.records("message_opens") == []
    for state in alone.states:
        assert state["bookmarks"]["message_opens"] == entry(before)
    rest, asked = asked_in(tap, clock=at(LATER), state=alone.state, catalog=both)
    assert ends(asked) == {wire(NOW), wire(LATER)}
    assert rows(before, alone, rest).keys() == rows(tap.run(clock=at(LATER))).keys()


# Under another config.


@AFTER_EVERY_PAGE
@pytest.mark.parametrize(
    ("begun", "followed"),
    [
        ({}, [{"start_date": "2026-03-01"}, {}]),
        ({}, [{"start_date": text(days(1))}, {}]),
        ({"start_date": "2026-03-01"}, [{}]),
        ({"include_test_messages": False}, [{}, {}]),
        ({}, [{"interval_days": 1}]),
        ({"interval_days": 1}, [{}]),
        ({}, [{"interval_days": 7, "lookback_days": 3}]),
        ({}, [{"list_ids": [345_001]}, {}]),
        ({}, [{"list_ids": [345_018]}, {}]),
    ],
    ids=str,
)
def test_a_run_resumed_under_other_options_loses_nothing(
    tap: Tap, begun: dict[str, Any], followed: list[dict[str, Any]]
) -> None:
    account = tap.service.account
    account.add_message(345_001, 77, START + timedelta(days=3), test=True)
    account.add_event(OPEN, 77, "a@example.com", START + timedelta(days=4))
    whole, first = tap.run(clock=at(NOW)), tap.run(clock=at(NOW), config=begun)
    cut = prefixes(first)
    for before in [*cut[1 :: len(cut) // 4], cut_within(first, "subscribed_contacts")]:
        runs = [before]
        for day, config in enumerate(followed, 1):
            runs.append(tap.run(clock=at(days(day)), state=runs[-1].state, config=config))
            assert runs[-1].code == 0
        assert rows(*runs).keys() == rows(whole).keys()
        assert is_finished(runs[-1].state)
    bounds = [ask.arguments for ask in tap.service.asked if "EndDate" in ask.arguments]
    assert all(each["StartDate"] <= each["EndDate"] for each in bounds)


@AFTER_EVERY_PAGE
def test_a_later_start_date_leaves_old_messages_out_of_an_unfinished_range(tap: Tap) -> None:
    account, later = tap.service.account, "2026-03-01"
    old = {
        int(str(each["MsgID"]))
        for ListID in list_ids(account)
        for each in account.messages(ListID)
        if str(each["SendDate"]) < later
    }
    before = cut_within(tap.run(clock=at(NOW)))
    in_progress = {place(before, name).get("parent_id") for name in BOOKMARKS}
    _, asked = asked_in(tap, clock=at(NOW), state=before.state, config={"start_date": later})
    assert old
    assert not msg_ids(asked) & (old - in_progress)


@AFTER_EVERY_PAGE
@pytest.mark.parametrize("zone", ["Australia/Sydney", "America/New_York"])
def test_a_zone_that_changes_before_a_run_is_resumed_loses_nothing(
    make_tap: MakeTap, zone: str
) -> None:
    # No row is so near start_date that it is before it in another zone.
    tap = tiny_tap(make_tap, lists=1, messages=0, start=START + timedelta(days=2))
    tap.catalog = None
    # Another zone moves messages to another window.
    tap.config["interval_days"] = 1
    (ListID,) = list_ids(tap.service.account)
    for hour in range(6):
        sent = START + timedelta(days=9, hours=hour)
        tap.service.account.add_message(ListID, 70 + hour, sent)
        for reader in range(4):
            moment = sent + timedelta(hours=reader)
            tap.service.account.add_event(OPEN, 70 + hour, f"{reader}@example.com", moment)
    whole = tap.run(clock=at(NOW))
    for before in prefixes(whole)[1::7]:
        rest = tap.run(clock=at(days(1)), state=before.state, config={"timezone": zone})
        assert undated(before, rest) == undated(whole)


def undated(*runs: Run) -> set[tuple[Any, ...]]:
    """The keys of what was emitted, but for their dates, which follow the zone."""
    return {
        (name, *(part for column, part in zip(ALL_KEYS[name], key) if "Date" not in column))
        for name, keys in keys_emitted(*runs).items()
        for key in keys
    }


# What changes in the account meanwhile.


@CONCURRENCIES
@AFTER_EVERY_PAGE
def test_lists_that_vanish_or_come_while_a_run_is_interrupted_cost_nothing_else(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency, lists=3)
    tap.catalog = None
    account = tap.service.account
    whole = tap.run(clock=at(NOW))
    before = cut_within(whole)
    gone = place(before)["list_id"]
    of_gone = {gone, *(int(str(each["MsgID"])) for each in account.messages(gone))}
    account.hide_list(gone)
    for ListID in (1, 999_999):
        account.add_list(ListID)
        account.add_contact(ListID, f"new{ListID}@example.com", START + timedelta(days=1))
    rest = tap.run(clock=at(LATER), state=before.state)
    assert rest.code == 0
    for _, row in rows(whole) - rows(before, rest):
        assert of_gone & {json.loads(row).get("ListID"), json.loads(row).get("MsgID")}
    assert addresses(rest, "subscribed_contacts") >= {"new1@example.com", "new999999@example.com"}
    first_state = rest.states[0]["bookmarks"]["message_opens"]
    assert "place" not in first_state["unfinished"][0], "it is void"
    # A list that was not walked to its end is not covered, so it comes whole when it is back.
    assert gone not in covers(rest)["list_ids"]
    account.add_list(gone)
    back = tap.run(clock=at(days(4)), state=rest.state)
    assert rows(whole).keys() <= rows(before, rest, back).keys()


@CONCURRENCIES
@AFTER_EVERY_PAGE
def test_messages_that_vanish_or_come_while_a_run_is_interrupted_cost_nothing_else(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency, messages=4)
    tap.catalog = None
    account = tap.service.account
    whole = tap.run(clock=at(NOW))
    before = cut_within(whole)
    ListID, gone = place(before)["list_id"], place(before)["parent_id"]
    account.hide_message(gone)
    account.add_message(ListID, 9_000_001, NOW - timedelta(hours=1))
    account.add_event(OPEN, 9_000_001, "new@example.com", NOW - timedelta(minutes=1))
    rest = tap.run(clock=at(LATER), state=before.state)
    assert rest.code == 0
    lost = {json.loads(row)["MsgID"] for name, row in rows(whole) - rows(before, rest)
            if name.startswith("message_")}  # fmt: skip
    assert lost <= {gone}
    assert "new@example.com" in addresses(rest)


@AFTER_EVERY_PAGE
@pytest.mark.parametrize("stream", ["message_opens", "message_sends"])
def test_the_message_in_progress_is_requested_though_a_reply_of_messages_lacks_it(
    make_tap: MakeTap, stream: str
) -> None:
    tap = tiny_tap(make_tap, lists=1, counts={BY_NAME[stream].operation: 8})
    tap.catalog = catalog_of(stream)
    whole = tap.run(clock=at(NOW))
    for before in prefixes(whole):
        if place(before, stream).get("page"):
            tap.service.rules.append(without_message(place(before, stream)["parent_id"]))
            rest = tap.run(clock=at(NOW), state=before.state)
            assert rows(before, rest).keys() == rows(whole).keys()
            tap.service.rules.clear()


@AFTER_EVERY_PAGE
def test_a_message_in_progress_that_has_vanished_is_set_aside_until_it_is_back(
    make_tap: MakeTap,
) -> None:
    tap = tiny_tap(make_tap, lists=1, counts={OPEN: 8})
    tap.catalog = catalog_of("message_opens")
    account = tap.service.account
    whole = tap.run(clock=at(NOW))
    before = cut_within(whole)
    ListID, hidden = place(before)["list_id"], place(before)["parent_id"]
    sent = {int(str(row["MsgID"])): row["SendDate"] for row in account.messages(ListID)}[hidden]
    account.hide_message(hidden)
    rest = tap.run(clock=at(days(1)), state=before.state)
    (owed,) = set_aside(rest)
    assert owed["parent_id"] == hidden
    account.add_message(ListID, hidden, str(sent))
    last = tap.run(clock=at(LATER), state=rest.state)
    assert set_aside(last) == []
    assert rows(before, rest, last).keys() == rows(whole).keys()


# Pages that shift.


@AFTER_EVERY_PAGE
@pytest.mark.parametrize("page_size", [2, 3, 5])
@pytest.mark.parametrize("stream", ["message_opens", "subscribed_contacts"])
def test_a_part_whose_last_written_page_is_another_by_now_begins_at_its_first(
    make_tap: MakeTap, stream: str, page_size: int
) -> None:
    tap = tiny_tap(make_tap, lists=1, messages=1, contacts=20, counts={OPEN: 20})
    tap.catalog = catalog_of(stream)
    account = tap.service.account
    before = cut_within(tap.run(clock=at(NOW)), stream)
    written = place(before, stream)["page"]
    (ListID,) = list_ids(account)
    # A row that came late, and moves the others on by one; or pages of another size.
    if page_size == TINY["page_size"]:
        for number in range(3):
            early = START + timedelta(hours=1), f"early{number}@example.com"
            add_early(tap, stream, ListID, *early)
    account.page_size = page_size
    account.version += 1
    rest, asked = asked_in(tap, clock=at(NOW), state=before.state)
    requested = [int(ask.arguments["Page"]) for ask in asked if "Page" in ask.arguments]
    assert requested[0] == written
    assert rows(before, rest).keys() == rows(tap.run(clock=at(NOW))).keys()


def add_early(tap: Tap, stream: str, ListID: int, moment: datetime, email: str) -> None:
    account = tap.service.account
    if stream == "subscribed_contacts":
        account.add_contact(ListID, email, moment)
    else:
        account.add_event(OPEN, int(str(account.messages(ListID)[0]["MsgID"])), email, moment)


@AFTER_EVERY_PAGE
def test_a_page_of_something_set_aside_that_is_another_by_now_begins_it_at_its_first(
    make_tap: MakeTap,
) -> None:
    zone = {"timezone": "America/New_York"}
    tap = tiny_tap(make_tap, lists=1, counts={CLICK: 23}, timezone="America/New_York")
    tap.catalog = catalog_of("message_clicks")
    account = tap.service.account
    bad = min(int(str(each["MsgID"])) for each in account.messages(345_001))

    def is_refused(ask: Ask) -> bool:
        return ask.arguments.get("MsgID") == str(bad) and int(ask.arguments["Page"]) >= 4

    refuse(tap, is_refused)
    first = tap.run(clock=at(NOW), config=zone)
    assert set_aside(first)[0]["page"] == 3
    tap.service.rules.clear()
    account.add_event(CLICK, bad, "first@example.com", "2026-02-02T00:00:00")
    second = tap.run(clock=at(days(1)), config={"timezone": "UTC"}, state=first.state)
    assert set_aside(second) == []
    events = {str(event["EmailAddress"]) for event in account.events(CLICK, bad)}
    of_bad = [row for run in (first, second) for row in run.records("message_clicks")
              if row["MsgID"] == bad]  # fmt: skip
    assert {row["EmailAddress"] for row in of_bad} == events
