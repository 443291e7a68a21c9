"""The streams beyond the published ones: what they request, and the values of their rows."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from fake_listrak import Account, Ask, Reply
from tap_listrak.streams import BY_NAME, PUBLISHED, STREAMS, Per
from tests.support import nights
from tests.support.accounts import LATER, later, list_ids, now, small
from tests.support.nights import REFUSED, fail_calls, heal, missing
from tests.support.published import COLUMNS, FURTHER
from tests.support.records import NO_DATE, all_rows
from tests.support.replies import rows_of
from tests.support.runs import set_aside, warnings
from tests.support.tap import MakeTap, Run, Tap, catalog_of

START = "2026-04-01"
ANALYTICS = BY_NAME["message_analytics"].operation
CONVERSATIONS = BY_NAME["conversations"].operation
COMPLAINTS = BY_NAME["complaints"].operation
# Of the account, which runs from April to June of 2026; they overlap by a second.
WINDOWS = [
    ("2026-03-31T23:59:59", "2026-05-01T00:00:00"),
    ("2026-04-30T23:59:59", "2026-05-31T00:00:00"),
    ("2026-05-30T23:59:59", "2026-06-30T00:00:00"),
    ("2026-06-29T23:59:59", "2026-07-01T12:00:00"),
]


def tap_for(make_tap: MakeTap, *streams: str, account: Account | None = None, **config: Any) -> Tap:
    """A tap of the small account (or another) that selects these streams, and requests in order."""
    return nights.tap_for(
        make_tap, *streams, account=account or small(), **{"start_date": START, **config}
    )


def next_run(tap: Tap, run: Run) -> Run:
    """The run three days later; the service then knows its calls alone."""
    tap.service.asked.clear()
    return tap.run(clock=later, state=run.state)


def calls(asked: list[Ask]) -> Counter[tuple[str, ...]]:
    """The calls, each with its arguments."""
    return Counter((ask.operation, *map("=".join, sorted(ask.arguments.items()))) for ask in asked)


def windows(tap: Tap, stream: str) -> list[tuple[str, str]]:
    """The windows that were requested of a stream, each once, in order."""
    asked = [ask.arguments for ask in nights.calls(tap, stream)]
    return list(dict.fromkeys((each["StartDate"], each["EndDate"]) for each in asked))


# A service that has the nine published operations alone.


def test_discovery_leaves_out_what_the_service_lacks(make_tap: MakeTap) -> None:
    tap = make_tap(small(), {"start_date": START}, wsdl="nine")
    run = tap.run("--discover", clock=now)
    assert run.code == 0
    assert run.out.count('"tap_stream_id"') == len(COLUMNS)
    further = [stream for stream in STREAMS if not stream.is_published]
    assert len(further) == len(FURTHER)
    for stream, warning in zip(further, run.lines("WARNING"), strict=True):
        assert f"{stream.name} is omitted from the catalog" in warning
        assert stream.operation in warning
    asked = Counter(ask.operation for ask in tap.service.asked)
    assert asked == {stream.operation: 1 for stream in PUBLISHED}


@pytest.mark.parametrize("stream", ["list_hygiene", "conversation_opens", "complaints"])
def test_a_selected_stream_that_the_service_lacks_ends_the_run_before_any_call(
    stream: str, make_tap: MakeTap
) -> None:
    tap = make_tap(small(), {"start_date": START}, wsdl="nine")
    run = tap.run(clock=now, catalog=catalog_of("lists", stream))
    assert run.code == 1
    assert run.out == ""
    (critical,) = run.lines("CRITICAL")
    assert f"{stream} needs {BY_NAME[stream].operation}" in critical
    assert tap.service.asked == []
    assert tap.service.wsdl_requests == 1


@pytest.mark.parametrize("flags", [(), ("--discover",)])
def test_a_service_that_lacks_a_published_operation_is_an_error(
    flags: tuple[str, ...], make_tap: MakeTap
) -> None:
    tap = make_tap(small(), {"start_date": START})

    def without_opens(ask: Ask) -> Reply | None:
        if ask.operation != "WSDL":
            return None
        body = ask.honest().body
        return Reply(body.replace(b'ReportRangeMessageContactOpen"', b'SomethingElse"'))

    tap.service.rules.append(without_opens)
    run = tap.run(*flags, clock=now)
    assert run.code == 1
    assert run.out == ""
    (critical,) = run.lines("CRITICAL")
    assert "it lacks ReportRangeMessageContactOpen" in critical
    assert tap.service.asked == []


# Analytics, of many messages at once.


def batches(asked: list[Ask]) -> list[list[str]]:
    """The MsgIDs of each call for analytics."""
    return [ask.arguments["MsgIDs"].split(",") for ask in asked if ask.operation == ANALYTICS]


@pytest.fixture
def analytics(make_tap: MakeTap) -> Tap:
    """A tap for the analytics of one list of seven messages."""
    return tap_for(make_tap, "message_analytics", account=small(lists=1, messages=7))


def a_message(tap: Tap) -> int:
    """A message in the midst of the account's first list, which has analytics."""
    account = tap.service.account
    MsgIDs = sorted(int(str(row["MsgID"])) for row in account.messages(list_ids(account)[0]))
    return next(each for each in MsgIDs[3:] if account.has_analytics(each))


def test_one_call_requests_the_analytics_of_2500_messages_at_most(make_tap: MakeTap) -> None:
    account = small(lists=1, messages=2501, contacts=0, sends=0)
    tap = tap_for(make_tap, "message_analytics", account=account)
    assert tap.run(clock=now).code == 0
    one, other = batches(tap.service.asked)
    assert (len(one), len(other), len({*one, *other})) == (2500, 1, 2501)


def test_each_list_has_its_own_call_for_analytics(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_analytics")
    assert tap.run(clock=now).code == 0
    assert [len(batch) for batch in batches(tap.service.asked)] == [4, 4]


@pytest.mark.parametrize("unknown", ["refused", "missing"])
def test_a_message_whose_analytics_are_not_in_the_reply_is_no_error(
    unknown: Any, make_tap: MakeTap
) -> None:
    account = small(unknown_messages=unknown)
    tap = tap_for(make_tap, "message_analytics", account=account)
    run = tap.run(clock=now)
    assert run.code == 0
    assert not run.lines("WARNING")
    assert set_aside(run) == []
    assert len(run.records("message_analytics")) < 2 * 4
    assert missing(tap, run) == {}


@pytest.mark.parametrize("is_spoilt", [False, True])
def test_analytics_that_fail_are_halved_down_to_the_message_that_fails(
    analytics: Tap, is_spoilt: bool
) -> None:
    odd = a_message(analytics)

    def spoil(ask: Ask) -> Reply | None:
        if ask.operation != ANALYTICS:
            return None
        honest = ask.honest()
        date = rf"(?<=<MsgID>{odd}</MsgID><SendDate>)[^<]*"
        return replace(honest, body=re.sub(date.encode(), b"robot", honest.body))

    def names_it(ask: Ask) -> bool:
        return str(odd) in ask.arguments.get("MsgIDs", "").split(",")

    if is_spoilt:
        analytics.service.rules.append(spoil)
    else:
        fail_calls(analytics, names_it, REFUSED)
    first = analytics.run(clock=now)
    assert first.code == 0
    sizes = [len(batch) for batch in batches(analytics.service.asked) if str(odd) in batch]
    assert (sizes[0], sizes[-1]) == (7, 1)
    assert all(half <= (whole + 1) // 2 for whole, half in itertools.pairwise(sizes))
    assert missing(analytics, first) == {"message_analytics": 1}
    (warning,) = warnings(first, "Skipped in this run")
    assert f"message {odd}" in warning
    assert "robot" not in first.err
    heal(analytics)
    assert missing(analytics, next_run(analytics, first)) == {}
    assert [len(batch) for batch in batches(analytics.service.asked)] == [7]


# Complaints, of the account.


def test_complaints_are_requested_last_once_for_the_account_in_windows_of_30_days(
    make_tap: MakeTap,
) -> None:
    tap = make_tap(small(), {"start_date": START, "concurrency": 1}).selecting_all()
    run = tap.run(clock=now)
    assert run.code == 0
    asked = [ask for ask in tap.service.asked if ask.operation == COMPLAINTS]
    assert tap.service.asked[-len(asked) :] == asked
    assert set(calls(asked).values()) == {1}
    assert windows(tap, "complaints") == WINDOWS


def test_with_list_ids_only_complaints_about_those_lists_come(make_tap: MakeTap) -> None:
    account = small()
    one, other = list_ids(account)
    tap = tap_for(make_tap, "complaints", account=account)
    first = tap.run(clock=now, config={"list_ids": [one]})
    assert {record["ListID"] for record in first.records("complaints")} == {one}
    # The others come once they are no longer left out.
    second = tap.run(clock=later, state=first.state)
    assert other in {record["ListID"] for record in second.records("complaints")}
    assert missing(tap, first, second) == {}


# Conversations.


def test_conversations_that_were_terminated_come_with_their_events(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, *(name for name in FURTHER if name.startswith("conversation")))
    account = tap.service.account
    run = tap.run(clock=now)
    assert run.code == 0
    asked = [ask for ask in tap.service.asked if "IncludeTerminated" in ask.arguments]
    assert {ask.arguments["IncludeTerminated"] for ask in asked} == {"true"}
    terminated = {
        ConversationID
        for ListID in list_ids(account)
        for ConversationID in account.conversation_ids(ListID)
        if str(ConversationID)
        not in {row["ConversationID"] for row in account.whole(CONVERSATIONS, ListID, None, False)}
    }
    assert len(terminated) == 2
    for stream in ("conversations", "conversation_opens", "conversation_links"):
        assert terminated <= {record["ConversationID"] for record in run.records(stream)}


# Of a list, at once or in windows.


@pytest.mark.parametrize(
    "stream", [each.name for each in STREAMS if each.per is Per.LIST and not each.dated]
)
def test_what_has_no_pages_takes_one_call_for_each_list(stream: str, make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, stream)
    run = tap.run(clock=now)
    assert run.code == 0
    assert Counter(ask.operation for ask in tap.service.asked) == {
        BY_NAME["lists"].operation: 1,
        BY_NAME[stream].operation: 2,
    }
    assert missing(tap, run) == {}


@pytest.mark.parametrize("stream", ["list_unsubs", "list_hygiene"])
def test_what_a_list_has_in_pages_is_requested_in_windows_of_30_days(
    stream: str, make_tap: MakeTap
) -> None:
    tap = tap_for(make_tap, stream, account=small(lists=1))
    run = tap.run(clock=now)
    assert (run.code, windows(tap, stream), missing(tap, run)) == (0, WINDOWS, {})


def test_imports_are_requested_as_far_back_as_listrak_keeps_them(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "imports", account=small(lists=1, start=datetime(2026, 6, 2)))
    first = tap.run(clock=now)
    assert windows(tap, "imports") == [("2026-05-31T11:59:59", "2026-07-01T12:00:00")]
    assert (first.code, missing(tap, first)) == (0, {})
    next_run(tap, first)
    assert windows(tap, "imports") == [("2026-06-30T11:59:59", "2026-07-04T16:05:06")]


def test_deliveries_are_requested_whole_in_windows_of_interval_days(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_deliveries", account=small(lists=1), interval_days=60)
    second = next_run(tap, tap.run(clock=now))
    assert windows(tap, "message_deliveries") == [
        ("2026-03-31T23:59:59", "2026-05-31T00:00:00"),
        ("2026-05-30T23:59:59", "2026-07-04T16:05:06"),
    ]
    assert (second.code, missing(tap, second)) == (0, {})


def test_deliveries_leave_test_messages_out_where_the_config_says_so(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_deliveries", account=small(messages=6))
    account = tap.service.account
    run = tap.run(clock=now, config={"include_test_messages": False})
    MsgIDs = {int(str(row["MsgID"])) for _, _, row in all_rows(account, ["messages"])}
    real = {MsgID for MsgID in MsgIDs if not account.is_test(MsgID)}
    assert {record["MsgID"] for record in run.records("message_deliveries")} == real < MsgIDs


@pytest.mark.parametrize(
    "stream",
    [name for name in FURTHER if BY_NAME[name].replication_key and BY_NAME[name].dated],
)
def test_a_second_run_requests_from_the_bookmark_less_the_lookback(
    stream: str, make_tap: MakeTap
) -> None:
    tap = tap_for(make_tap, stream, lookback_days=2)
    key = str(BY_NAME[stream].replication_key)
    first = tap.run(clock=now)
    assert first.state["bookmarks"][stream][key] == "2026-07-01T12:00:00Z"
    second = next_run(tap, first)
    assert second.code == 0
    starts = {start for start, _ in windows(tap, stream)}
    is_window = BY_NAME[stream].parent in (None, BY_NAME["lists"])
    assert starts == {"2026-06-29T11:59:59" if is_window else "2026-06-29T12:00:00"}
    assert second.state["bookmarks"][stream][key] == f"{LATER:%Y-%m-%dT%H:%M:%S}Z"


@pytest.mark.parametrize(
    "stream", [name for name in FURTHER if BY_NAME[name].replication_key == "AskedUntil"]
)
def test_totals_to_date_come_whole_in_each_run(make_tap: MakeTap, stream: str) -> None:
    tap = tap_for(make_tap, stream)
    first = tap.run(clock=now)
    assert first.state["bookmarks"][stream]["AskedUntil"] == "2026-07-01T12:00:00Z"
    second = next_run(tap, first)
    assert missing(tap, first) == missing(tap, second) == {}


# Values.

KEY_DATES = {
    "list_unsubs": "RemovalDate",
    "list_hygiene": "HygieneDate",
    "message_passalongs": "PassAlongDate",
    "conversation_sends": "SendDate",
    "conversation_opens": "OpenDate",
    "conversation_reads": "ReadDate",
    "conversation_bounces": "BounceDate",
    "conversation_unsubs": "RemoveDate",
    "complaints": "AbuseDate",
}
# What a row of each has besides its date.
OTHERS = (
    "<MsgID>1</MsgID><ListID>2</ListID><MessageID>3</MessageID><ContactID>4</ContactID>"
    "<EmailAddress>e</EmailAddress><FromEmailAddress>f</FromEmailAddress>"
    "<ToEmailAddress>g</ToEmailAddress>"
)


def first_records(make_tap: MakeTap, stream: str, *rows: str, **config: Any) -> list[Any]:
    """The records of a stream whose first page, for every parent, holds these rows."""
    account = small(lists=1, messages=1, conversations=1)
    tap = tap_for(make_tap, stream, account=account, **{"start_date": "2026-06-25", **config})
    account.add_message(list_ids(account)[0], 42, datetime(2026, 6, 28))
    operation = BY_NAME[stream].operation
    tap.service.rules.append(
        lambda ask: (
            rows_of(stream, *rows)
            if ask.operation == operation and ask.arguments["Page"] == "1"
            else rows_of(stream)
            if ask.operation == operation
            else None
        )
    )
    run = tap.run(clock=now)
    assert run.code == 0, run.err
    return run.records(stream)


@pytest.mark.parametrize(("stream", "column"), KEY_DATES.items())
def test_an_absent_date_of_a_key_is_the_first_of_1970(
    stream: str, column: str, make_tap: MakeTap
) -> None:
    assert column in BY_NAME[stream].key_properties
    absent = ("", f"<{column} />", f"<{column}>0001-01-01T00:00:00</{column}>")
    records = first_records(make_tap, stream, *(OTHERS + each for each in absent))
    assert {record[column] for record in records} == {NO_DATE}


@pytest.mark.parametrize(
    ("stream", "column"), [*KEY_DATES.items(), ("list_hygiene", "AddDate")], ids=str
)
def test_dates_are_in_utc_also_those_that_come_as_text(
    stream: str, column: str, make_tap: MakeTap
) -> None:
    sent = ("6/30/2026 11:30:05 PM", "2026-06-30T23:30:05.5")
    rows = (f"{OTHERS}<{column}>{each}</{column}>" for each in sent)
    records = first_records(make_tap, stream, *rows, timezone="America/New_York")
    due = {"2026-07-01T03:30:05Z", "2026-07-01T03:30:05.5Z"}
    assert {record[column] for record in records} == due


def test_a_text_that_is_no_date_sets_its_window_aside(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "list_hygiene")
    one, _ = list_ids(tap.service.account)
    tap.service.account.add_row(BY_NAME["list_hygiene"].operation, one, "robot")
    run = tap.run(clock=now)
    assert run.code == 0
    # It is in no window, and so in all.
    assert {(each["stream"], each["list_id"]) for each in set_aside(run)} == {("list_hygiene", one)}
    assert "HygieneDate" in run.err
    assert "robot" not in run.err


@pytest.mark.parametrize(
    ("stream", "column"),
    [
        (name, column)
        for name in FURTHER
        for column in BY_NAME[name].key_properties
        if column.endswith("EmailAddress")
    ],
)
def test_an_absent_text_of_a_key_is_empty(make_tap: MakeTap, stream: str, column: str) -> None:
    row = re.sub(f"<{column}>.*?</{column}>", "", OTHERS)
    assert {each[column] for each in first_records(make_tap, stream, row)} == {""}


def test_a_conversation_with_the_id_of_a_message_is_a_conversation(make_tap: MakeTap) -> None:
    account = small(lists=1)
    (ListID,) = list_ids(account)
    MsgID = max(int(str(row["MsgID"])) for row in account.messages(ListID))
    account.add_conversation(ListID, MsgID, datetime(2026, 6, 1))
    account.add_row("ReportConversationContactOpen", MsgID, datetime(2026, 6, 2))
    tap = tap_for(make_tap, "message_opens", "conversations", "conversation_opens", account=account)
    run = tap.run(clock=now)
    for stream in ("conversations", "conversation_opens"):
        assert MsgID in {each["ConversationID"] for each in run.records(stream)}
