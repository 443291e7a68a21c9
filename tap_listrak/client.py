"""The only user of zeep, requests and backoff: one call of one operation, asked until it answers.

zeep loads the contract and builds envelope and header; `reply` and `records` read what comes.
"""

from __future__ import annotations

import email.utils
import functools
import io
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import backoff
import requests
import zeep
import zeep.exceptions
import zeep.wsdl.bindings
from lxml import etree
from requests.adapters import HTTPAdapter
from singer import metrics
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from tap_listrak import errors, reply
from tap_listrak.config import Config
from tap_listrak.dates import UTC
from tap_listrak.records import Oddities, Reader, Record
from tap_listrak.streams import STREAMS, Stream

LOGGER = logging.getLogger(__name__)

# Upper bounds in seconds of the waits before the second to the fifth try.
WAITS = (2, 4, 8, 16)
# Seconds for connecting and the TLS handshake; a host that is there takes few.
LONGEST_CONNECT = 30
# A Retry-After beyond this many seconds is not obeyed in full.
LONGEST_RETRY_AFTER = 300.0
# The largest honest replies, a year's messages of a busy list, stay below a tenth of this.
LARGEST_REPLY = 64 * 2**20


@dataclass(frozen=True)
class Reply:
    """What one reply held: so many rows, the records made of them, and the moment it came.

    The fingerprint tells one reply from another.
    """

    rows: int
    records: list[Record]
    came: datetime
    oddities: Oddities
    fingerprint: object


class Client:
    """Calls Listrak's operations; safe to use from several threads at once."""

    def __init__(
        self,
        config: Config,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config = config
        self._sleep = sleep
        self._clock = clock
        session = requests.Session()
        # Plain http is for this machine alone (see config), so no proxy may come between.
        session.trust_env = urlsplit(config.wsdl_url).scheme == "https"
        session.headers["User-Agent"] = config.user_agent
        # A session's own send would follow redirects, or read them whole to be able to.
        self._send = functools.partial(
            _Adapter(config.concurrency).send,
            **session.merge_environment_settings(  # type: ignore[arg-type] # None becomes True
                config.wsdl_url, {}, stream=True, verify=None, cert=None
            ),
        )
        self._prepared = session.prepare_request(requests.Request("GET", config.wsdl_url))
        self._contract: _Contract | None = None
        self._lock = threading.Lock()
        # One page is read at a time: Python runs one thread at a time anyway, and several that
        # wrestle for the turn take a third more CPU.
        self._reading = threading.Lock()
        self._warned_of_references = False
        self.calls: dict[Stream, int] = dict.fromkeys(STREAMS, 0)
        self.retries: dict[Stream, int] = dict.fromkeys(STREAMS, 0)
        self.seconds: dict[Stream, float] = dict.fromkeys(STREAMS, 0.0)

    def call(
        self,
        reader: Reader,
        arguments: dict[str, Any],
        what: str,
        parent: int | None = None,
        *,
        retry: bool = True,
    ) -> Reply:
        """Ask the operation of the reader's stream; `what` names in the log what it is asked for.

        The records carry `parent`. Raises ListrakError when five tries did not help (without
        `retry`, one), or none can, or a value cannot be read.
        """
        stream = reader.stream
        where = f"{stream.name}, {stream.operation} {what}"
        try:
            for ceiling in WAITS if retry else ():
                try:
                    return self._ask(reader, arguments, parent)
                except errors.Passing as failed:
                    wait = max(backoff.full_jitter(ceiling), failed.retry_after)
                    LOGGER.warning("%s: asked again in %.1f s. %s", where, wait, failed)
                    with self._lock:
                        self.retries[stream] += 1
                self._sleep(wait)
            return self._ask(reader, arguments, parent)
        except errors.ListrakError as failed:
            failed.args = (f"{where}: {failed}",)
            raise

    def _ask(self, reader: Reader, arguments: dict[str, Any], parent: int | None) -> Reply:
        stream = reader.stream
        contract = self._load()
        envelope, headers = contract.request(stream.operation, arguments)
        with self._lock:
            self.calls[stream] += 1
        started = time.monotonic()
        status = metrics.Status.failed
        try:
            try:
                url = self._config.service_url
                code, body, retry_after = self._exchange("POST", url, envelope, headers)
            finally:
                seconds = time.monotonic() - started
            came = self._clock()
            with self._reading:
                body, removed = reply.strip_forbidden(body)
                if removed and not self._warned_of_references:
                    self._warned_of_references = True
                    LOGGER.warning("Listrak sent characters that XML forbids; they are left out.")
                rows = reply.rows(body, code, retry_after, stream)
                status = metrics.Status.succeeded
                oddities = Oddities()
                records = reader.read(rows, parent, oddities)
            return Reply(len(rows), records, came, oddities, (len(body), body[:2048], body[-2048:]))
        finally:
            with self._lock:
                self.seconds[stream] += seconds
            metrics.log(
                LOGGER,
                metrics.Point(
                    "timer",
                    metrics.Metric.http_request_duration,
                    seconds,
                    {"endpoint": stream.name, "status": status},
                ),
            )

    def _load(self) -> _Contract:
        with self._lock:
            if self._contract is None:
                url = self._config.wsdl_url
                status, body, retry_after = self._exchange("GET", url, None, {})
                if status != 200:
                    failed = errors.from_status(status, "for the WSDL", retry_after)
                    if isinstance(failed, errors.NoAccess):
                        # It says nothing of any operation, which NoAccess would.
                        raise errors.error("4xx", f"HTTP {status} for the WSDL")
                    raise failed
                self._contract = _Contract(body, self._config)
            return self._contract

    def _exchange(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes, float]:
        """Send one request; give the reply's status, body and Retry-After in seconds.

        `request_timeout` bounds it as a whole, and LARGEST_REPLY bounds the body before any of it
        is parsed. Redirects are not followed. Raises ListrakError.
        """
        try:
            # Prepared from one that is whole already: half the work of a small request.
            limit = self._config.request_timeout
            request = self._prepared.copy()
            request.prepare_method(method)
            request.url = url
            request.headers.update(headers)
            request.prepare_body(body, None)
            timeout = Timeout(total=limit, connect=min(limit, LONGEST_CONNECT))
            with self._send(request, timeout=timeout) as answer:  # type: ignore[arg-type] # requests takes it, its types do not know
                chunks = io.BytesIO()
                for chunk in answer.iter_content(2**20):
                    if chunks.write(chunk) and chunks.tell() > LARGEST_REPLY:
                        raise errors.error("too large", f"over {LARGEST_REPLY} bytes")
                return answer.status_code, chunks.getvalue(), self._retry_after(answer)
        except (requests.exceptions.RequestException, HTTPError, OSError, ValueError) as raised:
            # requests lets some of urllib3's and Python's through, such as LocationParseError.
            raise errors.from_exception(raised) from raised

    def _retry_after(self, answer: requests.Response) -> float:
        """Read Retry-After, which is seconds or a date, into seconds from now."""
        text = answer.headers.get("Retry-After", "").strip()
        if not text:
            return 0.0
        try:
            seconds = float(text) if text.isdecimal() else self._until(text)
        except (ValueError, TypeError, OverflowError, IndexError):
            return 0.0
        return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)

    def _until(self, date: str) -> float:
        return (email.utils.parsedate_to_datetime(date) - self._clock()).total_seconds()


# What zeep raises, besides its own exceptions, for XML that is no sound WSDL.
_ODD_WSDL = (ValueError, LookupError, AttributeError, TypeError, AssertionError, RuntimeError)


class _OneDocument(zeep.Transport):
    """Gives zeep the WSDL that was fetched already, and nothing else that it may refer to."""

    url = "file:contract.wsdl"
    body = b""

    def load(self, url: str) -> bytes:
        if url != self.url:
            raise errors.error("contract", f"it refers to {url}")
        return self.body


# Stands for the page in an envelope that zeep has built, of which so many are kept.
_ANY_PAGE = 2**31 - 1
_ENVELOPES = 64


class _Contract:
    """The WSDL, as zeep understands it."""

    def __init__(self, body: bytes, config: Config) -> None:
        self._user = {"UserName": config.username, "Password": config.password}
        self._envelope = functools.lru_cache(_ENVELOPES)(self._build)
        if reply.looks_like_html(body):
            raise errors.error("not soap", "HTML in place of the WSDL")
        if b"<!DOCTYPE" in body:
            raise errors.error("contract", "a document type")
        document = _OneDocument()
        document.body = body
        try:
            self._client = zeep.Client(
                _OneDocument.url,
                transport=document,
                settings=zeep.Settings(forbid_dtd=True, forbid_entities=True, forbid_external=True),
            )
            self._service = self._bind()
            known = self._service._binding._operations
        except zeep.exceptions.XMLSyntaxError as raised:
            raise errors.error("not xml", str(raised)) from raised
        except (zeep.exceptions.Error, etree.LxmlError, *_ODD_WSDL) as raised:
            raise errors.error("contract", str(raised)) from raised
        missing = [each.operation for each in STREAMS if each.operation not in known]
        if missing:
            raise errors.error("contract", f"it lacks {', '.join(missing)}")
        # zeep resolves its types at first use, which is not safe in several threads at once.
        self._lock = threading.Lock()

    def _bind(self) -> Any:
        for service in self._client.wsdl.services.values():
            for port in service.ports.values():
                if isinstance(port.binding, zeep.wsdl.bindings.Soap11Binding):
                    return self._client.bind(service.name, port.name)
        raise ValueError("it has no SOAP 1.1 port")

    def request(self, operation: str, arguments: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
        """Build the envelope and the HTTP headers of one call."""
        others = tuple((name, value) for name, value in arguments.items() if name != "Page")
        with self._lock:
            envelope, headers = self._envelope(operation, others, "Page" in arguments)
        page = b"Page>%d<" % arguments.get("Page", _ANY_PAGE)
        return envelope.replace(b"Page>%d<" % _ANY_PAGE, page), headers

    def _build(
        self, operation: str, arguments: tuple[tuple[str, Any], ...], paged: bool
    ) -> tuple[bytes, dict[str, str]]:
        """Let zeep build an envelope, with _ANY_PAGE for its page: all pages of a part share it."""
        values = dict(arguments)
        if paged:
            values["Page"] = _ANY_PAGE
        try:
            envelope = self._client.create_message(
                self._service, operation, _soapheaders={"WSUser": self._user}, **values
            )
            action = self._service._binding._operations[operation].soapaction
        except (zeep.exceptions.Error, TypeError, ValueError) as raised:
            raise errors.error("contract", f"{operation} takes other arguments") from raised
        return etree.tostring(envelope, xml_declaration=True, encoding="utf-8"), {
            "Content-Type": "text/xml; charset=utf-8",
            "SOAPAction": f'"{action}"',
        }


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until a deadline that holds for the reply as a whole.

    A socket's own timeout starts anew with every byte, so that a server that sends one byte a
    second would never meet it.
    """

    def __init__(self, sock: Any, held: io.BufferedIOBase) -> None:
        self._sock = sock
        self._held = held
        self._deadline = time.monotonic() + (sock.gettimeout() or LONGEST_RETRY_AFTER)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the reply came too slowly")
        self._sock.settimeout(remaining)
        count: int = self._sock.recv_into(buffer)
        return count

    def close(self) -> None:
        # http.client's own file holds the socket open until it is closed.
        self._held.close()
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
    """Keeps a connection for each request under way, and a deadline for each reply."""

    def __init__(self, connections: int) -> None:
        super().__init__(pool_connections=1, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager
