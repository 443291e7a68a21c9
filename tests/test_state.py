"""The state as a file: what a run writes, and what it makes of any file that it is given."""

import json
import string
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from fake_listrak import html
from tap_listrak.config import parse_config
from tap_listrak.errors import UsageError
from tap_listrak.streams import BY_NAME, PUBLISHED, STREAMS, Stream
from tap_listrak.sync import run as runner
from tap_listrak.sync.entry import Entry, Place, Range, SetAside
from tap_listrak.sync.parts import MAX_PAGES
from tap_listrak.sync.plan import next_range, start_of_list
from tap_listrak.sync.state import StreamState
from tap_listrak.sync.state_file import read_state, write_state
from tests.support.accounts import message_ids
from tests.support.runs import (
    NOW,
    OPEN,
    START,
    TINY,
    days,
    pages,
    requested,
    rows,
    starts,
    text,
    tiny_tap,
    wire,
)
from tests.support.state_keeping import deep_merge
from tests.support.tap import BOOKMARKS, MakeTap, Run, Tap, catalog_of

DAY = timedelta(days=1)
ARRAYS = {"covers", "unfinished", "set_aside", "turns"}


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap that selects the published streams of an account of a few pages."""
    tap = tiny_tap(make_tap)
    tap.catalog = None
    return tap


# What is written.


@pytest.mark.usefixtures("state_after_every_page")
def test_an_entry_has_always_the_same_keys_each_a_scalar_or_an_array(tap: Tap) -> None:
    config = {"recent_days": 3, "mirror": "messages"}
    bad = min(message_ids(tap.service.account))
    tap.service.rules.append(
        lambda ask: html(404) if ask.arguments.get("MsgID") == str(bad) else None
    )
    first = tap.run(clock=NOW, config=config)
    second = tap.run(clock=days(1), config=config, state=first.state)
    assert second.entry().keys() >= {"OpenDate"}
    for state in [*first.states[1:], *second.states]:
        assert state.keys() == {"bookmarks"}
        assert state["bookmarks"].keys() <= BOOKMARKS.keys() | {"messages"}
        for name, found in state["bookmarks"].items():
            key = {BOOKMARKS[name]} if name in BOOKMARKS else set[str]()
            assert found.keys() == key | ARRAYS | {"version"}
            assert {name for name, value in found.items() if isinstance(value, list)} == ARRAYS
            assert not any(isinstance(value, dict) for value in found.values())
            assert not [name for name in keys(found) if set(name) - {*string.ascii_letters, "_"}]
    assert any(second.entry(name)["set_aside"] for name in BOOKMARKS)


def keys(value: Any) -> Iterator[str]:
    """The keys of all objects in a value."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from keys(each)


def test_the_state_of_nine_streams_on_three_lists_is_below_2_kb(make_tap: MakeTap) -> None:
    tap = make_tap(config={"start_date": "2025-01-01"})
    run = tap.run()
    assert len(tap.list_ids) == 3
    assert run.state["bookmarks"].keys() == {s.name for s in PUBLISHED if s.replication_key}
    assert len(json.dumps(run.state, separators=(",", ":"))) < 2000


def test_a_state_that_claims_nothing_new_comes_before_the_first_record(tap: Tap) -> None:
    first = tap.run(clock=NOW)
    again = tap.run(clock=days(1), state=first.state)
    for run, state in ((first, {"bookmarks": {}}), (again, first.state)):
        kinds = [message["type"] for message in run.messages]
        assert kinds.index("STATE") < kinds.index("RECORD")
        assert run.states[0] == state


def test_states_come_after_the_first_page_at_each_lists_end_and_last(
    make_tap: MakeTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SECONDS_BETWEEN_STATES", 1e9)
    tap = tiny_tap(make_tap, counts={OPEN: 7})
    run = tap.run(clock=NOW, catalog=catalog_of("message_opens"))
    records, found = 0, []
    for message in run.messages:
        records += message["type"] == "RECORD"
        found += [records] if message["type"] == "STATE" else []
    assert found == [0, TINY["page_size"], 14, 28, 28]


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
        "\ufeff" + json.dumps({"bookmarks": GIVEN}),
    ],
    ids=["published", "message", "meltano", "byte order mark"],
)
def test_a_state_of_the_published_tap_carries_on_in_any_wrapping(tap: Tap, state: Any) -> None:
    run, asked = tap.asked_in(clock=NOW, state=state)
    assert run.code == 0
    assert run.warnings() == []
    for name, day in (("opens", 2), ("clicks", 3), ("reads", 4), ("bounces", 5), ("unsubs", 6)):
        operation = BY_NAME[f"message_{name}"].operation
        assert starts(asked, operation) == {f"2026-03-{day:02}T10:20:30"}
    assert starts(asked, BY_NAME["subscribed_contacts"].operation) == {"2026-03-07T10:20:29"}
    sent = message_ids(tap.service.account, since="2026-02-27T15:00:00")
    assert requested(asked, BY_NAME["message_sends"].operation) == sent
    assert run.bookmarks == dict.fromkeys([*GIVEN, "message_bounces"], text(NOW))
    assert "BounceDate" not in run.state["bookmarks"]["message_unsubs"]


def test_a_bounce_bookmark_of_its_own_wins_over_one_under_unsubs(tap: Tap) -> None:
    given = {**GIVEN, "message_bounces": {"BounceDate": "2026-03-12T00:00:00Z"}}
    _, asked = tap.asked_in(clock=NOW, state={"bookmarks": given})
    assert starts(asked, BY_NAME["message_bounces"].operation) == {"2026-03-11T00:00:00"}


def test_a_stream_the_state_lacks_starts_at_start_date_and_one_not_selected_stays(tap: Tap) -> None:
    catalog = catalog_of("message_opens", "message_bounces")
    state = {"bookmarks": {name: GIVEN[name] for name in ("message_opens", "message_clicks")}}
    run, asked = tap.asked_in(clock=NOW, state=state, catalog=catalog)
    assert starts(asked, BY_NAME["message_bounces"].operation) == {wire(START)}
    assert starts(asked) == {"2026-03-02T10:20:30"}
    assert run.entry("message_clicks")["ClickDate"] == "2026-03-04T10:20:30.123456Z"


@pytest.mark.parametrize(
    "state", [" \n", "\ufeff", {}, {"bookmarks": {}}, {"bookmarks": {"message_opens": {}}}]
)
def test_an_empty_file_is_no_state_nor_is_one_without_bookmarks(tap: Tap, state: Any) -> None:
    run = tap.run(clock=NOW, state=state)
    assert rows(run) == rows(tap.run(clock=NOW))
    is_empty = isinstance(state, str)
    assert ["state.json is empty" in line for line in run.warnings()] == [True] * is_empty


@pytest.mark.parametrize(
    ("bookmark", "start"),
    [
        ("2026-03-10", "2026-03-09T00:00:00"),
        ("2026-03-10T10:00:00+02:00", "2026-03-09T08:00:00"),
        ("0001-01-01T00:00:00Z", wire(START)),
    ],
)
def test_a_bookmark_may_be_any_date_of_iso_8601(tap: Tap, bookmark: str, start: str) -> None:
    run, asked = requested_from(tap, bookmark)
    assert starts(asked) == {start}
    assert run.bookmarks == {"message_opens": text(NOW)}


def requested_from(tap: Tap, bookmark: str, **config: Any) -> tuple[Run, list[Any]]:
    state = {"bookmarks": {"message_opens": {"OpenDate": bookmark}}}
    catalog = catalog_of("message_opens")
    return tap.asked_in(clock=NOW, state=state, catalog=catalog, config=config)


@pytest.mark.parametrize("lookback", [1, 7])
def test_a_bookmark_ahead_of_now_is_warned_of_and_further_refused(tap: Tap, lookback: int) -> None:
    later = text(days(lookback) + timedelta(seconds=1))
    run, _ = requested_from(tap, later, lookback_days=lookback)
    assert "bookmarks.message_opens.OpenDate is in the future" in tap.refusal(run)
    ahead = text(days(lookback))
    run, asked = requested_from(tap, ahead, lookback_days=lookback)
    assert starts(asked) == {wire(days(-lookback))}
    assert run.bookmarks == {"message_opens": ahead}
    (warning,) = run.warnings()
    assert "message_opens.OpenDate is ahead" in warning


def test_unknown_streams_and_keys_are_warned_of_and_kept(tap: Tap) -> None:
    forwards = {"ForwardDate": "2026-01-01", "offset": {"Page": 3}}
    state = {"bookmarks": {"message_forwards": forwards}, "currently_syncing": "message_opens"}
    run = tap.run(clock=NOW, state=state)
    assert run.code == 0
    (warning,) = run.warnings()
    assert "message_forwards" in warning
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
        *('{"bookmarks": []}', '{"bookmarks": null}'),
        *('{"bookmarks": {"message_opens": null}}', '{"bookmarks": {"message_unsubs": []}}'),
    ],
}


@pytest.mark.parametrize(
    ("content", "named"),
    [(text, named) for named, texts in NO_STATES.items() for text in texts],
    ids=lambda text: text[:30],
)
def test_a_state_that_is_no_json_object_is_an_error(tap: Tap, content: str, named: str) -> None:
    assert named in tap.refusal(tap.run(state=content))


def test_a_state_file_that_is_not_there_or_no_utf_8_is_an_error(tap: Tap) -> None:
    assert "none.json" in tap.refusal(tap.run("--state", str(tap.folder / "none.json")))
    (tap.folder / "bytes.json").write_bytes(b'{"bookmarks": "\xff"}')
    assert "bytes.json" in tap.refusal(tap.run("--state", str(tap.folder / "bytes.json")))


RANGE = {"start_date": "2026-02-01T00:00:00Z", "end": "2026-03-19T00:00:00Z"}
OWED = {**RANGE, "list_id": 1, "parent_id": 2, "start": RANGE["start_date"]}


# Wrong values, by their path in an entry.
WRONG: dict[str, list[Any]] = {
    "OpenDate": ["", "2026-13-01", 17],
    "covers": [3, {"start_date": 1}, [3], [RANGE] * 2],
    "set_aside": [[{"list_id": 1}]],
    "version": ["1"],
    "unfinished[0].start_date": [None],
    "unfinished[0].list_ids": [1],
    "unfinished[0].older_every_days": [1],
    "unfinished[0].end": ["2026-03-19T00:00:00"],
    "unfinished[0].place.list_id": [2**63],
    "unfinished[0].place.page": [0],
    "set_aside[0].parent_id": [True],
    "set_aside[0].page": ["3"],
    "set_aside[0].failed_since": ["?"],
}


@pytest.mark.parametrize(
    ("path", "value"), [(path, value) for path, values in WRONG.items() for value in values]
)
def test_what_is_malformed_is_named_before_any_request(tap: Tap, path: str, value: Any) -> None:
    name, *keys = path.replace("[0]", "").split(".")
    for key in reversed(keys):
        value = {key: value}
    found = [{**(OWED if name == "set_aside" else RANGE), **value}] if keys else value
    state = {"bookmarks": {"message_opens": {"OpenDate": text(days(-1)), name: found}}}
    run = tap.run(clock=NOW, state=state)
    assert f"bookmarks.message_opens.{path}" in tap.refusal(run)


def test_an_end_in_the_future_is_refused(tap: Tap) -> None:
    unfinished = [{**RANGE, "end": "2026-08-01T00:00:00Z"}]
    run = tap.run(clock=NOW, state={"bookmarks": {"message_opens": {"unfinished": unfinished}}})
    assert "`end`" in tap.refusal(run)


@pytest.mark.parametrize("number", [0, -3])
def test_any_whole_number_may_be_an_id(tap: Tap, number: int) -> None:
    account = tap.service.account
    account.add_list(number)
    account.add_message(number, number, START + DAY)
    for name in "abcde":
        account.add_event(OPEN, number, f"{name}@example.com", START + 2 * DAY)
    sound = {**RANGE, "list_ids": [number], "place": {"list_id": number, "parent_id": number}}
    owed = {**OWED, "list_id": number, "parent_id": number, "page": 2, "digest": "c0ffee"}
    given = {"OpenDate": text(days(-1)), "covers": [RANGE], "unfinished": [sound]}
    state = {"bookmarks": {"message_opens": {**given, "set_aside": [owed]}}}
    _, asked = tap.asked_in(clock=NOW, state=state)
    operation, *arguments = pages(asked)[0]
    assert operation == OPEN
    assert {f"MsgID={number}", "Page=2"} <= {*arguments}


# Pure.

INSTANTS = some.datetimes(
    datetime(1990, 1, 1), datetime(2026, 7, 1), timezones=some.just(timezone.utc)
)
IDS = some.integers(-(2**63), 2**63 - 1)
PAGES = some.integers(1, MAX_PAGES)
OPTIONAL = [some.none() | each for each in (IDS, INSTANTS, IDS, PAGES, some.text())]
PLACES = some.builds(Place, *OPTIONAL)
RANGES = some.builds(
    Range, INSTANTS, INSTANTS, some.lists(IDS, max_size=3).map(tuple), older_every_days=
    some.none() | some.integers(2, 90), bookmark=some.none() | INSTANTS, whole=some.booleans(),
    place=some.none() | PLACES, include_test_messages=some.booleans(),
)  # fmt: skip
OWING = some.builds(SetAside, INSTANTS, INSTANTS, some.none() | IDS, some.none() | IDS,
                    page=some.none() | PAGES, failed_since=some.none() | INSTANTS)  # fmt: skip
ENTRIES = some.builds(
    Entry, INSTANTS, some.none() | RANGES, some.none() | RANGES,
    some.lists(OWING, max_size=2).map(tuple), some.none() | some.integers(0, 2**62),
)  # fmt: skip
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=8,
)
DATED = [stream for stream in STREAMS if stream.replication_key]


def written(stream: Stream, held: Entry) -> dict[str, Any]:
    value = write_state(b'{"bookmarks":{}}', {stream: StreamState(stream, held, has_entry=True)})
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return found


@given(some.sampled_from(DATED), ENTRIES)
def test_an_entry_is_read_as_it_was_written(stream: Stream, held: Entry) -> None:
    _, states = read_state(written(stream, held), days(365), DAY)
    assert states[stream].entry == held
    assert not any(state.has_entry for other, state in states.items() if other is not stream)


@given(some.sampled_from(DATED), ENTRIES, ENTRIES)
def test_a_deep_merge_of_entries_is_the_newer(stream: Stream, newer: Entry, older: Entry) -> None:
    assert deep_merge(written(stream, newer), written(stream, older)) == written(stream, newer)


@some.composite
def damaged(draw: some.DrawFn) -> Any:
    """A state with any JSON value in place of one of its values."""
    whole = {"": written(draw(some.sampled_from(DATED)), draw(ENTRIES))}
    here: Any = whole
    key: Any = ""
    while isinstance(here[key], (dict, list)) and here[key] and draw(some.integers(0, 9)):
        here = here[key]
        key = draw(some.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
    here[key] = draw(JSON)
    return whole[""]


@given(JSON | damaged())
@example({"bookmarks": {"\n": []}})
def test_any_json_is_a_state_or_an_error_that_says_so(value: Any) -> None:
    before, error = repr(value), "state"
    try:
        raw, states = read_state(value, days(365), DAY)
        msgspec.json.encode(write_state(raw, states))
    except UsageError as exc:
        error = str(exc)
    assert "state" in error
    assert "\n" not in error
    assert repr(value) == before


@given(bookmark=INSTANTS, start_date=INSTANTS, end=INSTANTS, lookback=some.integers(1, 365))
def test_a_range_reaches_back_by_the_lookback_and_a_bookmark_never_does(
    bookmark: datetime, start_date: datetime, end: datetime, lookback: int
) -> None:
    stream = BY_NAME["message_opens"]
    given = {"username": "robot", "password": "p", "lookback_days": lookback}
    config = parse_config({**given, "start_date": start_date.isoformat()}, NOW + 365 * DAY)
    covers = Range(start_date, bookmark, (1,))
    state = StreamState(stream, Entry(bookmark, covers), has_entry=True)
    new = next_range(stream, state.entry, config, end)
    assert new
    state.begin(new)
    start = start_of_list(stream, state.entry, 1, config)
    assert start >= start_date
    assert start == start_date or start <= bookmark - lookback * DAY
    state.range_finished()
    assert state.entry.bookmark == max(bookmark, end)
    assert state.entry.unfinished is None
