"""The tap as Stitch hosts it: every option a string, its catalog, its target, its log."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft4Validator

from tap_listrak.config import OPTIONS
from tests.integration.pipe import Piped, pipe
from tests.integration.postgres import Postgres
from tests.integration.rows import START, Tables, due_of, grow, hard_account, sent_in_two
from tests.integration.targets import Stitch
from tests.support.accounts import serving
from tests.support.published import ALL_COLUMNS
from tests.support.tap import PASSWORD, USERNAME

CONFIG = {
    "start_date": START,
    "interval_days": "365",
    "request_timeout": "300",
    "concurrency": "4",
    "timezone": "UTC",
    "lookback_days": "1",
    "list_ids": "",
    "include_test_messages": "true",
    "activity_window_days": "",
    "recent_days": "",
    "older_every_days": "7",
    "mirror": "",
    "keep_every_event": "false",
    "typed_event_dates": "false",
    "select": "",
    "user_agent": "tap-listrak (Stitch)",
}
LEFT_OUT = {("message_reads",), ("messages", "Subject")}
"""A table and a column that the user did not choose."""
CHOSEN = {
    table: {column: kind for column, kind in columns.items() if (table, column) not in LEFT_OUT}
    for table, columns in ALL_COLUMNS.items()
    if (table,) not in LEFT_OUT
}


class Hosted(NamedTuple):
    """Two runs, with the rows due in each and the rows stored from both."""

    full: Piped
    second: Piped
    due: tuple[Tables, Tables]
    stored: Tables


@pytest.fixture(scope="module", params=["--catalog", "--properties"])
def hosted(
    request: pytest.FixtureRequest,
    tap_bin: Path,
    postgres: Postgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> Hosted:
    """A full sync and one that went on from the state that Stitch kept of it."""
    account, target = hard_account(), Stitch(tmp_path_factory.mktemp("stitch"), postgres)
    with serving(account, target.folder, **CONFIG) as tap:
        program, catalog = str(tap_bin / "tap-listrak"), target.folder / "chosen.json"
        discover = [program, *tap.arguments("--discover")]
        found = subprocess.check_output(discover)
        catalog.write_text(json.dumps(chosen(json.loads(found))), "utf-8")

        def sync(state: Any) -> tuple[Piped, Tables]:
            arguments = tap.arguments(request.param, str(catalog), state=state)
            piped = pipe([program, *arguments], target.command(), target.folder)
            return piped, due_of(account, CHOSEN, target.keeps)

        full, due = sync({})
        grow(account)
        second, due_then = sync(full.state)
        return Hosted(full, second, (due, due_then), target.tables(CHOSEN))


def chosen(catalog: dict[str, Any]) -> dict[str, Any]:
    """The catalog as Stitch hands it back: `selected` and a method in the metadata of each."""
    for stream in catalog["streams"]:
        for each in stream["metadata"]:
            name = (stream["tap_stream_id"], *each["breadcrumb"][1:])
            each["metadata"]["selected"] = name not in LEFT_OUT
            if not each["breadcrumb"]:
                each["metadata"]["replication-method"] = "FULL_TABLE"
    return catalog


def test_every_option_is_given_as_a_string() -> None:
    texts = {"username", "password", "wsdl_url", "email_hash_key", "backfill_from", "backfill_to"}
    assert OPTIONS.keys() == CONFIG.keys() | texts


def test_stitch_takes_every_row_of_a_full_sync_and_the_new_ones_of_the_next(hosted: Hosted) -> None:
    assert hosted.stored == sent_in_two(*hosted.due)


def test_schemas_are_of_draft_4(hosted: Hosted) -> None:
    for piped in (hosted.full, hosted.second):
        schemas = piped.of_type("SCHEMA")
        assert {each["stream"] for each in schemas} == CHOSEN.keys()
        for each in schemas:
            Draft4Validator.check_schema(each["schema"])


def test_the_log_is_readable_and_holds_no_secrets(hosted: Hosted) -> None:
    for piped in (hosted.full, hosted.second):
        assert USERNAME not in piped.log
        assert PASSWORD not in piped.log
        for line in piped.log.rstrip("\n").split("\n"):
            assert line.startswith("INFO ")
            assert len(line) < 1000
