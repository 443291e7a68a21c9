"""What a hostile service gets from the tap: an error of its own, and nothing else."""

import gzip
import json
import re
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
from tests.support.faults import FAULTS, LOGON, NOW, START, Answer, changed, tiny_account
from tests.support.listener import Listener
from tests.support.tap import PASSWORD, USERNAME, MakeTap, Run, Tap

LISTS = "GetContactListCollection"
BOUNCES = "ReportRangeMessageContactBounces"
FILE_SECRET = "what-the-file-holds"


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    return make_tap(tiny_account(), {"start_date": START, "request_timeout": 5})


@pytest.fixture
def other() -> Iterator[Listener]:
    """A service that no test lets the tap call."""
    with Listener() as listener:
        yield listener
        assert listener.connections == 0


def assert_ended(run: Run, *rows: str) -> None:
    """The run ended with a line for the user that is of one of these rows."""
    assert run.code in {FAULTS[row].error.exit_code for row in rows}
    (critical,) = run.lines("CRITICAL")
    assert any(FAULTS[row].message in critical for row in rows), critical
    assert "Traceback" not in run.err
    assert FILE_SECRET not in run.out + run.err


# XML.

LAUGHS = "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' if n else '<!ENTITY l0 "ha">' for n in range(10)
)
DOCTYPES = {
    "a document type": ("<!DOCTYPE a>", "x"),
    "an internal entity": ('<!DOCTYPE a [<!ENTITY e "x">]>', "&e;"),
    "a file": ('<!DOCTYPE a [<!ENTITY e SYSTEM "file://{file}">]>', "&e;"),
    "of parameters": ('<!DOCTYPE a [<!ENTITY % e SYSTEM "http://127.0.0.1:{port}"> %e;]>', "x"),
    "a billion laughs": (f"<!DOCTYPE a [{LAUGHS}]>", "&l9;"),
}


@pytest.mark.parametrize(("operation", "encoding"), [(LISTS, "utf-8"), ("WSDL", "utf-16")])
@pytest.mark.parametrize("name", DOCTYPES)
def test_a_document_type_is_refused_and_nothing_is_fetched(
    tap: Tap, other: Listener, tmp_path: Path, name: str, operation: str, encoding: str
) -> None:
    (tmp_path / "secret.txt").write_text(FILE_SECRET)

    def hostile(ask: Ask) -> Reply:
        doctype, text = DOCTYPES[name]
        doctype = doctype.replace("{port}", str(other.port))
        doctype = doctype.replace("{file}", str(tmp_path / "secret.txt"))
        declaration, rest = ask.honest().body.decode().split("?>", 1)
        declaration = re.sub("(?i)utf-8", encoding, declaration)
        rest, count = re.subn("<ListName>|<wsdl:definitions.*?>", rf"\g<0>{text}", rest, count=1)
        assert count
        return raw(f"{declaration}?>{doctype}{rest}".encode(encoding))

    tap.answer(operation, hostile)
    run = tap.night()
    assert_ended(run, "contract" if operation == "WSDL" else "doctype", "not xml")
    assert not run.of_type("RECORD")


@pytest.mark.parametrize(
    ("operation", "status", "packing"),
    [(LISTS, 200, "none"), (LISTS, 500, "gzip"), ("WSDL", 302, "members")],
)
def test_a_reply_too_large_is_an_error_and_takes_no_memory(
    tap: Tap, monkeypatch: pytest.MonkeyPatch, operation: str, status: int, packing: str
) -> None:
    limit, size = 2**20, 2**25
    monkeypatch.setattr(transport, "MAX_REPLY_BYTES", limit)
    body = {
        "none": b" " * (4 * limit),
        "gzip": gzip.compress(b" " * size),
        "members": gzip.compress(b" " * 2**16) * (size // 2**16),
    }[packing]
    headers = {} if packing == "none" else {"Content-Encoding": "gzip"}
    tap.answer(operation, Reply(body, status, {"Location": "http://127.0.0.1:9/", **headers}))
    tracemalloc.start()
    try:
        run = tap.night()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert_ended(run, "too large")
    assert peak < size / 2


# The WSDL.

SCHEMA = '<wsdl:types><xsd:schema xmlns:xsd="http://www.w3.org/2001/XMLSchema">{}</xsd:schema></wsdl:types>'


@pytest.mark.parametrize(
    "reference",
    [
        '<wsdl:import namespace="urn:a" location="{place}"/>',
        SCHEMA.format('<xsd:import namespace="urn:a" schemaLocation="{place}"/>'),
        SCHEMA.format('<xsd:include schemaLocation="{place}"/>'),
    ],
    ids=["wsdl:import", "xsd:import", "xsd:include"],
)
@pytest.mark.parametrize("place", ["http://127.0.0.1:{port}/", "file://{folder}/", ""])
def test_a_wsdl_that_refers_to_others_is_refused(
    tap: Tap, other: Listener, tmp_path: Path, reference: str, place: str
) -> None:
    place = place.replace("{port}", str(other.port)).replace("{folder}", str(tmp_path))
    (tmp_path / "a.wsdl").write_text(FILE_SECRET)
    added = reference.replace("{place}", f"{place}a.wsdl")
    tap.answer("WSDL", lambda ask: changed(ask, "<wsdl:types>", rf"{added}\g<0>"))
    assert_ended(tap.night(), "contract")
    assert not tap.service.asked


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/v31", "http://example.com/v31"])
def test_the_address_in_the_wsdl_is_not_called(tap: Tap, other: Listener, address: str) -> None:
    place = address.replace("{port}", str(other.port))
    tap.answer("WSDL", lambda ask: changed(ask, '(?<=location=")[^"]*', place))
    run = tap.night()
    assert (run.code, tap.missing(run)) == (0, {})


# Where the credentials go.

HERE = "http://127.0.0.1:{port}/v31/IntegrationService.asmx"


@pytest.mark.parametrize(
    ("operation", "status", "location"),
    [
        *((LISTS, 301, HERE), ("WSDL", 302, HERE), (BOUNCES, 303, HERE), (LISTS, 307, HERE)),
        *((BOUNCES, 308, HERE), (LISTS, 302, "http://[::1"), (LISTS, 302, "http://\xff\xfe")),
        *((LISTS, 302, "//"), (LISTS, 302, ""), (LISTS, 302, "file:///etc/passwd")),
    ],
)
def test_no_redirect_is_followed(
    tap: Tap, other: Listener, operation: str, status: int, location: str
) -> None:
    tap.answer(operation, redirect(location.replace("{port}", str(other.port)), status))
    assert_ended(tap.night(), "redirect")


def test_a_proxy_in_the_environment_gets_nothing_meant_for_this_machine(
    tap: Tap, other: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{other.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert tap.night().code == 0


# Secrets.

ODD_PASSWORD = "<a href='x'>&amp;\"]]>  back\\slash\\n Пароль-\U0001f511 100%s {0}"


def assert_hidden(text: str, password: str) -> None:
    forms = {password, " ".join(password.split()), escape(password), escape(password, quote=False)}
    forms |= {quote(password), json.dumps(password)[1:-1], repr(password)[1:-1]}
    forms |= {secret[: len(secret) * 2 // 3] for secret in (password, USERNAME)}
    assert not [form for form in forms if form in text]


def echoes(password: str) -> dict[str, Answer]:
    said = f"user {USERNAME} with password {password}"
    return {
        "logon": lambda ask: fault(f"{ask.operation}(): {LOGON} for {said}"),
        "fault": lambda ask: fault(f"It broke for {said}"),
        "escaped": lambda ask: fault(f"It broke for {escape(said)}, {quote(said)}, {said!r}"),
        # Its text is cut after 300 characters, in the middle of the password.
        "long fault": lambda ask: fault("x" * (302 - len(password)) + password, 200),
        "WSException": lambda ask: with_exception(ask, f"It broke for {said}"),
        "HTML": lambda ask: raw(f"<html>{said}</html>".encode(), 500),
        "broken XML": lambda ask: raw(f"<a>{escape(said)}</b>".encode()),
        "broken tags": lambda ask: raw(f"<{password}>".encode()),
        "redirect": lambda ask: redirect(f"http://127.0.0.1:9/{quote(said)}"),
        "header": lambda ask: replace(html(503), headers={"X-Said": quote(said)}),
        "the request": lambda ask: raw(f"<Envelope>{escape(said)}</Envelope>".encode()),
    }


@pytest.mark.parametrize("password", [PASSWORD, ODD_PASSWORD])
@pytest.mark.parametrize("name", echoes(""))
def test_a_secret_that_is_echoed_is_shown_nowhere(
    tap: Tap, monkeypatch: pytest.MonkeyPatch, name: str, password: str
) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    tap.service.password = tap.config["password"] = password
    tap.answer(LISTS, echoes(password)[name])
    run = tap.night()
    assert run.code != 0
    assert_hidden(run.out + run.err, password)


def test_a_good_run_at_debug_shows_no_secret(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    run = tap.selecting_all().night()
    assert run.code == 0
    assert "DEBUG" in run.err
    assert_hidden(run.out + run.err + repr(parse_config(tap.config, NOW)), PASSWORD)
