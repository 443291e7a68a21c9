"""Each target holds what the tap emitted: at first, after what is new, and after it was killed."""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tap_listrak.config import MIRRORABLE
from tests.integration import targets
from tests.integration.account import (
    EVERY_EVENT,
    START,
    account_of_2025,
    grow,
    hard_account,
    next_keys,
)
from tests.integration.targets import MeltanoPostgres, Postgres, Target
from tests.support.accounts import list_ids, serving
from tests.support.records import keys_emitted, keys_held
from tests.support.tap import Run, Tap, catalog_of

# These keep what has gone from a mirror, since they ignore ACTIVATE_VERSION; Stitch would not.
KEEP_ALL = ("JSONLines", "CSV", "DuckDB", "PipelinewisePostgres", "Stitch")
# Those that are killed have every event, too.
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {"mirror": "lists, messages"}) for name in KEEP_ALL),
    *((name, EVERY_EVENT) for name in ("DuckDBOfFiles", "MeltanoPostgres", "Snowflake")),
    ("MeltanoPostgres", {}),
]
ROWS = 10
"""Rows of a stream that a target flushes at once: more lists than there are, fewer messages."""


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_full_sync_loads_every_row_as_it_was_sent_and_a_second_one_what_is_new(
    name: str, options: dict[str, Any], postgres: Postgres, folder: Path
) -> None:
    target: Target = getattr(targets, name)(folder, postgres)
    account = hard_account()
    with serving(account, folder, start_date=START, **options) as tap:
        first = target.sync(tap.selecting_all())
        target.assert_holds(first)
        before = keys_held(account)
        account.hide_message(int(str(account.messages(list_ids(account)[1])[0]["MsgID"])))
        grow(account)
        time.sleep(1 - time.time() % 1)  # versions of a mirror are whole seconds
        second = target.sync(tap)
    target.assert_holds(first, second)
    emitted = keys_emitted(second)
    assert {table: emitted[table] for table in before} == next_keys(account, before)
    if isinstance(target, targets.Stitch):
        last = [target.messages(table)[-1]["action"] for table in ("lists", "messages")]
        assert last == ["activate_version"] * 2


@pytest.mark.parametrize("hard_delete", [False, True])
def test_what_has_left_a_mirror_is_deleted_by_a_whole_run_only(
    hard_delete: bool, postgres: Postgres, folder: Path
) -> None:
    target = MeltanoPostgres(folder, postgres, hard_delete=hard_delete)
    account = account_of_2025(lists=3, messages=4, contacts=12, page_size=5)
    with serving(account, folder, start_date=START) as tap:
        tap.catalog = catalog_of(*MIRRORABLE)
        first = target.sync(tap)
        tap.config["mirror"] = MIRRORABLE
        ListID, *_, last = list_ids(account)
        account.hide_contact(ListID, str(account.contacts(ListID)[0]["EmailAddress"]))
        account.hide_message(int(str(account.messages(ListID)[0]["MsgID"])))
        account.hide_list(last)
        time.sleep(1 - time.time() % 1)
        cut_off = target.sync(tap, "sed '/ACTIVATE_VERSION/,$d'")
        target.assert_holds(first)
        rest = target.sync(tap)
    (version,) = {each["version"] for each in cut_off.of_type("RECORD")}
    activated = {each["stream"]: each["version"] for each in rest.of_type("ACTIVATE_VERSION")}
    assert activated == dict.fromkeys(MIRRORABLE, version), "it resumes"
    target.assert_holds(cut_off, rest)
    for table, gone in {"lists": 1, "messages": 5, "subscribed_contacts": 13}.items():
        query = f"SELECT * FROM {target.schema}.{table} WHERE _sdc_deleted_at IS NOT NULL"
        assert len(target.ask(query)) == (0 if hard_delete else gone)


# Two targets flush one stream at a time, and print the first STATE that they were given with that
# stream's entry alone taken from the latest. So most of what they print was never in a STATE.


@pytest.fixture(scope="module")
def tap_and_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tap, Run]]:
    """A tap and its first run; made once, since a target does what follows from its input."""
    account = account_of_2025(lists=3, messages=4, contacts=14, sends=12, page_size=3)
    with serving(account, tmp_path_factory.mktemp("tap"), start_date=START, **EVERY_EVENT) as tap:
        tap.service.latency = 0.05  # time for several STATEs, which come once a second
        run = tap.process()
        tap.service.latency = 0.0
        assert run.code == 0, run.err
        yield tap, run


def batches(out: str) -> Iterator[str]:
    """Split a tap's output after each record at which a target flushes its stream."""
    batch, records = "", Counter[str]()
    for line in out.split("\n")[:-1]:
        batch += f"{line}\n"
        message = json.loads(line)
        if message["type"] == "RECORD":
            records[message["stream"]] += 1
            if records[message["stream"]] % ROWS == 0:
                yield batch
                batch = ""


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", [targets.DuckDB, targets.PipelinewisePostgres])
def test_no_row_is_lost_whenever_a_target_is_killed(
    kind: type[Target], part: float, tap_and_run: tuple[Tap, Run], postgres: Postgres, folder: Path
) -> None:
    tap, run = tap_and_run
    target = kind(folder, postgres, batch_size_rows=ROWS)
    given = list(batches(run.out))
    with subprocess.Popen(
        target.command(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, **target.variables},
    ) as process:
        assert process.stdin
        assert process.stdout
        for batch in given[: max(1, round(part * len(given)))]:
            process.stdin.write(batch)
            process.stdin.flush()
            # It prints a state after each flush, so it is known here what it has flushed.
            target.state = json.loads(process.stdout.readline())
        process.kill()
    target.options.clear()  # batches of the usual size, which load sooner
    rest = target.sync(tap)
    assert part == 0 or len(rest.of_type("RECORD")) < len(run.of_type("RECORD"))
    target.assert_holds(run)
