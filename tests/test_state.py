"""The state as data: what is written is read back, and whatever is read is a state or an error."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as some

from tap_listrak import config
from tap_listrak.errors import UsageError
from tap_listrak.state import Covers, Offset, Place, Progress, SetAside, State, parse
from tap_listrak.streams import LISTS, MESSAGE_OPENS, MESSAGES, STREAMS, Stream

NOW = datetime(2026, 7, 1, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
CONFIG = config.parse({"username": "robot", "password": "p", "start_date": "2025-01-01"}, NOW)

INSTANTS = some.datetimes(
    datetime(1990, 1, 1), datetime(2026, 7, 2), timezones=some.just(timezone.utc)
)
IDS = some.integers(1, 2**31 - 1)
PAGES = some.integers(1, 10**6)
COVERS = some.builds(Covers, INSTANTS, some.frozensets(IDS, max_size=4), some.booleans())
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=8,
)


def places(stream: Stream) -> some.SearchStrategy[Place | None]:
    if stream in (LISTS, MESSAGES):
        return some.none()
    MsgIDs = IDS if stream.of_message else some.none()
    dates = some.none() | INSTANTS if stream.of_message else INSTANTS
    return some.none() | some.builds(Place, IDS, dates, MsgIDs, some.none() | PAGES)


@some.composite
def progresses(draw: some.DrawFn, stream: Stream) -> Progress:
    progress = Progress(stream)
    if stream.bookmark and draw(some.booleans()):
        progress.bookmark = draw(INSTANTS)
        progress.covers = draw(some.none() | COVERS)
    if draw(some.booleans()):
        done = some.sets(IDS, max_size=4)
        zones = some.none() | some.sampled_from(["UTC", "America/New_York"])
        made = some.builds(
            Offset, INSTANTS, INSTANTS, INSTANTS, done, places(stream), some.booleans(), zones
        )
        progress.offset = draw(made)
    if stream not in (LISTS, MESSAGES):
        MsgIDs = IDS if stream.of_message else some.none()
        owed = some.builds(SetAside, IDS, MsgIDs, INSTANTS, INSTANTS, PAGES)
        progress.set_aside = draw(some.lists(owed, max_size=3))
    return progress


def holding(made: tuple[Progress, ...]) -> State:
    state = parse({}, NOW, DAY)
    state.progress.update({each.stream: each for each in made})
    return state


STATES = some.tuples(*map(progresses, STREAMS)).map(holding)


@some.composite
def damaged(draw: some.DrawFn) -> Any:
    """The state file of a run, with any JSON value in place of one of its values."""
    whole = json.loads(json.dumps(draw(STATES).as_dict()))
    here: Any = {"": whole}
    key: Any = ""
    while isinstance(here[key], (dict, list)) and here[key] and draw(some.integers(0, 9)):
        here = here[key]
        key = draw(some.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
    here[key] = draw(JSON)
    return whole


@given(STATES)
def test_a_state_that_was_written_is_read_as_the_same_state(state: State) -> None:
    written = msgspec.json.decode(msgspec.json.encode(state.as_dict()))
    read = parse(written, NOW, DAY)
    assert read.progress == state.progress
    assert read.as_dict() == written


@given(STATES)
def test_a_whole_state_message_is_read_as_its_value(state: State) -> None:
    value = state.as_dict()
    read = parse({"type": "STATE", "value": value}, NOW, DAY)
    assert read.progress == parse(value, NOW, DAY).progress


@given(JSON | damaged())
def test_any_json_is_a_state_or_an_error_that_says_so(value: Any) -> None:
    before = repr(value)
    try:
        msgspec.json.encode(parse(value, NOW, DAY).as_dict())
    except UsageError as wrong:
        told = str(wrong)
    else:
        told = "state"
    assert "state" in told
    assert "\n" not in told
    assert repr(value) == before


@given(some.text(), some.integers(-(2**63), 2**63 - 1) | some.floats(allow_nan=False,
                                                                  allow_infinity=False)
       | some.text() | some.lists(some.booleans() | some.none()))  # fmt: skip
def test_unknown_streams_and_keys_are_kept_as_they_came(name: str, value: Any) -> None:
    raw = {"bookmarks": {f"other {name}": {name: value}}, "currently_syncing": value}
    assert parse(raw, NOW, DAY).as_dict() == raw


def test_a_state_given_out_is_not_changed_by_what_follows() -> None:
    state = parse({}, NOW, DAY)
    progress = state[MESSAGE_OPENS]
    progress.begin(replace(CONFIG, start_date=NOW - 9 * DAY), NOW, resuming=False)
    given = state.as_dict()
    assert progress.offset
    progress.offset.done.add(1)
    progress.offset.place = Place(2)
    assert given["bookmarks"]["message_opens"]["offset"]["ListIDs"] == []
    assert given["bookmarks"]["message_opens"]["offset"]["ListID"] is None


@given(bookmark=INSTANTS, start_date=INSTANTS, end=INSTANTS, days=some.integers(1, 365))
def test_a_range_reaches_back_by_the_lookback_and_a_bookmark_never_does(
    bookmark: datetime, start_date: datetime, end: datetime, days: int
) -> None:
    progress = Progress(MESSAGE_OPENS, bookmark)
    given = replace(CONFIG, start_date=start_date, lookback_days=days)
    assert progress.begin(given, end, resuming=False)
    assert progress.offset
    assert progress.offset.start >= start_date
    assert progress.offset.start == start_date or progress.offset.start <= bookmark - days * DAY
    progress.complete()
    assert progress.bookmark == max(bookmark, end)
    assert progress.offset is None


@given(some.lists(some.builds(SetAside, some.just(1), some.sampled_from([7, 8]), INSTANTS, INSTANTS,
                              PAGES), max_size=6))  # fmt: skip
def test_what_is_owed_of_one_message_is_owed_once_and_whole(owed: list[SetAside]) -> None:
    progress = Progress(MESSAGE_OPENS)
    for each in copy.deepcopy(owed):
        progress.fail(each)
    assert {each.MsgID for each in progress.set_aside} == {each.MsgID for each in owed}
    assert len(progress.set_aside) == len({each.MsgID for each in owed})
    for each in owed:
        (joined,) = (other for other in progress.set_aside if other.MsgID == each.MsgID)
        assert joined.start <= each.start
        assert joined.end >= each.end
        assert joined.page <= each.page
