"""What a run requests, and what comes of it."""

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

# Far more than any part has: pages of 2,500 rows make 250 million rows.
MAX_PAGES = 100_000
ONE_DAY = timedelta(days=1)
# Whether Listrak includes the bounds of a window is not known.
_OVERLAP = timedelta(seconds=1)


@dataclass(frozen=True)
class Part:
    """The rows of one stream that are requested, fail, and are resumed as a whole.

    Those of one message or conversation (`parent_id`), of a `batch` of MsgIDs, or of one window of
    a list, or of the account where `list_id` is None. `start` and `end` bound the dates requested.
    `window` is the start of the window of messages that a message came in, or of this part itself.
    `number` of `count` is its place among the messages of that window. `sent` is their SendDate.
    `expected_rows` is about how many rows there are, where that is known. `page` is the last page
    that an earlier run wrote of it, and `digest` that of its rows.
    """

    stream: Stream
    list_id: int | None
    start: datetime
    end: datetime
    parent_id: int | None = None
    window: datetime | None = None
    sent: tuple[datetime, datetime] | None = None
    batch: tuple[int, ...] = ()
    number: int = 0
    count: int = 0
    expected_rows: int | None = None
    page: int | None = None
    digest: str | None = None
    is_retry: bool = False  # an earlier run set it aside
    is_verified: bool = False  # its pages are requested twice, since a mirror rests on them
    may_halve: bool = True
    is_half: bool = False

    def __str__(self) -> str:
        if self.batch:
            return f"of {len(self.batch)} messages in list {self.list_id}"
        if self.parent_id is not None:
            kind = "conversation" if self.stream.per is Per.CONVERSATION else "message"
            return f"of {kind} {self.parent_id} in list {self.list_id}"
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
        """Whether half of it may succeed where all of it takes too long."""
        return self.is_window and self.may_halve and self.end - self.start > ONE_DAY

    def halves(self) -> tuple[Part, Part]:
        """Return both halves of a window or batch; one message alone is no batch."""
        if self.batch:
            middle = len(self.batch) // 2
            return self.of_messages(self.batch[:middle]), self.of_messages(self.batch[middle:])
        days = max((self.end - self.start) / 2, ONE_DAY)
        middle_date = self.start + days
        whole = replace(self, page=None, digest=None, is_half=True)
        return replace(whole, end=middle_date), replace(
            whole, start=middle_date, window=self.window and middle_date
        )

    def of_messages(self, msg_ids: tuple[int, ...]) -> Part:
        """Return the part of these messages."""
        if len(msg_ids) == 1:
            return replace(self, batch=(), parent_id=msg_ids[0])
        return replace(self, batch=msg_ids)

    def request(self, config: Config, page: int) -> PageRequest:
        """Return the request for one page."""
        start = self.start - _OVERLAP if self.is_window else self.start
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
            # What failed in an earlier run gets one try, so that it delays nothing else.
            tries=1 if self.is_retry else MAX_TRIES,
            is_splittable=self.can_halve,
        )


class PageFetched(NamedTuple):
    """A page of a part, and its number."""

    part: Part
    number: int
    page: Page


class PartFinished(NamedTuple):
    """All pages of a part have come, or the rest of them cannot be had."""

    part: Part
    error: ListrakError | None = None


class ListFinished(NamedTuple):
    """Everything of a list has been handed on.

    `parents` are the ids of all of its messages and conversations, by stream, where all are known.
    `waiting` messages wait for their turn in at least one stream.
    """

    list_id: int
    parents: Mapping[Stream, Collection[int]]
    waiting: int


Outcome = PageFetched | PartFinished | ListFinished


class Section(NamedTuple):
    """A reply that names parents, or none, and what follows from it.

    `follow` takes what came of the request for `parents` (pieces of a window, where it was halved)
    and yields the parts to fetch, among outcomes to hand on as they are.
    """

    parents: Part | None
    follow: Callable[[list[tuple[Part, Page | ListrakError]]], Iterator[Part | Outcome]]
