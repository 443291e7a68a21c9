"""What a hostile service gets from the tap: an error of its own, and nothing else."""

import gzip
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from urllib.parse import quote

import pytest

from fake_listrak import Ask, Reply, fault, html, raw, redirect, with_exception
from tap_listrak.config import parse_config
from tap_listrak.listrak import transport
from tap_listrak.listrak.client import ListrakClient
from tap_listrak.metrics import CallMetrics
from tap_listrak.readers import build_readers
from tap_listrak.streams import resolve_tables
from tests.support.faults import ANSWERS, FAULTS, LOGON, NOW, START, Answer, changed, tiny_account
from tests.support.in_process import workers_ended
from tests.support.listener import Listener
from tests.support.tap import PASSWORD, USERNAME, MakeTap, Run, Tap
from tests.support.tls import tls_context, trust_it

LISTS = "GetContactListCollection"
BOUNCES = "ReportRangeMessageContactBounces"
FILE_SECRET = "what-the-file-holds"


@pytest.fixture
def tiny(make_tap: MakeTap) -> Tap:
    return make_tap(tiny_account(), {"start_date": START, "request_timeout": 5})


@pytest.fixture
def other() -> Iterator[Listener]:
    with Listener() as listener:
        yield listener


def run(tap: Tap, *flags: str, **config: object) -> Run:
    with workers_ended():
        return tap.run(*flags, clock=NOW, config=config)


def assert_told(done: Run, *rows: str) -> None:
    """The run ended with a line for the user that is of one of these rows."""
    assert done.code in {FAULTS[row].error.exit_code for row in rows}
    (critical,) = done.lines("CRITICAL")
    assert any(FAULTS[row].message in critical for row in rows), critical
    assert "Traceback" not in done.err


# XML.

LAUGHS = "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' if n else '<!ENTITY l0 "ha">' for n in range(10)
)
DOCTYPES: dict[str, tuple[str, str]] = {
    "a document type": ("<!DOCTYPE a>", "x"),
    "an internal entity": ('<!DOCTYPE a [<!ENTITY e "x">]>', "&e;"),
    "a file": ('<!DOCTYPE a [<!ENTITY e SYSTEM "file://{file}">]>', "&e;"),
    "of parameters": (
        '<!DOCTYPE a [<!ENTITY % e SYSTEM "http://127.0.0.1:{port}"> %e;]>',
        "x",
    ),
    "a billion laughs": (f"<!DOCTYPE a [{LAUGHS}]>", "&l9;"),
}


@pytest.mark.parametrize(("operation", "encoding"), [(LISTS, "utf-8"), ("WSDL", "utf-16")])
@pytest.mark.parametrize("name", DOCTYPES)
def test_a_document_type_is_refused_and_nothing_is_fetched(
    tiny: Tap, other: Listener, tmp_path: Path, name: str, operation: str, encoding: str
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(FILE_SECRET)

    def hostile(ask: Ask) -> Reply:
        doctype, text = DOCTYPES[name]
        filled = doctype.replace("{port}", str(other.port)).replace("{file}", str(secret))
        honest = ask.honest().body.decode()
        declaration, rest = honest.split("?>", 1)
        for element in ("ListName", "wsdl:documentation", "wsdl:definitions"):
            opening, found, behind = rest.partition(f"<{element}>")
            if found:
                rest = opening + found + text + behind
                break
        declaration = declaration.replace("utf-8", encoding).replace("UTF-8", encoding)
        return raw(f"{declaration}?>{filled}{rest}".encode(encoding))

    tiny.answer(operation, hostile)
    done = run(tiny)
    assert_told(done, "contract" if operation == "WSDL" else "doctype", "not xml")
    assert other.connections == 0
    assert FILE_SECRET not in done.out + done.err
    assert not done.of_type("RECORD")


@pytest.mark.parametrize(
    ("operation", "content"),
    [
        (LISTS, b"<a " + b"b" * 12_000_000 + b"=''/>"),
        ("WSDL", b"<a>" * 100_000),
        ("WSDL", b"<a>" + b"x" * 12_000_000 + b"</a>"),
    ],
    ids=["a huge name", "deep", "a huge text"],
)
def test_xml_beyond_the_parsers_limits_fails(tiny: Tap, operation: str, content: bytes) -> None:
    def hostile(ask: Ask) -> Reply:
        head, found, rest = ask.honest().body.partition(b"<ListName>")
        return raw(head + found + content + rest if found else content)

    tiny.answer(operation, hostile)
    assert_told(run(tiny), "contract" if operation == "WSDL" else "not xml", "not xml")


@pytest.mark.parametrize(
    ("operation", "status", "packing"),
    [
        *((LISTS, 200, "none"), (LISTS, 500, "gzip"), (LISTS, 200, "members")),
        *(("WSDL", 200, "gzip"), ("WSDL", 302, "none")),
    ],
)
def test_a_reply_too_large_is_an_error_and_takes_no_memory(
    tiny: Tap, monkeypatch: pytest.MonkeyPatch, operation: str, status: int, packing: str
) -> None:
    limit, size = 2**20, 2**25
    monkeypatch.setattr(transport, "MAX_REPLY_BYTES", limit)
    body = b" " * (4 * limit)
    headers: dict[str, str | None] = {"Location": "http://127.0.0.1:9/"}
    if packing != "none":
        body = gzip.compress(b" " * size)
        headers["Content-Encoding"] = "gzip"
    if packing == "members":
        body = gzip.compress(b" " * 2**16) * (size // 2**16)
    tiny.answer(operation, Reply(body, status, headers))
    tracemalloc.start()
    try:
        done = run(tiny)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert_told(done, "too large")
    assert peak < size / 2


# The WSDL.


@pytest.mark.parametrize(
    "reference",
    [
        '<wsdl:import namespace="urn:a" location="{place}"/>',
        '<wsdl:types><xsd:schema xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
        '<xsd:import namespace="urn:a" schemaLocation="{place}"/></xsd:schema></wsdl:types>',
        '<wsdl:types><xsd:schema xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
        '<xsd:include schemaLocation="{place}"/></xsd:schema></wsdl:types>',
    ],
    ids=["wsdl:import", "xsd:import", "xsd:include"],
)
@pytest.mark.parametrize("scheme", ["http", "file", "relative"])
def test_a_wsdl_that_refers_to_others_is_refused(
    tiny: Tap, other: Listener, tmp_path: Path, reference: str, scheme: str
) -> None:
    places = {"http": f"http://127.0.0.1:{other.port}/", "file": f"file://{tmp_path}/"}
    added = reference.replace("{place}", places.get(scheme, "") + "a.wsdl")
    (tmp_path / "a.wsdl").write_text(FILE_SECRET)

    def referring(ask: Ask) -> Reply:
        before, opening, after = ask.honest().body.decode().partition("<wsdl:types>")
        assert opening
        return raw(f"{before}{added}{opening}{after}".encode())

    tiny.answer("WSDL", referring)
    done = run(tiny)
    assert_told(done, "contract")
    assert other.connections == 0
    assert not tiny.service.asked
    assert FILE_SECRET not in done.out + done.err


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/v31", "http://example.com/v31"])
def test_the_address_in_the_wsdl_is_not_called(tiny: Tap, other: Listener, address: str) -> None:
    place = address.replace("{port}", str(other.port))
    tiny.answer("WSDL", lambda ask: changed(ask, '(?<=location=")[^"]*', place))
    done = run(tiny)
    assert done.code == 0
    assert other.connections == 0
    assert len(tiny.service.asked) > 100


# Where the credentials go.


HERE = "http://127.0.0.1:{port}/v31/IntegrationService.asmx"
NO_ADDRESSES = ("http://[::1", "http://\xff\xfe", "", "//", "http://a:b:c/", "file:///etc/passwd")


@pytest.mark.parametrize(
    ("operation", "status", "location"),
    [
        *((LISTS, 301, HERE), ("WSDL", 302, HERE), (BOUNCES, 303, HERE)),
        *((LISTS, 307, HERE), (BOUNCES, 308, HERE)),
        *((LISTS, 302, each) for each in NO_ADDRESSES),
    ],
)
def test_no_redirect_is_followed(
    tiny: Tap, other: Listener, operation: str, status: int, location: str
) -> None:
    tiny.answer(operation, redirect(location.replace("{port}", str(other.port)), status))
    assert_told(run(tiny), "redirect")
    assert other.connections == 0


def test_a_proxy_in_the_environment_gets_nothing_meant_for_this_machine(
    tiny: Tap, other: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{other.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert run(tiny).code == 0
    assert other.connections == 0


def test_a_certificate_that_nobody_trusts_gets_no_request(
    tiny: Tap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
    with Listener(answer, tls_context(tmp_path)) as secure:
        url = f"https://127.0.0.1:{secure.port}/v31?wsdl"
        done = run(tiny, wsdl_url=url)
        assert_told(done, "untrusted")
        assert secure.connections == 1
        assert not secure.received

        trust_it(tmp_path, monkeypatch)
        done = run(tiny, wsdl_url=url)
        assert_told(done, "rejected", "forbidden")
        assert secure.received.startswith(b"GET /v31?wsdl")


# Secrets.

ODD_PASSWORDS = [
    *("<a href='x'>&amp;\"]]>", "two  spaces   here", "Пароль-ß-\U0001f511-long"),
    "back\\slash\\n and 100%s {0}",
]


def assert_hidden(text: str, password: str) -> None:
    forms = {
        password,
        escape(password),
        escape(password, quote=False),
        json.dumps(password)[1:-1],
        repr(password)[1:-1],
        quote(password),
        " ".join(password.split()),
        password[: len(password) * 2 // 3],
        USERNAME,
        USERNAME[: len(USERNAME) * 2 // 3],
    }
    shown = [form for form in forms if form in text]
    assert not shown


def echoes(password: str) -> dict[str, Answer]:
    said = f"user {USERNAME} with password {password}"
    return {
        "logon": lambda ask: fault(f"{ask.operation}(): {LOGON} for {said}"),
        "fault": lambda ask: fault(f"It broke for {said}"),
        "fault at 200": lambda ask: fault(f"It broke for {said}", 200),
        "long fault": lambda ask: fault("x" * (290 - len(said)) + said),
        # Its text is cut after 300 characters, in the middle of the password.
        "longer fault": lambda ask: fault("x" * (302 - len(password)) + password, 200),
        "WSException": lambda ask: with_exception(ask, f"It broke for {said}"),
        "HTML": lambda ask: raw(f"<html>{said}</html>".encode(), 500),
        "broken XML": lambda ask: raw(f"<a>{escape(said)}</b>".encode()),
        "broken tags": lambda ask: raw(f"<{password}>".encode()),
        "not XML": lambda ask: raw(said.encode()),
        "redirect": lambda ask: redirect(f"http://127.0.0.1:9/{quote(said)}"),
        "header": lambda ask: replace(html(503), headers={"X-Said": quote(said)}),
        "the request": lambda ask: raw(f"<Envelope>{escape(said)}</Envelope>".encode()),
    }


@pytest.mark.parametrize(
    ("operation", "password"),
    [
        (LISTS, PASSWORD),
        *(
            pytest.param(operation, password, marks=pytest.mark.long)
            for operation, password in (
                *((BOUNCES, PASSWORD), ("WSDL", PASSWORD)),
                *((LISTS, each) for each in ODD_PASSWORDS),
            )
        ),
    ],
)
@pytest.mark.parametrize("name", echoes(""))
def test_a_secret_that_is_echoed_is_shown_nowhere(
    tiny: Tap, monkeypatch: pytest.MonkeyPatch, name: str, operation: str, password: str
) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    tiny.service.password = tiny.config["password"] = password
    tiny.answer(operation, echoes(password)[name])
    done = run(tiny)
    assert operation == BOUNCES or done.code != 0
    assert_hidden(done.out + done.err, password)


@pytest.mark.long
@pytest.mark.parametrize("operation", [LISTS, "WSDL"])
@pytest.mark.parametrize("name", ANSWERS)
def test_no_fault_shows_a_secret_at_debug(
    tiny: Tap, monkeypatch: pytest.MonkeyPatch, name: str, operation: str
) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    if operation == "WSDL" and "WSException" in name:
        return
    tiny.answer(operation, ANSWERS[name][1])
    done = run(tiny)
    assert "DEBUG" in done.err
    assert_hidden(done.out + done.err, PASSWORD)


@pytest.mark.parametrize("flags", [(), ("--discover",)], ids=["sync", "discover"])
def test_a_good_run_at_debug_shows_no_secret(
    tiny: Tap, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    done = run(tiny.selecting_all(), *flags)
    assert done.code == 0
    assert "DEBUG" in done.err
    assert_hidden(done.out + done.err, PASSWORD)


def test_a_process_shows_no_secret_either(tiny: Tap) -> None:
    said = f"user {USERNAME} with password {PASSWORD}"
    tiny.answer(LISTS, fault(f"Op(): {LOGON} for {said}"))
    done = tiny.process(env={"TAP_LISTRAK_LOGLEVEL": "DEBUG"})
    assert done.code == 3
    assert "Traceback" in done.err  # at DEBUG
    assert "***" in done.err
    assert_hidden(done.out + done.err, PASSWORD)


def test_the_repr_of_config_and_client_holds_no_secret(tiny: Tap) -> None:
    config = parse_config(tiny.config, NOW)
    readers = build_readers(resolve_tables(config), {}, config)
    client = ListrakClient(config, readers, CallMetrics(), tiny.waits.append, lambda: NOW)
    assert_hidden(repr(config) + str(config) + repr(client) + repr(vars(client)), PASSWORD)
