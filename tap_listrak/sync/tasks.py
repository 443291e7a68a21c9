"""What is fetched at a time: the rows of one stream of one message, list or window of dates."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

from tap_listrak.config import Config
from tap_listrak.dates import wall_clock, windows
from tap_listrak.listrak.client import Page, PageRequest
from tap_listrak.streams import PARENTS, Stream

# Far more than any task has: of pages of 2,500 rows, these hold 250 million.
MAX_PAGES = 100_000
# What is taken away while pages are asked shifts the rows between them (unsubscribes, of a list):
# short windows keep that rare.
PAGED_WINDOW_DAYS = 30


class Part(NamedTuple):
    """What fails, and is set aside, as a whole: a stream's rows of one parent.

    `parent_id` is the MsgID or ConversationID; None for what is asked by list. `list_id` is None
    for what is asked of the account.
    """

    stream: Stream
    list_id: int | None
    parent_id: int | None


class WrittenPage(NamedTuple):
    """The last page written of a part that is not finished, and the digest of its rows."""

    number: int
    digest: str | None


@dataclass(frozen=True)
class FetchTask:
    """Rows that are asked for page by page (or at once, where the operation has no pages).

    `start` and `end` bound the dates asked for. `list_id` and `parent_id` are as in Part; a
    message's task has its `send_date`, and one of many messages at once their `batch` of MsgIDs.
    `expected_rows` is about how many rows there are, if that is known. `resume_at` is where an
    earlier run stopped within this task. `is_owed` says that an earlier run set this part aside.
    `ends_part` is off for a window that others follow, and `moves_checkpoint` for a task that
    stands outside the walk's order (see walk.py).
    """

    stream: Stream
    list_id: int | None
    start: datetime
    end: datetime
    parent_id: int | None = None
    send_date: datetime | None = None
    batch: tuple[int, ...] = ()
    expected_rows: int | None = None
    resume_at: WrittenPage | None = None
    is_owed: bool = False
    ends_part: bool = True
    moves_checkpoint: bool = True

    def __str__(self) -> str:
        where = "of the account" if self.list_id is None else f"of list {self.list_id}"
        if self.batch:
            return f"of {len(self.batch)} messages in list {self.list_id}"
        if self.parent_id is not None:
            kind = "conversation" if self.stream.is_by_conversation else "message"
            return f"of {kind} {self.parent_id} in list {self.list_id}"
        if self.stream.has_date_range:
            where += f" from {self.start:%Y-%m-%d} to {self.end:%Y-%m-%d}"
        return where

    @property
    def part(self) -> Part:
        """The part of the account that this task belongs to."""
        return Part(self.stream, self.list_id, self.parent_id)

    @property
    def can_be_deferred(self) -> bool:
        """Whether the run can go on without these rows: no other stream is asked by them."""
        return self.stream not in PARENTS

    def request(self, config: Config, page: int) -> PageRequest:
        """Return the request for one page."""
        values = {
            "ListID": self.list_id,
            "MsgID": self.parent_id,
            "ConversationID": self.parent_id,
            "MsgIDs": {"int": list(self.batch or (self.parent_id,))},
            "StartDate": wall_clock(self.start, config.timezone, end=False),
            "EndDate": wall_clock(self.end, config.timezone, end=True),
            "IncludeTestMessages": config.include_test_messages,
            "IncludeTerminated": True,
            "Page": page,
        }
        arguments: dict[str, Any] = {name: values[name] for name in self.stream.arguments}
        return PageRequest(
            self.stream,
            arguments,
            f"{self}, page {page}" if self.stream.is_paged else str(self),
            self.list_id if self.parent_id is None else self.parent_id,
            # What failed in an earlier run gets one try, so that it holds up nothing else.
            tries=1 if self.is_owed else 5,
        )

    def split(self, interval_days: int) -> Iterator[FetchTask]:
        """Return the tasks to fetch: of a list or the account, windows; of all else, itself."""
        if self.parent_id is not None or not self.stream.has_date_range:
            yield self
            return
        resume_at = self.resume_at
        days = PAGED_WINDOW_DAYS if self.stream.is_paged else interval_days
        for start, end in windows(self.start, self.end, days):
            is_last = end == self.end
            yield replace(self, start=start, end=end, resume_at=resume_at, ends_part=is_last)
            resume_at = None

    def of_messages(self, msg_ids: tuple[int, ...]) -> FetchTask:
        """Return this task for these messages; one alone is a part of its own."""
        if len(msg_ids) == 1:
            return replace(self, batch=(), parent_id=msg_ids[0])
        return replace(self, batch=msg_ids)

    def halves(self) -> tuple[FetchTask, FetchTask]:
        """Return the tasks of both halves of the batch."""
        middle = len(self.batch) // 2
        return self.of_messages(self.batch[:middle]), self.of_messages(self.batch[middle:])


# What the fetcher hands on, in the walk's order.


class PageFetched(NamedTuple):
    """A page of a task, with the number under which it was asked for."""

    task: FetchTask
    number: int
    page: Page


class TaskFinished(NamedTuple):
    """All pages of a task have come, or, with an error, the rest of them cannot be had."""

    task: FetchTask
    error: BaseException | None = None


class TaskSkipped(NamedTuple):
    """A task of a part that was set aside and failed again in this run: it is not asked."""

    task: FetchTask


class WindowStarted(NamedTuple):
    """The messages of a window have come; what streams have of them follows in this order.

    Besides, so many are `waiting` for their turn in a later run.
    """

    window: FetchTask
    msg_ids: tuple[int, ...]
    waiting: int


class ParentsListed(NamedTuple):
    """All messages or conversations of a list were seen: which of those that were owed, by ID."""

    stream: Stream
    list_id: int
    shown: frozenset[int]
    absent: frozenset[int]


class ListFinished(NamedTuple):
    """All that the streams have of a list was handed on before."""

    list_id: int


Outcome = PageFetched | TaskFinished | TaskSkipped | WindowStarted | ParentsListed | ListFinished


class Need(Enum):
    """What the walk may yield besides tasks and outcomes; see fetcher.py."""

    # The page of the next of the upcoming tasks, which is sent to the walk.
    NEXT_PARENT = "next parent"


Step = FetchTask | Outcome | Need
Steps = Generator[Step, PageFetched, None]
