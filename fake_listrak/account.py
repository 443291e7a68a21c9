"""A Listrak account, as the service serves it and tests change it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from fake_listrak.clock import Range
from fake_listrak.contract import (
    FURTHER_OPERATIONS,
    MESSAGE_OPERATIONS,
    OPERATIONS,
    PASSALONGS,
    Row,
)
from fake_listrak.derived import Derived
from fake_listrak.generator import (
    CONTACTS,
    MESSAGES_OF_CONVERSATION,
    Conversation,
    Generated,
    Message,
)
from fake_listrak.rows import (
    SALTS,
    Field,
    changed,
    distinct,
    mix,
)
from fake_listrak.tables import ACCOUNT, NAME

_ACTIVITY, _DELIVERY = NAME["conversations"], NAME["conversation_deliveries"]
# They follow from other rows, so that none can be added.
_DERIVED: Final = frozenset(
    (_ACTIVITY, _DELIVERY, NAME["message_deliveries"], NAME["message_analytics"])
)


class Account(Derived):
    """A Listrak account: its lists, messages, contacts and events, as the service returns them.

    Rows are values on the wire (see `Row`). Tests compare records with them.

    page_size: rows on a page of the paged operations.
    timezone: IANA name of the zone of the times on the wire.
    offsets: whether xs:dateTime values carry an offset.
    event_dates: format of dates that are xs:string; "us" is `M/D/YYYY h:mm:ss AM`.
    domains: GoogleTrackingDomains as repeated "text", or one element with "string" children.
    bounds: whether the rows at StartDate and at EndDate are selected: both ("inclusive"), none
        ("exclusive"), those at StartDate only ("start").
    empty: the Result of a page without rows; "mixed" is absent or empty, depending on the request.
    unknown_messages: the reply to an analytics call with a message that the user cannot see: the
        whole call is "refused", or the message is "missing".
    shape: what is generated. `seed`: accounts of the same arguments have the same rows. `lists`;
        of each list: `messages`, `contacts`, `conversations`, `campaigns`, `transactional`,
        `removals`, `hygiene`, `imports`; of the account: `complaints`. `sends` and
        `conversation_sends`: approximate recipients of each, of which other events are fractions.
        `counts`: exact rows per message or conversation, by operation. `start` and `end`: the range
        of all dates, UTC unless they have a zone. `message_step`: difference of successive MsgIDs.
    """

    # Rows

    def rows(self, operation: str, parent_id: int | None = None) -> list[Row]:
        """All rows of an operation for one parent, in the order served.

        parent_id: a ListID, MsgID or ConversationID; None for the account.
        """
        kind = OPERATIONS[operation]
        ID = ACCOUNT if parent_id is None else parent_id
        if (kind.asked_by == "account") != (parent_id is None):
            raise ValueError(f"{operation} is asked by {kind.asked_by}")
        if kind.table == "lists":
            return self.lists()
        if kind.table == "message_analytics":
            return self.analytics(each.ID for each in self._messages_of(ID))
        if "Page" in kind.arguments:
            return [*self._table(operation, ID)]
        return self.whole(operation, ID, None, True)

    def lists(self) -> list[Row]:
        """Rows of GetContactListCollection, in the order served."""
        return [row for ListID, row in self._lists.items() if ListID not in self._hidden]

    def messages(self, ListID: int) -> list[Row]:
        """All rows of ReportListMessageActivity for a list, in the order served."""
        return self.activity(ListID, None, True)

    def events(self, operation: str, MsgID: int) -> list[Row]:
        """All rows of one of the six message operations, in the order served."""
        return self.rows(operation, MsgID)

    def contacts(self, ListID: int) -> list[Row]:
        """All rows of ReportRangeSubscribedContacts for a list, in the order served."""
        return self.rows(CONTACTS, ListID)

    def conversation_ids(self, ListID: int) -> list[int]:
        """The conversations of a list, including terminated ones, in the order served."""
        return [each.ID for each in self._conversations_of(ListID)]

    def conversation_message_ids(self, ConversationID: int) -> tuple[int, ...]:
        """The messages of a conversation, which are not among its list's messages."""
        return self._conversations[ConversationID].messages

    def is_test(self, MsgID: int) -> bool:
        """Whether a message is a test message, which IncludeTestMessages=false excludes."""
        return self._messages[MsgID].is_test

    def has_analytics(self, MsgID: int) -> bool:
        """Whether a message is in the reply of a call for its analytics."""
        return self._messages[MsgID].has_analytics

    def row_counts(self) -> dict[str, dict[str, int]]:
        """Rows by table: in `total`, and `distinct` by the table's key."""
        counts = {kind.table: Counter(total=0, distinct=0) for kind in OPERATIONS.values()}
        parents: dict[str, Iterable[int | None]] = {
            "account": [None],
            "list": [ID for ID in self._lists if ID not in self._hidden],
            "message": [ID for ID in self._messages if self.has_message(ID)],
            "conversation": [ID for ID in self._conversations if self.has_conversation(ID)],
        }
        for operation, kind in OPERATIONS.items():
            for parent in parents[kind.asked_by]:
                rows = self.rows(operation, parent)
                counts[kind.table]["total"] += len(rows)
                counts[kind.table]["distinct"] += distinct(operation, rows)
        return {table: dict(count) for table, count in counts.items()}

    # Changes between runs

    def add_list(self, ListID: int, **fields: Field) -> None:
        """Grant a list: unhide it, or add one without messages and contacts.

        fields: override generated values; elements that the contract lacks are allowed.
        """
        self.version += 1
        self._hidden.discard(ListID)
        row = self._lists.get(ListID) or self._maker.list_row(ListID, len(self._lists))
        self._lists[ListID] = changed(row, fields)

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
        self._need(self._lists, ListID, "list")
        self.version += 1
        self._hidden.discard(MsgID)
        found = self._messages.get(MsgID)
        if found is not None and found.is_generated:
            found.fields |= fields
        else:
            date = self._maker.text(send_date)
            self._messages[MsgID] = Message(
                MsgID, ListID, date, dict(fields), wall=self.zone.read(date), is_test=test
            )

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
        self._need(self._messages, MsgID, "message")
        self._add(operation, MsgID, email, date, fields)

    def add_contact(
        self, ListID: int, email: str, addition_date: datetime | str | None, **fields: Field
    ) -> None:
        """Add a contact to the end of a list; `addition_date` as in `add_event`."""
        self._need(self._lists, ListID, "list")
        self._add(CONTACTS, ListID, email, addition_date, fields)

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

        A hidden one is shown again, with its own date.

        published_date: as in `add_message`. fields: also of its row of deliveries.
        """
        self._need(self._lists, ListID, "list")
        self.version += 1
        self._hidden.discard(ConversationID)
        found = self._conversations.get(ConversationID)
        if found is not None:
            found.fields |= fields
            return
        first = 1_600_000_000 + ConversationID * MESSAGES_OF_CONVERSATION % 400_000_000
        self._conversations[ConversationID] = Conversation(
            ConversationID,
            ListID,
            self._maker.text(published_date),
            terminated,
            tuple(range(first, first + MESSAGES_OF_CONVERSATION)),
            dict(fields),
        )

    def add_row(
        self,
        operation: str,
        parent_id: int | None,
        date: datetime | str | None = None,
        **fields: Field,
    ) -> None:
        """Add a row to the end of a further table, for one parent.

        Rows of conversations, deliveries and analytics follow from others and cannot be added.

        parent_id: as in `rows`. date: as in `add_event`; ignored for a row without a date.
        fields: override generated values. EmailAddress (FromEmailAddress of a passalong) determines
        the ContactID; a complaint needs ListID and MessageID; a conversation's row belongs to its
        first message unless MsgID is given.
        """
        kind = OPERATIONS[operation]
        if operation not in FURTHER_OPERATIONS or operation in _DERIVED:
            raise ValueError(f"{operation!r}: rows of {kind.table} cannot be added")
        if (kind.asked_by == "account") != (parent_id is None):
            raise ValueError(f"{operation} is asked by {kind.asked_by}")
        ID = ACCOUNT if parent_id is None else parent_id
        if kind.asked_by != "account":
            things: dict[str, dict[int, Any]] = {
                "list": self._lists,
                "message": self._messages,
                "conversation": self._conversations,
            }
            self._need(things[kind.asked_by], ID, kind.asked_by)
        name = "FromEmailAddress" if operation == PASSALONGS else "EmailAddress"
        number = mix(self._maker.seed, len(self._table(operation, ID))) % 10_000
        email = str(fields.get(name) or f"added+{number}@example.com")
        self._add(operation, ID, email, date, fields)

    def hide_list(self, ListID: int) -> None:
        """Hide a list and its messages from the user, until `add_list`."""
        self._hide(ListID)

    def hide_message(self, MsgID: int) -> None:
        """Hide a message from the user, until `add_message`."""
        self._hide(MsgID)

    def hide_conversation(self, ConversationID: int) -> None:
        """Hide a conversation from the user, until `add_conversation`."""
        self._hide(ConversationID)

    def hide_contact(self, ListID: int, email: str) -> None:
        """Remove a contact from a list's subscribed contacts; `add_contact` adds it again."""
        rows = self._changeable(CONTACTS, ListID)
        kept = [row for row in rows if row.get("EmailAddress") != email]
        if len(kept) == len(rows):
            raise KeyError(f"no contact {email} in list {ListID}")
        rows[:] = kept

    def _hide(self, ID: int) -> None:
        self.version += 1
        self._hidden.add(ID)

    def _need(self, things: dict[int, Any], ID: int, name: str) -> None:
        if ID not in things:
            raise KeyError(f"no {name} {ID}")

    def _add(
        self, operation: str, ID: int, email: str, date: datetime | str | None,
        fields: dict[str, Field],
    ) -> None:  # fmt: skip
        kind = OPERATIONS[operation]
        rows = self._changeable(operation, ID)
        bits = mix(self._maker.seed, SALTS[operation], ID, len(rows))
        of = ID
        if kind.asked_by == "conversation":
            of = int(str(fields.get("MsgID") or self._conversations[ID].messages[0]))
        row = self._maker.row(operation, of, email, self._start, bits)
        if kind.table == "complaints":
            row = self._complaint(int(str(fields["ListID"])), int(str(fields["MessageID"])), row)
        own: dict[str, Field] = {"LinkID": str(bits >> 33)} if "LinkID" in row else {}
        if kind.date is not None:
            own[kind.date] = ... if date is None else self._maker.text(date, kind.date_is_text)
        rows.append(changed(row, own | fields))

    # What the service requests

    def activity(self, ListID: int, chosen: Range | None, with_tests: bool) -> list[Row]:
        """Messages of a list that were sent in a range of walls; None means all."""
        return [self._activity(each) for each in self._messages_of(ListID, chosen, with_tests)]

    def page(self, operation: str, ID: int, chosen: Range | None, page: int) -> list[Row]:
        """One page, counted from 1, of an operation's rows for a parent; ID may be ACCOUNT."""
        rows = self._table(operation, ID)
        if chosen is not None and isinstance(rows, Generated):
            rows = rows.within(chosen)
        else:
            rows = self._within(operation, rows, chosen)
        return list(rows[(page - 1) * self.page_size : page * self.page_size])

    def _within(self, operation: str, rows: Sequence[Row], chosen: Range | None) -> Sequence[Row]:
        date, read = OPERATIONS[operation].date, self.zone.read
        if chosen is None or date is None:
            return rows
        return [row for row in rows if chosen.holds(read(str(row.get(date))))]

    def whole(self, operation: str, ListID: int, chosen: Range | None, every: bool) -> list[Row]:
        """All rows of an operation without pages, for a list.

        every: include test messages, or terminated conversations.
        """
        table = OPERATIONS[operation].table
        if (operation, ListID) in self._filled:
            return [*self._within(operation, self._tables[operation, ListID], chosen)]
        if table == "messages":
            return self.activity(ListID, chosen, every)
        if table == "message_deliveries":
            return [self._delivery(each) for each in self._messages_of(ListID, chosen, every)]
        if table in ("conversations", "conversation_deliveries"):
            make = self._conversation if table == "conversations" else self._series_delivery
            found = self._conversations_of(ListID)
            return [make(each) for each in found if every or not each.terminated]
        return [*self._table(operation, ListID)]

    def analytics(self, MsgIDs: Iterable[int]) -> list[Row]:
        """Analytics of the messages that the user can see, unordered."""
        seen = sorted(set(filter(self.has_message, MsgIDs)), key=lambda ID: mix(1, ID))
        found = [self._messages[ID] for ID in seen if self.has_analytics(ID)]
        filled = {
            row["MsgID"]: row
            for ListID in {each.ListID for each in found}
            if (NAME["message_analytics"], ListID) in self._filled
            for row in self._tables[NAME["message_analytics"], ListID]
        }
        return [filled.get(str(each.ID)) or self._analytics(each) for each in found]
