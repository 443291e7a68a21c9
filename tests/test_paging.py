"""Paging ends where Listrak says so, and an account that never says so ends the paging."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fake_listrak import Ask, ListrakService, Reply, fault
from tap_listrak.streams import PUBLISHED, STREAMS, Stream
from tests.support.accounts import now, small
from tests.support.faults import FAULTS, NOW, START, part_of, tiny_account
from tests.support.runs import debts, debts_of, is_finished
from tests.support.tap import (
    USERNAME,
    MakeTap,
    Run,
    Tap,
    catalog_of,
    keys_emitted,
    keys_held,
    workers_ended,
)

PAGED = [stream for stream in STREAMS if stream.is_paged]
GUARD = 200


@pytest.fixture
def tiny(make_tap: MakeTap) -> Tap:
    return make_tap(tiny_account(), {"start_date": START, "request_timeout": 5})


def run(tap: Tap, *streams: Stream, state: object = None, **config: object) -> Run:
    """Sync these streams."""
    catalog = catalog_of(*(stream.name for stream in streams))
    with workers_ended():
        return tap.run(clock=lambda: NOW, catalog=catalog, state=state, config=config)


def of_page(ask: Ask, page: int) -> Reply:
    return replace(ask, arguments={**ask.arguments, "Page": str(page)}).honest()


class Endless:
    """Gives the pages of what is asked for first in turn, for ever (or GUARD times)."""

    def __init__(self, operation: str, *pages: int) -> None:
        self._operation = operation
        self._pages = pages
        self._of: str | None = None
        self.asked = 0

    def __call__(self, ask: Ask) -> Reply | None:
        if ask.operation != self._operation:
            return None
        of = part_of(ask)
        self._of = of if self._of is None else self._of
        if of != self._of:
            return None
        self.asked += 1
        if self.asked > GUARD:
            return fault("Op(): [Test] [Guard] It would never have ended.")
        return of_page(ask, self._pages[int(ask.arguments["Page"]) % len(self._pages)])


@pytest.mark.parametrize("stream", PAGED, ids=str)
@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_page_that_repeats_is_set_aside(tiny: Tap, stream: Stream, concurrency: int) -> None:
    endless = Endless(stream.operation, 1)
    tiny.service.rules.append(endless)
    done = run(tiny, stream, concurrency=concurrency)
    # The account is the only part of its stream, of which nothing comes whole then.
    assert done.code == stream.is_by_account
    assert 3 <= endless.asked <= 2 + concurrency
    (warning,) = done.lines("WARNING")
    assert FAULTS["repeated page"].message in warning
    (owed,) = debts(done)
    assert (owed["stream"], owed["Page"]) == (stream.name, 2)
    held = keys_held(tiny.service.account, [stream])[stream.name]
    emitted = keys_emitted(done)[stream.name]
    assert emitted.keys() < held.keys()
    # The page comes three times before it is known to repeat, and is written twice by then.
    assert set((emitted - held).values()) == {1}
    assert (emitted - held).total() == tiny.service.account.page_size

    tiny.service.rules.clear()
    answered = run(tiny, stream, state=done.state)
    assert answered.code == 0
    assert debts(answered) == []
    assert keys_emitted(done, answered)[stream.name].keys() == held.keys()


@pytest.mark.parametrize("messages", [2, 3])
def test_a_page_that_repeats_everywhere_ends_the_run(make_tap: MakeTap, messages: int) -> None:
    account = tiny_account(messages=messages)
    tap = make_tap(account, {"start_date": START, "request_timeout": 5})
    repeating = [stream for stream in PUBLISHED if stream.is_paged][1:]
    operations = {stream.operation for stream in repeating}
    tap.service.rules.append(lambda ask: of_page(ask, 1) if ask.operation in operations else None)
    done = run(tap, *PUBLISHED)
    assert done.code == 1
    assert FAULTS["repeated page"].message in done.lines("CRITICAL")[0]
    owed = Counter(each["stream"] for each in debts_of(done.state))
    if messages == 2:
        # Four messages are too few to end it; that nothing of a stream came whole ends it.
        assert is_finished(done.state)
        assert owed == {stream.name: 4 if stream.is_by_message else 2 for stream in repeating}
    else:
        assert not is_finished(done.state)
        assert max(owed.values()) == 5
    tap.service.rules.clear()
    answered = run(tap, *PUBLISHED, state=done.state)
    assert answered.code == 0
    assert debts(answered) == []
    held = keys_held(account)
    came = keys_emitted(done, answered)
    assert {name: came[name].keys() for name in came} == {name: held[name].keys() for name in held}


@pytest.mark.parametrize("stream", PAGED, ids=str)
def test_two_pages_in_turn_are_no_end_either(tiny: Tap, stream: Stream) -> None:
    endless = Endless(stream.operation, 2, 1)
    tiny.service.rules.append(endless)
    done = run(tiny, stream)
    assert endless.asked < GUARD
    assert done.code == stream.is_by_account
    assert [owed["stream"] for owed in debts(done)] == [stream.name]


@pytest.mark.parametrize("stream", PAGED, ids=str)
def test_a_short_page_is_not_the_end(tiny: Tap, stream: Stream) -> None:
    account = tiny.service.account

    def uneven(ask: Ask) -> Reply | None:
        if ask.operation != stream.operation:
            return None
        # The pages, of which the last has one row, the other way round.
        of, page = part_of(ask), int(ask.arguments["Page"])
        rows = account.rows(stream.operation, int(of) if of else None)
        last = math.ceil(len(rows) / account.page_size)
        return of_page(ask, last + 1 - page if page <= last else page)

    tiny.service.rules.append(uneven)
    done = run(tiny, stream)
    assert done.code == 0
    assert keys_emitted(done) == keys_held(account, [stream])


@pytest.mark.parametrize("empty", ["absent", "empty", "nil"])
def test_an_empty_page_in_any_form_is_the_end(make_tap: MakeTap, empty: str) -> None:
    account = tiny_account()
    account.empty = empty  # type: ignore[assignment] # one of the three that it takes
    tap = make_tap(account, {"start_date": START})
    done = run(tap, *STREAMS)
    assert done.code == 0
    assert keys_emitted(done) == keys_held(account, STREAMS)


@pytest.mark.parametrize("number", [2**31 - 1, 2**31 - 2, 2**31 - 3])
def test_a_password_that_is_a_number_is_sent_as_it_is(tmp_path: Path, number: int) -> None:
    with ListrakService(small(), username=USERNAME, password=str(number)) as service:
        tap = Tap(service, tmp_path, {"password": str(number), "start_date": "2026-04-01"})
        run = tap.selecting_all().run(clock=now)
        assert run.code == 0
        assert {ask.password for ask in service.asked} == {str(number)}
        assert keys_emitted(run) == keys_held(service.account, STREAMS)
