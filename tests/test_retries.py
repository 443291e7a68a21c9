"""How often a call is made, how long is waited between tries, and for how long at most."""

import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime

import pytest

from fake_listrak import Ask, Reply, fault, html, redirect
from tap_listrak.config import parse_config
from tap_listrak.listrak.classify import error_from_text
from tap_listrak.listrak.client import ListrakClient, PageRequest
from tap_listrak.listrak.faults import Condition, ListrakError
from tap_listrak.listrak.transport import MAX_RETRY_AFTER
from tap_listrak.metrics import CallMetrics
from tap_listrak.readers import build_readers
from tap_listrak.streams import BY_NAME, resolve_tables
from tests.support.faults import FAULTS, LOGON, NOW, START, tiny_account
from tests.support.runs import OPEN
from tests.support.tap import MakeTap, Tap, catalog_of

LISTS = "GetContactListCollection"


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    config = {"start_date": START, "concurrency": 1, "request_timeout": 5}
    return make_tap(tiny_account(messages=5), config)


def answer_first(tap: Tap, operation: str, *replies: Reply) -> None:
    """Answer the first calls of an operation with these replies."""
    left = list(replies)
    tap.answer(operation, lambda ask: left.pop(0) if left else None)


def waits(tap: Tap, *replies: Reply) -> list[float]:
    """Return the waits of a sync of the lists whose first tries get these replies."""
    tap.waits.clear()
    tap.heal()
    answer_first(tap, LISTS, *replies)
    tap.night(catalog=catalog_of("lists"))
    return list(tap.waits)


def with_retry_after(value: str, answer: Reply) -> Reply:
    return replace(answer, headers={"Retry-After": value})


def test_waits_have_full_jitter_below_2_4_8_and_16_seconds(tap: Tap) -> None:
    random.seed(1)
    columns = zip(*(waits(tap, *[html(502)] * 5) for _ in range(15)), strict=True)
    for column, ceiling in zip(columns, (2, 4, 8, 16), strict=True):
        assert 0 <= min(column) < ceiling / 4
        assert ceiling * 3 / 4 < max(column) <= ceiling


def test_retry_after_is_a_lower_bound_without_jitter_up_to_the_fifth_try(tap: Tap) -> None:
    *first, last = waits(tap, *[with_retry_after("9", html(429))] * 4)
    assert first == [9.0, 9.0, 9.0]
    assert 9.0 <= last <= 16.0


def in_seconds(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


ODD_DATES = [
    *("Wed, 01 Jan 2020 00:00:00 GMT", "Wed, 32 Jul 2026 25:61:00 GMT"),
    "Wed, 01 Jul 99999999999999999999 00:00:00 GMT",
    "Wed, 01 Jul 2026 00:00:00 +99999999999999999999",
]


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("20", 20.0, 20.0),
        (in_seconds(40), 40.0, 40.0),
        *(
            (value, MAX_RETRY_AFTER, MAX_RETRY_AFTER)
            for value in ("86400", "9" * 400, "9" * 5000, in_seconds(900_000))
        ),
        # What cannot be read leaves the jitter.
        *((value, 0.0, 2.0) for value in ("soon", "-5", "1.5", "", "\xb2\xb3")),
        *((value, 0.0, 2.0) for value in ODD_DATES),
    ],
)
@pytest.mark.parametrize("answer", [html(503), fault("Busy.")], ids=["HTML", "fault"])
def test_retry_after_is_seconds_or_a_date_and_is_capped(
    value: str, least: float, most: float, answer: Reply, tap: Tap
) -> None:
    (wait,) = waits(tap, with_retry_after(value, answer))
    assert least <= wait <= most


def test_a_retry_is_one_warning_of_why(tap: Tap) -> None:
    answer_first(tap, OPEN, html(502))
    (warning,) = tap.night().warnings()
    message = tap.calls("message_opens")[0].arguments["MsgID"]
    wait = f"retry 2 of 5 in {tap.waits[0]:.1f} s"
    for text in (f"message_opens, {OPEN} ", f"message {message}", "page 1", "HTTP 502", wait):
        assert text in warning
    assert FAULTS["server error"].message in warning


def test_after_20_retries_without_an_answer_no_retry_begins(tap: Tap) -> None:
    answered = str(tap.msg_ids()[-2])
    tap.fail_calls(lambda ask: ask.arguments.get("MsgID", answered) != answered, html(502))
    tap.night(catalog=catalog_of("message_opens"))
    calls = Counter(ask.arguments["MsgID"] for ask in tap.calls("message_opens"))
    del calls[answered]
    assert [*calls.values()] == [5] * 5 + [1] * 3 + [5]


# Logging in.


REFUSALS = [
    *(
        "Invalid Credentials Provided",
        "Op(): Invalid Credentials Provided",
        f"A ---> B ---> {LOGON}",
    ),
    f"Server was unable to process request. ---> Op(): {LOGON}",
    "Server was unable to process request. ---> Invalid Credentials Provided",
    f"System.Exception: Op(): {LOGON}",
    f"Server was unable. ---> System.Exception: Op(): {LOGON}\n   at A.B()",
]
OTHERS = [f"It quotes {LOGON}", f"{LOGON[:7]} It broke", f"A --> {LOGON}", f"A ---> B {LOGON}"]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        *(("InvalidLogonAttempt", text) for text in REFUSALS),
        *(("fault", text) for text in OTHERS),
    ],
)
def test_a_code_is_recognised_where_it_is_wrapped_and_nowhere_else(row: str, text: str) -> None:
    assert error_from_text(text, Condition.FAULT).fault is FAULTS[row]


def test_a_wrong_password_is_tried_once(tap: Tap) -> None:
    assert tap.night(config={"password": "wrong", "concurrency": 8}).code == 3
    assert (len(tap.service.asked), tap.service.failed_logins) == (1, 1)


@pytest.mark.parametrize("answer", [fault(f"Op(): {LOGON}"), redirect("http://127.0.0.1:9/")])
def test_no_call_begins_after_an_error_of_the_whole_account(tap: Tap, answer: Reply) -> None:
    answer_first(tap, LISTS, answer)
    config = parse_config(tap.config, NOW)
    readers = build_readers(resolve_tables(config), {}, config)
    client = ListrakClient(config, readers, CallMetrics(), tap.waits.append, lambda: NOW)
    errors = set()
    for _ in range(3):
        with pytest.raises(ListrakError) as caught:
            client.fetch(PageRequest(BY_NAME["lists"], {}, "of the account", None))
        errors.add(str(caught.value))
    assert len(errors) == 1
    assert tap.service.calls[LISTS] == 1


@pytest.mark.parametrize("slow", ["the refusals", "all else"])
def test_a_login_that_starts_to_fail_is_tried_by_calls_under_way_only(tap: Tap, slow: str) -> None:
    refused = 0

    def expires(ask: Ask) -> Reply | None:
        nonlocal refused
        if ask.operation == "WSDL":
            return None
        if ask.number <= 20:
            # A refusal is to end the run even while earlier replies are still awaited.
            return replace(ask.honest(), delay=0.3 * (slow == "all else" and ask.number % 5 == 0))
        refused += 1
        return replace(fault(f"Op(): {LOGON}"), delay=0.05 * (slow == "the refusals"))

    tap.service.rules.append(expires)
    assert tap.night(config={"concurrency": 4}).code == 3
    assert 1 <= refused <= 4


# Time. Each reply would end after four seconds.

TRICKLING = {
    "body": Reply(b" " * 200, pace=50),
    "headers": Reply(headers={"X-Padding": "x" * 200}, pace=50, pace_headers=True),
    "chunks": Reply(
        b"1\r\n \r\n" * 33,
        headers={"Transfer-Encoding": "chunked", "Content-Length": None},
        pace=50,
    ),
}


@pytest.mark.parametrize("operation", [LISTS, "WSDL"])
@pytest.mark.parametrize("name", TRICKLING)
def test_request_timeout_bounds_a_whole_reply(tap: Tap, operation: str, name: str) -> None:
    answer_first(tap, operation, TRICKLING[name])
    run = tap.night(config={"request_timeout": 1})
    assert run.code == 0
    # A busy machine may also be late with another reply.
    assert FAULTS["timeout"].message in run.warnings()[0]
