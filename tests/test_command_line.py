"""The command line: its options, its log, its exit codes, and one line on failure."""

import importlib.metadata
import json
import re
import socket
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator
from singer import metrics

from fake_listrak import html
from tap_listrak import __version__
from tap_listrak.__main__ import main as entry_point
from tap_listrak.about import CAPABILITIES
from tap_listrak.arguments import EXIT_CODES
from tap_listrak.config import OPTIONS
from tap_listrak.streams import STREAMS
from tests.support.accounts import NOW, list_ids, small
from tests.support.records import all_due, all_emitted
from tests.support.tap import Call, MakeTap, Run, Tap, catalog_of

SAMPLE = Path(__file__).parent.parent / "sample_config.json"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@pytest.fixture(autouse=True)
def _no_level_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOGLEVEL", raising=False)
    monkeypatch.delenv("TAP_LISTRAK_LOGLEVEL", raising=False)


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap for an account of two lists and three months."""
    return make_tap(small(), {"start_date": "2026-04-01"})


def is_laid_out(run: Run) -> bool:
    """Whether the lines are short, and the one long word, an address, is whole."""
    url = str(OPTIONS["wsdl_url"].default)
    lines = [line for line in run.out.splitlines() if url not in line]
    return url in run.out and max(map(len, lines)) < 85


def test_version_is_printed(call: Call) -> None:
    run = call("--version")
    assert (run.code, run.out) == (0, f"tap-listrak {__version__}\n")


def test_about_tells_people_of_capabilities_and_every_setting(call: Call) -> None:
    run = call("--about")
    assert (run.code, run.err) == (0, "")
    assert call("--about", "--format", "text") == run
    assert run.out.startswith(f"tap-listrak {__version__}\n")
    assert is_laid_out(run)
    text = " ".join(run.out.split())
    for capability in CAPABILITIES:
        assert re.search(rf"\b{capability}\b", text)
    for name, option in OPTIONS.items():
        assert f"{name} {option.description} (" in text


def test_about_in_markdown_tells_the_same(call: Call) -> None:
    run = call("--about", "--format=markdown")
    assert (run.code, run.err) == (0, "")
    assert run.out.startswith("# tap-listrak\n")
    assert f"Version {__version__}" in run.out
    assert re.findall(r"^- `([\w-]+)`$", run.out, re.MULTILINE) == CAPABILITIES
    assert re.findall(r"^\| `(\w+)` \|.*\|$", run.out, re.MULTILINE) == list(OPTIONS)


def test_about_in_json_tells_hubs_of_capabilities_and_settings(call: Call) -> None:
    run = call("--about", "--format=json")
    assert (run.code, run.err) == (0, "")
    about = json.loads(run.out)
    assert list(about) == [
        *("name", "description", "version", "sdk_version", "supported_python_versions"),
        *("capabilities", "settings"),
    ]
    assert (about["name"], about["version"]) == ("tap-listrak", __version__)
    assert about["description"]
    assert "3.11" in about["supported_python_versions"]
    assert set(about["capabilities"]) >= {"catalog", "discover", "state"}
    settings = about["settings"]
    Draft4Validator.check_schema(settings)
    assert settings["required"] == ["username", "password", "start_date"]
    assert list(settings["properties"]) == list(OPTIONS)
    assert all(each["title"] and each["description"] for each in settings["properties"].values())
    secret = [name for name, each in settings["properties"].items() if each.get("secret")]
    assert secret == ["username", "password", "email_hash_key"]
    sample = json.loads(SAMPLE.read_text("utf-8"))
    Draft4Validator(settings).validate({**sample, "list_ids": [1], "concurrency": None})
    for wrong in ({"concurrency": 33}, {"keep_every_event": "x"}, {"username": None}):
        assert not Draft4Validator(settings).is_valid({**sample, **wrong})


def test_after_a_defect_the_critical_line_says_what_a_sync_and_a_backfill_do_next(
    tap: Tap,
) -> None:
    def broken() -> datetime:
        raise KeyError("hunter2")

    run = tap.run(clock=broken)
    (line,) = run.lines("CRITICAL")
    assert run.code == 1
    assert "defect (KeyError)" in line
    assert "A sync resumes from the last STATE" in line
    assert "a backfill starts over" in line
    assert "hunter2" not in run.err


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_option_variable_and_exit_code(flag: str, call: Call) -> None:
    run = call(flag)
    assert run.code == 0
    words = set(re.findall(r"[\w-]+", run.out))
    assert words >= {"-c", "--config", "-s", "--state", "-p", "--properties", "--catalog"}
    assert words >= {"-d", "--discover", "--version", "-h", "--help"}
    assert words >= {"TAP_LISTRAK_LOGLEVEL", "LOGLEVEL"}
    text = " ".join(run.out.split())
    assert words >= set(OPTIONS)
    assert is_laid_out(run)
    for code in EXIT_CODES:
        assert re.search(rf"\b{code} [a-zA-Z]", text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "required: -c/--config"),
        ("--discover", "required: -c/--config"),
        ("-c", "argument -c/--config: expected one argument"),
        ("-c a.json -d --test", "--test: not allowed with argument -d/--discover"),
        ("-c a.json --about --format=hunter2", "argument --format: invalid value"),
        ("-c a.json --test=hunter2", "argument --test: invalid value"),
        ("-c a.json --discover=hunter2", "argument -d/--discover: invalid value"),
        ("-c a.json -d=hunter2", ": invalid value"),
        ("-c a.json hunter2", "an argument is unknown"),
        ("-c a.json --password hunter2", "an argument is unknown"),
        ("-c a.json --password=hunter2", "an argument is unknown"),
        ("--c=hunter2", "an argument is unknown"),  # --config or --catalog
    ],
)
def test_a_wrong_command_line_is_named_but_no_secret(arguments: str, said: str, call: Call) -> None:
    run = call(*arguments.split())
    assert run.code == 2
    assert run.out == ""
    assert "usage: tap-listrak" in run.err
    assert said in run.err
    assert "hunter2" not in run.err


@pytest.mark.parametrize("option", ["config", "catalog", "properties", "state"])
@pytest.mark.parametrize("given", ['{"password": "hunter2"}', "password=hunter2", "hunter2"])
def test_a_secret_as_a_file_is_not_shown(given: str, option: str, tap: Tap, call: Call) -> None:
    run = call(*([] if option == "config" else tap.arguments()), f"--{option}", given)
    line = tap.refusal(run)
    assert line.startswith("CRITICAL Cannot read the ")
    assert "hunter2" not in line


def test_the_console_script_is_the_entry_point() -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="tap-listrak")
    assert script.load() is entry_point


def test_the_short_options_do_what_the_long_ones_do(tap: Tap, call: Call) -> None:
    discovered = tap.discover()
    catalog = catalog_of("message_opens")
    state = {"bookmarks": {"message_opens": {"OpenDate": "2026-06-01T00:00:00Z"}}}
    _, config, _, catalog_path, _, state_path = tap.arguments(catalog=catalog, state=state)
    assert json.loads(call("-c", config, "-d").out) == discovered
    tap.service.asked.clear()
    run = call("-c", config, "-p", catalog_path, "-s", state_path)
    assert run.code == 0
    assert [each["stream"] for each in run.of_type("SCHEMA")] == ["message_opens"]
    assert {
        ask.arguments["StartDate"]
        for ask in tap.service.asked
        if ask.operation == "ReportRangeMessageContactOpen"
    } == {"2026-05-31T00:00:00"}


def test_the_module_is_run_as_a_process(tap: Tap) -> None:
    run = tap.selecting_all().process()
    assert run.code == 0
    emitted, due = all_emitted(run), all_due(tap.service.account)
    # Listrak keeps imports for 30 days, and this run has the real clock.
    assert {**emitted, "imports": due["imports"]} == due


# Files.


BROKEN_FILES = {
    "not UTF-8": b'{"password": "hunter2\xff"}',
    "cut short": b'{"password": "hunter2", ',
    "nested deeply": b"[" * 100_000,
    "a number too long": b'{"password": "hunter2", "concurrency": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("how", ["missing", "a folder", *BROKEN_FILES])
@pytest.mark.parametrize("option", ["config", "catalog", "properties", "state"])
def test_an_unreadable_file_is_named_at_once(option: str, how: str, tap: Tap, call: Call) -> None:
    path = tap.folder if how == "a folder" else tap.folder / "broken.json"
    if how in BROKEN_FILES:
        path.write_bytes(BROKEN_FILES[how])
    sound = [] if option == "config" else tap.arguments()
    line = tap.refusal(call(*sound, f"--{option}", str(path)))
    assert str(path) in line
    assert ("catalog" if option == "properties" else option) in line
    assert "hunter2" not in line


def test_a_byte_order_mark_in_a_file_does_no_harm(tap: Tap, call: Call) -> None:
    path = tap.folder / "marked.json"
    path.write_text(json.dumps(tap.config), "utf-8-sig")
    assert call("--config", str(path), "--discover").code == 0


# The log.


def levels_of(run: Run) -> set[str]:
    return {line.split(" ")[0] for line in run.err.splitlines()} & set(LEVELS)


@pytest.mark.parametrize(
    ("environment", "levels"),
    [
        ({}, {"INFO", "WARNING"}),
        ({"LOGLEVEL": "WARNING"}, {"WARNING"}),
        ({"LOGLEVEL": "warning"}, {"WARNING"}),
        ({"LOGLEVEL": "ERROR"}, set()),
        ({"TAP_LISTRAK_LOGLEVEL": "WARNING"}, {"WARNING"}),
        ({"TAP_LISTRAK_LOGLEVEL": "CRITICAL", "LOGLEVEL": "DEBUG"}, set()),
        ({"TAP_LISTRAK_LOGLEVEL": "", "LOGLEVEL": "WARNING"}, {"WARNING"}),
    ],
    ids=lambda given: " ".join(sorted(given)) or "none",
)
def test_the_environment_sets_the_level_of_the_log(
    environment: dict[str, str],
    levels: set[str],
    make_tap: MakeTap,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    account = small(lists=1, messages=0, contacts=0)
    config = {"start_date": "2026-06-01", "list_ids": [*list_ids(account), 4711]}
    tap = make_tap(account, config)
    run = tap.run(clock=NOW)
    assert run.code == 0
    assert levels_of(run) == levels


def test_an_unknown_level_is_info_with_a_warning(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLEVEL", "LOUD")
    run = tap.run(clock=NOW)
    assert run.code == 0
    (warning,) = run.warnings()
    assert "LOGLEVEL" in warning
    assert levels_of(run) == {"INFO", "WARNING"}


def points_of(run: Run, metric: str) -> list[Any]:
    # singer reads metrics at INFO alone; timers are at DEBUG.
    lines = (line.replace("DEBUG METRIC", "INFO METRIC", 1) for line in run.err.splitlines())
    points = map(metrics.parse, lines)
    return [point for point in points if point and point.metric == metric]


def test_singer_reads_the_metrics_and_they_count_every_record(tap: Tap) -> None:
    run = tap.selecting_all().run(clock=NOW)
    assert len(points_of(run, "record_count") + points_of(run, "http_request_duration")) == sum(
        "METRIC" in line for line in run.err.splitlines()
    )
    counted: Counter[str] = Counter()
    for point in points_of(run, "record_count"):
        assert point.metric_type == "counter"
        counted[point.tags["endpoint"]] += point.value
    assert counted == {name: rows.total() for name, rows in all_emitted(run).items()}


@pytest.mark.parametrize("password", ["1", '"', "METRIC"])
def test_metrics_stay_metrics_whatever_the_password_is(tap: Tap, password: str) -> None:
    tap.service.password = password
    run = tap.run(clock=NOW, config={"password": password})
    assert run.code == 0
    points = [line.split("METRIC: ")[1] for line in run.err.splitlines() if "METRIC: " in line]
    assert points
    assert {json.loads(point)["metric"] for point in points} <= {
        *("record_count", "http_request_duration")
    }


def test_each_call_is_timed_by_stream_and_status(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")

    tap.answer("GetContactListCollection", lambda ask: html(502) if ask.attempt == 1 else None)
    run = tap.selecting_all().run(clock=NOW)
    points = points_of(run, "http_request_duration")
    assert all(point.metric_type == "timer" and point.value >= 0 for point in points)
    timed = Counter((point.tags["endpoint"], point.tags["status"]) for point in points)
    name_of = {stream.operation: stream.name for stream in STREAMS}
    asked = Counter((name_of[ask.operation], "succeeded") for ask in tap.service.asked)
    asked["lists", "succeeded"] -= 1
    asked["lists", "failed"] += 1
    assert timed == asked


# Failures.


def test_a_service_that_cannot_be_reached_is_tried_five_times(tap: Tap) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run = tap.run(config={"wsdl_url": f"http://127.0.0.1:{port}/service?wsdl"})
    assert run.code == 1
    assert run.out == ""
    assert len(tap.waits) == 4
    assert all(0 <= wait <= most for wait, most in zip(tap.waits, (2, 4, 8, 16), strict=True))
    assert len(run.warnings()) == 4
    (line,) = run.lines("CRITICAL")
    assert "`wsdl_url`" in line
    assert "Traceback" not in run.err


def test_a_user_without_lists_is_told_to_be_granted_some(make_tap: MakeTap) -> None:
    run = make_tap(lists=0).run()
    assert run.code == 1
    (line,) = run.lines("CRITICAL")
    assert "lists" in line
    assert not run.of_type("RECORD")
