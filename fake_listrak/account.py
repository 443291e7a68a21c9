"""A Listrak account, as the service serves it and tests change it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeAlias

from fake_listrak.contract import ID_OF, OPERATIONS, PASSALONGS, Row
from fake_listrak.generator import CONTACTS, Mailing
from fake_listrak.rows import SALTS, Field, mix
from fake_listrak.tables import ACCOUNT, LISTS, MESSAGES, SUMMARIES, Tables

Date: TypeAlias = datetime | str


class Account(Tables):
    """A Listrak account: its lists, messages, contacts and events, as the service returns them.

    Rows are values on the wire (see `Row`). Tests compare records with them.

    page_size: rows on a page of the paged operations.
    timezone: IANA name of the zone of the times on the wire.
    offsets: whether xs:dateTime values carry an offset.
    event_dates: format of dates that are xs:string; "us" is `M/D/YYYY h:mm:ss AM`.
    bounds: whether the rows at StartDate and at EndDate are selected: both ("inclusive"), none
        ("exclusive"), those at StartDate only ("start").
    empty: the Result of a page without rows; "mixed" is absent or empty, depending on the request.
    unknown_messages: the reply to an analytics call with a message that the user cannot see: the
        whole call is "refused", or the message is "missing".
    shape: what is generated: the fields of Shape.
    """

    # Rows

    def rows(self, operation: str, parent_id: int | None = None) -> list[Row]:
        """Return all rows of an operation for one parent, in the order served.

        parent_id: a ListID, MsgID or ConversationID; None for the account.
        """
        return self.select(operation, parent_id or ACCOUNT)[:]

    def messages(self, ListID: int) -> list[Row]:
        """Return all rows of ReportListMessageActivity for a list, in the order served."""
        return self.rows(MESSAGES, ListID)

    def contacts(self, ListID: int) -> list[Row]:
        """Return all rows of ReportRangeSubscribedContacts for a list, in the order served."""
        return self.rows(CONTACTS, ListID)

    def conversation_ids(self, ListID: int) -> list[int]:
        """Return the conversations of a list, including terminated ones, in the order served."""
        return [each.ID for each in self._mailings_of("conversation", ListID)]

    def row_counts(self) -> dict[str, dict[str, int]]:
        """Return the number of rows by table: in `total`, and `distinct` by the table's key."""
        lists = [ID for ID in self._lists if self.has("list", ID)]
        parents: dict[str, list[Any]] = {"account": [None], "list": lists}
        for kind in self._mailings:
            parents[kind] = [each.ID for ID in lists for each in self._mailings_of(kind, ID)]
        counts = {}
        for name, operation in OPERATIONS.items():
            keys = [
                (parent, *(row.get(column) or "" for column in operation.key))
                for parent in parents[operation.asked_by]
                for row in self.rows(name, parent)
            ]
            counts[operation.table] = {"total": len(keys), "distinct": len({*keys})}
        return counts

    # Changes between runs

    def add_list(self, ListID: int, **fields: Field) -> None:
        """Grant a list: unhide it, or add one without messages and contacts.

        fields: override generated values; elements that the contract lacks are allowed.
        """
        self.version += 1
        self._hidden.discard(ListID)
        self._lists.setdefault(ListID, {}).update(fields)

    def add_message(
        self, ListID: int, MsgID: int, send_date: Date, *, test: bool = False, **fields: Field
    ) -> None:
        """Add a message, whose counts follow the events added to it.

        A hidden generated message is shown again, with its own send date.

        send_date: a datetime (UTC unless it has a zone), or the text to put on the wire.
        """
        date = self._maker.text(send_date)
        self._add(Mailing("message", MsgID, ListID, date, (MsgID,), test, fields))

    def add_conversation(
        self, ListID: int, ConversationID: int, published_date: Date, **fields: Field
    ) -> None:
        """Add a conversation, whose counts follow the rows added to it.

        A hidden generated one is shown again, with its own date.

        published_date: as `send_date` of `add_message`.
        """
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
        self.add_row(CONTACTS, ListID, addition_date, **{"EmailAddress": email, **fields})

    def add_row(
        self, operation: str, parent_id: int | None, date: Date | None = None, **fields: Field
    ) -> None:
        """Add a row to the end of a table, for one parent.

        Lists, messages and conversations have their own methods. Rows of deliveries and analytics
        follow from those.

        parent_id: as in `rows`. date: a datetime (UTC unless it has a zone), the text to put on the
        wire, or None for a row without its date element. A row with an unreadable date is in every
        range. fields: override generated values. EmailAddress (FromEmailAddress of a passalong)
        determines the ContactID; a conversation's row belongs to its first message unless MsgID is
        given.
        """
        kind, ID = OPERATIONS[operation], parent_id or ACCOUNT
        if operation in SUMMARIES or operation == LISTS:
            raise ValueError(f"{operation}: rows of {kind.table} cannot be added")
        known: dict[str, Field] = {}
        if kind.asked_by != "account":
            self._need(kind.asked_by, ID)
            known[ID_OF[kind.asked_by]] = str(ID)
        if kind.asked_by == "conversation":
            known["MsgID"] = str(self._mailings["conversation"][ID].messages[0])
        if kind.date is not None:
            known[kind.date] = ... if date is None else self._maker.text(date, kind.date_is_text)
        rows = self._changeable(operation, ID)
        bits = mix(self._maker.seed, SALTS[operation], ID, len(rows))
        address = fields.get("FromEmailAddress" if operation == PASSALONGS else "EmailAddress")
        email = str(address or f"added+{bits % 10_000}@example.com")
        rows.append(self._maker.row(operation, self._start, bits, known, email, fields))

    def fill(self, operation: str, parent_id: int | None, rows: Iterable[Row]) -> None:
        """Put these rows, values on the wire, in place of all rows of an operation and parent.

        Also of rows that otherwise follow from others. The parent has to be added first.
        """
        self.version += 1
        self._tables[operation, parent_id or ACCOUNT] = [*rows]

    def hide(self, ID: int) -> None:
        """Hide a list, message or conversation from the user, until it is added."""
        self.version += 1
        self._hidden.add(ID)

    hide_list = hide_message = hide_conversation = hide

    def hide_contact(self, ListID: int, email: str) -> None:
        """Remove a contact from a list's subscribed contacts; `add_contact` adds it again."""
        rows = self._changeable(CONTACTS, ListID)
        kept = [row for row in rows if row.get("EmailAddress") != email]
        if len(kept) == len(rows):
            raise KeyError(f"no contact {email} in list {ListID}")
        rows[:] = kept

    def _changeable(self, operation: str, ID: int) -> list[Row]:
        """Return a table as a list that may be changed."""
        self.version += 1
        if (operation, ID) not in self._tables:
            self._tables[operation, ID] = self._table(operation, ID)[:]
        return self._tables[operation, ID]

    def _need(self, parent: str, ID: int) -> None:
        if ID not in (self._lists if parent == "list" else self._mailings[parent]):
            raise KeyError(f"no {parent} {ID}")
