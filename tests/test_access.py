"""Discovery asks for each stream once, and leaves out what Listrak refuses to this user."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from fake_listrak import Ask, Reply, fault, html, with_exception
from tap_listrak.streams import BY_NAME, STREAMS, Stream
from tests.support.tap import MakeTap, Run, Tap

NAMES = [stream.name for stream in STREAMS]
CLICKS = BY_NAME["message_clicks"]
# One of each manner of request; all take one way.
SAMPLES = [BY_NAME[name] for name in ("messages", "campaigns", "conversation_opens", "complaints")]
REFUSAL = fault("Op(): [Security] [AccessDenied] No access")


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap for an account of one list with messages within the newest window."""
    return make_tap(lists=1, messages=3, config={"start_date": "2025-01-01", "interval_days": 3650})


def discovered(run: Run) -> list[str]:
    return [entry["stream"] for entry in json.loads(run.out)["streams"]]


def refusing(tap: Tap, stream: Stream, reply: Reply) -> Run:
    def rule(ask: Ask) -> Reply | None:
        return reply if ask.operation == stream.operation else None

    tap.service.rules.append(rule)
    return tap.run("--discover")


def test_each_stream_is_asked_for_once_for_one_real_parent(tap: Tap) -> None:
    run = tap.run("--discover")
    assert discovered(run) == NAMES
    asked = Counter(ask.operation for ask in tap.service.asked)
    assert asked == Counter(stream.operation for stream in STREAMS)
    account = tap.service.account
    (ListID,) = (int(str(row["ListID"])) for row in account.lists())
    MsgIDs = {str(row["MsgID"]) for row in account.messages(ListID)}
    ConversationIDs = set(map(str, account.conversation_ids(ListID)))
    asked_by = {
        "ListID": {str(ListID)},
        "MsgID": MsgIDs,
        "MsgIDs": MsgIDs,
        "ConversationID": ConversationIDs,
    }
    for ask in tap.service.asked:
        for name in asked_by.keys() & ask.arguments.keys():
            assert ask.arguments[name] in asked_by[name]


@pytest.mark.parametrize(
    ("stream", "reply"),
    [*((stream, REFUSAL) for stream in SAMPLES), (CLICKS, html(401)), (CLICKS, html(403))],
)
def test_a_stream_that_is_refused_is_left_out_with_a_warning(
    tap: Tap, stream: Stream, reply: Reply
) -> None:
    run = refusing(tap, stream, reply)
    assert run.code == 0
    assert discovered(run) == [name for name in NAMES if name != stream.name]
    (warning,) = run.lines("WARNING")
    assert f"{stream.name} is omitted from the catalog" in warning
    assert "AccessDenied" in warning or "HTTP 40" in warning
    assert tap.waits == []


def test_a_summary_for_people_says_what_was_found_and_what_was_left_out(tap: Tap) -> None:
    run = refusing(tap, CLICKS, REFUSAL)
    found = ", ".join(name for name in NAMES if name != "message_clicks")
    lines = [line for line in run.lines("INFO") if "METRIC" not in line]
    assert lines == [
        f"INFO Logged in to Listrak. Streams in the catalog: {found}.",
        "INFO Streams omitted (see the warnings): message_clicks.",
        'INFO To select a stream, set "selected": true in its metadata, at the breadcrumb [].',
    ]


def test_a_code_inside_a_good_reply_leaves_a_stream_out_as_well(tap: Tap) -> None:
    tap.service.rules.append(
        lambda ask: (
            with_exception(ask, "Op(): [Security] [AccessDenied] No access")
            if ask.operation == "ReportMessageContactSent"
            else None
        )
    )
    run = tap.run("--discover")
    assert discovered(run) == [name for name in NAMES if name != "message_sends"]


@pytest.mark.parametrize(
    ("stream", "reply"),
    [
        *((stream, html(404)) for stream in SAMPLES),
        (CLICKS, html(503)),
        (CLICKS, fault("Out of order")),
        (CLICKS, Reply(reset=True)),
    ],
)
def test_a_stream_that_only_cannot_be_checked_stays(tap: Tap, stream: Stream, reply: Reply) -> None:
    run = refusing(tap, stream, reply)
    assert run.code == 0
    assert discovered(run) == NAMES
    assert f"{stream.name} could not be checked" in run.err
    assert tap.waits == []


@pytest.mark.parametrize("code", ["InvalidLogonAttempt", "LoginAttemptsExceeded", "Other"])
def test_a_refused_logon_ends_discovery(tap: Tap, code: str) -> None:
    run = refusing(tap, CLICKS, fault(f"Op(): [Logon] [{code}] Sorry"))
    assert run.code == 3
    assert run.out == ""
    assert len(run.lines("CRITICAL")) == 1


def test_the_first_call_is_retried_as_in_a_sync(tap: Tap) -> None:
    run = refusing(tap, STREAMS[0], html(503))
    assert run.code == 1
    assert run.out == ""
    assert len(tap.waits) == 4


@pytest.mark.parametrize("shape", [{"lists": 0}, {"messages": 0}, {"conversations": 0}], ids=str)
def test_an_account_without_parents_keeps_every_stream(
    make_tap: MakeTap, shape: dict[str, int]
) -> None:
    assert discovered(make_tap(**shape).run("--discover")) == NAMES
