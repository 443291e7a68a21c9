"""With recent_days, old messages are asked in turns: later, but nothing of them is lost."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from fake_listrak import Account, Ask, html
from tap_listrak.streams import STREAMS
from tap_listrak.sync.turns import TurnOptions
from tests.support.accounts import list_ids, message_ids
from tests.support.replies import add_message_without_date
from tests.support.runs import (
    OPEN,
    asked_in,
    at,
    debts,
    is_finished,
    prefixes,
    seconds,
    text,
    wire,
)
from tests.support.state_keeping import deep_merge
from tests.support.tap import MakeTap, Run, Tap, catalog_of, keys_emitted

NOW = datetime(2026, 7, 1, 12, tzinfo=timezone.utc)
EVERY = 5
RECENT = 14
OPTIONS = {"start_date": "2026-04-01", "recent_days": RECENT, "older_every_days": EVERY}
IN_TURNS = {each.operation for each in STREAMS if each.is_published and each.can_rotate}


def account() -> Account:
    """Twenty messages of three months, of which no event comes after June."""
    return Account(
        lists=2,
        messages=10,
        contacts=3,
        sends=6,
        start=datetime(2026, 4, 1),
        end=datetime(2026, 6, 29),
    )


def turns_tap(make_tap: MakeTap, **config: Any) -> Tap:
    return make_tap(account(), {**OPTIONS, **config})


def day(number: float) -> datetime:
    """A moment so many days after the first run."""
    return NOW + timedelta(days=number)


def run_at(tap: Tap, moment: datetime, before: Run | None = None, **more: Any) -> Run:
    """Run it from where an earlier run ended."""
    state = {"state": before.state} if before else {}
    return tap.run(clock=at(moment), **state, **more)


def asked_for_opens(asked: list[Ask]) -> set[int]:
    return {int(ask.arguments["MsgID"]) for ask in asked if ask.operation == OPEN}


def sent_since(tap: Tap, moment: datetime) -> set[int]:
    return message_ids(tap.service.account, since=wire(moment))


def of_class(tap: Tap, moment: datetime) -> set[int]:
    """The messages whose turn comes on the day of this moment."""
    number = (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)).days % EVERY
    return {each for each in message_ids(tap.service.account) if each % EVERY == number}


def entry(run: Run, stream: str = "message_opens") -> dict[str, Any]:
    found: dict[str, Any] = run.state["bookmarks"][stream]
    return found


def old_message(tap: Tap) -> int:
    """A message that is not recent, nor due on the first days after the first run."""
    return min(
        message_ids(tap.service.account) - sent_since(tap, day(-RECENT)) - of_class(tap, day(1))
    )


def test_a_first_run_asks_every_message(make_tap: MakeTap) -> None:
    tap = turns_tap(make_tap)
    run, asked = asked_in(tap, clock=at(NOW))
    assert asked_for_opens(asked) == message_ids(tap.service.account)
    everything = tap.run(clock=at(NOW), config={"recent_days": None})
    assert keys_emitted(run) == keys_emitted(everything)
    assert entry(run)["OpenDate"] == text(NOW)
    assert entry(run)["turns"] == {
        "recent_days": RECENT,
        "older_every_days": EVERY,
        "recent": text(NOW),
        "classes": [seconds(NOW)] * EVERY,
    }


def test_a_later_run_asks_recent_messages_and_those_whose_turn_it_is(make_tap: MakeTap) -> None:
    tap = turns_tap(make_tap)
    run = run_at(tap, NOW)
    recent_seen, old_seen = set[int](), set[int]()
    for number in range(1, EVERY + 1):
        run, asked = asked_in(tap, clock=at(day(number)), state=run.state)
        recent, due = sent_since(tap, day(number - RECENT)), of_class(tap, day(number))
        assert recent, "or this shows nothing"
        assert asked_for_opens(asked) == recent | due
        assert {ask.operation for ask in asked} >= IN_TURNS
        recent_seen |= recent
        old_seen |= due
        waiting = len(message_ids(tap.service.account) - recent - due)
        assert any(line.startswith(f"INFO {waiting} messages wait for their turn") for line in
                   run.lines("INFO"))  # fmt: skip
    assert old_seen == message_ids(tap.service.account)
    oldest = datetime.fromtimestamp(min(entry(run)["turns"]["classes"]), timezone.utc)
    assert entry(run)["OpenDate"] == text(oldest)
    assert entry(run)["turns"]["recent"] == text(day(EVERY))


def test_a_class_is_asked_from_when_it_was_asked_last_less_the_lookback(make_tap: MakeTap) -> None:
    tap = turns_tap(make_tap)
    run = run_at(tap, NOW)
    only_recent = set[int]()
    for number in range(1, EVERY + 1):
        run, asked = asked_in(tap, clock=at(day(number)), state=run.state)
        due = of_class(tap, day(number))
        only_recent |= sent_since(tap, day(number - RECENT)) - due
        for ask in asked:
            if ask.operation == OPEN:
                is_due = int(ask.arguments["MsgID"]) in due
                assert ask.arguments["StartDate"] == wire(day(-1) if is_due else day(number - 2))
                assert ask.arguments["EndDate"] == wire(day(number))
    assert only_recent, "or this shows nothing of recent messages"


def test_an_event_of_an_old_message_comes_in_its_turn(make_tap: MakeTap) -> None:
    tap = turns_tap(make_tap)
    run = run_at(tap, NOW)
    old = old_message(tap)
    tap.service.account.add_event(OPEN, old, "late@example.com", day(0.5))
    came = []
    for number in range(1, EVERY + 1):
        run = run_at(tap, day(number), run)
        if any(each["EmailAddress"] == "late@example.com" for each in run.records("message_opens")):
            came.append(number)
    assert came == [n for n in range(1, EVERY + 1) if old in of_class(tap, day(n))]
    assert came


def test_without_the_options_everything_is_asked_from_the_published_bookmark(
    make_tap: MakeTap,
) -> None:
    tap = turns_tap(make_tap)
    run = run_at(tap, day(2), run_at(tap, day(1), run_at(tap, NOW)))
    assert entry(run)["OpenDate"] == text(NOW)
    run, asked = asked_in(tap, clock=at(day(3)), state=run.state, config={"recent_days": None})
    assert asked_for_opens(asked) == message_ids(tap.service.account)
    assert {a.arguments["StartDate"] for a in asked if a.operation == OPEN} == {wire(day(-1))}
    assert entry(run)["OpenDate"] == text(day(3))
    assert entry(run)["turns"] == {
        "recent_days": None,
        "older_every_days": None,
        "recent": None,
        "classes": [],
    }


@pytest.mark.parametrize("changed", [{"recent_days": 20}, {"older_every_days": 7}])
def test_a_change_of_either_option_asks_every_message_from_the_oldest_bookmark(
    make_tap: MakeTap, changed: dict[str, int]
) -> None:
    tap = turns_tap(make_tap)
    run = run_at(tap, day(2), run_at(tap, day(1), run_at(tap, NOW)))
    run, asked = asked_in(tap, clock=at(day(3)), state=run.state, config=changed)
    assert asked_for_opens(asked) == message_ids(tap.service.account)
    assert {a.arguments["StartDate"] for a in asked if a.operation == OPEN} == {wire(day(-1))}
    assert set(entry(run)["turns"]["classes"]) == {seconds(day(3))}
    run, asked = asked_in(tap, clock=at(day(4)), state=run.state, config=changed)
    assert asked_for_opens(asked) < message_ids(tap.service.account)


def test_options_given_to_a_state_without_them_ask_every_message_once(make_tap: MakeTap) -> None:
    tap = turns_tap(make_tap)
    first = run_at(tap, NOW, config={"recent_days": None})
    second, asked = asked_in(tap, clock=at(day(1)), state=first.state)
    assert asked_for_opens(asked) == message_ids(tap.service.account)
    _, asked = asked_in(tap, clock=at(day(2)), state=second.state)
    assert asked_for_opens(asked) < message_ids(tap.service.account)


@pytest.mark.parametrize("pause", [EVERY, 31])
def test_after_a_pause_every_class_is_due(make_tap: MakeTap, pause: int) -> None:
    tap = turns_tap(make_tap)
    _, asked = asked_in(tap, clock=at(day(pause)), state=run_at(tap, NOW).state)
    assert asked_for_opens(asked) == message_ids(tap.service.account)


def test_in_hourly_runs_a_class_is_asked_once_on_its_day(make_tap: MakeTap) -> None:
    tap = turns_tap(make_tap)
    run, asked_of = run_at(tap, NOW), Counter[int]()
    for hour in range(8, 13):  # from 20 o'clock to 1 o'clock of the next day
        run, asked = asked_in(tap, clock=at(day(hour / 24)), state=run.state)
        asked_of.update(asked_for_opens(asked))
    old = message_ids(tap.service.account) - sent_since(tap, day(-RECENT))
    due = of_class(tap, day(1)) & old
    assert due
    assert {asked_of[each] for each in due} == {1}
    assert not any(asked_of[each] for each in old - of_class(tap, day(1)))


@pytest.mark.usefixtures("state_behind_every_page")
@pytest.mark.parametrize("after", [OPTIONS, {"recent_days": None}, {"older_every_days": 30}])
def test_an_unfinished_range_is_finished_under_its_own_options_on_another_day(
    make_tap: MakeTap, after: dict[str, Any]
) -> None:
    tap = turns_tap(make_tap, concurrency=1)
    for each in message_ids(tap.service.account):
        tap.service.account.add_event(OPEN, each, "late@example.com", day(0.5))
    first = run_at(tap, NOW)
    whole, asked_whole = asked_in(tap, clock=at(day(1)), state=first.state)
    for cut_off in prefixes(whole)[1:-1:7]:
        assert cut_off.state["bookmarks"]["message_opens"]["offset"]["start"] is None
        rest, asked = asked_in(tap, clock=at(day(2)), state=cut_off.state, config=after)
        assert is_finished(rest.state)
        assert asked_for_opens(asked) <= asked_for_opens(asked_whole)
        assert entry(rest) == entry(whole)
        emitted = keys_emitted(cut_off, rest)["message_opens"].keys()
        assert emitted == keys_emitted(whole)["message_opens"].keys()


def test_what_is_set_aside_on_its_day_is_asked_first_on_the_next(make_tap: MakeTap) -> None:
    tap = turns_tap(make_tap)
    first = run_at(tap, NOW)
    old = sorted(of_class(tap, day(1)) - sent_since(tap, day(1 - RECENT)))[0]
    tap.service.account.add_event(OPEN, old, "late@example.com", day(0.5))
    tap.service.rules.append(
        lambda ask: (
            html(404) if ask.operation == OPEN and ask.arguments["MsgID"] == str(old) else None
        )
    )
    failed = run_at(tap, day(1), first)
    (debt,) = debts(failed)
    assert (debt["MsgID"], debt["start"], debt["end"]) == (old, text(day(-1)), text(day(1)))
    tap.service.rules.clear()
    run, asked = asked_in(tap, clock=at(day(2)), state=failed.state)
    assert asked[1].arguments["MsgID"] == str(old)
    assert not debts(run)
    assert [each for each in run.records("message_opens")
            if each["EmailAddress"] == "late@example.com"]  # fmt: skip
    assert Counter(asked_for_opens([each]) == {old} for each in asked)[True] == 2  # and its end


def test_a_message_without_a_date_is_asked_in_every_run(make_tap: MakeTap) -> None:
    tap = turns_tap(make_tap, interval_days=3650)
    add_message_without_date(tap, 42)
    tap.catalog = catalog_of("message_opens")
    run = run_at(tap, NOW)
    for number in (1, 2, 3):
        run, asked = asked_in(tap, clock=at(day(number)), state=run.state)
        assert 42 in asked_for_opens(asked)


def test_a_list_that_is_not_covered_is_asked_whole(make_tap: MakeTap) -> None:
    tap = turns_tap(make_tap)
    one, other = list_ids(tap.service.account)
    first = run_at(tap, NOW, config={"list_ids": [one]})
    run, asked = asked_in(tap, clock=at(day(1)), state=first.state)
    of_other = {int(str(row["MsgID"])) for row in tap.service.account.messages(other)}
    assert asked_for_opens(asked) >= of_other
    starts = {
        ask.arguments["StartDate"]
        for ask in asked
        if ask.operation == OPEN and int(ask.arguments["MsgID"]) in of_other
    }
    assert starts == {"2026-04-01T00:00:00"}
    assert entry(run)["OpenDate"] == text(NOW)


def test_the_age_for_the_activity_window_is_measured_from_the_classs_bookmark(
    make_tap: MakeTap,
) -> None:
    tap = turns_tap(make_tap, activity_window_days=40)
    first = run_at(tap, NOW)
    _, asked = asked_in(tap, clock=at(day(20)), state=first.state)
    assert asked_for_opens(asked) == sent_since(tap, day(-40)), "all are due, from the first run on"
    assert asked_for_opens(asked) < message_ids(tap.service.account)


@pytest.mark.usefixtures("state_behind_every_page")
def test_a_finished_state_of_a_version_without_turns_may_be_merged_over_an_unfinished_range(
    make_tap: MakeTap,
) -> None:
    tap = turns_tap(make_tap, concurrency=1)
    first = run_at(tap, NOW)
    cut_off = prefixes(run_at(tap, day(1), first))[3].state
    finished = run_at(tap, day(2), config={"recent_days": None}).state
    for each in finished["bookmarks"].values():
        each.pop("turns", None)
        for key in (*TurnOptions._fields, "mirrored"):
            each["offset"].pop(key, None)
    run = tap.run(clock=at(day(3)), state=deep_merge(cut_off, finished))
    assert run.code == 0, run.err
    assert is_finished(run.state)
