"""A Listrak account: the tables of its lists, messages and conversations, and changes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from itertools import cycle
from typing import Any, Final, Literal, TypeAlias

from fake_listrak.clock import Range, Zone, instant
from fake_listrak.contract import ID_OF, NAME_OF, OPERATIONS, PASSALONGS, Row
from fake_listrak.generator import CLICK, EVENTS, KINDS, Generated, Generator, Mailing, Shape
from fake_listrak.rows import LINKS, SALTS, VMTAS, Field, RowMaker, mix, number_of

Date: TypeAlias = datetime | str
Table: TypeAlias = list[Row] | Generated

ACCOUNT: Final = 0
"""The ID of the account as a parent."""
LISTS, MESSAGES, _CONTACTS, _CONVERSATIONS = (
    NAME_OF[table] for table in ("lists", "messages", "subscribed_contacts", "conversations")
)
_ANALYTICS: Final = NAME_OF["message_analytics"]
_LINKS: Final = (NAME_OF["message_links"], NAME_OF["conversation_links"])
_SUMMARIES: Final = {
    name: "message" if kind.key == ("MsgID",) else "conversation"
    for name, kind in OPERATIONS.items()
    if kind.key in (("MsgID",), ("ConversationID",))
}
"""The operations with one row of each message or conversation, which follows from others."""
_MANY: Final = 5000
"""More generated rows than these are made as they are served."""


class Account:
    """A Listrak account: its lists, messages, contacts and events, as values on the wire.

    page_size: rows on a page of the paged operations.
    timezone: IANA name of the zone of the times on the wire.
    offsets: whether xs:dateTime values carry an offset.
    event_dates: format of dates that are xs:string; "us" is `M/D/YYYY h:mm:ss AM`.
    bounds: whether the rows at StartDate and at EndDate are selected: both ("inclusive"), none
        ("exclusive"), those at StartDate only ("start").
    unknown_messages: the reply to an analytics call with a message that the user cannot see: the
        whole call is "refused", or the message is "missing".
    shape: what is generated: the fields of Shape.
    """

    def __init__(
        self,
        *,
        page_size: int = 10,
        timezone: str = "UTC",
        offsets: bool = False,
        event_dates: Literal["iso", "us"] = "iso",
        bounds: Literal["inclusive", "exclusive", "start"] = "inclusive",
        unknown_messages: Literal["refused", "missing"] = "refused",
        **shape: Any,
    ) -> None:
        self.page_size = page_size
        self.zone = Zone(timezone)
        self.event_dates = event_dates
        self.bounds = bounds
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

    # Rows

    def rows(self, operation: str, parent_id: int | None = None) -> list[Row]:
        """Return all rows of an operation for a list, message or conversation, or the account."""
        return self.select(operation, parent_id or ACCOUNT)[:]

    def lists(self) -> list[Row]:
        """Return the rows of GetContactListCollection, in the order served."""
        rows = []
        for (ListID, fields), vmta in zip(self._lists.items(), cycle(VMTAS), strict=False):
            known = {"ListID": str(ListID), "Vmta": vmta}
            bits = mix(self._maker.seed, ListID)
            if ListID not in self._hidden:
                rows.append(self._maker.row(LISTS, self._start, bits, known, fields=fields))
        return rows

    def messages(self, ListID: int) -> list[Row]:
        """Return all rows of ReportListMessageActivity for a list, in the order served."""
        return self.rows(MESSAGES, ListID)

    def contacts(self, ListID: int) -> list[Row]:
        """Return all rows of ReportRangeSubscribedContacts for a list, in the order served."""
        return self.rows(_CONTACTS, ListID)

    def conversation_ids(self, ListID: int) -> list[int]:
        """Return the conversations of a list, including terminated ones, in the order served."""
        return [each.ID for each in self._mailings_of("conversation", ListID)]

    # What a call returns

    def has(self, kind: str, ID: int) -> bool:
        """Return whether the user can see a list, or a message or conversation and its list."""
        if kind == "list":
            return ID in self._lists and ID not in self._hidden
        found = self._mailings[kind].get(ID)
        return found is not None and ID not in self._hidden and self.has("list", found.ListID)

    def select(
        self, operation: str, ID: int, chosen: Range | None = None, every: bool = True
    ) -> Table:
        """Return the rows of an operation for a parent (or ACCOUNT), in the order served.

        chosen: which dates. every: include test messages and terminated conversations.
        """
        if operation == LISTS:
            return self.lists()
        mailings = self._mailings_of(_SUMMARIES.get(operation, "message"), ID, chosen, every)
        if operation == _ANALYTICS:
            return self.analytics(each.ID for each in mailings)
        if operation in _SUMMARIES and (operation, ID) not in self._tables:
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
            for row in self._tables.get((_ANALYTICS, ListID), ())
        }
        return [filled.get(str(each.ID)) or self._summary(_ANALYTICS, each) for each in found]

    def _mailings_of(
        self, kind: str, ListID: int, chosen: Range | None = None, every: bool = True
    ) -> Iterator[Mailing]:
        """Yield the messages or conversations of a list that the user can see."""
        for each in [*self._mailings[kind].values()]:
            if each.ListID != ListID or each.ID in self._hidden or (each.is_extra and not every):
                continue
            if chosen is None or chosen.holds(self.zone.read(each.date)):
                yield each

    def _table(self, operation: str, ID: int) -> Table:
        found = self._tables.get((operation, ID))
        if found is not None:
            return found
        if operation in _LINKS:
            return self._links(operation, self._mailings[OPERATIONS[operation].asked_by][ID])
        return self._generated(operation, ID)

    def _generate(self, operation: str, ID: int) -> Table:
        rows = (
            self._generator.events(operation, self._mailings[OPERATIONS[operation].asked_by][ID])
            if operation in EVENTS
            else self._generator.others(operation, ID)
        )
        # A range of many is found by bisection, which needs times that never fall.
        is_many = len(rows) > _MANY and (self.zone.name, self.event_dates) == ("UTC", "iso")
        return rows if is_many else rows[:]

    def _summary(self, operation: str, mailing: Mailing) -> Row:
        """Return a row of a message or conversation, whose counts agree with its other rows."""
        ID, columns, fields = mailing.ID, OPERATIONS[operation].columns, mailing.fields
        known = {
            "ListID": str(mailing.ListID),
            **dict.fromkeys(("MsgID", "ConversationID"), str(ID)),
            **dict.fromkeys(("SendDate", "PublishedDate"), mailing.date),
            **dict.fromkeys(("Subject", "ConversationName"), self._maker.name(ID)),
            **self._generator.campaign_of(mailing.ListID, ID),
        }
        for rows, (_, column) in KINDS.items():
            of = NAME_OF.get(f"{mailing.kind}_{rows}")
            if of and column in columns:
                known[column] = str(self._count(of, mailing))
        if mailing.kind == "message" and "ClickerCount" in columns:
            known["ClickerCount"] = str(self._clickers(mailing))
        if operation not in (MESSAGES, _CONVERSATIONS):
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

    # Changes between runs

    def add_list(self, ListID: int, **fields: Field) -> None:
        """Grant a list: show it again, or add one without messages and contacts.

        fields: override generated values; elements that the contract lacks are allowed.
        """
        self.version += 1
        self._hidden.discard(ListID)
        self._lists.setdefault(ListID, {}).update(fields)

    def add_message(
        self, ListID: int, MsgID: int, send_date: Date, *, test: bool = False, **fields: Field
    ) -> None:
        """Add a message, or show a hidden generated one again, with its own send date.

        send_date: a datetime (UTC unless it has a zone), or the text to put on the wire.
        """
        date = self._maker.text(send_date)
        self._add(Mailing("message", MsgID, ListID, date, (MsgID,), test, fields))

    def add_conversation(
        self, ListID: int, ConversationID: int, published_date: Date, **fields: Field
    ) -> None:
        """Add a conversation of three messages, or show it again; see `add_message`."""
        ID, date = ConversationID, self._maker.text(published_date)
        first = 1_600_000_000 + ID * 3 % 400_000_000
        messages = (first, first + 1, first + 2)
        self._add(Mailing("conversation", ID, ListID, date, messages, False, fields))

    def _add(self, mailing: Mailing) -> None:
        self._need("list", mailing.ListID)
        self.version += 1
        self._hidden.discard(mailing.ID)
        found = self._mailings[mailing.kind].get(mailing.ID)
        if found is not None and found.is_generated:
            found.fields |= mailing.fields
        else:
            self._mailings[mailing.kind][mailing.ID] = mailing

    def add_event(
        self, operation: str, MsgID: int, email: str, date: Date | None = None, **fields: Field
    ) -> None:
        """Add a row to the end of a message's events (or sends, which have no date)."""
        self.add_row(operation, MsgID, date, **{"EmailAddress": email, **fields})

    def add_contact(
        self, ListID: int, email: str, addition_date: Date | None, **fields: Field
    ) -> None:
        """Add a contact to the end of a list."""
        self.add_row(_CONTACTS, ListID, addition_date, **{"EmailAddress": email, **fields})

    def add_row(
        self, operation: str, parent_id: int | None, date: Date | None = None, **fields: Field
    ) -> None:
        """Add a row to the end of a table of events, contacts, links and the like, for one parent.

        date: as `send_date` of `add_message`, or None for a row without its date element; a row
        with an unreadable date is in every range. fields: override generated values. EmailAddress
        (FromEmailAddress of a passalong) determines the ContactID; a conversation's row belongs to
        its first message unless MsgID is given.
        """
        kind, ID = OPERATIONS[operation], parent_id or ACCOUNT
        known: dict[str, Field] = {}
        if kind.asked_by != "account":
            self._need(kind.asked_by, ID)
            known[ID_OF[kind.asked_by]] = str(ID)
        if kind.asked_by == "conversation":
            known["MsgID"] = str(self._mailings["conversation"][ID].messages[0])
        if kind.date is not None:
            is_text = kind.columns[kind.date] == "string"
            known[kind.date] = ... if date is None else self._maker.text(date, is_text)
        rows = self._changeable(operation, ID)
        bits = mix(self._maker.seed, SALTS[operation], ID, len(rows))
        address = fields.get("FromEmailAddress" if operation == PASSALONGS else "EmailAddress")
        email = str(address or f"added+{bits % 10_000}@example.com")
        rows.append(self._maker.row(operation, self._start, bits, known, email, fields))

    def fill(self, operation: str, parent_id: int | None, rows: Iterable[Row]) -> None:
        """Replace all rows of an operation and parent, even if they follow from other rows."""
        self.version += 1
        self._tables[operation, parent_id or ACCOUNT] = [*rows]

    def hide(self, ID: int) -> None:
        """Hide a list, message or conversation from the user, until it is added."""
        self.version += 1
        self._hidden.add(ID)

    hide_list = hide_message = hide_conversation = hide

    def hide_contact(self, ListID: int, email: str) -> None:
        """Remove a contact from a list's subscribed contacts; `add_contact` adds it again."""
        rows = self._changeable(_CONTACTS, ListID)
        kept = [row for row in rows if row.get("EmailAddress") != email]
        if len(kept) == len(rows):
            raise KeyError(f"no contact {email} in list {ListID}")
        rows[:] = kept

    def _changeable(self, operation: str, ID: int) -> list[Row]:
        """Return a table as a list that may be changed."""
        self.version += 1
        return self._tables.setdefault((operation, ID), self._table(operation, ID)[:])

    def _need(self, parent: str, ID: int) -> None:
        if ID not in (self._lists if parent == "list" else self._mailings[parent]):
            raise KeyError(f"no {parent} {ID}")
