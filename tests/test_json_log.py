"""With TAP_LISTRAK_LOG_FORMAT=json each line of the log is one JSON object."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from fake_listrak import fault
from tap_listrak.listrak import client
from tap_listrak.logs import MAX_LINE_LENGTH
from tests.support.accounts import now, small
from tests.support.tap import PASSWORD, USERNAME, MakeTap, Run, Tap


@pytest.fixture(autouse=True)
def _json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOG_FORMAT", "json")
    monkeypatch.delenv("LOGLEVEL", raising=False)
    monkeypatch.delenv("TAP_LISTRAK_LOGLEVEL", raising=False)


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    return make_tap(small(), {"start_date": "2026-04-01"})


def lines_of(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.err.splitlines()]


def texts_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts_in(each)]
    return [value] if isinstance(value, str) else []


def test_each_line_is_an_object_with_time_level_logger_and_message(
    tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    run = tap.run(clock=now)
    assert run.code == 0
    lines = lines_of(run)
    for line in lines:
        assert list(line)[:4] == ["time", "level", "logger", "message"]
        assert line["time"].endswith("Z")
        assert datetime.fromisoformat(line["time"].replace("Z", "+00:00")) > before
    assert {line["level"] for line in lines} >= {"DEBUG", "INFO"}
    assert "tap_listrak.sync.report" in {line["logger"] for line in lines}


def test_it_says_what_the_text_says(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    as_json = [f"{line['level']} {line['message']}" for line in lines_of(tap.run("--discover"))]
    monkeypatch.setenv("TAP_LISTRAK_LOG_FORMAT", "text")
    as_text = tap.run("--discover").err.splitlines()
    assert [each for each in as_json if "METRIC" not in each] == [
        each for each in as_text if "METRIC" not in each
    ]


def test_the_parts_of_a_metric_are_fields(tap: Tap) -> None:
    lines = lines_of(tap.run(clock=now))
    of_metrics = [line for line in lines if line["message"].startswith("METRIC: ")]
    assert {line["metric"] for line in of_metrics} == {"record_count", "http_request_duration"}
    for line in of_metrics:
        told = json.loads(line["message"].removeprefix("METRIC: "))
        assert {name: line[name] for name in ("type", "metric", "value", "tags")} == told
    assert not [line for line in lines if "metric" in line and line not in of_metrics]


def test_a_traceback_is_a_field_at_debug(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tap.run(config={"password": "hunter2"})
    assert not [line for line in lines_of(run) if "traceback" in line]
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    run = tap.run(config={"password": "hunter2"})
    (traced,) = [line for line in lines_of(run) if "traceback" in line]
    assert traced["level"] == "DEBUG"
    assert traced["traceback"].startswith("Traceback")
    assert [line["level"] for line in lines_of(run)].count("CRITICAL") == 1


@pytest.mark.parametrize("password", [PASSWORD, 'with "quotes" and \\', "parse_rows"])
def test_secrets_are_hidden_in_every_field(
    tap: Tap, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    def breaks(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError(f"{USERNAME} {password} {args}")

    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    monkeypatch.setattr(client, "parse_rows", breaks)
    run = tap.run(config={"username": "lists", "password": password})
    assert run.code == 1
    texts = [text for line in lines_of(run) for text in texts_in(line)]
    assert not [text for text in texts if password in text or "lists" in text.split()]
    assert "***" in {line["tags"]["endpoint"] for line in lines_of(run) if "tags" in line}
    (traceback,) = [line["traceback"] for line in lines_of(run) if "traceback" in line]
    assert "ZeroDivisionError" in traceback
    assert "***" in traceback


def test_a_long_message_is_cut_and_stays_an_object(tap: Tap) -> None:
    long = fault("much ado\n" * MAX_LINE_LENGTH)
    tap.service.rules.append(lambda ask: None if ask.operation == "WSDL" else long)
    (line,) = [line for line in lines_of(tap.run()) if line["level"] == "CRITICAL"]
    assert len(line["message"]) == MAX_LINE_LENGTH + 1
    assert line["message"].endswith("…")


@pytest.mark.parametrize(("value", "is_json"), [(" JSON ", True), ("", False), ("text", False)])
def test_the_format_may_be_named_in_capitals_and_is_text_unless_named(
    tap: Tap, monkeypatch: pytest.MonkeyPatch, value: str, is_json: bool
) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOG_FORMAT", value)
    run = tap.run("--discover")
    assert {line.startswith("{") for line in run.err.splitlines()} == {is_json}
    assert "LOG_FORMAT" not in run.err


def test_a_format_that_there_is_not_is_warned_of_and_text_is_taken(
    tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOG_FORMAT", "xml")
    run = tap.run("--discover")
    assert run.code == 0
    assert run.lines("WARNING") == [
        "WARNING TAP_LISTRAK_LOG_FORMAT takes text or json; this run has text."
    ]
