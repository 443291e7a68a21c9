"""Calls to Listrak, with retries: a page of rows, or the error that the reply means."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

import backoff

from tap_listrak.config import Config
from tap_listrak.listrak.faults import (
    Condition,
    InvalidValueError,
    ListrakError,
    MissingOperationError,
    PermissionDeniedError,
    Scope,
    UnreachableError,
    error_from_status,
    make_error,
)
from tap_listrak.listrak.gate import Gate
from tap_listrak.listrak.records import Record, RecordReader, RowIssues, encode_lines
from tap_listrak.listrak.response import (
    check_nil_exception,
    digest_rows,
    parse_rows,
    remove_forbidden_characters,
    strip_around,
)
from tap_listrak.listrak.soap import Contract
from tap_listrak.listrak.transport import HttpReply, Transport, parse_date
from tap_listrak.streams import PARENTS, PUBLISHED, Stream

LOGGER = logging.getLogger(__name__)

MAX_TRIES = 5
# As many retries of a stream without an answer show that its operation is out of order: no further
# one is begun until it answers. Six requests use them up, and so do many at once, each with fewer.
MAX_RETRIES_UNANSWERED = 24


class ParentRow(NamedTuple):
    """A list or message: its record, and that as the JSON line that is emitted."""

    record: Record
    line: bytes


@dataclass(frozen=True)
class Page:
    """The rows of one reply.

    `row_count` is the number of rows; 0 means that there are no more. `lines` are the records made
    of them, as JSON, each with a line end, and `record_count` is their number. `digest` is that of
    the rows, `key_digest` that of their keys in any order, where the reader was made to compute it.
    `parents` are the records of a stream that has children. `own_error` says that these can be
    walked, but a value that would be emitted of them cannot be read.
    """

    row_count: int
    lines: bytes
    record_count: int
    received_at: datetime
    digest: str
    issues: RowIssues
    parents: tuple[ParentRow, ...] = ()
    key_digest: str = ""
    own_error: ListrakError | None = None

    def with_parents(self, parents: tuple[ParentRow, ...]) -> Page:
        """Return the page with just these of its parents, in this order."""
        lines = b"".join(parent.line for parent in parents)
        return replace(self, lines=lines, record_count=len(parents), parents=parents)


class PageRequest(NamedTuple):
    """One request: its arguments by Listrak's names, and a description for the log.

    The records carry `parent_id`, where their stream takes its parent's key from the request.
    `tries` 1 means no retry. Where the request `is_splittable`, an error that is too long is raised
    without a retry, since the caller makes a shorter request.
    """

    stream: Stream
    arguments: Mapping[str, Any]
    description: str
    parent_id: int | None
    tries: int = MAX_TRIES
    is_splittable: bool = False


class CallObserver(Protocol):
    """Counts calls; called from the thread that made the call."""

    def call_finished(self, stream: Stream, seconds: float, *, succeeded: bool) -> None:
        """Count a call that took this many seconds."""

    def call_retried(self, stream: Stream) -> None:
        """Count a retry."""


class PageReader:
    """Reads the pages of one stream.

    The records of parents have more columns than the `selected`, which alone are emitted. Where a
    value of theirs cannot be read, `walked` reads the columns that the walk needs. Of a stream of
    the account, rows of `only_lists` are kept.
    """

    def __init__(
        self,
        records: RecordReader,
        selected: tuple[str, ...],
        *,
        walked: RecordReader | None = None,
        with_key_digest: bool = False,
        only_lists: frozenset[int] | None = None,
    ) -> None:
        self._records = records
        self._selected = selected
        self._walked = walked
        self._with_key_digest = with_key_digest
        self._only_lists = only_lists

    def read(self, reply: HttpReply, parent_id: int | None, received_at: datetime) -> Page:
        """Return the page that a reply holds. Raises ListrakError."""
        stream = self._records.stream
        rows = parse_rows(reply, stream.operation, stream.row)
        issues, own_error = RowIssues(), None
        try:
            records = self._records.read(rows, parent_id, issues)
        except InvalidValueError as exc:
            if self._walked is None:
                raise
            own_error = exc
            records = self._walked.read(rows, parent_id, RowIssues())
        if len(rows) and not records:
            raise make_error(Condition.INCOMPLETE, f"{len(rows)} rows, of which none has its key")
        if self._only_lists is not None:
            records = [each for each in records if each.ListID in self._only_lists]
        digest = digest_rows(reply.body, stream.operation)
        keys = self._records.digest_keys(records) if self._with_key_digest else ""
        page = Page(len(rows), b"", len(records), received_at, digest, issues, key_digest=keys)
        if stream not in PARENTS:
            return replace(page, lines=encode_lines(records))
        parents = tuple(ParentRow(each, b"" if own_error else self._line(each)) for each in records)
        return replace(page.with_parents(parents), own_error=own_error)

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
    """Fetches pages; safe to use from several threads at once.

    `clock_offset` is the service's clock less this machine's, at the first answer; None before it,
    and where the answer had no `Date`.
    """

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
        self._gate = Gate(sleep)
        self._contract: Contract | None = None
        self._contract_lock = threading.Lock()
        # By stream: the retries begun since its last answer.
        self._retries: Counter[Stream] = Counter()
        self._retries_lock = threading.Lock()
        # One page is read at a time: Python runs one thread at a time anyway, and the contention
        # of several for its lock takes a third more CPU.
        self._read_lock = threading.Lock()
        self._has_answered = False
        self.clock_offset: timedelta | None = None
        self._has_warned_of_characters = False

    def fetch(self, request: PageRequest) -> Page:
        """Return one page. Raises ListrakError when the tries are used up or none would help.

        Once an error of the whole run has been raised, each later call raises it too, unsent.
        """
        stream = request.stream
        context = f"{stream.name}, {stream.operation} {request.description}"
        tried = 0
        while True:
            try:
                page = self._gate.call(lambda: self._try(request))
            except ListrakError as exc:
                if exc is self._gate.closed_by:
                    raise
                tried += 1
                if exc.is_answer:
                    self._retries[stream] = 0
                if tried == request.tries or not self._may_retry(request, exc):
                    raise self._named(exc, context) from exc
                wait = max(backoff.full_jitter(2**tried), exc.retry_after)
                of, number = request.tries, tried + 1
                LOGGER.warning("%s: retry %d of %d in %.1f s. %s", context, number, of, wait, exc)
            else:
                self._retries[stream] = 0
                return page
            self._observer.call_retried(stream)
            self._sleep(wait)

    def load_operations(self) -> frozenset[str]:
        """Return the operations that the service's WSDL has. Raises ListrakError."""
        return self._load_contract().operations

    def _may_retry(self, request: PageRequest, error: ListrakError) -> bool:
        """Return whether a retry is begun, and count it."""
        if not error.is_retryable or (request.is_splittable and error.is_too_long):
            return False
        if isinstance(error, UnreachableError):
            return True  # before the first answer, nothing tells a bad stream from a bad service
        with self._retries_lock:
            self._retries[request.stream] += 1
            return self._retries[request.stream] <= MAX_RETRIES_UNANSWERED

    def _named(self, error: ListrakError, context: str) -> ListrakError:
        """Return the error of a request with its name; let no call begin where all would fail."""
        # A missing operation is not of the call during which the WSDL was loaded.
        is_of_call = not isinstance(error, MissingOperationError)
        named = error.prefixed(f"{context}: ") if is_of_call else error
        if error.scope is Scope.RUN:
            self._gate.close(named)
        return named

    def _try(self, request: PageRequest) -> Page:
        stream = request.stream
        contract = self._load_contract()
        envelope, headers = contract.build_request(stream.operation, request.arguments)
        started, seconds, succeeded = time.monotonic(), None, False
        try:
            reply = self._exchange("POST", self._config.service_url, envelope, headers)
            seconds = time.monotonic() - started
            received_at = self._clock()
            with self._read_lock:
                self._compare_clocks(reply, received_at)
                page = self._read(reply, request, received_at)
            if not page.row_count and stream.operation in contract.with_exception:
                check_nil_exception(reply, stream.operation)
            succeeded = True
            return page
        finally:
            if seconds is None:
                seconds = time.monotonic() - started
            self._observer.call_finished(stream, seconds, succeeded=succeeded)

    def _exchange(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> HttpReply:
        reply = self._transport.exchange(method, url, body, headers)
        self._gate.has_answered = True
        return reply

    def _compare_clocks(self, reply: HttpReply, received_at: datetime) -> None:
        if not self._has_answered and reply.status == 200:
            self._has_answered = True
            date = parse_date(reply.date)
            self.clock_offset = date - received_at if date else None

    def _read(self, reply: HttpReply, request: PageRequest, received_at: datetime) -> Page:
        reader = self._readers[request.stream]
        try:
            return reader.read(reply, request.parent_id, received_at)
        except ListrakError:
            # Only what does not parse holds such characters, so other replies are not searched.
            body = strip_around(reply.body)
            readable = remove_forbidden_characters(body)
            if readable == body:
                raise
        if not self._has_warned_of_characters:
            self._has_warned_of_characters = True
            LOGGER.warning("Listrak sent characters that XML forbids; they are left out.")
        return reader.read(replace(reply, body=readable), request.parent_id, received_at)

    def _load_contract(self) -> Contract:
        with self._contract_lock:
            if self._contract is None:
                reply = self._exchange("GET", self._config.wsdl_url, None, {})
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
