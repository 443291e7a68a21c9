"""Threads that run what is submitted, and the one place where the main thread waits."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")

# In seconds. A signal that finds the main thread on its way into its wait is noticed after so long,
# and so is that a line of progress is due.
MAX_WAIT = 0.2


class Workers:
    """So many threads. They are daemons, so that the end of a run never waits for a reply."""

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
                except BaseException as exc:  # the future hands it to whoever waits for it
                    future.set_exception(exc)
                self._finished.put(None)

        self._submitted.put(run)
        return future

    def interrupt(self, reason: BaseException) -> None:
        """Make the main thread raise this when it next waits; a signal handler may call it."""
        self._interruption = reason
        self._finished.put(None)

    def raise_if_interrupted(self) -> None:
        """Raise what `interrupt` was given."""
        if self._interruption is not None:
            raise self._interruption

    def wait(self) -> None:
        """Wait until a future is done, or MAX_WAIT is over. Raises what `interrupt` was given."""
        with contextlib.suppress(queue.Empty):
            self._finished.get(timeout=MAX_WAIT)
            while True:  # one look at the futures is enough for all that has finished
                self._finished.get_nowait()
        self.raise_if_interrupted()

    def result(self, future: Future[Result]) -> Result:
        """Wait for one future, interruptibly."""
        while not future.done():
            self.wait()
        return future.result()
