"""Run functions in worker threads. The main thread waits only here."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")

# Maximum seconds between checks for signals and progress.
MAX_WAIT = 0.2


class Workers:
    """A pool of threads. They are daemons, so exit does not wait for a reply."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._submitted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._interruption: BaseException | None = None
        for number in range(count):
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._submitted.get()()

    def submit(self, function: Callable[[], Result]) -> Future[Result]:
        """Run `function` on the next free worker."""
        future: Future[Result] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as exc:  # raised again by Future.result
                    future.set_exception(exc)
                self._finished.put(None)

        self._submitted.put(run)
        return future

    def interrupt(self, reason: BaseException) -> None:
        """Make the main thread raise `reason` when it next waits. Safe in a signal handler."""
        self._interruption = reason
        self._finished.put(None)

    def raise_if_interrupted(self) -> None:
        """Raise the reason given to `interrupt`, if any."""
        if self._interruption is not None:
            raise self._interruption

    def wait(self) -> None:
        """Wait for a future, at most MAX_WAIT seconds. Raises the reason given to `interrupt`."""
        with contextlib.suppress(queue.Empty):
            self._finished.get(timeout=MAX_WAIT)
            while True:  # drain: one check covers all finished futures
                self._finished.get_nowait()
        self.raise_if_interrupted()

    def result(self, future: Future[Result]) -> Result:
        """Wait for one future, interruptibly."""
        while not future.done():
            self.wait()
        return future.result()
