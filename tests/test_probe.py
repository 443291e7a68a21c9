"""--test requests one page of each stream, and reports on stderr what was returned."""

import re
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fake_listrak import Account, Reply, fault, html
from tap_listrak.streams import BY_NAME, MESSAGES, PUBLISHED, STREAMS, Stream
from tests.support.accounts import NOW, list_ids, small
from tests.support.replies import EMAIL, rows_of
from tests.support.tap import MakeTap, Run, Tap, catalog_of

OPENS = BY_NAME["message_opens"]
REFUSAL = fault("Op(): [Security] [AccessDenied] No access")


def tap_of(make_tap: MakeTap, account: Account | None = None, **more: Any) -> Tap:
    """A tap that selects every stream of this account, or of a small one."""
    return make_tap(account or small(), {"start_date": "2026-04-01"}, **more).selecting_all()


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    return tap_of(make_tap)


def probe(tap: Tap, flag: str = "--test", **files: Any) -> Run:
    """Test the tap by a clock of the account's time."""
    run = tap.run(flag, clock=NOW, **files)
    assert (run.out, tap.waits) == ("", [])
    return run


def told(run: Run, stream: Stream) -> str:
    (line,) = [line for line in run.err.splitlines() if f" {stream.name}: " in line]
    return line


@pytest.mark.parametrize("flag", ["--test", "--test=all", "--test=records", "--test=schema"])
def test_each_stream_is_requested_once_and_reported(tap: Tap, flag: str) -> None:
    tap.catalog = tap.catalog if flag == "--test" else None
    run = probe(tap, flag)
    assert run.code == 0
    asked = Counter(ask.operation for ask in tap.service.asked)
    assert asked == Counter(stream.operation for stream in STREAMS)
    for stream in STREAMS:
        assert re.search(r": (1 row|(no|\d+) rows) of .*, in \d+\.\d\d s\.$", told(run, stream))
    assert f"INFO All {len(STREAMS)} streams succeeded." in run.lines("INFO")
    assert f"INFO The WSDL has the operations of all {len(STREAMS)} streams." in run.lines("INFO")
    assert "INFO A call took " in run.err


def test_nothing_of_a_contact_is_told(tap: Tap) -> None:
    row = f"{EMAIL}<OpenDate>at home@example.com 2026-06-30T</OpenDate>"
    tap.answer(OPENS.operation, rows_of("message_opens", row))
    run = probe(tap)
    account = tap.service.account
    contacts = [str(row["EmailAddress"]) for each in tap.list_ids for row in account.contacts(each)]
    assert not [email for email in contacts if email in run.err]
    assert "home@example.com" not in run.err
    assert "aa *** 9999-99-99a" in run.err


@pytest.mark.parametrize(
    ("reply", "code", "how"), [(REFUSAL, 3, "was refused"), (html(503), 1, "failed")]
)
@pytest.mark.parametrize("stream", STREAMS[2:30:9], ids=lambda stream: stream.name)
def test_a_stream_that_is_refused_or_fails_is_named_and_the_others_are_asked(
    tap: Tap, stream: Stream, reply: Reply, code: int, how: str
) -> None:
    tap.answer(stream.operation, reply)
    run = probe(tap)
    assert run.code == code
    (warning,) = run.warnings()
    assert warning.startswith(f"WARNING {stream.name} {how}. ")
    (critical,) = run.lines("CRITICAL")
    assert critical.endswith(f": {stream.name}.")
    assert {ask.operation for ask in tap.service.asked} == {each.operation for each in STREAMS}


@pytest.mark.parametrize(
    ("shape", "reply", "code"),
    [({"lists": 0}, None, 0), ({"messages": 0}, None, 0), ({}, REFUSAL, 3)],
    ids=["no list", "no message", "messages refused"],
)
def test_streams_are_skipped_whose_parent_has_no_row(
    make_tap: MakeTap, shape: dict[str, int], reply: Reply | None, code: int
) -> None:
    tap = tap_of(make_tap, small(**shape))
    if reply:
        tap.answer(MESSAGES.operation, reply)
    run = probe(tap)
    assert run.code == code
    for stream in (stream for stream in STREAMS if stream.parent is MESSAGES):
        assert "skipped, because messages returned no rows" in told(run, stream)
        assert tap.calls(stream.name) == []


@pytest.mark.parametrize("how", ["catalog", "select"])
def test_only_what_is_selected_and_its_parents_are_requested(tap: Tap, how: str) -> None:
    tap.catalog = catalog_of("message_clicks") if how == "catalog" else None
    run = probe(tap, config={"select": "message_clicks"} if how == "select" else {})
    assert run.code == 0
    names = ("lists", "messages", "message_clicks")
    assert [ask.operation for ask in tap.service.asked] == [BY_NAME[n].operation for n in names]


def test_absent_operations_are_named_and_are_a_failure_if_selected(make_tap: MakeTap) -> None:
    tap, further = tap_of(make_tap, wsdl="nine"), STREAMS[len(PUBLISHED) :]
    run = probe(tap)
    assert run.code == 1
    absent = ", ".join(sorted(stream.operation for stream in further))
    assert run.warnings()[-1] == f"WARNING Operations missing from the WSDL: {absent}."
    assert run.lines("CRITICAL")[0].endswith(f": {', '.join(each.name for each in further)}.")
    tap.catalog = None
    assert probe(tap).code == 0
    assert len({ask.operation for ask in tap.service.asked}) == len(PUBLISHED)


def test_the_first_list_of_list_ids_is_asked(tap: Tap) -> None:
    last = tap.list_ids[-1]
    assert probe(tap, config={"list_ids": [last]}).code == 0
    asked = {ask.arguments["ListID"] for ask in tap.service.asked if "ListID" in ask.arguments}
    assert asked == {str(last)}


def test_the_message_asked_by_is_one_with_most_rows(tap: Tap) -> None:
    probe(tap)
    columns = [stream.count_column for stream in STREAMS if stream.count_column]
    counts = {
        row["MsgID"]: sum(int(str(row[column])) for column in columns)
        for row in tap.service.account.messages(tap.first_list)
    }
    (asked,) = {ask.arguments["MsgID"] for ask in tap.service.asked if "MsgID" in ask.arguments}
    assert counts[asked] == max(counts.values())


def test_the_rows_of_a_page_are_told_with_the_count_and_whether_more_may_follow(
    tap: Tap, make_tap: MakeTap
) -> None:
    run = probe(tap)
    assert re.search(r"A full page has 7 rows \(\w+, about \d+ in total\)\.\n", run.err)
    assert re.search(r"OpenCount is \d+; the page has 7 rows, \d \w+; more may follow\.\n", run.err)
    whole = tap_of(make_tap, small(page_size=500))
    run = probe(whole)
    assert "INFO No page is known to be full; the largest has " in run.err
    (asked,) = whole.calls("message_opens")
    opens = whole.service.account.rows(asked.operation, int(asked.arguments["MsgID"]))
    contacts = {row["EmailAddress"] for row in opens}
    said = f"OpenCount is {len(opens)}; the page has {len(opens)} rows, {len(contacts)} contacts."
    assert f"INFO {said}" in run.lines("INFO")


def test_the_forms_of_the_dates_are_told(make_tap: MakeTap) -> None:
    run = probe(tap_of(make_tap, small(offsets=True, event_dates="us")))
    assert "lists.CreateDate: dates have the format YYYY-MM-DDThh:mm:ssZ.\n" in run.err
    assert "message_opens.OpenDate: dates have the format M/D/YYYY h:mm:ss AM.\n" in run.err


def test_the_newest_date_beside_the_services_clock_tells_which_zones_fit(make_tap: MakeTap) -> None:
    account = small(lists=1, timezone="America/New_York")
    account.add_message(list_ids(account)[0], 42, NOW - timedelta(minutes=2))
    tap = tap_of(make_tap, account)
    headers = {"Date": "Wed, 01 Jul 2026 12:00:00 GMT"}
    tap.service.rules.append(lambda ask: replace(ask.honest(), headers=headers))
    run = probe(tap)
    assert "The newest date without an offset is 2026-07-01T07:58:00, in messages" in run.err
    assert "the service's clock shows 2026-07-01T12:00:00Z.\n" in run.err
    assert "zones: UTC (4:02:00 ago), America/New_York (0:02:00 ago).\n" in run.err
    assert not run.warnings()
    run = probe(tap, config={"timezone": "America/Denver"})
    assert run.warnings() == [
        "WARNING The config's timezone, America/Denver, puts that date in the future."
    ]


@pytest.mark.parametrize("date", ["", "soon", "Wed, 99 Jul 2026 12:00:00 GMT"])
def test_without_a_clock_no_zone_is_told(tap: Tap, date: str) -> None:
    tap.service.rules.append(lambda ask: replace(ask.honest(), headers={"Date": date}))
    run = probe(tap)
    assert run.code == 0
    assert "INFO Cannot check the time zone" in run.err


def test_unknown_fields_and_rows_without_a_key_are_named(tap: Tap) -> None:
    rows = (EMAIL, f"{EMAIL}<New>x</New>", "<OpenDate>x</OpenDate>")
    tap.answer(OPENS.operation, rows_of("message_opens", *rows))
    run = probe(tap)
    said = ("skipped 1 row without a key", "ignored unknown field New")
    assert run.warnings() == [f"WARNING message_opens: {each}." for each in said]
    assert run.code == 0
