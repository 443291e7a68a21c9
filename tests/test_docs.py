"""The documents agree with the code."""

import json
import logging
import re
import textwrap
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tap_listrak import about, arguments, config, logs
from tap_listrak.listrak import client, transport
from tap_listrak.listrak.faults import FAULTS, PermissionDeniedError
from tap_listrak.streams import BY_NAME, LISTS, STREAMS, Per, Stream
from tap_listrak.sync import entry, failures, state_file, turns, walk
from tests.support.published import ALL_COLUMNS, ALL_KEYS, KEYS
from tests.support.tap import call

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tap_listrak"
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
AROUND = ["CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md", "examples/README.md"]
DOCUMENTS = {name: (ROOT / name).read_text("utf-8") for name in ["README.md", *AROUND, *PAGES]}
README = DOCUMENTS["README.md"]
TABLES = DOCUMENTS["docs/tables.md"]
TROUBLESHOOTING = DOCUMENTS["docs/troubleshooting.md"]
EACH_DOCUMENT = pytest.mark.parametrize("name", DOCUMENTS)
NOW = datetime(2026, 11, 29, 4, tzinfo=timezone.utc)
NAMES = [stream.name for stream in STREAMS]


def section(heading: str, document: str) -> str:
    """Return the text after a heading, up to the next one of its level or above."""
    level = heading.split()[0]
    below = document.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{1,{len(level)}}} ", below, maxsplit=1)[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables in a text, without the tables' heads."""
    tables = re.findall(r"^\|[-|]+\|\n((?:\|.*\n?)*)", text, re.MULTILINE)
    lines = "".join(tables).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def shown_json(document: str) -> list[Any]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", document, re.DOTALL)]


def anchors(document: str) -> set[str]:
    """Return the anchors that GitHub makes of a document's headings."""
    text = re.sub(r"^```.*?^```", "", document, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


# Options, exit codes, logs.


def test_the_table_of_options_holds_each_with_its_default_and_variable() -> None:
    assert about.settings_in_markdown() in DOCUMENTS["docs/configuration.md"]


def test_the_readme_shows_a_config_of_the_required_keys_and_the_sample_has_defaults_too() -> None:
    (shown,) = shown_json(README)
    assert list(shown) == [key for key, option in config.OPTIONS.items() if option.is_required]
    config.parse_config(shown, NOW)
    sample = json.loads((ROOT / "sample_config.json").read_text("utf-8"))
    for key in sample.keys() - shown.keys():
        assert config.OPTIONS[key].read(sample[key]) == config.OPTIONS[key].default


def test_the_line_of_the_log_that_is_shown_in_json_has_the_fields_of_one() -> None:
    (shown,) = shown_json(DOCUMENTS["docs/running.md"])
    line = logs.JsonLines().format(logging.makeLogRecord({"name": "tap_listrak", "msg": "text"}))
    assert list(shown) == list(json.loads(line))


def test_the_exit_codes_are_those_of_the_command_line() -> None:
    assert rows(section("## Exit codes", DOCUMENTS["docs/running.md"])) == [
        [str(code), meaning] for code, meaning in arguments.EXIT_CODES.items()
    ]


# Tables.


def test_the_readme_has_the_published_tables_with_their_operations_and_keys() -> None:
    shown = rows(section("## Select streams and columns", README))
    assert {row[0]: (row[2], row[3]) for row in shown} == {
        f"`{name}`": (f"`{BY_NAME[name].operation}`", ", ".join(f"`{key}`" for key in keys))
        for name, keys in KEYS.items()
    }


@pytest.mark.parametrize("stream", STREAMS, ids=NAMES)
def test_a_table_has_the_key_the_operation_and_the_columns_of_its_stream(stream: Stream) -> None:
    text = section(f"### {stream.name}", TABLES)
    assert f"Key: {', '.join(f'`{column}`' for column in ALL_KEYS[stream.name])}." in text
    assert f"From `{stream.operation}`." in text
    shown = {path.strip("`"): kind.split()[0] for path, kind in rows(text)}
    parts = {"Vmta.VmtaID": "integer", "Vmta.Description": "string"}
    assert shown == ALL_COLUMNS[stream.name] | (parts if stream is LISTS else {})
    bookmark = stream.replication_key
    assert re.findall(r"Bookmark: `(\w+)`\.", text) == ([bookmark] if bookmark else [])


def test_the_diagram_joins_each_stream_to_its_parent_on_a_column_that_it_has() -> None:
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", DOCUMENTS["docs/joins.md"], re.DOTALL)
    edges = re.findall(r"^ +(\w+) -->\|(\w+)\| (\w+)(?:\[\"(.*)\"\])?$", diagram, re.MULTILINE)
    joins = {
        (first, second, column)
        for first, column, node, label in edges
        for second in (label or node).split("<br>")
    }
    of_parents = {
        (stream.parent.name, stream.name, stream.supplied_key or "MsgID")
        for stream in STREAMS
        if stream.parent
    }
    assert of_parents <= joins
    assert [each for each in joins if each[2] not in ALL_COLUMNS[each[1]]] == []


# How docs/tables.md says what each kind of stream is requested by.
PER = {
    Per.LIST: "by list",
    Per.MESSAGE: "by message",
    Per.BATCH: f"for up to {walk.MAX_BATCH:,} messages",
    Per.CONVERSATION: "by conversation",
    Per.ACCOUNT: "of the account",
}


def test_every_table_is_in_a_group_and_the_docs_say_how_it_is_requested() -> None:
    found = rows(section("## What each run requests", TABLES))
    told = {name: row[1] for row in found for name in re.findall(r"`(\w+)`", row[0])}
    groups = rows(TABLES.split("## What each run requests", maxsplit=1)[0])
    in_groups = re.findall(r"`(\w+)`", " ".join(row[1] for row in groups))
    assert sorted(told) == sorted(in_groups) == sorted(NAMES)
    for stream in STREAMS:
        requested = told[stream.name]
        assert stream is LISTS or requested.startswith(PER[stream.per])
        if stream.retention_days:
            assert f"one window of the last {stream.retention_days} days" in requested
        elif stream.dated and stream.per in (Per.LIST, Per.ACCOUNT):
            days = f"{turns.PAGED_WINDOW_DAYS} days" if stream.paged else "`interval_days`"
            assert f"in windows of {days}" in requested


# Faults, warnings, numbers, states.


def test_troubleshooting_holds_every_fault_and_whether_it_is_retried() -> None:
    told = {row[0]: row[1] for row in rows(section("## Errors of a call", TROUBLESHOOTING))}
    assert told == {fault.message: "yes" if fault.error.is_retryable else "no" for fault in FAULTS}
    code = PermissionDeniedError.exit_code
    of_login = section(f"### Login and permission (exit code {code})", TROUBLESHOOTING)
    refusals = {fault.message for fault in FAULTS if fault.error.exit_code == code}
    assert {row[0] for row in rows(of_login)} == refusals


def test_every_other_message_in_troubleshooting_is_one_that_the_tap_gives() -> None:
    code = "".join(module.read_text("utf-8") for module in PACKAGE.rglob("*.py"))
    # Each text in one piece, and with … for placeholders.
    texts = re.sub(r"\{[^{}]*\}|%[.\d]*[sdf]", "…", re.sub(r'"\s+f?"', "", code))
    for heading in ("## Other errors", "## Warnings"):
        for message, *_ in rows(section(heading, TROUBLESHOOTING)):
            # Some end with an error, whose text follows after a colon.
            start = re.escape(message.removesuffix("…").removesuffix(": "))
            assert re.search(f"[\"']{start}", texts), message


def test_the_numbers_in_the_documents_are_those_of_the_code() -> None:
    for said in (
        f"more than {failures.MAX_FAILED_IN_A_RUN} of its parts fail in a run",
        f"the last {failures.MAX_HELD_AT_THE_END + 1} or more of its parts fail in a row",
        f"more than {failures.MAX_SET_ASIDE:,} parts are set aside",
        f"If for {entry.TIME_TO_FORGET.days} days Listrak does not return",
        f"After {client.MAX_RETRIES_UNANSWERED} retries in a row",
    ):
        assert said in TROUBLESHOOTING
    assert f"limit is {transport.MAX_REPLY_BYTES // 2**20} MiB" in DOCUMENTS["docs/limits.md"]
    assert f"Windows of {turns.PAGED_WINDOW_DAYS} days" in DOCUMENTS["docs/limits.md"]
    assert client.MAX_TRIES == 5, "the documents speak of five tries"


def test_the_state_that_is_shown_is_read_and_written_as_it_is() -> None:
    (shown,) = shown_json(DOCUMENTS["ARCHITECTURE.md"])
    written = state_file.write_state(*state_file.read_state(shown, NOW, timedelta(1)))
    assert json.loads(json.dumps(written)) == shown


# Commands and links. tests/integration/test_commands.py runs the commands.


@EACH_DOCUMENT
def test_flags_and_variables_that_are_named_exist(name: str) -> None:
    shown = r"bin/tap-listrak[^|>`\n]*|`tap-listrak [^`]*`|`--[a-z]+`"
    commands = re.findall(shown, DOCUMENTS[name])
    flags = set(re.findall(r"(?<!\w)--?[a-z]+", call("--help").out))
    assert set(re.findall(r"(?<!\S)`?(--[a-z]+)", " ".join(commands))) <= flags
    variables = {
        config.LEVEL_VARIABLE,
        config.FORMAT_VARIABLE,
        *map(config.variable_of, config.OPTIONS),
    }
    assert set(re.findall(r"TAP_LISTRAK_\w+", DOCUMENTS[name])) <= variables


@EACH_DOCUMENT
def test_links_lead_to_files_and_headings_that_exist(name: str) -> None:
    shown = r"\]\((?!https:)([^)]*)\)|<img src=\"([^\"]*)\" alt=\"[^\"]+\""
    for link in map("".join, re.findall(shown, DOCUMENTS[name])):
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.resolve().is_relative_to(ROOT)
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text("utf-8")), link


def test_the_readme_leads_to_every_page_of_the_docs_in_one_table() -> None:
    pages = [*PAGES, "examples/README.md", "fake_listrak/README.md"]
    told = sorted(row[0] for row in rows(section("## Documentation", README)))
    assert told == [f"[{page}]({page})" for page in pages]


def test_the_map_names_every_module_and_imports_point_upward_in_it() -> None:
    table = section("## Modules (each imports only modules above it)", DOCUMENTS["ARCHITECTURE.md"])
    order = [row[0].strip("`") for row in rows(table)]
    assert sorted(order) == sorted(
        path.relative_to(PACKAGE).as_posix().removesuffix(".py")
        for path in PACKAGE.rglob("*.py")
        if not path.stem.startswith("__")
    )
    for place, module in enumerate(order):
        text = (PACKAGE / f"{module}.py").read_text("utf-8")
        found = re.findall(r"^ *from tap_listrak\.?([\w.]*) import (\w+)", text, re.MULTILINE)
        imported = {(path or name).replace(".", "/") for path, name in found}
        assert imported <= {*order[:place], "__version__"}


def test_the_stream_that_contributing_shows_is_the_real_one() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", DOCUMENTS["CONTRIBUTING.md"], re.DOTALL)
    shown = re.sub(r"  #.*", "", textwrap.dedent(shown))
    assert shown in (PACKAGE / "streams.py").read_text("utf-8")
