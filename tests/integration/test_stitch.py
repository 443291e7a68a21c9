"""The tap as Stitch hosts it: every option a string, its catalog, its target, its log."""

import json
import subprocess
from pathlib import Path

from jsonschema import Draft4Validator

from tap_listrak.config import OPTIONS
from tests.integration.pipe import tap_command
from tests.integration.postgres import Postgres
from tests.integration.rows import START, due_of, grow, hard_account, sent_in_two
from tests.integration.targets import Stitch
from tests.support.accounts import serving
from tests.support.published import ALL_COLUMNS
from tests.support.tap import PASSWORD, USERNAME, Tap

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


def choose(tap: Tap) -> str:
    """Return the path of the catalog as Stitch has it, with its choice in the metadata."""
    catalog = json.loads(subprocess.check_output(tap_command(tap.arguments("--discover"))))
    for stream in catalog["streams"]:
        for each in stream["metadata"]:
            name = (stream["tap_stream_id"], *each["breadcrumb"][1:])
            each["metadata"]["selected"] = name not in LEFT_OUT
            if not each["breadcrumb"]:
                each["metadata"]["replication-method"] = "FULL_TABLE"
    path = tap.folder / "chosen.json"
    path.write_text(json.dumps(catalog), "utf-8")
    return str(path)


def test_every_option_is_given_as_a_string() -> None:
    texts = {"username", "password", "wsdl_url", "email_hash_key", "backfill_from", "backfill_to"}
    assert OPTIONS.keys() == CONFIG.keys() | texts


def test_stitch_takes_every_row_and_the_new_ones_after(postgres: Postgres, tmp_path: Path) -> None:
    account, target = hard_account(), Stitch(tmp_path, postgres)
    with serving(account, tmp_path, **CONFIG) as tap:
        flags = ("--properties", choose(tap))
        first = due_of(account, CHOSEN, target.keeps)
        full = target.sync(tap, *flags, state={})
        grow(account)
        second = target.sync(tap, *flags, state=full.state)
    assert target.tables(CHOSEN) == sent_in_two(first, due_of(account, CHOSEN, target.keeps))
    for piped in (full, second):
        schemas = {each["stream"]: each["schema"] for each in piped.of_type("SCHEMA")}
        assert schemas.keys() == CHOSEN.keys()
        for schema in schemas.values():
            Draft4Validator.check_schema(schema)
        # The log is readable and holds no secrets.
        assert USERNAME not in piped.log
        assert PASSWORD not in piped.log
        for line in piped.log.rstrip("\n").split("\n"):
            assert line.startswith("INFO ")
            assert len(line) < 1000
