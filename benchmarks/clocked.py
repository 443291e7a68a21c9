"""An account that shows what there is at one time: messages, events and counts up to `now`."""

from __future__ import annotations

from dataclasses import replace

from fake_listrak import Account
from fake_listrak.account import MESSAGES, Table
from fake_listrak.clock import Range
from fake_listrak.generator import CLICK, OPEN, READ, REMOVAL, Mailing

COUNTS = {"OpenCount": OPEN, "ClickCount": CLICK, "ReadCount": READ, "RemoveCount": REMOVAL}


class ClockedAccount(Account):
    """A generated account at the instant `now`."""

    now = 0

    def select(
        self, operation: str, ID: int, chosen: Range | None = None, every: bool = True
    ) -> Table:
        """See Account."""
        if operation != MESSAGES:
            if chosen is not None:
                chosen = replace(chosen, end=min(chosen.end, self.now))
            return super().select(operation, ID, chosen, every)
        return [
            {
                "ListID": str(ID),
                "MsgID": str(each.ID),
                "SendDate": each.date,
                **{name: str(self.count(of, each)) for name, of in COUNTS.items()},
            }
            for each in self._mailings_of("message", ID, chosen, every)
            if (self.zone.read(each.date) or 0) < self.now
        ]

    def count(self, operation: str, message: Mailing) -> int:
        """Return how many events a message has had."""
        return len(self._generator.events(operation, message).within(Range(0, self.now)))
