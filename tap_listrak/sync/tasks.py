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
from tap_listrak.streams import LISTS, PARENTS, Stream

# Far more than any task has: of pages of 2,500 rows, these hold 250 million.
MAX_PAGES = 100_000
# Unsubscribes while a list is paged shift its rows between pages: short windows keep that rare.
CONTACT_WINDOW_DAYS = 30


class Part(NamedTuple):
    """What fails, and is set aside, as a whole: a stream's rows of one message, or of one list."""

    stream: Stream
    list_id: int
    msg_id: int | None


class WrittenPage(NamedTuple):
    """The last page written of a part that is not finished, and the digest of its rows."""

    number: int
    digest: str | None


@dataclass(frozen=True)
class FetchTask:
    """Rows that are asked for page by page (or at once, where the operation has no pages).

    `start` and `end` bound the dates asked for. A message's task has its `send_date`; that of a
    list's contacts is one of several windows. `expected_rows` is about how many rows there are, if
    that is known. `resume_at` is where an earlier run stopped within this task. `is_owed` says that
    an earlier run set this part aside. `ends_part` is off for a window that others follow, and
    `moves_checkpoint` for a task that stands outside the walk's order (see walk.py).
    """

    stream: Stream
    list_id: int
    start: datetime
    end: datetime
    msg_id: int | None = None
    send_date: datetime | None = None
    expected_rows: int | None = None
    resume_at: WrittenPage | None = None
    is_owed: bool = False
    ends_part: bool = True
    moves_checkpoint: bool = True

    def __str__(self) -> str:
        if self.stream is LISTS:
            return "of the account"
        if self.msg_id is not None:
            return f"of message {self.msg_id} in list {self.list_id}"
        return f"of list {self.list_id} from {self.start:%Y-%m-%d} to {self.end:%Y-%m-%d}"

    @property
    def part(self) -> Part:
        """The part of the account that this task belongs to."""
        return Part(self.stream, self.list_id, self.msg_id)

    @property
    def can_be_deferred(self) -> bool:
        """Whether the run can go on without these rows: no other stream is asked by them."""
        return self.stream not in PARENTS

    def request(self, config: Config, page: int) -> PageRequest:
        """Return the request for one page."""
        values = {
            "ListID": self.list_id,
            "MsgID": self.msg_id,
            "StartDate": wall_clock(self.start, config.timezone, end=False),
            "EndDate": wall_clock(self.end, config.timezone, end=True),
            "IncludeTestMessages": config.include_test_messages,
            "Page": page,
        }
        arguments: dict[str, Any] = {name: values[name] for name in self.stream.arguments}
        return PageRequest(
            self.stream,
            arguments,
            f"{self}, page {page}" if self.stream.is_paged else str(self),
            self.list_id if self.msg_id is None else self.msg_id,
            # What failed in an earlier run gets one try, so that it holds up nothing else.
            retry=not self.is_owed,
        )

    def split(self) -> Iterator[FetchTask]:
        """Return the tasks to fetch: of a message, itself; of a list, windows of 30 days."""
        if self.msg_id is not None:
            yield self
            return
        resume_at = self.resume_at
        for start, end in windows(self.start, self.end, CONTACT_WINDOW_DAYS):
            is_last = end == self.end
            yield replace(self, start=start, end=end, resume_at=resume_at, ends_part=is_last)
            resume_at = None


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
    """The messages of a window have come; what streams have of them follows in this order."""

    window: FetchTask
    msg_ids: tuple[int, ...]


class MessagesListed(NamedTuple):
    """All messages of a list have been seen, among them these of those that earlier runs owed."""

    list_id: int
    shown: frozenset[int]
    absent: frozenset[int]


class ListFinished(NamedTuple):
    """All that the streams have of a list was handed on before."""

    list_id: int


Outcome = PageFetched | TaskFinished | TaskSkipped | WindowStarted | MessagesListed | ListFinished


class Need(Enum):
    """What the walk may yield besides tasks and outcomes; see fetcher.py."""

    # The page of the next of the upcoming tasks, which is sent to the walk.
    NEXT_PARENT = "next parent"


Step = FetchTask | Outcome | Need
Steps = Generator[Step, PageFetched, None]
