"""How often a call is made, how long is waited between tries, and for how long at most."""

import random
import socket
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime

import pytest

from fake_listrak import Ask, Reply, Rule, fault, html, raw, redirect
from tap_listrak.listrak import transport
from tap_listrak.listrak.classify import error_from_text
from tap_listrak.listrak.faults import Condition, ListrakError, TransientError
from tests.support.faults import (
    FAULTS,
    LISTS_REQUEST,
    LOGON,
    NOW,
    START,
    Answer,
    ask_for_lists,
    make_client,
    tiny_account,
)
from tests.support.in_process import workers_ended
from tests.support.runs import CONTACTS, OPEN
from tests.support.tap import MakeTap, Run, Tap

LISTS_OF_ACCOUNT = "GetContactListCollection"


@pytest.fixture
def tiny(make_tap: MakeTap) -> Tap:
    return make_tap(tiny_account(), {"start_date": START, "concurrency": 1, "request_timeout": 5})


def run(tap: Tap, **config: object) -> Run:
    with workers_ended():
        return tap.run(clock=NOW, config=config)


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


def with_retry_after(value: str, answer: Reply = html(503)) -> Reply:  # noqa: B008 # it is frozen
    return replace(answer, headers={"Retry-After": value})


def test_waits_have_full_jitter_below_2_4_8_and_16_seconds(tiny: Tap) -> None:
    random.seed(1)
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 10**9, lambda ask: html(502)))
    columns: list[list[float]] = [[], [], [], []]
    for _ in range(15):
        tiny.waits.clear()
        with pytest.raises(TransientError):
            fetch_lists(tiny)
        for column, wait in zip(columns, tiny.waits, strict=True):
            column.append(wait)
    for column, ceiling in zip(columns, (2, 4, 8, 16), strict=True):
        assert 0 <= min(column) < ceiling / 4
        assert ceiling * 3 / 4 < max(column) <= ceiling


def test_retry_after_is_a_lower_bound_without_jitter_up_to_the_fifth_try(tiny: Tap) -> None:
    answer = with_retry_after("9", html(429))
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 4, lambda ask: answer))
    fetch_lists(tiny)
    assert tiny.waits[:3] == [9.0, 9.0, 9.0]
    assert 9.0 <= tiny.waits[3] <= 16.0


def in_seconds(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (with_retry_after("20", fault("Busy.")), 20.0),
        (with_retry_after(in_seconds(40)), 40.0),
        *(
            (with_retry_after(value), transport.MAX_RETRY_AFTER)
            for value in ("86400", "9" * 400, "9" * 5000, in_seconds(900_000))
        ),
    ],
)
def test_retry_after_may_be_a_date_and_is_capped(tiny: Tap, answer: Reply, wait: float) -> None:
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 1, lambda ask: answer))
    fetch_lists(tiny)
    assert tiny.waits == [wait]


@pytest.mark.parametrize(
    "value",
    [
        *("soon", "-5", "1.5", "", "Wed, 01 Jul 2026 00:00:30", "Wed, 01 Jan 2020 00:00:00 GMT"),
        *("Wed, 32 Jul 2026 25:61:00 GMT", "Wed, 01 Jul 99999999999999999999 00:00:00 GMT"),
        "Wed, 01 Jul 2026 99999999999999999999:00:00 GMT",
        *("Wed, 01 Jul 2026 00:00:00 +99999999999999999999", "\xb2\xb3"),
    ],
)
def test_an_odd_retry_after_leaves_the_jitter(tiny: Tap, value: str) -> None:
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 1, lambda ask: with_retry_after(value)))
    fetch_lists(tiny)
    (wait,) = tiny.waits
    assert 0 <= wait <= 30


@pytest.mark.parametrize(
    ("stream", "operation", "kind"),
    [("message_opens", OPEN, "message"), ("subscribed_contacts", CONTACTS, "list")],
)
def test_a_retry_is_one_warning_of_why(tiny: Tap, stream: str, operation: str, kind: str) -> None:
    tiny.service.rules.append(first(operation, 1, lambda ask: html(502)))
    (warning,) = run(tiny).warnings()
    asked = next(ask for ask in tiny.service.asked if ask.operation == operation).arguments
    named = asked["MsgID" if kind == "message" else "ListID"]
    for text in (stream, operation, f"{kind} {named}", "page 1", "HTTP 502"):
        assert text in warning
    assert FAULTS["server error"].message in warning
    assert f"{tiny.waits[0]:.1f} s" in warning


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
def test_a_logon_fault_is_recognised_where_it_is_wrapped(text: str) -> None:
    assert error_from_text(text, Condition.FAULT).fault is FAULTS["InvalidLogonAttempt"]


@pytest.mark.parametrize(
    "text", [f"It quotes {LOGON}", f"{LOGON[:7]} It broke", f"A --> {LOGON}", f"A ---> B {LOGON}"]
)
def test_a_code_elsewhere_in_a_text_is_no_refusal(text: str) -> None:
    assert error_from_text(text, Condition.FAULT).fault is FAULTS["fault"]


@pytest.mark.parametrize(
    "answer",
    [
        fault("Op(): [Logon] [LoginAttemptsExceeded] Login Attempts Exceeded"),
        redirect("http://127.0.0.1:9/"),
    ],
    ids=["locked", "redirect"],
)
def test_no_call_begins_after_an_error_of_the_whole_account(tiny: Tap, answer: Reply) -> None:
    tiny.service.rules.append(first(LISTS_OF_ACCOUNT, 1, lambda ask: answer))
    client = make_client(tiny.service.url)
    errors = []
    for _ in range(3):
        with pytest.raises(ListrakError) as caught:
            client.fetch(LISTS_REQUEST)
        errors.append(str(caught.value))
    assert errors == errors[:1] * 3
    assert tiny.service.calls[LISTS_OF_ACCOUNT] == 1


def test_a_wrong_password_is_tried_once(tiny: Tap) -> None:
    done = run(tiny, password="wrong", concurrency=8)
    assert done.code == 3
    assert len(tiny.service.asked) == 1
    assert tiny.service.failed_logins == 1


@pytest.mark.parametrize("slow", ["the refusals", "all else"])
def test_a_login_that_starts_to_fail_is_tried_by_calls_under_way_only(tiny: Tap, slow: str) -> None:
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

    tiny.service.rules.append(expires)
    assert run(tiny, concurrency=4).code == 3
    assert 1 <= refused <= 4


# Time.


def trickling_body(ask: Ask) -> Reply:
    return replace(ask.honest(), pace=50)


def trickling_headers(ask: Ask) -> Reply:
    return replace(ask.honest(), pace=50, pace_headers=True)


def trickling_chunks(ask: Ask) -> Reply:
    chunks = b"".join(b"1\r\n \r\n" for _ in range(2000))
    headers: dict[str, str | None] = {"Transfer-Encoding": "chunked", "Content-Length": None}
    return replace(raw(chunks), headers=headers, pace=50)


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        ("WSDL", trickling_body),
        (LISTS_OF_ACCOUNT, trickling_headers),
        (LISTS_OF_ACCOUNT, trickling_chunks),
    ],
)
def test_request_timeout_bounds_a_whole_reply(tiny: Tap, operation: str, answer: Answer) -> None:
    tiny.service.rules.append(first(operation, 1, answer))
    done = run(tiny, request_timeout=1)
    assert done.code == 0
    (warning,) = done.warnings()
    assert FAULTS["timeout"].message in warning


def test_request_timeout_bounds_connecting() -> None:
    class Enough(Exception):
        """Ends a call at its first wait."""

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
        with pytest.raises(Enough):
            ask_for_lists(f"http://127.0.0.1:{port}/?wsdl", sleep=no_more, request_timeout=1)
        for each in waiting:
            each.close()
