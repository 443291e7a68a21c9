"""Each row of the table of faults, caused at the wire: what the tap does, and its message."""

import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import urllib3

from fake_listrak import fault, html, raw, redirect
from tap_listrak.listrak import transport
from tap_listrak.listrak.classify import error_from_exception
from tests.support.faults import ANSWERS, FAULTS, START, Answer, changed, cut_body, tiny_account
from tests.support.tap import MakeTap

# Bound and not listening: nobody else gets the port, and whoever calls is refused.
CLOSED = socket.socket()
CLOSED.bind(("127.0.0.1", 0))

# By name, a row and how to meet it: a reply to the first call, ...
CALLS: dict[str, tuple[str, Answer]] = {
    **ANSWERS,
    "locked": (
        "LoginAttemptsExceeded",
        lambda ask: fault("Op(): [Logon] [LoginAttemptsExceeded] Login Attempts Exceeded"),
    ),
    "other logon": ("logon", lambda ask: fault("Op(): [Logon] [Inactive] No.")),
    "address not allowed": (
        "ProhibitedIPAddress",
        lambda ask: fault("Op(): [Logon] [ProhibitedIPAddress] The IP address is not allowed"),
    ),
    "DTD": ("doctype", lambda ask: changed(ask, r"\?>", "?><!DOCTYPE a []>")),
    "too large": ("too large", lambda ask: raw(b" " * 800_000)),
}
# ... a reply to the request for the WSDL, ...
CONTRACTS: dict[str, tuple[str, Answer]] = {
    "another service": (
        "contract",
        lambda ask: changed(ask, "ReportRangeMessageContactRead", "Other"),
    ),
    "no services": ("contract", lambda ask: raw(b"<a/>")),
    "empty definitions": (
        "contract",
        lambda ask: raw(b"<definitions xmlns='http://schemas.xmlsoap.org/wsdl/'/>"),
    ),
    "a DTD": ("contract", lambda ask: changed(ask, r"\?>", "?><!DOCTYPE a>")),
    "a zero": ("not xml", lambda ask: raw(b"\0")),
    "JSON": ("not xml", lambda ask: raw(b"[]")),
    "no encoding": (
        "not xml",
        lambda ask: raw(b"<?xml version='1.0' encoding='utf-99'?><a/>"),
    ),
    "deep elements": ("not xml", lambda ask: raw(b"<a>" * 100_000)),
    "refused": ("rejected", lambda ask: html(403)),
    "HTML": ("not soap", lambda ask: html(200)),
    "not found": ("not found", lambda ask: html(404)),
    "moved": ("redirect", lambda ask: redirect("http://127.0.0.1:9/?wsdl")),
    "cut": ("cut short", cut_body),
}
# ... or the config.
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "wrong password": ("InvalidLogonAttempt", {"password": "wrong"}),
    "closed port": ("unreachable", {"wsdl_url": f"http://127.0.0.1:{CLOSED.getsockname()[1]}/"}),
    "no TLS there": ("tls", {"wsdl_url": "https://127.0.0.1:{port}/"}),
    "impossible host": ("address", {"wsdl_url": "https://a..b/service?wsdl"}),
}
CASES = [
    *(
        pytest.param(row, operation, answer, {}, id=f"{operation}: {name}")
        for operation, table in (("GetContactListCollection", CALLS), ("WSDL", CONTRACTS))
        for name, (row, answer) in table.items()
    ),
    *(pytest.param(row, "", html(200), config, id=name) for name, (row, config) in CONFIGS.items()),
]


@pytest.mark.parametrize(("row", "operation", "answer", "config"), CASES)
def test_a_fault_of_the_first_call_does_what_its_row_says(
    row: str,
    operation: str,
    answer: Answer,
    config: dict[str, Any],
    make_tap: MakeTap,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tap = make_tap(tiny_account(), {"concurrency": 1, "request_timeout": 5, **config})
    port = str(urlsplit(tap.service.url).port)
    tap.config["wsdl_url"] = tap.config["wsdl_url"].replace("{port}", port)
    # More than the WSDL has.
    monkeypatch.setattr(transport, "MAX_REPLY_BYTES", 400_000)
    tap.answer(operation, answer)
    run = tap.night()
    assert len(tap.waits) == (4 if FAULTS[row].error.is_retryable else 0)
    assert run.code == FAULTS[row].error.exit_code
    (critical,) = run.lines("CRITICAL")
    assert critical.startswith("CRITICAL lists")
    assert FAULTS[row].message in critical
    assert "Traceback" not in run.err
    assert not run.of_type("RECORD")


def test_an_operation_of_other_arguments_stops_its_stream_alone(make_tap: MakeTap) -> None:
    tap = make_tap(tiny_account(), {"start_date": START})
    renamed = r'(?s)(name="ReportRangeMessageContactOpen".*?name=)"MsgID"', r'\1"MessageID"'
    tap.answer("WSDL", lambda ask: changed(ask, *renamed))
    run = tap.night()
    assert run.code == 1
    assert FAULTS["arguments"].message in run.lines("CRITICAL")[0]
    assert {*tap.missing(run)} == {"message_opens"}


def test_every_row_is_met_in_a_test() -> None:
    # test_paging, test_further_streams, test_hostile_replies, test_retries, test_tls, and above
    met = {"repeated page", "shifted pages", "no operation", "incomplete", "timeout", "arguments"}
    met |= {"untrusted", "ca bundle", "proxy setting", "proxy"}
    assert met | {case.values[0] for case in CASES} == set(FAULTS)


@pytest.mark.parametrize(
    ("raised", "row"),
    [
        (requests.exceptions.ConnectTimeout(), "unreachable"),
        (requests.exceptions.ReadTimeout(), "timeout"),
        (requests.exceptions.ContentDecodingError(), "cut short"),
        (requests.exceptions.InvalidProxyURL(), "proxy setting"),
        (requests.exceptions.MissingSchema(), "address"),
        (requests.exceptions.RequestException(), "connection"),
        (urllib3.exceptions.DecodeError(), "connection"),
        (urllib3.exceptions.SSLError(), "tls"),
        (urllib3.exceptions.LocationParseError("x"), "address"),
        (ConnectionResetError(), "connection"),
        (UnicodeError(), "address"),
    ],
    ids=repr,
)
def test_whatever_a_request_raises_is_a_row(raised: Exception, row: str) -> None:
    assert error_from_exception(raised).fault is FAULTS[row]
