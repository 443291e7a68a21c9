"""The pages of one part: which to request next, when they have ended, and which is due."""

from __future__ import annotations

import logging
import math
from concurrent.futures import Future

from tap_listrak.listrak.faults import Condition, ListrakError, make_error
from tap_listrak.listrak.pages import Page
from tap_listrak.sync.parts import MAX_PAGES, PageFetched, Part, PartFinished

LOGGER = logging.getLogger(__name__)

# The same page, or the same few pages in rotation, as many times in a row are a defect.
MAX_REPEATS = 3
MAX_CYCLE = 20
# A window whose pages shift while they are read is begun as often.
MAX_BEGUN = 3


def is_repeating(digests: list[str]) -> bool:
    """Return whether the last pages are the same, or up to MAX_CYCLE alike, MAX_REPEATS times."""
    periods = range(1, min(MAX_CYCLE, len(digests) // MAX_REPEATS) + 1)
    return any(
        digests[-period * MAX_REPEATS :] == digests[-period:] * MAX_REPEATS for period in periods
    )


class PartPages:
    """The pages of one part that are requested or wait to be handed on.

    Nothing but an empty page is the end, so one page beyond the last known is always requested.
    Where an earlier run was cut off within the part, its last page is requested again: if it holds
    other rows now, pages have shifted, and the part begins at its first page. So does a part that
    is verified, if a page has other keys once the last has come.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self._begun = 0
        self._futures: dict[int, Future[Page]] = {}
        self._again: dict[int, Future[Page]] = {}
        self._begin(part.page if part.page and part.digest and not part.is_verified else 1)

    def _begin(self, first: int) -> None:
        self.cancel()
        self._begun += 1
        self._first = first
        self._last_requested = self._last_arrived = self._last_taken = first - 1
        self._sizes: tuple[int, int] | None = None  # rows of the first page, and of the last
        self._digests: list[str] = []
        self._keys: list[str] = []
        # How many pages were verified, once all have come of a part that is verified.
        self._verified: int | None = None
        self._is_complete = False
        self.error: ListrakError | None = None

    @property
    def first(self) -> int:
        """The page that is requested first."""
        return self._first

    @property
    def waiting(self) -> int:
        """How many pages are requested or wait to be handed on."""
        return len(self._futures) + len(self._again)

    @property
    def is_complete(self) -> bool:
        """Whether no more pages are requested."""
        return self._is_complete

    def next_page(self) -> int | None:
        """Return the number of the next page worth requesting, if there is one now.

        More than one are requested ahead while pages are as long as the first: in steps that
        double, up to the rows expected; where that is not known, one in twenty of those seen.
        """
        if self._is_complete:
            return None
        if self._verified is not None:
            number = self._verified + len(self._again) + 1
            return number if number <= len(self._keys) else None
        last = self._last_arrived + 1
        if self._sizes and self._sizes[1] >= self._sizes[0]:
            seen = last - self._first
            if self.part.expected_rows is None:
                last += seen // 20
            else:
                needed = math.ceil(self.part.expected_rows / self._sizes[0]) + 1
                last = max(last, min(last - 1 + seen, needed))
        return self._last_requested + 1 if self._last_requested < last else None

    def request(self, number: int, future: Future[Page]) -> None:
        """Note that a page has been requested."""
        if self._verified is None:
            self._last_requested = number
            self._futures[number] = future
        else:
            self._again[number] = future

    def collect(self) -> None:
        """Take note of the pages that have come, in order, up to the end or an error."""
        while not self._is_complete:
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
                self._begin_again()
            else:
                self._arrived(future.result())

    def _fail(self, error: ListrakError) -> None:
        self.error = error
        self._is_complete = True

    def _begin_again(self) -> None:
        LOGGER.info(
            "%s %s: its pages have shifted; begun again at the first.",
            self.part.stream.name,
            self.part,
        )
        self._begin(1)

    def _has_shifted(self, page: Page) -> bool:
        is_resumed = self._first > 1 and not self._digests
        return is_resumed and page.digest != self.part.digest

    def _arrived(self, page: Page) -> None:
        if not self.part.stream.paged:
            self._last_arrived += 1
            self._is_complete = True
            return
        if not page.row_count:
            if self.part.is_verified and self._digests:
                self._verified = 0
            else:
                self._is_complete = True
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
        """Compare a page that was requested again with what it was."""
        if page.key_digest == self._keys[number - 1]:
            self._verified = number
            del self._again[number]
            self._is_complete = number == len(self._keys)
        elif self._begun < MAX_BEGUN:
            self._begin_again()
        else:
            where = f"{self.part.stream.name} {self.part}"
            self._fail(make_error(Condition.SHIFTED_PAGES, where))

    def take(self) -> PageFetched | PartFinished | None:
        """Return the next page in order, or the end, once it has come."""
        if self._last_taken < self._last_arrived:
            self._last_taken += 1
            page = self._futures.pop(self._last_taken).result()
            return PageFetched(self.part, self._last_taken, page)
        if self._is_complete:
            self.cancel()
            return PartFinished(self.part, self.error)
        return None

    def cancel(self) -> None:
        """Give up the pages that are requested or wait."""
        for future in (*self._futures.values(), *self._again.values()):
            future.cancel()
        self._futures.clear()
        self._again.clear()
