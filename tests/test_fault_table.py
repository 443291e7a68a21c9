"""Each row of the table of faults, caused at the wire: what the tap does, and its message."""

import inspect
import socket
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import lxml.etree
import pytest
import requests
import urllib3
import zeep
import zeep.exceptions
from requests.adapters import HTTPAdapter

from fake_listrak import Ask, Reply, fault, html, raw, redirect
from tap_listrak.listrak import transport
from tap_listrak.listrak.faults import ListrakError
from tap_listrak.listrak.response import parse_xml
from tests.support.faults import (
    ANSWERS,
    FAULTS,
    Answer,
    ask_for_lists,
    changed,
    cut_body,
    tiny_account,
)
from tests.support.in_process import workers_ended
from tests.support.listener import Listener
from tests.support.tap import MakeTap

LOCKED = "[Logon] [LoginAttemptsExceeded] Login Attempts Exceeded"
PROHIBITED = "[Logon] [ProhibitedIPAddress] The IP address is not allowed"


@dataclass(frozen=True)
class Case:
    """One way to meet a row: an answer to the first call, or to the WSDL, or an address."""

    row: str
    answer: Answer | None = None
    contract: Answer | None = None
    config: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)


# Bound and not listening: nobody else gets the port, and whoever calls is refused.
CLOSED = socket.socket()
CLOSED.bind(("127.0.0.1", 0))


def closed_port() -> int:
    port: int = CLOSED.getsockname()[1]
    return port


def other_address(url: str) -> dict[str, Any]:
    return {"wsdl_url": url}


CASES: dict[str, Case] = {
    **{name: Case(row, answer) for name, (row, answer) in ANSWERS.items()},
    "wrong password": Case("InvalidLogonAttempt", config={"password": "wrong"}),
    "locked": Case("LoginAttemptsExceeded", lambda ask: fault(f"Op(): {LOCKED}")),
    "other logon": Case("logon", lambda ask: fault("Op(): [Logon] [Inactive] No.")),
    "address not allowed": Case("ProhibitedIPAddress", lambda ask: fault(f"Op(): {PROHIBITED}")),
    "DTD": Case("doctype", lambda ask: changed(ask, r"\?>", "?><!DOCTYPE a []>")),
    "too large": Case("too large", lambda ask: raw(b" " * 800_000)),
    "hang": Case("timeout", lambda ask: Reply(hang=True), config={"request_timeout": 1}),
    "closed port": Case("unreachable", config=other_address(f"http://127.0.0.1:{closed_port()}/")),
    "no TLS there": Case("tls", config=other_address("https://127.0.0.1:{plain}/")),
    "no proxy there": Case(
        "proxy",
        config=other_address("https://listrak.invalid/"),
        env={"HTTPS_PROXY": f"http://127.0.0.1:{closed_port()}"},
    ),
    "impossible host": Case("address", config=other_address("https://a..b/service?wsdl")),
    "WSDL of another service": Case(
        "contract", contract=lambda ask: changed(ask, "ReportRangeMessageContactRead", "Other")
    ),
    "WSDL without services": Case("contract", contract=lambda ask: raw(b"<a/>")),
    "empty definitions": Case(
        "contract",
        contract=lambda ask: raw(b"<definitions xmlns='http://schemas.xmlsoap.org/wsdl/'/>"),
    ),
    "WSDL of a zero": Case("not xml", contract=lambda ask: raw(b"\0")),
    "WSDL in JSON": Case("not xml", contract=lambda ask: raw(b"[]")),
    "WSDL in no encoding": Case(
        "not xml", contract=lambda ask: raw(b"<?xml version='1.0' encoding='utf-99'?><a/>")
    ),
    "WSDL with a DTD": Case(
        "contract", contract=lambda ask: changed(ask, r"\?>", "?><!DOCTYPE a>")
    ),
    "WSDL refused": Case("rejected", contract=lambda ask: html(403)),
    "HTML for the WSDL": Case("not soap", contract=lambda ask: html(200)),
    "WSDL not found": Case("not found", contract=lambda ask: html(404)),
    "WSDL moved": Case("redirect", contract=lambda ask: redirect("http://127.0.0.1:9/?wsdl")),
    "WSDL cut": Case("cut short", contract=cut_body),
}


@pytest.mark.parametrize("name", CASES)
def test_a_fault_of_the_first_call_does_what_its_row_says(
    name: str, make_tap: MakeTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    row = FAULTS[case.row]
    tap = make_tap(tiny_account(), {"concurrency": 1, "request_timeout": 5, **case.config})
    # More than the WSDL has.
    monkeypatch.setattr(transport, "MAX_REPLY_BYTES", 400_000)
    for variable, value in case.env.items():
        monkeypatch.setenv(variable, value)

    def scripted(ask: Ask) -> Reply | None:
        answer = case.contract if ask.operation == "WSDL" else case.answer
        return answer(ask) if answer else None

    tap.service.rules.append(scripted)
    with workers_ended(), Listener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as plain:
        tap.config["wsdl_url"] = tap.config["wsdl_url"].replace("{plain}", str(plain.port))
        run = tap.run()
    assert len(tap.waits) == (4 if row.error.is_retryable else 0)
    assert run.code == row.error.exit_code
    (critical,) = run.lines("CRITICAL")
    assert row.message in critical
    assert critical.startswith("CRITICAL lists")
    assert "Traceback" not in run.err
    assert not run.of_type("RECORD")


def test_every_row_is_met_in_a_test() -> None:
    # test_paging, test_further_streams, test_tls, test_hostile_replies
    met_in_other_tests = {"repeated page", "shifted pages", "no operation"}
    met_in_other_tests |= {"arguments", "incomplete", "untrusted", "ca bundle", "proxy setting"}
    assert {case.row for case in CASES.values()} | met_in_other_tests == set(FAULTS)


def test_every_row_names_what_the_caller_does() -> None:
    for row in FAULTS.values():
        assert issubclass(row.error, ListrakError)
        assert row.message.endswith(".")


# What the libraries below can raise.


def classes(module: ModuleType, *bases: type[BaseException]) -> list[type[BaseException]]:
    return sorted(
        {
            each
            for _, each in inspect.getmembers(module, inspect.isclass)
            if issubclass(each, bases) and not issubclass(each, Warning)
        },
        key=str,
    )


class Chunked:
    """What urllib3's InvalidChunkLength needs of a response."""

    length_remaining = None

    def tell(self) -> int:
        return 1


def made(kind: type[BaseException]) -> BaseException:
    """An instance, with as many arguments as its class wants."""
    special: dict[str, tuple[Any, ...]] = {
        "JSONDecodeError": ("wrong", "[", 1),
        "InvalidChunkLength": (Chunked(), b"f"),
    }
    if kind.__module__ == "builtins":
        return kind("wrong")
    if kind.__name__ in special:
        return kind(*special[kind.__name__])
    wanted = [
        each
        for each in inspect.signature(kind).parameters.values()
        if each.kind is each.POSITIONAL_OR_KEYWORD and each.default is each.empty
    ]
    return kind(*([1] * len(wanted)))


BELOW_A_REQUEST = [
    *classes(requests.exceptions, requests.exceptions.RequestException),
    *classes(urllib3.exceptions, urllib3.exceptions.HTTPError),
    OSError,
    ConnectionResetError,
    TimeoutError,
    UnicodeError,
    ValueError,
]


@pytest.mark.parametrize(
    "kind", BELOW_A_REQUEST, ids=lambda kind: f"{kind.__module__}.{kind.__name__}"
)
def test_whatever_a_request_raises_is_a_row(
    kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = []

    def fails(*args: Any, **kwargs: Any) -> None:
        raised.append(kind)
        raise made(kind)

    monkeypatch.setattr(HTTPAdapter, "send", fails)
    with pytest.raises(ListrakError) as caught:
        ask_for_lists()
    assert caught.value.fault in FAULTS.values()
    assert raised


ZEEP = classes(zeep.exceptions, zeep.exceptions.Error)
OF_A_WSDL = [*ZEEP[:3], RecursionError, AssertionError, NotImplementedError]


@pytest.mark.parametrize(
    ("owner", "name", "kind", "row"),
    [
        *((zeep, "Client", kind, "contract") for kind in OF_A_WSDL),
        (zeep, "Client", zeep.exceptions.XMLSyntaxError, "not xml"),
        *((zeep.Client, "create_message", kind, "arguments") for kind in ZEEP[:2]),
    ],
)
def test_whatever_zeep_raises_of_a_wsdl_or_a_request_is_a_row(
    make_tap: MakeTap,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    kind: type[BaseException],
    row: str,
) -> None:
    url = make_tap(tiny_account()).config["wsdl_url"]

    def fails(*args: Any, **kwargs: Any) -> None:
        raise made(kind)

    monkeypatch.setattr(owner, name, fails)
    with pytest.raises(ListrakError) as caught:
        ask_for_lists(url)
    assert caught.value.fault is FAULTS[row]


@pytest.mark.parametrize("kind", classes(lxml.etree, lxml.etree.LxmlError))
def test_whatever_lxml_raises_of_a_reply_is_a_row(
    kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = issubclass(kind, lxml.etree.ParseError) and not issubclass(kind, AssertionError)
    arguments = ("wrong", 1, 1, 1) if placed else ("wrong",)

    def fails(*args: Any, **kwargs: Any) -> None:
        raise kind(*arguments)

    monkeypatch.setattr("tap_listrak.listrak.response.etree.fromstring", fails)
    with pytest.raises(ListrakError) as caught:
        parse_xml(b"<a/>")
    assert caught.value.fault is FAULTS["not xml"]
