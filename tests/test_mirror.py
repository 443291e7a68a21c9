"""A mirrored stream comes whole, in a version of its own, so that a target can delete what left."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from fake_listrak import Account, Ask
from tap_listrak.streams import BY_NAME
from tests.support.accounts import LATER, NOW, small
from tests.support.records import keys_held
from tests.support.runs import CONTACTS
from tests.support.tap import MakeTap, Run, Tap, catalog_of

MIRRORED = ("lists", "messages", "subscribed_contacts")
VERSION = int(NOW.timestamp() * 1000)
Keys = dict[str, set[tuple[Any, ...]]]


def mirror(make_tap: MakeTap, account: Account | None = None, **config: Any) -> Tap:
    """A tap that mirrors all that can be, for an account of three months."""
    options = {"start_date": "2026-04-01", "mirror": list(MIRRORED), **config}
    return make_tap(account or small(), options)


def loaded(*runs: Run) -> Keys:
    """The keys of the mirrored rows that a target of these runs then holds."""
    rows: dict[str, dict[tuple[Any, ...], int | None]] = {stream: {} for stream in MIRRORED}
    for message in (each for run in runs for each in run.messages if each.get("stream") in rows):
        stream, version = message["stream"], message.get("version")
        if message["type"] == "RECORD":
            key = (message["record"][column] for column in BY_NAME[stream].key_properties)
            rows[stream][tuple(key)] = version
        elif message["type"] == "ACTIVATE_VERSION":
            rows[stream] = {key: of for key, of in rows[stream].items() if of == version}
    return {stream: set(of) for stream, of in rows.items()}


def shown(tap: Tap) -> Keys:
    """The keys of what the account shows now, of the streams that can be mirrored."""
    held = keys_held(tap.service.account, [BY_NAME[stream] for stream in MIRRORED])
    return {stream: set(keys) for stream, keys in held.items()}


def hide_contact(tap: Tap, list_id: int) -> str:
    """Hide the first contact of a list; return its address."""
    email = str(tap.service.account.contacts(list_id)[0]["EmailAddress"])
    tap.service.account.hide_contact(list_id, email)
    return email


def activated(run: Run) -> dict[str, int]:
    """The streams and versions of all ACTIVATE_VERSION, in order."""
    return {each["stream"]: each["version"] for each in run.of_type("ACTIVATE_VERSION")}


def is_unfinished(run: Run) -> bool:
    return bool(run.entry("subscribed_contacts").get("unfinished"))


def test_records_carry_the_ranges_end_as_version_which_is_then_activated(make_tap: MakeTap) -> None:
    tap = mirror(make_tap)
    run = tap.run(clock=NOW)
    for each in run.of_type("RECORD"):
        assert each.get("version") == (VERSION if each["stream"] in MIRRORED else None)
    assert activated(run) == dict.fromkeys(MIRRORED, VERSION)
    # It follows the last record and precedes the STATE that says so.
    for stream in MIRRORED:
        kinds = [each["type"] for each in run.messages if each.get("stream", stream) == stream]
        last = kinds.index("ACTIVATE_VERSION")
        assert kinds[last + 1 :] == ["STATE"]
        said = [each["bookmarks"].get(stream, {}).get("version") for each in run.states]
        assert said == [None] * (len(said) - 1) + [VERSION]
    again, asked = tap.asked_in(clock=NOW, state=run.state)
    assert CONTACTS not in {ask.operation for ask in asked}, "it ends no later"
    assert (again.code, activated(again), again.state) == (0, {}, run.state)


def test_what_has_left_the_account_leaves_the_target(make_tap: MakeTap) -> None:
    tap = mirror(make_tap, small(lists=3))
    first = tap.run(clock=NOW)
    assert loaded(first) == shown(tap)
    stays, goes, _ = tap.list_ids
    hide_contact(tap, stays)
    tap.service.account.hide_message(tap.msg_ids()[0])
    tap.service.account.hide_list(goes)
    second = tap.run(clock=LATER, state=first.state)
    assert second.code == 0
    assert loaded(first, second) == shown(tap)


# Runs that were cut off.


@pytest.mark.usefixtures("state_after_every_page")
def test_a_run_resumed_from_any_state_keeps_its_version_and_all_rows(make_tap: MakeTap) -> None:
    tap = mirror(make_tap, small(contacts=4, messages=2), concurrency=1)
    one, other = tap.list_ids
    whole = tap.run(clock=NOW)
    # Someone leaves and comes back with a new date, and someone is new.
    back = hide_contact(tap, one)
    tap.service.account.add_contact(one, back, datetime(2026, 7, 2))
    tap.service.account.add_contact(other, "new@example.com", datetime(2026, 7, 3))
    resumed, found = 0, whole.prefixes()
    # The last are those about the activations.
    for cut_off in [*found[::12], *found[-4:]]:
        rest = tap.run(clock=LATER, state=cut_off.state)
        assert rest.code == 0
        assert loaded(cut_off, rest) == shown(tap)
        if is_unfinished(cut_off):
            resumed += 1
            messages = [(each["type"], each.get("version")) for each in rest.messages]
            assert ("ACTIVATE_VERSION", VERSION) in messages
    assert resumed > 2


@pytest.mark.usefixtures("state_after_every_page")
@pytest.mark.parametrize(("before", "after"), [([], MIRRORED), (MIRRORED, [])])
def test_an_unfinished_range_begins_again_whole_where_the_option_has_changed(
    make_tap: MakeTap, before: Any, after: Any
) -> None:
    tap = mirror(make_tap, concurrency=1)
    whole = tap.run(clock=NOW, config={"mirror": list(before)})
    cut_off = [each for each in whole.prefixes() if is_unfinished(each)][-1]
    tap.service.asked.clear()
    rest = tap.run(clock=LATER, state=cut_off.state, config={"mirror": list(after)})
    assert rest.warnings("mirror has changed")
    for list_id in tap.list_ids:
        assert tap.calls("subscribed_contacts", ListID=list_id, StartDate="2026-03-31T23:59:59")
    assert not after or loaded(cut_off, rest) == shown(tap)


# Deletions that wait.


def test_deletions_wait_while_a_part_is_set_aside(make_tap: MakeTap) -> None:
    tap = mirror(make_tap)
    first = tap.run(clock=NOW)
    failing, other = tap.list_ids
    hide_contact(tap, other)
    tap.fail("subscribed_contacts", ListID=failing)
    second = tap.run(clock=LATER, state=first.state)
    assert second.code == 0
    assert [*activated(second)] == ["lists", "messages"]
    assert second.warnings("subscribed_contacts: some rows are missing, so deletions wait")
    assert second.entry("subscribed_contacts")["version"] == VERSION
    contacts = loaded(first, second)["subscribed_contacts"]
    assert contacts > shown(tap)["subscribed_contacts"]
    tap.heal()
    third = tap.run(clock=LATER + timedelta(days=1), state=second.state)
    assert not third.set_aside
    assert loaded(first, second, third) == shown(tap)


def test_a_row_without_its_key_and_a_stopped_stream_hold_deletions_up(make_tap: MakeTap) -> None:
    tap = mirror(make_tap)
    tap.change("subscribed_contacts", lambda body: body.replace(b"ContactID>", b"Other>", 2))
    tap.fail("messages")
    run = tap.run(clock=NOW)
    assert (run.code, [*activated(run)]) == (1, ["lists"])
    assert run.warnings("subscribed_contacts: some rows are missing, so deletions wait")


# Pages that shift while they are read.


def shifting(make_tap: MakeTap, times: int, page: int = 2) -> tuple[Tap, list[str]]:
    """A tap for nine contacts on pages of two, of whom one leaves before a page is first read.

    That happens `times` times; the list has who left so far.
    """
    account = small(lists=1, messages=0, contacts=0, page_size=2)
    tap = mirror(make_tap, account, concurrency=1)
    for number in range(9):
        account.add_contact(tap.first_list, f"c{number}@x.com", datetime(2026, 4, 2, number))
    tap.catalog = catalog_of("subscribed_contacts")
    left: list[str] = []

    def leave(ask: Ask) -> None:
        is_page = ask.operation == CONTACTS and ask.arguments["Page"] == str(page)
        if is_page and ask.arguments["StartDate"] < "2026-04" and len(left) < times:
            left.append(hide_contact(tap, tap.first_list))

    tap.service.rules.append(leave)
    return tap, left


@pytest.mark.parametrize(("times", "page"), [(1, 4), (2, 2)])
def test_who_is_there_throughout_is_not_deleted_where_pages_shift(
    make_tap: MakeTap, times: int, page: int
) -> None:
    tap, left = shifting(make_tap, times, page)
    run = tap.run(clock=NOW)
    assert (run.code, len(left), activated(run)) == (0, times, {"subscribed_contacts": VERSION})
    contacts = shown(tap)["subscribed_contacts"]
    # Who left meanwhile may be held until the next run.
    assert loaded(run)["subscribed_contacts"] >= contacts
    second = tap.run(clock=LATER, state=run.state)
    assert loaded(run, second)["subscribed_contacts"] == contacts


def test_a_window_whose_pages_shift_a_third_time_has_failed(make_tap: MakeTap) -> None:
    tap, left = shifting(make_tap, 9)
    run = tap.run(clock=NOW)
    assert (run.code, len(left), activated(run)) == (0, 3, {})
    (owed,) = run.set_aside
    assert owed["start"] == "2026-04-01T00:00:00Z"
    assert run.warnings("The pages changed during each reading")
