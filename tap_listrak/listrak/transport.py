"""Send an HTTP request, with a time and a size limit. The only module that uses requests."""

from __future__ import annotations

import email.utils
import functools
import gzip
import io
import os
import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import prepend_scheme_if_needed, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout, parse_url

from tap_listrak.config import Config
from tap_listrak.listrak.classify import error_from_exception
from tap_listrak.listrak.faults import Condition, make_error

# Seconds for connecting and the TLS handshake; a reachable host needs only a few.
MAX_CONNECT_SECONDS = 30
# The longest Retry-After accepted, in seconds.
MAX_RETRY_AFTER = 300.0
# Ten times the largest known reply, a year's messages of a busy list.
MAX_REPLY_BYTES = 64 * 2**20
# Exceptions of sockets, TLS, addresses and gzip that requests does not wrap.
UNDERLYING = (OSError, ValueError, EOFError, zlib.error)


@dataclass(frozen=True)
class HttpReply:
    """The reply to one request.

    `retry_after` is in seconds from now, 0 if absent. `date` is the Date header, by the service's
    own clock.
    """

    status: int
    body: bytes
    retry_after: float
    date: str


def parse_date(text: str) -> datetime | None:
    """Parse an HTTP date; return None if it is invalid."""
    try:
        date = email.utils.parsedate_to_datetime(text)
        return date.replace(tzinfo=timezone.utc) if date.tzinfo is None else date
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


class Transport:
    """Send requests to the host of `wsdl_url`. Thread-safe."""

    def __init__(self, config: Config, clock: Callable[[], datetime]) -> None:
        self._timeout = config.request_timeout
        self._clock = clock
        adapter = _Adapter(config.concurrency)
        # http is allowed only for addresses of this machine, so it bypasses proxies.
        is_secure = urlsplit(config.wsdl_url).scheme == "https"
        session = requests.Session()
        session.trust_env = is_secure
        settings: dict[str, Any] = dict(
            session.merge_environment_settings(
                config.wsdl_url, {}, stream=True, verify=None, cert=None
            )
        )
        if is_secure:
            _check_environment(config.wsdl_url, settings, adapter)
        # Not Session.send: it reads the bodies of redirects.
        self._send: Callable[..., requests.Response] = functools.partial(adapter.send, **settings)
        # Not Session.prepare_request: it adds the credentials of a .netrc.
        headers = {"User-Agent": config.user_agent, "Accept-Encoding": "gzip"}
        self._prepared = requests.Request("GET", config.wsdl_url, headers).prepare()

    def exchange(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> HttpReply:
        """Send one request and return its reply, whatever the status.

        The whole exchange is limited to `request_timeout`, and the body to MAX_REPLY_BYTES.
        Redirects are not followed. Raises ListrakError.
        """
        try:
            # Copying a prepared request takes half the time of preparing one.
            request = self._prepared.copy()
            request.prepare_method(method)
            request.url = url
            request.headers.update(headers)
            request.prepare_body(body, None)
            connect = min(self._timeout, MAX_CONNECT_SECONDS)
            timeout = Timeout(total=self._timeout, connect=connect)
            with self._send(request, timeout=timeout) as answer:
                return HttpReply(
                    answer.status_code,
                    _read_body(answer),
                    self._retry_after(answer),
                    answer.headers.get("Date", ""),
                )
        except (requests.exceptions.RequestException, HTTPError, *UNDERLYING) as exc:
            # requests does not wrap all exceptions of urllib3 and Python.
            raise error_from_exception(exc) from exc

    def _retry_after(self, answer: requests.Response) -> float:
        """Convert Retry-After, which is seconds or a date, to seconds from now."""
        text = answer.headers.get("Retry-After", "").strip()
        if not text:
            return 0.0
        try:
            seconds = float(text) if text.isdecimal() else self._seconds_until(text)
        except (ValueError, OverflowError):
            return 0.0
        return min(max(seconds, 0.0), MAX_RETRY_AFTER)

    def _seconds_until(self, text: str) -> float:
        date = parse_date(text)
        return (date - self._clock()).total_seconds() if date else 0.0


def _check_environment(url: str, settings: Mapping[str, Any], adapter: HTTPAdapter) -> None:
    """Raise ListrakError if the environment's CA bundle or proxy is unusable.

    The error contains no part of the proxy's address, which may include a password.
    """
    bundle = settings["verify"]
    if isinstance(bundle, str):
        try:
            ssl.create_default_context().load_verify_locations(
                *((None, bundle) if os.path.isdir(bundle) else (bundle, None))
            )
        except OSError as exc:
            raise make_error(Condition.CA_BUNDLE, exc.strerror or "") from exc
    proxy = select_proxy(url, settings["proxies"])
    if not proxy:
        return
    try:
        proxy = prepend_scheme_if_needed(proxy, "http")
        parsed = parse_url(proxy)
        if not parsed.host or parsed.port == 0:
            raise ValueError("no host or port")
        adapter.proxy_manager_for(proxy)
    except (requests.exceptions.RequestException, HTTPError, ValueError) as exc:
        raise make_error(Condition.PROXY_SETTING, type(exc).__name__) from None


def _read_body(answer: requests.Response) -> bytes:
    """Return the decompressed body. Raises ListrakError beyond MAX_REPLY_BYTES.

    Decompress it here, because urllib3 buffers multi-member gzip several times.
    """
    source = answer.raw
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("gzip", "x-gzip"):
        source = gzip.GzipFile(fileobj=source)
    elif encoding not in ("", "identity"):
        raise make_error(Condition.CUT_SHORT, "unexpected Content-Encoding")
    body = io.BytesIO()
    while chunk := source.read(2**20):
        if body.write(chunk) and body.tell() > MAX_REPLY_BYTES:
            raise make_error(Condition.TOO_LARGE, f"over {MAX_REPLY_BYTES} bytes")
    return body.getvalue()


class _DeadlineReader(io.RawIOBase):
    """Read a socket until a deadline for the whole reply.

    A socket's own timeout restarts with every byte, so a server that sends one byte per second
    would never exceed it.
    """

    def __init__(self, sock: Any, original: io.BufferedIOBase) -> None:
        self._sock = sock
        self._original = original
        self._deadline = time.monotonic() + (sock.gettimeout() or MAX_RETRY_AFTER)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the reply was too slow")
        self._sock.settimeout(remaining)
        count: int = self._sock.recv_into(buffer)
        return count

    def close(self) -> None:
        # http.client's own file keeps the socket open until it is closed.
        self._original.close()
        super().close()


class _DeadlineResponse(HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(sock, self.fp), 2**16)


class _Connection(HTTPConnection):
    response_class = _DeadlineResponse


class _SecureConnection(HTTPSConnection):
    response_class = _DeadlineResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    """Pool one connection per worker, and apply the deadline to each reply."""

    def __init__(self, connections: int) -> None:
        super().__init__(pool_connections=1, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager
