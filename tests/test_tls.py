"""Over TLS: what breaks is retried, what cannot be trusted or used is named at once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fake_listrak import Ask, Reply
from tests.support.faults import FAULTS, NOW, START, tiny_account
from tests.support.in_process import workers_ended
from tests.support.listener import Listener
from tests.support.runs import rows
from tests.support.tap import MakeTap, Run, Tap
from tests.support.tls import tls_context, trust_it

OPENS = "ReportRangeMessageContactOpen"
# A record of TLS 1.2: the fatal alert handshake_failure.
ALERT = bytes.fromhex("15 03 03 00 02 02 28")
# A record of application data that no key of the connection made.
CORRUPT = bytes.fromhex("17 03 03 00 30") + b"x" * 0x30
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
BROKEN_HANDSHAKES = {"closed": b"", "alert": ALERT, "plain text": PLAIN}
SECRET = "what-nobody-may-see"


@pytest.fixture
def secure(make_tap: MakeTap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tap:
    """A tap that trusts the certificate of its service."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    trust_it(tmp_path, monkeypatch)
    config = {"start_date": START, "concurrency": 1, "request_timeout": 5}
    return make_tap(tiny_account(), config, tls=tls_context(tmp_path))


def run(tap: Tap, **config: object) -> Run:
    with workers_ended():
        return tap.run(clock=NOW, config=config)


def test_a_run_over_tls_gives_what_one_in_the_clear_gives(secure: Tap, make_tap: MakeTap) -> None:
    plain = make_tap(tiny_account(), {"start_date": START, "concurrency": 1})
    assert rows(run(secure)) == rows(run(plain))


@pytest.mark.parametrize(("name", "times"), [("closed", 1), ("alert", 4), ("plain text", 1)])
def test_a_handshake_that_breaks_is_tried_again(secure: Tap, name: str, times: int) -> None:
    secure.service.handshakes += [BROKEN_HANDSHAKES[name]] * times
    done = run(secure)
    assert done.code == 0
    assert len(secure.waits) == times
    messages = [FAULTS["tls"].message, FAULTS["connection"].message]
    assert all(any(each in line for each in messages) for line in done.warnings())


@pytest.mark.parametrize(
    ("operation", "below_tls"),
    [(OPENS, CORRUPT), ("WSDL", ALERT), (OPENS, PLAIN), ("WSDL", b"")],
    ids=["corrupt", "alert", "plain", "closed"],
)
def test_tls_broken_in_mid_reply_is_retried(secure: Tap, operation: str, below_tls: bytes) -> None:
    left = [operation]

    def breaks(ask: Ask) -> Reply | None:
        if ask.operation not in left:
            return None
        left.remove(operation)
        return replace(ask.honest(), cut=200, below_tls=below_tls)

    secure.service.rules.append(breaks)
    done = run(secure)
    assert done.code == 0
    assert len(secure.waits) == 1
    assert not left


# What cannot be trusted.


def test_a_certificate_of_another_host_is_tried_once(secure: Tap) -> None:
    done = run(secure, wsdl_url=secure.service.url.replace("127.0.0.1", "localhost"))
    assert FAULTS["untrusted"].message in done.lines("CRITICAL")[0]
    assert secure.service.connections == 1
    assert not secure.waits


def missing(folder: Path) -> Path:
    return folder / "missing.pem"


def without_certificates(folder: Path) -> Path:
    (folder / "empty.pem").write_text("nothing")
    return folder / "empty.pem"


@pytest.mark.parametrize("bundle", [missing, without_certificates])
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_ca_bundle_that_cannot_be_used_is_named_before_any_call(
    secure: Tap,
    bundle: Callable[[Path], Path],
    variable: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.setenv(variable, str(bundle(tmp_path)))
    done = run(secure)
    (critical,) = done.lines("CRITICAL")
    assert FAULTS["ca bundle"].message in critical
    assert "Traceback" not in done.err
    assert not secure.service.connections
    assert not secure.waits


# Proxies.


@pytest.mark.parametrize(
    "proxy",
    [
        *(f"http://user:{SECRET}#@host", f"user:{SECRET}@127.0.0.1:3128"),
        *(f"http://user:{SECRET}@host:port", f"http://user:{SECRET}@127.0.0.1:99999"),
        *(f"http://user:{SECRET}@127.0.0.1:0", f"http://user:{SECRET}@[::1"),
        *(f"socks5://user:{SECRET}@127.0.0.1:1080", f"ftp://user:{SECRET}@127.0.0.1"),
        *(f"http:/user:{SECRET}@127.0.0.1", "http://"),
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
def test_a_proxy_that_cannot_be_used_is_named_before_any_call(
    secure: Tap, proxy: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy)
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    done = run(secure)
    (critical,) = done.lines("CRITICAL")
    assert FAULTS["proxy setting"].message in critical
    assert SECRET not in done.err
    assert not secure.service.connections
    assert not secure.waits


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
    secure: Tap, answer: bytes, row: str, waits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    with Listener(answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
        done = run(secure)
    (critical,) = done.lines("CRITICAL")
    assert FAULTS[row].message in critical
    assert SECRET not in done.err
    assert str(proxy.port) not in done.err
    assert len(secure.waits) == waits
    assert not secure.service.connections


# What else is on the machine.


@pytest.mark.parametrize("entry", ["default", "machine 127.0.0.1"])
def test_a_netrc_adds_no_credentials_and_a_cookie_is_not_sent_back(
    secure: Tap, entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"{entry} login someone password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    headers: list[str] = []

    def sets_a_cookie(ask: Ask) -> Reply:
        headers.extend(ask.headers)
        return replace(ask.honest(), headers={"Set-Cookie": "a=b; Path=/"})

    secure.service.rules.append(sets_a_cookie)
    assert run(secure).code == 0
    assert "user-agent" in headers
    assert not {"authorization", "cookie"} & {*headers}
