"""What a run logs about its progress and at its end."""

import re
from itertools import pairwise

import pytest

from fake_listrak import Reply, html
from tap_listrak.streams import BY_NAME
from tap_listrak.sync import report
from tests.support.accounts import LATER, NOW, small
from tests.support.runs import requested, tap_for
from tests.support.tap import MakeTap, Tap, catalog_of


def test_progress_has_list_message_and_time_left(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SECONDS_BETWEEN_LINES", 0.0)
    run = tap.selecting_all().run(clock=NOW)
    assert run.code == 0
    shape = re.compile(
        r"INFO (?P<stream>\w+) of (list \d+|the account)"
        r"(, message (?P<number>\d+) of (?P<count>\d+)"
        r" sent since (?P<since>\d{4}-\d\d-\d\d))? \(list (?P<list>\d) of 3\): "
        r"[\d,]+ rows so far, [\d,]+ a second, "
        r"(about \d+ min|less than a minute) left\."
    )
    found = [match for line in run.lines("INFO") if (match := shape.fullmatch(line))]
    assert list(dict.fromkeys(match["list"] for match in found)) == ["1", "2", "3"]
    assert {match["stream"] for match in found} == BY_NAME.keys() - {"lists"}
    # The messages of one year, and then those of the half year to the run's start.
    of_first = [match for match in found if match["number"] and match["list"] == "1"]
    counts = {match["since"]: int(match["count"]) for match in of_first}
    assert list(counts) == ["2025-01-01", "2026-01-01"]
    assert sum(counts.values()) == len(tap.service.account.messages(tap.first_list))
    assert list(dict.fromkeys((match["since"], int(match["number"])) for match in of_first)) == [
        (since, number) for since in counts for number in range(1, counts[since] + 1)
    ]


def test_progress_names_no_list_before_they_come_and_then_those_that_a_resume_has_left(
    tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "SECONDS_BETWEEN_LINES", 0.0)
    whole = tap.run()
    first = next(line for line in whole.lines("INFO") if "rows so far" in line)
    assert first == "INFO waiting for Listrak: 0 rows so far, 0 a second."
    done, state = next(
        (unfinished["list_ids"], run.state)
        for run in whole.prefixes()
        for unfinished in run.entry().get("unfinished", [])
        if unfinished.get("list_ids")
    )
    assert f"(list 1 of {3 - len(done)})" in tap.run(state=state).err


def test_the_table_at_the_end_has_what_each_stream_cost_and_its_outcome(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, *BY_NAME)
    tap.fail("message_opens", html(503), MsgID=tap.msg_ids()[0])
    tap.fail("message_clicks", html(400))
    run = tap.night()
    assert run.lines("ERROR")[0].startswith("ERROR Stopped message_clicks: ")
    lines = [line.split()[1:] for line in run.lines("INFO") if "METRIC" not in line]
    header = ["rows", "calls", "retries", "seconds", "set", "aside", "stopped"]
    start = next(place for place, words in enumerate(lines) if words[1:] == header)
    table = {name: cells for name, *cells in lines[start + 1 :]}
    assert list(table) == list(BY_NAME)
    # Retries, what is set aside, and whether the stream was stopped.
    outcomes = {"message_opens": ["4", "1", "0"], "message_clicks": ["0", "0", "1"]}
    for stream, (rows, calls, retries, _, *outcome) in table.items():
        assert int(rows) == len(run.records(stream))
        assert int(calls) == len(tap.calls(stream))
        assert [retries, *outcome] == outcomes.get(stream, ["0"] * 3)


def test_the_first_line_says_what_the_run_is_about(tap: Tap) -> None:
    (line,) = [line for line in tap.run().lines("INFO") if "tap-listrak" in line]
    assert "syncing 9 streams of 3 lists from 127.0.0.1, up to 20" in line


def test_the_messages_that_wait_for_their_turn_are_counted(make_tap: MakeTap) -> None:
    tap = make_tap(small(), {"start_date": "2026-04-01", "recent_days": 30, "older_every_days": 7})
    first = tap.run(clock=NOW)
    assert "were not due" not in first.err
    second, asked = tap.asked_in(clock=LATER, state=first.state)
    waiting = len(tap.msg_ids()) - len(requested(asked))
    assert waiting
    assert f"INFO {waiting} older messages not due in this run" in second.err


@pytest.mark.usefixtures("state_after_every_page")
def test_a_run_to_which_no_reply_comes_says_so(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SECONDS_BETWEEN_LINES", 0.5)
    monkeypatch.setattr(report, "SECONDS_OF_SILENCE", 0.3)
    delays = iter([1.5])
    opens = BY_NAME["message_opens"].operation
    tap.answer(opens, lambda ask: Reply(ask.honest().body, delay=next(delays, 0.0)))
    run = tap.run(config={"concurrency": 1}, catalog=catalog_of("message_opens"))
    assert run.code == 0
    silent = [line for line in run.lines("INFO") if "no reply for" in line]
    # A machine that has much else to do may be silent before, too.
    assert any("(list 1 of 3)" in line for line in silent)
    assert all(state != after for state, after in pairwise(run.states)), "a STATE without news"
