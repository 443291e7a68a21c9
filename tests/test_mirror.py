"""A mirrored stream comes whole, in a version of its own, so that a target can delete what left."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from fake_listrak import Account, Ask, html
from tap_listrak.streams import BY_NAME
from tests.support.accounts import LATER, NOW, later, list_ids, now, small
from tests.support.records import all_rows, due
from tests.support.runs import CONTACTS, asked_in, at, debts, is_finished, prefixes
from tests.support.tap import MakeTap, Run, Tap

MIRRORED = ("lists", "messages", "subscribed_contacts")
NOTHING = {"offset": {"AdditionDate": None}}
VERSION = int(NOW.timestamp() * 1000)

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


def all_versions(run: Run) -> dict[str, Any]:
    """The version that each mirrored stream holds in the last STATE."""
    return {name: run.state["bookmarks"][name]["version"] for name in MIRRORED}


def fail_contacts(tap: Tap, list_id: int) -> None:
    """Answer for the contacts of a list with HTML, from now on."""

    def rule(ask: Ask) -> Any:
        is_hit = ask.operation == CONTACTS and ask.arguments["ListID"] == str(list_id)
        return html(404) if is_hit else None

    tap.service.rules.append(rule)


def test_records_of_a_mirrored_stream_carry_the_end_of_the_range_as_their_version(
    make_tap: MakeTap,
) -> None:
    run = mirror(make_tap).run(clock=now)
    for message in run.of_type("RECORD"):
        is_mirrored = message["stream"] in MIRRORED
        assert message.get("version") == (VERSION if is_mirrored else None)
        keys = ["type", "stream", "record", *["version"] * is_mirrored, "time_extracted"]
        assert list(message) == keys
    assert activated(run) == [(stream, VERSION) for stream in MIRRORED]
    assert all_versions(run) == dict.fromkeys(MIRRORED, VERSION)


def test_activation_stands_behind_the_last_record_and_before_the_state_that_says_so(
    make_tap: MakeTap,
) -> None:
    messages = mirror(make_tap).run(clock=now).messages
    for stream in MIRRORED:
        kinds = [
            each["type"] for each in messages if each["type"] == "STATE" or each["stream"] == stream
        ]
        at_activation = kinds.index("ACTIVATE_VERSION")
        assert "RECORD" not in kinds[at_activation:]
        assert kinds[at_activation + 1 :] == ["STATE"]
        states = [each["value"] for each in messages if each["type"] == "STATE"]
        said = [each["bookmarks"].get(stream, {}).get("version") for each in states]
        assert said[:-1] == [None] * (len(said) - 1)
        assert said[-1] == VERSION


def test_without_the_option_no_record_has_a_version(make_tap: MakeTap) -> None:
    run = mirror(make_tap, mirror=None).run(clock=now)
    assert not any("version" in message for message in run.messages)
    assert not activated(run)


@pytest.mark.parametrize("given", ["subscribed_contacts, lists", '["subscribed_contacts","lists"]'])
def test_the_streams_may_be_named_in_a_text(make_tap: MakeTap, given: str) -> None:
    run = mirror(make_tap, mirror=given).run(clock=now)
    assert {stream for stream, _ in activated(run)} == {"lists", "subscribed_contacts"}


def test_what_has_left_the_account_leaves_the_target(make_tap: MakeTap) -> None:
    tap = mirror(make_tap, small(lists=3))
    account = tap.service.account
    first = tap.run(clock=now)
    target = VersionedTarget().take(first)
    target.assert_holds(account)
    stays, goes, *_ = list_ids(account)
    account.hide_contact(stays, first_contact(account, stays))
    account.hide_message(int(str(account.messages(stays)[0]["MsgID"])))
    account.hide_list(goes)
    second = tap.run(clock=later, state=first.state)
    assert second.code == 0
    target.take(second).assert_holds(account)


@pytest.mark.usefixtures("state_behind_every_page")
def test_a_run_that_goes_on_from_any_state_keeps_the_version_and_loses_nothing(
    make_tap: MakeTap,
) -> None:
    tap = mirror(make_tap, small(contacts=4, messages=2), concurrency=1)
    whole = tap.run(clock=now)
    for cut_off in prefixes(whole):
        rest = tap.run(clock=later, state=cut_off.state)
        assert rest.code == 0
        target = VersionedTarget().take(cut_off, rest)
        if not is_finished(cut_off.state):
            assert set(activated(rest)) == {(stream, VERSION) for stream in MIRRORED}
        target.assert_holds(tap.service.account)


def test_a_kill_between_the_last_record_and_the_activation_activates_in_the_next_run(
    make_tap: MakeTap,
) -> None:
    tap = mirror(make_tap)
    whole = tap.run(clock=now)
    lines = whole.out.split("\n")
    at_activation = next(i for i, line in enumerate(lines) if '"ACTIVATE_VERSION"' in line)
    killed = Run(1, "\n".join([*lines[:at_activation], ""]), "")
    rest = tap.run(clock=later, state=killed.state)
    assert activated(rest) == [(stream, VERSION) for stream in MIRRORED]
    VersionedTarget().take(killed, rest).assert_holds(tap.service.account)


def test_deletions_wait_while_a_part_is_set_aside(make_tap: MakeTap) -> None:
    tap = mirror(make_tap)
    first = tap.run(clock=now)
    target = VersionedTarget().take(first)
    failing, other = list_ids(tap.service.account)
    tap.service.account.hide_contact(other, first_contact(tap.service.account, other))
    fail_contacts(tap, failing)
    second = tap.run(clock=later, state=first.state)
    assert second.code == 0
    assert [stream for stream, _ in activated(second)] == ["lists", "messages"]
    assert any("subscribed_contacts: a part of it is set aside" in line for line in
               second.lines("WARNING"))  # fmt: skip
    assert all_versions(second)["subscribed_contacts"] == VERSION
    held = set(target.take(second).rows["subscribed_contacts"])
    assert held > shown(tap.service.account)["subscribed_contacts"]
    tap.service.rules.clear()
    third = tap.run(clock=at(LATER + timedelta(days=1)), state=second.state)
    assert not debts(third)
    target.take(third).assert_holds(tap.service.account)


def test_what_is_owed_of_a_list_that_vanished_does_not_hold_deletions_up(make_tap: MakeTap) -> None:
    tap = mirror(make_tap)
    failing, _ = list_ids(tap.service.account)
    fail_contacts(tap, failing)
    first = tap.run(clock=now)
    assert debts(first)
    tap.service.account.hide_list(failing)
    second = tap.run(clock=later, state=first.state)
    assert debts(second)
    assert ("subscribed_contacts", int(LATER.timestamp() * 1000)) in activated(second)
    VersionedTarget().take(first, second).assert_holds(tap.service.account)


def test_lists_without_contacts_are_activated_without_a_record(make_tap: MakeTap) -> None:
    tap = mirror(make_tap, small(contacts=0))
    run = tap.run(clock=now)
    assert not run.records("subscribed_contacts")
    assert ("subscribed_contacts", VERSION) in activated(run)


def test_a_run_that_fails_activates_nothing(make_tap: MakeTap) -> None:
    tap = mirror(make_tap)
    tap.service.rules.append(
        lambda ask: html(404) if ask.operation == "ReportListMessageActivity" else None
    )
    run = tap.run(clock=now)
    assert run.code != 0
    assert not activated(run)


def test_list_ids_are_refused_beside_it(make_tap: MakeTap) -> None:
    tap = mirror(make_tap, list_ids=[345001])
    run = tap.run(clock=now)
    assert run.code == 2
    assert "`mirror` and `list_ids` cannot be combined" in run.err
    assert not tap.service.asked


@pytest.mark.parametrize("wrong", ["message_opens", ["lists", 1], {"lists": True}, 7])
def test_only_some_streams_can_be_mirrored(make_tap: MakeTap, wrong: Any) -> None:
    run = mirror(make_tap, mirror=wrong).run(clock=now)
    assert run.code == 2
    assert f"`mirror` takes streams among {', '.join(MIRRORED)}" in run.err


def cut_off_within_contacts(tap: Tap, **config: Any) -> Run:
    """A run that ended at the last STATE before the contacts were complete."""
    whole = tap.run(clock=now, config=config)
    return [
        each
        for each in prefixes(whole)
        if each.state["bookmarks"].get("subscribed_contacts", NOTHING)["offset"]["AdditionDate"]
    ][-1]


@pytest.mark.usefixtures("state_behind_every_page")
@pytest.mark.parametrize(("before", "after"), [(None, MIRRORED), (MIRRORED, None)])
def test_an_unfinished_range_begins_whole_anew_where_the_option_has_changed(
    make_tap: MakeTap, before: Iterable[str] | None, after: Iterable[str] | None
) -> None:
    tap = mirror(make_tap, concurrency=1)
    cut_off = cut_off_within_contacts(tap, mirror=before and list(before))
    rest, asked = asked_in(
        tap, clock=later, state=cut_off.state, config={"mirror": after and list(after)}
    )
    assert any("mirror has changed: all of subscribed_contacts" in line for line in
               rest.lines("WARNING"))  # fmt: skip
    starts = {
        (ask.arguments["ListID"], ask.arguments["StartDate"])
        for ask in asked
        if ask.operation == CONTACTS
    }
    for list_id in list_ids(tap.service.account):
        assert (str(list_id), "2026-04-01T00:00:00") in starts
    if after:
        VersionedTarget().take(cut_off, rest).assert_holds(tap.service.account)


def test_a_run_that_ends_no_later_does_not_ask_again(make_tap: MakeTap) -> None:
    tap = mirror(make_tap)
    first = tap.run(clock=now)
    again, asked = asked_in(tap, clock=now, state=first.state)
    assert again.code == 0
    assert not activated(again)
    assert not [ask for ask in asked if ask.operation == CONTACTS]
    assert all_versions(again) == all_versions(first)


def test_contacts_are_asked_whole_in_each_run(make_tap: MakeTap) -> None:
    tap = mirror(make_tap)
    first = tap.run(clock=now)
    second = tap.run(clock=later, state=first.state)
    assert len(second.records("subscribed_contacts")) == len(first.records("subscribed_contacts"))
    assert (
        second.state["bookmarks"]["subscribed_contacts"]["AdditionDate"]
        > (first.state["bookmarks"]["subscribed_contacts"]["AdditionDate"])
    )
