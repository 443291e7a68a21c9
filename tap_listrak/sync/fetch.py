"""Pages fetched ahead by several workers, and handed on in the walk's order.

Workers request and read. The main thread alone decides what is requested, and takes the results in
order, so that what is emitted does not depend on how many workers there are.
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
from tap_listrak.sync.parts import ONE_DAY, Outcome, PageFetched, Part, PartFinished, Section
from tap_listrak.workers import Workers

LOGGER = logging.getLogger(__name__)

# Pages requested or waiting, for each worker. A part may have more only while half of them are
# before and in it, so that the first in the queue finds room.
MAX_PAGES_PER_WORKER = 8
# Of a stream whose parts fail, only as many are begun at once: it may be stopped for them.
MAX_BEGUN_OF_FAILING = 8


class Fetcher:
    """Fetches the parts of `sections`, and hands their pages on in the same order.

    Outcomes among them are handed on in their place. Parents are fetched ahead of the section that
    follows from them. Parts of streams that are `stopped` are dropped.
    """

    def __init__(
        self,
        fetch: Callable[[Part, int], Page],
        workers: Workers,
        sections: Iterator[Section],
        stopped: Collection[Stream],
    ) -> None:
        self._fetch = fetch
        self._workers = workers
        self._sections = sections
        self._stopped = stopped
        self._max_pages = MAX_PAGES_PER_WORKER * workers.count
        self._queue: deque[PartPages | Outcome] = deque()
        # The sections to follow, each with the pieces in which its parents are fetched.
        self._ahead: deque[tuple[Section, list[PartPages]]] = deque()
        self._current: Iterator[Part | Outcome] = iter(())
        self._under_way: set[Future[Page]] = set()
        # The streams whose last part failed, and how many parts of each are begun.
        self._failing: set[Stream] = set()
        self._begun: Counter[Stream] = Counter()

    def outcomes(self) -> Iterator[Outcome | None]:
        """Yield all outcomes in order, and None from time to time while the next is awaited.

        Raises an error that ends the run as soon as it comes, since all else would fail with it.
        """
        while True:
            self._workers.raise_if_interrupted()
            self._collect()
            self._request_pages()
            outcome = self._take()
            if outcome is not None:
                yield outcome
            elif self._queue or self._ahead or not self._has_idle_worker():
                self._workers.wait()
                yield None
            else:
                return

    def _collect(self) -> None:
        for future in [future for future in self._under_way if future.done()]:
            self._under_way.remove(future)
            error = None if future.cancelled() else future.exception()
            if isinstance(error, ListrakError) and error.scope is Scope.RUN:
                raise error
        for item in self._queue:
            if isinstance(item, PartPages):
                item.collect()
        for _, pieces in self._ahead:
            for place, piece in enumerate(pieces):
                piece.collect()
                if not piece.is_complete:
                    break
                halves = _halves(piece)
                if halves:
                    pieces[place : place + 1] = halves
                    break
                _keep_whole(piece, pieces[place + 1 :])

    def _take(self) -> Outcome | None:
        while self._queue:
            first = self._queue[0]
            if not isinstance(first, PartPages):
                return self._queue.popleft()  # type: ignore[return-value] # no PartPages
            if first.part.stream in self._stopped:
                first.cancel()
                self._queue.popleft()
                continue
            outcome = first.take()
            if not isinstance(outcome, PartFinished):
                return outcome
            (self._failing.add if outcome.error else self._failing.discard)(first.part.stream)
            self._queue.popleft()
            halves = _halves(first)
            if not halves:
                _keep_whole(first, self._queue)
                return outcome
            self._queue.extendleft(reversed(halves))
        return None

    # What is requested.

    def _pages_in_hand(self) -> int:
        """Count what is requested or waits: that bounds the memory."""
        pieces = (piece for _, pieces in self._ahead for piece in pieces)
        return sum(
            item.waiting if isinstance(item, PartPages) else 1 for item in (*self._queue, *pieces)
        )

    def _has_idle_worker(self) -> bool:
        return len(self._under_way) < self._workers.count

    def _request_pages(self) -> None:
        """Request as much as the bound allows: first what is first in the queue."""
        in_hand = self._pages_in_hand()
        before = 0
        self._begun = Counter(
            item.part.stream
            for item in self._queue
            if isinstance(item, PartPages) and (item.waiting or item.error)
        )
        for place, item in enumerate(self._queue):
            if not self._has_idle_worker():
                return
            if not isinstance(item, PartPages):
                before += 1
                continue
            if place and not item.waiting and self._is_held_back(item.part):
                continue
            while self._has_idle_worker():
                is_first = place == 0 and not item.waiting  # or nothing would ever go on
                has_room = in_hand < self._max_pages and before + item.waiting < self._half
                number = item.next_page() if is_first or has_room else None
                if number is None:
                    break
                self._request(item, number)
                in_hand += 1
            before += item.waiting
        self._extend_queue(in_hand)

    def _is_held_back(self, part: Part) -> bool:
        """Return whether a part is not begun, since others of its stream fail and may stop it."""
        stream = part.stream
        return stream in self._failing and self._begun[stream] >= MAX_BEGUN_OF_FAILING

    @property
    def _half(self) -> int:
        return self._max_pages // 2

    def _extend_queue(self, in_hand: int) -> None:
        """Take parts from the walk, and fetch ahead the parents of the sections to follow."""
        while (
            self._has_idle_worker()
            and len(self._queue) < self._max_pages
            and (in_hand < self._half or not self._queue)
        ):
            if not self._ahead:
                self._extend_by_section()
            if self._request_parents() or self._extend_by_part() or self._extend_by_section():
                in_hand += 1
            else:
                return

    def _request_parents(self) -> bool:
        """Request the next parents that are not yet; return False where all are."""
        for _, pieces in self._ahead:
            for piece in pieces:
                number = piece.next_page()
                if number is not None:
                    self._request(piece, number)
                    return True
        return False

    def _extend_by_part(self) -> bool:
        """Take the next part or outcome from the walk; return False where it has to wait."""
        step = next(self._current, None)
        while step is None:
            if not self._ahead or not all(piece.is_complete for piece in self._ahead[0][1]):
                return False
            section, pieces = self._ahead.popleft()
            self._current = section.follow([_piece(each) for each in pieces])
            step = next(self._current, None)
        if not isinstance(step, Part):
            self._queue.append(step)
        elif step.stream not in self._stopped:
            pages = PartPages(step)
            self._queue.append(pages)
            if not self._is_held_back(step):
                self._request(pages, pages.first)
        return True

    def _extend_by_section(self) -> bool:
        """Take the next section from the walk; return False where there is none."""
        section = next(self._sections, None)
        if section is None:
            return False
        self._ahead.append((section, [PartPages(section.parents)] if section.parents else []))
        return True

    def _request(self, pages: PartPages, number: int) -> None:
        part = pages.part
        future = self._workers.submit(lambda: self._fetch(part, number))
        self._begun[part.stream] += not pages.waiting
        pages.request(number, future)
        self._under_way.add(future)


def _piece(pages: PartPages) -> tuple[Part, Page | ListrakError]:
    """Return what came of the request for a window of parents."""
    outcome = pages.take()
    if isinstance(outcome, PageFetched):
        return pages.part, outcome.page
    if pages.error is None:
        raise ValueError("a piece that is complete has a page or an error")
    return pages.part, pages.error


def _halves(pages: PartPages) -> list[PartPages]:
    """Return both halves of what failed, where they may succeed."""
    part, error = pages.part, pages.error
    if error is None or error.scope is not Scope.PART:
        return []
    if not part.batch and not (part.can_halve and error.is_too_long):
        return []
    LOGGER.info("%s %s: requested again in two halves. %s", part.stream.name, part, error)
    return [PartPages(half) for half in part.halves()]


def _keep_whole(failed: PartPages, others: Iterable[PartPages | Outcome]) -> None:
    """Halve nothing more of a window, once one day of it has failed."""
    day = failed.part
    is_day = day.is_window and day.end - day.start <= ONE_DAY
    if not (is_day and failed.error and failed.error.is_too_long):
        return
    for item in others:
        if isinstance(item, PartPages):
            part = item.part
            if (part.stream, part.list_id) == (day.stream, day.list_id):
                item.part = replace(part, may_halve=False)
