"""The streams beyond the published ones: what they request, and the values of their rows."""

import itertools
import re
from collections import Counter
from datetime import datetime

import pytest

from fake_listrak import Account, Reply
from tap_listrak.streams import BY_NAME, PUBLISHED, STREAMS, Per
from tests.support import runs
from tests.support.accounts import LATER, NOW, list_ids, small
from tests.support.published import ALL_KEYS, COLUMNS, FURTHER
from tests.support.records import NO_DATE
from tests.support.replies import rows_of
from tests.support.tap import MakeTap, Run, Tap

START = "2026-04-01"


def tap_for(make_tap: MakeTap, *streams: str, account: Account | None = None) -> Tap:
    """A tap of the small account (or another) that selects these streams, and requests in order."""
    return runs.tap_for(make_tap, *streams, account=account or small(), start_date=START)


def next_run(tap: Tap, run: Run) -> Run:
    """The run three days later; the service then knows its calls alone."""
    tap.service.asked.clear()
    return tap.run(clock=LATER, state=run.state)


# A service that lacks operations.


def test_discovery_leaves_out_what_the_service_lacks(make_tap: MakeTap) -> None:
    tap = make_tap(small(), {"start_date": START}, wsdl="nine")
    run = tap.run("--discover", clock=NOW)
    assert run.code == 0
    assert run.out.count('"tap_stream_id"') == len(COLUMNS)
    further = [stream for stream in STREAMS if not stream.is_published]
    assert len(further) == len(FURTHER)
    for stream, warning in zip(further, run.warnings(), strict=True):
        assert f"{stream.name} is omitted from the catalog" in warning
        assert stream.operation in warning
    asked = Counter(ask.operation for ask in tap.service.asked)
    assert asked == {stream.operation: 1 for stream in PUBLISHED}


@pytest.mark.parametrize(
    ("flags", "stream", "said"),
    [
        ((), "message_opens", "it lacks {}"),
        (("--discover",), "message_opens", "it lacks {}"),
        ((), "complaints", "complaints needs {}"),
    ],
)
def test_a_selected_or_published_operation_that_is_absent_ends_the_run(
    flags: tuple[str, ...], stream: str, said: str, make_tap: MakeTap
) -> None:
    tap = tap_for(make_tap, "lists", stream)
    name = f'{BY_NAME[stream].operation}"'.encode()
    tap.answer("WSDL", lambda ask: Reply(ask.honest().body.replace(name, b'Other"')))
    run = tap.run(*flags, clock=NOW)
    assert (run.code, run.out, tap.service.asked) == (1, "", [])
    (critical,) = run.lines("CRITICAL")
    assert said.format(BY_NAME[stream].operation) in critical


# Calls of streams by batch of messages, and by list.


def batches(tap: Tap) -> list[list[str]]:
    """The MsgIDs of each call for analytics."""
    return [ask.arguments["MsgIDs"].split(",") for ask in tap.calls("message_analytics")]


def test_one_call_requests_the_analytics_of_2500_messages_at_most(make_tap: MakeTap) -> None:
    account = small(lists=1, messages=2501, contacts=0, sends=0)
    tap = tap_for(make_tap, "message_analytics", account=account)
    assert tap.run(clock=NOW).code == 0
    one, other = batches(tap)
    assert (len(one), len(other), len({*one, *other})) == (2500, 1, 2501)


@pytest.mark.parametrize("unknown", ["refused", "missing"])
def test_a_message_without_analytics_is_no_error(unknown: str, make_tap: MakeTap) -> None:
    account = small(unknown_messages=unknown)
    tap = tap_for(make_tap, "message_analytics", account=account)
    run = tap.run(clock=NOW)
    assert (run.code, run.warnings(), run.set_aside, tap.missing(run)) == (0, [], [], {})
    assert len(run.records("message_analytics")) < 2 * 4


@pytest.mark.parametrize("is_spoilt", [False, True])
def test_analytics_that_fail_are_halved_down_to_what_fails(
    make_tap: MakeTap, is_spoilt: bool
) -> None:
    tap = tap_for(make_tap, "message_analytics", account=small(lists=1, messages=7))
    odd = str(tap.msg_ids()[3])
    if is_spoilt:
        date = rf"(?<=<MsgID>{odd}</MsgID><SendDate>)[^<]*".encode()
        tap.change("message_analytics", lambda body: re.sub(date, b"robot", body))
    else:
        tap.fail_calls(lambda ask: odd in ask.arguments.get("MsgIDs", "").split(","), runs.REFUSED)
    first = tap.run(clock=NOW)
    sizes = [len(batch) for batch in batches(tap) if odd in batch]
    assert (sizes[0], sizes[-1]) == (7, 1)
    assert all(half <= (whole + 1) // 2 for whole, half in itertools.pairwise(sizes))
    assert (first.code, tap.missing(first)) == (0, {"message_analytics": 1})
    (warning,) = first.warnings("Skipped in this run")
    assert f"message {odd}" in warning
    assert "robot" not in first.err
    tap.heal()
    assert tap.missing(next_run(tap, first)) == {}
    assert [len(batch) for batch in batches(tap)] == [7]


def test_what_has_no_pages_takes_one_call_for_each_list(make_tap: MakeTap) -> None:
    streams = [each for each in STREAMS if each.per is Per.BATCH]
    streams += [each for each in STREAMS if each.per is Per.LIST and not each.dated]
    tap = tap_for(make_tap, *(each.name for each in streams))
    run = tap.run(clock=NOW)
    asked = Counter(ask.operation for ask in tap.service.asked)
    once = {BY_NAME["lists"].operation: 1, **{each.operation: 2 for each in streams}}
    assert asked == {**once, BY_NAME["messages"].operation: 2}
    assert (run.code, tap.missing(run)) == (0, {})


def test_deliveries_are_requested_whole_in_windows_of_interval_days(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_deliveries", account=small(lists=1))
    tap.config["interval_days"] = 60
    second = next_run(tap, tap.run(clock=NOW))
    operation = BY_NAME["message_deliveries"].operation
    assert runs.bounds_of(tap.service.asked, operation) == [
        ("2026-03-31T23:59:59", "2026-05-31T00:00:00"),
        ("2026-05-30T23:59:59", "2026-07-04T16:05:06"),
    ]
    assert (second.code, tap.missing(second)) == (0, {})


# Keys.

KEY_DATES = [
    (stream, column) for stream in FURTHER for column in ALL_KEYS[stream] if column.endswith("Date")
]
# What a row of each has besides its date.
OTHERS = (
    "<MsgID>1</MsgID><ListID>2</ListID><MessageID>3</MessageID><ContactID>4</ContactID>"
    "<EmailAddress>e</EmailAddress><FromEmailAddress>f</FromEmailAddress>"
    "<ToEmailAddress>g</ToEmailAddress>"
)


@pytest.mark.parametrize(("stream", "date"), KEY_DATES)
def test_a_key_is_in_utc_with_1970_for_no_date(stream: str, date: str, make_tap: MakeTap) -> None:
    texts = [each for each in BY_NAME[stream].key_properties if each.endswith("EmailAddress")]
    sent = ("6/30/2026 11:30:05 PM", "2026-06-30T23:30:05.5")
    rows = [
        *(OTHERS, f"{OTHERS}<{date} />"),
        *(f"{OTHERS}<{date}>{each}</{date}>" for each in ("0001-01-01T00:00:00", *sent)),
        *(re.sub(f"<{each}>.*?</{each}>", "", OTHERS) for each in texts),
    ]
    account = small(lists=1, messages=0, conversations=1)
    account.add_message(list_ids(account)[0], 42, datetime(2026, 6, 28))
    tap = tap_for(make_tap, stream, account=account)
    tap.config |= {"start_date": "2026-06-25", "timezone": "America/New_York"}
    tap.fail(stream, rows_of(stream, *rows), Page=1)
    tap.fail(stream, rows_of(stream))
    run = tap.run(clock=NOW)
    assert run.code == 0, run.err
    records = run.records(stream)
    utc = ["2026-07-01T03:30:05Z", "2026-07-01T03:30:05.5Z"]
    assert [each[date] for each in records[:5]] == [NO_DATE] * 3 + utc
    assert [record[column] for record, column in zip(records[5:], texts)] == [""] * len(texts)
