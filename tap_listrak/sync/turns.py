"""Which messages are asked in this run, where old ones are asked in turns. Pure.

Recent messages are asked in every run. All messages belong to a class, by MsgID: each day one class
is due, and all of its messages are asked for what came since the class was asked last. What is not
asked is not claimed, so nothing is lost, only later.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from tap_listrak.dates import EPOCH

_DAY = timedelta(days=1)


class TurnOptions(NamedTuple):
    """The config's options of these names."""

    recent_days: int
    older_every_days: int


class Turns(NamedTuple):
    """Up to when a stream's recent messages were asked, and those of each class.

    A message's class is its MsgID modulo `older_every_days`.
    """

    options: TurnOptions
    recent: datetime
    classes: tuple[datetime, ...]

    @property
    def oldest(self) -> datetime:
        """Up to when every message was asked."""
        return min(self.recent, *self.classes)

    def bookmark_of(
        self, msg_id: int, send_date: datetime | None, end: datetime
    ) -> datetime | None:
        """Return the bookmark from which a message is asked up to `end`; None where it waits.

        A message without a SendDate counts as recent.
        """
        number = msg_id % len(self.classes)
        if self._is_due(number, end):
            return self.classes[number]
        recent = timedelta(days=self.options.recent_days)
        is_recent = send_date is None or end - send_date <= recent
        return self.recent if is_recent else None

    def _is_due(self, number: int, end: datetime) -> bool:
        """Tell whether a class is asked in a range up to `end`: once on its day, or if overdue."""
        bookmark, every = self.classes[number], len(self.classes)
        if end - bookmark >= every * _DAY:
            return True
        day = (end - EPOCH) // _DAY
        return day % every == number and day != (bookmark - EPOCH) // _DAY

    def asked_until(self, end: datetime) -> Turns:
        """Return what holds once a range up to `end` was asked."""
        classes = (
            max(end, bookmark) if self._is_due(number, end) else bookmark
            for number, bookmark in enumerate(self.classes)
        )
        return self._replace(recent=max(end, self.recent), classes=tuple(classes))

    def not_before(self, bookmark: datetime) -> Turns:
        """Return what holds where every message was asked up to `bookmark` besides."""
        classes = tuple(max(each, bookmark) for each in self.classes)
        return self._replace(recent=max(self.recent, bookmark), classes=classes)


def all_asked(options: TurnOptions, end: datetime) -> Turns:
    """Return what holds once every message was asked up to `end`."""
    return Turns(options, end, (end,) * options.older_every_days)
