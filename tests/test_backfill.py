"""A backfill gives what happened in its range, and leaves the state as it was given."""

import random
import signal
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

import pytest

from fake_listrak import OPERATIONS, Ask, fault, html
from fake_listrak.contract import CONVERSATION_OPERATIONS, MESSAGE_OPERATIONS, PASSALONGS
from tap_listrak.streams import BY_NAME, STREAMS
from tests.support.accounts import message_ids
from tests.support.faults import UNREADABLE, part_of
from tests.support.records import KINDS, Frozen, all_emitted, all_rows, due, frozen, in_utc
from tests.support.runs import (
    CLICK,
    CONTACTS,
    MESSAGES,
    NOW,
    OPEN,
    START,
    bounds_of,
    days,
    pages,
    rows,
    text,
    tiny_tap,
    wire,
)
from tests.support.tap import MakeTap, Run, Tap, catalog_of

FROM, TO = days(-30), days(-15)
RANGE = {"backfill_from": text(FROM), "backfill_to": text(TO)}
COUNTS = dict.fromkeys((*MESSAGE_OPERATIONS, PASSALONGS, *CONVERSATION_OPERATIONS), 8)
EMPTY: dict[str, Any] = {"bookmarks": {}}
DATED = {each.name for each in STREAMS if each.dated and each.replication_key}
SECOND = timedelta(seconds=1)
# A state in which parts are set aside, a range is unfinished, and entries are of other taps.
SET_ASIDE = {"list_id": 1, "parent_id": 7, "start": text(days(-60)), "end": text(days(-50))}
UNFINISHED = {"start_date": text(days(-70)), "end": text(days(-40)), "list_ids": [1]}
GIVEN = {
    "currently_syncing": None,
    "bookmarks": {
        "message_opens": {
            "OpenDate": text(days(-45)),
            "covers": [{**UNFINISHED, "end": text(days(-45))}],
            "unfinished": [{**UNFINISHED, "bookmark": text(days(-45))}],
            "set_aside": [SET_ASIDE],
            "turns": [],
            "version": None,
        },
        "message_unsubs": {"BounceDate": text(days(-2)), "RemovalDate": text(days(-2))},
        "lists": {"version": 5, "unfinished": []},
        "of_another_tap": {"x": [1.5, "y"]},
    },
}


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap that selects all of an account of a few pages, with rows of every kind."""
    return tiny_tap(make_tap, messages=3, counts=COUNTS)


def backfill(tap: Tap, config: dict[str, Any] | None = None, **given: Any) -> Run:
    """Run a backfill, of FROM to TO unless the config has other dates."""
    return tap.run(clock=NOW, config={**RANGE, **(config or {})}, **given)


def assert_unchanged(run: Run, state: object) -> None:
    """Every STATE is this state, and there is one at the beginning and at the end."""
    assert all(each == state for each in run.states)
    kinds = [each["type"] for each in run.messages]
    assert kinds.index("STATE") < kinds.index("RECORD")
    assert kinds[-1] == "STATE"


def dated(tap: Tap) -> dict[str, list[tuple[datetime | None, Frozen]]]:
    """By stream, each record that is due, with the date by which it belongs to a range.

    That is the row's own, or of sends that of their message. What is always whole has none.
    """
    sent = {
        int(str(row["MsgID"])): str(row["SendDate"])
        for list_id in tap.list_ids
        for row in tap.service.account.messages(list_id)
    }
    found: dict[str, list[tuple[datetime | None, Frozen]]] = {name: [] for name in BY_NAME}
    for name, parent, row in all_rows(tap.service.account):
        date = str(row[str(KINDS[name].date)]) if name in DATED else None
        if name == "message_sends" and parent is not None:
            date = sent[parent]
        moment = datetime.fromisoformat(str(in_utc(date))) if date else None
        found[name].append((moment, frozen(due(name, row, parent))))
    return found


def assert_holds_range(tap: Tap, run: Run, first: datetime, last: datetime) -> None:
    """The run gave all of the range, what is always whole, and no more than a second before."""
    emitted = all_emitted(run)
    for name, records in dated(tap).items():
        there = {record for date, record in records if date is None or first <= date <= last}
        near = {record for date, record in records if date and first - SECOND <= date <= first}
        assert there <= set(emitted[name]) <= there | near, name
        assert there, name
        assert name not in DATED or len(there) < len(records), name


# The range.


def test_a_backfill_gives_what_happened_in_its_range_and_what_is_always_whole(tap: Tap) -> None:
    run, asked = tap.asked_in(clock=NOW, config=RANGE)
    assert run.code == 0
    assert_holds_range(tap, run, FROM, TO)
    for name in DATED - {"message_sends"}:
        bounds = bounds_of(asked, BY_NAME[name].operation)
        assert min(start for start, _ in bounds) == wire(FROM - SECOND), name
        assert max(end for _, end in bounds) == wire(TO), name
    assert any(f"from {text(FROM)} to {text(TO)}" in line for line in run.lines("INFO"))


def test_without_an_end_a_backfill_goes_up_to_now(tap: Tap) -> None:
    run, asked = tap.asked_in(clock=NOW, config={"backfill_from": text(FROM)})
    assert run.code == 0
    assert_holds_range(tap, run, FROM, NOW)
    # All streams then have the same windows, so messages are requested once.
    windows = Counter(
        (ask.arguments["ListID"], ask.arguments["StartDate"])
        for ask in asked
        if ask.operation == MESSAGES
    )
    assert set(windows.values()) == {1}


def test_a_backfill_from_before_start_date_brings_the_messages_of_then(tap: Tap) -> None:
    whole = tap.run(clock=NOW)
    later = {"start_date": text(days(-10)), "backfill_from": text(START), "backfill_to": None}
    assert set(rows(backfill(tap, later))) == set(rows(whole))


def test_a_backfill_from_after_start_date_brings_events_of_messages_sent_before(tap: Tap) -> None:
    account = tap.service.account
    old = min(message_ids(account) - message_ids(account, since=wire(FROM)))
    account.add_event(OPEN, old, "late@example.com", TO - SECOND)
    assert "late@example.com" in backfill(tap).addresses()
    sends = {row["MsgID"] for row in backfill(tap).records("message_sends")}
    assert sends == message_ids(account, since=wire(FROM)) - message_ids(account, since=wire(TO))


def test_turns_and_the_age_of_messages_do_not_narrow_a_backfill(tap: Tap) -> None:
    plain, asked = tap.asked_in(clock=NOW, config=RANGE)
    turns = {"recent_days": 1, "older_every_days": 90}
    narrow = {**RANGE, **turns, "activity_window_days": 1, "lookback_days": 30}
    run, asked_too = tap.asked_in(clock=NOW, config=narrow)
    assert rows(run) == rows(plain)
    assert pages(asked_too) == pages(asked)


def test_list_ids_hold_for_a_backfill(tap: Tap) -> None:
    first, *_ = tap.list_ids
    run = backfill(tap, {"list_ids": [first]})
    assert {row["ListID"] for row in run.records("subscribed_contacts")} == {first}


@pytest.mark.parametrize(("seed", "bounds"), [(0, "inclusive"), (1, "exclusive"), (2, "start")])
def test_ranges_that_split_a_period_give_together_what_a_full_sync_gives(
    seed: int, bounds: Literal["inclusive", "exclusive", "start"], make_tap: MakeTap
) -> None:
    chance = random.Random(f"{seed} {bounds}")
    zone = chance.choice(["UTC", "America/New_York"])
    tap = tiny_tap(make_tap, seed=seed + 1, bounds=bounds, timezone=zone)
    tap.config["timezone"] = zone
    moments = [date for each in dated(tap).values() for date, _ in each if date and date < NOW]
    # Some where a row is, where it would be lost between two ranges or come of neither.
    cuts = [*chance.sample(moments, 2), days(-chance.randrange(1, 47 * 24) / 24)]
    cuts = sorted(
        {START.replace(tzinfo=NOW.tzinfo), NOW, *(c.replace(microsecond=0) for c in cuts)}
    )
    found: Counter[tuple[str, str]] = Counter()
    for first, last in pairwise(cuts):
        run = backfill(tap, {"backfill_from": text(first), "backfill_to": text(last)})
        assert run.code == 0
        found |= rows(run)
    whole = set(rows(tap.run(clock=NOW)))
    assert whole <= set(found)
    # Of imports, a run gives those of 31 days before its end.
    assert {name for name, _ in set(found) - whole} <= {"imports"}


# The state.


def test_every_state_of_a_backfill_is_the_given_one(tap: Tap, state_after_every_page: None) -> None:
    plain, asked = tap.asked_in(clock=NOW, config=RANGE)
    message = {"type": "STATE", "value": GIVEN}
    run, asked_too = tap.asked_in(clock=NOW, config=RANGE, state=message)
    assert run.code == 0
    assert len(run.states) > 20
    assert_unchanged(run, GIVEN)
    assert_unchanged(plain, EMPTY)
    assert rows(run) == rows(plain)
    # Nor of what is set aside or unfinished in it.
    assert [(ask.operation, ask.arguments) for ask in asked_too] == [
        (ask.operation, ask.arguments) for ask in asked
    ]


def test_a_sync_after_a_backfill_goes_on_from_the_state_as_if_there_had_been_none(tap: Tap) -> None:
    state = tap.run(clock=NOW).state
    after = backfill(tap, state=state)
    assert_unchanged(after, state)
    runs = [tap.asked_in(clock=days(1), state=each) for each in (state, after.state)]
    (first, asked), (second, asked_too) = runs
    assert (rows(second), pages(asked_too)) == (rows(first), pages(asked))
    assert second.state == first.state


def test_a_state_that_cannot_be_read_is_refused(tap: Tap) -> None:
    run = backfill(tap, state={"bookmarks": {"message_opens": {"OpenDate": "yesterday"}}})
    assert "bookmarks.message_opens.OpenDate" in tap.refusal(run)


def test_a_backfill_that_is_ended_leaves_the_state_and_runs_again_from_its_start(tap: Tap) -> None:
    whole = backfill(tap)
    for calls, state in ((5, None), (30, GIVEN), (100, {})):

        def end(ask: Ask, last: int = len(tap.service.asked) + calls) -> None:
            if len(tap.service.asked) >= last:
                signal.raise_signal(signal.SIGTERM)

        tap.service.rules.append(end)
        run = backfill(tap, state=state)
        tap.service.rules.remove(end)
        assert run.code == 143
        (line,) = run.lines("CRITICAL")
        assert "run the same range again" in line
        assert "Resume" not in line
        assert run.states
        assert all(each == (state or EMPTY) for each in run.states)
        assert rows(backfill(tap, state=run.state)) == rows(whole)


@pytest.mark.parametrize(
    "changed",
    [
        *({"keep_every_event": True}, {"typed_event_dates": True}),
        *({"timezone": "America/New_York"}, {"email_hash_key": "the key of the hashes"}),
    ],
    ids=str,
)
def test_backfills_whose_rows_do_not_fit_warn_as_a_sync(changed: dict[str, Any], tap: Tap) -> None:
    (option,) = changed
    state = tap.run(clock=NOW).state
    sync = tap.run(clock=NOW, state=state, config=changed)
    run = backfill(tap, changed, state=state)
    assert_unchanged(run, state)
    (line,) = run.warnings(f"{option} ")
    assert [line] == sync.warnings(f"{option} ")
    assert not backfill(tap, state=state).warnings()


def test_a_backfill_does_not_warn_of_what_only_a_sync_would_request(tap: Tap) -> None:
    mirror = {"mirror": "lists, messages", "include_test_messages": False}
    state = tap.run(clock=NOW, config=mirror).state
    run = backfill(tap, {"start_date": text(days(-300))}, state=state)
    assert_unchanged(run, state)
    assert not run.warnings()


# Failures.


def assert_incomplete(run: Run, *named: str, code: int = 1) -> None:
    """The run names each of these once, and ends with one CRITICAL line and the given state."""
    assert run.code == code
    assert len(run.lines("CRITICAL")) == 1
    told = run.warnings() + run.lines("ERROR")
    lines = [line for line in told if "retry" not in line and "Unknown stream" not in line]
    for name in named:
        assert len([line for line in lines if name in line]) == 1, lines
    assert len(lines) == len(named)
    assert_unchanged(run, GIVEN)


@pytest.mark.parametrize("operation", [OPEN, CONTACTS, "GetCampaignCollection"])
def test_a_part_that_fails_is_named_and_the_rest_comes(operation: str, tap: Tap) -> None:
    whole = backfill(tap, state=GIVEN)
    parts = [part_of(ask) for ask in tap.service.asked if ask.operation == operation]
    name = OPERATIONS[operation].table
    tap.answer(operation, lambda ask: html(404) if part_of(ask) == parts[-1] else None)
    run = backfill(tap, state=GIVEN)
    assert_incomplete(run, f"The backfill lacks {name} of ")
    assert "1 part failed" in run.lines("CRITICAL")[0]
    lost = rows(whole) - rows(run)
    assert {stream for stream, _ in lost} <= {name}
    assert not rows(run) - rows(whole)


@pytest.mark.parametrize(("status", "code"), [(404, 1), (403, 3)])
def test_however_many_parts_fail_all_are_named(make_tap: MakeTap, status: int, code: int) -> None:
    tap = tiny_tap(make_tap, messages=6)
    tap.answer(CLICK, html(status))
    run = backfill(tap, {"backfill_to": None}, state=GIVEN)
    ids = message_ids(tap.service.account)
    assert_incomplete(run, *(f"message_clicks of message {each} " for each in ids), code=code)
    assert f"{len(ids)} parts failed" in run.lines("CRITICAL")[0]


def test_messages_that_cannot_be_had_are_named_for_each_of_their_streams(tap: Tap) -> None:
    tap.catalog = catalog_of("messages", "message_opens", "message_sends")
    first, second = tap.list_ids
    tap.answer(MESSAGES, lambda ask: html(404) if part_of(ask) == str(first) else None)
    run = backfill(tap, {"backfill_to": None}, state=GIVEN)
    names = ("messages", "message_opens", "message_sends")
    assert_incomplete(run, *(f"The backfill lacks {name} of list {first}" for name in names))
    assert {row["ListID"] for row in run.records("messages")} == {second}


def test_a_dead_operation_stops_its_stream_alone(tap: Tap) -> None:
    whole = rows(backfill(tap))
    tap.answer(CLICK, fault(UNREADABLE))
    run = backfill(tap, state=GIVEN)
    assert_incomplete(run, "Stopped message_clicks: ")
    assert "Stopped message_clicks: " in run.lines("CRITICAL")[0]
    assert {name for name, _ in whole - rows(run)} == {"message_clicks"}


# The config.


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"backfill_to": text(TO)}, ("backfill_to", "backfill_from")),
        ({"backfill_from": text(TO), "backfill_to": text(FROM)}, ("backfill_from", "backfill_to")),
        ({"backfill_from": text(TO), "backfill_to": text(TO)}, ("backfill_from", "backfill_to")),
        ({**RANGE, "mirror": "lists"}, ("mirror", "backfill_from")),
        ({"mirror": "lists", "list_ids": [1]}, ("mirror", "list_ids")),
    ],
)
def test_options_that_cannot_be_combined_are_refused(
    config: dict[str, str], names: tuple[str, ...], tap: Tap
) -> None:
    line = tap.refusal(tap.run(clock=NOW, config=config))
    assert all(f"`{name}`" in line for name in names)
