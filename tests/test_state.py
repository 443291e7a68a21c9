"""The state as data: what is written is read back, and whatever is read is a state or an error."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tap_listrak.sync.ranges import plan_range
from tap_listrak.sync.state_json import read_entry, write_entry
from tap_listrak.sync.tasks import FetchTask, WrittenPage

from tap_listrak.config import Config, parse_config
from tap_listrak.errors import UsageError
from tap_listrak.streams import (
    LISTS,
    MESSAGE_OPENS,
    MESSAGES,
    PARENTS,
    STREAMS,
    SUBSCRIBED_CONTACTS,
    Stream,
)
from tap_listrak.sync.state import (
    BookmarkScope,
    Checkpoint,
    DeferredFetch,
    RangeProgress,
    StreamProgress,
    StreamState,
)
from tap_listrak.sync.state_file import SyncState, parse_state
from tap_listrak.sync.turns import TurnOptions, Turns, all_asked

NOW = datetime(2026, 7, 1, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
CONFIG = parse_config({"username": "robot", "password": "p", "start_date": "2025-01-01"}, NOW)

INSTANTS = some.datetimes(
    datetime(1990, 1, 1), datetime(2026, 7, 2), timezones=some.just(timezone.utc)
)
IDS = some.integers(-(2**31), 2**31 - 1)
PAGES = some.builds(WrittenPage, some.integers(1, 100_000), some.none() | some.text("0123ef"))
SCOPES = some.builds(BookmarkScope, INSTANTS, some.frozensets(IDS, max_size=4), some.booleans())
OF_ACCOUNT = some.builds(BookmarkScope, INSTANTS, some.just(frozenset[int]()), some.just(True))
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=8,
)


def checkpoints(stream: Stream) -> some.SearchStrategy[Checkpoint | None]:
    if stream is LISTS:
        return some.none()
    return some.none() | some.builds(
        Checkpoint,
        some.none() if stream.is_by_account else IDS,
        some.none() if stream.is_by_conversation else INSTANTS,
        IDS if stream.is_by_message or stream.is_by_conversation else some.none(),
        some.none() | PAGES,
    )


def debts(stream: Stream) -> some.SearchStrategy[DeferredFetch]:
    has_parent = stream.is_by_message or stream.is_by_batch or stream.is_by_conversation
    return some.builds(
        DeferredFetch,
        some.none() if stream.is_by_account else IDS,
        IDS if has_parent else some.none(),
        INSTANTS,
        INSTANTS,
        some.none() | PAGES,
        some.none() | INSTANTS,
        some.none() | INSTANTS,
    )


@some.composite
def turns(draw: some.DrawFn) -> Turns:
    ends_of_runs = INSTANTS.map(lambda moment: moment.replace(microsecond=0))
    classes = draw(some.lists(ends_of_runs, min_size=2, max_size=4))
    options = TurnOptions(draw(some.integers(1, 3650)), len(classes))
    return Turns(options, draw(INSTANTS), tuple(classes))


@some.composite
def ranges(draw: some.DrawFn, progress: StreamProgress) -> RangeProgress:
    stream, start, options = progress.stream, draw(INSTANTS), None
    if stream.takes_turns and draw(some.booleans()):
        options = progress.turns.options if progress.turns else TurnOptions(30, 7)
    return RangeProgress(
        draw(INSTANTS),
        # Where messages are asked in turns, there is no one start.
        None if options and progress.turns and draw(some.booleans()) else start,
        draw(INSTANTS),
        draw(some.booleans()),
        draw(some.none() | some.sampled_from(["UTC", "America/New_York"])),
        draw(some.none() | some.integers(1, 3650)),
        draw(some.frozensets(IDS, max_size=4)),
        draw(checkpoints(stream)),
        stream.can_be_mirrored and draw(some.booleans()),
        options,
    )


@some.composite
def progresses(draw: some.DrawFn, stream: Stream) -> StreamProgress:
    progress = StreamProgress(stream)
    if stream.replication_key and draw(some.booleans()):
        scopes = OF_ACCOUNT if stream.is_by_account else SCOPES
        progress = replace(progress, bookmark=draw(INSTANTS), scope=draw(some.none() | scopes))
        if stream.takes_turns and draw(some.booleans()):
            each = draw(turns())
            progress = replace(progress, bookmark=each.oldest, turns=each)
    if draw(some.booleans()):
        progress = replace(progress, range=draw(ranges(progress)))
    if stream not in PARENTS:
        progress = replace(progress, deferred=tuple(draw(some.lists(debts(stream), max_size=2))))
    if stream.can_be_mirrored:
        progress = replace(progress, version=draw(some.none() | some.integers(0, 2**62)))
    return progress


@some.composite
def states(draw: some.DrawFn) -> SyncState:
    """A state of all streams, few of which hold anything."""
    held = draw(some.lists(some.sampled_from(STREAMS), unique=True, max_size=4))
    every = {stream: StreamProgress(stream) for stream in STREAMS}
    every |= {stream: draw(progresses(stream)) for stream in held}
    return SyncState(
        {"bookmarks": {}},
        {stream: StreamState(each, is_known=True) for stream, each in every.items()},
    )


STATES = states()


def progress_of(state: SyncState) -> list[StreamProgress]:
    return [each.progress for each in state.streams.values()]


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
def test_a_state_that_was_written_is_read_as_the_same_state(state: SyncState) -> None:
    written = msgspec.json.decode(msgspec.json.encode(state.as_dict()))
    read = parse_state(written, NOW, DAY)
    assert progress_of(read) == progress_of(state)
    assert read.as_dict() == written


@given(STATES, STATES)
def test_all_states_have_the_same_keys_at_every_depth(one: SyncState, other: SyncState) -> None:
    def keys(value: Any) -> Any:
        return {key: keys(inner) for key, inner in value.items()} if isinstance(value, dict) else 0

    def common(one: Any, other: Any) -> None:
        if one and other:
            assert one.keys() == other.keys()
            for key in one:
                common(one[key], other[key])

    common(keys(one.as_dict()), keys(other.as_dict()))


@pytest.mark.parametrize("stream", STREAMS, ids=repr)
@settings(max_examples=10)
@given(data=some.data())
def test_the_entry_of_each_stream_is_read_as_it_was_written(
    stream: Stream, data: some.DataObject
) -> None:
    progress = data.draw(progresses(stream))
    written = json.loads(json.dumps(write_entry(progress)))
    assert read_entry(stream, written, NOW, DAY) == progress
    assert entry_keys(written) == entry_keys(write_entry(StreamProgress(stream)))


def entry_keys(entry: Any) -> Any:
    """The keys of an entry, at every depth but within arrays."""
    return {
        key: entry_keys(inner) if isinstance(inner, dict) else None for key, inner in entry.items()
    }


@given(STATES)
def test_a_whole_state_message_is_read_as_its_value(state: SyncState) -> None:
    value = state.as_dict()
    read = parse_state({"type": "STATE", "value": value}, NOW, DAY)
    assert progress_of(read) == progress_of(parse_state(value, NOW, DAY))


@given(JSON | damaged())
def test_any_json_is_a_state_or_an_error_that_says_so(value: Any) -> None:
    before = repr(value)
    try:
        msgspec.json.encode(parse_state(value, NOW, DAY).as_dict())
    except UsageError as exc:
        message = str(exc)
    else:
        message = "state"
    assert "state" in message
    assert "\n" not in message
    assert repr(value) == before


@given(some.text(), some.integers(-(2**63), 2**63 - 1) | some.floats(allow_nan=False,
                                                                  allow_infinity=False)
       | some.text() | some.lists(some.booleans() | some.none()))  # fmt: skip
def test_unknown_streams_and_keys_are_kept_as_they_came(name: str, value: Any) -> None:
    raw = {"bookmarks": {f"other {name}": {name: value}}, "currently_syncing": value}
    assert parse_state(raw, NOW, DAY).as_dict() == raw


def test_a_snapshot_is_not_changed_by_what_follows() -> None:
    state = StreamState(StreamProgress(MESSAGE_OPENS), is_known=False)
    plan = plan_range(state.progress, CONFIG, NOW, is_resuming=False)
    assert plan.range
    state.range_planned(plan.range, plan.scope)
    before = state.progress
    state.page_written(task(1, 7), 1, "d")
    state.lists_finished(frozenset([1]))
    assert before.active_range.finished_lists == frozenset()
    assert before.active_range.checkpoint is None


@given(bookmark=INSTANTS, start_date=INSTANTS, end=INSTANTS, days=some.integers(1, 365))
def test_a_range_reaches_back_by_the_lookback_and_a_bookmark_never_does(
    bookmark: datetime, start_date: datetime, end: datetime, days: int
) -> None:
    state = StreamState(StreamProgress(MESSAGE_OPENS, bookmark), is_known=True)
    config = replace(CONFIG, start_date=start_date, lookback_days=days)
    plan = plan_range(state.progress, config, end, is_resuming=False)
    assert plan.range
    assert plan.range.start
    assert plan.range.start >= start_date
    assert plan.range.start == start_date or plan.range.start <= bookmark - days * DAY
    state.range_planned(plan.range, plan.scope)
    state.range_finished()
    assert state.progress.bookmark == max(bookmark, end)
    assert state.progress.range is None


def task(list_id: int, msg_id: int, **more: Any) -> FetchTask:
    start, end = more.pop("start", NOW - 9 * DAY), more.pop("end", NOW)
    return FetchTask(MESSAGE_OPENS, list_id, start, end, parent_id=msg_id, send_date=NOW, **more)


def begun(end: datetime = NOW, **progress: Any) -> StreamState:
    """The state of opens with a range that has begun."""
    state = StreamState(StreamProgress(MESSAGE_OPENS, **progress), is_known=True)
    state.range_planned(
        RangeProgress(NOW - 99 * DAY, NOW - 99 * DAY, end, True, "UTC"), state.progress.scope
    )
    return state


@given(some.lists(some.tuples(some.sampled_from([7, 8]), INSTANTS), max_size=6), INSTANTS)
def test_what_is_owed_of_one_message_is_owed_once_and_whole(
    failed: list[tuple[int, datetime]], end: datetime
) -> None:
    state = begun(end)
    for msg_id, start in failed:
        state.task_deferred(task(1, msg_id, start=start), NOW)
    owed = {each.parent_id: each for each in state.progress.deferred}
    assert len(owed) == len(state.progress.deferred)
    assert owed.keys() == {msg_id for msg_id, _ in failed}
    for msg_id, start in failed:
        assert owed[msg_id].start <= start
        assert owed[msg_id].end == end


def test_a_page_written_before_a_failure_is_where_the_debt_goes_on() -> None:
    state = begun()
    state.page_written(task(1, 7), 3, "abc")
    state.task_deferred(task(1, 7), NOW)
    (owed,) = state.progress.deferred
    assert owed.written == WrittenPage(3, "abc")
    checkpoint = state.progress.active_range.checkpoint
    assert checkpoint == Checkpoint(1, NOW, 7, None)


def test_a_page_of_another_message_is_not_where_a_debt_goes_on() -> None:
    state = begun()
    state.page_written(task(1, 7), 3, "abc")
    state.task_deferred(task(1, 8), NOW)
    (owed,) = state.progress.deferred
    assert owed.written is None


def test_a_debt_that_grows_begins_at_its_first_page() -> None:
    owed = DeferredFetch(1, 7, NOW - 30 * DAY, NOW - 20 * DAY, WrittenPage(3, "abc"), NOW)
    state = begun(deferred=(owed,))
    state.task_skipped(task(1, 7))
    (grown,) = state.progress.deferred
    assert grown == owed._replace(end=NOW, written=None)


def test_a_debt_of_windows_shrinks_with_each_that_was_had() -> None:
    owed = DeferredFetch(1, None, NOW - 60 * DAY, NOW)
    state = StreamState(StreamProgress(SUBSCRIBED_CONTACTS, deferred=(owed,)), is_known=True)
    window = FetchTask(SUBSCRIBED_CONTACTS, 1, NOW - 60 * DAY, NOW - 30 * DAY, is_owed=True)
    state.page_written(window, 1, "abc")
    assert state.progress.deferred[0].written == WrittenPage(1, "abc")
    state.task_finished(window)
    assert list(state.progress.deferred) == [owed._replace(start=NOW - 30 * DAY)]
    state.task_finished(replace(window, start=NOW - 30 * DAY, end=NOW))
    assert not state.progress.deferred


@pytest.mark.parametrize(
    ("failed", "absent", "is_dropped"), [(30, 30, True), (29, 30, False), (30, 29, False)]
)
def test_a_debt_is_dropped_when_it_was_absent_and_failed_for_30_days(
    failed: int, absent: int, is_dropped: bool
) -> None:
    owed = DeferredFetch(1, 7, NOW, NOW, None, NOW - failed * DAY, NOW - absent * DAY)
    state = begun(deferred=(owed,))
    assert state.parts_seen(set(), set(), NOW) == []
    assert (state.parts_seen(set(), {owed.part}, NOW) == [owed]) == is_dropped
    assert (state.progress.deferred == ()) == is_dropped


def test_a_debt_that_is_shown_again_is_absent_no_more() -> None:
    owed = DeferredFetch(1, 7, NOW, NOW, None, NOW - 40 * DAY, NOW - 40 * DAY)
    state = begun(deferred=(owed,))
    assert state.parts_seen({owed.part}, set(), NOW) == []
    assert state.progress.deferred == (owed._replace(absent_since=None),)


@pytest.mark.parametrize(
    ("config", "is_kept"),
    [
        (CONFIG, True),
        (replace(CONFIG, interval_days=30), False),
        (replace(CONFIG, start_date=NOW - 50 * DAY), False),
    ],
)
def test_a_checkpoint_among_messages_holds_for_the_windows_that_it_was_made_in(
    config: Config, is_kept: bool
) -> None:
    checkpoint = Checkpoint(1, NOW - 20 * DAY, None, None)
    unfinished = RangeProgress(
        CONFIG.start_date, NOW - 99 * DAY, NOW, True, "UTC", 365, frozenset([7]), checkpoint
    )
    for stream in (MESSAGE_OPENS, MESSAGES, SUBSCRIBED_CONTACTS):
        progress = StreamProgress(stream, range=unfinished)
        plan = plan_range(progress, config, NOW, is_resuming=True)
        assert plan.range
        assert plan.range.finished_lists == {7}
        # Contacts come in windows of their own.
        is_due = is_kept or stream is SUBSCRIBED_CONTACTS
        assert plan.range.checkpoint == (checkpoint if is_due else None)


def test_the_end_of_one_list_leaves_the_checkpoint_of_another() -> None:
    state = begun()
    state.page_written(task(104, 7), 3, "abc")
    state.lists_finished(frozenset([101]))
    assert state.progress.active_range.checkpoint
    state.lists_finished(frozenset([104]))
    assert state.progress.active_range.checkpoint is None
    assert state.progress.active_range.finished_lists == {101, 104}


def test_a_message_that_answers_while_it_is_not_shown_is_owed_for_30_days_more() -> None:
    owed = DeferredFetch(1, 7, NOW - 2 * DAY, NOW, None, None, NOW - 29 * DAY)
    state = begun(deferred=(owed,))
    assert state.parts_seen(set(), {owed.part}, NOW) == []
    assert state.parts_seen(set(), {owed.part}, NOW + DAY) == [owed]


# Turns.

OPTIONS = TurnOptions(30, 7)
IN_TURNS = replace(CONFIG, recent_days=30, older_every_days=7)


def test_a_first_range_asks_everything_and_then_all_classes_stand_at_its_end() -> None:
    state = StreamState(StreamProgress(MESSAGE_OPENS), is_known=False)
    plan = plan_range(state.progress, IN_TURNS, NOW, is_resuming=False)
    assert plan.range
    assert (plan.range.start, plan.range.turn_options) == (CONFIG.start_date, OPTIONS)
    state.range_planned(plan.range, plan.scope)
    state.range_finished()
    assert state.progress.turns == all_asked(OPTIONS, NOW)
    assert state.progress.bookmark == NOW


def test_a_next_range_asks_by_turns_and_the_bookmark_is_the_oldest() -> None:
    turns = all_asked(OPTIONS, NOW - 2 * DAY)
    progress = StreamProgress(MESSAGE_OPENS, NOW - 2 * DAY, turns=turns)
    state = StreamState(progress, is_known=True)
    plan = plan_range(progress, IN_TURNS, NOW, is_resuming=False)
    assert plan.range
    assert plan.range.start is None
    state.range_planned(plan.range, plan.scope)
    state.range_finished()
    assert state.progress.turns
    assert state.progress.turns.recent == state.progress.last_end == NOW
    assert sorted(set(state.progress.turns.classes)) == [NOW - 2 * DAY, NOW]
    assert state.progress.bookmark == NOW - 2 * DAY


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (CONFIG, None),
        (replace(IN_TURNS, recent_days=60), TurnOptions(60, 7)),
        (replace(IN_TURNS, older_every_days=9), TurnOptions(30, 9)),
    ],
    ids=["off", "recent_days", "older_every_days"],
)
def test_other_options_ask_every_message_from_the_oldest_bookmark(
    config: Config, options: TurnOptions | None
) -> None:
    turns = all_asked(OPTIONS, NOW - 6 * DAY).asked_until(NOW - 2 * DAY)
    state = StreamState(StreamProgress(MESSAGE_OPENS, turns.oldest, turns=turns), is_known=True)
    plan = plan_range(state.progress, config, NOW, is_resuming=False)
    assert plan.range
    assert plan.range.start == NOW - 7 * DAY
    assert plan.range.turn_options == options
    state.range_planned(plan.range, plan.scope)
    state.range_finished()
    assert state.progress.turns == (all_asked(options, NOW) if options else None)
    assert state.progress.bookmark == NOW


def test_an_unfinished_range_is_finished_under_the_options_that_it_began_with() -> None:
    turns = all_asked(OPTIONS, NOW - 2 * DAY)
    progress = StreamProgress(MESSAGE_OPENS, turns.oldest, turns=turns)
    begun = plan_range(progress, IN_TURNS, NOW, is_resuming=False).range
    for config in (CONFIG, replace(IN_TURNS, recent_days=60, older_every_days=9)):
        unfinished = replace(progress, range=begun)
        plan = plan_range(unfinished, config, NOW, is_resuming=True)
        assert plan.range
        assert (plan.range.start, plan.range.turn_options) == (None, OPTIONS)


@given(turns(), INSTANTS)
def test_a_bookmark_set_by_hand_or_by_an_older_version_counts_for_all_classes(
    held: Turns, bookmark: datetime
) -> None:
    progress = StreamProgress(MESSAGE_OPENS, held.oldest, turns=held)
    entry = json.loads(json.dumps(write_entry(progress)))
    entry["OpenDate"] = bookmark.isoformat()
    read = read_entry(MESSAGE_OPENS, entry, NOW, DAY)
    assert read.bookmark == bookmark
    if bookmark < held.oldest:
        assert read.turns is None
    else:
        assert read.turns
        assert read.turns.oldest == bookmark
        assert read.turns.classes == tuple(max(each, bookmark) for each in held.classes)
        assert read.turns.recent == max(held.recent, bookmark)


@pytest.mark.parametrize("moved", [-DAY, None], ids=["back", "gone"])
def test_an_unfinished_range_by_turns_is_given_up_where_its_bookmark_is(
    moved: timedelta | None,
) -> None:
    held = all_asked(OPTIONS, NOW - 2 * DAY)
    progress = StreamProgress(MESSAGE_OPENS, held.oldest, turns=held)
    begun = plan_range(progress, IN_TURNS, NOW, is_resuming=False).range
    entry = write_entry(replace(progress, range=begun))
    entry["OpenDate"] = (held.oldest + moved).isoformat() if moved else None
    read = read_entry(MESSAGE_OPENS, entry, NOW, DAY)
    assert read.range is None
    plan = plan_range(read, IN_TURNS, NOW, is_resuming=False)
    assert plan.range
    assert plan.range.start == (NOW - 4 * DAY if moved else CONFIG.start_date)


# Mirrors.


def test_a_mirrored_stream_is_asked_whole_and_its_version_is_the_end() -> None:
    config = replace(CONFIG, mirror=frozenset(["subscribed_contacts"]))
    state = StreamState(StreamProgress(SUBSCRIBED_CONTACTS, NOW - DAY), is_known=True)
    plan = plan_range(state.progress, config, NOW, is_resuming=False)
    assert plan.range
    assert plan.range.start == CONFIG.start_date
    assert plan.range.version == NOW.timestamp() * 1000
    state.range_planned(plan.range, plan.scope)
    state.version_activated()
    state.range_finished()
    assert state.progress.version == NOW.timestamp() * 1000
    again = plan_range(state.progress, config, NOW, is_resuming=False)
    assert again.range is None
    later = plan_range(state.progress, config, NOW + DAY, is_resuming=False)
    assert later.range


@pytest.mark.parametrize("is_mirrored", [True, False])
def test_an_unfinished_range_begins_anew_when_mirror_has_changed(is_mirrored: bool) -> None:
    options = [CONFIG, replace(CONFIG, mirror=frozenset(["messages"]))]
    before, after = options if is_mirrored else reversed(options)
    begun = plan_range(StreamProgress(MESSAGES), before, NOW, is_resuming=False).range
    assert begun
    halfway = begun._replace(finished_lists=frozenset([7]))
    same = plan_range(StreamProgress(MESSAGES, range=halfway), before, NOW, is_resuming=True)
    assert same.range == halfway
    plan = plan_range(StreamProgress(MESSAGES, range=halfway), after, NOW, is_resuming=True)
    assert plan.range
    assert plan.range.finished_lists == frozenset()
    assert plan.range.is_mirrored == is_mirrored
