"""One request to Listrak, asked until it is answered: a page of rows, or the error it means."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import backoff

from tap_listrak.config import Config
from tap_listrak.listrak.errors import (
    ListrakError,
    MissingOperationError,
    PermissionDeniedError,
)
from tap_listrak.listrak.faults import Condition, error_from_status, make_error
from tap_listrak.listrak.records import Record, RecordReader, RowIssues, encode_lines
from tap_listrak.listrak.response import digest_rows, parse_rows, remove_forbidden_references
from tap_listrak.listrak.soap import Contract
from tap_listrak.listrak.transport import HttpReply, Transport
from tap_listrak.streams import PARENTS, PUBLISHED, Stream

LOGGER = logging.getLogger(__name__)

# Upper bounds in seconds of the waits before the second to the fifth try.
MAX_WAITS = (2, 4, 8, 16)


class ParentRow(NamedTuple):
    """A list or message: its record, and that as the JSON line that is emitted."""

    record: Record
    line: bytes


@dataclass(frozen=True)
class Page:
    """The rows of one reply.

    `row_count` is how many it held; 0 says that there are no more. `lines` are the records made of
    them, as JSON, each behind it a line end, and `record_count` how many those are. `digest` tells
    these rows from others. `parents` are the records of a stream that other streams are asked by.
    """

    row_count: int
    lines: bytes
    record_count: int
    received_at: datetime
    digest: str
    issues: RowIssues
    parents: tuple[ParentRow, ...] = ()

    def with_parents(self, parents: tuple[ParentRow, ...]) -> Page:
        """Return the page with just these of its parents, in this order."""
        lines = b"".join(parent.line for parent in parents)
        return replace(self, lines=lines, record_count=len(parents), parents=parents)


class PageRequest(NamedTuple):
    """What one call asks: arguments by Listrak's names; `description` names it in the log.

    The records carry `parent_key`, where their stream is supplied one. Without `retry`, one try is
    all.
    """

    stream: Stream
    arguments: Mapping[str, Any]
    description: str
    parent_key: int | None
    retry: bool = True


class CallObserver(Protocol):
    """Is told of each call as it ends, from the thread that made it."""

    def call_finished(self, stream: Stream, seconds: float, *, succeeded: bool) -> None:
        """Take note of a call that took so many seconds."""

    def call_retried(self, stream: Stream) -> None:
        """Take note that a call will be made again."""


class PageReader:
    """Reads the pages of one stream.

    The records of parents hold more columns than the `selected`, which alone are emitted.
    """

    def __init__(self, records: RecordReader, selected: tuple[str, ...]) -> None:
        self._records = records
        self._selected = selected

    def read(self, reply: HttpReply, parent_key: int | None, received_at: datetime) -> Page:
        """Return the page that a reply holds. Raises ListrakError."""
        stream = self._records.stream
        rows = parse_rows(reply, stream.operation, stream.row)
        issues = RowIssues()
        records = self._records.read(rows, parent_key, issues)
        digest = digest_rows(reply.body, stream.operation)
        page = Page(len(rows), b"", len(records), received_at, digest, issues)
        if stream not in PARENTS:
            return replace(page, lines=encode_lines(records))
        return page.with_parents(tuple(ParentRow(each, self._line(each)) for each in records))

    def _line(self, record: Record) -> bytes:
        if not self._selected:
            return b""
        line = encode_lines([{column: getattr(record, column) for column in self._selected}])
        # A copy: what the encoder gives keeps its whole buffer, of which a line is a part.
        return b"%b" % line


def missing_operations(*streams: Stream) -> ListrakError:
    """Return the error of streams whose operations the service's WSDL lacks."""
    needs = ", ".join(f"{stream.name} needs {stream.operation}" for stream in streams)
    return make_error(Condition.NO_OPERATION, needs)


class ListrakClient:
    """Fetches pages; safe to use from several threads at once."""

    def __init__(
        self,
        config: Config,
        readers: Mapping[Stream, PageReader],
        observer: CallObserver,
        sleep: Callable[[float], None],
        clock: Callable[[], datetime],
        *,
        required: Iterable[Stream] = (),
    ) -> None:
        """Prepare to fetch; the service must have the operations of the `required` streams."""
        self._config = config
        self._readers = readers
        self._required = tuple(required)
        self._observer = observer
        self._sleep = sleep
        self._clock = clock
        self._transport = Transport(config, clock)
        self._contract: Contract | None = None
        self._contract_lock = threading.Lock()
        # One page is read at a time: Python runs one thread at a time anyway, and the contention
        # of several for its lock takes a third more CPU.
        self._read_lock = threading.Lock()
        self._has_warned_of_references = False

    def fetch(self, request: PageRequest) -> Page:
        """Ask for one page. Raises ListrakError when five tries did not help, or none can."""
        stream = request.stream
        context = f"{stream.name}, {stream.operation} {request.description}"
        try:
            for max_wait in MAX_WAITS if request.retry else ():
                try:
                    return self._try(request)
                except ListrakError as exc:
                    if not exc.is_retryable:
                        raise
                    wait = max(backoff.full_jitter(max_wait), exc.retry_after)
                    LOGGER.warning("%s: asked again in %.1f s. %s", context, wait, exc)
                self._observer.call_retried(stream)
                self._sleep(wait)
            return self._try(request)
        except MissingOperationError:
            raise  # it is not of the call during which the WSDL was loaded
        except ListrakError as exc:
            raise exc.prefixed(f"{context}: ") from exc

    def load_operations(self) -> frozenset[str]:
        """Return the operations that the service's WSDL has. Raises ListrakError."""
        return self._load_contract().operations

    def _try(self, request: PageRequest) -> Page:
        stream = request.stream
        contract = self._load_contract()
        envelope, headers = contract.build_request(stream.operation, dict(request.arguments))
        started, seconds, succeeded = time.monotonic(), None, False
        try:
            url = self._config.service_url
            reply = self._transport.exchange("POST", url, envelope, headers)
            seconds = time.monotonic() - started
            received_at = self._clock()
            with self._read_lock:
                reply = self._without_forbidden_references(reply)
                page = self._readers[stream].read(reply, request.parent_key, received_at)
            succeeded = True
            return page
        finally:
            if seconds is None:
                seconds = time.monotonic() - started
            self._observer.call_finished(stream, seconds, succeeded=succeeded)

    def _without_forbidden_references(self, reply: HttpReply) -> HttpReply:
        body, removed = remove_forbidden_references(reply.body)
        if not removed:
            return reply
        if not self._has_warned_of_references:
            self._has_warned_of_references = True
            LOGGER.warning("Listrak sent characters that XML forbids; they are left out.")
        return replace(reply, body=body)

    def _load_contract(self) -> Contract:
        with self._contract_lock:
            if self._contract is None:
                reply = self._transport.exchange("GET", self._config.wsdl_url, None, {})
                if reply.status != 200:
                    error = error_from_status(reply.status, "for the WSDL", reply.retry_after)
                    if isinstance(error, PermissionDeniedError):
                        # It says nothing of any one operation, as that error would.
                        raise make_error(Condition.REJECTED, f"HTTP {reply.status} for the WSDL")
                    raise error
                operations = [stream.operation for stream in PUBLISHED]
                contract = Contract(reply.body, operations, self._config)
                missing = [
                    stream
                    for stream in self._required
                    if stream.operation not in contract.operations
                ]
                if missing:
                    raise missing_operations(*missing)
                self._contract = contract
            return self._contract
