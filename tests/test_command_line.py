"""The command line: its options, its log, its exit codes, and one line on failure."""

import json
import re
from collections import Counter
from datetime import datetime

import pytest
from jsonschema import Draft4Validator
from singer import metrics

from fake_listrak import html
from tap_listrak import __version__
from tap_listrak.about import CAPABILITIES
from tap_listrak.arguments import EXIT_CODES
from tap_listrak.config import OPTIONS
from tap_listrak.streams import STREAMS
from tests.support.accounts import NOW, small
from tests.support.tap import PASSWORD, MakeTap, Tap, call, catalog_of


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap for an account of two lists and three months."""
    return make_tap(small(), {"start_date": "2026-04-01"})


@pytest.mark.parametrize("form", [[], ["--format", "text"], ["--format=markdown"]], ids=str)
def test_about_tells_people_of_capabilities_and_every_setting(form: list[str]) -> None:
    run = call("--about", *form)
    assert (run.code, run.err) == (0, "")
    text = " ".join(run.out.split())
    descriptions = [option.description for option in OPTIONS.values()]
    for told in ("tap-listrak", __version__, *CAPABILITIES, *OPTIONS, *descriptions):
        assert told in text


def test_about_in_json_tells_hubs_of_capabilities_and_settings() -> None:
    run = call("--about", "--format=json")
    assert (run.code, run.err) == (0, "")
    about = json.loads(run.out)
    assert (about["name"], about["version"]) == ("tap-listrak", __version__)
    assert about["capabilities"] == CAPABILITIES
    assert {"3.10", "3.14"} <= {*about["supported_python_versions"]}
    settings = about["settings"]
    Draft4Validator.check_schema(settings)
    assert settings["required"] == ["username", "password", "start_date"]
    assert list(settings["properties"]) == list(OPTIONS)
    secret = [name for name, each in settings["properties"].items() if each.get("secret")]
    assert secret == ["username", "password", "email_hash_key"]
    sample = {"username": "robot", "password": "x", "start_date": "2025-01-01"}
    Draft4Validator(settings).validate({**sample, "list_ids": [1], "concurrency": None})
    for wrong in ({"concurrency": 33}, {"keep_every_event": "x"}, {"username": None}):
        assert not Draft4Validator(settings).is_valid({**sample, **wrong})


def test_after_a_defect_a_line_says_what_a_sync_and_a_backfill_do_next(tap: Tap) -> None:
    def broken() -> datetime:
        raise KeyError("hunter2")

    run = tap.run(clock=broken)
    assert run.code == 1
    (line,) = run.lines("CRITICAL")
    for said in ("defect (KeyError)", "resumes from the last STATE", "a backfill starts over"):
        assert said in line
    assert "hunter2" not in run.err


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_option_variable_and_exit_code(flag: str) -> None:
    run = call(flag)
    assert run.code == 0
    words = set(re.findall(r"[\w-]+", run.out))
    assert words >= {"-c", "--config", "-s", "--state", "-p", "--properties", "--catalog"}
    assert words >= {"-d", "--discover", "--version", "-h", "--help"}
    assert words >= {"TAP_LISTRAK_LOGLEVEL", "LOGLEVEL", *OPTIONS}
    assert set(re.findall(r"^ +(\d+) ", run.out, re.MULTILINE)) == set(map(str, EXIT_CODES))


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
        ("-c a.json hunter2", "an argument is unknown"),
        ("-c a.json --password hunter2", "an argument is unknown"),
        ("--c=hunter2", "an argument is unknown"),  # --config or --catalog
    ],
)
def test_a_wrong_command_line_is_named_but_no_secret(arguments: str, said: str) -> None:
    run = call(*arguments.split())
    assert (run.code, run.out) == (2, "")
    assert "usage: tap-listrak" in run.err
    assert said in run.err
    assert "hunter2" not in run.err


@pytest.mark.parametrize("flags", ["-c -p -s", "--config --properties --state"])
def test_options_have_a_short_form_and_properties_is_another_name_of_catalog(
    flags: str, tap: Tap
) -> None:
    state = {"bookmarks": {"message_opens": {"OpenDate": "2026-06-01T00:00:00Z"}}}
    paths = tap.arguments(catalog=catalog_of("message_opens"), state=state)[1::2]
    run = call(*(word for pair in zip(flags.split(), paths, strict=True) for word in pair))
    assert run.code == 0
    assert {each["stream"] for each in run.of_type("RECORD")} == {"message_opens"}
    starts = {ask.arguments["StartDate"] for ask in tap.calls("message_opens")}
    assert starts == {"2026-05-31T00:00:00"}


BROKEN_FILES = {
    "latin-1.json": b'{"password": "hunter2\xff"}',
    "short.json": b'{"password": "hunter2", ',
    "deep.json": b"[" * 100_000,
    "long-number.json": b'{"password": "hunter2", "concurrency": ' + b"9" * 5000 + b"}",
}
SECRET_NAMES = ['{"password": "hunter2"}', "password=hunter2", "hunter2"]


@pytest.mark.parametrize("option", ["config", "catalog", "properties", "state"])
@pytest.mark.parametrize("name", [*BROKEN_FILES, "missing.json", "a folder", *SECRET_NAMES])
def test_an_unreadable_file_is_named_but_no_secret(option: str, name: str, tap: Tap) -> None:
    path = tap.folder / name if name != "a folder" else tap.folder
    if name in BROKEN_FILES:
        path.write_bytes(BROKEN_FILES[name])
    sound = [] if option == "config" else tap.arguments()
    line = tap.refusal(call(*sound, f"--{option}", str(path)))
    assert line.startswith(
        f"CRITICAL Cannot read the {option.replace('properties', 'catalog')} file"
    )
    assert (str(path) in line) == (name not in SECRET_NAMES)
    assert "hunter2" not in line


def test_a_byte_order_mark_in_a_file_does_no_harm(tap: Tap) -> None:
    path = tap.folder / "marked.json"
    path.write_text(json.dumps(tap.config), "utf-8-sig")
    assert call("--config", str(path), "--discover").code == 0


@pytest.mark.parametrize(
    ("environment", "levels"),
    [
        ({}, ["INFO", "WARNING"]),
        ({"LOGLEVEL": "warning"}, ["WARNING"]),
        ({"LOGLEVEL": "ERROR"}, []),
        ({"TAP_LISTRAK_LOGLEVEL": "WARNING"}, ["WARNING"]),
        ({"TAP_LISTRAK_LOGLEVEL": "CRITICAL", "LOGLEVEL": "DEBUG"}, []),
        ({"TAP_LISTRAK_LOGLEVEL": "", "LOGLEVEL": "WARNING"}, ["WARNING"]),
        ({"LOGLEVEL": "LOUD"}, ["INFO", "WARNING"]),
    ],
    ids=str,
)
def test_the_environment_sets_the_level_of_the_log_and_an_unknown_level_is_warned_of(
    environment: dict[str, str], levels: list[str], tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    run = tap.run(clock=NOW, config={"list_ids": [*tap.list_ids, 4711]})
    assert run.code == 0
    assert sorted({line.split(" ")[0] for line in run.err.splitlines()}) == levels
    assert len(run.warnings("LOGLEVEL")) == ("LOUD" in environment.values())


@pytest.mark.parametrize("password", [PASSWORD, "1", '"', "METRIC"])
def test_singer_reads_the_metrics_that_count_every_record_and_time_every_call_at_debug(
    password: str, tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    tap.service.password = password
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    tap.answer("GetContactListCollection", lambda ask: html(502) if ask.attempt == 1 else None)
    run = tap.run(clock=NOW, config={"password": password})
    counted: Counter[str] = Counter()
    timed: Counter[tuple[str, str]] = Counter()
    for line in (line for line in run.err.splitlines() if "METRIC: " in line):
        # Singer reads metrics at INFO alone.
        point = metrics.parse(line.replace("DEBUG METRIC", "INFO METRIC", 1))
        if line.startswith("DEBUG"):
            assert (point.metric, point.metric_type) == ("http_request_duration", "timer")
            timed[point.tags["endpoint"], point.tags["status"]] += 1
        else:
            assert (point.metric, point.metric_type) == ("record_count", "counter")
            counted[point.tags["endpoint"]] += point.value
    assert counted == Counter(each["stream"] for each in run.of_type("RECORD"))
    name_of = {stream.operation: stream.name for stream in STREAMS}
    made = Counter((name_of[ask.operation], "succeeded") for ask in tap.service.asked)
    assert timed == made - Counter({("lists", "succeeded"): 1}) + Counter({("lists", "failed"): 1})


def test_a_user_without_lists_is_told_to_be_granted_some(make_tap: MakeTap) -> None:
    run = make_tap(lists=0).run()
    assert (run.code, run.of_type("RECORD")) == (1, [])
    (line,) = run.lines("CRITICAL")
    assert "lists" in line
