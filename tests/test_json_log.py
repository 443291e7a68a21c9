"""With TAP_LISTRAK_LOG_FORMAT=json each line of the log is one JSON object."""

import json
import logging
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from fake_listrak import fault
from tap_listrak.listrak import pages
from tap_listrak.logs import MAX_LINE_LENGTH, set_up_logging
from tests.support.accounts import NOW, small
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
    values = value.values() if isinstance(value, dict) else value
    if isinstance(value, (dict, list)):
        return [text for each in values for text in texts_in(each)]
    return [value] if isinstance(value, str) else []


def test_each_line_has_the_fields_meltano_reads(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    run = tap.run(clock=NOW)
    assert run.code == 0
    lines = lines_of(run)
    for line in lines:
        assert set(line) == {
            *("ts", "level", "message", "logger_name", "app_name", "pid", "thread_name", "extra")
        }
        assert line["ts"].endswith("Z")
        assert datetime.fromisoformat(line["ts"].replace("Z", "+00:00")) > before
    assert {line["level"] for line in lines} >= {"DEBUG", "INFO"}
    assert "tap_listrak.sync.report" in {line["logger_name"] for line in lines}


def test_it_says_what_the_text_says(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    as_json = [f"{line['level']} {line['message']}" for line in lines_of(tap.run("--discover"))]
    monkeypatch.setenv("TAP_LISTRAK_LOG_FORMAT", "text")
    as_text = tap.run("--discover").err.splitlines()
    assert [each for each in as_json if "METRIC" not in each] == [
        each for each in as_text if "METRIC" not in each
    ]


def test_the_parts_of_a_metric_are_fields(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    lines = lines_of(tap.run(clock=NOW))
    points = {
        line["message"].removeprefix("METRIC: "): line["extra"]["metric_info"]
        for line in lines
        if line["message"].startswith("METRIC: ")
    }
    assert {point["metric"] for point in points.values()} == {
        *("record_count", "http_request_duration")
    }
    assert all(json.loads(text) == point for text, point in points.items())


def test_a_table_is_one_line_of_fields_and_in_text_lines(
    tap: Tap, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    totals = {"lists": {"rows": 1234, "seconds": 0.5}, "messages": {"rows": 5}}
    for form in ("json", "text"):
        monkeypatch.setenv("TAP_LISTRAK_LOG_FORMAT", form)
        set_up_logging()
        logging.getLogger("tap_listrak").info("Totals", extra={"totals": totals})
    logging.getLogger().handlers.clear()
    as_json, *as_text = capsys.readouterr().err.splitlines()
    assert json.loads(as_json)["extra"] == {"totals": totals}
    assert [line.split() for line in as_text] == [
        ["INFO", "stream", "rows", "seconds"],
        ["INFO", "lists", "1,234", "0.5"],
        ["INFO", "messages", "5", "0"],
    ]


def test_a_failure_has_its_exception_at_debug(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tap.run(config={"password": "hunter2"})
    assert not [line for line in lines_of(run) if "exception" in line]
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    run = tap.run(config={"password": "hunter2"})
    (traced,) = [line for line in lines_of(run) if "exception" in line]
    assert traced["level"] == "DEBUG"
    assert traced["exception"]["type"] == "AuthenticationError"
    frame = traced["exception"]["traceback"][0]
    assert set(frame) == {"filename", "function", "lineno", "line"}
    assert [line["level"] for line in lines_of(run)].count("CRITICAL") == 1


@pytest.mark.parametrize("password", [PASSWORD, 'with "quotes" and \\', "parse_rows"])
def test_secrets_are_in_no_field(tap: Tap, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    def breaks(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError(f"{USERNAME} {password} {args}")

    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    monkeypatch.setattr(pages, "parse_rows", breaks)
    run = tap.run(config={"password": password})
    assert run.code == 1
    texts = [text for line in lines_of(run) for text in texts_in(line)]
    assert not [text for text in texts if password in text or USERNAME in text]
    (exception,) = [line["exception"] for line in lines_of(run) if "exception" in line]
    assert exception["type"] == "ZeroDivisionError"
    assert exception["message"].startswith("*** *** ")


def test_a_long_message_is_cut_and_stays_an_object(tap: Tap) -> None:
    tap.answer("GetContactListCollection", fault("much ado\n" * MAX_LINE_LENGTH))
    (line,) = [line for line in lines_of(tap.run()) if line["level"] == "CRITICAL"]
    assert len(line["message"]) == MAX_LINE_LENGTH + 1
    assert line["message"].endswith("…")


@pytest.mark.parametrize(
    ("value", "is_json", "is_known"),
    [(" JSON ", True, True), ("", False, True), ("text", False, True), ("xml", False, False)],
)
def test_the_format_is_text_unless_json_is_named_and_another_one_is_warned_of(
    tap: Tap, monkeypatch: pytest.MonkeyPatch, value: str, is_json: bool, is_known: bool
) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOG_FORMAT", value)
    run = tap.run("--discover")
    assert run.code == 0
    assert {line.startswith("{") for line in run.err.splitlines()} == {is_json}
    warning = "WARNING Invalid TAP_LISTRAK_LOG_FORMAT: must be text or json; text is used."
    assert run.warnings() == ([] if is_known else [warning])
