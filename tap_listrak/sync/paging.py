"""The pages of one task: which to ask for next, when they have ended, and their turn."""

from __future__ import annotations

import logging
import math
from concurrent.futures import Future

from tap_listrak.listrak.client import Page
from tap_listrak.listrak.faults import Condition, make_error
from tap_listrak.sync.tasks import MAX_PAGES, FetchTask, PageFetched, TaskFinished

LOGGER = logging.getLogger(__name__)

# The same page, or the same few pages in turn, so many times in a row are a defect.
MAX_REPEATS = 3
MAX_CYCLE = 20


def is_repeating(digests: list[str]) -> bool:
    """Tell whether the last pages are the same, or up to MAX_CYCLE in turn, MAX_REPEATS times."""
    periods = range(1, min(MAX_CYCLE, len(digests) // MAX_REPEATS) + 1)
    return any(
        digests[-period * MAX_REPEATS :] == digests[-period:] * MAX_REPEATS for period in periods
    )


class TaskPages:
    """The pages of one task that are asked for or wait for their turn.

    Nothing but an empty page is the end, so one page beyond the last known is always asked. Where
    an earlier run stopped within the task, its last page is asked again: if it holds other rows by
    now, pages have shifted, and the task begins at its first page.
    """

    def __init__(self, task: FetchTask) -> None:
        self.task = task
        self._first = task.resume_at.number if task.resume_at and task.resume_at.digest else 1
        self._reset(self._first)

    def _reset(self, first: int) -> None:
        self._first = first
        self._futures: dict[int, Future[Page]] = {}
        self._last_requested = self._last_arrived = self._last_taken = first - 1
        self._sizes: tuple[int, int] | None = None  # rows of the first page, and of the last
        self._digests: list[str] = []
        self._is_complete = False
        self._error: BaseException | None = None

    @property
    def waiting(self) -> int:
        """How many pages are asked for or wait for their turn."""
        return len(self._futures)

    def next_page(self) -> int | None:
        """Return the number of the next page worth asking for, if there is one now.

        More than one are asked ahead while pages are as long as the first: in steps that double, as
        far as the rows expected reach; where that is not known, one in twenty of those seen.
        """
        if self._is_complete:
            return None
        last = self._last_arrived + 1
        if self._sizes and self._sizes[1] >= self._sizes[0]:
            seen = last - self._first
            if self.task.expected_rows is None:
                last += seen // 20
            else:
                needed = math.ceil(self.task.expected_rows / self._sizes[0]) + 1
                last = max(last, min(last - 1 + seen, needed))
        return self._last_requested + 1 if self._last_requested < last else None

    def request(self, number: int, future: Future[Page]) -> None:
        """Note that a page has been asked for."""
        self._last_requested = number
        self._futures[number] = future

    def collect(self) -> None:
        """Take note of the pages that have come, one after the other, up to the end or an error."""
        while not self._is_complete:
            future = self._futures.get(self._last_arrived + 1)
            if future is None or not future.done():
                return
            self._error = future.exception()
            if self._error is not None:
                self._is_complete = True
            elif self._has_shifted(future.result()):
                LOGGER.info(
                    "%s %s: page %d holds other rows now; begun again at the first.",
                    self.task.stream.name,
                    self.task,
                    self._first,
                )
                self.cancel()
                self._reset(1)
            else:
                self._arrived(future.result())

    def _has_shifted(self, page: Page) -> bool:
        resume_at = self.task.resume_at
        is_resumed = resume_at is not None and self._first > 1 and not self._digests
        return is_resumed and resume_at is not None and page.digest != resume_at.digest

    def _arrived(self, page: Page) -> None:
        if not self.task.stream.is_paged:
            self._last_arrived += 1
            self._is_complete = True
            return
        if not page.row_count:
            self._is_complete = True
            return
        self._digests.append(page.digest)
        if is_repeating(self._digests) or len(self._digests) > MAX_PAGES:
            where = f"{self.task.stream.name} {self.task}, page {self._last_arrived + 1}"
            self._error = make_error(Condition.REPEATED_PAGE, where)
            self._is_complete = True
            return
        self._last_arrived += 1
        first_size = self._sizes[0] if self._sizes else page.row_count
        self._sizes = first_size, page.row_count

    def take(self) -> PageFetched | TaskFinished | None:
        """Return the next page in its turn, or the end, once it has come."""
        if self._last_taken < self._last_arrived:
            self._last_taken += 1
            page = self._futures.pop(self._last_taken).result()
            return PageFetched(self.task, self._last_taken, page)
        if self._is_complete:
            self.cancel()
            return TaskFinished(self.task, self._error)
        return None

    def cancel(self) -> None:
        """Ask for no more of what was not asked yet."""
        for future in self._futures.values():
            future.cancel()
        self._futures.clear()
