"""Decide which old messages and windows are due in a run (`older_every_days`). Pure.

A message is due on the UTC days on which the days since 1970 and its MsgID are equal modulo
`every`. The bookmark stays before the dates that are not requested yet, so rows may be late but are
not lost. A message whose count has changed is requested as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from tap_listrak.dates import EPOCH
from tap_listrak.sync.counts import is_known

_DAY = timedelta(days=1)
# Rows that are removed during paging shift later pages; short windows make that rare.
PAGED_WINDOW_DAYS = 30
_WINDOW = timedelta(days=PAGED_WINDOW_DAYS)

Instant = Annotated[datetime, Meta(tz=True)]


class CountFilter(Struct, frozen=True):
    """A Bloom filter of the counts of the messages sent since a date, as of one run.

    It is valid only with the `covers` of the same run, which has the same `end`.
    """

    end: Instant
    sent_from: Instant
    counts: bytes

    def lacks(self, sent: datetime, msg_id: int, count: int) -> bool:
        """Return whether the count of a message has changed since that run."""
        return (
            bool(self.counts)
            and sent >= self.sent_from
            and not is_known(self.counts, msg_id, count)
        )


def last_due_day(moment: datetime, number: int, every: int) -> datetime:
    """Return the start of the latest day, up to `moment`, on which a message is due."""
    day = (moment - EPOCH) // _DAY
    return EPOCH + (day - (day - number) % every) * _DAY


def everything_requested_until(last_end: datetime, every: int) -> datetime:
    """Return the date up to which every message has been requested after a run up to `last_end`.

    This is the start of the last 2 * `every` days, because a reply may have omitted a message on
    its last due day.
    """
    day = (last_end - EPOCH) // _DAY
    return EPOCH + (day + 1 - 2 * every) * _DAY


class Rotation(NamedTuple):
    """How the old messages of a list, or its old windows of contacts, rotate in a range.

    `last_end` is the end of the last complete run, and `counts` is its filter.
    """

    last_end: datetime
    bookmark: datetime
    end: datetime
    every: int
    recent_since: datetime
    counts: CountFilter | None = None

    def is_due(self, number: int) -> bool:
        """Return whether a due day has begun since the last complete run."""
        return last_due_day(self.end, number, self.every) > self.last_end

    def start_of_turn(self, number: int) -> datetime:
        """Return the start date of a message that is requested in turn."""
        last_but_one = last_due_day(self.last_end, number, self.every) - self.every * _DAY
        return max(last_but_one, self.bookmark)

    def start_of_message(
        self, msg_id: int, sent: datetime | None, count: int | None
    ) -> datetime | None:
        """Return the start date of a message; None if it waits for its turn."""
        if self.is_due(msg_id):
            return self.start_of_turn(msg_id)
        if sent is None or sent >= self.recent_since:
            return self.last_end
        has_changed = self.counts and count is not None and self.counts.lacks(sent, msg_id, count)
        return self.start_of_turn(msg_id) if has_changed else None

    def due_windows(
        self, start: datetime, new_since: datetime
    ) -> Iterator[tuple[datetime, datetime]]:
        """Yield the windows of the range, from `start` on, whose contacts are requested.

        These are the windows that end in the recent days or after `new_since`, and those that are
        due. Windows are numbered from 1970.
        """
        number = (start - EPOCH) // _WINDOW
        while start < self.end:
            end = min(EPOCH + (number + 1) * _WINDOW, self.end)
            if end > min(self.recent_since, new_since) or self.is_due(number):
                yield start, end
            start, number = end, number + 1
