"""The state as a file: what a run writes, and what it makes of any file that it is given."""

import json
from typing import Any

import pytest

from tap_listrak.streams import BY_NAME, PUBLISHED
from tap_listrak.sync import run as runner
from tests.support import runs
from tests.support.accounts import message_ids
from tests.support.runs import NOW, OPEN, START, days, requested, rows, starts, text, wire
from tests.support.tap import BOOKMARKS, MakeTap, Tap, catalog_of

ARRAYS = {"covers", "unfinished", "set_aside", "turns"}
OPENS = catalog_of("message_opens")


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap that selects the published streams of an account of a few pages."""
    tap = runs.tiny_tap(make_tap)
    tap.catalog = None
    return tap


# What is written.


@pytest.mark.usefixtures("state_after_every_page")
def test_an_entry_has_always_the_same_keys_each_a_scalar_or_an_array(tap: Tap) -> None:
    # Then a deep merge of two states has each value of the newer one.
    tap.config |= {"recent_days": 3, "mirror": "messages"}
    tap.fail("message_opens", MsgID=min(message_ids(tap.service.account)))
    first = tap.run(clock=NOW)
    second = tap.run(clock=days(1), state=first.state)
    for state in [*first.states[1:], *second.states]:
        assert state.keys() == {"bookmarks"}
        assert state["bookmarks"].keys() <= BOOKMARKS.keys() | {"messages"}
        for name, found in state["bookmarks"].items():
            key = {BOOKMARKS[name]} if name in BOOKMARKS else set[str]()
            assert found.keys() == key | ARRAYS | {"version"}
            assert {name for name, value in found.items() if isinstance(value, list)} == ARRAYS
            assert not any(isinstance(value, dict) for value in found.values())
    assert second.entry()["set_aside"]


def test_the_state_of_nine_streams_on_three_lists_is_below_2_kb(make_tap: MakeTap) -> None:
    run = make_tap().run()
    assert len(run.covers()["list_ids"]) == 3
    assert run.bookmarks.keys() == BOOKMARKS.keys() & {each.name for each in PUBLISHED}
    assert len(json.dumps(run.state)) < 2000


def test_states_come_after_the_first_page_at_each_lists_end_and_last(
    make_tap: MakeTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SECONDS_BETWEEN_STATES", 1e9)
    tap = runs.tiny_tap(make_tap, counts={OPEN: 7})
    run = tap.run(clock=NOW, catalog=OPENS)
    assert run.states[0] == {"bookmarks": {}}
    assert [len(each.of_type("RECORD")) for each in run.prefixes()] == [0, 3, 14, 28, 28]


# What is given.

GIVEN = {
    "message_sends": {"SendDate": "2026-03-02T15:00:00.000000Z"},
    "message_opens": {"OpenDate": "2026-03-03T10:20:30.123456Z"},
    "message_clicks": {"ClickDate": "2026-03-04T10:20:30.123456Z"},
    "message_reads": {"ReadDate": "2026-03-05T10:20:30.123456Z"},
    "message_unsubs": {
        "RemovalDate": "2026-03-07T10:20:30.123456Z",
        # Until 2026 the published tap wrote this one here.
        "BounceDate": "2026-03-06T10:20:30.123456Z",
    },
    "subscribed_contacts": {"AdditionDate": "2026-03-08T10:20:30.123456Z"},
}


@pytest.mark.parametrize(
    "state",
    [
        {"bookmarks": GIVEN, "currently_syncing": "message_unsubs"},
        {"type": "STATE", "value": {"bookmarks": GIVEN}},
        {"singer_state": {"bookmarks": GIVEN}, "completed": {}},
    ],
    ids=["published", "message", "meltano"],
)
def test_a_state_of_the_published_tap_carries_on_in_any_wrapping(tap: Tap, state: Any) -> None:
    run, asked = tap.asked_in(clock=NOW, state=state)
    assert (run.code, run.warnings()) == (0, [])
    for name, day in (("opens", 2), ("clicks", 3), ("reads", 4), ("bounces", 5), ("unsubs", 6)):
        operation = BY_NAME[f"message_{name}"].operation
        assert starts(asked, operation) == {f"2026-03-{day:02}T10:20:30"}
    assert starts(asked, runs.CONTACTS) == {"2026-03-07T10:20:29"}
    sent = message_ids(tap.service.account, since="2026-02-27T15:00:00")
    assert requested(asked, runs.SENT) == sent
    assert run.bookmarks == dict.fromkeys([*GIVEN, "message_bounces"], text(NOW))
    assert "BounceDate" not in run.state["bookmarks"]["message_unsubs"]


def test_a_stream_the_state_lacks_starts_at_start_date_and_one_not_selected_stays(tap: Tap) -> None:
    state = {"bookmarks": {name: GIVEN[name] for name in ("message_opens", "message_clicks")}}
    tap.catalog = catalog_of("message_opens", "message_bounces")
    run, asked = tap.asked_in(clock=NOW, state=state)
    assert starts(asked, BY_NAME["message_bounces"].operation) == {wire(START)}
    assert starts(asked) == {"2026-03-02T10:20:30"}
    assert run.entry("message_clicks")["ClickDate"] == "2026-03-04T10:20:30.123456Z"


@pytest.mark.parametrize("state", [" \n", {}, {"bookmarks": {"message_opens": {}}}])
def test_an_empty_file_is_no_state_nor_is_one_without_bookmarks(tap: Tap, state: Any) -> None:
    run = tap.run(clock=NOW, state=state)
    assert rows(run) == rows(tap.run(clock=NOW))
    is_empty = isinstance(state, str)
    assert ["state.json is empty" in line for line in run.warnings()] == [True] * is_empty


@pytest.mark.parametrize("lookback", [1, 7])
def test_a_bookmark_ahead_of_now_is_warned_of_and_further_refused(tap: Tap, lookback: int) -> None:
    config, opens = {"lookback_days": lookback}, {"OpenDate": text(days(lookback + 0.1))}
    given: dict[str, Any] = {"clock": NOW, "config": config, "catalog": OPENS}
    run = tap.run(state={"bookmarks": {"message_opens": opens}}, **given)
    assert "bookmarks.message_opens.OpenDate is in the future" in tap.refusal(run)
    opens["OpenDate"] = ahead = text(days(lookback))
    run, asked = tap.asked_in(state={"bookmarks": {"message_opens": opens}}, **given)
    assert starts(asked) == {wire(days(-lookback))}
    assert run.bookmarks == {"message_opens": ahead}
    assert run.warnings("message_opens.OpenDate is ahead") == run.warnings() != []


def test_unknown_streams_and_keys_are_warned_of_and_kept(tap: Tap) -> None:
    forwards = {"ForwardDate": "2026-01-01", "offset": {"Page": 3}}
    state = {"bookmarks": {"message_forwards": forwards}, "currently_syncing": "message_opens"}
    run = tap.run(clock=NOW, state=state)
    assert run.code == 0
    assert run.warnings("message_forwards") == run.warnings() != []
    for each in run.states:
        assert each["bookmarks"]["message_forwards"] == forwards
        assert each["currently_syncing"] == "message_opens"


# What is refused.

NO_STATES = {
    "state.json": ["{", "[" * 100_000, '{"bookmarks": ' + "1" * 5_000],
    "Pass only the last state": ['{"bookmarks": {}}\n{"bookmarks": {}}\n'],
    "The state must be a JSON object": [
        *("[]", "null", '{"type": "STATE"}', '{"type": "STATE", "value": []}'),
        '{"singer_state": 1}',
    ],
    "must be an object": [
        *('{"bookmarks": []}', '{"bookmarks": null}', '{"bookmarks": {"\\n": 1}}'),
        '{"bookmarks": {"message_unsubs": []}}',
    ],
}


@pytest.mark.parametrize(
    ("content", "named"),
    [(text, named) for named, texts in NO_STATES.items() for text in texts],
    ids=lambda text: text[:30],
)
def test_a_state_that_is_no_json_object_is_an_error(tap: Tap, content: str, named: str) -> None:
    assert named in tap.refusal(tap.run(state=content))


RANGE = {"start_date": "2026-02-01T00:00:00Z", "end": "2026-03-19T00:00:00Z"}
OWED = {**RANGE, "list_id": 1, "parent_id": 2, "start": RANGE["start_date"]}
# Wrong values, by their path in an entry.
WRONG: dict[str, list[Any]] = {
    "OpenDate": ["", "2026-13-01", 17],
    "covers": [3, {"start_date": 1}, [3], [RANGE] * 2],
    "set_aside": [[{"list_id": 1}]],
    "version": ["1"],
    "unfinished[0].start_date": [None],
    "unfinished[0].older_every_days": [1],
    "unfinished[0].end": ["2026-03-19T00:00:00"],
    "unfinished[0].place.list_id": [2**63],
    "unfinished[0].place.page": [0],
    "set_aside[0].parent_id": [True],
    "set_aside[0].failed_since": ["?"],
    "turns[0].counts": ["?"],
}


@pytest.mark.parametrize(
    ("path", "value"), [(path, value) for path, values in WRONG.items() for value in values]
)
def test_what_is_malformed_is_named_before_any_request(tap: Tap, path: str, value: Any) -> None:
    name, *keys = path.replace("[0]", "").split(".")
    for key in reversed(keys):
        value = {key: value}
    sound = {**RANGE, "sent_from": text(NOW)} if name == "turns" else RANGE
    found = [{**(OWED if name == "set_aside" else sound), **value}] if keys else value
    state = {"bookmarks": {"message_opens": {"OpenDate": text(days(-1)), name: found}}}
    line = tap.refusal(tap.run(clock=NOW, state=state))
    assert f"bookmarks.message_opens.{path}" in line


def test_an_end_in_the_future_is_refused(tap: Tap) -> None:
    unfinished = [{**RANGE, "end": "2026-08-01T00:00:00Z"}]
    run = tap.run(clock=NOW, state={"bookmarks": {"message_opens": {"unfinished": unfinished}}})
    assert "bookmarks.message_opens, in `end`, is in the future" in tap.refusal(run)
