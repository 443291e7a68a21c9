"""Call Listrak with retries."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

import backoff

from tap_listrak.config import Config
from tap_listrak.listrak.classify import error_from_status
from tap_listrak.listrak.faults import (
    Condition,
    ListrakError,
    MissingOperationError,
    PermissionDeniedError,
    Scope,
    UnreachableError,
    make_error,
)
from tap_listrak.listrak.gate import Gate
from tap_listrak.listrak.pages import Page, Reader
from tap_listrak.listrak.response import (
    check_nil_exception,
    remove_forbidden_characters,
    strip_around,
)
from tap_listrak.listrak.soap import Contract
from tap_listrak.listrak.transport import HttpReply, Transport, parse_date
from tap_listrak.streams import PUBLISHED, Stream

LOGGER = logging.getLogger(__name__)

MAX_TRIES = 5
# After this many retries in a row without a reply, do not retry a stream's requests: its operation
# is down. Concurrent requests share the number.
MAX_RETRIES_UNANSWERED = 20


class PageRequest(NamedTuple):
    """One request: its arguments by Listrak's names, and a description for the log.

    `parent_id` is the parent's key, if the rows lack it. `tries` 1 means no retry. If the
    request `is_splittable`, do not retry a timeout: the caller splits the request.
    """

    stream: Stream
    arguments: Mapping[str, Any]
    description: str
    parent_id: int | None
    tries: int = MAX_TRIES
    is_splittable: bool = False


class CallObserver(Protocol):
    """Count calls, from the thread that made the call."""

    def call_finished(self, stream: Stream, seconds: float, *, succeeded: bool) -> None:
        """Count a call that took `seconds`."""

    def call_retried(self, stream: Stream) -> None:
        """Count a retry."""


def missing_operations(*streams: Stream) -> ListrakError:
    """Return the error for streams without their operations in the WSDL."""
    needs = ", ".join(f"{stream.name} needs {stream.operation}" for stream in streams)
    return make_error(Condition.NO_OPERATION, needs)


class ListrakClient:
    """Fetch pages. Thread-safe.

    `clock_offset` is the service's clock minus this machine's, from the `Date` of the first reply;
    None before that, and if it had no `Date`.
    """

    def __init__(
        self,
        config: Config,
        readers: Mapping[Stream, Reader],
        observer: CallObserver,
        sleep: Callable[[float], None],
        clock: Callable[[], datetime],
        *,
        required: Iterable[Stream] = (),
    ) -> None:
        """The service must have the operations of the `required` streams."""
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
        # By stream: retries since its last reply, under the lock.
        self._retries: Counter[Stream] = Counter()
        self._retries_lock = threading.Lock()
        # Read one page at a time: GIL contention adds a third to the CPU time.
        self._read_lock = threading.Lock()
        self._clock_compared = False
        self.clock_offset: timedelta | None = None
        self._has_warned_of_characters = False

    def fetch(self, request: PageRequest) -> Page:
        """Return one page. Raises ListrakError after the last try.

        After an error of scope RUN, each call raises it without sending a request.
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
                    self._reset_retries(stream)
                if tried == request.tries or not self._may_retry(request, exc):
                    raise self._final_error(exc, context) from exc
                wait = max(backoff.full_jitter(2**tried), exc.retry_after)
                of, number = request.tries, tried + 1
                LOGGER.warning("%s: retry %d of %d in %.1f s. %s", context, number, of, wait, exc)
            else:
                self._reset_retries(stream)
                if page.record_error:
                    named = self._final_error(page.record_error, context)
                    return replace(page, record_error=named)
                return page
            self._observer.call_retried(stream)
            self._sleep(wait)

    def load_operations(self) -> frozenset[str]:
        """Return the operations of the service's WSDL. Raises ListrakError."""
        return self._load_contract().operations

    def _may_retry(self, request: PageRequest, error: ListrakError) -> bool:
        """Return whether to retry, and count the retry."""
        if not error.is_retryable or (request.is_splittable and error.is_too_long):
            return False
        if isinstance(error, UnreachableError):
            return True  # the service is down, not this stream
        with self._retries_lock:
            self._retries[request.stream] += 1
            return self._retries[request.stream] <= MAX_RETRIES_UNANSWERED

    def _reset_retries(self, stream: Stream) -> None:
        with self._retries_lock:
            self._retries[stream] = 0

    def _final_error(self, error: ListrakError, context: str) -> ListrakError:
        """Return the error with its request's name; block further calls if its scope is RUN."""
        # A missing operation is unrelated to the call that loaded the WSDL.
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
        if not self._clock_compared and reply.status == 200:
            self._clock_compared = True
            date = parse_date(reply.date)
            self.clock_offset = date - received_at if date else None

    def _read(self, reply: HttpReply, request: PageRequest, received_at: datetime) -> Page:
        reader = self._readers[request.stream]
        try:
            return reader.read(reply, request.parent_id, received_at)
        except ListrakError:
            # Clean only replies that cannot be parsed.
            body = strip_around(reply.body)
            readable = remove_forbidden_characters(body)
            if readable == body:
                raise
        if not self._has_warned_of_characters:
            self._has_warned_of_characters = True
            LOGGER.warning("Removed characters that XML forbids from a reply.")
        return reader.read(replace(reply, body=readable), request.parent_id, received_at)

    def _load_contract(self) -> Contract:
        with self._contract_lock:
            if self._contract is None:
                reply = self._exchange("GET", self._config.wsdl_url, None, {})
                if reply.status != 200:
                    error = error_from_status(reply.status, "for the WSDL", reply.retry_after)
                    if isinstance(error, PermissionDeniedError):
                        # A permission error would look like that of an operation.
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
