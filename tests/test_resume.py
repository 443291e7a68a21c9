"""A run that was cut off, or that follows another, gives the rest: nothing is lost."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import random
import threading
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta, timezone
from itertools import count, groupby
from pathlib import Path
from typing import Any

import pytest

from fake_listrak import FURTHER_OPERATIONS, OPERATIONS, Account, Ask
from fake_listrak.contract import MESSAGE_OPERATIONS
from tap_listrak.cli import main
from tap_listrak.streams import BY_NAME, PUBLISHED
from tap_listrak.sync import run as runner
from tests.support.published import ALL_KEYS
from tests.support.records import KINDS
from tests.support.runs import (
    BOOKMARKS,
    CLICK,
    CONCURRENCIES,
    CONTACTS,
    END,
    NO_TURNS,
    NOW,
    OF_LISTS,
    OPEN,
    START,
    TAKES_TURNS,
    TINY,
    asked_in,
    at,
    bookmarks,
    debts,
    pages,
    prefixes,
    rows,
    scope,
    seconds,
    starts,
    text,
    tiny_tap,
    wire,
)
from tests.support.state_keeping import deep_merge
from tests.support.tap import MakeTap, Run, Tap, catalog_of, keys_emitted, selecting

# Killed.


def _tap(arguments: list[str], out: str, seconds_between_states: float) -> None:
    """Be the tap, with a fast clock, in a process of its own."""
    runner.SECONDS_BETWEEN_STATES = seconds_between_states
    os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(os.open(f"{out}.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os._exit(main(arguments))


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["__main__", __name__])


def run_until(
    tap: Tap, calls: int, operation: str = "", *, wait: float, second: float, **files: Any
) -> Run:
    """Run the tap as a process, killed so long after so many calls (of one operation, or any).

    The code is that of the process if it ended before. Half lines are left out.
    """
    seen = count(1)
    reached = threading.Event()

    def watch(ask: Ask) -> None:
        if operation in ("", ask.operation) and next(seen) >= calls:
            reached.set()

    out = tap.folder / "out.jsonl"
    process = FORKS.Process(target=_tap, args=(tap.arguments(**files), str(out), second))
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


def others_asked(asked: Iterable[Ask]) -> Counter[str]:
    """By stream, how often was asked what has no pages."""
    calls = (ask for ask in asked if "Page" not in ask.arguments)
    return Counter(OPERATIONS[ask.operation].table for ask in calls)


def assert_few_others(others: Counter[str], *, runs: int, lists: int) -> None:
    """What other streams are asked by is asked in each run, and all else once, or cut off."""
    assert others["lists"] <= runs
    for name, calls in others.items():
        is_again = name in ("messages", "conversations")
        assert calls <= (runs * lists if is_again else runs + lists), name


@CONCURRENCIES
def test_a_run_killed_many_times_gives_every_row_with_few_calls_more(
    make_tap: MakeTap, concurrency: int
) -> None:
    kills, lists = (25 if concurrency == 1 else 50), 4
    tap = make_tap(
        config={"start_date": "2026-02-01", "concurrency": concurrency},
        latency=0.002,
        lists=lists,
        # More pages are in hand when the kill comes, for which a longer account makes up.
        messages=12 if concurrency == 1 else 110,
        start=START,
        end=END,
    ).selecting_all()
    undisturbed, asked = asked_in(tap)
    needed = len(pages(asked))
    tap.service.asked.clear()

    chance = random.Random(f"killed {concurrency}")
    runs: list[Run] = []
    state: Any = None
    while not runs or runs[-1].code < 0:
        calls = chance.randrange(1, 3 * needed // (2 * kills)) if len(runs) < kills else 10**9
        wait = chance.uniform(0, 0.01)
        runs.append(run_until(tap, calls, wait=wait, second=0.01, state=state))
        state = runs[-1].state if runs[-1].states else state
    assert runs[-1].code == 0, runs[-1].err
    assert [run.code for run in runs[:-1]] == [-9] * kills
    assert rows(*runs).keys() == rows(undisturbed).keys()
    assert len(set(bookmarks(runs[-1]).values())) == 1

    made = len(pages(tap.service.asked))
    others = others_asked(tap.service.asked)
    print(
        f"concurrency {concurrency}: {made} pages asked for in {len(runs)} runs, {needed} "
        f"undisturbed: {made / needed:.3f} times; besides {dict(others)}"
    )
    assert made <= 1.15 * needed
    assert_few_others(others, runs=len(runs), lists=lists)


@CONCURRENCIES
def test_runs_that_are_always_killed_soon_get_through_a_message_of_400_pages(
    make_tap: MakeTap, concurrency: int
) -> None:
    counts = dict.fromkeys(MESSAGE_OPERATIONS, 0)
    tap = make_tap(
        config={"start_date": "2026-02-01", "concurrency": concurrency},
        latency=0.003,
        lists=1,
        messages=1,
        contacts=0,
        counts={**counts, OPEN: 4_000},
        start=START,
        end=END,
    )
    second = 0.1
    runs: list[Run] = []
    state: Any = None
    while not runs or runs[-1].code < 0:
        wait = 1.5 * second
        runs.append(run_until(tap, 1, OPEN, wait=wait, second=second, state=state))
        assert len(runs) < 100
        state = runs[-1].state if runs[-1].states else state
    assert runs[-1].code == 0, runs[-1].err
    print(f"concurrency {concurrency}: {len(runs)} runs for 400 pages")
    assert len(runs) > 2
    undisturbed = tap.run()
    assert rows(*runs).keys() == rows(undisturbed).keys()


# The nine published streams: each of the others adds some hundred bytes.
@CONCURRENCIES
@pytest.mark.parametrize(
    "options", [{}, {"recent_days": 30, "older_every_days": 30}], ids=["plain", "turns"]
)
def test_the_state_of_100_000_messages_stays_small(
    make_tap: MakeTap, concurrency: int, options: dict[str, int]
) -> None:
    counts = dict.fromkeys(MESSAGE_OPERATIONS, 1)
    tap = make_tap(
        config={"start_date": "2026-02-01", "concurrency": concurrency},
        lists=20,
        messages=5_000,
        contacts=0,
        counts=counts,
        start=START,
        end=END,
    )
    ListIDs = sorted(int(str(each["ListID"])) for each in tap.service.account.lists())
    covers = {"start_date": "2026-02-01T00:00:00Z", "ListIDs": ListIDs}
    # The state grows with each list that is finished, so it is largest within the last.
    offset = {
        "start_date": "2026-02-01T00:00:00Z",
        "start": "2026-02-01T00:00:00Z",
        "end": "2026-03-02T00:00:00Z",
        "ListIDs": ListIDs[:-1],
    }
    state: dict[str, Any] = {"bookmarks": {}}
    for stream in PUBLISHED:
        entry: dict[str, Any] = {"offset": offset}
        if stream.replication_key:
            entry |= {stream.replication_key: "2026-03-01T00:00:00Z", "covers": covers}
        if stream.can_rotate and options:
            # The range has no one start: each message goes on from where it was asked last.
            entry["offset"] = {**offset, **options, "start": None}
            asked_until = datetime(2026, 3, 1, tzinfo=timezone.utc)
            classes = [seconds(asked_until)] * options["older_every_days"]
            entry["turns"] = {**options, "recent": text(asked_until), "classes": classes}
        state["bookmarks"][stream.name] = entry
    run = run_until(tap, 30, OPEN, wait=0.05, second=0.0, state=state, config=options)
    assert run.code == -9, run.err
    last = run.state
    assert len(last["bookmarks"]) == 9
    assert all(entry["offset"] for entry in last["bookmarks"].values())
    opens = last["bookmarks"]["message_opens"]
    assert opens["offset"]["ListID"] == ListIDs[-1]
    assert opens["offset"]["MsgID"]
    assert opens["covers"]["ListIDs"] == ListIDs
    assert len(opens["turns"]["classes"]) == options.get("older_every_days", 0)
    written = [line for line in run.out.split("\n") if line.startswith('{"type":"STATE"')]
    size = max(len(line.encode()) for line in written)
    print(f"a STATE of 100,000 messages has {size} bytes")
    assert size < 10_000


# Going on from each STATE.


@CONCURRENCIES
@pytest.mark.parametrize(
    ("names", "step"),
    [([each.name for each in PUBLISHED], 1), (list(BY_NAME), 7)],
    ids=["published", "all"],
)
@pytest.mark.usefixtures("state_behind_every_page")
def test_going_on_from_any_state_gives_just_the_rest(
    make_tap: MakeTap, concurrency: int, names: list[str], step: int
) -> None:
    tap = tiny_tap(make_tap, concurrency)
    tap.catalog = catalog_of(*names)
    step = max(step, concurrency)
    in_order = pages(asked_in(tap, clock=at(NOW), config={"concurrency": 1})[1])
    whole = tap.run(clock=at(NOW))
    assert len(in_order) == len(set(in_order))
    cut = prefixes(whole)
    assert len(cut) > 50
    first = 0
    later = NOW + timedelta(days=3)
    claims_nothing, *cut = cut
    assert claims_nothing.of_type("RECORD") == []
    assert claims_nothing.states == [{"bookmarks": {}}]
    anew = tap.run(clock=at(later), state=claims_nothing.state)
    assert rows(anew).keys() == rows(whole).keys()
    assert set(bookmarks(anew).values()) == {text(later)}
    for before in cut[::step]:
        state = before.state
        rest, asked = asked_in(tap, clock=at(later), state=state)
        assert rest.code == 0
        if state == whole.state:
            break  # a complete one: the next run is another
        assert rows(before, rest).keys() == rows(whole).keys()
        assert bookmarks(rest) == bookmarks(whole)
        assert rest.state == whole.state
        assert_few_twice(rows(before, rest) - rows(whole))
        places = sorted(in_order.index(page) for page in pages(asked))
        assert places == list(range(len(in_order) - len(places), len(in_order)))
        assert len(in_order) - len(places) >= first
        first = len(in_order) - len(places)
        others = others_asked(asked)
        assert others["lists"] == 1
        assert set(others.values()) <= {1, TINY["lists"]}
    assert first > len(in_order) - 2 * step


def assert_few_twice(twice: Counter[tuple[str, str]]) -> None:
    """One page came twice, and what has no pages of one list."""
    records = [(name, json.loads(row)) for name, row in twice.elements()]
    paged = [name for name, _ in records if "Page" in KINDS[name].arguments]
    lists = {record["ListID"] for name, record in records if "Page" not in KINDS[name].arguments}
    assert len(paged) <= TINY["page_size"]
    assert len(lists) <= 1
    assert max(twice.values(), default=1) == 1


def merged(states: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What some state backends make of several states: objects are merged, all else is replaced."""
    whole: dict[str, Any] = {}
    for state in states:
        deep_merge(copy.deepcopy(state), whole)
    return whole


@pytest.mark.usefixtures("state_behind_every_page")
def test_a_state_backend_that_merges_states_loses_nothing(make_tap: MakeTap) -> None:
    tap = tiny_tap(make_tap, contacts=30)
    whole = tap.run(clock=at(NOW))
    later = NOW + timedelta(days=3)
    for before in prefixes(whole)[::9]:
        rest = tap.run(clock=at(later), state=merged(before.states))
        assert rest.code == 0
        assert rows(before, rest).keys() == rows(whole).keys()
    MsgID = int(str(tap.service.account.messages(345_018)[0]["MsgID"]))
    tap.service.account.add_event(OPEN, MsgID, "late@example.com", NOW + timedelta(hours=1))
    after = tap.run(clock=at(later), state=merged(whole.states))
    assert set(bookmarks(after).values()) == {text(later)}
    assert [row["EmailAddress"] for row in after.records("message_opens")] == ["late@example.com"]


# What follows a run that was cut off, under another config.


def followed(tap: Tap, before: Run, *configs: dict[str, Any]) -> list[Run]:
    """Runs, a day apart, from where one was cut off, each under its config."""
    runs = [before]
    for day, config in enumerate(configs, 1):
        later = at(NOW + timedelta(days=day))
        runs.append(tap.run(clock=later, state=runs[-1].state, config=config))
    assert all(run.code == 0 for run in runs)
    return runs


@CONCURRENCIES
@pytest.mark.usefixtures("state_behind_every_page")
def test_a_start_date_set_later_for_the_rest_of_a_run_and_then_back_loses_nothing(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency, messages=4)
    whole = tap.run(clock=at(NOW))
    cut = prefixes(whole)
    for before in cut[:: len(cut) // 6]:
        runs = followed(tap, before, {"start_date": "2026-03-10"}, {"start_date": "2026-02-01"})
        assert rows(*runs).keys() == rows(whole).keys()


@CONCURRENCIES
@pytest.mark.parametrize("zone", ["Australia/Sydney", "America/New_York"])
@pytest.mark.usefixtures("state_behind_every_page")
def test_a_zone_that_changes_before_a_run_goes_on_loses_nothing(
    make_tap: MakeTap, concurrency: int, zone: str
) -> None:
    # No row so near start_date that it is before it in another zone.
    dates = {"start": START + timedelta(days=2)}
    tap = tiny_tap(make_tap, concurrency, lists=1, messages=0, **dates)
    ListID = int(str(tap.service.account.lists()[0]["ListID"]))
    for hour in range(6):
        sent = START + timedelta(days=9, hours=hour)
        tap.service.account.add_message(ListID, 70 + hour, sent)
        for reader in range(4):
            when = sent + timedelta(hours=reader)
            tap.service.account.add_event(OPEN, 70 + hour, f"{reader}@example.com", when)
    whole = tap.run(clock=at(NOW))
    cut = prefixes(whole)
    for before in cut[:: len(cut) // 6]:
        runs = followed(tap, before, {"timezone": zone})
        assert undated(*runs) == undated(whole)


def undated(*runs: Run) -> set[tuple[Any, ...]]:
    """The keys of what was emitted, but for their dates, which follow the zone."""
    return {
        (
            stream,
            *(value for name, value in zip(ALL_KEYS[stream], key) if not name.endswith("Date")),
        )
        for stream, keys in keys_emitted(*runs).items()
        for key in keys
    }


@CONCURRENCIES
@pytest.mark.usefixtures("state_behind_every_page")
def test_test_messages_that_are_wanted_later_come_whole(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency)
    ListID = min(int(str(row["ListID"])) for row in tap.service.account.lists())
    tap.service.account.add_message(ListID, 77, START + timedelta(days=3), test=True)
    tap.service.account.add_event(OPEN, 77, "a@example.com", START + timedelta(days=4))
    whole = tap.run(clock=at(NOW))
    without = tap.run(clock=at(NOW), config={"include_test_messages": False})
    assert not [row for row in without.records("message_opens") if row["MsgID"] == 77]
    for before in (*prefixes(without)[::25], without):
        runs = followed(tap, before, {}, {})
        assert rows(*runs).keys() == rows(whole).keys()
        assert all(scope(runs[-1], name)["include_test_messages"] is True for name in OF_LISTS)


def half(run: Run, *, within: str | None = None) -> Run:
    """The first half of a run, up to a STATE; or up to one within a message of this stream."""
    cut = prefixes(run)
    if within is None:
        return cut[len(cut) // 2]
    inside = [
        each
        for each in cut
        if (each.state["bookmarks"].get(within, {}).get("offset") or {}).get("Page")
    ]
    return inside[len(inside) // 2]


@CONCURRENCIES
@pytest.mark.usefixtures("state_behind_every_page")
def test_a_resumed_run_finishes_the_interrupted_range_and_stops_there(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    before = half(whole)
    MsgID = int(str(tap.service.account.messages(345_018)[0]["MsgID"]))
    tap.service.account.add_event(OPEN, MsgID, "late@example.com", NOW + timedelta(hours=1))
    later = NOW + timedelta(days=2)
    rest, asked = asked_in(tap, clock=at(later), state=before.state)
    ends = {ask.arguments["EndDate"] for ask in asked if "EndDate" in ask.arguments}
    assert max(ends) == wire(NOW)
    assert set(bookmarks(rest).values()) == {text(NOW)}
    assert "late@example.com" not in rest.out
    following, asked = asked_in(tap, clock=at(later), state=rest.state)
    assert starts(asked, OPEN) == {wire(NOW - timedelta(days=1))}
    assert set(bookmarks(following).values()) == {text(later)}
    assert "late@example.com" in following.out


@CONCURRENCIES
@pytest.mark.usefixtures("state_behind_every_page")
def test_a_stream_newly_selected_starts_at_its_own_beginning_and_ends_with_the_others(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency)
    catalog = tap.discover()
    whole = tap.run(clock=at(NOW), catalog=selecting(catalog, "message_opens"))
    both = selecting(catalog, "message_opens", "message_clicks")
    state = half(whole, within="message_opens").state
    later = at(NOW + timedelta(days=2))
    rest, asked = asked_in(tap, clock=later, catalog=both, state=state)
    assert rest.code == 0
    assert starts(asked, CLICK) == {"2026-02-01T00:00:00"}
    assert bookmarks(rest) == {"message_opens": text(NOW), "message_clicks": text(NOW)}
    held = tap.run(clock=at(NOW), catalog=both)
    assert rest.records("message_clicks") == held.records("message_clicks")


@CONCURRENCIES
@pytest.mark.usefixtures("state_behind_every_page")
def test_a_deselected_stream_keeps_its_offset_and_goes_on_when_it_is_selected_again(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency)
    catalog = tap.discover()
    both = selecting(catalog, "message_opens", "message_clicks")
    whole = tap.run(clock=at(NOW), catalog=both)
    before = half(whole, within="message_opens")
    offset = before.state["bookmarks"]["message_opens"]["offset"]
    clicks = selecting(catalog, "message_clicks")
    alone = tap.run(clock=at(NOW + timedelta(days=1)), catalog=clicks, state=before.state)
    state = alone.state
    assert state["bookmarks"]["message_opens"]["offset"] == offset
    ListIDs = sorted(int(str(each["ListID"])) for each in tap.service.account.lists())
    assert state["bookmarks"]["message_clicks"] == {
        "ClickDate": text(NOW),
        "covers": {
            "start_date": "2026-02-01T00:00:00Z",
            "ListIDs": ListIDs,
            "include_test_messages": True,
        },
        "offset": dict.fromkeys(offset) | {"ListIDs": []},
        "set_aside": [],
        "turns": NO_TURNS,
    }
    assert alone.records("message_opens") == []
    both = selecting(catalog, "message_opens", "message_clicks")
    later = at(NOW + timedelta(days=2))
    rest, asked = asked_in(tap, clock=later, catalog=both, state=state)
    assert CLICK not in {ask.operation for ask in asked}
    assert rows(before, alone, rest).keys() == rows(whole).keys()
    assert bookmarks(rest) == bookmarks(whole)


# The published streams beside further ones.


def entries_of(run: Run, name: str) -> list[Any]:
    """What the STATEs of a run hold of a stream, one after the other."""
    entries = [state["bookmarks"].get(name) for state in run.states]
    return [entry for entry, _ in groupby(entries)]


@pytest.mark.usefixtures("state_behind_every_page")
def test_states_say_the_same_of_published_streams_whether_or_not_others_are_selected(
    make_tap: MakeTap,
) -> None:
    tap = tiny_tap(make_tap)
    both = tap.run(clock=at(NOW))
    tap.catalog = None
    alone = tap.run(clock=at(NOW))
    for stream in PUBLISHED:
        assert entries_of(both, stream.name) == entries_of(alone, stream.name)
        assert both.records(stream.name) == alone.records(stream.name)
    assert alone.state["bookmarks"].keys() == {stream.name for stream in PUBLISHED}


# Turns.

TURNS = {"recent_days": 14, "older_every_days": 5}
BEFORE = NOW - timedelta(days=3)


def events_since(tap: Tap, moment: datetime) -> None:
    """Add an event of each kind to every message, a little after a moment."""
    account = tap.service.account
    late = moment + timedelta(hours=1)
    for each in account.lists():
        for message in account.messages(int(str(each["ListID"]))):
            MsgID = int(str(message["MsgID"]))
            for name in TAKES_TURNS & {stream.name for stream in PUBLISHED}:
                account.add_event(KINDS[name].name, MsgID, "late@example.com", late)


@CONCURRENCIES
@pytest.mark.usefixtures("state_behind_every_page")
def test_a_range_by_turns_is_finished_as_it_was_begun_whatever_the_options_are_by_then(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency, messages=8)
    first = tap.run(clock=at(BEFORE), config=TURNS)
    assert bookmarks(first).keys() == BOOKMARKS.keys()
    events_since(tap, BEFORE)
    whole, asked = asked_in(tap, clock=at(NOW), config=TURNS, state=first.state)
    opened = {ask.arguments["MsgID"] for ask in asked if ask.operation == OPEN}
    assert 0 < len(opened) < 16
    claims_nothing, *cut = prefixes(whole)
    assert claims_nothing.states == [first.state]
    later = NOW + timedelta(days=1)
    for before in cut[:: len(cut) // 5]:
        state = before.state
        # Without a start, an older version refuses the offset, rather than ask less than is owed.
        for name in TAKES_TURNS:
            offset = state["bookmarks"][name]["offset"]
            assert {**offset, **TURNS, "start": None} == offset
        for config in (TURNS, {}, {"recent_days": 1, "older_every_days": 9}):
            rest = tap.run(clock=at(later), config=config, state=state)
            assert rest.code == 0
            assert rows(before, rest).keys() == rows(whole).keys()
            assert rest.state == whole.state


@pytest.mark.parametrize(
    "options", [{}, {**TURNS, "recent_days": 20}, {**TURNS, "older_every_days": 9}], ids=str
)
def test_other_options_ask_every_message_from_the_oldest_bookmark(
    make_tap: MakeTap, options: dict[str, int]
) -> None:
    tap = tiny_tap(make_tap, messages=8)
    runs = [tap.run(clock=at(BEFORE), config=TURNS)]
    events_since(tap, BEFORE)
    runs.append(tap.run(clock=at(NOW), config=TURNS, state=runs[-1].state))
    assert bookmarks(runs[-1])["message_opens"] == text(BEFORE)
    later = NOW + timedelta(hours=1)
    last, asked = asked_in(tap, clock=at(later), config=options, state=runs[-1].state)
    assert starts(asked, OPEN) == {wire(BEFORE - timedelta(days=1))}
    assert set(bookmarks(last).values()) == {text(later)}
    everything = tap.run(clock=at(later))
    assert keys_emitted(*runs, last)["message_opens"].keys() == (
        keys_emitted(everything)["message_opens"].keys()
    )


@pytest.mark.parametrize("days", [-20, 2], ids=["back by hand", "forward by an older version"])
def test_a_bookmark_that_was_moved_counts_for_every_message(make_tap: MakeTap, days: int) -> None:
    tap = tiny_tap(make_tap, messages=8)
    first = tap.run(clock=at(BEFORE), config=TURNS)
    state = first.state
    moved = BEFORE + timedelta(days=days)
    for name in TAKES_TURNS:
        state["bookmarks"][name][BOOKMARKS[name]] = text(moved)
    run, asked = asked_in(tap, clock=at(NOW), config=TURNS, state=state)
    assert run.code == 0
    opened = {ask.arguments["MsgID"] for ask in asked if ask.operation == OPEN}
    assert starts(asked, OPEN) == {wire(moved - timedelta(days=1))}
    assert (len(opened) == 16) == (days < 0)
    turns = run.state["bookmarks"]["message_opens"]["turns"]
    assert {**turns, "classes": sorted(set(turns["classes"]))} == {
        **TURNS,
        "recent": text(NOW),
        "classes": [seconds(NOW)] if days < 0 else [seconds(moved), seconds(NOW)],
    }


# States of version 1.1.0.


def of_version_1_1_0(state: dict[str, Any]) -> dict[str, Any]:
    """The state as version 1.1.0 wrote it, without what was added since."""
    added = {"turns", "version", "recent_days", "older_every_days", "mirrored"}
    older: dict[str, Any] = json.loads(
        json.dumps(state),
        object_hook=lambda value: {key: value[key] for key in value if key not in added},
    )
    return older


@CONCURRENCIES
@pytest.mark.parametrize("options", [{}, TURNS, {"mirror": "messages"}], ids=str)
@pytest.mark.usefixtures("state_behind_every_page")
def test_a_state_of_version_1_1_0_goes_on_and_nothing_is_lost(
    make_tap: MakeTap, concurrency: int, options: dict[str, Any]
) -> None:
    tap = tiny_tap(make_tap, concurrency)
    tap.catalog = None
    whole = tap.run(clock=at(NOW))
    tap.selecting_all()
    everything = rows(tap.run(clock=at(NOW))).keys()
    cut = prefixes(whole)[1:]
    for before in (*cut[:: len(cut) // 3], whole):
        state = of_version_1_1_0(before.state)
        rest = tap.run(clock=at(NOW), config=options, state=state)
        assert rest.code == 0
        assert everything <= rows(before, rest).keys()
        assert set(bookmarks(rest).values()) == {text(NOW)}


# States of version 1.0.0.

# Each holds a state that version 1.0.0 wrote for the account of the test, and by stream the keys of
# the rows that it had not written by then.
RECORDED = sorted((Path(__file__).parent / "data").glob("state-1.0.0-*.json"))


@CONCURRENCIES
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
@pytest.mark.usefixtures("state_behind_every_page")
def test_a_state_of_version_1_0_0_goes_on_and_nothing_is_lost(
    make_tap: MakeTap, concurrency: int, path: Path
) -> None:
    recorded = json.loads(path.read_text("utf-8"))
    tap = tiny_tap(make_tap, concurrency, counts={OPEN: 7})
    tap.catalog = None
    owed = {(stream, *key) for stream, keys in recorded["owed"].items() for key in keys}
    assert owed

    def emitted(*runs: Run) -> set[tuple[Any, ...]]:
        return {(stream, *key) for stream, keys in keys_emitted(*runs).items() for key in keys}

    state = recorded["state"]
    emptied: dict[str, Any] = {"covers": None, "set_aside": []}
    at_the_top = {key: emptied[key] for key in state if key != "bookmarks"}
    later = at(NOW + timedelta(days=1))
    run = tap.run(clock=later, state=state)
    assert run.code == 0
    assert run.lines("WARNING") == []
    assert owed <= emitted(run)
    assert debts(run) == []
    for each in run.states:
        assert {key: each[key] for key in each if key != "bookmarks"} == at_the_top
    end = NOW if "offset" in state["bookmarks"]["message_opens"] else NOW + timedelta(days=1)
    assert set(bookmarks(run).values()) == {text(end)}
    for before in prefixes(run):
        rest = tap.run(clock=later, state=before.state)
        assert rest.code == 0
        assert owed <= emitted(before, rest)
        assert debts(rest) == []


def test_states_of_version_1_0_0_of_three_kinds_are_recorded() -> None:
    states = [json.loads(path.read_text("utf-8"))["state"] for path in RECORDED]
    opens = [state["bookmarks"]["message_opens"] for state in states]
    assert any(
        state.get("set_aside") and "offset" not in of
        for state, of in zip(states, opens, strict=True)
    )
    assert any(of.get("offset", {}).get("Page") for of in opens)
    assert any("covers" in of for of in opens)


# Changes between runs.


@CONCURRENCIES
@pytest.mark.usefixtures("state_behind_every_page")
def test_messages_that_vanish_or_come_while_a_run_is_interrupted_cost_nothing_else(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency, messages=4)
    account = tap.service.account
    whole = tap.run(clock=at(NOW))
    before = half(whole, within="message_opens")
    offset = before.state["bookmarks"]["message_opens"]["offset"]
    account.hide_message(offset["MsgID"])
    account.add_message(offset["ListID"], 9_000_001, NOW - timedelta(hours=1))
    account.add_event(OPEN, 9_000_001, "new@example.com", NOW - timedelta(minutes=1))
    account.add_message(offset["ListID"], 9_000_002, NOW + timedelta(hours=1))
    account.add_event(OPEN, 9_000_002, "newer@example.com", NOW + timedelta(hours=2))
    later = at(NOW + timedelta(days=3))
    rest = tap.run(clock=later, state=before.state)
    assert rest.code == 0
    lost = {json.loads(row)["MsgID"] for name, row in rows(whole) - rows(before, rest)
            if name.startswith("message_")}  # fmt: skip
    assert lost <= {offset["MsgID"]}
    assert "new@example.com" in rest.out
    assert bookmarks(rest) == bookmarks(whole)
    following = tap.run(clock=later, state=rest.state)
    assert "newer@example.com" in following.out


@CONCURRENCIES
@pytest.mark.usefixtures("state_behind_every_page")
def test_lists_that_vanish_or_come_while_a_run_is_interrupted_cost_nothing_else(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency, lists=3)
    account = tap.service.account
    whole = tap.run(clock=at(NOW))
    before = half(whole, within="message_opens")
    gone = before.state["bookmarks"]["message_opens"]["offset"]["ListID"]
    of_gone = {
        "ListID": {gone},
        "MsgID": {int(str(each["MsgID"])) for each in account.messages(gone)},
        "ConversationID": set(account.conversation_ids(gone)),
    }
    account.hide_list(gone)
    for ListID in (1, 999_999):
        account.add_list(ListID)
        account.add_contact(ListID, f"new{ListID}@example.com", START + timedelta(days=1))
    rest = tap.run(clock=at(NOW + timedelta(days=3)), state=before.state)
    assert rest.code == 0
    for name, row in rows(whole) - rows(before, rest):
        record = json.loads(row)
        assert any(record.get(key) in IDs for key, IDs in of_gone.items()), name
    assert "new1@example.com" in rest.out
    assert "new999999@example.com" in rest.out
    assert bookmarks(rest) == bookmarks(whole)


@CONCURRENCIES
@pytest.mark.usefixtures("state_behind_every_page")
def test_a_new_list_before_the_one_in_progress_takes_no_place_from_it(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    before = half(whole, within="message_opens")
    tap.service.account.add_list(1)
    rest = tap.run(clock=at(NOW), state=before.state)
    again = half(rest)
    end = tap.run(clock=at(NOW), state=again.state)
    assert rows(whole).keys() <= rows(before, again, end).keys()
    assert rows(whole).keys() <= rows(before, rest).keys()


@CONCURRENCIES
@pytest.mark.parametrize("changed", [{"interval_days": 1}, {"lookback_days": 30},
                                     {"interval_days": 7, "lookback_days": 3}])  # fmt: skip
@pytest.mark.usefixtures("state_behind_every_page")
def test_windows_and_lookback_may_change_while_a_run_is_interrupted(
    make_tap: MakeTap, concurrency: int, changed: dict[str, int]
) -> None:
    tap = tiny_tap(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    for within in ("message_opens", "subscribed_contacts"):
        before = half(whole, within=within)
        later = at(NOW + timedelta(days=3))
        rest = tap.run(clock=later, state=before.state, config=changed)
        assert rest.code == 0
        assert rows(before, rest).keys() == rows(whole).keys()
        assert bookmarks(rest) == bookmarks(whole)


@CONCURRENCIES
def test_a_list_newly_granted_is_walked_from_start_date_and_the_others_are_not(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    old, new = sorted(int(str(each["ListID"])) for each in tap.service.account.lists())
    tap.service.account.hide_list(new)
    first = tap.run(clock=at(NOW))
    assert all(scope(first, name)["ListIDs"] == [old] for name in OF_LISTS)
    tap.service.account.add_list(new)
    second, asked = asked_in(tap, clock=at(NOW + timedelta(days=5)), state=first.state)
    assert rows(first, second).keys() == rows(whole).keys()
    of_new = [ask for ask in asked if ask.arguments.get("ListID") == str(new)]
    of_old = [ask for ask in asked if ask.arguments.get("ListID") == str(old)]
    whole_range, next_range = {"2026-02-01T00:00:00"}, {wire(NOW - timedelta(days=1))}
    for name in ranged(OF_LISTS):
        operation = KINDS[name].name
        if KINDS[name].asked_by == "list":
            assert starts(of_new, operation) == whole_range
            assert starts(of_old, operation) == next_range
        else:
            assert starts(asked, operation) == whole_range | next_range
    assert starts(asked, KINDS["complaints"].name) == next_range
    assert all(scope(second, name)["ListIDs"] == [old, new] for name in OF_LISTS)


def ranged(names: Collection[str]) -> list[str]:
    """Those of these streams that are asked for a range of dates, in pages."""
    return [name for name in names if {"Page", "StartDate"} <= KINDS[name].arguments.keys()]


@CONCURRENCIES
def test_list_ids_narrowed_and_widened_lose_nothing(make_tap: MakeTap, concurrency: int) -> None:
    tap = tiny_tap(make_tap, concurrency)
    one, other = sorted(int(str(each["ListID"])) for each in tap.service.account.lists())
    chosen: list[list[int] | None] = [[one], None, [other], [one], [other], None]
    runs: list[Run] = []
    for day, list_ids in enumerate(chosen):
        moment = NOW + timedelta(days=5 * day)
        for ListID in (one, other):
            contact = f"day{day}@example.com"
            tap.service.account.add_contact(ListID, contact, moment - timedelta(days=3))
        state = runs[-1].state if runs else None
        runs.append(tap.run(clock=at(moment), state=state, config={"list_ids": list_ids}))
        assert runs[-1].code == 0
    whole = tap.run(clock=at(NOW + timedelta(days=25)))
    assert rows(*runs).keys() == rows(whole).keys()


@CONCURRENCIES
def test_an_earlier_start_date_walks_everything_again_and_says_so(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    first = tap.run(clock=at(NOW), config={"start_date": "2026-03-01"})
    assert rows(first).keys() < rows(whole).keys()
    second, asked = asked_in(tap, clock=at(NOW), state=first.state)
    assert rows(second).keys() == rows(whole).keys()
    assert starts(asked, OPEN) == starts(asked, CONTACTS) == {"2026-02-01T00:00:00"}
    assert "start_date is earlier than before" in "\n".join(second.lines("WARNING"))
    third, asked = asked_in(tap, clock=at(NOW), state=second.state)
    assert third.lines("WARNING") == []
    assert starts(asked, OPEN) == {wire(NOW - timedelta(days=1))}


@CONCURRENCIES
@pytest.mark.usefixtures("state_behind_every_page")
def test_an_earlier_start_date_than_that_of_an_interrupted_run_loses_nothing(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency)
    whole = tap.run(clock=at(NOW))
    first = half(tap.run(clock=at(NOW), config={"start_date": "2026-03-01"}))
    second = tap.run(clock=at(NOW), state=first.state)
    assert "start_date is earlier than before" in "\n".join(second.lines("WARNING"))
    again = half(second)
    third = tap.run(clock=at(NOW), state=again.state)
    assert rows(first, again, third).keys() == rows(whole).keys()
    assert rows(first, second).keys() == rows(whole).keys()


@CONCURRENCIES
def test_a_state_without_covers_covers_every_list_seen(make_tap: MakeTap, concurrency: int) -> None:
    tap = tiny_tap(make_tap, concurrency)
    state = {"bookmarks": {name: {field: text(NOW)} for name, field in BOOKMARKS.items()}}
    run, asked = asked_in(tap, clock=at(NOW + timedelta(days=5)), state=state)
    assert starts(asked, OPEN) == starts(asked, CONTACTS) == {wire(NOW - timedelta(days=1))}
    ListIDs = sorted(int(str(each["ListID"])) for each in tap.service.account.lists())
    for name in OF_LISTS:
        assert run.states[0]["bookmarks"][name]["covers"]["ListIDs"] == ListIDs
        assert scope(run, name)["ListIDs"] == ListIDs


# Times.


@CONCURRENCIES
def test_rows_that_arrive_late_are_found_within_the_lookback(
    make_tap: MakeTap, concurrency: int
) -> None:
    tap = tiny_tap(make_tap, concurrency)
    account = tap.service.account
    first = tap.run(clock=at(NOW))
    late = NOW - timedelta(hours=23)
    ListID = int(str(account.lists()[0]["ListID"]))
    MsgID = int(str(account.messages(ListID)[0]["MsgID"]))
    parents = {
        "message": MsgID,
        "conversation": account.conversation_ids(ListID)[0],
        "list": ListID,
        "account": None,
    }
    dated = ranged(BY_NAME)
    for name in dated:
        kind, email = KINDS[name], f"{name}@example.com"
        if kind.name in FURTHER_OPERATIONS:
            fields: dict[str, Any] = {"FileName": email} if name == "imports" else {}
            if name == "message_passalongs":
                fields |= {"FromEmailAddress": email, "ToEmailAddress": email}
            elif name != "imports":
                fields |= {"EmailAddress": email}
            if name == "complaints":
                fields |= {"ListID": str(ListID), "MessageID": str(MsgID)}
            account.add_row(kind.name, parents[kind.asked_by], late, **fields)
        elif kind.asked_by == "message":
            account.add_event(kind.name, MsgID, email, late)
        else:
            account.add_contact(ListID, email, late)
    account.add_message(ListID, 9_000_001, late)
    account.add_event("ReportMessageContactSent", 9_000_001, "sent@example.com")
    second = tap.run(clock=at(NOW + timedelta(days=1)), state=first.state)
    for name in dated:
        assert any(f"{name}@example.com" in record.values() for record in second.records(name))
    assert "sent@example.com" in [each["EmailAddress"] for each in second.records("message_sends")]


def test_a_clock_set_back_moves_no_bookmark_back(make_tap: MakeTap) -> None:
    tap = tiny_tap(make_tap)
    first = tap.run(clock=at(NOW))
    earlier = NOW - timedelta(hours=6)
    second, asked = asked_in(tap, clock=at(earlier), state=first.state)
    assert second.code == 0
    assert bookmarks(second) == bookmarks(first)
    assert starts(asked, OPEN) == {wire(earlier - timedelta(days=1))}
    assert len(second.lines("WARNING")) == len(BOOKMARKS)


def test_a_start_date_that_is_now_asks_for_an_instant(make_tap: MakeTap) -> None:
    tap = tiny_tap(make_tap)
    run, asked = asked_in(tap, clock=at(NOW), config={"start_date": text(NOW)})
    assert run.code == 0
    bounds = {(each.arguments["StartDate"], each.arguments["EndDate"])
              for each in asked if "EndDate" in each.arguments}  # fmt: skip
    assert bounds == {(wire(NOW), wire(NOW))}
    assert set(bookmarks(run).values()) == {text(NOW)}


def test_a_run_over_midnight_ends_its_range_where_it_began(make_tap: MakeTap) -> None:
    tap = tiny_tap(make_tap)
    begin = datetime(2026, 3, 19, 23, 58, tzinfo=timezone.utc)
    minutes = count()
    first, asked = asked_in(tap, clock=lambda: begin + timedelta(minutes=next(minutes)))
    assert max(each["time_extracted"] for each in first.of_type("RECORD")) > "2026-03-20T00:10"
    assert set(bookmarks(first).values()) == {text(begin)}
    ends = {each.arguments["EndDate"] for each in asked if each.operation == OPEN}
    assert ends == {wire(begin)}
    MsgID = next(int(each.arguments["MsgID"]) for each in asked if each.operation == OPEN)
    tap.service.account.add_event(OPEN, MsgID, "midnight@example.com", datetime(2026, 3, 20))
    second = tap.run(clock=at(NOW), state=first.state)
    assert "midnight@example.com" in second.out


SAVING_ENDS = datetime(2025, 11, 2, 6, tzinfo=timezone.utc)
SAVING_BEGINS = datetime(2026, 3, 8, 7, tzinfo=timezone.utc)


@CONCURRENCIES
@pytest.mark.parametrize("change", [SAVING_ENDS, SAVING_BEGINS], ids=["back", "forward"])
def test_nothing_is_lost_where_new_york_changes_its_clocks(
    make_tap: MakeTap, concurrency: int, change: datetime
) -> None:
    dates = [change + timedelta(minutes=15 * step) for step in range(-12, 13)]
    account = Account(lists=1, messages=1, contacts=0, sends=0, timezone="America/New_York",
                      start=START, end=END)  # fmt: skip
    ListID = int(str(account.lists()[0]["ListID"]))
    account.add_message(ListID, 9_000_001, change - timedelta(days=2))
    for date in dates:
        account.add_event(OPEN, 9_000_001, text(date), date)
        account.add_contact(ListID, text(date), date)
    config = {
        "start_date": "2025-10-01",
        "timezone": "America/New_York",
        "concurrency": concurrency,
    }
    tap = make_tap(account, config)
    for moment in [change + timedelta(minutes=20 * step) for step in range(-6, 7)]:
        ending = tap.run(clock=at(moment))
        day_after = at(moment + timedelta(days=2))
        state = {"bookmarks": {
            "message_opens": {"OpenDate": text(moment + timedelta(days=1))},
            "subscribed_contacts": {"AdditionDate": text(moment + timedelta(days=1))},
        }}  # fmt: skip
        beginning = tap.run(clock=day_after, state=state)
        for name in ("message_opens", "subscribed_contacts"):
            before = {each["EmailAddress"] for each in ending.records(name)}
            after = {each["EmailAddress"] for each in beginning.records(name)}
            assert {text(date) for date in dates if date <= moment} <= before
            assert {text(date) for date in dates if date >= moment} <= after


def test_a_stopped_clock_and_many_runs_lose_nothing(make_tap: MakeTap) -> None:
    tap = tiny_tap(make_tap)
    runs = [tap.run(clock=at(NOW))]
    for _ in range(2):
        runs.append(tap.run(clock=at(NOW), state=runs[-1].state))
        assert runs[-1].state == runs[0].state
        assert runs[-1].lines("WARNING") == []


@pytest.mark.usefixtures("state_behind_every_page")
@pytest.mark.parametrize("stream", ["message_opens", "message_sends", "conversation_opens"])
def test_what_a_run_stopped_within_is_asked_for_also_when_it_is_not_shown_any_more(
    make_tap: MakeTap, stream: str
) -> None:
    tap = tiny_tap(make_tap, lists=1, counts={BY_NAME[stream].operation: 8})
    tap.catalog = catalog_of(stream)
    account, key = tap.service.account, BY_NAME[stream].parent_key
    whole = tap.run(clock=at(NOW))
    for cut_off in prefixes(whole):
        offset = cut_off.state["bookmarks"].get(stream, {}).get("offset", {})
        if not offset.get("Page"):
            continue
        hidden = offset[key]
        if key == "MsgID":
            date = next(
                row["SendDate"]
                for row in account.messages(offset["ListID"])
                if int(str(row["MsgID"])) == hidden
            )
            account.hide_message(hidden)
        else:
            account.hide_conversation(hidden)
        rest = tap.run(clock=at(NOW), state=cut_off.state)
        (debt,) = debts(rest)
        assert debt[str(key)] == hidden
        if key == "MsgID":
            account.add_message(offset["ListID"], hidden, str(date))
        else:
            account.add_conversation(offset["ListID"], hidden, START)
        last = tap.run(clock=at(NOW + timedelta(days=1)), state=rest.state)
        assert not debts(last)
        assert rows(cut_off, rest, last).keys() == rows(whole).keys()
