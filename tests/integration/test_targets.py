"""Each target holds what Listrak does, after a full sync and after one that went on from it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.integration.environments import environment
from tests.integration.pipe import Piped, pipe
from tests.integration.postgres import Postgres
from tests.integration.rows import (
    EVERY_EVENT,
    LATE_READER,
    START,
    TYPED,
    WHOLE,
    Columns,
    Tables,
    due_of,
    grow,
    hard_account,
    keys,
    sent_in_two,
)
from tests.integration.targets import DATABASES, FILES, Database, Target
from tests.support.accounts import serving
from tests.support.published import ALL_COLUMNS, ALL_KEYS


class Case(NamedTuple):
    """A target, the tap's options, and the columns and keys that they make."""

    target: type[Target]
    options: dict[str, Any]
    columns: Columns
    keys: dict[str, list[str]]


class Sync(NamedTuple):
    """What was due at the time of a sync, what the tap printed, what the target held after it."""

    due: Tables
    piped: Piped
    stored: Tables


class Loaded(NamedTuple):
    """A target after a full sync, and after a second one of what the account had gained."""

    case: Case
    target: Target
    first: Sync
    second: Sync


Load = Callable[[str], Loaded]

KEYS_OF_EVENTS = {
    "message_opens": ["MsgID", "EmailAddress", "OpenDate"],
    "message_reads": ["MsgID", "EmailAddress", "ReadDate"],
    "message_bounces": ["MsgID", "EmailAddress", "BounceDate"],
    "message_clicks": ["MsgID", "EmailAddress", "ClickDate", "LinkUrl"],
}
CASES = {
    **{target.__name__: Case(target, {}, ALL_COLUMNS, ALL_KEYS) for target in (*DATABASES, *FILES)},
    **{
        f"{target.__name__}-every-event": Case(
            target, EVERY_EVENT, TYPED, ALL_KEYS | KEYS_OF_EVENTS
        )
        for target in DATABASES
    },
}
each_case = pytest.mark.parametrize("name", CASES)
each_database = pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if issubclass(case.target, Database)]
)


@pytest.fixture(scope="session")
def load(tap_bin: Path, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Gives the target of a case, loaded."""

    @functools.cache
    def load(name: str) -> Loaded:
        case = CASES[name]
        target = case.target(tmp_path_factory.mktemp(name), postgres)
        account = hard_account()
        with serving(account, target.folder, start_date=START, **case.options) as tap:
            tap.selecting_all()

            def sync(state: Any = None) -> Sync:
                command = [str(tap_bin / "tap-listrak"), *tap.arguments(state=state)]
                piped = pipe(command, target.command(), target.folder, target.variables)
                due = due_of(account, case.columns, target.keeps)
                return Sync(due, piped, target.tables(case.columns))

            first = sync()
            grow(account)
            return Loaded(case, target, first, sync(first.piped.state))

    return load


def assert_holds(loaded: Loaded, stored: Tables, sent: Tables) -> None:
    """A target that upserts holds one row a key, of those sent; one that appends, all."""
    for table, rows in sent.items():
        if loaded.target.upserts:
            key = loaded.case.keys[table]
            assert keys(stored[table], key) == Counter(set(keys(rows, key)))
            assert set(stored[table]) <= set(rows)
        else:
            assert stored[table] == rows


@each_case
def test_a_full_sync_loads_every_row_as_it_was_sent(name: str, load: Load) -> None:
    loaded = load(name)
    assert_holds(loaded, loaded.first.stored, loaded.first.due)


@each_case
def test_a_second_sync_adds_what_is_new_and_repeats_nothing(name: str, load: Load) -> None:
    loaded = load(name)
    first, second = loaded.first.due, loaded.second.due
    # Where rows are upserted, those of before are gone.
    sent = second if loaded.target.upserts else sent_in_two(first, second)
    assert_holds(loaded, loaded.second.stored, sent)


@each_case
def test_a_second_sync_emits_what_is_new_and_what_is_given_whole(name: str, load: Load) -> None:
    loaded = load(name)
    first, second = loaded.first.due, loaded.second.due
    emitted = Counter(record["stream"] for record in loaded.second.piped.of_type("RECORD"))
    assert emitted == {
        table: rows.total() - (0 if table in WHOLE else first[table].total())
        for table, rows in second.items()
    }


@each_case
def test_the_latest_event_of_a_contact_is_there(name: str, load: Load) -> None:
    first, second = (
        {row["OpenDate"] for row in map(dict, opens) if row["EmailAddress"] == LATE_READER}
        for opens in (sync.stored["message_opens"] for sync in load(name)[2:])
    )
    assert len(first) == 1
    assert max(second) > max(first)


@each_database
def test_columns_are_of_the_types_of_their_schema(name: str, load: Load) -> None:
    case, target, *_ = load(name)
    assert isinstance(target, Database)
    for table, columns in case.columns.items():
        types = target.column_types(table)
        assert {column: types[target.column(column)] for column in columns} == {
            column: target.types[kind] for column, kind in columns.items()
        }


def test_singers_own_checker_finds_nothing_wrong(tap_bin: Path, tmp_path: Path) -> None:
    check = [str(environment("singer-tools") / "singer-check-tap")]
    account = hard_account()
    with serving(account, tmp_path, start_date=START) as tap:
        tap.selecting_all()

        def sync(state: Any = None) -> Piped:
            command = [str(tap_bin / "tap-listrak"), *tap.arguments(state=state)]
            return pipe(command, check, tmp_path)

        full = sync()
        grow(account)
        second = sync(full.of_type("STATE")[-1]["value"])
    for piped in (full, second):
        assert "The output is valid." in piped.printed
