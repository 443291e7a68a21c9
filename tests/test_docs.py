"""The documents agree with the code."""

import ast
import json
import logging
import re
import runpy
import sys
import textwrap
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tap_listrak import __version__, about, arguments, config, logs
from tap_listrak.listrak import client, transport
from tap_listrak.listrak.faults import FAULTS, PermissionDeniedError
from tap_listrak.streams import BY_NAME, LISTS, PUBLISHED, STREAMS, Per, Stream, resolve_tables
from tap_listrak.sync import entry, failures, state_file, turns, walk
from tests.support.tap import Call

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tap_listrak"
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
AROUND = [
    *("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md"),
    "examples/README.md",
]
DOCUMENTS = {name: (ROOT / name).read_text("utf-8") for name in [*AROUND, *PAGES]}
README = DOCUMENTS["README.md"]
TABLES = DOCUMENTS["docs/tables.md"]
TROUBLESHOOTING = DOCUMENTS["docs/troubleshooting.md"]
NAMES = [stream.name for stream in STREAMS]
SAMPLE = json.loads((ROOT / "sample_config.json").read_text("utf-8"))
RESOLVED = resolve_tables(config.parse_config(SAMPLE, datetime.now(timezone.utc)))


def section(heading: str, document: str) -> str:
    """Return the text after a heading, up to the next one of its level or above."""
    level = heading.split()[0]
    below = document.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{1,{len(level)}}} ", below, maxsplit=1)[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables in a text, without the tables' heads."""
    found = []
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        lines = table.splitlines()[2:]
        found += [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return found


def shown_json(document: str) -> list[Any]:
    """Return the JSON that a document shows. Raises ValueError if it is invalid."""
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", document, re.DOTALL)]


def relative_links(document: str) -> list[str]:
    """Return the targets of a document's links, except those to other sites."""
    return re.findall(r"\]\((?!https:)([^)]*)\)", document)


def anchors(document: str) -> set[str]:
    """Return the anchors that GitHub makes of a document's headings."""
    text = re.sub(r"^```.*?^```", "", document, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def type_of(schema: dict[str, Any]) -> str:
    """Return a column's type as docs/tables.md writes it."""
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    (kind,) = [each for each in types if each != "null"]
    if kind == "array":
        return f"array of {schema['items']['type']}"
    return str(schema.get("format", kind))


def types_by_path(columns: dict[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Yield each column and its type, each object followed by its parts."""
    for column, schema in columns.items():
        yield f"{within}{column}", type_of(schema)
        yield from types_by_path(schema.get("properties", {}), f"{within}{column}.")


def texts_of_the_code() -> str:
    """Return all string literals of the tap, one per line, with … for placeholders."""
    found = []
    for module in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                pieces = [getattr(piece, "value", "") for piece in node.values]
                found.append("".join(each if isinstance(each, str) else "…" for each in pieces))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%[.\d]*[sdf]", "…", node.value))
    return "\n".join(found)


# Options, exit codes, logs.


def test_the_table_of_options_holds_each_with_its_default_and_variable() -> None:
    assert about.settings_in_markdown() in DOCUMENTS["docs/configuration.md"]


def test_the_readme_shows_a_config_of_the_required_keys_and_the_sample_has_defaults_too() -> None:
    (shown,) = shown_json(README)
    assert list(shown) == [key for key, option in config.OPTIONS.items() if option.is_required]
    config.parse_config(shown, datetime.now(timezone.utc))
    for key in SAMPLE.keys() - shown.keys():
        assert config.OPTIONS[key].read(SAMPLE[key]) == config.OPTIONS[key].default


@pytest.mark.parametrize("name", DOCUMENTS)
def test_variables_that_are_named_are_such_that_the_tap_reads(name: str) -> None:
    known = {config.LEVEL_VARIABLE, config.FORMAT_VARIABLE}
    known |= {config.variable_of(key) for key in config.OPTIONS}
    assert set(re.findall(r"TAP_LISTRAK_\w+", DOCUMENTS[name])) <= known


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
    assert [[row[0], row[2], row[3]] for row in shown] == [
        [
            f"`{each.name}`",
            f"`{each.operation}`",
            ", ".join(f"`{key}`" for key in each.key_properties),
        ]
        for each in PUBLISHED
    ]


def test_the_table_reference_holds_all_tables_in_order() -> None:
    assert re.findall(r"^### (\w+)$", section("## Columns", TABLES), re.MULTILINE) == NAMES


@pytest.mark.parametrize("stream", STREAMS, ids=NAMES)
def test_a_table_has_the_key_the_operation_and_the_columns_of_its_stream(stream: Stream) -> None:
    text = section(f"### {stream.name}", TABLES)
    columns = RESOLVED[stream].schema["properties"]
    assert f"Key: {', '.join(f'`{column}`' for column in stream.key_properties)}." in text
    assert f"From `{stream.operation}`." in text
    assert rows(text) == [[f"`{path}`", kind] for path, kind in types_by_path(columns)]
    bookmark = re.findall(r"Bookmark: `(\w+)`\.", text)
    assert bookmark == ([stream.replication_key] if stream.replication_key else [])


# How tables join besides to their parent: which to which, on which column of the second.
OTHER_JOINS = {
    ("messages", "message_deliveries", "MsgID"),
    ("messages", "complaints", "MessageID"),
    ("campaigns", "message_analytics", "CampaignID"),
    ("campaigns", "conversations", "CampaignID"),
    ("conversations", "conversation_deliveries", "ConversationID"),
}


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
    assert joins == of_parents | OTHER_JOINS
    for _, second, column in joins:
        assert column in RESOLVED[BY_NAME[second]].schema["properties"]


def test_the_groups_hold_every_table_once() -> None:
    groups = rows(TABLES.split("## What each run requests", maxsplit=1)[0])
    assert sorted(re.findall(r"`(\w+)`", " ".join(row[1] for row in groups))) == sorted(NAMES)


# How docs/tables.md says what each kind of stream is requested by.
PER = {
    Per.LIST: "by list",
    Per.MESSAGE: "by message",
    Per.BATCH: f"for up to {walk.MAX_BATCH:,} messages",
    Per.CONVERSATION: "by conversation",
    Per.ACCOUNT: "of the account",
}


def test_the_table_of_what_a_run_requests_says_how_each_stream_is_requested() -> None:
    found = rows(section("## What each run requests", TABLES))
    told = {name: row[1] for row in found for name in re.findall(r"`(\w+)`", row[0])}
    assert sorted(told) == sorted(NAMES)
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


def test_troubleshooting_holds_refusals_under_their_exit_code() -> None:
    heading = f"### Login and permission (exit code {PermissionDeniedError.exit_code})"
    assert {row[0] for row in rows(section(heading, TROUBLESHOOTING))} == {
        fault.message
        for fault in FAULTS
        if fault.error.exit_code == PermissionDeniedError.exit_code
    }


def test_every_message_in_troubleshooting_is_one_that_the_tap_gives() -> None:
    texts = texts_of_the_code()
    told = [
        message
        for heading in ("## Errors of a call", "## Other errors", "## Warnings")
        for message, *_ in rows(section(heading, TROUBLESHOOTING))
    ]
    for message in told:
        starts = f"\n{message.removesuffix('…')}" in texts
        # Before an error, whose text follows after a colon.
        assert starts or f"\n{message.removesuffix(': …')}\n" in texts, message


def test_the_numbers_in_the_documents_are_those_of_the_code() -> None:
    on_call = section("## On call", TROUBLESHOOTING)
    assert f"more than {failures.MAX_FAILED_IN_A_RUN} of its parts fail in a run" in on_call
    assert (
        f"the last {failures.MAX_HELD_AT_THE_END + 1} or more of its parts fail in a row" in on_call
    )
    assert f"more than {failures.MAX_SET_ASIDE:,} parts are set aside" in on_call
    assert f"If for {entry.TIME_TO_FORGET.days} days Listrak does not return" in on_call
    assert f"After {client.MAX_RETRIES_UNANSWERED} retries in a row" in TROUBLESHOOTING
    limits = DOCUMENTS["docs/limits.md"]
    assert f"The limit is {transport.MAX_REPLY_BYTES // 2**20} MiB" in limits
    assert f"Windows of {turns.PAGED_WINDOW_DAYS} days" in limits
    assert client.MAX_TRIES == 5, "the documents speak of five tries"


def test_the_state_that_is_shown_is_read_and_written_as_it_is() -> None:
    now = datetime(2026, 11, 29, 4, tzinfo=timezone.utc)
    (shown,) = shown_json(DOCUMENTS["ARCHITECTURE.md"])
    written = state_file.write_state(*state_file.read_state(shown, now, timedelta(1)))
    assert json.loads(json.dumps(written)) == shown


# Commands and links. tests/integration/test_commands.py runs the commands.


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_and_flags_that_are_named_exist(name: str, call: Call) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    made = re.findall(r"(?:^|`)make ((?: ?[a-z]+(?![=\w]))+)", DOCUMENTS[name], re.MULTILINE)
    assert set(" ".join(made).split()) <= targets
    commands = re.findall(
        r"bin/tap-listrak[^|>`\n]*|`tap-listrak [^`]*`|`--[a-z]+`", DOCUMENTS[name]
    )
    flags = set(re.findall(r"(?<!\w)--?[a-z]+", call("--help").out))
    assert set(re.findall(r"(?<!\S)`?(--[a-z]+)", " ".join(commands))) <= flags


def test_make_lists_every_target_that_is_for_people() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert set(re.findall(r"^([a-z]+):.*## \w", makefile, re.MULTILINE)) == set(phony.split())


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files_and_headings_that_exist(name: str) -> None:
    pictures = re.findall(r'<img src="([^"]*)" alt="[^"]+"', DOCUMENTS[name])
    for link in [*relative_links(DOCUMENTS[name]), *pictures]:
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.resolve().is_relative_to(ROOT)
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text("utf-8")), link


def test_the_readme_leads_to_every_page_of_the_docs_in_one_table() -> None:
    told = [row[0] for row in rows(section("## Documentation", README))]
    pages = [*PAGES, "examples/README.md", "fake_listrak/README.md"]
    assert sorted(told) == [f"[{page}]({page})" for page in pages]


def test_on_pypi_the_readme_has_no_links_to_files(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setitem(sys.modules, "setuptools", SimpleNamespace(setup=told.update))
    runpy.run_path(str(ROOT / "setup.py"))
    text = told["long_description"]
    assert not relative_links(text)
    assert "<img" not in text
    assert text.count("](https://") == README.count("](https://")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_shown_as_json_is_json(name: str) -> None:
    shown_json(DOCUMENTS[name])


def imports(module: str) -> set[str]:
    """Return the tap's own modules that a module imports, as the map writes them."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {f"{node.module}.{each.name}" for node in found for each in node.names}
    paths = {name.removeprefix("tap_listrak.").replace(".", "/") for name in names}
    return {
        path
        for name in paths
        for path in (name, name.rpartition("/")[0])
        if (PACKAGE / f"{path}.py").exists()
    }


def test_the_map_names_every_module_and_imports_point_upward_in_it() -> None:
    table = section("## Modules (each imports only modules above it)", DOCUMENTS["ARCHITECTURE.md"])
    order = [row[0].strip("`") for row in rows(table)]
    assert sorted(order) == sorted(
        path.relative_to(PACKAGE).as_posix().removesuffix(".py")
        for path in PACKAGE.rglob("*.py")
        if not path.stem.startswith("__")
    )
    for place, module in enumerate(order):
        assert imports(module) <= set(order[:place])


def test_what_knows_listrak_knows_nothing_of_singer_or_the_run() -> None:
    for module in (PACKAGE / "listrak").glob("*.py"):
        assert not re.search(
            r"^ *(from|import) (singer|tap_listrak\.s[yi])", module.read_text(), re.M
        )


def test_the_stream_that_contributing_shows_is_the_real_one() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", DOCUMENTS["CONTRIBUTING.md"], re.DOTALL)
    shown = re.sub(r"  #.*", "", textwrap.dedent(shown))
    assert shown in (PACKAGE / "streams.py").read_text("utf-8")


def test_the_changelog_tells_of_this_version() -> None:
    assert section(f"## [{__version__}]", DOCUMENTS["CHANGELOG.md"]).strip()
