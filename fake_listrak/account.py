"""An account whose every row follows from a seed, made when it is asked for.

No row is kept: a list, message, contact or event is worked out from its number, so that an
account of 100,000 messages, or a message of a million opens, is there at once. Only the changes
made after construction (`add_…`, `hide_…`) are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from math import gcd
from types import EllipsisType
from typing import Final, Literal, TypeAlias

from fake_listrak.clock import (
    DAY,
    NEVER,
    SECOND,
    Range,
    Timeline,
    instant,
    write_iso,
    write_us,
    zone,
)
from fake_listrak.contract import MESSAGE_OPERATIONS, OPERATIONS, Row, Value

Field: TypeAlias = Value | EllipsisType
"""A value given for an element; `...` leaves the element out."""

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
# Order in which rows of neighbouring dates are served, so that no one can rely on any.
_SHUFFLE: Final = (3, 0, 6, 1, 7, 4, 2, 5)
_MASK: Final = 2**64 - 1
_SALTS: Final = {
    operation: int.from_bytes(blake2b(operation.encode(), digest_size=8).digest(), "big")
    for operation in OPERATIONS
}

_FIRST_NAMES: Final = ("ana", "bo", "chidi", "dagny", "emeka", "fumiko", "george", "hana", "ines")
_LAST_NAMES: Final = ("abel", "o'brien", "costa", "duarte", "eriksen", "fischer", "garcia")
_HOSTS: Final = ("example.com", "example.org", "mail.example.net", "example.co.uk")
_SUBJECTS: Final = (
    "Save 20% on <everything> & more ({})",
    'He said "yes" \u2014 it\'s on {}',
    "Été à Paris : déjà -50 % ({})",
    "夏のセール、始まります {}",
    "\U0001f389 Two days left {} \U0001f600",
    "Columns\tby tab & 'quotes' {}",
    "First line\r\nSecond line {}",
    " Padded on both sides {} ",
    "]]> &amp; <!-- not markup {} -->",
    "",
)
_LIST_NAMES: Final = (
    "Newsletter & Offers {}",
    'Clients "privilégiés" <or> {}',
    "顧客リスト {} \U0001f4e7",
    "Tab\there, and\r\na second line {}",
    "VIP's {} ",
)
_LINKS: Final = (
    ("Shop now", "https://www.example.com/shop?utm_source=listrak&utm_medium=email"),
    ('The "big" <sale>', "https://www.example.com/s?q=\"a b\"&lt=<1>&x='y'"),
    ("Lire l'été\r\n(suite)", "https://www.example.com/%C3%A9t%C3%A9?page=2#début"),
    ("今すぐ見る \U0001f449", "https://www.example.com/日本語/"),
    ("Tab\tand line\nend", "https://www.example.com/a;b=c,d?e=f%20g+h"),
)
_BOUNCES: Final = (
    ("Hard Bounce", "550 5.1.1 <ana@example.com>: Recipient address rejected:\r\n\tUser unknown"),
    ("Soft Bounce", 'smtp;452 4.2.2 "over quota" & full'),
    ("Blocked", "554 Messages from é\u00a0\U0001f6ab rejected\n(see 'policy')"),
    ("Auto Reply", ""),
    ("", "421 4.4.0 timed out"),
)


def mix(*numbers: int) -> int:
    """64 well-mixed bits that depend on nothing but `numbers`."""
    bits = 0
    for number in numbers:
        bits = ((bits ^ number) + 0x9E3779B97F4A7C15) & _MASK
        bits = ((bits ^ bits >> 30) * 0xBF58476D1CE4E5B9) & _MASK
        bits = ((bits ^ bits >> 27) * 0x94D049BB133111EB) & _MASK
        bits ^= bits >> 31
    return bits


def _coprime(size: int, least: int) -> int:
    """The smallest number from `least` on whose multiples visit every remainder of `size`."""
    step = max(least, 2)
    while gcd(step, size) != 1:
        step += 1
    return step


def _double(value: float) -> str:
    """A double as .NET Framework writes it."""
    return repr(value).removesuffix(".0").replace("e", "E")


def contact_id(email: str) -> str:
    """The ContactID of an address: the same in every list and message."""
    return blake2b(email.encode(), digest_size=8).hexdigest()


class _Scatter:
    """Numbers 0 to size-1 in an order that is not sorted."""

    def __init__(self, size: int) -> None:
        self.size = size
        if size:
            self.step = _coprime(size, int(size * 0.618))
            self.back = pow(self.step, -1, size)

    def number(self, place: int) -> int:
        return (place * self.step + 1) % self.size

    def place(self, number: int) -> int | None:
        """The place of a number, None if it has none."""
        return (number - 1) * self.back % self.size if 0 <= number < self.size else None


@dataclass(frozen=True)
class _Message:
    """What the rows of one generated message follow from."""

    MsgID: int
    list_place: int
    rank: int
    send: int
    """Instant it was sent."""
    sends: int


@dataclass(frozen=True)
class _Added:
    """A row added after construction."""

    row: Row
    wall: int | None


class Account:
    """A Listrak account: its lists, messages, contacts and events, as the service gives them.

    Rows are WIRE values (see `Row`): what the service sends, and so the truth for tests.

    seed: two accounts of the same arguments hold the same rows, and differ by seed.
    lists, messages: lists, and messages of each list.
    contacts: subscribed contacts of each list, exactly.
    sends: recipients of a message, about; the number varies by message, and opens, reads, clicks,
        bounces and unsubscribes are falling fractions of it. Some messages have none of a kind.
    page_size: rows on a page of the paged operations.
    start, end: the span that all dates fall in; UTC unless they carry a zone.
    timezone: IANA name of the zone of the times on the wire.
    offsets: whether xs:dateTime values carry an offset.
    event_dates: form of the four dates that are xs:string, "us" being `M/D/YYYY h:mm:ss AM`.
    domains: GoogleTrackingDomains as repeated "text", or one element with "string" children.
    bounds: whether the rows at StartDate and at EndDate are selected: both ("inclusive"), none
        ("exclusive"), those at StartDate only ("start").
    empty: how the Result of a page without rows looks; "mixed" is absent or empty by the request.
    counts: exact rows for each message by operation, whatever `sends` says.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        lists: int = 3,
        messages: int = 8,
        contacts: int = 40,
        sends: int = 30,
        page_size: int = 10,
        start: datetime = datetime(2025, 1, 1),
        end: datetime = datetime(2026, 6, 30),
        timezone: str = "UTC",
        offsets: bool = False,
        event_dates: Literal["iso", "us"] = "iso",
        domains: Literal["text", "string"] = "text",
        bounds: Literal["inclusive", "exclusive", "start"] = "inclusive",
        empty: Literal["absent", "empty", "nil", "mixed"] = "mixed",
        counts: Mapping[str, int] | None = None,
    ) -> None:
        self.counts = dict(counts or {})
        for operation in self.counts:
            if operation not in MESSAGE_OPERATIONS:
                raise ValueError(
                    f"counts: {operation!r} is none of {', '.join(MESSAGE_OPERATIONS)}"
                )
        self.messages_per_list = messages
        self.contacts_per_list = contacts
        self.sends = sends
        self.page_size = page_size
        self.zone = zone(timezone)
        self.offsets = offsets
        self.event_dates = event_dates
        self.domains = domains
        self.bounds = bounds
        self.empty = empty
        self.version = 0
        """Changes made so far; replies made at another version are stale."""
        self._seed = mix(seed)
        self._start, self._end = instant(start), instant(end)
        self._lists = _Scatter(lists)
        self._numbers = _Scatter(lists * messages)
        self._message = lru_cache(1024)(self._make_message)
        self._hidden: set[int] = set()
        self._changed_lists: dict[int, dict[str, Field]] = {}
        self._changed_messages: dict[int, dict[str, Field]] = {}
        self._added_lists: dict[int, Row] = {}
        self._added_messages: dict[int, tuple[int, str, dict[str, Field]]] = {}
        self._tests: set[int] = set()
        self._added: dict[tuple[str, int], list[_Added]] = {}

    # The truth

    def lists(self) -> list[Row]:
        """Rows of GetContactListCollection, in the order served."""
        generated = (self._list_id(place) for place in range(self._lists.size))
        known = (*generated, *self._added_lists)
        return [self._list(ListID) for ListID in known if self.has_list(ListID)]

    def messages(self, ListID: int) -> list[Row]:
        """All rows of ReportListMessageActivity for a list, in the order served."""
        return self.activity(ListID, None, True)

    def events(self, operation: str, MsgID: int) -> list[Row]:
        """All rows of one of the six message operations, in the order served."""
        return self._slice(operation, MsgID, None, 0, None)

    def contacts(self, ListID: int) -> list[Row]:
        """All rows of ReportRangeSubscribedContacts for a list, in the order served."""
        return self._slice(CONTACTS, ListID, None, 0, None)

    def is_test(self, MsgID: int) -> bool:
        """Whether a message is a test message, which IncludeTestMessages=false leaves out."""
        message = self._message(MsgID)
        return MsgID in self._tests if message is None else message.rank % 10 == 4

    def has_list(self, ListID: int) -> bool:
        """Whether the user can see the list."""
        known = self._list_place(ListID) is not None or ListID in self._added_lists
        return known and ListID not in self._hidden

    def has_message(self, MsgID: int) -> bool:
        """Whether the user can see the message, and so the list that it was sent to."""
        ListID = self._list_of(MsgID)
        return ListID is not None and MsgID not in self._hidden and self.has_list(ListID)

    def row_counts(self) -> dict[str, dict[str, int]]:
        """Rows that the account holds by table, in `total` and `distinct` by the table's key."""
        totals = {operation.table: [0, 0] for operation in OPERATIONS.values()}

        def count(table: str, total: int, distinct: int) -> None:
            totals[table][0] += total
            totals[table][1] += distinct

        generated = (self._list_id(place) for place in range(self._lists.size))
        for ListID in filter(self.has_list, (*generated, *self._added_lists)):
            count("lists", 1, 1)
            count("subscribed_contacts", *self._counts(CONTACTS, ListID))
            for MsgID in self._message_ids(ListID, None):
                count("messages", 1, 1)
                for operation in MESSAGE_OPERATIONS:
                    count(OPERATIONS[operation].table, *self._counts(operation, MsgID))
        return {
            table: {"total": total, "distinct": distinct}
            for table, (total, distinct) in totals.items()
        }

    # Changes between runs

    def add_list(self, ListID: int, **fields: Field) -> None:
        """Grant a list: a hidden one comes back, any other starts without messages and contacts.

        fields: values in place of the made-up ones, also of elements that the contract lacks.
        """
        self.version += 1
        if self._list_place(ListID) is None and ListID not in self._added_lists:
            self._added_lists[ListID] = self._list_row(ListID, mix(self._seed, ListID))
        self._hidden.discard(ListID)
        self._changed_lists.setdefault(ListID, {}).update(fields)

    def add_message(
        self,
        ListID: int,
        MsgID: int,
        send_date: datetime | str,
        *,
        test: bool = False,
        **fields: Field,
    ) -> None:
        """Add a message, whose counts follow the events added to it.

        One that the account was made with comes back if hidden, with its own send date.

        send_date: a datetime (UTC unless it has a zone), or the text to put on the wire.
        """
        if self._list_place(ListID) is None and ListID not in self._added_lists:
            raise KeyError(f"no list {ListID}")
        self.version += 1
        self._hidden.discard(MsgID)
        if self._message(MsgID) is None:
            text = self._text(send_date, wire_text=False)
            self._added_messages[MsgID] = (ListID, text, dict(fields))
            (self._tests.add if test else self._tests.discard)(MsgID)
        else:
            self._changed_messages.setdefault(MsgID, {}).update(fields)

    def add_event(
        self,
        operation: str,
        MsgID: int,
        email: str,
        date: datetime | str | None = None,
        **fields: Field,
    ) -> None:
        """Add a row to the end of a message's events (or sends, which have no date).

        date: a datetime (UTC unless it has a zone), the text to put on the wire, or None for a
        row without its date element. A row whose date cannot be read is in every range.
        """
        if operation not in MESSAGE_OPERATIONS:
            raise ValueError(f"{operation!r} is none of {', '.join(MESSAGE_OPERATIONS)}")
        if self._list_of(MsgID) is None:
            raise KeyError(f"no message {MsgID}")
        self._add(operation, MsgID, email, date, fields)

    def add_contact(
        self, ListID: int, email: str, addition_date: datetime | str | None, **fields: Field
    ) -> None:
        """Add a contact to the end of a list; `addition_date` as in `add_event`."""
        if self._list_place(ListID) is None and ListID not in self._added_lists:
            raise KeyError(f"no list {ListID}")
        self._add(CONTACTS, ListID, email, addition_date, fields)

    def hide_list(self, ListID: int) -> None:
        """Take a list and its messages away from the user, until `add_list`."""
        self.version += 1
        self._hidden.add(ListID)

    def hide_message(self, MsgID: int) -> None:
        """Take a message away from the user, until `add_message`."""
        self.version += 1
        self._hidden.add(MsgID)

    # What the service asks for

    def activity(self, ListID: int, chosen: Range | None, with_tests: bool) -> list[Row]:
        """Messages of a list that were sent in a range of walls (None: ever)."""
        return [
            self._activity(MsgID)
            for MsgID in self._message_ids(ListID, chosen)
            if with_tests or not self.is_test(MsgID)
        ]

    def page(self, operation: str, ID: int, chosen: Range | None, page: int) -> list[Row]:
        """One page, from 1, of the events of a message or the contacts of a list."""
        return self._slice(operation, ID, chosen, (page - 1) * self.page_size, self.page_size)

    # Lists

    def _list_id(self, place: int) -> int:
        return _FIRST_LIST + 17 * self._lists.number(place)

    def _list_place(self, ListID: int) -> int | None:
        number, rest = divmod(ListID - _FIRST_LIST, 17)
        return None if rest else self._lists.place(number)

    def _list(self, ListID: int) -> Row:
        place = self._list_place(ListID)
        row = self._added_lists[ListID] if place is None else self._list_row(ListID, place)
        return _changed(row, self._changed_lists.get(ListID, {}))

    def _list_row(self, ListID: int, number: int) -> Row:
        bits = mix(self._seed, ListID)
        created = self._start + bits % max(1, (self._end - self._start) // 100)
        name = _LIST_NAMES[number % len(_LIST_NAMES)].format(number)
        flags = iter(("false", "true")[bits >> place & 1] for place in range(16))
        row: dict[str, Field] = {
            "ListID": str(ListID),
            "ListName": name,
            "CreateDate": self._write(created - created % 1000),
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
        return _changed({}, row)

    # Messages

    def _make_message(self, MsgID: int) -> _Message | None:
        """What is needed to make the rows of a generated message; None if it is none."""
        number, rest = divmod(MsgID - _FIRST_MESSAGE, 3)
        place = None if rest else self._numbers.place(number)
        if place is None:
            return None
        list_place, rank = divmod(place, self.messages_per_list)
        bits = mix(self._seed, MsgID)
        if SENT in self.counts:
            sends = self.counts[SENT]
        elif bits % 13 == 0:
            sends = 0
        else:
            sends = round(self.sends * (0.6 + 0.8 * (bits >> 32) / 2**32))
        return _Message(MsgID, list_place, rank, self._sending(list_place).at(rank), sends)

    def _list_of(self, MsgID: int) -> int | None:
        if MsgID in self._added_messages:
            return self._added_messages[MsgID][0]
        message = self._message(MsgID)
        return None if message is None else self._list_id(message.list_place)

    def _sending(self, list_place: int) -> Timeline:
        """Send times of a list's messages by rank; a little of the span is left for events."""
        last = self._end - min(3600 * SECOND, (self._end - self._start) // 10)
        salt = mix(self._seed, 1, list_place)
        return Timeline(self.messages_per_list, self._start, last, salt)

    def _message_ids(self, ListID: int, chosen: Range | None) -> Iterable[int]:
        """Visible messages of a list in the order served, which is not that of their dates."""
        place = self._list_place(ListID)
        if place is not None:
            pairs = [(0, self.messages_per_list)]
            if chosen is not None:
                pairs = self._sending(place).ranks(self.zone, chosen)
            ranks = [rank for low, high in pairs for rank in range(low, high)]
            ranks.sort(key=lambda rank: mix(self._seed, rank))
            first = place * self.messages_per_list
            for rank in ranks:
                MsgID = _FIRST_MESSAGE + 3 * self._numbers.number(first + rank)
                if MsgID not in self._hidden:
                    yield MsgID
        for MsgID, (owner, send_date, _) in self._added_messages.items():
            sent = chosen is None or chosen.holds(self.zone.read(send_date))
            if sent and owner == ListID and MsgID not in self._hidden:
                yield MsgID

    def _activity(self, MsgID: int) -> Row:
        """A row of ReportListMessageActivity, its counts agreeing with the event rows."""
        message = self._message(MsgID)
        if message is None:
            owner, send_date, fields = self._added_messages[MsgID]
        else:
            owner, send_date = self._list_id(message.list_place), self._write(message.send)
            fields = self._changed_messages.get(MsgID, {})
        bits = mix(self._seed, 2, MsgID)
        rows = {operation: self._counts(operation, MsgID) for operation in MESSAGE_OPERATIONS}
        sent = rows[SENT][0]
        clickers = rows[CLICK][1]
        repeaters = min(rows[CLICK][0] - clickers, clickers)

        def percent(count: int) -> str:
            return _double(100 * count / sent) if sent else "0"

        subject = _SUBJECTS[MsgID // 3 % len(_SUBJECTS)].format(MsgID % 1000)
        conversions = clickers * (bits >> 8 & 3) // 4
        digits = 2 + (bits >> 16) % 5
        # Zeros at the end of half of them: a decimal keeps its scale.
        total = Decimal(conversions * ((bits >> 20) % 50_000 * 10 + (bits >> 40 & 1) * 7))
        total = (total / 100).quantize(Decimal(1).scaleb(-digits))
        average = total / conversions if conversions else total
        row: Row = {
            "ListID": str(owner),
            "MsgID": str(MsgID),
            "Subject": subject,
            "SendDate": send_date,
            "DeliverCount": str(sent),
            "RemoveCount": str(rows[REMOVAL][0]),
            "RemovePercent": percent(rows[REMOVAL][0]) if bits >> 48 & 7 else "1E-05",
            "OpenCount": str(rows[OPEN][0]),
            "OpenPercent": percent(rows[OPEN][1]),
            "ReadCount": str(rows[READ][0]),
            "ReadPercent": percent(rows[READ][1]),
            "ClickCount": str(rows[CLICK][0]),
            "ClickerCount": str(clickers),
            "RepeatClickerCount": str(repeaters),
            "NewClickerCount": str(clickers - repeaters),
            "ClickerPercent": percent(clickers),
            "OrderTotal": str(total),
            "ConversionCount": str(conversions),
            "AverageOrderValue": str(average.quantize(Decimal(1).scaleb(-digits))),
        }
        return _changed(row, fields)

    # Events and contacts

    def _slice(
        self, operation: str, ID: int, chosen: Range | None, skip: int, size: int | None
    ) -> list[Row]:
        """Rows from `skip` on, `size` at most (None: all), of those in a range (None: all)."""
        timeline = self._timeline(operation, ID)
        if chosen is None or OPERATIONS[operation].date is None:
            pairs = [(0, timeline.rows)]
        else:
            pairs = timeline.ranks(self.zone, chosen)
        stop = None if size is None else skip + size
        rows = self._generated(operation, ID, timeline, _served(pairs, skip, stop))
        made = sum(high - low for low, high in pairs)
        added = [
            dict(late.row)
            for late in self._added.get((operation, ID), ())
            if chosen is None or chosen.holds(late.wall)
        ]
        return rows + added[max(0, skip - made) : None if stop is None else max(0, stop - made)]

    def _timeline(self, operation: str, ID: int) -> Timeline:
        """Dates of the generated rows of one message or list."""
        salt = mix(self._seed, _SALTS[operation], ID)
        if operation == CONTACTS:
            rows = 0 if self._list_place(ID) is None else self.contacts_per_list
            return Timeline(rows, self._start, self._end, salt)
        message = self._message(ID)
        if message is None:
            return Timeline(0, self._start, self._end, salt)
        # Most messages are read for three weeks, some for as long as the account goes on.
        last = self._end if salt % 4 == 0 else min(self._end, message.send + 21 * DAY)
        whole = OPERATIONS[operation].date_is_text and self.event_dates == "us"
        first = min(message.send + 60 * SECOND, last)
        return Timeline(self._size(operation, message), first, last, salt, True, whole)

    def _size(self, operation: str, message: _Message) -> int:
        """Generated rows of a message."""
        if operation in self.counts:
            return self.counts[operation]
        if operation == SENT:
            return message.sends
        bits = mix(self._seed, _SALTS[operation], message.MsgID, 3)
        if bits % 7 == 0:
            return 0
        return round(message.sends * _FRACTIONS[operation] * (0.5 + (bits >> 32) / 2**32))

    def _counts(self, operation: str, ID: int) -> tuple[int, int]:
        """(rows, distinct email addresses) of one message or list."""
        if operation == CONTACTS:
            total = distinct = 0 if self._list_place(ID) is None else self.contacts_per_list
        else:
            message = self._message(ID)
            total = distinct = 0 if message is None else self._size(operation, message)
            if operation in _REPEATED:
                distinct -= total // 5
        added = self._added.get((operation, ID))
        if not added:
            return total, distinct
        key = "ContactID" if operation == CONTACTS else "EmailAddress"
        keys = {str(row[key]) for row in self._slice(operation, ID, None, 0, None) if row.get(key)}
        return total + len(added), len(keys)

    def _generated(
        self, operation: str, ID: int, timeline: Timeline, ranks: list[int]
    ) -> list[Row]:
        """Generated rows of one message or list by rank."""
        spread, start, step, shift = 0, 0, 1, 0
        message = None if operation == CONTACTS else self._message(ID)
        place = self._list_place(ID) or 0
        if message is not None:
            place = message.list_place
            spread = message.sends
            # The recipients are subscribed contacts as far as there are so many.
            start = mix(self._seed, ID, 4) % max(1, self.contacts_per_list - spread + 1)
            if operation != SENT:
                kind = MESSAGE_OPERATIONS.index(operation)
                step, shift = _coprime(max(1, spread), 3 + kind), kind * spread // 6
        # Lists next to each other share a quarter of their contacts.
        start += place * (self.contacts_per_list * 3 // 4)
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
            email = self._email(start + person)
            rows.append(self._row(operation, email, moment, timeline.salt + rank))
        return rows

    def _email(self, person: int) -> str:
        bits = (person * 2_654_435_761 + self._seed >> 7) & 0xFFFFFF
        if person % 17 == 5:
            return f"zoë.müller+news{person}@exämple.com"
        if person % 11 == 3:
            return f"r&d+list{person}@example.com"
        bits, first = divmod(bits, len(_FIRST_NAMES))
        bits, last = divmod(bits, len(_LAST_NAMES))
        host = _HOSTS[bits % len(_HOSTS)]
        return f"{_FIRST_NAMES[first]}.{_LAST_NAMES[last]}{person}@{host}"

    def _row(self, operation: str, email: str, moment: int | None, number: int) -> Row:
        """A row in the contract's order; `moment` None leaves its date out."""
        if operation == SENT:
            return {"EmailAddress": email}
        row: Row = {"ContactID": contact_id(email), "EmailAddress": email}
        bits = 0 if operation in (OPEN, READ) else mix(number)
        if operation == CLICK:
            description, url = _LINKS[bits % len(_LINKS)]
            if bits >> 8 & 7 == 0:
                row["LinkDescription"] = (None, "")[bits >> 11 & 1]
            elif bits >> 8 & 7 > 1:
                row["LinkDescription"] = description
            row["LinkUrl"] = url
        elif operation == BOUNCE:
            row["BounceReason"], row["BounceDetail"] = _BOUNCES[bits % len(_BOUNCES)]
        elif operation == REMOVAL:
            row["AdditionDate"] = NEVER
            if bits % 5 and moment is not None:
                added = moment - bits % max(1, moment - self._start)
                row["AdditionDate"] = self._write(added - added % 1000)
        kind = OPERATIONS[operation]
        if moment is not None and kind.date is not None:
            wall = self.zone.wall(moment)
            if not kind.date_is_text:
                row[kind.date] = self._write(moment)
            elif self.event_dates == "us":
                row[kind.date] = write_us(wall)
            else:
                row[kind.date] = write_iso(wall)
        if operation == BOUNCE:
            row["BounceCount"] = str(1 + bits % 4)
        elif operation == REMOVAL and bits >> 8 & 3:
            row["RemovalMethod"] = ("Email Link", "Complaint & abuse", "")[(bits >> 10) % 3]
        elif operation == CONTACTS and bits & 3:
            row["AdditionMethod"] = ("Import", "Sign-up <form>", "", None)[bits >> 2 & 3]
        return row

    def _add(
        self,
        operation: str,
        ID: int,
        email: str,
        date: datetime | str | None,
        fields: Mapping[str, Field],
    ) -> None:
        self.version += 1
        kind = OPERATIONS[operation]
        late = self._added.setdefault((operation, ID), [])
        number = mix(self._seed, _SALTS[operation], ID, len(late))
        # Any moment first: it gives the date its place among the elements.
        row = self._row(operation, email, self._start, number)
        if kind.date is not None:
            text = None if date is None else self._text(date, kind.date_is_text)
            row = _changed(row, {kind.date: ... if text is None else text})
        row = _changed(row, fields)
        shown = row.get(kind.date or "")
        late.append(_Added(row, self.zone.read(shown) if isinstance(shown, str) else None))

    # Times

    def _write(self, moment: int) -> str:
        """An instant as an xs:dateTime of this account."""
        offset = self.zone.write_offset(moment) if self.offsets else ""
        return write_iso(self.zone.wall(moment), offset)

    def _text(self, date: datetime | str, wire_text: bool) -> str:
        """The wire text of a date that a caller gave; `wire_text` for an xs:string."""
        if isinstance(date, str):
            return date
        moment = instant(date)
        if not wire_text:
            return self._write(moment)
        wall = self.zone.wall(moment)
        return write_us(wall) if self.event_dates == "us" else write_iso(wall)


def _changed(row: Row, fields: Mapping[str, Field]) -> Row:
    """`row` with other values; `...` takes an element out."""
    row = dict(row)
    for name, value in fields.items():
        if isinstance(value, EllipsisType):
            row.pop(name, None)
        else:
            row[name] = value
    return row


def _served(pairs: list[tuple[int, int]], skip: int, stop: int | None) -> list[int]:
    """Ranks at the places from `skip` to `stop` of the given [from, to) pairs, as served.

    Ranks are shuffled within blocks of eight, so a page is found without those before it.
    """
    found: list[int] = []
    for low, high in pairs:
        size = high - low
        begin, finish = min(skip, size), size if stop is None else min(stop, size)
        if begin < finish:
            first, last = (low + begin) // 8, (low + finish - 1) // 8
            block = [
                rank
                for base in range(first * 8, last * 8 + 8, 8)
                for place in _SHUFFLE
                if low <= (rank := base + place) < high
            ]
            drop = low + begin - max(low, first * 8)
            found += block[drop : drop + finish - begin]
        skip = max(0, skip - size)
        stop = None if stop is None else max(0, stop - size)
    return found
