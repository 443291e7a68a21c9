"""Define the state of one stream, as Structs with the keys of its JSON.

An optional object is stored as an array of length 0 or 1, because a deep merge of states replaces
arrays but merges objects key by key.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from tap_listrak.dates import EPOCH
from tap_listrak.streams import Per, Stream
from tap_listrak.sync.parts import MAX_PAGES, ONE_DAY, Part
from tap_listrak.sync.turns import CountFilter, Instant, everything_requested_until

# Give up a part that has been absent and failing for this long.
TIME_TO_FORGET = timedelta(days=30)

Identifier = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
PageNumber = Annotated[int, Meta(ge=1, le=MAX_PAGES)]


class Place(Struct, frozen=True, omit_defaults=True):
    """Position of the walk in a list or the account. Everything before it has been emitted.

    `page` is the last page written of a part; without it, the part is complete. `window` is the
    start of the message's window or of the part, or the end of a part that is complete.
    """

    list_id: Identifier | None = None
    window: Instant | None = None
    parent_id: Identifier | None = None
    page: PageNumber | None = None
    digest: str | None = None


class Range(Struct, frozen=True, omit_defaults=True):
    """A range of dates of one stream, the options that it was requested under, and its progress.

    It starts at `bookmark`, less the lookback, but at start_date for lists that the bookmark does
    not cover, or if it is `whole`.
    """

    start_date: Instant
    end: Instant
    list_ids: tuple[Identifier, ...] = ()  # lists done; of an account stream: lists to keep
    include_test_messages: bool = True
    timezone: str = "UTC"
    keep_every_event: bool = False
    typed_event_dates: bool = False
    email_hash: str | None = None  # addresses.key_check of email_hash_key
    interval_days: int | None = None
    recent_days: int | None = None
    older_every_days: Annotated[int, Meta(ge=2, le=90)] | None = None
    bookmark: Instant | None = None
    whole: bool = False
    version: int | None = None  # of the records of a mirrored stream
    left_out: bool = False  # some rows could not be emitted
    left_out_before: Instant | None = None  # a later start_date, which excluded messages
    place: Place | None = None

    @property
    def first_date(self) -> datetime:
        """The start_date that applies to the whole range."""
        return self.left_out_before or self.start_date

    def covered(self, end: datetime) -> Range:
        """Return what the bookmark covers once this range is complete."""
        return Range(
            start_date=self.first_date,
            end=end,
            list_ids=self.list_ids,
            include_test_messages=self.include_test_messages,
            timezone=self.timezone,
            keep_every_event=self.keep_every_event,
            typed_event_dates=self.typed_event_dates,
            email_hash=self.email_hash,
            older_every_days=self.older_every_days,
        )


class SetAside(Struct, frozen=True, omit_defaults=True):
    """A part that failed, with the dates that are still to be requested.

    Without `parent_id`, it is a window of a list or of the account; for a stream by message or
    conversation, all messages sent from `sent_from` to `sent_to`, or all conversations.
    """

    start: Instant
    end: Instant
    list_id: Identifier | None = None
    parent_id: Identifier | None = None
    sent_from: Instant | None = None
    sent_to: Instant | None = None
    page: PageNumber | None = None
    digest: str | None = None
    failed_since: Instant | None = None
    absent_since: Instant | None = None  # when Listrak stopped returning its list or parent

    def covers(self, part: Part) -> bool:
        """Return whether this is the part, or a window that contains it."""
        if self.list_id != part.list_id or self.parent_id != part.parent_id:
            return False
        return not part.is_window or (self.start <= part.start and part.end <= self.end)

    def without(self, part: Part) -> list[SetAside]:
        """Return this without the dates of a part that was emitted: 0 to 2 parts.

        Windows that were set aside may overlap.
        """
        if (self.list_id, self.parent_id) != (part.list_id, part.parent_id):
            return [self]
        if not part.is_window:
            return []
        if part.end <= self.start or self.end <= part.start:
            return [self]
        rests = ((self.start, part.start), (part.end, self.end))
        return [
            replace(self, start=start, end=end, page=None, digest=None)
            for start, end in rests
            if start < end
        ]

    def merged(self, new: SetAside) -> SetAside:
        """Return this, extended to the dates of `new`."""
        is_same = (new.start, new.end) == (self.start, self.end)
        return replace(
            self,
            start=min(self.start, new.start),
            end=max(self.end, new.end),
            sent_from=min(filter(None, (self.sent_from, new.sent_from)), default=None),
            sent_to=max(filter(None, (self.sent_to, new.sent_to)), default=None),
            page=self.page if is_same else None,
            digest=self.digest if is_same else None,
            failed_since=self.failed_since or new.failed_since,
        )

    def widened(self, stream: Stream) -> SetAside:
        """Return this, extended by a day at both ends, because the time zone has changed.

        The `end` of a window of parents is when it last failed, so keep it.
        """
        return replace(
            self,
            start=self.start - ONE_DAY,
            end=self.end if is_parent_window(self, stream) else self.end + ONE_DAY,
            sent_from=self.sent_from and self.sent_from - ONE_DAY,
            sent_to=self.sent_to and self.sent_to + ONE_DAY,
            page=None,
            digest=None,
        )

    def is_gone(self, now: datetime) -> bool:
        """Return whether it has been absent and failing for TIME_TO_FORGET."""
        limit = now - TIME_TO_FORGET
        return all(since and since <= limit for since in (self.absent_since, self.failed_since))


class Entry(Struct, frozen=True):
    """The state of one stream."""

    bookmark: datetime | None = None
    covers: Range | None = None  # the last complete range
    unfinished: Range | None = None
    set_aside: tuple[SetAside, ...] = ()
    version: int | None = None  # last one activated (mirrors)
    turns: CountFilter | None = None  # of the last complete range

    @property
    def current(self) -> Range:
        """The range of this pass."""
        if self.unfinished is None:
            raise ValueError("the stream has no range")
        return self.unfinished

    @property
    def last_end(self) -> datetime | None:
        """The end of the last complete range; None if the bookmark was moved back by hand."""
        covers, bookmark = self.covers, self.bookmark
        if not (covers and covers.older_every_days and bookmark):
            return bookmark
        until = everything_requested_until(covers.end, covers.older_every_days)
        return covers.end if bookmark >= until else None


def mirror_version(end: datetime) -> int:
    """Return the version of a mirror that ends at `end`: milliseconds since 1970."""
    return (end - EPOCH) // timedelta(milliseconds=1)


def is_parent_window(aside: SetAside, stream: Stream) -> bool:
    """Return whether this is a window of messages, or all conversations of a list."""
    return aside.parent_id is None and stream.per in (Per.MESSAGE, Per.CONVERSATION)


def resume_at(written: Place | SetAside) -> tuple[int, str] | None:
    """Return the last page that was written of a part, and its digest."""
    return (written.page, written.digest) if written.page and written.digest else None
