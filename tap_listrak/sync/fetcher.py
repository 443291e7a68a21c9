"""Pages fetched ahead by several workers, and handed on in the walk's order.

Workers ask and read. The main thread alone decides what is asked and takes the results in order, so
that what is emitted does not depend on how many workers there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

from tap_listrak.listrak.client import Page
from tap_listrak.sync.failures import ends_every_task
from tap_listrak.sync.paging import TaskPages
from tap_listrak.sync.tasks import FetchTask, Need, Outcome, PageFetched, Part, Steps, TaskFinished
from tap_listrak.sync.workers import Workers

# Pages that may be asked for or wait for their turn, for each worker. A task may ask for more only
# while half as many stand before and in it, so that what is first in the queue finds room.
MAX_PAGES_PER_WORKER = 8


class Fetcher:
    """Fetches the tasks among `steps`, and hands their pages on in the same order.

    Outcomes among them are handed on in their turn. They yield NEXT_PARENT where they go on only
    with the page of the next of the `upcoming` tasks, which are fetched ahead; the page is sent to
    them. If that task fails, its end is handed on, and no more steps are taken.
    """

    def __init__(
        self,
        fetch: Callable[[FetchTask, int], Page],
        workers: Workers,
        steps: Steps,
        upcoming: Iterator[FetchTask],
    ) -> None:
        self._fetch = fetch
        self._workers = workers
        self._steps = steps
        self._upcoming = upcoming
        self._max_pages = MAX_PAGES_PER_WORKER * workers.count
        self._queue: deque[TaskPages | Outcome] = deque()
        self._parents: deque[TaskPages] = deque()
        self._under_way: set[Future[Page]] = set()
        self._abandoned: set[Part] = set()
        self._is_parent_needed = False
        self._are_steps_over = False

    def outcomes(self) -> Iterator[Outcome | None]:
        """Yield all outcomes in order, and None from time to time while the next is awaited.

        Raises an error that no part can be set aside for as soon as it comes, since all else would
        fail with it.
        """
        while True:
            self._workers.raise_if_interrupted()
            self._collect()
            self._request_pages()
            outcome = self._take()
            if outcome is not None:
                yield outcome
            elif self._are_steps_over and not self._queue:
                return
            else:
                self._workers.wait()
                yield None

    def abandon(self, part: Part) -> None:
        """Drop all other tasks of a part, also those that the walk has yet to yield."""
        self._abandoned.add(part)
        for item in list(self._queue):
            if isinstance(item, TaskPages) and item.task.part == part:
                item.cancel()
                self._queue.remove(item)

    def insert(self, tasks: Iterable[FetchTask]) -> None:
        """Hand these on before all that is left."""
        self._queue.extendleft(reversed([TaskPages(task) for task in tasks]))

    def _collect(self) -> None:
        for future in [future for future in self._under_way if future.done()]:
            self._under_way.remove(future)
            error = None if future.cancelled() else future.exception()
            if error is not None and ends_every_task(error):
                raise error
        for item in (*self._parents, *self._queue):
            if isinstance(item, TaskPages):
                item.collect()

    def _take(self) -> Outcome | None:
        if not self._queue:
            return None
        first = self._queue[0]
        outcome = first.take() if isinstance(first, TaskPages) else first
        if outcome is first or isinstance(outcome, TaskFinished):
            self._queue.popleft()
        return outcome

    # What is asked for.

    def _pages_in_hand(self) -> int:
        """Count what is asked for or waits for its turn: that bounds the memory."""
        items = (*self._queue, *self._parents)
        return sum(item.waiting if isinstance(item, TaskPages) else 1 for item in items)

    def _has_idle_worker(self) -> bool:
        return len(self._under_way) < self._workers.count

    def _request_pages(self) -> None:
        """Ask for as much as the bound allows: first what is first in the queue."""
        in_hand = self._pages_in_hand()
        before = 0
        for item in self._queue:
            if not self._has_idle_worker():
                return
            if not isinstance(item, TaskPages):
                before += 1
                continue
            while self._has_idle_worker() and self._may_request(item, in_hand, before):
                number = item.next_page()
                if number is None:
                    break
                self._request(item, number)
                in_hand += 1
            before += item.waiting
        self._extend_queue(in_hand)

    def _may_request(self, item: TaskPages, in_hand: int, before: int) -> bool:
        """Tell whether the bound allows one page more; `before` counts those ahead of the item."""
        if item is self._queue[0] and not item.waiting:
            return True  # or nothing would ever go on
        return in_hand < self._max_pages and before + item.waiting < self._max_pages // 2

    def _extend_queue(self, in_hand: int) -> None:
        """Take steps from the walk, and fetch ahead the parents that it will need."""
        room = self._max_pages // 2 - in_hand
        while self._has_idle_worker() and (room > 0 or not self._queue):
            # One parent beyond that which the walk waits for, so that it need not wait again.
            is_short = len(self._parents) <= (1 if self._is_parent_needed else 0)
            if not (is_short and self._request_parent()) and not self._step():
                break
            room -= 1
        while not self._are_steps_over and self._has_idle_worker() and room > 0:
            if not self._request_parent():
                return
            room -= 1

    def _step(self) -> bool:
        """Take one step of the walk; return False where it can go no further now."""
        if self._are_steps_over:
            return False
        page = None
        if self._is_parent_needed:
            page = self._next_parent()
            if page is None:
                return False
        try:
            step = next(self._steps) if page is None else self._steps.send(page)
        except StopIteration:
            self._are_steps_over = True
            return False
        if step is Need.NEXT_PARENT:
            self._is_parent_needed = True
        elif not isinstance(step, FetchTask):
            self._queue.append(step)
        elif step.part not in self._abandoned:
            pages = TaskPages(step)
            self._queue.append(pages)
            number = pages.next_page()
            if number is not None:
                self._request(pages, number)
        return True

    def _next_parent(self) -> PageFetched | None:
        """Return the page that is waited for; if it failed, hand that on and take no more steps."""
        if not self._parents and not self._request_parent():
            raise RuntimeError("a parent is needed that is not among the upcoming tasks")
        outcome = self._parents[0].take()
        if isinstance(outcome, TaskFinished):
            self._parents.popleft()
            self._queue.append(outcome)
            self._steps.close()
            self._are_steps_over = True
            return None
        if outcome is not None:
            self._parents.popleft()
            self._is_parent_needed = False
        return outcome

    def _request_parent(self) -> bool:
        """Ask for the next of the upcoming tasks; return False where there is none."""
        task = next(self._upcoming, None)
        if task is None:
            return False
        pages = TaskPages(task)
        self._parents.append(pages)
        self._request(pages, 1)
        return True

    def _request(self, pages: TaskPages, number: int) -> None:
        task = pages.task
        future = self._workers.submit(lambda: self._fetch(task, number))
        pages.request(number, future)
        self._under_way.add(future)
