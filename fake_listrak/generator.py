"""Fill an account from a seed: its lists, messages, conversations, and their rows.

Each row is made from its rank in its table, so that a table of a million rows needs no memory.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import gcd
from typing import Final, Literal, overload

from fake_listrak.clock import DAY, NEVER, SECOND, Range, Timeline, instant
from fake_listrak.contract import (
    CONVERSATION_OPERATIONS,
    MESSAGE_OPERATIONS,
    NAME_OF,
    OPERATIONS,
    PASSALONGS,
    Row,
)
from fake_listrak.rows import SALTS, Field, RowMaker, mix

SENT, OPEN, READ, CLICK, BOUNCE, REMOVAL = MESSAGE_OPERATIONS
SERIES_SENT: Final = CONVERSATION_OPERATIONS[0]

_FIRST_LIST, _FIRST_MESSAGE, _FIRST_CONVERSATION = 345_001, 7_000_001, 90_001
_FORMER: Final = 10**9
"""The first person who is in no list."""
# Rows of each kind for one recipient, about.
_SHARES: Final = {
    SENT: 1,
    OPEN: 0.45,
    READ: 0.25,
    CLICK: 0.12,
    BOUNCE: 0.06,
    REMOVAL: 0.03,
    PASSALONGS: 0.1,
    **dict(zip(CONVERSATION_OPERATIONS, (1, 0.45, 0.3, 0.1, 0.08), strict=True)),
}
EVENTS: Final = tuple(_SHARES)
"""The operations whose rows `Generator.events` makes."""
# Contacts can have more than one of these.
_REPEATED: Final = frozenset((OPEN, READ, CLICK, *CONVERSATION_OPERATIONS[:3]))
# Order in which rows of neighbouring dates are served, so that no one can rely on any.
_SHUFFLE: Final = (3, 0, 6, 1, 7, 4, 2, 5)


@dataclass
class Mailing:
    """A message or conversation of a list."""

    kind: Literal["message", "conversation"]
    ID: int
    ListID: int
    date: str
    """Its SendDate or PublishedDate on the wire."""
    wall: int | None
    """The same; None if that cannot be read."""
    messages: tuple[int, ...]
    """The MsgIDs of its rows: its own, or those of the conversation."""
    is_extra: bool
    """A test message or terminated conversation, which a call may exclude."""
    fields: dict[str, Field] = field(default_factory=dict)
    is_generated: bool = False
    has_analytics: bool = True
    sends: int = 0
    """Of its generated rows, as are the following."""
    first: int = 0
    last: int = 0
    first_person: int = 0


@dataclass(frozen=True)
class Shape:
    """The size of a generated account. See Account."""

    seed: int = 1
    lists: int = 3
    messages: int = 8
    contacts: int = 40
    sends: int = 30
    start: datetime = datetime(2025, 1, 1)
    end: datetime = datetime(2026, 6, 30)
    counts: Mapping[str, int] = field(default_factory=dict)
    conversations: int = 3
    conversation_sends: int = 30
    campaigns: int = 3
    transactional: int = 2
    removals: int = 12
    hygiene: int = 6
    imports: int = 5
    complaints: int = 8
    message_step: int = 3


@dataclass(frozen=True)
class Generated(Sequence[Row]):
    """Rows that are made when indexed, by the ranks of their dates, which never fall.

    make: the row of a rank. at: its instant.
    """

    make: Callable[[int], Row]
    at: Callable[[int], int]
    first: int
    last: int
    """One more than the last rank."""

    def __len__(self) -> int:
        return self.last - self.first

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        block = index - index % 8
        places = [place for place in _SHUFFLE if block + place < len(self)]
        return self.make(self.first + block + places[index % 8])

    def within(self, chosen: Range) -> Generated:
        """Return the rows of a range, whose walls are those of UTC."""
        low = chosen.start + (not chosen.with_start)
        high = chosen.end + chosen.with_end
        first, last = (bisect_left(range(self.last), bound, key=self.at) for bound in (low, high))
        return Generated(self.make, self.at, first, max(first, last))


class Generator:
    """The lists, messages, conversations and rows of a generated account."""

    def __init__(self, shape: Shape, maker: RowMaker) -> None:
        unknown = shape.counts.keys() - {*EVENTS}
        if unknown:
            raise ValueError(f"counts: {unknown} are none of {', '.join(EVENTS)}")
        self.shape = shape
        self._maker = maker
        self._seed = maker.seed
        self._start, self._end = instant(shape.start), instant(shape.end)
        self.list_ids = _shuffled(shape.lists, _FIRST_LIST, 17)
        self.messages = {each.ID: each for each in self._make_messages()}
        self.conversations = {each.ID: each for each in self._make_conversations()}

    def _make_messages(self) -> Iterator[Mailing]:
        """Yield the messages of all lists, list by list, not by date."""
        shape = self.shape
        last = self._end - min(3600 * SECOND, (self._end - self._start) // 10)
        every = _shuffled(shape.lists * shape.messages, _FIRST_MESSAGE, shape.message_step)
        for place, ListID in enumerate(self.list_ids):
            sending = Timeline(shape.messages, self._start, last, mix(self._seed, 1, place))
            for rank in sorted(range(shape.messages), key=lambda rank: mix(self._seed, rank)):
                MsgID = every[place * shape.messages + rank]
                bits = mix(self._seed, MsgID)
                moment = sending.at(rank)
                # Most messages are read for three weeks, some for as long as the account goes on.
                late = self._end if bits % 4 == 0 else min(self._end, moment + 21 * DAY)
                sends = self._sends(SENT, 0 if bits % 13 == 0 else shape.sends, bits)
                yield Mailing(
                    "message", MsgID, ListID, self._maker.write(moment),
                    self._maker.zone.wall(moment), (MsgID,), rank % 10 == 4,
                    is_generated=True, has_analytics=rank % 8 != 2, sends=sends,
                    first=min(moment + 60 * SECOND, late), last=late,
                    first_person=self._recipient(place, sends, bits),
                )  # fmt: skip

    def _make_conversations(self) -> Iterator[Mailing]:
        """Yield the conversations of all lists: one in three is terminated, one has no events."""
        size = self.shape.conversations
        for number, ID in enumerate(_shuffled(self.shape.lists * size, _FIRST_CONVERSATION, 4)):
            place, rank = divmod(number, size)
            bits = mix(self._seed, ID)
            last = self._end - (self._end - self._start) // 4
            first = Timeline(size, self._start, last, mix(bits, 1)).at(rank)
            sends = self.shape.conversation_sends if rank % 3 < 2 else 0
            sends = self._sends(SERIES_SENT, sends, bits)
            yield Mailing(
                "conversation", ID, self.list_ids[place],
                NEVER if not sends and rank % 2 == 0 else self._maker.write(first), None,
                # One more than the MsgIDs of lists, which are three apart.
                tuple(_FIRST_MESSAGE + 1 + 3 * (3 * number + n) for n in range(3)), rank % 3 == 1,
                is_generated=True, sends=sends, first=first, last=self._end,
                first_person=self._recipient(place, sends // 3, bits),
            )  # fmt: skip

    def _sends(self, operation: str, sends: int, bits: int) -> int:
        """Return how many recipients there are, `sends` being usual."""
        return self.shape.counts.get(operation, round(sends * (0.6 + 0.8 * (bits >> 32) / 2**32)))

    def _first_person(self, place: int) -> int:
        """Return the first contact of a list. Neighbouring lists share a quarter of theirs."""
        return place * (self.shape.contacts * 3 // 4)

    def _recipient(self, place: int, sends: int, bits: int) -> int:
        """Return the first of the contacts of a list who receive a mailing."""
        return self._first_person(place) + bits % max(1, self.shape.contacts - sends + 1)

    def campaign_of(self, ListID: int, ID: int) -> dict[str, Field]:
        """Return the campaign of a message or conversation, as its row has it."""
        used = range(max(1, self.shape.campaigns - 1))  # The last campaign has none.
        CampaignID = _campaign_id(ListID, mix(self._seed, 5, ID) % len(used))
        return {"CampaignID": str(CampaignID), "CampaignName": self._maker.name(CampaignID)}

    # Rows

    def events(self, operation: str, mailing: Mailing) -> Generated:
        """Return the rows of a message or conversation about its recipients."""
        salt = mix(self._seed, SALTS[operation], mailing.ID)
        rows = self._size(operation, mailing, salt)
        times = Timeline(rows, mailing.first, mailing.last, salt, early=True)
        each = len(mailing.messages)
        subjects = [self._maker.name(MsgID) for MsgID in mailing.messages]
        entries = mailing.sends if each == 1 else mailing.sends - mailing.sends // 5
        kind = EVENTS.index(operation)
        step, shift = _coprime(max(1, entries), 3 + kind), kind * entries // 6

        def make(rank: int) -> Row:
            entry = _once(rank) if operation in _REPEATED else rank
            if operation not in (SENT, SERIES_SENT) and entry < entries:
                entry = (entry * step + shift) % entries
            person, number = divmod(entry, each)
            return self._maker.row(
                operation, times.at(rank), mix(salt, rank),
                self._maker.email(mailing.first_person + person),
                MsgID=str(mailing.messages[number]), Subject=subjects[number],
            )  # fmt: skip

        return Generated(make, times.at, 0, rows)

    def _size(self, operation: str, mailing: Mailing, salt: int) -> int:
        if not mailing.is_generated:
            return 0
        usual = mailing.sends * _SHARES[operation]
        if operation not in (SENT, SERIES_SENT):
            usual = round(usual * (0.5 + (salt >> 32) / 2**32)) if salt % 7 else 0
        return self.shape.counts.get(operation, round(usual))

    def of_list(self, operation: str, ListID: int) -> Sequence[Row]:
        """Return the rows of a list that belong to no message or conversation."""
        if ListID not in self.list_ids:
            return ()
        table, shape = OPERATIONS[operation].table, self.shape
        rows = {
            "subscribed_contacts": shape.contacts,
            "list_unsubs": shape.removals,
            "list_hygiene": shape.hygiene,
            "imports": shape.imports,
            "campaigns": shape.campaigns,
            "transactional_messages": shape.transactional,
            "saved_messages": 2,
        }[table]
        times = self._timeline(operation, rows, ListID)
        place = self.list_ids.index(ListID)

        def make(rank: int) -> Row:
            person = self._leaver(place, rank) if table == "list_unsubs" else rank
            known: dict[str, Field] = {"SavedMsgID": str(rank + 1)}  # of other lists as well
            if table == "campaigns":
                ID = _campaign_id(ListID, rank)
                known = {"ListID": str(ListID), "CampaignID": str(ID), "Name": self._maker.name(ID)}
                known |= {"MessageCount": "0"} if rank == rows - 1 else {}
            email = self._maker.email(self._first_person(place) + person)
            return self._maker.row(operation, times.at(rank), mix(times.salt, rank), email, **known)

        return Generated(make, times.at, 0, rows)

    def _leaver(self, place: int, rank: int) -> int:
        """Return who leaves: of three, one subscribes again later, and one leaves twice."""
        contacts, removals = self.shape.contacts, self.shape.removals
        if rank % 3 == 0:
            return contacts * min(rank + 2, removals) // removals
        return _FORMER + place * 10**6 + rank - rank % 3

    def _timeline(self, operation: str, rows: int, ID: int) -> Timeline:
        salt = mix(self._seed, SALTS[operation], ID)
        return Timeline(rows, self._start, self._end, salt)

    def complaints(self) -> list[Row]:
        """Return the complaints of the account, each of a recipient of a message."""
        every = [*self.messages.values()]
        operation = NAME_OF["complaints"]
        times = self._timeline(operation, self.shape.complaints if every else 0, 0)
        rows = []
        for rank in range(times.rows):
            bits = mix(times.salt, rank)
            message = every[bits % len(every)]
            person = message.first_person + (bits >> 32) % max(1, message.sends)
            ListID, MsgID = message.ListID, message.ID
            rows.append(
                self._maker.row(
                    operation, times.at(rank), bits, self._maker.email(person),
                    ListID=str(ListID), MessageID=str(MsgID),
                    MessageSubject=self._maker.name(MsgID), **self.campaign_of(ListID, MsgID),
                )
            )  # fmt: skip
        return rows

    def locations(self, operation: str, message: Mailing) -> list[Row]:
        """Return the events of a message by place: two regions of each country."""
        salt = mix(self._seed, SALTS[operation], message.ID)
        places = [(str(number // 2), str(number % 2)) for number in range(5)]
        make, MsgID = self._maker.row, str(message.ID)
        return [
            make(operation, 0, mix(salt, n), MsgID=MsgID, CountryID=country, RegionID=region)
            for n, (country, region) in enumerate(places if message.is_generated else ())
        ]


def _campaign_id(ListID: int, rank: int) -> int:
    return ListID * 10 + rank


def _once(rank: int) -> int:
    """Return the number of the contact of a rank: every fifth is one that was there before."""
    number = rank - 3 if rank % 5 == 4 else rank
    return number - number // 5


def _coprime(size: int, least: int) -> int:
    """Return the smallest number from `least` on whose multiples visit all remainders of `size`."""
    while gcd(least, size) != 1:
        least += 1
    return least


def _shuffled(size: int, first: int, step: int) -> list[int]:
    """Return `size` IDs, multiples of `step` apart, in no order."""
    stride = _coprime(max(1, size), max(2, int(size * 0.618)))
    return [first + step * ((place * stride + 1) % size) for place in range(size)]
