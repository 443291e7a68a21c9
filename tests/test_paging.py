"""Paging ends where Listrak says so, and an account that never says so ends the paging."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from fake_listrak import Ask, Reply, fault
from tap_listrak.streams import STREAMS
from tests.support.faults import FAULTS, NOW, START, tiny_account
from tests.support.runs import CONTACTS, debts, debts_of, is_finished
from tests.support.tap import MakeTap, Run, Tap, keys_emitted, keys_held, workers_ended

PAGED = [stream.operation for stream in STREAMS if "Page" in stream.arguments]
NAME = {stream.operation: stream.name for stream in STREAMS}
GUARD = 200


@pytest.fixture
def tiny(make_tap: MakeTap) -> Tap:
    return make_tap(tiny_account(), {"start_date": START, "request_timeout": 5})


def run(tap: Tap, **config: object) -> Run:
    with workers_ended():
        return tap.run(clock=lambda: NOW, config=config)


def of_page(ask: Ask, page: int) -> Reply:
    return replace(ask, arguments={**ask.arguments, "Page": str(page)}).honest()


class Endless:
    """Gives the pages of the first message or list asked for in turn, for ever (or GUARD times)."""

    def __init__(self, operation: str, *pages: int) -> None:
        self._operation = operation
        self._pages = pages
        self._of: str | None = None
        self.asked = 0

    def __call__(self, ask: Ask) -> Reply | None:
        of = ask.arguments.get("MsgID") or ask.arguments.get("ListID")
        if ask.operation != self._operation or of != (self._of or of):
            return None
        self._of = of
        self.asked += 1
        if self.asked > GUARD:
            return fault("Op(): [Test] [Guard] It would never have ended.")
        return of_page(ask, self._pages[int(ask.arguments["Page"]) % len(self._pages)])


@pytest.mark.parametrize("operation", PAGED)
@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_page_that_repeats_is_set_aside(tiny: Tap, operation: str, concurrency: int) -> None:
    endless = Endless(operation, 1)
    tiny.service.rules.append(endless)
    done = run(tiny, concurrency=concurrency)
    assert done.code == 0
    assert 3 <= endless.asked <= 2 + concurrency
    (warning,) = done.lines("WARNING")
    assert FAULTS["repeated page"].message in warning
    (owed,) = debts(done)
    assert (owed["stream"], owed["Page"]) == (NAME[operation], 2)
    held = keys_held(tiny.service.account)[NAME[operation]]
    emitted = keys_emitted(done)[NAME[operation]]
    assert emitted.keys() < held.keys()
    # The page comes three times before it is known to repeat, and is written twice by then.
    assert set((emitted - held).values()) == {1}
    assert (emitted - held).total() == tiny.service.account.page_size

    tiny.service.rules.clear()
    with workers_ended():
        answered = tiny.run(clock=lambda: NOW, state=done.states[-1])
    assert answered.code == 0
    assert debts(answered) == []
    assert keys_emitted(done, answered)[NAME[operation]].keys() == held.keys()


@pytest.mark.parametrize("messages", [2, 3])
def test_a_page_that_repeats_everywhere_ends_the_run(make_tap: MakeTap, messages: int) -> None:
    account = tiny_account(messages=messages)
    tap = make_tap(account, {"start_date": START, "request_timeout": 5})
    repeating = PAGED[1:]
    tap.service.rules.append(lambda ask: of_page(ask, 1) if ask.operation in repeating else None)
    done = run(tap)
    assert done.code == 1
    assert FAULTS["repeated page"].message in done.lines("CRITICAL")[0]
    owed = Counter(each["stream"] for each in debts_of(done.states[-1]))
    if messages == 2:
        # Four messages are too few to end it; that nothing of a stream came whole ends it.
        assert is_finished(done.states[-1])
        assert owed == {NAME[operation]: 4 for operation in repeating[:-1]} | {NAME[CONTACTS]: 2}
    else:
        assert not is_finished(done.states[-1])
        assert max(owed.values()) == 5
    tap.service.rules.clear()
    with workers_ended():
        answered = tap.run(clock=lambda: NOW, state=done.states[-1])
    assert answered.code == 0
    assert debts(answered) == []
    held = keys_held(account)
    came = keys_emitted(done, answered)
    assert {name: came[name].keys() for name in came} == {name: held[name].keys() for name in held}


@pytest.mark.parametrize("operation", PAGED)
def test_two_pages_in_turn_are_no_end_either(tiny: Tap, operation: str) -> None:
    endless = Endless(operation, 2, 1)
    tiny.service.rules.append(endless)
    done = run(tiny)
    assert endless.asked < GUARD
    assert done.code == 0
    assert [owed["stream"] for owed in debts(done)] == [NAME[operation]]


@pytest.mark.parametrize("operation", PAGED)
def test_a_short_page_is_not_the_end(tiny: Tap, operation: str) -> None:
    stream = NAME[operation]

    def uneven(ask: Ask) -> Reply | None:
        if ask.operation != operation:
            return None
        # The pages of 2, 2 and 1 rows the other way round.
        page = int(ask.arguments["Page"])
        return of_page(ask, 4 - page if page < 4 else page)

    tiny.service.rules.append(uneven)
    done = run(tiny)
    assert done.code == 0
    assert keys_emitted(done)[stream] == keys_held(tiny.service.account)[stream]


@pytest.mark.parametrize("empty", ["absent", "empty", "nil"])
def test_an_empty_page_in_any_form_is_the_end(make_tap: MakeTap, empty: str) -> None:
    account = tiny_account()
    account.empty = empty  # type: ignore[assignment] # one of the three that it takes
    tap = make_tap(account, {"start_date": START})
    done = run(tap)
    assert done.code == 0
    assert keys_emitted(done) == keys_held(account)
