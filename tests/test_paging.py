"""Paging ends where Listrak says so, and an account that never says so ends the paging."""

import math
from dataclasses import replace

import pytest

from fake_listrak import Ask, Reply, html
from tap_listrak.streams import BY_NAME, Stream
from tests.support.faults import FAULTS, part_of
from tests.support.records import keys_emitted, keys_held
from tests.support.runs import CLICK, MESSAGES, NOW, tap_for, tiny_tap
from tests.support.tap import MakeTap, catalog_of

# One of each kind: pages are read in one place, and the histories and the fault matrix read all.
PAGED = [BY_NAME[name] for name in ("message_opens", "message_links", "complaints")]
GUARD = 200


def page_of(ask: Ask) -> int:
    return int(ask.arguments["Page"])


def of_page(ask: Ask, page: int) -> Reply:
    return replace(ask, arguments={**ask.arguments, "Page": str(page)}).honest()


@pytest.mark.parametrize(
    ("stream", "pages", "concurrency"),
    [(PAGED[0], [1], 1), (PAGED[1], [1], 8), (PAGED[2], [1], 8), (PAGED[0], [2, 1], 1)],
    ids=str,
)
def test_pages_that_repeat_are_set_aside_and_cost_their_part_alone(
    make_tap: MakeTap, stream: Stream, pages: list[int], concurrency: int
) -> None:
    tap = tap_for(make_tap, stream.name, concurrency=concurrency)
    endless: list[Ask] = []

    def rule(ask: Ask) -> Reply | None:
        """Return the pages of the stream's first part in turn, for ever (or GUARD times)."""
        of_it = ask.operation == stream.operation
        if not of_it or part_of(ask) != part_of(endless[0] if endless else ask):
            return None
        endless.append(ask)
        is_too_much = len(endless) > GUARD
        return html(404) if is_too_much else of_page(ask, pages[page_of(ask) % len(pages)])

    tap.service.rules.append(rule)
    first = tap.night()
    assert 3 <= len(endless) <= 3 * len(pages) + concurrency - 1
    # The account is the only part of its stream; pages of it were answered.
    assert first.code == 0
    assert FAULTS["repeated page"].message in first.err
    owes = bool(stream.replication_key)
    assert [each["stream"] for each in first.set_aside] == [stream.name] * owes
    assert not any("page" in each for each in first.set_aside), "the next run begins at page 1"
    held = keys_held(tap.service.account, [stream])[stream.name]
    emitted = keys_emitted(first)[stream.name]
    assert emitted.keys() < held.keys()
    # They come three times before they are known to repeat. Rows of a page may have one key.
    assert 1 <= (emitted - held).total() <= tap.service.account.page_size * (2 * len(pages) - 1)
    tap.heal()
    second = tap.night(1, first)
    assert (second.code, second.set_aside, tap.missing(first, second)) == (0, [], {})


@pytest.mark.parametrize("stream", PAGED, ids=str)
def test_a_short_page_is_not_the_end(make_tap: MakeTap, stream: Stream) -> None:
    tap = tap_for(make_tap, stream.name)
    account = tap.service.account

    def uneven(ask: Ask) -> Reply | None:
        if ask.operation != stream.operation:
            return None
        # The last page, which has one row, comes second.
        of, page = part_of(ask), page_of(ask)
        rows = account.rows(stream.operation, int(of) if of else None)
        last = math.ceil(len(rows) / account.page_size)
        places = [1, last, *range(2, last)]
        return of_page(ask, places[page - 1] if page <= last else page)

    tap.service.rules.append(uneven)
    run = tap.night()
    assert run.code == 0
    assert keys_emitted(run) == keys_held(account, [stream])


def test_pages_alike_at_both_ends_are_not_taken_for_repeated_ones(make_tap: MakeTap) -> None:
    tap = tiny_tap(make_tap, lists=1, messages=1, counts={CLICK: 0}, page_size=4)
    link = {"LinkUrl": "https://example.com/" + "r" * 200, "LinkDescription": ""}
    for number in range(24):
        email = f"{number}@example.com" if number % 4 in (1, 2) else "robot@example.com"
        tap.service.account.add_event(CLICK, tap.msg_ids()[0], email, NOW, **link)
    run = tap.run(clock=NOW)
    assert (run.code, run.set_aside, len(run.records("message_clicks"))) == (0, [], 24)


# What is requested ahead is bounded: eight pages for each worker.

AHEAD = 8


def test_while_a_reply_hangs_no_more_is_requested_than_the_bound(make_tap: MakeTap) -> None:
    tap = tiny_tap(make_tap, 2, lists=40)
    tap.catalog = catalog_of("message_opens")
    hung: list[int] = []

    def rule(ask: Ask) -> Reply | None:
        is_first = ask.arguments.get("ListID") == str(tap.first_list)
        if ask.operation == MESSAGES and is_first and len(hung) < 2:
            hung.append(len(tap.service.asked))
            return Reply(hang=True) if len(hung) == 1 else None
        return None

    tap.service.rules.append(rule)
    assert tap.run(config={"interval_days": 365, "request_timeout": 2}).code == 0
    assert hung[1] - hung[0] <= 2 * AHEAD + 2
