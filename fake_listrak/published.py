"""The nine published tables: generated rows, and changes to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from fake_listrak.clock import DAY, NEVER, SECOND, Range, Timeline
from fake_listrak.contract import MESSAGE_OPERATIONS, OPERATIONS, Row
from fake_listrak.seeded import (
    BOUNCES,
    EVERY,
    LINKS,
    LIST_NAMES,
    SALTS,
    SUBJECTS,
    AddedRows,
    Basis,
    Field,
    IDs,
    Section,
    changed,
    contact_id,
    coprime,
    mix,
    orders,
    percent,
)

SENT: Final = "ReportMessageContactSent"
OPEN: Final = "ReportRangeMessageContactOpen"
READ: Final = "ReportRangeMessageContactRead"
CLICK: Final = "ReportRangeMessageContactClick"
BOUNCE: Final = "ReportRangeMessageContactBounces"
REMOVAL: Final = "ReportRangeMessageContactRemoval"
CONTACTS: Final = "ReportRangeSubscribedContacts"

_FIRST_LIST: Final = 345_001
_FIRST_MESSAGE: Final = 7_000_001
# Rows of each kind of event for one recipient, about.
_FRACTIONS: Final = {OPEN: 0.45, READ: 0.25, CLICK: 0.12, BOUNCE: 0.06, REMOVAL: 0.03}
# Events that one contact can have more than one of.
_REPEATED: Final = frozenset((OPEN, READ, CLICK))


@dataclass(frozen=True)
class Message:
    """The data from which the rows of one message are generated."""

    MsgID: int
    list_place: int
    rank: int
    send: int
    """Instant it was sent."""
    sends: int


class PublishedTables:
    """Lists, messages, their events and the subscribed contacts.

    lists, messages, sends, counts, message_step: as in Account.
    """

    def __init__(
        self,
        basis: Basis,
        lists: int,
        messages: int,
        sends: int,
        counts: Mapping[str, int],
        message_step: int,
    ) -> None:
        self.basis = basis
        self.lists = IDs(lists, _FIRST_LIST, 17)
        self.messages_per_list = messages
        self.sends = sends
        self.counts = counts
        self.added = AddedRows(basis)
        self.message = lru_cache(1024)(self._make_message)
        self._messages = IDs(lists * messages, _FIRST_MESSAGE, message_step)
        self._hidden: set[int] = set()
        self._changed_lists: dict[int, dict[str, Field]] = {}
        self._changed_messages: dict[int, dict[str, Field]] = {}
        self._added_lists: dict[int, Row] = {}
        self._added_messages: dict[int, tuple[int, str, dict[str, Field]]] = {}
        self._tests: set[int] = set()
        self._left: dict[int, set[int]] = {}
        """Ranks of the hidden contacts, by list."""

    # Lists

    def list_ids(self) -> Iterator[int]:
        """The lists that the user can see, in the order served."""
        generated = (self.lists.at(place) for place in range(self.lists.size))
        return filter(self.has_list, (*generated, *self._added_lists))

    def has_list(self, ListID: int) -> bool:
        """Whether the user can see the list."""
        return self.knows_list(ListID) and ListID not in self._hidden

    def knows_list(self, ListID: int) -> bool:
        """Whether there is such a list, hidden or not."""
        return self.lists.place(ListID) is not None or ListID in self._added_lists

    def list_number(self, ListID: int) -> int:
        """A distinct number for each list, from 0."""
        place = self.lists.place(ListID)
        return self.lists.size + list(self._added_lists).index(ListID) if place is None else place

    def add_list(self, ListID: int, fields: Mapping[str, Field]) -> None:
        """See Account."""
        if not self.knows_list(ListID):
            self._added_lists[ListID] = self._made_list(ListID, mix(self.basis.seed, ListID))
        self._hidden.discard(ListID)
        self._changed_lists.setdefault(ListID, {}).update(fields)

    def hide(self, ID: int) -> None:
        """Take a list or message away from the user."""
        self._hidden.add(ID)

    def list_row(self, ListID: int) -> Row:
        """A row of GetContactListCollection."""
        place = self.lists.place(ListID)
        row = self._added_lists[ListID] if place is None else self._made_list(ListID, place)
        return changed(row, self._changed_lists.get(ListID, {}))

    def _made_list(self, ListID: int, number: int) -> Row:
        bits = mix(self.basis.seed, ListID)
        created = self.basis.start + bits % max(1, (self.basis.end - self.basis.start) // 100)
        name = LIST_NAMES[number % len(LIST_NAMES)].format(number)
        flags = iter(("false", "true")[bits >> place & 1] for place in range(16))
        row: dict[str, Field] = {
            "ListID": str(ListID),
            "ListName": name,
            "CreateDate": self.basis.write(created - created % 1000),
            "FromName": ("Zoë & Söhne", "", None, "The 'Shop'")[number % 4],
            "FromEmail": f"news{number}@example.com",
            "EnableRemovalLink": next(flags),
            "EnableBrowserLink": next(flags),
            "bounceHandling": str(bits >> 20 & 3),
            "EnableDoubleOptin": next(flags),
            "EnableListHygiene": next(flags),
            "Vmta": (
                {"VmtaID": str(bits >> 24 & 255), "Description": "Pool <A> & é"},
                {"VmtaID": str(bits >> 24 & 255)},
                ...,
            )[number % 3],
            "ShowEmailList": next(flags),
            "ShowAdvancedPersonalization": next(flags),
            "BounceUnsubscribeCount": str(bits >> 32 & 7),
            "DomainAliasLink": ("links.example.com", ..., "", None)[number % 4],
            "DomainAliasEmail": (..., "mail.example.com", None, "")[number % 4],
            "EnableRSS": next(flags),
            "EnableGoogleAnalytics": next(flags),
            "GoogleTrackingDomains": (
                ["www.example.com", "shop.example.com?a=b&c=<d>"],
                [],
                ["www.example.org"],
            )[number % 3],
            "EnableInternationalization": next(flags),
            "EnableDynamicContent": next(flags),
            "EnableListRemoveHeader": next(flags),
        }
        return changed({}, row)

    # Messages

    def _make_message(self, MsgID: int) -> Message | None:
        """What is needed to make the rows of a generated message; None if it is none."""
        place = self._messages.place(MsgID)
        if place is None:
            return None
        list_place, rank = divmod(place, self.messages_per_list)
        bits = mix(self.basis.seed, MsgID)
        if SENT in self.counts:
            sends = self.counts[SENT]
        elif bits % 13 == 0:
            sends = 0
        else:
            sends = round(self.sends * (0.6 + 0.8 * (bits >> 32) / 2**32))
        return Message(MsgID, list_place, rank, self.sending(list_place).at(rank), sends)

    def has_message(self, MsgID: int) -> bool:
        """Whether the user can see the message, and so the list that it was sent to."""
        ListID = self.list_of(MsgID)
        return ListID is not None and MsgID not in self._hidden and self.has_list(ListID)

    def message_at(self, list_place: int, rank: int) -> int:
        """The MsgID of a generated message."""
        return self._messages.at(list_place * self.messages_per_list + rank)

    def is_test(self, MsgID: int) -> bool:
        """Whether a message is a test message, which IncludeTestMessages=false leaves out."""
        message = self.message(MsgID)
        return MsgID in self._tests if message is None else message.rank % 10 == 4

    def add_message(
        self, ListID: int, MsgID: int, send_date: str, test: bool, fields: Mapping[str, Field]
    ) -> None:
        """See Account; `send_date` is the text on the wire."""
        self._hidden.discard(MsgID)
        if self.message(MsgID) is None:
            self._added_messages[MsgID] = (ListID, send_date, dict(fields))
            (self._tests.add if test else self._tests.discard)(MsgID)
        else:
            self._changed_messages.setdefault(MsgID, {}).update(fields)

    def list_of(self, MsgID: int) -> int | None:
        """The list that a message was sent to, None if there is no such message."""
        if MsgID in self._added_messages:
            return self._added_messages[MsgID][0]
        message = self.message(MsgID)
        return None if message is None else self.lists.at(message.list_place)

    def sending(self, list_place: int) -> Timeline:
        """Send times of a list's messages by rank; a little of the span is left for events."""
        last = self.basis.end - min(3600 * SECOND, (self.basis.end - self.basis.start) // 10)
        salt = mix(self.basis.seed, 1, list_place)
        return Timeline(self.messages_per_list, self.basis.start, last, salt)

    def message_ids(self, ListID: int, chosen: Range | None = None) -> Iterable[int]:
        """Visible messages of a list in the order served, which is not chronological."""
        place = self.lists.place(ListID)
        if place is not None:
            pairs = [(0, self.messages_per_list)]
            if chosen is not None:
                pairs = self.sending(place).ranks(self.basis.zone, chosen)
            ranks = [rank for low, high in pairs for rank in range(low, high)]
            ranks.sort(key=lambda rank: mix(self.basis.seed, rank))
            for rank in ranks:
                MsgID = self.message_at(place, rank)
                if MsgID not in self._hidden:
                    yield MsgID
        for MsgID, (owner, send_date, _) in self._added_messages.items():
            sent = chosen is None or chosen.holds(self.basis.zone.read(send_date))
            if sent and owner == ListID and MsgID not in self._hidden:
                yield MsgID

    def activity_row(self, MsgID: int) -> Row:
        """A row of ReportListMessageActivity, its counts agreeing with the event rows."""
        message = self.message(MsgID)
        if message is None:
            owner, send_date, fields = self._added_messages[MsgID]
        else:
            owner, send_date = self.lists.at(message.list_place), self.basis.write(message.send)
            fields = self._changed_messages.get(MsgID, {})
        bits = mix(self.basis.seed, 2, MsgID)
        rows = {operation: self.count(operation, MsgID) for operation in MESSAGE_OPERATIONS}
        sent = rows[SENT][0]
        clickers = rows[CLICK][1]
        repeaters = min(rows[CLICK][0] - clickers, clickers)

        subject = SUBJECTS[MsgID // 3 % len(SUBJECTS)].format(MsgID % 1000)
        conversions = clickers * (bits >> 8 & 3) // 4
        total, average = orders(bits, conversions)
        row: Row = {
            "ListID": str(owner),
            "MsgID": str(MsgID),
            "Subject": subject,
            "SendDate": send_date,
            "DeliverCount": str(sent),
            "RemoveCount": str(rows[REMOVAL][0]),
            "RemovePercent": percent(rows[REMOVAL][0], sent) if bits >> 48 & 7 else "1E-05",
            "OpenCount": str(rows[OPEN][0]),
            "OpenPercent": percent(rows[OPEN][1], sent),
            "ReadCount": str(rows[READ][0]),
            "ReadPercent": percent(rows[READ][1], sent),
            "ClickCount": str(rows[CLICK][0]),
            "ClickerCount": str(clickers),
            "RepeatClickerCount": str(repeaters),
            "NewClickerCount": str(clickers - repeaters),
            "ClickerPercent": percent(clickers, sent),
            "OrderTotal": total,
            "ConversionCount": str(conversions),
            "AverageOrderValue": average,
        }
        return changed(row, fields)

    # Events and contacts

    def select(self, operation: str, ID: int, section: Section = EVERY) -> list[Row]:
        """A section of the events of a message, or the contacts of a list."""
        timeline = self.timeline(operation, ID)
        without = self._left.get(ID, ()) if operation == CONTACTS else ()

        def make(ranks: list[int]) -> list[Row]:
            return self._generated(operation, ID, timeline, ranks)

        return self.added.select(operation, ID, section, timeline, make, without)

    def add(
        self,
        operation: str,
        ID: int,
        email: str,
        date: datetime | str | None,
        fields: Mapping[str, Field],
    ) -> None:
        """Add an event to a message, or a contact to a list."""
        # A placeholder first: it fixes the position of the date among the elements.
        row = self._row(operation, email, self.basis.start, self.added.number(operation, ID))
        self.added.add(operation, ID, row, date, fields)

    def hide_contact(self, ListID: int, email: str) -> None:
        """See Account."""
        left = self._left.setdefault(ListID, set())
        place, person = self.lists.place(ListID), self.basis.person(email)
        found = self.added.remove(CONTACTS, ListID, email)
        if place is not None and person is not None:
            rank = person - self.basis.first_person(place)
            if 0 <= rank < self.basis.contacts and rank not in left:
                left.add(rank)
                found = True
        if not found:
            raise KeyError(f"no contact {email} in list {ListID}")

    def timeline(self, operation: str, ID: int) -> Timeline:
        """Dates of the generated rows of one message or list."""
        salt = mix(self.basis.seed, SALTS[operation], ID)
        if operation == CONTACTS:
            rows = 0 if self.lists.place(ID) is None else self.basis.contacts
            return Timeline(rows, self.basis.start, self.basis.end, salt)
        message = self.message(ID)
        if message is None:
            return Timeline(0, self.basis.start, self.basis.end, salt)
        # Most messages are read for three weeks, some for as long as the account goes on.
        last = self.basis.end if salt % 4 == 0 else min(self.basis.end, message.send + 21 * DAY)
        whole = OPERATIONS[operation].date_is_text and self.basis.event_dates == "us"
        first = min(message.send + 60 * SECOND, last)
        return Timeline(self.size(operation, message), first, last, salt, True, whole)

    def size(self, operation: str, message: Message) -> int:
        """Generated rows of a message."""
        if operation in self.counts:
            return self.counts[operation]
        if operation == SENT:
            return message.sends
        bits = mix(self.basis.seed, SALTS[operation], message.MsgID, 3)
        if bits % 7 == 0:
            return 0
        return round(message.sends * _FRACTIONS[operation] * (0.5 + (bits >> 32) / 2**32))

    def count(self, operation: str, ID: int) -> tuple[int, int]:
        """(rows, distinct email addresses) of one message or list."""
        if operation == CONTACTS:
            total = 0 if self.lists.place(ID) is None else self.basis.contacts
            total -= len(self._left.get(ID, ()))
            distinct = total
        else:
            message = self.message(ID)
            total = distinct = 0 if message is None else self.size(operation, message)
            if operation in _REPEATED:
                distinct -= total // 5
        added = self.added.of(operation, ID)
        if not added:
            return total, distinct
        key = "ContactID" if operation == CONTACTS else "EmailAddress"
        keys = {str(row[key]) for row in self.select(operation, ID) if row.get(key)}
        return total + len(added), len(keys)

    def _generated(
        self, operation: str, ID: int, timeline: Timeline, ranks: list[int]
    ) -> list[Row]:
        """Generated rows of one message or list by rank."""
        spread, step, shift = 0, 1, 0
        message = None if operation == CONTACTS else self.message(ID)
        if message is None:
            start = self.basis.first_person(self.lists.place(ID) or 0)
        else:
            spread = message.sends
            start = self._first_recipient(message)
            if operation != SENT:
                kind = MESSAGE_OPERATIONS.index(operation)
                step, shift = coprime(max(1, spread), 3 + kind), kind * spread // 6
        repeated = operation in _REPEATED
        dated = OPERATIONS[operation].date is not None
        rows = []
        for rank in ranks:
            person = rank
            if repeated:
                if rank % 5 == 4:
                    person -= 3
                person -= person // 5
            if person < spread:
                person = (person * step + shift) % spread
            moment = timeline.at(rank) if dated else None
            email = self.basis.email(start + person)
            rows.append(self._row(operation, email, moment, timeline.salt + rank))
        return rows

    def recipient(self, message: Message, number: int) -> str:
        """The address of one recipient of a message, by number."""
        return self.basis.email(self._first_recipient(message) + number)

    def _first_recipient(self, message: Message) -> int:
        # The recipients are subscribed contacts, if there are enough.
        start = mix(self.basis.seed, message.MsgID, 4)
        start %= max(1, self.basis.contacts - message.sends + 1)
        return start + self.basis.first_person(message.list_place)

    def _row(self, operation: str, email: str, moment: int | None, number: int) -> Row:
        """A row in the contract's order; `moment` None leaves its date out."""
        if operation == SENT:
            return {"EmailAddress": email}
        row: Row = {"ContactID": contact_id(email), "EmailAddress": email}
        bits = 0 if operation in (OPEN, READ) else mix(number)
        if operation == CLICK:
            description, url = LINKS[bits % len(LINKS)]
            if bits >> 8 & 7 == 0:
                row["LinkDescription"] = (None, "")[bits >> 11 & 1]
            elif bits >> 8 & 7 > 1:
                row["LinkDescription"] = description
            row["LinkUrl"] = url
        elif operation == BOUNCE:
            row["BounceReason"], row["BounceDetail"] = BOUNCES[bits % len(BOUNCES)]
        elif operation == REMOVAL:
            row["AdditionDate"] = NEVER
            if bits % 5 and moment is not None:
                added = moment - bits % max(1, moment - self.basis.start)
                row["AdditionDate"] = self.basis.write(added - added % 1000)
        kind = OPERATIONS[operation]
        if moment is not None and kind.date is not None:
            write = self.basis.write_text if kind.date_is_text else self.basis.write
            row[kind.date] = write(moment)
        if operation == BOUNCE:
            row["BounceCount"] = str(1 + bits % 4)
        elif operation == REMOVAL and bits >> 8 & 3:
            row["RemovalMethod"] = ("Email Link", "Complaint & abuse", "")[(bits >> 10) % 3]
        elif operation == CONTACTS and bits & 3:
            row["AdditionMethod"] = ("Import", "Sign-up <form>", "", None)[bits >> 2 & 3]
        return row
