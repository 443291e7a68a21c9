"""Decide which page of a part to request next, and where the part ends."""

from __future__ import annotations

import logging
import math
from concurrent.futures import Future

from tap_listrak.listrak.faults import Condition, ListrakError, make_error
from tap_listrak.listrak.pages import Page
from tap_listrak.sync.parts import MAX_PAGES, PageFetched, Part, PartFinished

LOGGER = logging.getLogger(__name__)

# Fail if a cycle of up to MAX_CYCLE pages repeats MAX_REPEATS times.
MAX_REPEATS = 3
MAX_CYCLE = 20
# Maximum readings of a part if its pages shift.
MAX_READINGS = 3


def is_repeating(digests: list[str]) -> bool:
    """Return whether the last pages repeat a cycle MAX_REPEATS times."""
    periods = range(1, min(MAX_CYCLE, len(digests) // MAX_REPEATS) + 1)
    return any(
        digests[-period * MAX_REPEATS :] == digests[-period:] * MAX_REPEATS for period in periods
    )


class PartPages:
    """Pages of one part, in flight or buffered.

    Only an empty page ends a part. A resumed part requests its last page again, and restarts at
    page 1 if that page changed. A mirrored part requests all pages twice, and restarts if the keys
    of a page changed.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self._readings = 0
        self._futures: dict[int, Future[Page]] = {}
        self._again: dict[int, Future[Page]] = {}
        self._begin(part.resume[0] if part.resume and not part.read_twice else 1)

    def _begin(self, first: int) -> None:
        self.cancel()
        self._readings += 1
        self.first = first
        self._last_requested = self._last_arrived = self._last_taken = first - 1
        self._sizes: tuple[int, int] | None = None  # rows of the first page, and of the last
        self._digests: list[str] = []
        self._keys: list[str] = []
        # Pages verified so far; None before the verification starts.
        self._verified: int | None = None
        self.is_complete = False
        self.error: ListrakError | None = None

    @property
    def in_hand(self) -> int:
        """Number of pages in flight or buffered."""
        return len(self._futures) + len(self._again)

    def next_page(self) -> int | None:
        """Return the next page to request, or None.

        Read ahead only while pages are full: double the pages up to `expected_rows`, or add 5 % of
        the pages seen if that is unknown.
        """
        if self.is_complete:
            return None
        if self._verified is not None:
            number = self._verified + len(self._again) + 1
            return number if number <= len(self._keys) else None
        last = self._last_arrived + 1
        if self._sizes and self._sizes[1] >= self._sizes[0]:
            seen = last - self.first
            if self.part.expected_rows is None:
                last += seen // 20
            else:
                needed = math.ceil(self.part.expected_rows / self._sizes[0]) + 1
                last = max(last, min(last - 1 + seen, needed))
        return self._last_requested + 1 if self._last_requested < last else None

    def register(self, number: int, future: Future[Page]) -> None:
        """Register a requested page."""
        if self._verified is None:
            self._last_requested = number
            self._futures[number] = future
        else:
            self._again[number] = future

    def process(self) -> None:
        """Process finished pages in order, up to the end or an error."""
        while not self.is_complete:
            if self._verified is None:
                future = self._futures.get(self._last_arrived + 1)
            else:
                future = self._again.get(self._verified + 1)
            if future is None or not future.done():
                return
            error = future.exception()
            if error is not None:
                if not isinstance(error, ListrakError):
                    raise error
                self._fail(error)
            elif self._verified is not None:
                self._verify(self._verified + 1, future.result())
            elif self._has_shifted(future.result()):
                self._restart()
            else:
                self._arrived(future.result())

    def _fail(self, error: ListrakError) -> None:
        self.error = error
        self.is_complete = True

    def _restart(self) -> None:
        LOGGER.info(
            "%s %s: pages changed during reading; restarting at page 1.",
            self.part.stream.name,
            self.part,
        )
        self._begin(1)

    def _has_shifted(self, page: Page) -> bool:
        is_resumed = self.first > 1 and not self._digests
        return is_resumed and self.part.resume != (self.first, page.digest)

    def _arrived(self, page: Page) -> None:
        if not self.part.stream.paged:
            self._last_arrived += 1
            self.is_complete = True
            return
        if not page.row_count:
            if self.part.read_twice and self._digests:
                self._verified = 0
            else:
                self.is_complete = True
            return
        self._digests.append(page.digest)
        self._keys.append(page.key_digest)
        if is_repeating(self._digests) or len(self._digests) > MAX_PAGES:
            where = f"{self.part.stream.name} {self.part}, page {self._last_arrived + 1}"
            self._fail(make_error(Condition.REPEATED_PAGE, where))
            return
        self._last_arrived += 1
        first_size = self._sizes[0] if self._sizes else page.row_count
        self._sizes = first_size, page.row_count

    def _verify(self, number: int, page: Page) -> None:
        """Compare a page with its first reading."""
        if page.key_digest == self._keys[number - 1]:
            self._verified = number
            del self._again[number]
            self.is_complete = number == len(self._keys)
        elif self._readings < MAX_READINGS:
            self._restart()
        else:
            where = f"{self.part.stream.name} {self.part}"
            self._fail(make_error(Condition.SHIFTED_PAGES, where))

    def pop(self) -> PageFetched | PartFinished | None:
        """Return the next page, or the end; None if not available yet."""
        if self._last_taken < self._last_arrived:
            self._last_taken += 1
            page = self._futures.pop(self._last_taken).result()
            return PageFetched(self.part, self._last_taken, page)
        if self.is_complete:
            self.cancel()
            return PartFinished(self.part, self.error)
        return None

    def cancel(self) -> None:
        """Cancel and drop all pages."""
        for future in (*self._futures.values(), *self._again.values()):
            future.cancel()
        self._futures.clear()
        self._again.clear()
