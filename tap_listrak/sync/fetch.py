"""Prefetch pages with several workers; yield them in walk order.

Only the main thread schedules requests and consumes results, so the output does not depend on the
number of workers.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace

from tap_listrak.listrak.faults import ListrakError, Scope
from tap_listrak.listrak.pages import Page
from tap_listrak.streams import Stream
from tap_listrak.sync.paging import PartPages
from tap_listrak.sync.parts import (
    ONE_DAY,
    Items,
    Outcome,
    PageFetched,
    Part,
    PartFinished,
    Section,
)
from tap_listrak.workers import Workers

LOGGER = logging.getLogger(__name__)

# Page limit per worker, in flight or buffered. A part may prefetch only within the first half, so
# that the first part in the queue always has room.
MAX_PAGES_PER_WORKER = 8
# Maximum parts in progress of a stream after a failure, because it may be about to stop.
MAX_IN_HAND_OF_FAILING = 8
# After this many failed batches of a stream in a row, do not split: the messages are not the cause.
MAX_FAILED_BATCHES = 40


class Fetcher:
    """Fetch the parts of `sections`, and yield their pages in order.

    Prefetch the parents of later sections. Drop parts of `stopped` streams. Count in `failed` the
    parts of each stream that failed in a row.
    """

    def __init__(
        self,
        fetch: Callable[[Part, int], Page],
        workers: Workers,
        sections: Iterator[Section],
        stopped: Collection[Stream],
        failed: Counter[Stream],
    ) -> None:
        self._fetch = fetch
        self._workers = workers
        self._sections = sections
        self._stopped = stopped
        self._max_pages = MAX_PAGES_PER_WORKER * workers.count
        self._prefetch_limit = self._max_pages // 2
        self._queue: deque[PartPages | Outcome] = deque()
        # Later sections, each with the request for its parents: several if its window was split.
        self._ahead: deque[tuple[Section, list[PartPages]]] = deque()
        self._items: Items = iter(())
        self._in_flight: set[Future[Page]] = set()
        self._failed = failed
        self._is_walk_over = False
        self._begun: Counter[Stream] = Counter()  # parts in progress or failed

    def outcomes(self) -> Iterator[Outcome | None]:
        """Yield outcomes in order, and None while waiting. Raises an error of scope RUN at once."""
        while True:
            self._workers.raise_if_interrupted()
            self._process()
            self._request_pages()
            outcome = self._next_outcome()
            if outcome is not None:
                yield outcome
            elif self._queue or self._ahead or not self._has_idle_worker():
                self._workers.wait()
                yield None
            elif self._is_walk_over:
                return

    def _process(self) -> None:
        for future in [future for future in self._in_flight if future.done()]:
            self._in_flight.remove(future)
            error = None if future.cancelled() else future.exception()
            if isinstance(error, ListrakError) and error.scope is Scope.RUN:
                raise error
        for pages in self._parts():
            pages.process()
        for _, parents in self._ahead:
            for place, pages in enumerate(parents):
                pages.process()
                if not pages.is_complete:
                    break
                halves = _halves(pages, parents[place + 1 :])
                if halves:
                    parents[place : place + 1] = halves
                    break

    def _next_outcome(self) -> Outcome | None:
        while self._queue:
            first = self._queue[0]
            if not isinstance(first, PartPages):
                self._queue.popleft()
                return first
            if first.part.stream in self._stopped:
                first.cancel()
                self._queue.popleft()
                continue
            outcome = first.pop()
            if not isinstance(outcome, PartFinished):
                return outcome
            self._queue.popleft()
            stream = first.part.stream
            self._failed[stream] = self._failed[stream] + 1 if outcome.error else 0
            may_halve = not first.part.batch or self._failed[stream] <= MAX_FAILED_BATCHES
            halves = _halves(first, self._parts()) if may_halve else []
            if not halves:
                return outcome
            self._queue.extendleft(reversed(halves))
        return None

    def _parts(self) -> Iterator[PartPages]:
        return (item for item in self._queue if isinstance(item, PartPages))

    # Requests.

    def _count_in_hand(self) -> int:
        """Count pages in flight or buffered, to limit memory."""
        parents = (pages for _, parents in self._ahead for pages in parents)
        return sum(
            item.in_hand if isinstance(item, PartPages) else 1 for item in (*self._queue, *parents)
        )

    def _has_idle_worker(self) -> bool:
        return len(self._in_flight) < self._workers.count

    def _request_pages(self) -> None:
        """Request pages within the limit, in the order of the queue."""
        in_hand = self._count_in_hand()
        pages_before = 0
        self._begun = Counter(
            pages.part.stream for pages in self._parts() if pages.in_hand or pages.error
        )
        for place, item in enumerate(self._queue):
            if not self._has_idle_worker():
                return
            if not isinstance(item, PartPages):
                pages_before += 1
                continue
            if place and not item.in_hand and self._is_held_back(item.part):
                continue
            while self._has_idle_worker():
                is_first = place == 0 and not item.in_hand  # always allowed, to guarantee progress
                has_room = pages_before + item.in_hand < self._prefetch_limit
                has_room = has_room and in_hand < self._max_pages
                number = item.next_page() if is_first or has_room else None
                if number is None:
                    break
                self._request(item, number)
                in_hand += 1
            pages_before += item.in_hand
        self._extend_queue(in_hand)

    def _is_held_back(self, part: Part) -> bool:
        """Return whether a part must wait, because its stream may be about to stop."""
        stream = part.stream
        return self._failed[stream] > 0 and self._begun[stream] >= MAX_IN_HAND_OF_FAILING

    def _extend_queue(self, in_hand: int) -> None:
        """Pull parts from the walk, and prefetch the parents of later sections."""
        while (
            self._has_idle_worker()
            and len(self._queue) < self._max_pages
            and (in_hand < self._prefetch_limit or not self._queue)
        ):
            if not self._ahead:
                self._extend_by_section()
            if (
                self._request_parents()
                or self._extend_by_item()
                # Respect the limit even while the first section waits for its parents.
                or (
                    (in_hand < self._prefetch_limit or not self._ahead)
                    and self._extend_by_section()
                )
            ):
                in_hand += 1
            else:
                return

    def _request_parents(self) -> bool:
        """Request the next parents of later sections; return False if all are requested."""
        for pages in (pages for _, parents in self._ahead for pages in parents):
            number = pages.next_page()
            if number is not None:
                self._request(pages, number)
                return True
        return False

    def _extend_by_item(self) -> bool:
        """Pull the next part or outcome from the walk; return False if its parents are missing."""
        item = next(self._items, None)
        while item is None:
            if not self._ahead or not all(pages.is_complete for pages in self._ahead[0][1]):
                return False
            section, parents = self._ahead.popleft()
            self._items = section.follow([_result(pages) for pages in parents])
            item = next(self._items, None)
        if not isinstance(item, Part):
            self._queue.append(item)
        elif item.stream not in self._stopped:
            pages = PartPages(item)
            self._queue.append(pages)
            if not self._is_held_back(item):
                self._request(pages, pages.first)
        return True

    def _extend_by_section(self) -> bool:
        """Pull the next section from the walk; return False at the end."""
        section = next(self._sections, None)
        if section is None:
            self._is_walk_over = True
            return False
        self._ahead.append((section, [PartPages(section.parents)] if section.parents else []))
        return True

    def _request(self, pages: PartPages, number: int) -> None:
        part = pages.part
        future = self._workers.submit(lambda: self._fetch(part, number))
        self._begun[part.stream] += not pages.in_hand
        pages.register(number, future)
        self._in_flight.add(future)


def _result(pages: PartPages) -> tuple[Part, Page | ListrakError]:
    """Return the page or error of a complete request for parents."""
    outcome = pages.pop()
    if isinstance(outcome, PageFetched):
        return pages.part, outcome.page
    if pages.error is None:
        raise ValueError("a complete request has a page or an error")
    return pages.part, pages.error


def _halves(failed: PartPages, others: Iterable[PartPages]) -> list[PartPages]:
    """Split a part if it failed and its halves may succeed.

    After a single day timed out, do not split the `others` of its stream and list.
    """
    part, error = failed.part, failed.error
    if error is None:
        return []
    can_halve = bool(part.batch) or (part.can_halve and error.is_too_long)
    if can_halve and error.scope is Scope.PART:
        LOGGER.info("%s %s: requested again in two halves. %s", part.stream.name, part, error)
        return [PartPages(half) for half in part.halves()]
    if error.is_too_long and part.is_window and part.end - part.start <= ONE_DAY:
        for each in others:
            if (each.part.stream, each.part.list_id) == (part.stream, part.list_id):
                each.part = replace(each.part, may_halve=False)
    return []
