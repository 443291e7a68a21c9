"""--test requests one page of each stream, and reports on stderr what was returned."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fake_listrak import Ask, Reply, fault, html
from tap_listrak.dates import form_of
from tap_listrak.listrak.client import ListrakClient
from tap_listrak.listrak.faults import Condition, make_error
from tap_listrak.listrak.soap import Contract
from tap_listrak.streams import BY_NAME, MESSAGES, PUBLISHED, STREAMS, Stream
from tests.support.accounts import NOW, list_ids, small
from tests.support.replies import EMAIL, rows_of
from tests.support.tap import MakeTap, Run, Tap, selecting

Answer = Callable[[Ask], Reply]
OPENS = BY_NAME["message_opens"]
REFUSAL = fault("Op(): [Security] [AccessDenied] No access")


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap for an account with messages in the newest window, by a clock of their time."""
    return make_tap(small(), {"start_date": "2026-04-01"}).selecting_all()


def probe(tap: Tap, flag: str = "--test", **files: Any) -> Run:
    run = tap.run(flag, clock=NOW, **files)
    assert run.out == ""
    assert tap.waits == []
    return run


def with_date(date: str) -> Answer:
    """Answer with this Date, or with none if it is empty."""
    return lambda ask: replace(ask.honest(), headers={"Date": date})


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
    assert any("A call took 0." in line for line in run.lines("INFO"))


def test_nothing_of_a_contact_is_told(tap: Tap) -> None:
    row = f"{EMAIL}<OpenDate>at home@example.com 2026-06-30T</OpenDate>"
    tap.answer(OPENS.operation, rows_of("message_opens", row))
    run = probe(tap)
    account = tap.service.account
    contacts = [row for ListID in list_ids(account) for row in account.contacts(ListID)]
    assert not [row for row in contacts if str(row["EmailAddress"]) in run.err]
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
    ("page_size", "end"),
    [(100, "12 rows, 9 contacts."), (5, "5 rows, 5 contacts; more may follow.")],
)
def test_a_count_is_told_beside_what_came(make_tap: MakeTap, page_size: int, end: str) -> None:
    account = small(lists=1, messages=0, page_size=page_size)
    (ListID,) = list_ids(account)
    account.add_message(ListID, 77, NOW - timedelta(days=1))
    for number in range(12):
        email = f"contact{number % 9}@example.com"
        account.add_event(OPENS.operation, 77, email, NOW - timedelta(hours=12 - number))
    run = probe(make_tap(account, {"start_date": "2026-04-01"}))
    assert f"INFO OpenCount is 12; the page has {end}" in run.lines("INFO")


def test_without_a_parent_no_child_is_asked(tap: Tap) -> None:
    tap.answer(MESSAGES.operation, REFUSAL)
    run = probe(tap)
    assert run.code == 3
    of_messages = [stream for stream in STREAMS if stream.parent is MESSAGES]
    for stream in of_messages:
        assert "skipped, because messages returned no rows" in told(run, stream)
    assert not {ask.operation for ask in tap.service.asked} & {
        stream.operation for stream in of_messages
    }


@pytest.mark.parametrize("shape", [{"lists": 0}, {"messages": 0}], ids=str)
def test_a_parent_without_a_row_is_no_failure(make_tap: MakeTap, shape: dict[str, int]) -> None:
    run = probe(make_tap(small(**shape), {"start_date": "2026-04-01"}))
    assert run.code == 0
    assert "returned no rows" in run.err


def test_a_refused_logon_ends_the_test_by_one_call(tap: Tap) -> None:
    run = probe(tap, config={"password": "not it"})
    assert run.code == 3
    assert len(run.lines("CRITICAL")) == len(tap.service.asked) == 1


@pytest.mark.parametrize("how", ["catalog", "select"])
def test_only_what_is_selected_and_its_parents_are_requested(tap: Tap, how: str) -> None:
    catalog = selecting(tap.discover(), "message_clicks") if how == "catalog" else None
    tap.catalog, config = None, {"select": "message_clicks"} if how == "select" else {}
    tap.service.asked.clear()
    assert probe(tap, catalog=catalog, config=config).code == 0
    names = ("lists", "messages", "message_clicks")
    assert [ask.operation for ask in tap.service.asked] == [BY_NAME[n].operation for n in names]


def test_without_a_catalog_a_further_stream_that_is_absent_is_no_failure(make_tap: MakeTap) -> None:
    tap = make_tap(small(), {"start_date": "2026-04-01"}, wsdl="nine")
    run = probe(tap)
    assert run.code == 0
    assert len({ask.operation for ask in tap.service.asked}) == len(PUBLISHED)
    refused = probe(tap.selecting_all())
    assert refused.code == 1


def test_the_first_list_of_list_ids_is_asked(tap: Tap) -> None:
    last = tap.list_ids[-1]
    assert probe(tap, config={"list_ids": [last]}).code == 0
    asked = {ask.arguments["ListID"] for ask in tap.service.asked if "ListID" in ask.arguments}
    assert asked == {str(last)}
    run = probe(tap, config={"list_ids": [4711]})
    assert run.code == 1
    assert "list_ids" in run.lines("CRITICAL")[0]


def test_the_message_asked_by_is_one_with_most_rows(tap: Tap) -> None:
    probe(tap)
    (first, *_) = tap.list_ids
    counts = {
        str(row["MsgID"]): sum(
            int(str(row[stream.count_column])) for stream in STREAMS if stream.count_column
        )
        for row in tap.service.account.messages(first)
    }
    (asked,) = {ask.arguments["MsgID"] for ask in tap.service.asked if "MsgID" in ask.arguments}
    assert counts[asked] == max(counts.values())


def test_the_rows_of_a_full_page_are_told(tap: Tap, make_tap: MakeTap) -> None:
    assert re.search(r"INFO A full page has 7 rows \(\w+, about \d+ in total\)", probe(tap).err)
    small_ones = make_tap(small(page_size=500), {"start_date": "2026-04-01"})
    assert "INFO No page is known to be full; the largest has " in probe(small_ones).err


@pytest.mark.parametrize(
    ("shape", "column", "form"),
    [
        ({"offsets": True}, "messages.SendDate", "YYYY-MM-DDThh:mm:ssZ"),
        ({"event_dates": "us"}, "message_opens.OpenDate", "M/D/YYYY h:mm:ss AM"),
    ],
    ids=str,
)
def test_the_forms_of_the_dates_are_told(
    make_tap: MakeTap, shape: dict[str, Any], column: str, form: str
) -> None:
    run = probe(make_tap(small(**shape), {"start_date": "2026-04-01"}))
    (line,) = [line for line in run.lines("INFO") if f"{column}: dates have the format " in line]
    assert form in line


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2026-07-01T12:00:00", "YYYY-MM-DDThh:mm:ss"),
        (" 2026-07-01T12:00:00.1234567 ", "YYYY-MM-DDThh:mm:ss.f"),
        ("2026-07-01T12:00:00Z", "YYYY-MM-DDThh:mm:ssZ"),
        ("2026-07-01T12:00:00.5-04:00", "YYYY-MM-DDThh:mm:ss.f±hh:mm"),
        ("2026-07-01T12:00:00+0400", "YYYY-MM-DDThh:mm:ss±hh:mm"),
        ("7/1/2026 12:00:00 PM", "M/D/YYYY h:mm:ss AM"),
        ("01.07.2026 at 12:00_é", "99.99.9999 aa 99:99_a"),
        ("x" * 100, "a" * 40),
    ],
)
def test_the_form_of_a_date_is_told_without_the_date(text: str, form: str) -> None:
    assert form_of(text) == form


def test_the_newest_date_beside_the_services_clock_tells_which_zones_fit(make_tap: MakeTap) -> None:
    account = small(lists=1, timezone="America/New_York")
    account.add_message(list_ids(account)[0], 42, NOW - timedelta(minutes=2))
    tap = make_tap(account, {"start_date": "2026-04-01"})
    tap.service.rules.append(with_date("Wed, 01 Jul 2026 12:00:00 GMT"))
    run = probe(tap)
    assert (
        "INFO The newest date without an offset is 2026-07-01T07:58:00, in messages; the service's "
        "clock shows 2026-07-01T12:00:00Z." in run.lines("INFO")
    )
    fitting = "UTC (4:02:00 ago), America/New_York (0:02:00 ago)"
    assert f"INFO Possible time zones: {fitting}." in run.lines("INFO")
    assert not run.warnings()
    run = probe(tap, config={"timezone": "America/Denver"})
    assert run.warnings() == [
        "WARNING The config's timezone, America/Denver, puts that date in the future."
    ]


@pytest.mark.parametrize("date", ["", "soon", "Wed, 99 Jul 2026 12:00:00 GMT"])
def test_without_a_clock_no_zone_is_told(tap: Tap, date: str) -> None:
    tap.service.rules.append(with_date(date))
    run = probe(tap)
    assert run.code == 0
    assert "INFO Cannot check the time zone" in run.err


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (f"{EMAIL}<New>x</New>", "ignored unknown field New."),
        ("<OpenDate>x</OpenDate>", "skipped 1 row without a key."),
    ],
)
def test_unknown_fields_and_rows_without_a_key_are_named(tap: Tap, row: str, said: str) -> None:
    tap.answer(OPENS.operation, rows_of("message_opens", EMAIL, row))
    run = probe(tap)
    assert run.code == 0
    assert run.warnings() == [f"WARNING message_opens: {said}"]


def test_an_operation_that_cannot_be_called_fails_its_stream_alone(
    tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_request, lacking = Contract.build_request, STREAMS[4].operation

    def build(self: Contract, operation: str, arguments: dict[str, Any]) -> Any:
        if operation == lacking:
            raise make_error(Condition.CONTRACT, f"it lacks {operation}")
        return build_request(self, operation, arguments)

    monkeypatch.setattr(Contract, "build_request", build)
    others = frozenset(stream.operation for stream in STREAMS) - {lacking}
    monkeypatch.setattr(ListrakClient, "load_operations", lambda self: others)
    run = probe(tap)
    assert run.code == 1
    failed, missing = run.warnings()
    assert failed.startswith(f"WARNING {STREAMS[4].name} failed. ")
    assert missing == f"WARNING Operations missing from the WSDL: {lacking}."
    assert run.lines("CRITICAL")[0].endswith(f": {STREAMS[4].name}.")
