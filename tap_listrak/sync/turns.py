"""Which old messages a run requests where they are requested in rotation. Pure.

Each message is due on one UTC day in `every`: that on which the days since 1970 and its MsgID are
alike modulo `every`. What is not requested is not claimed, so it is late, never lost.
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
    """Return up to when every message was requested, once a run has ended at `last_end`.

    That is the first of the 2 * `every` days up to it: one reply may have lacked a message on its
    last due day.
    """
    day = (last_end - EPOCH) // _DAY
    return EPOCH + (day + 1 - 2 * every) * _DAY


def requested_from(
    last_end: datetime, bookmark: datetime, end: datetime, number: int, every: int
) -> datetime | None:
    """Return from when a message is requested up to `end`; None where it is not due.

    `last_end` is the end of the last complete run.
    """
    if last_due_day(end, number, every) <= last_end:
        return None
    last_but_one = last_due_day(last_end, number, every) - every * _DAY
    return max(last_but_one, bookmark)
