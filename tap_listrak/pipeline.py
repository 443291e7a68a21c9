"""Requests under way at once, their results in the order of the walk.

Workers ask and read; the main thread alone decides what is asked and takes the results in order,
so that what is emitted does not depend on how many workers there are.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from tap_listrak.errors import error
from tap_listrak.parts import Part
from tap_listrak.records import Oddities

Result = TypeVar("Result")

# In seconds. A signal that finds the main thread on its way into its wait is noticed after so long,
# and so is that it is time to tell of a run which waits.
LONGEST_WAIT = 0.2
# Far more than any honest part has: of pages of 2,500 rows, these hold 250 million.
MOST_PAGES = 100_000


@dataclass(frozen=True)
class Page:
    """Rows of one reply: how many it held, and the records made of them as a JSON array.

    `fingerprint` tells one reply from another (see client.Reply).
    """

    rows: int
    records: bytes
    count: int
    came: datetime
    oddities: Oddities
    fingerprint: object


@dataclass(frozen=True)
class Read:
    """A page of a part, in its turn."""

    part: Part
    number: int
    page: Page


@dataclass(frozen=True)
class Ended:
    """A part of which everything was read, or, with `failure`, of which the rest cannot be had."""

    part: Part
    failure: BaseException | None = None


Note = TypeVar("Note")


class Workers:
    """Threads that run what is submitted; `wait` is the one place where the main thread waits.

    They are daemons, so that the end of a run never waits for a reply.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._reason: BaseException | None = None
        for number in range(count):
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._todo.get()()

    def submit(self, function: Callable[[], Result]) -> Future[Result]:
        """Run `function` on the next free worker."""
        future: Future[Result] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as raised:  # the future hands it to who waits
                    future.set_exception(raised)
                self._woken.put(None)

        self._todo.put(run)
        return future

    def interrupt(self, reason: BaseException) -> None:
        """Make the main thread raise this when it next waits; a signal handler may call it."""
        self._reason = reason
        self._woken.put(None)

    def raise_if_interrupted(self) -> None:
        """Raise what `interrupt` was given."""
        if self._reason is not None:
            raise self._reason

    def wait(self) -> None:
        """Wait a moment: until some future is done, or LONGEST_WAIT is over.

        Raises what `interrupt` was given.
        """
        with contextlib.suppress(queue.Empty):
            self._woken.get(timeout=LONGEST_WAIT)
        self.raise_if_interrupted()

    def result(self, future: Future[Result]) -> Result:
        """Wait for one future, interruptibly."""
        while not future.done():
            self.wait()
        return future.result()


@dataclass
class _Reading:
    """A part of which pages are under way or waiting for their turn."""

    part: Part
    pages: dict[int, Future[Page]] = field(default_factory=dict)
    ended: bool = False

    def __post_init__(self) -> None:
        self.asked = self.known = self.taken = self.part.page - 1
        self._first = self._last = 0
        self._seen: set[int] = set()
        self._endless: int | None = None

    def next_page(self) -> int | None:
        """The next page worth asking for, if there is one now.

        Nothing but an empty page is the end, so one page beyond the last known is always asked.
        More are asked ahead while pages are as long as the first: in steps that double, as far as
        the rows expected reach; where that is not known, one in twenty of those seen is risked.
        """
        self._look()
        seen = self.known + 1 - self.part.page
        most = self.known + 1
        if seen and self._last >= self._first:
            if self.part.expected is None:
                most += seen // 20
            else:
                reach = math.ceil(self.part.expected / self._first) + 1
                most = max(most, min(self.known + seen, reach))
        return self.asked + 1 if not self.ended and self.asked < most else None

    def _look(self) -> None:
        """Count the pages that have come, one after the other, up to the end or a failure."""
        while not self.ended:
            future = self.pages.get(self.known + 1)
            if future is None or not future.done():
                return
            if future.exception() is not None or not future.result().rows:
                self.ended = True
                return
            fingerprint = hash(future.result().fingerprint)
            if fingerprint in self._seen or len(self._seen) == MOST_PAGES:
                self.ended = True
                self._endless = self.known + 1
                return
            self.known += 1
            self._seen.add(fingerprint)
            self._last = future.result().rows
            self._first = self._first or self._last

    def take(self) -> Read | Ended | None:
        """Give the next page in order, or the end, once it has come."""
        self._look()
        future = self.pages.get(self.taken + 1)
        if future is None or not future.done():
            return None
        self.taken += 1
        del self.pages[self.taken]
        failure = future.exception()
        if failure is None and self._endless == self.taken:
            where = f"{self.part.stream.name} {self.part}, page {self.taken}"
            failure = error("repeated page", where)
        if failure is None and future.result().rows:
            return Read(self.part, self.taken, future.result())
        for beyond in self.pages.values():
            beyond.cancel()
        return Ended(self.part, failure)


def in_order(
    items: Iterator[Part | Note | None], ask: Callable[[Part, int], Page], workers: Workers
) -> Iterator[Read | Ended | Note | None]:
    """Ask for the pages of the parts among `items`; give them, and all else, in order.

    Where `items` gives None, it knows nothing more to do until some reply has come. None is given
    from time to time while what comes next is awaited.
    """
    # Pages under way or waiting for their turn: what bounds the memory.
    room = 4 * workers.count
    waiting: deque[_Reading | Note] = deque()
    under_way: dict[Future[Page], Part] = {}
    exhausted = False

    def request(reading: _Reading, number: int) -> None:
        future = workers.submit(lambda: ask(reading.part, number))
        reading.asked = number
        reading.pages[number] = future
        under_way[future] = reading.part

    def fill() -> None:
        nonlocal exhausted
        for future in [future for future in under_way if future.done()]:
            part = under_way.pop(future)
            failure = None if future.cancelled() else future.exception()
            if failure is not None and not part.may_fail_with(failure):
                # It would fail for whatever comes first as well, so nothing more is asked.
                raise failure
        held = 0
        for place, reading in enumerate(waiting):
            if not isinstance(reading, _Reading):
                continue
            held += len(reading.pages)
            # The head of the line may always go on, or nothing ever would.
            while len(under_way) < workers.count and (held < room or not (place or reading.pages)):
                number = reading.next_page()
                if number is None:
                    break
                request(reading, number)
                held += 1
        while not exhausted and len(under_way) < workers.count and (held < room or not waiting):
            try:
                item = next(items)
            except StopIteration:
                exhausted = True
                return
            if item is None:
                return
            if isinstance(item, Part):
                reading = _Reading(item)
                waiting.append(reading)
                request(reading, item.page)
                held += 1
            else:
                waiting.append(item)

    while True:
        workers.raise_if_interrupted()
        fill()
        if not waiting:
            if exhausted:
                return
            workers.wait()
            yield None
            continue
        head = waiting[0]
        if not isinstance(head, _Reading):
            waiting.popleft()
            yield head
            continue
        outcome = head.take()
        if outcome is None:
            workers.wait()
        elif isinstance(outcome, Ended):
            waiting.popleft()
        yield outcome
