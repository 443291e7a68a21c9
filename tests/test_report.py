"""What a run logs about its progress and at its end."""

import re
from itertools import pairwise

import pytest

from fake_listrak import Reply, html
from tap_listrak.streams import BY_NAME, STREAMS
from tap_listrak.sync import report
from tests.support.accounts import LATER, NOW, list_ids, message_ids, small
from tests.support.records import keys_emitted
from tests.support.runs import tap_for
from tests.support.tap import MakeTap, Run, Tap, catalog_of

OPENS = BY_NAME["message_opens"].operation


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
    account = tap.service.account
    sent = [str(row["SendDate"]) for row in account.messages(min(list_ids(account)))]
    old = sum(date < "2026-01-01" for date in sent)
    new = len(sent) - old
    assert old > 1
    assert new > 1
    of_first = [match for match in found if match["number"] and match["list"] == "1"]
    assert list(dict.fromkeys(match.group("number", "count", "since") for match in of_first)) == [
        *((str(number), str(old), "2025-01-01") for number in range(1, old + 1)),
        *((str(number), str(new), "2026-01-01") for number in range(1, new + 1)),
    ]


def test_progress_names_no_list_before_they_come(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SECONDS_BETWEEN_LINES", 0.0)
    first = next(line for line in tap.run().lines("INFO") if "rows so far" in line)
    assert first == "INFO waiting for Listrak: 0 rows so far, 0 a second."


def test_progress_counts_lists_a_resume_has_left(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tap.run()
    done, halfway = next(
        (len(unfinished[0]["list_ids"]), state)
        for state in whole.states
        if (unfinished := state["bookmarks"].get("message_opens", {}).get("unfinished"))
        if unfinished[0].get("list_ids")
    )
    monkeypatch.setattr(report, "SECONDS_BETWEEN_LINES", 0.0)
    run = tap.run(state=halfway)
    assert f"(list 1 of {3 - done})" in run.err


def table_of(run: Run) -> dict[str, list[str]]:
    """By stream: rows, calls, retries, seconds, parts set aside, and whether it was stopped."""
    lines = [line.split() for line in run.lines("INFO") if "METRIC" not in line]
    header = ["rows", "calls", "retries", "seconds", "set", "aside", "stopped"]
    start = next(place for place, words in enumerate(lines) if words[2:] == header)
    return {words[1]: words[2:] for words in lines[start + 1 :]}


def test_the_table_at_the_end_has_what_each_stream_cost_and_its_outcome(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, *BY_NAME)
    tap.fail("message_opens", html(503), MsgID=tap.msg_ids()[0])
    tap.fail("message_clicks", html(400))
    run = tap.night()
    table = table_of(run)
    assert list(table) == [stream.name for stream in STREAMS]
    for stream, (rows, number, retries, _, aside, stopped) in table.items():
        assert int(rows) == keys_emitted(run)[stream].total()
        assert int(number) == len(tap.calls(stream))
        assert retries == ("4" if stream == "message_opens" else "0")
        assert (aside, stopped) == {"message_opens": ("1", "0"), "message_clicks": ("0", "1")}.get(
            stream, ("0", "0")
        )
    assert run.lines("ERROR")[0].startswith("ERROR Stopped message_clicks: ")


def test_the_first_line_says_what_the_run_is_about(tap: Tap) -> None:
    (line,) = [line for line in tap.run().lines("INFO") if "tap-listrak" in line]
    assert "syncing 9 streams of 3 lists from 127.0.0.1, up to 20" in line


def test_the_messages_that_wait_for_their_turn_are_counted(make_tap: MakeTap) -> None:
    tap = make_tap(small(), {"start_date": "2026-04-01", "recent_days": 30, "older_every_days": 7})
    first = tap.run(clock=NOW)
    assert "were not due" not in first.err
    tap.service.asked.clear()
    second = tap.run(clock=LATER, state=first.state)
    asked = {ask.arguments["MsgID"] for ask in tap.service.asked if ask.operation == OPENS}
    waiting = len(message_ids(tap.service.account)) - len(asked)
    assert waiting
    assert f"INFO {waiting} older messages not due in this run" in second.err
    # Rotation does not affect sends, or messages that are selected alone.
    sends = tap.run(clock=LATER, state=first.state, catalog=catalog_of("message_sends"))
    assert "were not due" not in sends.err


def test_a_run_to_which_no_reply_comes_says_so(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SECONDS_BETWEEN_LINES", 0.5)
    monkeypatch.setattr(report, "SECONDS_OF_SILENCE", 0.3)
    delays = iter([1.5])
    tap.answer(OPENS, lambda ask: Reply(ask.honest().body, delay=next(delays, 0.0)))
    run = tap.run(config={"concurrency": 1})
    assert run.code == 0
    silent = [line for line in run.lines("INFO") if "no reply for" in line]
    # A machine that has much else to do may be silent before, too.
    assert any("(list 1 of 3)" in line for line in silent)
    assert all(state != after for state, after in pairwise(run.states)), "a STATE without news"
