"""What the state says of one stream: the JSON of its entry, as Structs.

Arrays hold one object or none where there is one thing to say, since a merge of states replaces an
array whole, but merges objects key by key.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from tap_listrak.dates import EPOCH
from tap_listrak.streams import Per, Stream
from tap_listrak.sync.parts import MAX_PAGES, Part
from tap_listrak.sync.turns import everything_requested_until

# Listrak has forgotten what it has neither shown nor answered for in this time.
TIME_TO_FORGET = timedelta(days=30)

Instant = Annotated[datetime, Meta(tz=True)]
Identifier = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
PageNumber = Annotated[int, Meta(ge=1, le=MAX_PAGES)]


class Place(Struct, frozen=True, omit_defaults=True):
    """How far the walk has come in a list, or in the account: all before it has been emitted.

    With a `page`, that page is the last one written of the part; without, all of the part is. The
    part is a message of the window of messages that starts at `window`, a conversation, or a window
    (once all of it is written, `window` is its end).
    """

    list_id: Identifier | None = None
    window: Instant | None = None
    parent_id: Identifier | None = None
    page: PageNumber | None = None
    digest: str | None = None


class Range(Struct, frozen=True, omit_defaults=True):
    """From when to when a stream is requested, under which options, and how far that has come.

    It starts at `bookmark` (less the lookback), or at start_date for a list that the bookmark does
    not cover, or for all where the range is `whole`. `list_ids` are the lists that are done.
    `left_out_before` is a later start_date, which left out messages. Records of a mirrored stream
    carry `version`; `left_out` says that some were not emitted.
    """

    start_date: Instant
    end: Instant
    list_ids: tuple[Identifier, ...] = ()
    include_test_messages: bool = True
    timezone: str = "UTC"
    keep_every_event: bool = False
    typed_event_dates: bool = False
    interval_days: int | None = None
    recent_days: int | None = None
    older_every_days: Annotated[int, Meta(ge=2, le=90)] | None = None
    bookmark: Instant | None = None
    whole: bool = False
    version: int | None = None
    left_out: bool = False
    left_out_before: Instant | None = None
    place: Place | None = None

    @property
    def first_date(self) -> datetime:
        """The start_date that holds for all of the range."""
        return self.left_out_before or self.start_date


class SetAside(Struct, frozen=True, omit_defaults=True):
    """A part that failed, and the range that is still to be requested of it.

    Without `parent_id`, it is a window of a list or of the account; of a stream that is requested
    by message or conversation, it is all of them that were sent from `sent_from` to `sent_to`.
    `failed_since` and `absent_since` are when its calls began to fail, and when Listrak began to
    leave it out of its lists, messages or conversations.
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
    absent_since: Instant | None = None

    def holds(self, part: Part) -> bool:
        """Return whether a part, or a window that it is in, was set aside by this."""
        if self.list_id != part.list_id or self.parent_id != part.parent_id:
            return False
        return not part.is_window or (self.start <= part.start and part.end <= self.end)

    def without(self, part: Part) -> list[SetAside]:
        """Return what is left once a part of it has come."""
        if not part.is_window:
            return []
        rests = ((self.start, part.start), (part.end, self.end))
        return [
            replace(self, start=start, end=end, page=None, digest=None)
            for start, end in rests
            if start < end
        ]

    def is_gone(self, now: datetime) -> bool:
        """Return whether Listrak has left it out, and failed for it, for TIME_TO_FORGET."""
        limit = now - TIME_TO_FORGET
        return all(since and since <= limit for since in (self.absent_since, self.failed_since))


class Entry(Struct, frozen=True):
    """All that the state says of one stream.

    `covers` is what the bookmark speaks for: the last range that was completed. `version` is the
    one last activated of a mirrored stream.
    """

    bookmark: datetime | None = None
    covers: Range | None = None
    unfinished: Range | None = None
    set_aside: tuple[SetAside, ...] = ()
    version: int | None = None

    @property
    def active(self) -> Range:
        """The range of this pass."""
        if self.unfinished is None:
            raise ValueError("the stream has no range")
        return self.unfinished

    @property
    def last_end(self) -> datetime | None:
        """The end of the last complete range; None where the bookmark was set back since."""
        covers = self.covers
        if covers and covers.older_every_days and self.bookmark:
            return (
                None
                if self.bookmark < everything_requested_until(covers.end, covers.older_every_days)
                else covers.end
            )
        return self.bookmark


def version_of(end: datetime) -> int:
    """Return the version of a mirror that is up to date at `end`, in milliseconds since 1970."""
    return (end - EPOCH) // timedelta(milliseconds=1)


def holds_parents(owed: SetAside, stream: Stream) -> bool:
    """Return whether what is set aside is a window of messages, or the conversations of a list."""
    return owed.parent_id is None and stream.per in (Per.MESSAGE, Per.CONVERSATION)
