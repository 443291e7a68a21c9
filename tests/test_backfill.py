"""A backfill gives what happened in its range, and leaves the state as it was given."""

import random
import signal
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

import pytest

from fake_listrak import OPERATIONS, Ask, Reply, fault, html
from fake_listrak.contract import CONVERSATION_OPERATIONS, MESSAGE_OPERATIONS, PASSALONGS
from tap_listrak.streams import BY_NAME, STREAMS
from tests.support import runs
from tests.support.accounts import message_ids
from tests.support.faults import UNREADABLE, part_of
from tests.support.records import KINDS, all_due, all_emitted, all_rows, in_utc
from tests.support.runs import CLICK, NOW, OPEN, START, days, rows, text, wire
from tests.support.tap import MakeTap, Run, Tap

FROM, TO = days(-30), days(-15)
RANGE = {"backfill_from": text(FROM), "backfill_to": text(TO)}
COUNTS = dict.fromkeys((*MESSAGE_OPERATIONS, PASSALONGS, *CONVERSATION_OPERATIONS), 8)
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
        },
        "lists": {"version": 5, "unfinished": []},
        "of_another_tap": {"x": [1.5, "y"]},
    },
}


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap that selects all of an account of a few pages, with rows of every kind."""
    return runs.tiny_tap(make_tap, messages=3, counts=COUNTS)


def backfill(tap: Tap, config: dict[str, Any] | None = None, **given: Any) -> Run:
    """Run a backfill, of FROM to TO unless the config has other dates."""
    return tap.run(clock=NOW, config={**RANGE, **(config or {})}, **given)


def assert_unchanged(run: Run, state: object) -> None:
    """Every STATE is this state, and there is one at the beginning and at the end."""
    assert all(each == state for each in run.states)
    kinds = [each["type"] for each in run.messages]
    assert kinds.index("STATE") < kinds.index("RECORD")
    assert kinds[-1] == "STATE"


# The range.


@pytest.mark.parametrize("last", [TO, NOW])
def test_a_backfill_gives_what_happened_in_its_range_and_what_is_always_whole(
    tap: Tap, last: datetime
) -> None:
    end = {"backfill_to": text(TO) if last == TO else None}
    run, asked = tap.asked_in(clock=NOW, config={**RANGE, **end})
    assert run.code == 0
    assert any(f"from {text(FROM)} to {text(last)}" in line for line in run.lines("INFO"))
    account = tap.service.account
    before = message_ids(account) - message_ids(account, since=wire(last))
    assert runs.requested(asked) == before, "older messages may have events in the range"
    sent = before & message_ids(account, since=wire(FROM))
    assert {row["MsgID"] for row in run.records("message_sends")} == sent != before
    emitted, whole = all_emitted(run), all_due(account)
    for name in BY_NAME:
        if name in DATED:
            assert set(emitted[name]) < set(whole[name]), name
            starts, ends = zip(*runs.bounds_of(asked, BY_NAME[name].operation), strict=True)
            assert (min(starts), max(ends)) == (wire(FROM - SECOND), wire(last)), name
        elif name != "message_sends":
            assert emitted[name] == whole[name], name


def test_a_backfill_from_before_start_date_brings_the_messages_of_then(tap: Tap) -> None:
    whole = tap.run(clock=NOW)
    later = {"start_date": text(days(-10)), "backfill_from": text(START), "backfill_to": None}
    assert set(rows(backfill(tap, later))) == set(rows(whole))


def test_turns_and_the_age_of_messages_do_not_narrow_a_backfill(tap: Tap) -> None:
    plain, asked = tap.asked_in(clock=NOW, config=RANGE)
    turns = {"recent_days": 1, "older_every_days": 90}
    narrow = {**RANGE, **turns, "activity_window_days": 1, "lookback_days": 30}
    run, asked_too = tap.asked_in(clock=NOW, config=narrow)
    assert (rows(run), runs.pages(asked_too)) == (rows(plain), runs.pages(asked))


@pytest.mark.parametrize(("seed", "bounds"), [(0, "inclusive"), (1, "exclusive"), (2, "start")])
def test_ranges_that_split_a_period_give_together_what_a_full_sync_gives(
    seed: int, bounds: Literal["inclusive", "exclusive", "start"], make_tap: MakeTap
) -> None:
    chance = random.Random(f"{seed} {bounds}")
    zone = chance.choice(["UTC", "America/New_York"])
    tap = runs.tiny_tap(make_tap, seed=seed + 1, bounds=bounds, timezone=zone)
    tap.config["timezone"] = zone
    dates = (row.get(str(KINDS[name].date)) for name, _, row in all_rows(tap.service.account))
    moments = [datetime.fromisoformat(str(in_utc(str(date), zone))) for date in dates if date]
    # Some where a row is, where it would be lost between two ranges or come of neither.
    cuts = [*chance.sample([each for each in moments if days(-40) < each < NOW], 2), days(-7.3)]
    cuts = [START.replace(tzinfo=NOW.tzinfo), NOW, *(each.replace(microsecond=0) for each in cuts)]
    found: Counter[tuple[str, str]] = Counter()
    for first, last in pairwise(sorted(set(cuts))):
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
    assert (run.code, len(run.states) > 20) == (0, True)
    assert_unchanged(run, GIVEN)
    assert_unchanged(plain, {"bookmarks": {}})
    # Nor is what is set aside or unfinished in it requested.
    assert [(ask.operation, ask.arguments) for ask in asked_too] == [
        (ask.operation, ask.arguments) for ask in asked
    ]


@pytest.mark.parametrize("calls", [5, 100])
def test_a_backfill_that_is_ended_leaves_the_state_and_runs_again_from_its_start(
    tap: Tap, calls: int
) -> None:
    whole = backfill(tap)
    last = len(tap.service.asked) + calls

    def end(_: Ask) -> None:
        if len(tap.service.asked) >= last:
            signal.raise_signal(signal.SIGTERM)

    tap.service.rules.append(end)
    run = backfill(tap, state=GIVEN)
    tap.heal()
    assert run.code == 143
    (line,) = run.lines("CRITICAL")
    assert "run the same range again" in line
    assert "Resume" not in line
    assert run.states
    assert all(each == GIVEN for each in run.states)
    assert rows(backfill(tap, state=run.state)) == rows(whole)


def test_a_backfill_whose_rows_do_not_fit_warns_as_a_sync(tap: Tap) -> None:
    changed = {
        "keep_every_event": True,
        "typed_event_dates": True,
        "timezone": "America/New_York",
        "email_hash_key": "the key of the hashes",
    }
    state = tap.run(clock=NOW, config={"include_test_messages": False}).state
    sync = tap.run(clock=NOW, state=state, config=changed)
    warnings = [each for name in changed for each in sync.warnings(f"{name} ")]
    assert len(warnings) == len(changed)
    # Not of options by which only a sync would request more.
    run = backfill(tap, {**changed, "start_date": text(days(-300))}, state=state)
    assert_unchanged(run, state)
    assert sorted(run.warnings()) == sorted(warnings)


# Failures.


def incomplete(run: Run, *named: str, code: int = 1) -> str:
    """The CRITICAL line of a run that names each of these once and keeps the given state."""
    assert run.code == code
    lines = [line for line in run.warnings() + run.lines("ERROR") if "retry" not in line]
    lines = [line for line in lines if "Unknown stream" not in line]
    assert [sum(name in line for line in lines) for name in named] == [1] * len(lines)
    assert_unchanged(run, GIVEN)
    (line,) = run.lines("CRITICAL")
    return line


@pytest.mark.parametrize("operation", [OPEN, runs.CONTACTS, "GetCampaignCollection"])
def test_a_part_that_fails_is_named_and_the_rest_comes(operation: str, tap: Tap) -> None:
    whole = backfill(tap, state=GIVEN)
    parts = [part_of(ask) for ask in tap.service.asked if ask.operation == operation]
    name = OPERATIONS[operation].table
    tap.answer(operation, lambda ask: html(404) if part_of(ask) == parts[-1] else None)
    run = backfill(tap, state=GIVEN)
    assert "1 part failed" in incomplete(run, f"The backfill lacks {name} of ")
    assert {stream for stream, _ in rows(whole) - rows(run)} <= {name}
    assert not rows(run) - rows(whole)


@pytest.mark.parametrize(
    ("reply", "code", "named"),
    [
        (html(404), 1, "6 parts failed"),
        (html(403), 3, "6 parts failed"),
        (fault(UNREADABLE), 1, "Stopped message_clicks: "),
    ],
    ids=["404", "403", "unreadable"],
)
def test_however_much_of_a_stream_fails_is_named(
    make_tap: MakeTap, reply: Reply, code: int, named: str
) -> None:
    tap = runs.tiny_tap(make_tap, lists=1, messages=6, counts=COUNTS)
    until_now = {"backfill_to": None}
    whole = rows(backfill(tap, until_now))
    tap.answer(CLICK, reply)
    run = backfill(tap, until_now, state=GIVEN)
    parts = [f"message_clicks of message {each} " for each in tap.msg_ids()]
    assert named in incomplete(run, *([named] if "Stopped" in named else parts), code=code)
    assert {name for name, _ in whole - rows(run)} == {"message_clicks"}


# The config.


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"backfill_to": text(TO)}, {"backfill_to", "backfill_from"}),
        ({"backfill_from": text(TO), "backfill_to": text(TO)}, {"backfill_from", "backfill_to"}),
        ({**RANGE, "mirror": "lists"}, {"mirror", "backfill_from"}),
        ({"mirror": "lists", "list_ids": [1]}, {"mirror", "list_ids"}),
    ],
)
def test_options_that_cannot_be_combined_are_refused(
    config: dict[str, str], names: set[str], tap: Tap
) -> None:
    line = tap.refusal(tap.run(clock=NOW, config=config))
    assert all(f"`{name}`" in line for name in names)
