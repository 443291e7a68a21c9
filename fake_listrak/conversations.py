"""Conversations: series of messages that each contact goes through on entering them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from fake_listrak.clock import NEVER, Timeline
from fake_listrak.contract import CONVERSATION_OPERATIONS, Row
from fake_listrak.further import Campaigns, one_of
from fake_listrak.published import PublishedTables
from fake_listrak.seeded import (
    BOUNCES,
    EVERY,
    LINKS,
    SALTS,
    SUBJECTS,
    AddedRows,
    Field,
    IDs,
    Section,
    changed,
    coprime,
    distinct,
    mix,
    number_of,
    orders,
    percent,
)

ACTIVITY: Final = "ReportListConversationActivity"
DELIVERIES: Final = "ReportListConversationDelivery"
LINK_CLICKS: Final = "ReportConversationLinkClick"
SENT: Final = "ReportConversationContactDelivery"
OPEN: Final = "ReportConversationContactOpen"
READ: Final = "ReportConversationContactRead"
BOUNCE: Final = "ReportConversationContactBounce"
REMOVAL: Final = "ReportConversationContactRemoval"

_FIRST_CONVERSATION: Final = 90_001
# One more than those of the messages of lists, which are three apart.
_FIRST_MESSAGE: Final = 7_000_002
_MESSAGES: Final = 3  # of each conversation
_FRACTIONS: Final = {OPEN: 0.45, READ: 0.3, BOUNCE: 0.1, REMOVAL: 0.08}
_REPEATED: Final = frozenset((OPEN, READ))
_DATES: Final = {
    SENT: "SendDate",
    OPEN: "OpenDate",
    READ: "ReadDate",
    BOUNCE: "BounceDate",
    REMOVAL: "RemoveDate",
}
_NAMES: Final = (
    'Abandoned "cart" & <more> {}',
    "Anniversaire \U0001f382 {}",
    "Two\r\nlines {}",
    "",
)
_LINK_TYPES: Final[tuple[Field, ...]] = ("Text", "Image & <alt>", None, "", ...)
_METHODS: Final[tuple[Field, ...]] = ("Email Link", "Complaint & <abuse>", "", None, ...)


@dataclass(frozen=True)
class _Conversation:
    """The data from which the rows of one conversation are generated."""

    ID: int
    ListID: int
    published: str
    """PublishedDate on the wire."""
    terminated: bool
    messages: tuple[int, ...]
    """Its MsgIDs, which are in no list's messages."""
    first: int
    last: int
    """The range of its generated events, as instants."""
    sends: int
    """The number of generated sends; an added conversation has none."""
    fields: Mapping[str, Field]

    @property
    def contacts(self) -> int:
        """The number of contacts in the generated rows: one entry in five is a repetition."""
        entries = -(-self.sends // _MESSAGES)
        return entries - entries // 5


class Conversations:
    """The conversations of the lists, with their deliveries, links and events.

    conversations, sends, counts: as in Account, `sends` being conversation_sends.
    """

    def __init__(
        self,
        published: PublishedTables,
        campaigns: Campaigns,
        conversations: int,
        sends: int,
        counts: Mapping[str, int],
    ) -> None:
        self._published = published
        self._basis = published.basis
        self._campaigns = campaigns
        self._size = conversations
        self._sends = sends
        self._counts = counts
        self._numbers = IDs(published.lists.size * conversations, _FIRST_CONVERSATION, 4)
        self._generated = lru_cache(256)(self._make)
        self._rows = AddedRows(published.basis)
        self._added: dict[int, _Conversation] = {}
        self._changed: dict[int, dict[str, Field]] = {}
        self._hidden: set[int] = set()

    # Conversations

    def ids(self, ListID: int) -> list[int]:
        """The visible conversations of a list, including terminated ones, in the order served."""
        place = self._published.lists.place(ListID)
        first = 0 if place is None else place * self._size
        generated = () if place is None else map(self._numbers.at, range(first, first + self._size))
        added = (each.ID for each in self._added.values() if each.ListID == ListID)
        found = [*sorted(generated, key=lambda ID: mix(self._basis.seed, ID)), *added]
        return [ID for ID in found if ID not in self._hidden]

    def has(self, ConversationID: int) -> bool:
        """Whether the user can see the conversation, and so its list."""
        conversation = self._find(ConversationID)
        visible = ConversationID not in self._hidden
        return (
            conversation is not None and visible and self._published.has_list(conversation.ListID)
        )

    def knows(self, ConversationID: int) -> bool:
        """Whether there is such a conversation, hidden or not."""
        return self._find(ConversationID) is not None

    def message_ids(self, ConversationID: int) -> tuple[int, ...]:
        """The MsgIDs of a conversation."""
        return self._get(ConversationID).messages

    def add(
        self,
        ListID: int,
        ConversationID: int,
        published_date: str,
        terminated: bool,
        fields: Mapping[str, Field],
    ) -> None:
        """See Account; `published_date` is the text on the wire."""
        self._hidden.discard(ConversationID)
        if self._generated(ConversationID) is not None:
            self._changed.setdefault(ConversationID, {}).update(fields)
            return
        first = 1_600_000_000 + ConversationID * _MESSAGES % 400_000_000
        messages = tuple(range(first, first + _MESSAGES))
        self._added[ConversationID] = _Conversation(
            ConversationID,
            ListID,
            published_date,
            terminated,
            messages,
            self._basis.start,
            self._basis.end,
            0,
            dict(fields),
        )

    def hide(self, ConversationID: int) -> None:
        """Hide a conversation from the user."""
        self._hidden.add(ConversationID)

    def _find(self, ConversationID: int) -> _Conversation | None:
        return self._added.get(ConversationID) or self._generated(ConversationID)

    def _get(self, ConversationID: int) -> _Conversation:
        conversation = self._find(ConversationID)
        if conversation is None:
            raise KeyError(f"no conversation {ConversationID}")
        return conversation

    def _make(self, ConversationID: int) -> _Conversation | None:
        """A generated conversation. One in three is terminated, and one has no events."""
        number = self._numbers.place(ConversationID)
        if number is None:
            return None
        place, rank = divmod(number, self._size)
        start, end = self._basis.start, self._basis.end
        bits = mix(self._basis.seed, ConversationID)
        publishing = Timeline(self._size, start, end - (end - start) // 4, mix(bits, 1))
        first = publishing.at(rank)
        sends = _MESSAGES * round(self._sends / _MESSAGES * (0.6 + 0.8 * (bits >> 32) / 2**32))
        if rank % 3 == 2:
            sends = 0
        sends = self._counts.get(SENT, sends)
        terminated = rank % 3 == 1
        return _Conversation(
            ConversationID,
            self._published.lists.at(place),
            NEVER if not sends and rank % 2 == 0 else self._basis.write(first),
            terminated,
            tuple(_FIRST_MESSAGE + 3 * (number * _MESSAGES + n) for n in range(_MESSAGES)),
            first,
            (first + end) // 2 if terminated else end,
            sends,
            {},
        )

    # Of a list

    def activity(self, ListID: int, with_terminated: bool) -> list[Row]:
        """Rows of ReportListConversationActivity."""
        chosen = map(self._get, self.ids(ListID))
        return [
            self._activity_row(each) for each in chosen if with_terminated or not each.terminated
        ]

    def deliveries(self, ListID: int, with_terminated: bool) -> list[Row]:
        """Rows of ReportListConversationDelivery."""
        chosen = map(self._get, self.ids(ListID))
        return [
            self._delivery_row(each) for each in chosen if with_terminated or not each.terminated
        ]

    def _activity_row(self, conversation: _Conversation) -> Row:
        """A row whose counts agree with the conversation's event and link rows."""
        ID = conversation.ID
        bits = mix(self._basis.seed, 6, ID)
        rows = {operation: self.count(operation, ID)[0] for operation in CONVERSATION_OPERATIONS}
        contacts = conversation.contacts
        if self._rows.of(SENT, ID):
            contacts = len({str(row.get("EmailAddress")) for row in self.select(SENT, ID)})
        waiting = 0 if conversation.terminated else bits % (contacts + 1)
        terminated = (bits >> 32) % (contacts - waiting + 1)
        clicks = sum(int(str(row["ClickCount"])) for row in self.select(LINK_CLICKS, ID))
        conversions = clicks // 3
        total, average = orders(bits, conversions)
        sent = rows[SENT]
        row = self._head(conversation) | {
            "ContactCount": str(contacts),
            "WaitingCount": str(waiting),
            "TerminatedCount": str(contacts if conversation.terminated else terminated),
            "DeliverCount": str(sent),
            "RemoveCount": str(rows[REMOVAL]),
            "RemoveRate": percent(rows[REMOVAL], sent),
            "OpenCount": str(rows[OPEN]),
            "OpenRate": percent(rows[OPEN], sent),
            "ReadCount": str(rows[READ]),
            "ReadRate": percent(rows[READ], sent),
            "ClickCount": str(clicks),
            "OrderTotal": total,
            "ConversionCount": str(conversions),
            "AverageOrderValue": average,
        }
        return self._named(conversation, row)

    def _delivery_row(self, conversation: _Conversation) -> Row:
        ID = conversation.ID
        sent, bounced = (self.count(operation, ID)[0] for operation in (SENT, BOUNCE))
        row = self._head(conversation) | {
            "SendCount": str(sent + bounced),
            "DeliverCount": str(sent),
            "DeliverRate": percent(sent, sent + bounced),
            "BounceCount": str(bounced),
            "BounceRate": percent(bounced, sent + bounced),
            "PassAlongCount": str(mix(self._basis.seed, 7, ID) % 4 if sent else 0),
        }
        named = self._named(conversation, row)
        known = (*row, "CampaignName", "ConversationName")
        return {name: value for name, value in named.items() if name in known}

    def _head(self, conversation: _Conversation) -> Row:
        return {
            "ListID": str(conversation.ListID),
            "CampaignID": str(self._campaign(conversation)),
            "ConversationID": str(conversation.ID),
            "PublishedDate": conversation.published,
        }

    def _campaign(self, conversation: _Conversation) -> int:
        bits = mix(self._basis.seed, 8, conversation.ID)
        return self._campaigns.of(conversation.ListID, bits)

    def _named(self, conversation: _Conversation, row: Row) -> Row:
        number = conversation.ID // 4
        name = _NAMES[number % len(_NAMES)].format(number)
        names = {
            "CampaignName": self._campaigns.name(self._campaign(conversation)),
            "ConversationName": (name, name, name, None, ...)[number % 5],
        }
        own = {**conversation.fields, **self._changed.get(conversation.ID, {})}
        return changed(changed(row, names), own)

    # Of a conversation

    def select(self, operation: str, ConversationID: int, section: Section = EVERY) -> list[Row]:
        """A section of the events or links of a conversation."""
        conversation = self._get(ConversationID)
        timeline = self._timeline(operation, conversation)

        def make(ranks: list[int]) -> list[Row]:
            if operation == LINK_CLICKS:
                links = self._links(conversation)
                return [links[rank] for rank in ranks]
            return self._events(operation, conversation, timeline, ranks)

        return self._rows.select(operation, ConversationID, section, timeline, make)

    def count(self, operation: str, ConversationID: int) -> tuple[int, int]:
        """(rows, distinct keys) of one conversation."""
        total = self._timeline(operation, self._get(ConversationID)).rows
        added = self._rows.of(operation, ConversationID)
        if not added:
            return total, total
        return total + len(added), distinct(operation, self.select(operation, ConversationID))

    def add_row(
        self,
        operation: str,
        ConversationID: int,
        date: datetime | str | None,
        fields: Mapping[str, Field],
    ) -> None:
        """Add an event or link to a conversation; it is of its first message by default."""
        conversation = self._get(ConversationID)
        bits = self._rows.number(operation, ConversationID)
        MsgID = int(str(fields.get("MsgID") or conversation.messages[0]))
        if operation == LINK_CLICKS:
            row = self._link(MsgID, bits % len(LINKS), bits, 0, 0, 0)
        else:
            email = str(fields.get("EmailAddress") or f"added+{bits % 10_000}@example.com")
            row = self._event(operation, MsgID, email, self._basis.start, bits)
        self._rows.add(operation, ConversationID, row, date, fields)

    def _timeline(self, operation: str, conversation: _Conversation) -> Timeline:
        """Dates of a conversation's generated rows."""
        salt = mix(self._basis.seed, SALTS[operation], conversation.ID)
        if operation == LINK_CLICKS:
            rows = sum(self._links_of(MsgID) for MsgID in conversation.messages)
            rows = rows if conversation.sends else 0
        elif operation == SENT:
            rows = conversation.sends
        elif operation in self._counts and conversation.ID not in self._added:
            rows = self._counts[operation]
        else:
            share = 0.5 + (mix(salt, 3) >> 32) / 2**32
            rows = round(conversation.sends * _FRACTIONS[operation] * share)
        return Timeline(rows, conversation.first, conversation.last, salt)

    def _first_person(self, conversation: _Conversation) -> int:
        """The first contact of a conversation. All are subscribed contacts, if there are enough."""
        start = mix(self._basis.seed, conversation.ID, 4)
        start %= max(1, self._basis.contacts - conversation.contacts + 1)
        return start + self._basis.first_person(self._published.list_number(conversation.ListID))

    def _events(
        self, operation: str, conversation: _Conversation, timeline: Timeline, ranks: list[int]
    ) -> list[Row]:
        """Generated rows by rank. Each is of a contact and a message that was sent to it."""
        start = self._first_person(conversation)
        spread = conversation.contacts * _MESSAGES
        kind = CONVERSATION_OPERATIONS.index(operation)
        step, shift = coprime(max(1, spread), 2 * spread // 7 + kind), kind * spread // 6
        rows = []
        for rank in ranks:
            if operation == SENT:
                person, message = divmod(rank, _MESSAGES)
                if person % 5 == 4:
                    person -= 3  # Someone goes through a second time.
                person -= person // 5
            else:
                number = rank
                if operation in _REPEATED:
                    if rank % 5 == 4:
                        number -= 3
                    number -= number // 5
                if number < spread:
                    number = (number * step + shift) % spread
                person, message = divmod(number, _MESSAGES)
            email = self._basis.email(start + person)
            MsgID = conversation.messages[message]
            number = timeline.salt + rank
            rows.append(self._event(operation, MsgID, email, timeline.at(rank), mix(number)))
        return rows

    def _event(self, operation: str, MsgID: int, email: str, moment: int, bits: int) -> Row:
        row: dict[str, Field] = {"MsgID": str(MsgID), "ContactID": str(number_of(email))}
        if operation == REMOVAL:
            added = moment - bits % max(1, moment - self._basis.start + 1)
            row["AddDate"] = self._basis.write(added - added % 1000) if bits % 5 else NEVER
        row[_DATES[operation]] = self._basis.write(moment)
        if operation == BOUNCE:
            row["BounceCount"] = str(1 + bits % 4)
        row["Subject"] = self._subject(MsgID)
        row["EmailAddress"] = email
        if operation == BOUNCE:
            row["BounceReason"], row["BounceDetail"] = BOUNCES[bits % len(BOUNCES)]
        elif operation == REMOVAL:
            row["RemoveMethod"] = one_of(_METHODS, bits >> 8)
        return changed({}, row)

    def _subject(self, MsgID: int) -> Field:
        bits = mix(self._basis.seed, 9, MsgID)
        if bits % 6 == 0:
            return (None, ...)[bits >> 8 & 1]
        return SUBJECTS[(bits >> 16) % len(SUBJECTS)].format(MsgID % 1000)

    # Links

    def _links_of(self, MsgID: int) -> int:
        return 2 + mix(self._basis.seed, 10, MsgID) % 4

    def _links(self, conversation: _Conversation) -> list[Row]:
        """All links of a conversation's messages. At most half of the recipients clicked each."""
        late = self._rows.of(SENT, conversation.ID)
        sent = Counter(int(str(row.row.get("MsgID") or 0)) for row in late)
        rows = []
        for place, MsgID in enumerate(conversation.messages):
            generated = -(-(conversation.sends - place) // _MESSAGES)
            for number in range(self._links_of(MsgID)):
                bits = mix(self._basis.seed, SALTS[LINK_CLICKS], MsgID, number)
                clickers = bits % (generated // 2 + 1)
                clicks = clickers + (bits >> 32) % (clickers + 1)
                total = generated + sent[MsgID]
                rows.append(self._link(MsgID, number, bits, clicks, clickers, total))
        return rows

    def _link(
        self, MsgID: int, number: int, bits: int, clicks: int, clickers: int, sent: int
    ) -> Row:
        description, url = LINKS[number]
        return changed(
            {
                "MsgID": str(MsgID),
                "LinkID": str(number_of(f"{MsgID} {url}")),
                "ClickCount": str(clicks),
                "ClickPercent": percent(clickers, sent),
                "ClickerCount": str(clickers),
                "SendCount": str(sent),
            },
            {
                "Subject": self._subject(MsgID),
                "LinkDescription": (description, description, None, "", ...)[bits % 5],
                "LinkURL": url,
                "Type": one_of(_LINK_TYPES, bits >> 8),
            },
        )
