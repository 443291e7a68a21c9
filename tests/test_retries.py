"""How often a call is made, how long is waited between tries, and for how long at most."""

from __future__ import annotations

import random
import socket
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime

import pytest

from fake_listrak import Ask, Reply, Rule, fault, html, raw, redirect
from tap_listrak.listrak import transport
from tap_listrak.listrak.faults import ListrakError, Scope
from tests.support.faults import (
    ANSWERS,
    FAULTS,
    LISTS_REQUEST,
    LOGON,
    NOW,
    START,
    Answer,
    TransientError,
    ask_for_lists,
    make_client,
    tiny_account,
)
from tests.support.runs import set_aside
from tests.support.tap import MakeTap, Run, Tap, workers_ended

OPENS = "ReportRangeMessageContactOpen"
BOUNCES = "ReportRangeMessageContactBounces"
LISTS_OF_ACCOUNT = "GetContactListCollection"
# One answer of each manner; the long tests have the others.
TYPICAL = {"503", "cut gzip", "HTML with 200", "401", "fault with code", "unreadable value"}


@pytest.fixture
def tiny(make_tap: MakeTap) -> Tap:
    return make_tap(tiny_account(), {"start_date": START, "concurrency": 1, "request_timeout": 5})


def run(tap: Tap, **config: object) -> Run:
    with workers_ended():
        return tap.run(clock=lambda: NOW, config=config)


def first(operation: str, times: int, answer: Answer) -> Rule:
    """Answer the first calls of an operation so."""
    left = times

    def rule(ask: Ask) -> Reply | None:
        nonlocal left
        if ask.operation != operation or not left:
            return None
        left -= 1
        return answer(ask)

    return rule


def fetch_lists(tap: Tap) -> None:
    """Make the first call as the client does, and note its waits."""
    make_client(tap.service.url, tap.waits.append).fetch(LISTS_REQUEST)


def with_retry_after(value: str, status: int = 503) -> Answer:
    return lambda ask: replace(html(status), headers={"Retry-After": value})


def test_the_fifth_try_may_succeed(tiny: Tap) -> None:
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 4, lambda ask: html(502)))
    assert run(tiny).code == 0
    assert tiny.service.calls[LISTS_OF_ACCOUNT] == 5


def test_there_is_no_sixth_try(tiny: Tap) -> None:
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 5, lambda ask: html(502)))
    assert run(tiny).code == 1
    assert tiny.service.calls[LISTS_OF_ACCOUNT] == 5


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in TYPICAL else pytest.mark.long)
        for name, (row, _) in ANSWERS.items()
        if issubclass(FAULTS[row].error, TransientError)
        and not name.startswith(("WSException", "other", "fault at 200"))
    ],
)
def test_the_wsdl_is_asked_for_again_after_a_passing_fault(tiny: Tap, name: str) -> None:
    tiny.service.rules.append(first("WSDL", 1, ANSWERS[name][1]))
    done = run(tiny)
    assert len(tiny.waits) == 1
    assert done.code == 0
    assert tiny.service.wsdl_requests == 2


def test_waits_have_full_jitter_below_2_4_8_and_16_seconds(tiny: Tap) -> None:
    random.seed(1)
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 10**9, lambda ask: html(502)))
    columns: list[list[float]] = [[], [], [], []]
    for _ in range(25):
        tiny.waits.clear()
        with pytest.raises(TransientError):
            fetch_lists(tiny)
        for column, wait in zip(columns, tiny.waits, strict=True):
            column.append(wait)
    for column, ceiling in zip(columns, (2, 4, 8, 16), strict=True):
        assert 0 <= min(column) < ceiling / 4
        assert ceiling * 3 / 4 < max(column) <= ceiling


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_in_seconds_is_a_lower_bound_without_jitter(tiny: Tap, status: int) -> None:
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 4, with_retry_after("9", status)))
    fetch_lists(tiny)
    assert tiny.waits[:3] == [9.0, 9.0, 9.0]
    assert 9.0 <= tiny.waits[3] <= 16.0


def test_retry_after_goes_with_a_soap_fault_too(tiny: Tap) -> None:
    answer = replace(fault("Busy."), headers={"Retry-After": "20"})
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 1, lambda ask: answer))
    fetch_lists(tiny)
    assert tiny.waits == [20.0]


def test_retry_after_may_be_a_date(tiny: Tap) -> None:
    date = format_datetime(NOW + timedelta(seconds=40), usegmt=True)
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 1, with_retry_after(date)))
    fetch_lists(tiny)
    assert tiny.waits == [40.0]


@pytest.mark.parametrize(
    "value",
    ["86400", "9" * 400, "9" * 5000, format_datetime(NOW + timedelta(days=9), usegmt=True)],
    ids=["a day", "400 digits", "5000 digits", "a date"],
)
def test_a_long_retry_after_is_capped(tiny: Tap, value: str) -> None:
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 1, with_retry_after(value)))
    fetch_lists(tiny)
    assert tiny.waits == [transport.MAX_RETRY_AFTER]


@pytest.mark.parametrize(
    "value",
    [
        "soon",
        "-5",
        "1.5",
        "",
        "Wed, 01 Jul 2026 00:00:30",
        "Wed, 01 Jul 2026 00:00:30 -0000",
        "Wed, 01 Jan 2020 00:00:00 GMT",
        "Wed, 32 Jul 2026 25:61:00 GMT",
        "Wed, 01 Jul 99999999999999999999 00:00:00 GMT",
        "Wed, 01 Jul 2026 99999999999999999999:00:00 GMT",
        "Wed, 01 Jul 2026 00:00:00 +99999999999999999999",
        "\xb2\xb3",
    ],
)
def test_an_odd_retry_after_leaves_the_jitter(tiny: Tap, value: str) -> None:
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 1, with_retry_after(value)))
    fetch_lists(tiny)
    (wait,) = tiny.waits
    assert 0 <= wait <= 30


def test_a_retry_is_one_warning_that_says_what_why_and_how_long(tiny: Tap) -> None:
    tiny.service.rules.append(first(OPENS, 1, lambda ask: html(502)))
    done = run(tiny)
    (warning,) = done.lines("WARNING")
    asked = next(ask for ask in tiny.service.asked if ask.operation == OPENS)
    assert "message_opens" in warning
    assert OPENS in warning
    assert f"message {asked.arguments['MsgID']}" in warning
    assert "page 1" in warning
    assert "HTTP 502" in warning
    assert FAULTS["server error"].message in warning
    assert f"{tiny.waits[0]:.1f} s" in warning


def test_a_retry_for_a_list_names_the_list(tiny: Tap) -> None:
    tiny.service.rules.append(first("ReportRangeSubscribedContacts", 1, lambda ask: html(502)))
    (warning,) = run(tiny).lines("WARNING")
    ask = next(ask for ask in tiny.service.asked if "Subscribed" in ask.operation)
    assert f"list {ask.arguments['ListID']}" in warning
    assert "page 1" in warning


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in TYPICAL else pytest.mark.long)
        for name, (row, _) in ANSWERS.items()
        if not issubclass(FAULTS[row].error, TransientError)
    ],
)
def test_a_lasting_fault_of_a_message_is_never_asked_again(tiny: Tap, name: str) -> None:
    tiny.service.rules.append(first(BOUNCES, 1, ANSWERS[name][1]))
    done = run(tiny)
    assert not tiny.waits
    asked = [ask for ask in tiny.service.asked if ask.operation == BOUNCES]
    tries = Counter(ask.arguments["MsgID"] for ask in asked if ask.arguments["Page"] == "1")
    assert set(tries.values()) == {1}
    if FAULTS[ANSWERS[name][0]].error.scope is not Scope.PART:
        assert done.code != 0
        assert len(asked) == 1
        assert done.messages[-1]["type"] == "STATE"
        assert set_aside(done) == []
    else:
        assert done.code == 0
        assert len(tries) == 4
        (owed,) = set_aside(done)
        assert (owed["stream"], owed.get("page")) == ("message_bounces", None)
        assert str(owed["parent_id"]) == asked[0].arguments["MsgID"]


# What one request may cost.


def test_a_request_of_one_try_is_not_tried_again(tiny: Tap) -> None:
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 1, lambda ask: html(502)))
    waits: list[float] = []
    with pytest.raises(TransientError):
        make_client(tiny.service.url, waits.append).fetch(LISTS_REQUEST._replace(tries=1))
    assert tiny.service.calls[LISTS_OF_ACCOUNT] == 1
    assert not waits


@pytest.mark.parametrize(
    ("answer", "calls"),
    [
        (lambda ask: Reply(hang=True), 1),
        (lambda ask: raw(b" " * 800_000), 1),
        (lambda ask: html(502), 5),
    ],
    ids=["too slow", "too large", "broken"],
)
def test_a_request_that_can_be_split_gets_one_try_at_what_is_too_long(
    tiny: Tap, answer: Answer, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_REPLY_BYTES", 400_000)
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 9, answer))
    client = make_client(tiny.service.url, request_timeout=1)
    with pytest.raises(TransientError) as caught:
        client.fetch(LISTS_REQUEST._replace(is_splittable=True))
    assert caught.value.is_too_long is (calls == 1)
    assert tiny.service.calls[LISTS_OF_ACCOUNT] == calls


def test_after_20_retries_without_an_answer_no_retry_begins(tiny: Tap) -> None:
    broken = True
    tiny.service.rules.append(
        lambda ask: html(502) if broken and ask.operation == LISTS_OF_ACCOUNT else None
    )
    client = make_client(tiny.service.url)

    def calls_of_a_failure() -> int:
        before = tiny.service.calls[LISTS_OF_ACCOUNT]
        with pytest.raises(TransientError):
            client.fetch(LISTS_REQUEST)
        return tiny.service.calls[LISTS_OF_ACCOUNT] - before

    assert [calls_of_a_failure() for _ in range(8)] == [5] * 5 + [1] * 3
    broken = False
    client.fetch(LISTS_REQUEST)
    broken = True
    assert calls_of_a_failure() == 5


def test_the_clock_of_the_first_answer_is_compared(tiny: Tap) -> None:
    dates = iter(["Wed, 01 Jul 2026 00:05:00 GMT", "Wed, 01 Jul 2026 09:00:00 GMT"])
    tiny.service.rules.append(
        lambda ask: (
            None
            if ask.operation == "WSDL"
            else replace(ask.honest(), headers={"Date": next(dates)})
        )
    )
    client = make_client(tiny.service.url)
    assert client.clock_offset is None
    for _ in range(2):
        client.fetch(LISTS_REQUEST)
        assert client.clock_offset == timedelta(minutes=5)


@pytest.mark.parametrize("date", [None, "yesterday", ""])
def test_a_service_without_a_date_has_no_clock(tiny: Tap, date: str | None) -> None:
    tiny.service.rules.append(lambda ask: replace(ask.honest(), headers={"Date": date}))
    client = make_client(tiny.service.url)
    client.fetch(LISTS_REQUEST)
    assert client.clock_offset is None


# Logging in.


@pytest.mark.parametrize(
    "text",
    [
        "Invalid Credentials Provided",
        "GetContactListCollection(): Invalid Credentials Provided",
        f"Server was unable to process request. ---> GetContactListCollection(): {LOGON}",
        f"A ---> B ---> {LOGON}",
        "Server was unable to process request. ---> Invalid Credentials Provided",
        f"System.Exception: GetContactListCollection(): {LOGON}",
        f"Server was unable to process request. ---> System.Exception: Op(): {LOGON}\n   at A.B()",
    ],
)
def test_a_logon_fault_is_recognised_where_it_is_wrapped(tiny: Tap, text: str) -> None:
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 9, lambda ask: fault(text)))
    done = run(tiny)
    assert done.code == 3
    assert FAULTS["InvalidLogonAttempt"].message in done.lines("CRITICAL")[0]
    assert tiny.service.calls[LISTS_OF_ACCOUNT] == 1


@pytest.mark.parametrize(
    "text", [f"It quotes {LOGON}", f"{LOGON[:7]} It broke", f"A --> {LOGON}", f"A ---> B {LOGON}"]
)
def test_a_code_elsewhere_in_a_text_is_no_refusal(tiny: Tap, text: str) -> None:
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 1, lambda ask: fault(text)))
    fetch_lists(tiny)


@pytest.mark.parametrize("name", ["locked", "redirect"])
def test_no_call_begins_after_an_error_of_the_whole_account(tiny: Tap, name: str) -> None:
    answers = {
        "locked": fault("Op(): [Logon] [LoginAttemptsExceeded] Login Attempts Exceeded"),
        "redirect": redirect("http://127.0.0.1:9/"),
    }
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 1, lambda ask: answers[name]))
    client = make_client(tiny.service.url)
    errors = []
    for _ in range(3):
        with pytest.raises(ListrakError) as caught:
            client.fetch(LISTS_REQUEST)
        errors.append(str(caught.value))
    assert errors == errors[:1] * 3
    assert tiny.service.calls[LISTS_OF_ACCOUNT] == 1


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_wrong_password_is_tried_once(tiny: Tap, concurrency: int) -> None:
    done = run(tiny, password="wrong", concurrency=concurrency)
    assert done.code == 3
    assert len(tiny.service.asked) == 1
    assert tiny.service.failed_logins == 1


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("slow", ["the refusals", "all else"])
def test_a_login_that_starts_to_fail_is_tried_by_the_calls_under_way_only(
    make_tap: MakeTap, concurrency: int, slow: str
) -> None:
    tap = make_tap(tiny_account(), {"start_date": START})
    refused = 0

    def expires(ask: Ask) -> Reply | None:
        nonlocal refused
        if ask.operation == "WSDL":
            return None
        if ask.number <= 20:
            # A refusal is to end the run even while earlier replies are still awaited.
            delay = 0.3 if slow == "all else" and ask.number % 5 == 0 else 0.0
            return replace(ask.honest(), delay=delay)
        refused += 1
        delay = 0.05 if slow == "the refusals" else 0.0
        return replace(fault(f"{ask.operation}(): {LOGON}"), delay=delay)

    tap.service.rules.append(expires)
    done = run(tap, concurrency=concurrency)
    assert done.code == 3
    assert 1 <= refused <= concurrency


# Time.


def trickling_body(ask: Ask) -> Reply:
    return replace(ask.honest(), pace=50)


def trickling_headers(ask: Ask) -> Reply:
    return replace(ask.honest(), pace=50, pace_headers=True)


def trickling_chunks(ask: Ask) -> Reply:
    chunks = b"".join(b"1\r\n \r\n" for _ in range(2000))
    headers: dict[str, str | None] = {"Transfer-Encoding": "chunked", "Content-Length": None}
    return replace(raw(chunks), headers=headers, pace=50)


def trickling_page_of_html(ask: Ask) -> Reply:
    return replace(html(503), pace=50)


SLOW: dict[str, Answer] = {
    "hang": lambda ask: Reply(hang=True),
    "late": lambda ask: replace(ask.honest(), delay=60),
    "body": trickling_body,
    "headers": trickling_headers,
    "chunks": trickling_chunks,
    "HTML": trickling_page_of_html,
}


@pytest.mark.parametrize(
    "name",
    [
        *("hang", "headers", "chunks"),
        *(pytest.param(name, marks=pytest.mark.long) for name in ("late", "body", "HTML")),
    ],
)
def test_request_timeout_bounds_a_whole_reply(tiny: Tap, name: str) -> None:
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 1, SLOW[name]))
    done = run(tiny, request_timeout=1)
    assert done.code == 0
    (warning,) = done.lines("WARNING")
    assert FAULTS["timeout"].message in warning


def test_request_timeout_bounds_the_wsdl(tiny: Tap) -> None:
    tiny.service.rules.append(first("WSDL", 1, SLOW["body"]))
    done = run(tiny, request_timeout=1)
    assert done.code == 0
    (warning,) = done.lines("WARNING")
    assert FAULTS["timeout"].message in warning


class Enough(Exception):
    """Ends a call at its first wait."""


def test_request_timeout_bounds_connecting() -> None:
    def no_more(seconds: float) -> None:
        raise Enough

    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        with pytest.raises(Enough) as ended:
            ask_for_lists(f"http://127.0.0.1:{port}/?wsdl", sleep=no_more, request_timeout=1)
        for each in waiting:
            each.close()
    assert ended.type is Enough
