"""Fill an account from a seed: its lists, messages, conversations, and their rows.

Each row is made from its rank in its table, so that a table of a million rows needs no memory.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import gcd
from typing import Final, Literal

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
_SENDS: Final = (SENT, CONVERSATION_OPERATIONS[0])
_FIRST_LIST, _FIRST_MESSAGE, _FIRST_CONVERSATION = 345_001, 7_000_001, 90_001
_FORMER: Final = 10**9
"""The first person who is in no list."""
KINDS: Final = {
    "sends": (1.0, "DeliverCount"),
    "opens": (0.45, "OpenCount"),
    "reads": (0.25, "ReadCount"),
    "clicks": (0.12, "ClickCount"),
    "bounces": (0.06, "BounceCount"),
    "unsubs": (0.03, "RemoveCount"),
    "passalongs": (0.1, "PassAlongCount"),
}
"""Rows of each kind for one recipient, about, and the column that counts them."""
EVENTS: Final = (*MESSAGE_OPERATIONS, PASSALONGS, *CONVERSATION_OPERATIONS)
"""The operations whose rows are each about a recipient of a message or conversation."""
# Recipients can have more than one of these.
_REPEATED: Final = frozenset((OPEN, READ, CLICK, *CONVERSATION_OPERATIONS[:3]))
# Order in which rows of neighbouring dates are served, so that no one can rely on any.
_SHUFFLE: Final = (3, 0, 6, 1, 7, 4, 2, 5)


@dataclass
class Mailing:
    """A message or conversation of a list.

    date: its SendDate or PublishedDate on the wire. messages: the MsgIDs of its rows. is_extra: a
    test message or terminated conversation, which a call may exclude. Of its generated rows: sends
    is their number of recipients, first_person the first of them; first and last are instants.
    """

    kind: Literal["message", "conversation"]
    ID: int
    ListID: int
    date: str
    messages: tuple[int, ...]
    is_extra: bool
    fields: dict[str, Field] = field(default_factory=dict)
    is_generated: bool = False
    has_analytics: bool = True
    sends: int = 0
    first: int = 0
    last: int = 0
    first_person: int = 0


def _option(default: int, meaning: str) -> int:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class Shape:
    """The size and dates of a generated account. Accounts of the same shape have the same rows."""

    seed: int = _option(1, "random seed: another one changes every row")
    lists: int = _option(3, "number of contact lists")
    messages: int = _option(8, "number of messages per list")
    contacts: int = _option(40, "number of subscribed contacts per list")
    sends: int = _option(30, "approximate number of recipients per message")
    conversations: int = _option(3, "number of conversations per list")
    conversation_sends: int = _option(30, "approximate number of emails sent per conversation")
    campaigns: int = _option(3, "number of campaigns per list")
    removals: int = _option(12, "number of unsubscribes per list")
    hygiene: int = _option(6, "number of corrected addresses per list")
    imports: int = _option(5, "number of imports per list")
    complaints: int = _option(8, "number of spam complaints of the account")
    message_step: int = _option(3, "difference between consecutive message IDs")
    start: datetime = datetime(2025, 1, 1)
    """The earliest date of all rows, UTC unless it has a zone."""
    end: datetime = datetime(2026, 6, 30)
    counts: Mapping[str, int] = field(default_factory=dict)
    """Exact rows per message or conversation, by operation."""


@dataclass(frozen=True)
class Generated:
    """Rows from rank `first` up to `last`, made when sliced. Their dates never fall.

    make: the row of a rank. at: its instant.
    """

    make: Callable[[int], Row]
    at: Callable[[int], int]
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, part: slice) -> list[Row]:
        return [self._row(index) for index in range(*part.indices(len(self)))]

    def _row(self, index: int) -> Row:
        block = index - index % 8
        places = [place for place in _SHUFFLE if block + place < len(self)]
        return self.make(self.first + block + places[index % 8])

    def within(self, chosen: Range) -> Generated:
        """Return the rows of a range, whose walls are those of UTC."""
        bounds = (chosen.start, chosen.end)
        first, last = (bisect_left(range(self.last), bound, key=self.at) for bound in bounds)
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
        self.mailings = {
            "message": {each.ID: each for each in self._make_messages()},
            "conversation": {each.ID: each for each in self._make_conversations()},
        }

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
                    "message", MsgID, ListID, self._maker.write(moment), (MsgID,),
                    rank % 10 == 4, is_generated=True, has_analytics=rank % 8 != 2, sends=sends,
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
            sends = self._sends(_SENDS[1], sends, bits)
            yield Mailing(
                "conversation", ID, self.list_ids[place],
                NEVER if not sends and rank % 2 == 0 else self._maker.write(first),
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

    # Rows

    def events(self, operation: str, mailing: Mailing) -> Generated:
        """Return the rows of a message or conversation about its recipients."""
        salt = mix(self._seed, SALTS[operation], mailing.ID)
        rows = 0
        if mailing.is_generated:
            usual = mailing.sends * KINDS[OPERATIONS[operation].table.partition("_")[2]][0]
            if operation not in _SENDS:
                usual = round(usual * (0.5 + (salt >> 32) / 2**32)) if salt % 7 else 0
            rows = self.shape.counts.get(operation, round(usual))
        times = Timeline(rows, mailing.first, mailing.last, salt, early=True)
        each = len(mailing.messages)
        subjects = [self._maker.name(MsgID) for MsgID in mailing.messages]
        entries = mailing.sends if each == 1 else mailing.sends - mailing.sends // 5
        kind = EVENTS.index(operation)
        step, shift = _coprime(max(1, entries), 3 + kind), kind * entries // 6

        def make(rank: int) -> Row:
            entry = _once(rank) if operation in _REPEATED else rank
            if operation not in _SENDS and entry < entries:
                entry = (entry * step + shift) % entries
            person, number = divmod(entry, each)
            known = {"MsgID": str(mailing.messages[number]), "Subject": subjects[number]}
            email = self._maker.email(mailing.first_person + person)
            return self._maker.row(operation, times.at(rank), mix(salt, rank), known, email)

        return Generated(make, times.at, 0, rows)

    def others(self, operation: str, ID: int) -> Generated:
        """Return the rows of a list, of the account, or of a message's locations."""
        shape, table, messages = self.shape, OPERATIONS[operation].table, self.mailings["message"]
        rows = {
            "subscribed_contacts": shape.contacts,
            "list_unsubs": shape.removals,
            "list_hygiene": shape.hygiene,
            "imports": shape.imports,
            "campaigns": shape.campaigns,
            "transactional_messages": 2,
            "saved_messages": 2,
            "complaints": shape.complaints if messages else 0,
        }.get(table, 5)
        if not (ID in self.list_ids or ID in messages or table == "complaints"):
            rows = 0  # of what was added
        times = self._times(operation, rows, ID)
        first = self._first_person(self.list_ids.index(ID)) if ID in self.list_ids else 0
        MsgIDs = [*messages] if table == "complaints" else []

        def make(rank: int) -> Row:
            bits = mix(times.salt, rank)
            known: dict[str, Field] = {"ListID": str(ID), "SavedMsgID": str(rank + 1)}
            person = first + rank
            if table == "list_unsubs":
                person = first + self._leaver(ID, rank, times.at(rank))
            elif table == "campaigns":
                known |= self._campaign(ID, rank)
                known |= {"MessageCount": "0"} if rank == rows - 1 else {}
            elif table == "complaints":
                message = messages[MsgIDs[bits % len(MsgIDs)]]
                person = message.first_person + (bits >> 32) % max(1, message.sends)
                known = {"ListID": str(message.ListID), "MessageID": str(message.ID)}
                known |= self.campaign_of(message.ListID, message.ID)
            elif table.startswith("message_location"):
                # Two regions of each country.
                known = {"CountryID": str(rank // 2), "RegionID": str(rank % 2), "MsgID": str(ID)}
            email = self._maker.email(person)
            return self._maker.row(operation, times.at(rank), bits, known, email)

        return Generated(make, times.at, 0, rows)

    def _leaver(self, ListID: int, rank: int, moment: int) -> int:
        """Return who leaves: of four, one subscribes again later, and one leaves twice."""
        if rank % 4 == 0:
            joined = self._times(NAME_OF["subscribed_contacts"], self.shape.contacts, ListID)
            return bisect_right(range(joined.rows), moment, key=joined.at)
        return _FORMER + rank - 2 * (rank % 4 == 3)

    def _times(self, operation: str, rows: int, ID: int) -> Timeline:
        salt = mix(self._seed, SALTS[operation], ID)
        return Timeline(rows, self._start, self._end, salt)

    def campaign_of(self, ListID: int, ID: int) -> dict[str, Field]:
        """Return the campaign of a message or conversation, as rows have it."""
        used = max(1, self.shape.campaigns - 1)  # The last campaign has none.
        return self._campaign(ListID, mix(self._seed, 5, ID) % used)

    def _campaign(self, ListID: int, rank: int) -> dict[str, Field]:
        ID = ListID * 10 + rank
        name = self._maker.name(ID)
        return {"CampaignID": str(ID), "CampaignName": name, "Name": name}


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
