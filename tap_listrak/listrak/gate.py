"""Share state between all calls: wait out an outage, and stop after a fatal error."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tap_listrak.listrak.faults import ListrakError, UnreachableError

LOGGER = logging.getLogger(__name__)

Result = TypeVar("Result")

# Seconds between attempts to reconnect (the last is repeated), and their total.
OUTAGE_WAITS = (2.0, 4.0, 8.0, 16.0, 30.0)
MAX_OUTAGE_SECONDS = 300.0


class Gate:
    """Run calls, unless a fatal error has closed the gate. Thread-safe."""

    def __init__(self, sleep: Callable[[float], None]) -> None:
        self._sleep = sleep
        # Held by the call that tries to reconnect in an outage; the others wait for it.
        self._lock = threading.Lock()
        self._outages = 0
        self.has_answered = False
        self.closed_by: ListrakError | None = None

    def close(self, error: ListrakError) -> None:
        """Block further calls: they raise the first error given."""
        self.closed_by = self.closed_by or error

    def call(self, attempt: Callable[[], Result]) -> Result:
        """Call `attempt`, and wait out an outage if the service has answered before.

        Raises `closed_by` once it is set, which an outage of MAX_OUTAGE_SECONDS does.
        """
        while True:
            with self._lock:
                outages = self._outages
            if self.closed_by:
                raise self.closed_by
            try:
                return attempt()
            except UnreachableError as exc:
                if not self.has_answered:
                    raise
                error = exc
            with self._lock:
                if outages == self._outages:
                    self._outages += 1
                    return self._wait_out(attempt, error)

    def _wait_out(self, attempt: Callable[[], Result], error: ListrakError) -> Result:
        """Repeat `attempt` until it reaches the service."""
        LOGGER.warning(
            "All calls wait until the service is reachable, up to %d s. %s",
            MAX_OUTAGE_SECONDS,
            error,
        )
        seconds = 0.0
        for wait in itertools.chain(OUTAGE_WAITS, itertools.repeat(OUTAGE_WAITS[-1])):
            wait = min(wait, MAX_OUTAGE_SECONDS - seconds)
            self._sleep(wait)
            if self.closed_by:
                break
            started = time.monotonic()
            try:
                return attempt()
            except UnreachableError as exc:
                error = exc
            seconds += wait + time.monotonic() - started
            if seconds >= MAX_OUTAGE_SECONDS:
                break
        self.close(error.prefixed(f"No connection for {seconds:.0f} s: "))
        raise self.closed_by or error
