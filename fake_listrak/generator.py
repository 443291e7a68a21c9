"""Fill an account from a seed: its lists, messages, conversations, and their rows.

Rows are generated when they are first requested. Few become a plain list; many (a benchmark's) stay
`Generated`, a sequence that makes each row when it is indexed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, overload

from fake_listrak.clock import DAY, NEVER, SECOND, Range, Timeline, instant
from fake_listrak.contract import (
    CONVERSATION_OPERATIONS,
    MESSAGE_OPERATIONS,
    OPERATIONS,
    PASSALONGS,
    Row,
)
from fake_listrak.rows import SALTS, Field, RowMaker, coprime, mix

SENT, OPEN, READ, CLICK, BOUNCE, REMOVAL = MESSAGE_OPERATIONS
SERIES_SENT: Final = CONVERSATION_OPERATIONS[0]
CONTACTS: Final = "ReportRangeSubscribedContacts"
UNSUBS: Final = "ReportRangeListContactRemoval"
MESSAGES_OF_CONVERSATION: Final = 3
MANY: Final = 5000
"""More generated rows than these stay a sequence."""

_FIRST_LIST, _FIRST_MESSAGE, _FIRST_CONVERSATION = 345_001, 7_000_001, 90_001
_FORMER: Final = 10**9
"""The first person who is in no list."""
# Rows of each kind for one recipient, about.
_FRACTIONS: Final = {
    OPEN: 0.45,
    READ: 0.25,
    CLICK: 0.12,
    BOUNCE: 0.06,
    REMOVAL: 0.03,
    PASSALONGS: 0.1,
    **dict(zip(CONVERSATION_OPERATIONS[1:], (0.45, 0.3, 0.1, 0.08), strict=True)),
}
# Contacts can have more than one of these.
REPEATED: Final = frozenset((OPEN, READ, CLICK, *CONVERSATION_OPERATIONS[1:3]))
_COUNTED: Final = (*MESSAGE_OPERATIONS, PASSALONGS, *CONVERSATION_OPERATIONS)
# Order in which rows of neighbouring dates are served, so that no one can rely on any.
_SHUFFLE: Final = (3, 0, 6, 1, 7, 4, 2, 5)


@dataclass
class Message:
    """A message of a list. `sends` and `first_person` are of its generated rows."""

    ID: int
    ListID: int
    send_date: str
    fields: dict[str, Field] = field(default_factory=dict)
    moment: int = 0
    wall: int | None = None
    """Its send date as a wall; None if that cannot be read."""
    sends: int = 0
    first_person: int = 0
    is_generated: bool = False
    is_test: bool = False
    has_analytics: bool = True


@dataclass
class Conversation:
    """A conversation of a list. `first`, `last` and `sends` are of its generated rows."""

    ID: int
    ListID: int
    published: str
    terminated: bool
    messages: tuple[int, ...]
    fields: dict[str, Field] = field(default_factory=dict)
    first: int = 0
    last: int = 0
    sends: int = 0
    first_person: int = 0

    @property
    def contacts(self) -> int:
        """The contacts of its generated rows: one entry in five is a repetition."""
        entries = -(-self.sends // MESSAGES_OF_CONVERSATION)
        return entries - entries // 5


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
    """The rows of a generated account."""

    def __init__(self, shape: Shape, maker: RowMaker) -> None:
        for operation in shape.counts:
            if operation not in _COUNTED:
                raise ValueError(f"counts: {operation!r} is none of {', '.join(_COUNTED)}")
        self.shape = shape
        self._maker = maker
        self._seed = maker.seed
        self._start, self._end = instant(shape.start), instant(shape.end)
        self.list_ids = _shuffled(shape.lists, _FIRST_LIST, 17)

    def _first_person(self, ListID: int) -> int:
        """Return the first contact of a list. Neighbouring lists share a quarter of theirs."""
        return self.list_ids.index(ListID) * (self.shape.contacts * 3 // 4)

    def messages(self) -> Iterator[Message]:
        """Give the messages of all lists, list by list, not by date."""
        shape = self.shape
        last = self._end - min(3600 * SECOND, (self._end - self._start) // 10)
        every = _shuffled(shape.lists * shape.messages, _FIRST_MESSAGE, shape.message_step)
        for place, ListID in enumerate(self.list_ids):
            sending = Timeline(shape.messages, self._start, last, mix(self._seed, 1, place))
            person = self._first_person(ListID)
            ranks = sorted(range(shape.messages), key=lambda rank: mix(self._seed, rank))
            for rank in ranks:
                MsgID = every[place * shape.messages + rank]
                bits = mix(self._seed, MsgID)
                sends = round(shape.sends * (0.6 + 0.8 * (bits >> 32) / 2**32))
                sends = shape.counts.get(SENT, sends if bits % 13 else 0)
                moment = sending.at(rank)
                yield Message(
                    MsgID,
                    ListID,
                    self._maker.write(moment),
                    moment=moment,
                    wall=self._maker.zone.wall(moment),
                    sends=sends,
                    first_person=person + bits % max(1, shape.contacts - sends + 1),
                    is_generated=True,
                    is_test=rank % 10 == 4,
                    has_analytics=rank % 8 != 2,
                )

    def conversations(self) -> Iterator[Conversation]:
        """Give the conversations of all lists: one in three is terminated, one has no events."""
        shape, size = self.shape, self.shape.conversations
        every = _shuffled(shape.lists * size, _FIRST_CONVERSATION, 4)
        for number, ID in enumerate(every):
            place, rank = divmod(number, size)
            bits = mix(self._seed, ID)
            span = self._end - self._start
            publishing = Timeline(size, self._start, self._end - span // 4, mix(bits, 1))
            first = publishing.at(rank)
            share = (0.6 + 0.8 * (bits >> 32) / 2**32) * shape.conversation_sends
            sends = MESSAGES_OF_CONVERSATION * round(share / MESSAGES_OF_CONVERSATION)
            sends = shape.counts.get(SERIES_SENT, 0 if rank % 3 == 2 else sends)
            ListID = self.list_ids[place]
            conversation = Conversation(
                ID,
                ListID,
                NEVER if not sends and rank % 2 == 0 else self._maker.write(first),
                rank % 3 == 1,
                # One more than the MsgIDs of lists, which are three apart.
                tuple(_FIRST_MESSAGE + 1 + 3 * (number * 3 + n) for n in range(3)),
                first=first,
                last=(first + self._end) // 2 if rank % 3 == 1 else self._end,
                sends=sends,
            )
            spare = max(1, shape.contacts - conversation.contacts + 1)
            conversation.first_person = self._first_person(ListID) + bits % spare
            yield conversation

    def campaign_ids(self, ListID: int) -> list[int]:
        """Return the campaigns of a list. The last has no messages and no conversations."""
        first = ListID % 10_000 * self.shape.campaigns
        return [50_001 + 7 * (first + rank) for rank in range(self.shape.campaigns)]

    def campaign_of(self, ListID: int, ID: int) -> int:
        """Return the campaign of a message or conversation; 0 in an account without any."""
        used = self.campaign_ids(ListID)[: max(1, self.shape.campaigns - 1)]
        return used[mix(self._seed, 5, ID) % len(used)] if used else 0

    # Rows

    def of_message(self, operation: str, message: Message) -> Generated:
        """Return the rows of a message: events, sends or passalongs."""
        salt = mix(self._seed, SALTS[operation], message.ID)
        # Most messages are read for three weeks, some for as long as the account goes on.
        late = self._end if salt % 4 == 0 else min(self._end, message.moment + 21 * DAY)
        times = self._timeline(
            operation, self._size(operation, message.sends, salt),
            min(message.moment + 60 * SECOND, late), late, salt, early=True,
        )  # fmt: skip
        kind = _COUNTED.index(operation)
        step, shift = coprime(max(1, message.sends), 3 + kind), kind * message.sends // 6

        def make(rank: int) -> Row:
            person = _once(rank) if operation in REPEATED else rank
            if operation != SENT and person < message.sends:
                person = (person * step + shift) % message.sends
            email = self._maker.email(message.first_person + person)
            bits = mix(salt, rank)
            return self._maker.row(operation, message.ID, email, times.at(rank), bits)

        return Generated(make, times.at, 0, times.rows)

    def of_conversation(self, operation: str, conversation: Conversation) -> Generated:
        """Return the events of a conversation, each of a contact and message that it sent."""
        salt = mix(self._seed, SALTS[operation], conversation.ID)
        rows = self._size(operation, conversation.sends, salt)
        times = self._timeline(operation, rows, conversation.first, conversation.last, salt)
        spread = conversation.contacts * MESSAGES_OF_CONVERSATION
        kind = CONVERSATION_OPERATIONS.index(operation)
        step, shift = coprime(max(1, spread), 2 * spread // 7 + kind), kind * spread // 6

        def make(rank: int) -> Row:
            if operation == SERIES_SENT:
                person, message = divmod(rank, MESSAGES_OF_CONVERSATION)
                person = _once(person)  # Someone goes through a second time.
            else:
                number = _once(rank) if operation in REPEATED else rank
                if number < spread:
                    number = (number * step + shift) % spread
                person, message = divmod(number, MESSAGES_OF_CONVERSATION)
            email = self._maker.email(conversation.first_person + person)
            MsgID = conversation.messages[message]
            return self._maker.row(operation, MsgID, email, times.at(rank), mix(salt, rank))

        return Generated(make, times.at, 0, times.rows)

    def of_list(self, operation: str, ListID: int) -> Generated:
        """Return the rows of a list: contacts, unsubscribes, hygiene or imports."""
        times = self._of_list(operation, ListID)
        contacts, first = self.shape.contacts, self._first_person(ListID)

        def make(rank: int) -> Row:
            moment, bits = times.at(rank), mix(times.salt, rank)
            person = first + (rank if operation == CONTACTS else rank % max(1, contacts))
            if operation == UNSUBS:
                person = self._leaver(ListID, rank, moment, bits)
            row = self._maker.row(operation, ListID, self._maker.email(person), moment, bits)
            if operation == UNSUBS and rank % 6 == 4:  # who had left, and came back
                row["AdditionDate"] = self._maker.write((times.at(rank - 3) + moment) // 2)
            elif "ImportFileID" in row and rank % 5 == 4:
                row["EndDate"] = NEVER
            return row

        return Generated(make, times.at, 0, times.rows)

    def complaints(self) -> list[tuple[int, int]]:
        """Return the instant of each complaint, and what its other values follow from."""
        rows = self.shape.complaints if self.shape.lists and self.shape.messages else 0
        times = Timeline(rows, self._start, self._end, mix(self._seed, 12))
        return [(times.at(rank), mix(times.salt, rank)) for rank in range(rows)]

    def _of_list(self, operation: str, ListID: int) -> Timeline:
        shape = self.shape
        rows = {
            CONTACTS: shape.contacts,
            UNSUBS: shape.removals,
            "ReportRangeListContactHygiene": shape.hygiene,
            "ReportListImportHistory": shape.imports,
        }[operation]
        salt = mix(self._seed, SALTS[operation], ListID)
        return self._timeline(operation, rows, self._start, self._end, salt)

    def _leaver(self, ListID: int, rank: int, moment: int, bits: int) -> int:
        """Return who leaves: one in six left before, two are subscribed again later."""
        turn, kind = divmod(rank, 6)
        if kind in (2, 5):
            additions = self._of_list(CONTACTS, ListID)
            later = bisect_right(range(additions.rows), moment, key=additions.at)
            if later < additions.rows:
                return self._first_person(ListID) + later + bits % (additions.rows - later)
        former = _FORMER + self.list_ids.index(ListID) * 1_000_000 + 8 * turn
        return former + (1 if kind == 4 else kind)

    def _timeline(
        self, operation: str, rows: int, first: int, last: int, salt: int, *, early: bool = False
    ) -> Timeline:
        whole = OPERATIONS[operation].date_is_text and self._maker.event_dates == "us"
        return Timeline(rows, first, last, salt, early, whole)

    def _size(self, operation: str, sends: int, salt: int) -> int:
        if operation in self.shape.counts:
            return self.shape.counts[operation]
        if operation in (SENT, SERIES_SENT):
            return sends
        bits = mix(salt, 3)
        if bits % 7 == 0 and operation not in CONVERSATION_OPERATIONS:
            return 0
        return round(sends * _FRACTIONS[operation] * (0.5 + (bits >> 32) / 2**32))


def _once(rank: int) -> int:
    """Return the number of the contact of a rank: every fifth is one that was there before."""
    number = rank - 3 if rank % 5 == 4 else rank
    return number - number // 5


def _shuffled(size: int, first: int, step: int) -> list[int]:
    """Return `size` IDs, multiples of `step` apart, in no order."""
    stride = coprime(max(1, size), int(size * 0.618))
    return [first + step * ((place * stride + 1) % size) for place in range(size)]
