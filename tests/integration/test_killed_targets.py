"""A target that was killed has every row once the tap went on from the state it printed last.

These targets flush one stream at a time, and print the first STATE that they were given with that
stream's entry alone taken from the latest. So most of what they print never stood in a STATE.
"""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from fake_listrak import Ask, Reply, html
from tests.integration.pipe import tap_command
from tests.integration.postgres import Postgres
from tests.integration.rows import EVERY_EVENT, START, TYPED, account_of_2025, due_of
from tests.integration.targets import Database, DuckDB, PipelinewisePostgres
from tests.support.accounts import list_ids, serving
from tests.support.published import COLUMNS
from tests.support.tap import Tap, catalog_of

ROWS = 10
"""Rows of a stream that a target flushes at once: more lists than there are, fewer messages."""
LOADED = {
    table: TYPED[table]
    for table in (
        *COLUMNS,
        "message_links",
        "message_analytics",
        "list_unsubs",
        "campaigns",
        "conversations",
        "conversation_opens",
        "complaints",
    )
}
"""The published tables, and of each further way of asking one."""
EVENTS = {
    "ReportMessageContactSent": 12,
    **{
        f"ReportRangeMessageContact{kind}": 8
        for kind in ("Open", "Click", "Read", "Bounces", "Removal")
    },
}


class FirstRun(NamedTuple):
    """A run that set a message aside, of a service that has been mended since.

    batches: what the tap printed, split after each record at which a target flushes its stream.
    """

    tap: Tap
    batches: list[str]


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstRun]:
    """A run of the tap; made once, since what a target does follows from what it was given."""
    account = account_of_2025(lists=3, messages=4, contacts=14, counts=EVENTS, page_size=3)
    first, *_ = list_ids(account)
    MsgID = sorted(account.messages(first), key=lambda row: str(row["SendDate"]))[1]["MsgID"]

    def has_no_second_page(ask: Ask) -> Reply | None:
        asked = ask.operation, ask.arguments.get("MsgID"), ask.arguments.get("Page")
        return html(404) if asked == ("ReportRangeMessageContactClick", MsgID, "2") else None

    with serving(account, tmp_path_factory.mktemp("tap"), start_date=START, **EVERY_EVENT) as tap:
        tap.catalog = catalog_of(*LOADED)
        tap.service.rules.append(has_no_second_page)
        tap.service.latency = 0.05  # time for several STATEs, which come once a second
        ended = subprocess.run(
            tap_command(tap.arguments()), capture_output=True, encoding="utf-8", timeout=300
        )
        assert ended.returncode == 0, ended.stderr
        lines = ended.stdout.split("\n")[:-1]
        clicks = [line for line in map(json.loads, lines) if line.get("stream") == "message_clicks"]
        assert len(clicks) == 1 + 12 * 8 - 5, "a SCHEMA, and eight of each message but one"
        batches = list(split(lines))
        assert '"STATE"' in batches[0], "a target that was given no STATE prints none"
        tap.service.rules.clear()
        tap.service.latency = 0.0
        yield FirstRun(tap, batches)


def split(lines: list[str]) -> Iterator[str]:
    """Split a tap's output after each record that fills a batch of its stream."""
    batch: list[str] = []
    records: Counter[str] = Counter()
    for line in lines:
        batch.append(f"{line}\n")
        message = json.loads(line)
        if message["type"] == "RECORD":
            records[message["stream"]] += 1
            if records[message["stream"]] % ROWS == 0:
                yield "".join(batch)
                batch.clear()


def load_and_kill(target: Database, batches: list[str]) -> Any:
    """Kill a target as soon as it has flushed the last of these; give the state printed last."""
    log = target.folder / "target.log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            target.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
            env={**os.environ, **target.variables},
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        for batch in batches:
            process.stdin.write(batch)
            process.stdin.flush()
            # It prints a state after each flush, so it is known here what it has flushed.
            printed = process.stdout.readline()
            assert printed, log.read_text("utf-8")
        process.kill()
    return json.loads(printed)


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", [DuckDB, PipelinewisePostgres])
def test_no_row_is_lost_whenever_a_target_is_killed(
    kind: type[Database],
    part: float,
    first_run: FirstRun,
    postgres: Postgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    tap, batches = first_run
    target = kind(tmp_path_factory.mktemp(kind.package), postgres, batch_size_rows=ROWS)
    state = load_and_kill(target, batches[: max(1, round(part * len(batches)))])
    target.options.clear()  # batches of the usual size, which load sooner
    due = due_of(tap.service.account, LOADED, target.keeps)
    for _ in range(2):
        state, stored = target.sync(tap, state=state).state, target.tables(LOADED)
        lost = {table: len(rows - stored[table]) for table, rows in due.items()}
        assert lost == dict.fromkeys(due, 0)
        assert stored == due
    target.assert_types(LOADED)
