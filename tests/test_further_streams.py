"""The streams beyond the published ones: what they ask, and what a failure of theirs costs."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from fake_listrak import Account, Ask, Reply, Rule, fault, html
from tap_listrak.streams import BY_NAME, PUBLISHED, STREAMS
from tests.support.accounts import LATER, later, list_ids, now, small
from tests.support.published import COLUMNS, FURTHER
from tests.support.records import NO_DATE, all_due, all_emitted, all_rows
from tests.support.replies import rows_of
from tests.support.runs import asked_in, debts, debts_of
from tests.support.tap import MakeTap, Run, Tap, catalog_of

START = "2026-04-01"
ANALYTICS = BY_NAME["message_analytics"].operation
COMPLAINTS = BY_NAME["complaints"].operation
CONVERSATIONS = BY_NAME["conversations"].operation
OPENS = BY_NAME["conversation_opens"].operation
LOCKED = fault("Op(): [Message] [Locked] It is locked")
# Of the account, which runs from April to June of 2026.
WINDOWS = [
    ("2026-04-01T00:00:00", "2026-05-01T00:00:00"),
    ("2026-05-01T00:00:00", "2026-05-31T00:00:00"),
    ("2026-05-31T00:00:00", "2026-06-30T00:00:00"),
    ("2026-06-30T00:00:00", "2026-07-01T12:00:00"),
]


def tap_for(make_tap: MakeTap, *streams: str, account: Account | None = None, **config: Any) -> Tap:
    """A tap of the small account (or another) that selects these streams, and asks in order."""
    tap = make_tap(account or small(), {"start_date": START, "concurrency": 1, **config})
    tap.catalog = catalog_of(*streams)
    return tap


def refusing(operation: str, reply: Reply = LOCKED, **arguments: str) -> Rule:
    """Refuse the calls of an operation that have these arguments."""

    def rule(ask: Ask) -> Reply | None:
        is_meant = ask.operation == operation and arguments.items() <= ask.arguments.items()
        return reply if is_meant else None

    return rule


def missing(tap: Tap, *runs: Run) -> Counter[str]:
    """How many of the records that are due did not come, by stream that was synced."""
    due = all_due(tap.service.account)
    synced = {each["stream"] for run in runs for each in run.of_type("SCHEMA")}
    came = {name: sum((all_emitted(run)[name] for run in runs), Counter()) for name in synced}
    return Counter({name: (due[name] - came[name]).total() for name in synced})


def calls(asked: list[Ask]) -> Counter[tuple[str, ...]]:
    """The calls, each with its arguments."""
    return Counter((ask.operation, *map("=".join, sorted(ask.arguments.items()))) for ask in asked)


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


@pytest.mark.parametrize("stream", FURTHER)
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


def test_where_no_further_stream_is_selected_calls_and_rows_are_those_of_the_published(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, *COLUMNS)
    bare = make_tap(small(), {"start_date": START}, wsdl="nine")
    run, run_of_bare = tap.run(clock=now), bare.run(clock=now, catalog=None)
    assert run.code == run_of_bare.code == 0
    assert calls(tap.service.asked) == calls(bare.service.asked)
    assert [each for each in run.messages if each["type"] != "STATE"] == [
        each for each in run_of_bare.messages if each["type"] != "STATE"
    ]
    due = all_due(tap.service.account)
    assert {name: rows for name, rows in all_emitted(run).items() if rows} == {
        name: due[name] for name in COLUMNS
    }


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


def test_one_call_asks_for_the_analytics_of_2500_messages_at_most(make_tap: MakeTap) -> None:
    account = small(lists=1, messages=2600, contacts=0, sends=0)
    tap = tap_for(make_tap, "message_analytics", account=account, interval_days=10)
    run = tap.run(clock=now)
    assert run.code == 0
    assert [len(batch) for batch in batches(tap.service.asked)] == [2500, 100]
    assert len({MsgID for batch in batches(tap.service.asked) for MsgID in batch}) == 2600
    assert all_emitted(run)["message_analytics"] == all_due(account)["message_analytics"]


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
    assert debts(run) == []
    assert len(run.records("message_analytics")) < 2 * 4
    assert missing(tap, run).total() == 0


def refuse_analytics(tap: Tap, MsgID: int, reply: Reply = LOCKED) -> None:
    """Refuse every call for analytics that asks for a message."""

    def rule(ask: Ask) -> Reply | None:
        names = ask.arguments.get("MsgIDs", "").split(",")
        return reply if str(MsgID) in names else None

    tap.service.rules[:] = [rule]


def test_analytics_that_are_refused_are_halved_down_to_the_message_that_is_set_aside(
    analytics: Tap,
) -> None:
    odd = a_message(analytics)
    refuse_analytics(analytics, odd)
    first, asked = asked_in(analytics, clock=now)
    assert first.code == 0
    with_odd = [len(batch) for batch in batches(asked) if str(odd) in batch]
    assert with_odd[0] == 7
    assert with_odd[-1] == 1
    assert all(half <= (whole + 1) // 2 for whole, half in itertools.pairwise(with_odd))
    assert missing(analytics, first) == {"message_analytics": 1}
    (owed,) = debts(first)
    assert (owed["stream"], owed["MsgID"]) == ("message_analytics", odd)
    assert owed["ListID"] == list_ids(analytics.service.account)[0]
    assert len([line for line in first.lines("WARNING") if "Set aside" in line]) == 1

    # The next run asks for it first, once, and for the others at once.
    refuse_analytics(analytics, odd, html(404))
    second, asked = asked_in(analytics, clock=later, state=first.state)
    assert second.code == 0
    assert [ask.operation for ask in asked][1] == ANALYTICS
    assert [len(batch) for batch in batches(asked)] == [1, 6]
    assert batches(asked)[0] == [str(odd)]
    (owed_still,) = debts(second)
    assert owed_still == {**owed, "end": f"{LATER:%Y-%m-%dT%H:%M:%S}Z"}

    analytics.service.rules.clear()
    third = analytics.run(clock=later, state=second.state)
    assert third.code == 0
    assert debts(third) == []
    assert missing(analytics, third).total() == 0


def test_a_value_that_cannot_be_read_sets_its_message_of_the_analytics_aside(
    analytics: Tap,
) -> None:
    odd = a_message(analytics)

    def spoil(ask: Ask) -> Reply | None:
        if ask.operation != ANALYTICS:
            return None
        honest = ask.honest()
        date = rf"(?<=<MsgID>{odd}</MsgID><SendDate>)[^<]*"
        return replace(honest, body=re.sub(date.encode(), b"robot", honest.body))

    analytics.service.rules.append(spoil)
    run = analytics.run(clock=now)
    assert run.code == 0
    assert "robot" not in run.err
    assert missing(analytics, run) == {"message_analytics": 1}
    assert [owed["MsgID"] for owed in debts(run)] == [odd]
    (told,) = [line for line in run.lines("WARNING") if "Set aside" in line]
    assert "SendDate" in told


def test_analytics_of_which_none_comes_end_the_run(analytics: Tap) -> None:
    analytics.service.rules.append(refusing(ANALYTICS))
    run = analytics.run(clock=now)
    assert run.code == 3
    assert len(run.lines("CRITICAL")) == 1
    # Five in a row are enough.
    assert len(debts_of(run.state)) == 5
    analytics.service.rules.clear()
    rest = analytics.run(clock=later, state=run.state)
    assert rest.code == 0
    assert missing(analytics, run, rest).total() == 0
    assert debts(rest) == []


# Complaints, of the account.


def test_complaints_are_asked_for_last_once_for_the_account_in_windows_of_30_days(
    make_tap: MakeTap,
) -> None:
    tap = make_tap(small(), {"start_date": START, "concurrency": 1}).selecting_all()
    run = tap.run(clock=now)
    assert run.code == 0
    asked = [ask for ask in tap.service.asked if ask.operation == COMPLAINTS]
    assert tap.service.asked[-len(asked) :] == asked
    assert set(calls(asked).values()) == {1}
    windows = [(ask.arguments["StartDate"], ask.arguments["EndDate"]) for ask in asked]
    assert list(dict.fromkeys(windows)) == WINDOWS


def test_complaints_are_not_filtered_by_list_ids(make_tap: MakeTap) -> None:
    account = small()
    one, other = list_ids(account)
    tap = tap_for(make_tap, "lists", "complaints", account=account, list_ids=[one])
    run = tap.run(clock=now)
    assert [record["ListID"] for record in run.records("lists")] == [one]
    assert other in {record["ListID"] for record in run.records("complaints")}
    assert all_emitted(run)["complaints"] == all_due(account)["complaints"]
    assert run.state["bookmarks"]["complaints"]["covers"] == {"start_date": "2026-04-01T00:00:00Z"}


def test_complaints_that_fail_are_owed_by_the_account(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "lists", "complaints")
    # The second window; with it goes what follows.
    tap.service.rules.append(refusing(COMPLAINTS, StartDate=WINDOWS[1][0]))
    first = tap.run(clock=now)
    assert first.code == 3
    assert len(first.lines("CRITICAL")) == 1
    (owed,) = debts(first)
    assert owed["ListID"] is None
    assert (owed["start"], owed["end"]) == ("2026-05-01T00:00:00Z", "2026-07-01T12:00:00Z")
    tap.service.rules.clear()
    second, asked = asked_in(tap, clock=later, state=first.state)
    assert second.code == 0
    assert asked[1].arguments["StartDate"] == WINDOWS[1][0]
    assert debts(second) == []
    assert missing(tap, first, second).total() == 0


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


def test_conversations_that_cannot_be_listed_end_the_run(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "conversation_opens", "complaints")
    one, other = list_ids(tap.service.account)
    tap.service.rules.append(refusing(CONVERSATIONS, ListID=str(other)))
    run = tap.run(clock=now)
    assert run.code == 3
    (critical,) = run.lines("CRITICAL")
    assert "conversations" in critical
    assert run.messages[-1]["type"] == "STATE"
    assert debts_of(run.state) == []
    assert run.state["bookmarks"]["conversation_opens"]["offset"]["ListIDs"] == [one]
    tap.service.rules.clear()
    rest = tap.run(clock=now, state=run.state)
    assert rest.code == 0
    assert missing(tap, run, rest).total() == 0


def test_a_conversation_of_which_a_stream_fails_is_set_aside_for_that_stream(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, "conversations", "conversation_opens", "conversation_reads")
    account = tap.service.account
    odd = next(
        int(str(row["ConversationID"]))
        for name, _, row in all_rows(account, ["conversations"])
        if account.rows(OPENS, int(str(row["ConversationID"])))
    )
    tap.service.rules.append(refusing(OPENS, html(404), ConversationID=str(odd)))
    first = tap.run(clock=now)
    assert first.code == 0
    assert +missing(tap, first) == {"conversation_opens": len(account.rows(OPENS, odd))}
    (owed,) = debts(first)
    assert (owed["stream"], owed["ConversationID"]) == ("conversation_opens", odd)
    assert "MsgID" not in owed

    second, asked = asked_in(tap, clock=later, state=first.state)
    assert second.code == 0
    tries = [ask for ask in asked if ask.arguments.get("ConversationID") == str(odd)]
    assert asked[1] is tries[0]
    assert [ask.operation for ask in tries].count(OPENS) == 1
    assert debts(second) == [{**owed, "end": f"{LATER:%Y-%m-%dT%H:%M:%S}Z"}]

    tap.service.rules.clear()
    third = tap.run(clock=later, state=second.state)
    assert third.code == 0
    assert debts(third) == []
    assert missing(tap, first, second, third).total() == 0


def test_a_conversation_set_aside_that_vanished_is_given_up_after_thirty_days(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, "conversation_opens")
    account = tap.service.account
    odd = account.conversation_ids(list_ids(account)[0])[0]
    tap.service.rules.append(refusing(OPENS, ConversationID=str(odd)))
    run = tap.run(clock=now)
    account.hide_conversation(odd)
    for days in (1, 30):
        run = tap.run(clock=lambda: LATER + timedelta(days=days), state=run.state)  # noqa: B023 - called within the loop
        assert [owed["ConversationID"] for owed in debts(run)] == [odd]
        assert "given up" not in run.err
    run = tap.run(clock=lambda: LATER + timedelta(days=31), state=run.state)
    assert run.code == 0
    assert debts(run) == []
    (told,) = [line for line in run.lines("WARNING") if "given up" in line]
    assert f"conversation {odd}" in told


# Of a list, at once or in windows.


@pytest.mark.parametrize(
    "stream", ["campaigns", "transactional_messages", "conversations", "conversation_deliveries"]
)
def test_what_has_no_pages_takes_one_call_for_each_list(stream: str, make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, stream)
    run = tap.run(clock=now)
    assert run.code == 0
    assert Counter(ask.operation for ask in tap.service.asked) == {
        BY_NAME["lists"].operation: 1,
        BY_NAME[stream].operation: 2,
    }
    assert missing(tap, run).total() == 0


@pytest.mark.parametrize("stream", ["list_unsubs", "list_hygiene", "imports"])
def test_what_a_list_has_in_pages_is_asked_for_in_windows_of_30_days(
    stream: str, make_tap: MakeTap
) -> None:
    account = small(lists=1)
    tap = tap_for(make_tap, stream, account=account)
    run = tap.run(clock=now)
    assert run.code == 0
    asked = [ask.arguments for ask in tap.service.asked if "StartDate" in ask.arguments]
    windows = [(arguments["StartDate"], arguments["EndDate"]) for arguments in asked]
    assert list(dict.fromkeys(windows)) == WINDOWS
    assert missing(tap, run).total() == 0


def test_deliveries_are_asked_for_whole_in_windows_of_interval_days(make_tap: MakeTap) -> None:
    account = small(lists=1)
    tap = tap_for(make_tap, "message_deliveries", account=account, interval_days=60)
    first = tap.run(clock=now)
    second, asked = asked_in(tap, clock=later, state=first.state)
    assert second.code == 0
    assert [
        (ask.arguments["StartDate"], ask.arguments["EndDate"])
        for ask in asked
        if "StartDate" in ask.arguments
    ] == [
        ("2026-04-01T00:00:00", "2026-05-31T00:00:00"),
        ("2026-05-31T00:00:00", "2026-07-04T16:05:06"),
    ]
    assert missing(tap, second).total() == 0


def test_deliveries_leave_test_messages_out_where_the_config_says_so(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_deliveries", account=small(messages=6))
    account = tap.service.account
    run = tap.run(clock=now, config={"include_test_messages": False})
    MsgIDs = {int(str(row["MsgID"])) for _, _, row in all_rows(account, ["messages"])}
    real = {MsgID for MsgID in MsgIDs if not account.is_test(MsgID)}
    assert {record["MsgID"] for record in run.records("message_deliveries")} == real < MsgIDs


@pytest.mark.parametrize(
    "stream",
    [name for name in FURTHER if BY_NAME[name].replication_key and BY_NAME[name].has_date_range],
)
def test_a_second_run_asks_from_the_bookmark_less_the_lookback(
    stream: str, make_tap: MakeTap
) -> None:
    tap = tap_for(make_tap, stream, lookback_days=2)
    key = str(BY_NAME[stream].replication_key)
    first = tap.run(clock=now)
    assert first.state["bookmarks"][stream][key] == "2026-07-01T12:00:00Z"
    second, asked = asked_in(tap, clock=later, state=first.state)
    assert second.code == 0
    assert {
        ask.arguments["StartDate"] for ask in asked if ask.operation == BY_NAME[stream].operation
    } == {"2026-06-29T12:00:00"}
    assert second.state["bookmarks"][stream][key] == f"{LATER:%Y-%m-%dT%H:%M:%S}Z"


def test_the_links_of_messages_are_totals_that_each_run_brings_whole(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_links")
    first = tap.run(clock=now)
    assert first.state["bookmarks"]["message_links"]["AskedUntil"] == "2026-07-01T12:00:00Z"
    second = tap.run(clock=later, state=first.state)
    assert missing(tap, first).total() == missing(tap, second).total() == 0


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
    """The records of a stream whose first page, of all that it is asked by, holds these rows."""
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


@pytest.mark.parametrize("element", ["", "<{0} />", "<{0}>0001-01-01T00:00:00</{0}>"])
@pytest.mark.parametrize(("stream", "column"), KEY_DATES.items())
def test_an_absent_date_of_a_key_is_the_first_of_1970(
    stream: str, column: str, element: str, make_tap: MakeTap
) -> None:
    assert column in BY_NAME[stream].key_properties
    records = first_records(make_tap, stream, OTHERS + element.format(column))
    assert {record[column] for record in records} == {NO_DATE}


@pytest.mark.parametrize(
    ("stream", "column"), [*KEY_DATES.items(), ("list_hygiene", "AddDate")], ids=str
)
@pytest.mark.parametrize(
    ("sent", "due"),
    [
        ("6/30/2026 11:30:05 PM", "2026-07-01T03:30:05Z"),
        ("2026-06-30T23:30:05.5", "2026-07-01T03:30:05.5Z"),
    ],
)
def test_dates_are_in_utc_also_those_that_come_as_text(
    stream: str, column: str, sent: str, due: str, make_tap: MakeTap
) -> None:
    row = f"{OTHERS}<{column}>{sent}</{column}>"
    records = first_records(make_tap, stream, row, timezone="America/New_York")
    assert {record[column] for record in records} == {due}


@pytest.mark.parametrize(
    "stream", [name for name, kinds in FURTHER.items() if " ContactID" in f" {kinds['string']}"]
)
def test_a_contact_id_is_a_string_also_where_it_is_sent_as_a_number(
    stream: str, make_tap: MakeTap
) -> None:
    assert {each["ContactID"] for each in first_records(make_tap, stream, OTHERS)} == {"4"}


def test_a_text_that_is_no_date_sets_its_list_aside(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "list_hygiene")
    one, _ = list_ids(tap.service.account)
    tap.service.account.add_row(BY_NAME["list_hygiene"].operation, one, "robot")
    run = tap.run(clock=now)
    assert run.code == 0
    (owed,) = debts(run)
    assert (owed["stream"], owed["ListID"], owed["MsgID"]) == ("list_hygiene", one, None)
    assert "HygieneDate" in run.err
    assert "robot" not in run.err
