"""The tables of an account: lists of rows by operation and parent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

from fake_listrak.clock import Range, Zone, instant
from fake_listrak.contract import (
    CONVERSATION_OPERATIONS,
    MESSAGE_OPERATIONS,
    OPERATIONS,
    PASSALONGS,
    Row,
)
from fake_listrak.generator import (
    CONTACTS,
    MANY,
    REPEATED,
    Conversation,
    Generated,
    Generator,
    Message,
    Shape,
)
from fake_listrak.rows import (
    SALTS,
    Field,
    RowMaker,
    changed,
    mix,
)

ACCOUNT: Final = 0
"""The ID of the account as a parent."""

NAME: Final = {kind.table: kind.name for kind in OPERATIONS.values()}
_OF_LIST: Final = (CONTACTS, *(NAME[n] for n in ("list_unsubs", "list_hygiene", "imports")))
DERIVED: Final = ("campaigns", "message_links", "conversation_links")
"""Tables whose rows follow from others; more can be added."""


class Tables:
    """What there is in an account, and its rows. See Account."""

    def __init__(
        self,
        *,
        page_size: int = 10,
        timezone: str = "UTC",
        offsets: bool = False,
        event_dates: Literal["iso", "us"] = "iso",
        domains: Literal["text", "string"] = "text",
        bounds: Literal["inclusive", "exclusive", "start"] = "inclusive",
        empty: Literal["absent", "empty", "nil", "mixed"] = "mixed",
        unknown_messages: Literal["refused", "missing"] = "refused",
        **shape: Any,
    ) -> None:
        self.page_size = page_size
        self.zone = Zone(timezone)
        self.offsets = offsets
        self.event_dates = event_dates
        self.domains = domains
        self.bounds = bounds
        self.empty = empty
        self.unknown_messages = unknown_messages
        self.version = 0
        """The number of changes; replies cached at another version are stale."""
        of = Shape(**shape)
        self._start = instant(of.start)
        self._maker = RowMaker(mix(of.seed), self._start, self.zone, offsets, event_dates)
        self._generator = Generator(of, self._maker)
        self._lists = {
            ListID: self._maker.list_row(ListID, number)
            for number, ListID in enumerate(self._generator.list_ids)
        }
        self._messages = {each.ID: each for each in self._generator.messages()}
        self._conversations = {each.ID: each for each in self._generator.conversations()}
        self._hidden: set[int] = set()
        self._tables: dict[tuple[str, int], list[Row]] = {}
        """Rows that were added or changed, by operation and parent."""
        self._filled: set[tuple[str, int]] = set()
        """Tables whose rows are those of `_tables` alone."""
        self._generated = lru_cache(4096)(self._generate)

    def has_list(self, ListID: int) -> bool:
        """Whether the user can see the list."""
        return ListID in self._lists and ListID not in self._hidden

    def has_message(self, MsgID: int) -> bool:
        """Whether the user can see the message, and so the list that it was sent to."""
        message = self._messages.get(MsgID)
        return message is not None and MsgID not in self._hidden and self.has_list(message.ListID)

    def has_conversation(self, ConversationID: int) -> bool:
        """Whether the user can see the conversation, and so its list."""
        found = self._conversations.get(ConversationID)
        is_hidden = ConversationID in self._hidden
        return found is not None and not is_hidden and self.has_list(found.ListID)

    # Rows

    def fill(self, operation: str, parent_id: int | None, rows: Iterable[Row]) -> None:
        """Put these rows, values on the wire, in place of all rows of an operation and parent.

        Also of rows that otherwise follow from others. The parent has to be added first.
        """
        ID = ACCOUNT if parent_id is None else parent_id
        self.version += 1
        self._filled.add((operation, ID))
        self._tables[operation, ID] = [*rows]

    def _changeable(self, operation: str, ID: int) -> list[Row]:
        """Return a table as a list that may be changed."""
        self.version += 1
        if (operation, ID) not in self._tables:
            is_derived = OPERATIONS[operation].table in DERIVED
            self._tables[operation, ID] = [] if is_derived else [*self._generated(operation, ID)]
        return self._tables[operation, ID]

    def _generate(self, operation: str, ID: int) -> Sequence[Row]:
        table = OPERATIONS[operation].table
        rows = self._generated_rows(operation, table, ID)
        # A range of these is found by bisection, which needs times that never fall.
        is_many = isinstance(rows, Generated) and len(rows) > MANY and self.zone.name == "UTC"
        return rows if is_many else [*rows]

    def _generated_rows(self, operation: str, table: str, ID: int) -> Sequence[Row]:
        row, shape = self._maker.row, self._generator.shape
        if table == "complaints":
            return [self._generated_complaint(*each) for each in self._generator.complaints()]
        if operation in (*MESSAGE_OPERATIONS, PASSALONGS):
            message = self._messages[ID]
            return self._generator.of_message(operation, message) if message.is_generated else []
        if operation in CONVERSATION_OPERATIONS:
            return self._generator.of_conversation(operation, self._conversations[ID])
        salt = mix(self._maker.seed, SALTS[operation], ID)
        if table.startswith("message_location_"):
            size = 5 + salt % 3 if self._messages[ID].is_generated else 0
            of = self._maker.location
            return [changed(of(table, ID, n, mix(salt, n))) for n in range(size)]
        if ID not in self._generator.list_ids:
            return []
        if operation in _OF_LIST:
            return self._generator.of_list(operation, ID)
        size = 2 if table == "saved_messages" else shape.transactional
        column = "SavedMsgID" if table == "saved_messages" else "TransactionalMsgID"
        first = ID * size if column == "TransactionalMsgID" else 20_001
        rows = [row(operation, ID, "", self._start, mix(salt, n)) for n in range(size)]
        return [{**made, column: str(first + n)} for n, made in enumerate(rows)]

    def _count(self, operation: str, ID: int) -> int:
        """Count the rows of a message or conversation, which need not be made for it."""
        found = self._tables.get((operation, ID))
        if found is not None:
            return len(found)
        if operation in CONVERSATION_OPERATIONS:
            return len(self._generator.of_conversation(operation, self._conversations[ID]))
        message = self._messages[ID]
        return len(self._generator.of_message(operation, message)) if message.is_generated else 0

    def _emails(self, operation: str, ID: int) -> int:
        """Count the addresses of a message's events."""
        found = self._tables.get((operation, ID))
        if found is not None:
            return len({str(row["EmailAddress"]) for row in found if row.get("EmailAddress")})
        count = self._count(operation, ID)
        return count - count // 5 if operation in REPEATED else count

    def _messages_of(
        self, ListID: int, chosen: Range | None = None, with_tests: bool = True
    ) -> Iterable[Message]:
        for each in [*self._messages.values()]:
            if (
                each.ListID != ListID
                or each.ID in self._hidden
                or (each.is_test and not with_tests)
            ):
                continue
            if chosen is None or chosen.holds(each.wall):
                yield each

    def _conversations_of(self, ListID: int) -> list[Conversation]:
        every = self._conversations.values()
        return [each for each in every if each.ListID == ListID and each.ID not in self._hidden]

    def _generated_complaint(self, moment: int, bits: int) -> Row:
        """Return a complaint about a message sent before it, of any list."""
        every = [each for each in self._messages.values() if each.is_generated]
        sent = [each for each in every if each.moment <= moment] or every
        message = sent[bits % len(sent)]
        person = message.first_person + (bits >> 32) % max(1, message.sends)
        email = self._maker.email(person)
        row = self._maker.row(NAME["complaints"], ACCOUNT, email, moment, bits)
        return self._complaint(message.ListID, message.ID, row)

    def _complaint(self, ListID: int, MsgID: int, row: Row) -> Row:
        """Return a complaint with the columns of its list, message and campaign."""
        campaign = self._generator.campaign_of(ListID, MsgID)
        message = self._messages.get(MsgID)
        subject = self._maker.subject(MsgID)
        head: dict[str, Field] = {
            "ListID": str(ListID),
            "CampaignID": str(campaign),
            "MessageID": str(MsgID),
            "AbuseDate": row["AbuseDate"],
            "ListName": self._lists[ListID].get("ListName", ...),
            "CampaignName": self._maker.campaign_name(campaign),
            "MessageSubject": message.fields.get("Subject", subject) if message else "",
        }
        return changed(head, row)
