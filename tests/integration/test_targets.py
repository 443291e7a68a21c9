"""Each target holds what Listrak does, after a full sync and after one that resumes from it."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.integration.environments import environment
from tests.integration.pipe import pipe
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
from tests.integration.targets import (
    CSV,
    Database,
    DuckDB,
    DuckDBOfFiles,
    JSONLines,
    MeltanoPostgres,
    PipelinewisePostgres,
    Target,
)
from tests.support.accounts import serving
from tests.support.published import ALL_COLUMNS, ALL_KEYS


class Case(NamedTuple):
    """A target, the tap's options, and the columns and keys that they make."""

    target: type[Target]
    options: dict[str, Any]
    columns: Columns
    keys: dict[str, list[str]]


KEYS_OF_EVENTS = {
    "message_opens": ["MsgID", "EmailAddress", "OpenDate"],
    "message_reads": ["MsgID", "EmailAddress", "ReadDate"],
    "message_bounces": ["MsgID", "EmailAddress", "BounceDate"],
    "message_clicks": ["MsgID", "EmailAddress", "ClickDate", "LinkUrl"],
}
TARGETS = (DuckDB, DuckDBOfFiles, MeltanoPostgres, PipelinewisePostgres, JSONLines, CSV)
CASES = {
    **{kind.__name__: Case(kind, {}, ALL_COLUMNS, ALL_KEYS) for kind in TARGETS},
    # test_killed_targets has the others of the databases.
    **{
        f"{kind.__name__}-every-event": Case(kind, EVERY_EVENT, TYPED, ALL_KEYS | KEYS_OF_EVENTS)
        for kind in (DuckDBOfFiles, MeltanoPostgres)
    },
}


def assert_holds(target: Target, case: Case, stored: Tables, sent: Tables) -> None:
    """A target that upserts holds one row a key, of those sent; one that appends, all."""
    for table, rows in sent.items():
        if target.upserts:
            key = case.keys[table]
            assert keys(stored[table], key) == Counter(set(keys(rows, key)))
            assert set(stored[table]) <= set(rows)
        else:
            assert stored[table] == rows


def opens_of_late_reader(stored: Tables) -> set[Any]:
    rows = map(dict, stored["message_opens"])
    return {row["OpenDate"] for row in rows if row["EmailAddress"] == LATE_READER}


@pytest.mark.parametrize("name", CASES)
def test_a_full_sync_loads_every_row_as_it_was_sent_and_a_second_one_what_is_new(
    name: str, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> None:
    case = CASES[name]
    target, account = case.target(tmp_path_factory.mktemp(name), postgres), hard_account()
    with serving(account, target.folder, start_date=START, **case.options) as tap:
        tap.selecting_all()
        first = due_of(account, case.columns, target.keeps)
        state = target.sync(tap).state
        before = target.tables(case.columns)
        assert_holds(target, case, before, first)
        grow(account)
        second = due_of(account, case.columns, target.keeps)
        piped = target.sync(tap, state=state)
    after = target.tables(case.columns)
    # Where rows are upserted, those of before are gone.
    assert_holds(target, case, after, second if target.upserts else sent_in_two(first, second))
    assert Counter(record["stream"] for record in piped.of_type("RECORD")) == {
        table: rows.total() - (0 if table in WHOLE else first[table].total())
        for table, rows in second.items()
    }
    (opened,) = opens_of_late_reader(before)
    assert max(opens_of_late_reader(after)) > opened
    if isinstance(target, Database):
        target.assert_types(case.columns)


def test_singers_own_checker_finds_nothing_wrong(tmp_path: Path) -> None:
    check = [str(environment("singer-tools") / "singer-check-tap")]
    account = hard_account()
    with serving(account, tmp_path, start_date=START) as tap:
        tap.selecting_all()
        full = pipe(tap.arguments(), check, tmp_path)
        grow(account)
        state = full.of_type("STATE")[-1]["value"]
        second = pipe(tap.arguments(state=state), check, tmp_path)
    for piped in (full, second):
        assert "The output is valid." in piped.printed
