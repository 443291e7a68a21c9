"""With TAP_LISTRAK_LOG_FORMAT=json each line of the log is one JSON object."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from fake_listrak import fault
from tap_listrak.listrak import pages
from tap_listrak.logs import MAX_LINE_LENGTH
from tests.support.accounts import NOW, small
from tests.support.tap import PASSWORD, USERNAME, MakeTap, Run, Tap

LISTS = "GetContactListCollection"


@pytest.fixture
def tap(make_tap: MakeTap, monkeypatch: pytest.MonkeyPatch) -> Tap:
    monkeypatch.setenv("TAP_LISTRAK_LOG_FORMAT", "json")
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    return make_tap(small(), {"start_date": "2026-04-01"})


def lines_of(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.err.splitlines()]


def test_each_line_has_the_fields_meltano_reads_with_metrics_and_totals(tap: Tap) -> None:
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
    points = {
        line["message"].removeprefix("METRIC: "): line["extra"]["metric_info"]
        for line in lines
        if line["message"].startswith("METRIC: ")
    }
    assert {point["metric"] for point in points.values()} == {
        *("record_count", "http_request_duration")
    }
    assert all(json.loads(text) == point for text, point in points.items())
    (totals,) = (line["extra"]["totals"] for line in lines if "totals" in line["extra"])
    assert totals["lists"]["rows"] == len(run.records("lists"))


@pytest.mark.parametrize(
    ("value", "is_json", "is_known"),
    [(" JSON ", True, True), ("", False, True), ("text", False, True), ("xml", False, False)],
)
def test_the_format_is_text_unless_json_is_named_and_another_one_is_warned_of(
    tap: Tap, monkeypatch: pytest.MonkeyPatch, value: str, is_json: bool, is_known: bool
) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "INFO")
    as_json = [f"{line['level']} {line['message']}" for line in lines_of(tap.run("--discover"))]
    monkeypatch.setenv("TAP_LISTRAK_LOG_FORMAT", value)
    run = tap.run("--discover")
    assert run.code == 0
    assert {line.startswith("{") for line in run.err.splitlines()} == {is_json}
    warning = "WARNING Invalid TAP_LISTRAK_LOG_FORMAT: must be text or json; text is used."
    assert run.warnings() == ([] if is_known else [warning])
    if not is_json:
        said = [line for line in run.err.splitlines() if "METRIC" not in line and line != warning]
        assert said == [line for line in as_json if "METRIC" not in line]


def test_a_failure_has_its_exception_at_debug(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of(tap.run(config={"password": "hunter2"}))
    (traced,) = [line for line in lines if "exception" in line]
    assert traced["level"] == "DEBUG"
    assert traced["exception"]["type"] == "AuthenticationError"
    assert set(traced["exception"]["traceback"][0]) == {"filename", "function", "lineno", "line"}
    assert [line["level"] for line in lines].count("CRITICAL") == 1
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "INFO")
    assert "exception" not in tap.run(config={"password": "hunter2"}).err


@pytest.mark.parametrize("password", [PASSWORD, 'with "quotes" and \\', "parse_rows"])
def test_secrets_are_in_no_field(tap: Tap, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    def breaks(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError(f"{USERNAME} {password} {args}")

    monkeypatch.setattr(pages, "parse_rows", breaks)
    run = tap.run(config={"password": password})
    assert run.code == 1
    assert json.dumps(password)[1:-1] not in run.err
    assert USERNAME not in run.err
    (exception,) = [line["exception"] for line in lines_of(run) if "exception" in line]
    assert exception["type"] == "ZeroDivisionError"
    assert exception["message"].startswith("*** *** ")


def test_a_long_message_is_cut_and_stays_an_object(tap: Tap) -> None:
    tap.answer(LISTS, fault("much ado\n" * MAX_LINE_LENGTH))
    (line,) = [line for line in lines_of(tap.run()) if line["level"] == "CRITICAL"]
    assert len(line["message"]) == MAX_LINE_LENGTH + 1
    assert line["message"].endswith("…")
