"""An account whose rows are generated from a seed on request.

No row is stored: a list, message, contact or event is computed from its number, so that an account
of 100,000 messages, or a message of a million opens, needs no setup. Only changes after
construction (`add_…`, `hide_…`) are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final, Literal

from fake_listrak import conversations as conversation_tables
from fake_listrak import further
from fake_listrak.clock import Range, instant, zone
from fake_listrak.contract import (
    CONVERSATION_OPERATIONS,
    FURTHER_OPERATIONS,
    MESSAGE_OPERATIONS,
    OPERATIONS,
    Row,
)
from fake_listrak.conversations import Conversations
from fake_listrak.further import ACCOUNT, Campaigns, FurtherTables
from fake_listrak.published import CONTACTS, PublishedTables
from fake_listrak.seeded import Basis, Field, Section, mix

_COUNTED: Final = (*MESSAGE_OPERATIONS, further.PASSALONGS, *CONVERSATION_OPERATIONS)
# Derived from the rows of other operations, so that no rows can be added.
_DERIVED: Final = frozenset(
    (
        further.DELIVERIES,
        further.ANALYTICS,
        conversation_tables.ACTIVITY,
        conversation_tables.DELIVERIES,
    )
)
_ADDABLE: Final = tuple(name for name in FURTHER_OPERATIONS if name not in _DERIVED)


class Account:
    """A Listrak account: its lists, messages, contacts and events, as the service returns them.

    Rows are values on the wire (see `Row`). Tests compare records with them.

    seed: accounts with the same arguments have the same rows; another seed changes them.
    lists, messages: lists, and messages of each list.
    contacts: subscribed contacts of each list, exactly.
    sends: approximate recipients of a message. Opens, reads, clicks, bounces and unsubscribes are
        decreasing fractions of it; some messages have none of a kind.
    page_size: rows on a page of the paged operations.
    start, end: the range of all dates; UTC unless they have a zone.
    timezone: IANA name of the zone of the times on the wire.
    offsets: whether xs:dateTime values carry an offset.
    event_dates: format of dates that are xs:string; "us" is `M/D/YYYY h:mm:ss AM`.
    domains: GoogleTrackingDomains as repeated "text", or one element with "string" children.
    bounds: whether the rows at StartDate and at EndDate are selected: both ("inclusive"), none
        ("exclusive"), those at StartDate only ("start").
    empty: the Result of a page without rows; "mixed" is absent or empty, depending on the request.
    counts: exact rows per message or conversation, by operation; they override `sends`.
    conversations: conversations of each list. One in three is terminated, one has no events.
    conversation_sends: approximate sends of each conversation; its other events are fractions of
        them. One in five entries of a conversation is by a contact that was in it before.
    campaigns: campaigns of each list, of which the last has no messages and no conversations.
    transactional: transactional messages of each list.
    removals: unsubscribes of each list; some contacts unsubscribed before or came back later.
    hygiene, imports: corrected addresses, and imports, of each list.
    complaints: complaints of the account, also about lists that the user cannot see.
    unknown_messages: the reply to an analytics call with a message that the user cannot see: the
        whole call is "refused", or the message is "missing".
    message_step: difference of successive MsgIDs; with steps other than 3, they may coincide with
        those of conversations.
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
        conversations: int = 3,
        conversation_sends: int = 30,
        campaigns: int = 3,
        transactional: int = 2,
        removals: int = 12,
        hygiene: int = 6,
        imports: int = 5,
        complaints: int = 8,
        unknown_messages: Literal["refused", "missing"] = "refused",
        message_step: int = 3,
    ) -> None:
        counts = dict(counts or {})
        for operation in counts:
            if operation not in _COUNTED:
                raise ValueError(f"counts: {operation!r} is none of {', '.join(_COUNTED)}")
        self.page_size = page_size
        self.zone = zone(timezone)
        self.offsets = offsets
        self.event_dates = event_dates
        self.domains = domains
        self.bounds = bounds
        self.empty = empty
        self.unknown_messages = unknown_messages
        self.version = 0
        """The number of changes; replies cached at another version are stale."""
        self._basis = Basis(
            mix(seed), instant(start), instant(end), self.zone, offsets, event_dates, contacts
        )
        self._published = PublishedTables(self._basis, lists, messages, sends, counts, message_step)
        named = Campaigns(self._published, campaigns)
        self._further = FurtherTables(
            self._published, named, removals, hygiene, imports, transactional, complaints, counts
        )
        self._conversations = Conversations(
            self._published, named, conversations, conversation_sends, counts
        )

    # The truth

    def rows(self, operation: str, parent_id: int | None = None) -> list[Row]:
        """All rows of an operation for one parent, in the order served.

        parent_id: a ListID, MsgID or ConversationID; None for the account.
        """
        kind = OPERATIONS[operation]
        ID = ACCOUNT if parent_id is None else parent_id
        if (kind.asked_by == "account") != (parent_id is None):
            raise ValueError(f"{operation} is asked by {kind.asked_by}")
        if operation == "GetContactListCollection":
            return self.lists()
        if operation == further.ANALYTICS:
            return self.analytics(self._published.message_ids(ID))
        if "Page" in kind.arguments:
            return self._select(operation, ID, Section())
        return self.whole(operation, ID, None, True)

    def lists(self) -> list[Row]:
        """Rows of GetContactListCollection, in the order served."""
        return [self._published.list_row(ListID) for ListID in self._published.list_ids()]

    def messages(self, ListID: int) -> list[Row]:
        """All rows of ReportListMessageActivity for a list, in the order served."""
        return self.activity(ListID, None, True)

    def events(self, operation: str, MsgID: int) -> list[Row]:
        """All rows of one of the six message operations, in the order served."""
        return self._published.select(operation, MsgID)

    def contacts(self, ListID: int) -> list[Row]:
        """All rows of ReportRangeSubscribedContacts for a list, in the order served."""
        return self._published.select(CONTACTS, ListID)

    def conversation_ids(self, ListID: int) -> list[int]:
        """The conversations of a list, including terminated ones, in the order served."""
        return self._conversations.ids(ListID)

    def conversation_message_ids(self, ConversationID: int) -> tuple[int, ...]:
        """The messages of a conversation, which are not among its list's messages."""
        return self._conversations.message_ids(ConversationID)

    def is_test(self, MsgID: int) -> bool:
        """Whether a message is a test message, which IncludeTestMessages=false excludes."""
        return self._published.is_test(MsgID)

    def has_analytics(self, MsgID: int) -> bool:
        """Whether a message is in the reply of a call for its analytics."""
        return self._further.has_analytics(MsgID)

    def has_list(self, ListID: int) -> bool:
        """Whether the user can see the list."""
        return self._published.has_list(ListID)

    def has_message(self, MsgID: int) -> bool:
        """Whether the user can see the message, and so the list that it was sent to."""
        return self._published.has_message(MsgID)

    def has_conversation(self, ConversationID: int) -> bool:
        """Whether the user can see the conversation, and so its list."""
        return self._conversations.has(ConversationID)

    def row_counts(self) -> dict[str, dict[str, int]]:
        """Rows by table: in `total`, and `distinct` by the table's key."""
        totals = {operation.table: [0, 0] for operation in OPERATIONS.values()}
        for table, total, distinct in self._all_counts():
            totals[table][0] += total
            totals[table][1] += distinct
        return {
            table: {"total": total, "distinct": distinct}
            for table, (total, distinct) in totals.items()
        }

    def _all_counts(self) -> Iterator[tuple[str, int, int]]:
        """(table, rows, distinct keys) of each parent."""
        by: dict[str, list[str]] = {"account": [], "list": [], "message": [], "conversation": []}
        for kind in OPERATIONS.values():
            if "Page" in kind.arguments or kind.name in further.COLLECTIONS:
                by[kind.asked_by].append(kind.name)

        def counts(parent: str, ID: int) -> Iterator[tuple[str, int, int]]:
            for operation in by[parent]:
                yield OPERATIONS[operation].table, *self._count(operation, ID)

        yield from counts("account", ACCOUNT)
        for ListID in self._published.list_ids():
            yield "lists", 1, 1
            yield from counts("list", ListID)
            for MsgID in self._published.message_ids(ListID):
                yield "messages", 1, 1
                yield "message_deliveries", 1, 1
                analyses = int(self.has_analytics(MsgID))
                yield "message_analytics", analyses, analyses
                yield from counts("message", MsgID)
            for ConversationID in self.conversation_ids(ListID):
                yield "conversations", 1, 1
                yield "conversation_deliveries", 1, 1
                yield from counts("conversation", ConversationID)

    # Changes between runs

    def add_list(self, ListID: int, **fields: Field) -> None:
        """Grant a list: unhide it, or add one without messages and contacts.

        fields: override generated values; elements that the contract lacks are allowed.
        """
        self.version += 1
        self._published.add_list(ListID, fields)

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

        A hidden generated message is shown again, with its own send date.

        send_date: a datetime (UTC unless it has a zone), or the text to put on the wire.
        """
        self._need_list(ListID)
        self.version += 1
        text = self._basis.text(send_date, wire_text=False)
        self._published.add_message(ListID, MsgID, text, test, fields)

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
        row without its date element. A row with an unreadable date is in every range.
        """
        if operation not in MESSAGE_OPERATIONS:
            raise ValueError(f"{operation!r} is none of {', '.join(MESSAGE_OPERATIONS)}")
        self._need_message(MsgID)
        self.version += 1
        self._published.add(operation, MsgID, email, date, fields)

    def add_contact(
        self, ListID: int, email: str, addition_date: datetime | str | None, **fields: Field
    ) -> None:
        """Add a contact to the end of a list; `addition_date` as in `add_event`."""
        self._need_list(ListID)
        self.version += 1
        self._published.add(CONTACTS, ListID, email, addition_date, fields)

    def add_conversation(
        self,
        ListID: int,
        ConversationID: int,
        published_date: datetime | str,
        *,
        terminated: bool = False,
        **fields: Field,
    ) -> None:
        """Add a conversation, whose counts follow the rows added to it.

        A hidden generated conversation is shown again, with its own date.

        published_date: as in `add_message`. fields: also of its row of deliveries.
        """
        self._need_list(ListID)
        self.version += 1
        text = self._basis.text(published_date, wire_text=False)
        self._conversations.add(ListID, ConversationID, text, terminated, fields)

    def add_row(
        self,
        operation: str,
        parent_id: int | None,
        date: datetime | str | None = None,
        **fields: Field,
    ) -> None:
        """Add a row to the end of a further table, for one parent.

        Rows of message_deliveries, message_analytics and conversation_deliveries are derived from
        their message or conversation and cannot be added.

        parent_id: as in `rows`. date: as in `add_event`; ignored for a row without a date.
        fields: override generated values. EmailAddress (FromEmailAddress and ToEmailAddress of a
        passalong) determines the ContactID; a complaint needs ListID and MessageID; a
        conversation's row belongs to its first message unless MsgID is given.
        """
        if operation not in _ADDABLE:
            raise ValueError(f"{operation!r} is none of {', '.join(_ADDABLE)}")
        by = OPERATIONS[operation].asked_by
        if (by == "account") != (parent_id is None):
            raise ValueError(f"{operation} is asked by {by}")
        ID = ACCOUNT if parent_id is None else parent_id
        if by == "list":
            self._need_list(ID)
        elif by == "message":
            self._need_message(ID)
        self.version += 1
        if by == "conversation":
            self._conversations.add_row(operation, ID, date, fields)
        else:
            self._further.add(operation, ID, date, fields)

    def hide_list(self, ListID: int) -> None:
        """Hide a list and its messages from the user, until `add_list`."""
        self.version += 1
        self._published.hide(ListID)

    def hide_message(self, MsgID: int) -> None:
        """Hide a message from the user, until `add_message`."""
        self.version += 1
        self._published.hide(MsgID)

    def hide_conversation(self, ConversationID: int) -> None:
        """Hide a conversation from the user, until `add_conversation`."""
        self.version += 1
        self._conversations.hide(ConversationID)

    def hide_contact(self, ListID: int, email: str) -> None:
        """Remove a contact from a list's subscribed contacts; `add_contact` adds it again."""
        self.version += 1
        self._published.hide_contact(ListID, email)

    def _need_list(self, ListID: int) -> None:
        if not self._published.knows_list(ListID):
            raise KeyError(f"no list {ListID}")

    def _need_message(self, MsgID: int) -> None:
        if self._published.list_of(MsgID) is None:
            raise KeyError(f"no message {MsgID}")

    # What the service requests

    def activity(self, ListID: int, chosen: Range | None, with_tests: bool) -> list[Row]:
        """Messages of a list that were sent in a range of walls; None means all."""
        return [
            self._published.activity_row(MsgID)
            for MsgID in self._published.message_ids(ListID, chosen)
            if with_tests or not self.is_test(MsgID)
        ]

    def page(self, operation: str, ID: int, chosen: Range | None, page: int) -> list[Row]:
        """One page, counted from 1, of an operation's rows for a parent; ID may be ACCOUNT."""
        skip = (page - 1) * self.page_size
        return self._select(operation, ID, Section(chosen, skip, self.page_size))

    def whole(self, operation: str, ListID: int, chosen: Range | None, every: bool) -> list[Row]:
        """All rows of an operation without pages, for a list.

        every: include test messages, or terminated conversations.
        """
        if operation == "ReportListMessageActivity":
            return self.activity(ListID, chosen, every)
        if operation == conversation_tables.ACTIVITY:
            return self._conversations.activity(ListID, every)
        if operation == conversation_tables.DELIVERIES:
            return self._conversations.deliveries(ListID, every)
        return self._further.whole(operation, ListID, chosen, every)

    def analytics(self, MsgIDs: Iterable[int]) -> list[Row]:
        """Analytics of the messages that the user can see."""
        return self._further.analytics(MsgIDs)

    def _select(self, operation: str, ID: int, section: Section) -> list[Row]:
        return self._table(operation).select(operation, ID, section)

    def _count(self, operation: str, ID: int) -> tuple[int, int]:
        return self._table(operation).count(operation, ID)

    def _table(self, operation: str) -> PublishedTables | FurtherTables | Conversations:
        """The tables with the rows of a paged operation."""
        if operation not in FURTHER_OPERATIONS:
            return self._published
        by_conversation = OPERATIONS[operation].asked_by == "conversation"
        return self._conversations if by_conversation else self._further
