"""Paging ends where Listrak says so, and an account that never says so ends the paging."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from fake_listrak import Ask, ListrakService, Reply, fault
from tap_listrak.streams import PUBLISHED, STREAMS, Stream
from tests.support.faults import FAULTS, START, part_of, tiny_account
from tests.support.nights import heal, instant, missing, night, tap_for
from tests.support.runs import bookmarks, set_aside
from tests.support.tap import USERNAME, MakeTap, Tap, keys_emitted, keys_held

PAGED = [stream for stream in STREAMS if stream.paged]
GUARD = 200


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
def test_a_page_that_repeats_is_set_aside_and_costs_its_part_alone(
    make_tap: MakeTap, stream: Stream, concurrency: int
) -> None:
    tap = tap_for(make_tap, stream.name, concurrency=concurrency)
    endless = Endless(stream.operation, 1)
    tap.service.rules.append(endless)
    first = night(tap)
    assert 3 <= endless.asked <= 2 + concurrency
    # The account is the only part of its stream; pages of it were answered.
    assert first.code == 0
    assert FAULTS["repeated page"].message in first.err
    if stream.replication_key:
        (owed,) = set_aside(first)
        assert (owed["stream"], owed["page"]) == (stream.name, 2)
    held = keys_held(tap.service.account, [stream])[stream.name]
    emitted = keys_emitted(first)[stream.name]
    assert emitted.keys() < held.keys()
    # It comes three times before it is known to repeat, and is written twice by then.
    assert (emitted - held).total() == tap.service.account.page_size
    heal(tap)
    second = night(tap, 1, first)
    assert (second.code, set_aside(second), missing(tap, first, second)) == (0, [], {})


def test_pages_that_repeat_everywhere_lose_nothing(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, account=tiny_account(4))
    operations = {each.operation for each in PUBLISHED if each.paged}
    tap.service.rules.append(lambda ask: of_page(ask, 1) if ask.operation in operations else None)
    first = night(tap)
    # Their first pages came, so that the parts are set aside one after the other.
    assert (first.code, set(bookmarks(first).values())) == (0, {instant()})
    assert len(set_aside(first)) == 6 * 8 + 2
    heal(tap)
    second = night(tap, 1, first)
    assert (second.code, set_aside(second), missing(tap, first, second)) == (0, [], {})


@pytest.mark.parametrize("stream", PAGED, ids=str)
def test_two_pages_in_rotation_are_no_end_either(make_tap: MakeTap, stream: Stream) -> None:
    tap = tap_for(make_tap, stream.name)
    endless = Endless(stream.operation, 2, 1)
    tap.service.rules.append(endless)
    run = night(tap)
    assert (run.code, endless.asked < GUARD) == (0, True)
    assert FAULTS["repeated page"].message in run.err
    assert len(set_aside(run)) == bool(stream.replication_key)


@pytest.mark.parametrize("stream", PAGED, ids=str)
def test_a_short_page_is_not_the_end(make_tap: MakeTap, stream: Stream) -> None:
    tap = tap_for(make_tap, stream.name)
    account = tap.service.account

    def uneven(ask: Ask) -> Reply | None:
        if ask.operation != stream.operation:
            return None
        # The pages, of which the last has one row, the other way round.
        of, page = part_of(ask), int(ask.arguments["Page"])
        rows = account.rows(stream.operation, int(of) if of else None)
        last = math.ceil(len(rows) / account.page_size)
        return of_page(ask, last + 1 - page if page <= last else page)

    tap.service.rules.append(uneven)
    run = night(tap)
    assert run.code == 0
    assert keys_emitted(run) == keys_held(account, [stream])


@pytest.mark.parametrize("empty", ["absent", "empty", "nil"])
def test_an_empty_page_in_any_form_is_the_end(make_tap: MakeTap, empty: str) -> None:
    account = tiny_account()
    account.empty = empty  # type: ignore[assignment] # one of the three that it takes
    tap = tap_for(make_tap, *(stream.name for stream in STREAMS), account=account)
    run = night(tap)
    assert run.code == 0
    assert keys_emitted(run) == keys_held(account, STREAMS)


@pytest.mark.parametrize("number", [2**31 - 1, 2**31 - 3])
def test_a_password_that_is_a_number_is_sent_as_it_is(tmp_path: Path, number: int) -> None:
    with ListrakService(tiny_account(), username=USERNAME, password=str(number)) as service:
        tap = Tap(service, tmp_path, {"password": str(number), "start_date": START})
        run = night(tap)
        assert {ask.password for ask in service.asked} == {str(number)}
        assert (run.code, missing(tap, run)) == (0, {})
