"""The tables of an account, and what of them a call returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import cycle
from typing import Any, Final, Literal, TypeAlias

from fake_listrak.clock import Range, Zone, instant
from fake_listrak.contract import NAME_OF, OPERATIONS, Row
from fake_listrak.generator import CLICK, EVENTS, KINDS, Generated, Generator, Mailing, Shape
from fake_listrak.rows import LINKS, SALTS, VMTAS, Field, RowMaker, mix, number_of

Table: TypeAlias = list[Row] | Generated
ACCOUNT: Final = 0
"""The ID of the account as a parent."""

LISTS: Final = NAME_OF["lists"]
MESSAGES, CONVERSATIONS = NAME_OF["messages"], NAME_OF["conversations"]
ANALYTICS: Final = NAME_OF["message_analytics"]
_LINKS: Final = (NAME_OF["message_links"], NAME_OF["conversation_links"])
SUMMARIES: Final = {
    name: "message" if kind.key == ("MsgID",) else "conversation"
    for name, kind in OPERATIONS.items()
    if kind.key in (("MsgID",), ("ConversationID",))
}
"""The operations with one row of each message or conversation, which follows from others."""
_MANY: Final = 5000
"""More generated rows than these are made as they are served."""


class Tables:
    """What there is in an account, as the service serves it. See Account."""

    def __init__(
        self,
        *,
        page_size: int = 10,
        timezone: str = "UTC",
        offsets: bool = False,
        event_dates: Literal["iso", "us"] = "iso",
        bounds: Literal["inclusive", "exclusive", "start"] = "inclusive",
        empty: Literal["absent", "empty", "nil", "mixed"] = "mixed",
        unknown_messages: Literal["refused", "missing"] = "refused",
        **shape: Any,
    ) -> None:
        self.page_size = page_size
        self.zone = Zone(timezone)
        self.event_dates = event_dates
        self.bounds = bounds
        self.empty = empty
        self.unknown_messages = unknown_messages
        self.version = 0
        """The number of changes; replies cached at another version are stale."""
        of = Shape(**shape)
        self._start = instant(of.start)
        self._maker = RowMaker(mix(of.seed), self.zone, offsets, event_dates)
        self._generator = Generator(of, self._maker)
        self._lists: dict[int, dict[str, Field]] = {ID: {} for ID in self._generator.list_ids}
        """Chosen values of each list."""
        self._mailings = {kind: {**made} for kind, made in self._generator.mailings.items()}
        self._hidden: set[int] = set()
        self._tables: dict[tuple[str, int], list[Row]] = {}
        """Rows that were added or changed, by operation and parent."""
        self._generated = lru_cache(4096)(self._generate)

    def has(self, kind: str, ID: int) -> bool:
        """Return whether the user can see a list, or a message or conversation and its list."""
        if kind == "list":
            return ID in self._lists and ID not in self._hidden
        found = self._mailings[kind].get(ID)
        return found is not None and ID not in self._hidden and self.has("list", found.ListID)

    # What a call returns

    def lists(self) -> list[Row]:
        """Return the rows of GetContactListCollection, in the order served."""
        rows = []
        for (ListID, fields), vmta in zip(self._lists.items(), cycle(VMTAS), strict=False):
            known = {"ListID": str(ListID), "Vmta": vmta}
            bits = mix(self._maker.seed, ListID)
            if ListID not in self._hidden:
                rows.append(self._maker.row(LISTS, self._start, bits, known, fields=fields))
        return rows

    def select(
        self, operation: str, ID: int, chosen: Range | None = None, every: bool = True
    ) -> Table:
        """Return the rows of an operation for a parent, in the order served.

        ID: that of the parent, or ACCOUNT. chosen: which dates; None means all. every: include test
        messages and terminated conversations.
        """
        if operation == LISTS:
            return self.lists()
        mailings = self._mailings_of(SUMMARIES.get(operation, "message"), ID, chosen, every)
        if operation == ANALYTICS:
            return self.analytics(each.ID for each in mailings)
        if operation in SUMMARIES and (operation, ID) not in self._tables:
            return [self._summary(operation, each) for each in mailings]
        rows, date = self._table(operation, ID), OPERATIONS[operation].date
        if chosen is None or date is None:
            return rows
        if isinstance(rows, Generated):
            return rows.within(chosen)
        return [row for row in rows if chosen.holds(self.zone.read(str(row.get(date))))]

    def analytics(self, MsgIDs: Iterable[int]) -> list[Row]:
        """Return the analytics of the messages that the user can see, unordered."""
        found = [self._mailings["message"][ID] for ID in {*MsgIDs} if self.has("message", ID)]
        found = [each for each in found if each.has_analytics]
        found.sort(key=lambda each: mix(1, each.ID))
        filled = {
            row["MsgID"]: row
            for ListID in {each.ListID for each in found}
            for row in self._tables.get((ANALYTICS, ListID), ())
        }
        return [filled.get(str(each.ID)) or self._summary(ANALYTICS, each) for each in found]

    def _mailings_of(
        self, kind: str, ListID: int, chosen: Range | None = None, every: bool = True
    ) -> Iterator[Mailing]:
        """Yield the messages or conversations of a list that the user can see."""
        for each in [*self._mailings[kind].values()]:
            if each.ListID != ListID or each.ID in self._hidden or (each.is_extra and not every):
                continue
            if chosen is None or chosen.holds(self.zone.read(each.date)):
                yield each

    # Tables

    def _table(self, operation: str, ID: int) -> Table:
        found = self._tables.get((operation, ID))
        if found is not None:
            return found
        if operation in _LINKS:
            return self._links(operation, self._mailings[OPERATIONS[operation].asked_by][ID])
        return self._generated(operation, ID)

    def _generate(self, operation: str, ID: int) -> Table:
        if operation in EVENTS:
            mailing = self._mailings[OPERATIONS[operation].asked_by][ID]
            rows = self._generator.events(operation, mailing)
        else:
            rows = self._generator.others(operation, ID)
        # A range of many is found by bisection, which needs times that never fall.
        is_many = len(rows) > _MANY and (self.zone.name, self.event_dates) == ("UTC", "iso")
        return rows if is_many else rows[:]

    def _summary(self, operation: str, mailing: Mailing) -> Row:
        """Return a row of a message or conversation, whose counts agree with its other rows."""
        ID, columns, fields = mailing.ID, OPERATIONS[operation].columns, mailing.fields
        known = {
            "ListID": str(mailing.ListID),
            "MsgID": str(ID),
            "ConversationID": str(ID),
            "SendDate": mailing.date,
            "PublishedDate": mailing.date,
            **dict.fromkeys(("Subject", "ConversationName"), self._maker.name(ID)),
            **self._generator.campaign_of(mailing.ListID, ID),
        }
        for rows, (_, column) in KINDS.items():
            of = NAME_OF.get(f"{mailing.kind}_{rows}")
            if of and column in columns:
                known[column] = str(self._count(of, mailing))
        if mailing.kind == "message" and "ClickerCount" in columns:
            known["ClickerCount"] = str(self._clickers(mailing))
        if operation not in (MESSAGES, CONVERSATIONS):
            fields = {column: fields[column] for column in fields if column in columns}
        bits = mix(self._maker.seed, SALTS[operation], ID)
        return self._maker.row(operation, self._start, bits, known, fields=fields)

    def _count(self, operation: str, mailing: Mailing) -> int:
        """Count the rows of a message or conversation, which need not be made for it."""
        found = self._tables.get((operation, mailing.ID))
        return len(self._generator.events(operation, mailing) if found is None else found)

    def _clickers(self, mailing: Mailing) -> int:
        """Count the addresses that clicked in a message."""
        found = self._tables.get((CLICK, mailing.ID))
        if found is None:
            clicks = self._count(CLICK, mailing)
            return clicks - clicks // 5  # the generator lets every fifth click repeat one
        return len({row["EmailAddress"] for row in found if row.get("EmailAddress")})

    def _links(self, operation: str, mailing: Mailing) -> list[Row]:
        """Return the links of a mailing. Those of a message have the counts of its clicks."""
        rows = []
        for MsgID in mailing.messages:
            clicks: Counter[str] = Counter()
            if mailing.kind == "message":
                urls = (row.get("LinkUrl") for row in self._table(CLICK, MsgID)[:])
                clicks.update(str(url) for url in urls if url)
            for url in dict.fromkeys([*(LINKS if mailing.sends else ()), *clicks]):
                bits = number_of(f"{MsgID} {url}")
                known = {"ClickCount": str(clicks[url])} if mailing.kind == "message" else {}
                known |= {"MsgID": str(MsgID), "LinkID": str(bits), "LinkURL": url}
                bits = mix(self._maker.seed, bits)
                rows.append(self._maker.row(operation, self._start, bits, known))
        return rows
