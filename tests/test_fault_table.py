"""Each row of the table of faults, met at the wire: what is done, and what the user is told."""

from __future__ import annotations

import contextlib
import gzip
import inspect
import queue
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from types import ModuleType
from typing import Any

import lxml.etree
import pytest
import requests
import urllib3
import zeep
import zeep.exceptions
from requests.adapters import HTTPAdapter

from fake_listrak import (
    OPERATIONS,
    Account,
    Ask,
    Reply,
    fault,
    html,
    raw,
    redirect,
    with_exception,
)
from fake_listrak.contract import MESSAGE_OPERATIONS
from tap_listrak import client, config, reply
from tap_listrak.errors import FAULTS, Lasting, ListrakError, Passing, Unreadable
from tap_listrak.pipeline import Workers
from tap_listrak.records import Reader
from tap_listrak.streams import LISTS
from tests.conftest import MakeTap
from tests.support.tap import PASSWORD, USERNAME

Answer = Callable[[Ask], Reply]

NOW = datetime(2026, 7, 1, tzinfo=timezone.utc)
START = "2026-06-10T00:00:00Z"
LOGON = "[Logon] [InvalidLogonAttempt] Invalid Credentials Provided"
LOCKED = "[Logon] [LoginAttemptsExceeded] Login Attempts Exceeded"
PROHIBITED = "[Logon] [ProhibitedIPAddress] The IP address is not allowed"
UNREADABLE = "Server was unable to read request. ---> There is an error in the XML document."


def tiny_account() -> Account:
    """Two lists of two messages; whatever is paged has pages of 2, 2 and 1 rows."""
    return Account(
        lists=2,
        messages=2,
        contacts=5,
        page_size=2,
        start=datetime(2026, 6, 10),
        end=datetime(2026, 6, 30),
        counts=dict.fromkeys(MESSAGE_OPERATIONS, 5),
    )


def changed(ask: Ask, pattern: str, by: str) -> Reply:
    """The honest reply, with the first place that fits a pattern replaced."""
    honest = ask.honest()
    return replace(honest, body=re.sub(pattern.encode(), by.encode(), honest.body, count=1))


def cut_body(ask: Ask) -> Reply:
    honest = ask.honest()
    return replace(honest, cut=len(honest.body) // 2)


def truncated_xml(ask: Ask) -> Reply:
    honest = ask.honest()
    return replace(honest, body=honest.body[: len(honest.body) // 2])


def wrong_gzip(ask: Ask) -> Reply:
    return replace(ask.honest(), headers={"Content-Encoding": "gzip"})


def cut_gzip(ask: Ask) -> Reply:
    body = gzip.compress(ask.honest().body)
    return Reply(body[: len(body) // 2], headers={"Content-Encoding": "gzip"})


def of_another_operation(ask: Ask) -> Reply:
    other = "ReportListMessageActivity"
    if ask.operation == other:
        other = "GetContactListCollection"
    honest = ask.honest()
    return replace(honest, body=honest.body.replace(ask.operation.encode(), other.encode()))


def wrong_value(ask: Ask) -> Reply:
    """A value that cannot be read, in the first typed field of the reply; else a nested element."""
    honest = ask.honest()
    if f"<{OPERATIONS[ask.operation].row}>".encode() not in honest.body:
        return truncated_xml(ask)
    for name in ("MsgID", "ListID", "BounceCount", "RemovalDate", "AdditionDate"):
        if f"<{name}>".encode() in honest.body:
            return changed(ask, rf"<{name}>[^<]*<", f"<{name}>twelve<")
    return changed(ask, "<EmailAddress>", "<EmailAddress><b>x</b>")


# What a call can be answered with, and the row of FAULTS that it is.
ANSWERS: dict[str, tuple[str, Answer]] = {
    "404 HTML": ("404", lambda ask: html(404)),
    "408": ("429", lambda ask: html(408)),
    "429": ("429", lambda ask: html(429)),
    "500 HTML": ("5xx", lambda ask: html(500)),
    "502 HTML": ("5xx", lambda ask: html(502)),
    "503": ("5xx", lambda ask: raw(b"", 503)),
    "401": ("401", lambda ask: html(401)),
    "403": ("401", lambda ask: html(403)),
    "400": ("4xx", lambda ask: html(400)),
    "redirect": ("redirect", lambda ask: redirect("http://127.0.0.1:9/")),
    "reset": ("connection", lambda ask: Reply(reset=True)),
    "cut body": ("cut short", cut_body),
    "truncated XML": ("not xml", truncated_xml),
    "HTML with 200": ("not soap", lambda ask: html(200)),
    "empty body": ("not xml", lambda ask: raw(b"")),
    "WSException": ("exception", lambda ask: with_exception(ask, "It broke.")),
    "WSException and rows": ("exception", lambda ask: with_exception(ask, "It broke.", rows=True)),
    "WSException with code": ("code", lambda ask: with_exception(ask, "[User] [Denied] No.")),
    "WSException with code at 500": (
        "code",
        lambda ask: replace(with_exception(ask, "[User] [Denied] No."), status=500),
    ),
    "fault at 500": ("5xx", lambda ask: fault("It broke.")),
    "fault at 200": ("fault", lambda ask: fault("It broke.", 200)),
    "fault with code": ("code", lambda ask: fault(f"{ask.operation}(): [User] [Denied] No.")),
    "fault with code at 200": ("code", lambda ask: fault("Op(): [User] [Denied] No.", 200)),
    "fault with code at 404": ("code", lambda ask: fault("Op(): [User] [Denied] No.", 404)),
    "unreadable request": ("unreadable request", lambda ask: fault(UNREADABLE)),
    "wrong gzip": ("cut short", wrong_gzip),
    "cut gzip": ("not xml", cut_gzip),
    "other operation": ("not soap", of_another_operation),
    "unreadable value": ("value", wrong_value),
}


@dataclass(frozen=True)
class Case:
    """One way to meet a row: an answer to the first call, or to the WSDL, or an address."""

    row: str
    answer: Answer | None = None
    contract: Answer | None = None
    config: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def workers_ended() -> Iterator[None]:
    """End the threads of the runs within, as the end of the tap's own process would."""
    made: list[Workers] = []
    before = threading.enumerate()

    class Noted(Workers):
        def __init__(self, count: int) -> None:
            super().__init__(count)
            made.append(self)

        def _work(self) -> None:
            with contextlib.suppress(SystemExit):
                super()._work()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tap_listrak.cli.Workers", Noted)
        try:
            yield
        finally:
            for each in made:
                with contextlib.suppress(queue.Empty):
                    while True:
                        each._todo.get_nowait()
                for _ in range(each.count):
                    each._todo.put(sys.exit)
            for thread in threading.enumerate():
                if thread.name.startswith("worker-") and thread not in before:
                    thread.join(10)


class Listener:
    """A second service, which must not be asked: notes what came, and may answer with bytes."""

    def __init__(self, answer: bytes = b"", context: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._context = context
        self.connections = 0
        self.received = b""

    def __enter__(self) -> Listener:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                with contextlib.suppress(OSError):
                    self._meet(connection)

    def _meet(self, plain: socket.socket) -> None:
        plain.settimeout(5)
        secure = self._context and self._context.wrap_socket(plain, server_side=True)
        with secure or plain as connection:
            self.received += connection.recv(65536)
            connection.sendall(self._answer)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
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
    "too large": Case("too large", lambda ask: raw(b" " * 200_000)),
    "hang": Case("timeout", lambda ask: Reply(hang=True), config={"request_timeout": 1}),
    "closed port": Case("connection", config=other_address(f"http://127.0.0.1:{closed_port()}/")),
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
    "WSDL with a DTD": Case(
        "contract", contract=lambda ask: changed(ask, r"\?>", "?><!DOCTYPE a>")
    ),
    "WSDL refused": Case("4xx", contract=lambda ask: html(403)),
    "WSDL not found": Case("404", contract=lambda ask: html(404)),
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
    monkeypatch.setattr(client, "LARGEST_REPLY", 100_000)
    for variable, value in case.env.items():
        monkeypatch.setenv(variable, value)

    def scripted(ask: Ask) -> Reply | None:
        answer = case.contract if ask.operation == "WSDL" else case.answer
        return answer(ask) if answer else None

    tap.service.rules.append(scripted)
    with workers_ended(), Listener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as plain:
        tap.config["wsdl_url"] = tap.config["wsdl_url"].replace("{plain}", str(plain.port))
        run = tap.run()
    assert len(tap.waits) == (4 if issubclass(row.error, Passing) else 0)
    assert run.code == row.error.exit_code
    (critical,) = run.lines("CRITICAL")
    assert row.told in critical
    assert critical.startswith("CRITICAL lists")
    assert "Traceback" not in run.err
    assert not run.of_type("RECORD")


def test_every_row_is_met_in_a_test() -> None:
    met_in_test_paging = {"repeated page"}
    assert {case.row for case in CASES.values()} | met_in_test_paging == set(FAULTS)


def test_every_row_names_what_the_caller_does() -> None:
    for row in FAULTS.values():
        assert issubclass(row.error, (Passing, Lasting, Unreadable))
        assert row.seen
        assert row.told.endswith(".")


def test_a_row_is_told_with_what_was_seen(make_tap: MakeTap) -> None:
    tap = make_tap(tiny_account())
    tap.service.rules.append(lambda ask: html(400) if ask.operation != "WSDL" else None)
    (critical,) = tap.run().lines("CRITICAL")
    assert "HTTP 400" in critical


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
    """All that urllib3's InvalidChunkLength asks of a response."""

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


def ask_for_lists(url: str = "http://127.0.0.1:9/?wsdl") -> None:
    """Make one call."""
    raw_config = {
        "username": USERNAME,
        "password": PASSWORD,
        "start_date": START,
        "wsdl_url": url,
    }
    given = config.parse(raw_config, NOW)
    asking = client.Client(given, sleep=lambda seconds: None)
    asking.call(Reader(LISTS, LISTS.published_key, given), {}, "of the account")


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


@pytest.fixture
def failing_at(monkeypatch: pytest.MonkeyPatch, make_tap: MakeTap) -> Callable[..., None]:
    """Calls a service while a library's function raises; the call must give a row."""
    url = make_tap(tiny_account()).config["wsdl_url"]

    def check(owner: Any, name: str, kind: type[BaseException], row: str) -> None:
        def fails(*args: Any, **kwargs: Any) -> None:
            raise made(kind)

        monkeypatch.setattr(owner, name, fails)
        with pytest.raises(ListrakError) as caught:
            ask_for_lists(url)
        assert caught.value.fault is FAULTS[row]

    return check


ZEEP = classes(zeep.exceptions, zeep.exceptions.Error)


@pytest.mark.parametrize("kind", [*ZEEP, RecursionError, AssertionError, NotImplementedError])
def test_whatever_zeep_raises_of_a_wsdl_is_a_row(
    kind: type[BaseException], failing_at: Callable[..., None]
) -> None:
    damaged = kind is zeep.exceptions.XMLSyntaxError
    failing_at(zeep, "Client", kind, "not xml" if damaged else "contract")


@pytest.mark.parametrize("kind", ZEEP)
def test_whatever_zeep_raises_of_a_request_is_a_row(
    kind: type[BaseException], failing_at: Callable[..., None]
) -> None:
    failing_at(zeep.Client, "create_message", kind, "contract")


@pytest.mark.parametrize("kind", classes(lxml.etree, lxml.etree.LxmlError))
def test_whatever_lxml_raises_of_a_reply_is_a_row(
    kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = issubclass(kind, lxml.etree.ParseError) and not issubclass(kind, AssertionError)
    arguments = ("wrong", 1, 1, 1) if placed else ("wrong",)

    def fails(*args: Any, **kwargs: Any) -> None:
        raise kind(*arguments)

    monkeypatch.setattr("tap_listrak.reply.etree.fromstring", fails)
    with pytest.raises(ListrakError) as caught:
        reply.parse(b"<a/>")
    assert caught.value.fault is FAULTS["not xml"]
