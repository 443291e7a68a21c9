"""Define parts and their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tap_listrak.config import Config
from tap_listrak.dates import wall_clock
from tap_listrak.listrak.client import MAX_TRIES, PageRequest
from tap_listrak.listrak.faults import ListrakError
from tap_listrak.listrak.pages import Page
from tap_listrak.streams import Per, Stream
from tap_listrak.sync.counts import NewestCounts

# Safety limit: 100,000 pages of 2,500 rows are 250 million rows.
MAX_PAGES = 100_000
ONE_DAY = timedelta(days=1)
# Listrak does not document whether the bounds of a window are inclusive.
_OVERLAP = timedelta(seconds=1)


@dataclass(frozen=True)
class Part:
    """The unit of request, failure and resumption: rows of one stream.

    These are the rows of one message or conversation, of a batch of messages, or of a list or the
    account. Dated streams of lists and of the account have one part per window of dates.
    """

    stream: Stream
    list_id: int | None  # None: the account
    start: datetime
    end: datetime
    parent_id: int | None = None  # message or conversation
    batch: tuple[int, ...] = ()  # MsgIDs
    window: datetime | None = None  # start of this window, or of the message's window
    sent_range: tuple[datetime, datetime] | None = None  # SendDates of the messages
    progress: tuple[int, int] | None = None  # the message's number in its window, and the total
    expected_rows: int | None = None  # estimate
    resume: tuple[int, str] | None = None  # last page that an earlier run wrote, and its digest
    is_retry: bool = False  # an earlier run set it aside
    read_twice: bool = False  # request each page twice (mirrors)
    may_halve: bool = True

    def __str__(self) -> str:
        if self.batch:
            return f"of {len(self.batch)} messages in list {self.list_id}"
        if self.parent_id is not None:
            return f"of {name_parent(self.stream, self.parent_id)} in list {self.list_id}"
        where = "of the account" if self.list_id is None else f"of list {self.list_id}"
        if self.is_window:
            where += f" from {self.start:%Y-%m-%d} to {self.end:%Y-%m-%d}"
        return where

    @property
    def is_window(self) -> bool:
        """Whether the part is a window of dates, of a list or of the account."""
        return self.stream.dated and self.stream.per in (Per.LIST, Per.ACCOUNT)

    @property
    def can_halve(self) -> bool:
        """Whether the window can be split after a timeout."""
        return self.is_window and self.may_halve and self.end - self.start > ONE_DAY

    def halves(self) -> tuple[Part, Part]:
        """Split a window or batch in two."""
        if self.batch:
            middle = len(self.batch) // 2
            return self.of_messages(self.batch[:middle]), self.of_messages(self.batch[middle:])
        middle_date = self.start + max((self.end - self.start) / 2, ONE_DAY)
        first = replace(self, end=middle_date, resume=None)
        window = self.window and middle_date
        return first, replace(self, start=middle_date, window=window, resume=None)

    def of_messages(self, msg_ids: tuple[int, ...]) -> Part:
        """Return this part for these messages. A batch of one becomes a part of a message."""
        if len(msg_ids) == 1:
            return replace(self, batch=(), parent_id=msg_ids[0])
        return replace(self, batch=msg_ids)

    def request(self, config: Config, page: int) -> PageRequest:
        """Return the request for one page."""
        overlaps = self.is_window or config.backfill_from is not None
        start = self.start - _OVERLAP if overlaps else self.start
        values = {
            "ListID": self.list_id,
            "MsgID": self.parent_id,
            "ConversationID": self.parent_id,
            "MsgIDs": {"int": list(self.batch or (self.parent_id,))},
            "StartDate": wall_clock(start, config.timezone, end=False),
            "EndDate": wall_clock(self.end, config.timezone, end=True),
            "IncludeTestMessages": config.include_test_messages,
            "IncludeTerminated": True,
            "Page": page,
        }
        arguments: dict[str, Any] = {name: values[name] for name in self.stream.arguments}
        return PageRequest(
            self.stream,
            arguments,
            f"{self}, page {page}" if self.stream.paged else str(self),
            self.list_id if self.parent_id is None else self.parent_id,
            # Retries of old failures must not delay the run.
            tries=1 if self.is_retry else MAX_TRIES,
            is_splittable=self.can_halve,
        )


def name_parent(stream: Stream, parent_id: int) -> str:
    """Return the name of a message or conversation for the log."""
    return f"{'conversation' if stream.per is Per.CONVERSATION else 'message'} {parent_id}"


class PageFetched(NamedTuple):
    """A page of a part, and its number."""

    part: Part
    number: int
    page: Page


class PartFinished(NamedTuple):
    """A part is complete, or failed with `error`."""

    part: Part
    error: ListrakError | None = None


class ListFinished(NamedTuple):
    """The walk of a list is complete.

    `parents` maps a parent stream to all of its IDs, if all are known. `not_due` counts messages
    that rotation skipped in at least one stream, and `counts` are those of the rotating streams.
    """

    list_id: int
    parents: Mapping[Stream, Collection[int]]
    not_due: int
    counts: Mapping[Stream, NewestCounts]


Outcome = PageFetched | PartFinished | ListFinished
Items = Iterator[Part | Outcome]
# The outcome of a request for parents: one item, or several if a window was split.
ParentResults = list[tuple[Part, Page | ListrakError]]


class Section(NamedTuple):
    """A request for parents (or None), and its continuation.

    `follow` takes the results of the request and yields the parts to fetch, mixed with outcomes
    that are already known.
    """

    parents: Part | None
    follow: Callable[[ParentResults], Items]
