"""What is asked for at a time: a part of the account, and the arguments of its calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tap_listrak.config import Config
from tap_listrak.dates import wall_clock, windows
from tap_listrak.errors import NoAccess, Passing, Unreadable
from tap_listrak.state import SetAside
from tap_listrak.streams import Stream

# Unsubscribes while a list is paged shift its rows between pages: short windows keep that rare.
CONTACT_DAYS = 30


@dataclass(frozen=True)
class Part:
    """What is asked for page by page: one stream's rows of one message, or of one list's window.

    `page` is the first to ask for, `expected` about how many rows there are, if that is known.
    `owed` is set when the part was set aside by an earlier run.
    """

    stream: Stream
    ListID: int
    start: datetime
    end: datetime
    MsgID: int | None = None
    SendDate: datetime | None = None
    page: int = 1
    expected: int | None = None
    owed: SetAside | None = None

    def __str__(self) -> str:
        if self.MsgID is not None:
            return f"of message {self.MsgID} in list {self.ListID}"
        return f"of list {self.ListID} from {self.start:%Y-%m-%d} to {self.end:%Y-%m-%d}"

    def may_fail_with(self, failure: BaseException) -> bool:
        """Whether this part can be set aside for a failure that ends the run elsewhere.

        What was set aside before may have vanished since, for which Listrak may refuse it.
        """
        return isinstance(failure, (Passing, Unreadable)) or (
            self.owed is not None and isinstance(failure, NoAccess)
        )

    def arguments(self, config: Config, number: int) -> dict[str, Any]:
        """The arguments, by Listrak's names, of the call for one page."""
        values = {
            "ListID": self.ListID,
            "MsgID": self.MsgID,
            "StartDate": wall_clock(self.start, config.timezone, end=False),
            "EndDate": wall_clock(self.end, config.timezone, end=True),
            "IncludeTestMessages": config.include_test_messages,
            "Page": number,
        }
        return {name: values[name] for name in self.stream.arguments}

    def split(self) -> Iterator[Part]:
        """Give the parts to ask for: a message's is one, a list's are windows of CONTACT_DAYS."""
        if self.MsgID is not None:
            yield self
            return
        page = self.page
        for start, end in windows(self.start, self.end, CONTACT_DAYS):
            yield replace(self, start=start, end=end, page=page)
            page = 1
