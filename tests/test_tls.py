"""Over TLS: what breaks is retried, what cannot be trusted or used is named at once."""

from dataclasses import replace
from pathlib import Path

import pytest

from fake_listrak import Ask, Reply
from tests.support.faults import FAULTS, START, tiny_account
from tests.support.listener import Listener
from tests.support.tap import MakeTap, Run, Tap
from tests.support.tls import tls_context, trust_it

OPENS = "ReportRangeMessageContactOpen"
# A record of TLS 1.2: the fatal alert handshake_failure.
ALERT = bytes.fromhex("15 03 03 00 02 02 28")
# A record of application data that no key of the connection made.
CORRUPT = bytes.fromhex("17 03 03 00 30") + b"x" * 0x30
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SECRET = "what-nobody-may-see"


@pytest.fixture
def tap(make_tap: MakeTap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tap:
    """A tap that trusts the certificate of its service."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    trust_it(tmp_path, monkeypatch)
    config = {"start_date": START, "concurrency": 1, "request_timeout": 5}
    return make_tap(tiny_account(), config, tls=tls_context(tmp_path))


@pytest.mark.parametrize(("handshake", "times"), [(b"", 1), (ALERT, 4), (PLAIN, 1)])
def test_a_handshake_that_breaks_is_tried_again(tap: Tap, handshake: bytes, times: int) -> None:
    tap.service.handshakes += [handshake] * times
    run = tap.night()
    assert (run.code, tap.missing(run), len(tap.waits)) == (0, {}, times)
    messages = [FAULTS["tls"].message, FAULTS["connection"].message]
    assert all(any(each in line for each in messages) for line in run.warnings())


@pytest.mark.parametrize(
    ("operation", "below_tls"),
    [(OPENS, CORRUPT), ("WSDL", ALERT), (OPENS, PLAIN), ("WSDL", b"")],
    ids=["corrupt", "alert", "plain", "closed"],
)
def test_tls_broken_in_mid_reply_is_retried(tap: Tap, operation: str, below_tls: bytes) -> None:
    def breaks(ask: Ask) -> Reply | None:
        return None if tap.waits else replace(ask.honest(), cut=200, below_tls=below_tls)

    tap.answer(operation, breaks)
    run = tap.night()
    assert (run.code, tap.missing(run), len(tap.waits)) == (0, {}, 1)


# What cannot be trusted or used.


def assert_ended(tap: Tap, run: Run, row: str, waits: int = 0) -> None:
    """The run ended with the message of a row, and sent no request."""
    (critical,) = run.lines("CRITICAL")
    assert FAULTS[row].message in critical
    assert SECRET not in run.err
    assert len(tap.waits) == waits
    assert not tap.service.asked


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_that_nobody_trusts_gets_no_request(
    tap: Tap, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if host == "127.0.0.1":  # the certificate is for this one
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    run = tap.night(config={"wsdl_url": tap.service.url.replace("127.0.0.1", host)})
    assert_ended(tap, run, "untrusted")
    assert tap.service.connections == 1


# By row and variable, values with these parts.
PARTS = {"USER": f"user:{SECRET}", "HERE": "127.0.0.1"}
UNUSABLE = [
    *(("ca bundle", name, "FOLDER/missing") for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")),
    ("ca bundle", "REQUESTS_CA_BUNDLE", "FOLDER/empty"),
    ("proxy setting", "all_proxy", "http://USER#@host"),
    *(
        ("proxy setting", "HTTPS_PROXY", proxy)
        for proxy in (
            *("http://USER#@host", "USER@HERE:3128", "http://USER@host:port", "http:/USER@HERE"),
            *("http://USER@HERE:99999", "http://USER@HERE:0", "http://USER@[::1", "http://"),
            *("socks5://USER@HERE:1080", "ftp://USER@HERE"),
        )
    ),
]


@pytest.mark.parametrize(("row", "variable", "value"), UNUSABLE)
def test_a_ca_bundle_or_proxy_that_cannot_be_used_is_named_before_any_call(
    tap: Tap, row: str, variable: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").write_text("no certificate")
    if row == "ca bundle":
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    for name, part in {**PARTS, "FOLDER": str(tmp_path)}.items():
        value = value.replace(name, part)
    monkeypatch.setenv(variable, value)
    assert_ended(tap, tap.night(), row)
    assert not tap.service.connections


@pytest.mark.parametrize(
    ("answer", "row", "waits"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "proxy setting", 0),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "proxy setting", 0),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "proxy", 4),
        (b"", "connection", 4),
    ],
)
def test_a_proxy_that_opens_no_tunnel_is_named_without_its_address(
    tap: Tap, answer: bytes, row: str, waits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Listener(answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
        run = tap.night()
    assert_ended(tap, run, row, waits)
    assert str(proxy.port) not in run.err


@pytest.mark.parametrize("entry", ["default", "machine 127.0.0.1"])
def test_a_netrc_adds_no_credentials_and_a_cookie_is_not_sent_back(
    tap: Tap, entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text(f"{entry} login someone password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    tap.service.rules.append(
        lambda ask: replace(ask.honest(), headers={"Set-Cookie": "a=b; Path=/"})
    )
    assert tap.night().code == 0
    headers = {name for ask in tap.service.asked for name in ask.headers}
    assert "user-agent" in headers
    assert not {"authorization", "cookie"} & headers
