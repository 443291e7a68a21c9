"""A mirrored stream comes whole, in a version of its own, so that a target can delete what left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest

from fake_listrak import Account, Ask, Reply
from tap_listrak.streams import BY_NAME
from tests.support.accounts import LATER, NOW, list_ids, small
from tests.support.records import all_rows, due
from tests.support.tap import NOT_FOUND, MakeTap, Run, Tap, catalog_of

MIRRORED = ("lists", "messages", "subscribed_contacts")
CONTACTS = BY_NAME["subscribed_contacts"].operation
VERSION = int(NOW.timestamp() * 1000)
DAY = timedelta(days=1)

Key = tuple[Any, ...]


def shown(account: Account) -> dict[str, set[Key]]:
    """The keys of what the account shows now, of the streams that can be mirrored."""
    keys: dict[str, set[Key]] = {stream: set() for stream in MIRRORED}
    for stream, parent, row in all_rows(account):
        if stream in keys:
            record = due(stream, row, parent)
            keys[stream].add(tuple(record[column] for column in BY_NAME[stream].key_properties))
    return keys


class VersionedTarget:
    """Stores the mirrored streams as a target that acts on ACTIVATE_VERSION does."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Key, int | None]] = {stream: {} for stream in MIRRORED}

    def take(self, *runs: Run) -> VersionedTarget:
        """Store what these runs emitted."""
        for run in runs:
            for message in run.messages:
                rows = self.rows.get(message.get("stream", ""))
                if rows is None:
                    continue
                if message["type"] == "RECORD":
                    key = BY_NAME[message["stream"]].key_properties
                    record = message["record"]
                    rows[tuple(record[column] for column in key)] = message.get("version")
                elif message["type"] == "ACTIVATE_VERSION":
                    version = message["version"]
                    for gone in [each for each, of in rows.items() if of != version]:
                        del rows[gone]
        return self

    def assert_holds(self, account: Account) -> None:
        """Hold just what the account shows now."""
        assert {stream: set(rows) for stream, rows in self.rows.items()} == shown(account)


def mirror(make_tap: MakeTap, account: Account | None = None, **config: Any) -> Tap:
    """A tap that mirrors all that can be, for an account of three months."""
    return make_tap(
        account or small(), {"start_date": "2026-04-01", "mirror": list(MIRRORED), **config}
    )


def first_contact(account: Account, list_id: int) -> str:
    return str(account.contacts(list_id)[0]["EmailAddress"])


def activated(*runs: Run) -> list[tuple[str, int]]:
    """The streams and versions of all ACTIVATE_VERSION, in order."""
    return [
        (each["stream"], each["version"])
        for run in runs
        for each in run.of_type("ACTIVATE_VERSION")
    ]


def is_unfinished(run: Run, stream: str = "subscribed_contacts") -> bool:
    """Whether the last STATE holds an unfinished range of a stream."""
    return bool(run.state["bookmarks"].get(stream, {}).get("unfinished"))


def test_records_carry_the_ranges_end_as_version_which_is_then_activated(make_tap: MakeTap) -> None:
    run = mirror(make_tap).run(clock=NOW)
    records = [each for each in run.of_type("RECORD") if each["stream"] in MIRRORED]
    assert {each["version"] for each in records} == {VERSION}
    others = [each for each in run.of_type("RECORD") if each["stream"] not in MIRRORED]
    assert others
    assert not any("version" in each for each in others)
    assert activated(run) == [(stream, VERSION) for stream in MIRRORED]
    # It follows the last record and precedes the STATE that says so.
    for stream in MIRRORED:
        kinds = [
            each["type"]
            for each in run.messages
            if each["type"] == "STATE" or each["stream"] == stream
        ]
        at_activation = kinds.index("ACTIVATE_VERSION")
        assert "RECORD" not in kinds[at_activation:]
        assert kinds[at_activation + 1 :] == ["STATE"]
        said = [each["bookmarks"].get(stream, {}).get("version") for each in run.states]
        assert said == [None] * (len(said) - 1) + [VERSION]


def test_what_has_left_the_account_leaves_the_target(make_tap: MakeTap) -> None:
    tap = mirror(make_tap, small(lists=3))
    account = tap.service.account
    first = tap.run(clock=NOW)
    target = VersionedTarget().take(first)
    target.assert_holds(account)
    stays, goes, *_ = list_ids(account)
    account.hide_contact(stays, first_contact(account, stays))
    account.hide_message(int(str(account.messages(stays)[0]["MsgID"])))
    account.hide_list(goes)
    second = tap.run(clock=LATER, state=first.state)
    assert second.code == 0
    target.take(second).assert_holds(account)


def test_a_run_that_ends_no_later_requests_nothing_again(make_tap: MakeTap) -> None:
    tap = mirror(make_tap)
    first = tap.run(clock=NOW)
    tap.service.asked.clear()
    again = tap.run(clock=NOW, state=first.state)
    assert (again.code, activated(again), tap.calls("subscribed_contacts")) == (0, [], [])
    assert again.state == first.state


# Runs that were cut off.


@pytest.mark.usefixtures("state_after_every_page")
def test_a_run_resumed_from_any_state_keeps_its_version_and_all_rows(make_tap: MakeTap) -> None:
    account = small(contacts=4, messages=2)
    tap = mirror(make_tap, account, concurrency=1)
    whole = tap.run(clock=NOW)
    # Someone leaves and comes back with a new date, and someone is new.
    back = first_contact(account, list_ids(account)[0])
    account.hide_contact(list_ids(account)[0], back)
    account.add_contact(list_ids(account)[0], back, datetime(2026, 7, 2))
    account.add_contact(list_ids(account)[1], "new@example.com", datetime(2026, 7, 3))
    resumed = 0
    found = whole.prefixes()
    # The last are those about the activations.
    for cut_off in [*found[::12], *found[-4:]]:
        rest = tap.run(clock=LATER, state=cut_off.state)
        assert rest.code == 0
        if is_unfinished(cut_off):
            resumed += 1
            assert ("subscribed_contacts", VERSION) in activated(rest)
        VersionedTarget().take(cut_off, rest).assert_holds(account)
    assert resumed > 2


@pytest.mark.usefixtures("state_after_every_page")
@pytest.mark.parametrize(("before", "after"), [(None, MIRRORED), (MIRRORED, None)])
def test_an_unfinished_range_begins_again_whole_where_the_option_has_changed(
    make_tap: MakeTap, before: Iterable[str] | None, after: Iterable[str] | None
) -> None:
    tap = mirror(make_tap, concurrency=1)
    whole = tap.run(clock=NOW, config={"mirror": before and list(before)})
    cut_off = [each for each in whole.prefixes() if is_unfinished(each)][-1]
    tap.service.asked.clear()
    rest = tap.run(clock=LATER, state=cut_off.state, config={"mirror": after and list(after)})
    assert rest.warnings("mirror has changed")
    for list_id in tap.list_ids:
        assert tap.calls("subscribed_contacts", ListID=list_id, StartDate="2026-03-31T23:59:59")
    if after:
        VersionedTarget().take(cut_off, rest).assert_holds(tap.service.account)


# Deletions that wait.


def test_deletions_wait_while_a_part_is_set_aside(make_tap: MakeTap) -> None:
    tap = mirror(make_tap)
    account = tap.service.account
    first = tap.run(clock=NOW)
    target = VersionedTarget().take(first)
    failing, other = list_ids(account)
    account.hide_contact(other, first_contact(account, other))
    tap.fail("subscribed_contacts", ListID=failing)
    second = tap.run(clock=LATER, state=first.state)
    assert second.code == 0
    assert [stream for stream, _ in activated(second)] == ["lists", "messages"]
    assert second.warnings("subscribed_contacts: some rows are missing, so deletions wait")
    assert second.state["bookmarks"]["subscribed_contacts"]["version"] == VERSION
    held = set(target.take(second).rows["subscribed_contacts"])
    assert held > shown(account)["subscribed_contacts"]
    tap.heal()
    third = tap.run(clock=LATER + DAY, state=second.state)
    assert not third.set_aside
    target.take(third).assert_holds(account)


def test_what_was_set_aside_of_a_vanished_list_does_not_delay_deletions(make_tap: MakeTap) -> None:
    tap = mirror(make_tap)
    failing, _ = tap.list_ids
    tap.fail("subscribed_contacts", ListID=failing)
    first = tap.run(clock=NOW)
    assert first.set_aside
    tap.service.account.hide_list(failing)
    second = tap.run(clock=LATER, state=first.state)
    assert ("subscribed_contacts", int(LATER.timestamp() * 1000)) in activated(second)
    VersionedTarget().take(first, second).assert_holds(tap.service.account)


def test_a_stream_that_is_stopped_is_not_activated(make_tap: MakeTap) -> None:
    tap = mirror(make_tap)
    tap.fail("messages", NOT_FOUND)
    run = tap.run(clock=NOW)
    assert run.code == 1
    assert [stream for stream, _ in activated(run)] == ["lists", "subscribed_contacts"]


def test_a_row_without_its_key_holds_deletions_up(make_tap: MakeTap) -> None:
    tap = mirror(make_tap)
    tap.change(
        "subscribed_contacts", lambda body: body.replace(b"ContactID>", b"Other>", 2), Page=1
    )
    run = tap.run(clock=NOW)
    assert [stream for stream, _ in activated(run)] == ["lists", "messages"]
    assert run.warnings("deletions wait")


# Pages that shift while they are read.


def shifting(make_tap: MakeTap, times: int, page: int = 2) -> tuple[Tap, Counter[str]]:
    """A tap for nine contacts on pages of two, of whom one leaves before a page is first read.

    That happens `times` times; the counter says how often so far.
    """
    account = small(lists=1, messages=0, contacts=0, page_size=2)
    (list_id,) = list_ids(account)
    for number in range(9):
        account.add_contact(list_id, f"c{number}@example.com", datetime(2026, 4, 2, number))
    tap = mirror(make_tap, account, concurrency=1)
    tap.catalog = catalog_of("subscribed_contacts")
    left: Counter[str] = Counter()

    def leave(ask: Ask) -> Reply | None:
        is_page = ask.operation == CONTACTS and ask.arguments["Page"] == str(page)
        if is_page and ask.arguments["StartDate"] < "2026-04" and left["times"] < times:
            account.hide_contact(list_id, f"c{left['times']}@example.com")
            left["times"] += 1
        return None

    tap.service.rules.append(leave)
    return tap, left


@pytest.mark.parametrize(("times", "page"), [(1, 4), (2, 2)])
def test_who_is_there_throughout_is_not_deleted_where_pages_shift(
    make_tap: MakeTap, times: int, page: int
) -> None:
    tap, left = shifting(make_tap, times, page)
    run = tap.run(clock=NOW)
    assert (run.code, left["times"]) == (0, times)
    assert ("subscribed_contacts", VERSION) in activated(run)
    held = VersionedTarget().take(run).rows["subscribed_contacts"].keys()
    # Who left meanwhile may be held until the next run.
    assert held >= shown(tap.service.account)["subscribed_contacts"]
    second = tap.run(clock=LATER, state=run.state)
    held = VersionedTarget().take(run, second).rows["subscribed_contacts"].keys()
    assert held == shown(tap.service.account)["subscribed_contacts"]


def test_a_window_whose_pages_shift_a_third_time_has_failed(make_tap: MakeTap) -> None:
    tap, left = shifting(make_tap, 9)
    run = tap.run(clock=NOW)
    assert (run.code, left["times"], activated(run)) == (0, 3, [])
    (owed,) = run.set_aside
    assert owed["start"] == "2026-04-01T00:00:00Z"
    assert run.warnings("The pages changed during each reading")


def test_only_windows_with_rows_are_read_twice(make_tap: MakeTap) -> None:
    tap, _ = shifting(make_tap, 0)
    assert tap.run(clock=NOW).code == 0
    pages = [ask.arguments["Page"] for ask in tap.calls("subscribed_contacts")]
    assert pages == [*"123456", *"12345", "1", "1", "1"]
    tap.service.asked.clear()
    tap.run(clock=NOW, config={"mirror": None})
    pages = [ask.arguments["Page"] for ask in tap.calls("subscribed_contacts")]
    assert pages == [*"123456", "1", "1", "1"]
