"""Decide which old messages are due in a run (`older_every_days`). Pure.

A message is due on the UTC days on which the days since 1970 and its MsgID are equal modulo
`every`. The bookmark does not pass messages that were not requested, so rows come late but are not
lost.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tap_listrak.dates import EPOCH

_DAY = timedelta(days=1)


def last_due_day(moment: datetime, number: int, every: int) -> datetime:
    """Return the start of the latest day, up to `moment`, on which a message is due."""
    day = (moment - EPOCH) // _DAY
    return EPOCH + (day - (day - number) % every) * _DAY


def everything_requested_until(last_end: datetime, every: int) -> datetime:
    """Return the date up to which every message has been requested, if the last run ended then.

    That is the first of the last 2 * `every` days, because a reply may have omitted a message on
    its last due day.
    """
    day = (last_end - EPOCH) // _DAY
    return EPOCH + (day + 1 - 2 * every) * _DAY


def requested_from(
    last_end: datetime, bookmark: datetime, end: datetime, number: int, every: int
) -> datetime | None:
    """Return a message's start date, or None if it is not due by `end`.

    `last_end` is the end of the last complete run.
    """
    if last_due_day(end, number, every) <= last_end:
        return None
    last_but_one = last_due_day(last_end, number, every) - every * _DAY
    return max(last_but_one, bookmark)
