"""A Listrak account: lists of rows by operation and parent, and what follows from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal

from fake_listrak.clock import Range, Zone, instant
from fake_listrak.contract import (
    CONVERSATION_OPERATIONS,
    FURTHER_OPERATIONS,
    MESSAGE_OPERATIONS,
    OPERATIONS,
    PASSALONGS,
    Row,
)
from fake_listrak.generator import (
    BOUNCE,
    CLICK,
    CONTACTS,
    MANY,
    MESSAGES_OF_CONVERSATION,
    OPEN,
    READ,
    REMOVAL,
    REPEATED,
    SENT,
    SERIES_SENT,
    Conversation,
    Generated,
    Generator,
    Message,
    Shape,
)
from fake_listrak.rows import (
    ANALYTICS,
    LINKS,
    SALTS,
    Field,
    RowMaker,
    changed,
    distinct,
    mix,
    one_of,
    orders,
    percent,
)

ACCOUNT: Final = 0
"""The ID of the account as a parent."""

_NAME: Final = {kind.table: kind.name for kind in OPERATIONS.values()}
_ACTIVITY, _DELIVERY = _NAME["conversations"], _NAME["conversation_deliveries"]
# They follow from other rows, so that none can be added.
_DERIVED: Final = frozenset(
    (_ACTIVITY, _DELIVERY, _NAME["message_deliveries"], _NAME["message_analytics"])
)
_OF_LIST: Final = (CONTACTS, *(_NAME[n] for n in ("list_unsubs", "list_hygiene", "imports")))


class Account:
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
        self._generated = lru_cache(4096)(self._generate)

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
            self._messages[MsgID] = Message(MsgID, ListID, date, dict(fields), is_test=test)

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

    def fill(self, operation: str, parent_id: int | None, rows: Iterable[Row]) -> None:
        """Put these rows, values on the wire, in place of all rows of an operation and parent."""
        ID = ACCOUNT if parent_id is None else parent_id
        self._changeable(operation, ID)[:] = rows

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
        date = OPERATIONS[operation].date
        if chosen is not None and date is not None:
            if isinstance(rows, Generated):
                rows = rows.within(chosen)
            else:
                read = self.zone.read
                rows = [row for row in rows if chosen.holds(read(str(row.get(date))))]
        return list(rows[(page - 1) * self.page_size : page * self.page_size])

    def whole(self, operation: str, ListID: int, chosen: Range | None, every: bool) -> list[Row]:
        """All rows of an operation without pages, for a list.

        every: include test messages, or terminated conversations.
        """
        table = OPERATIONS[operation].table
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
        return [self._analytics(self._messages[ID]) for ID in seen if self.has_analytics(ID)]

    # Tables

    def _table(self, operation: str, ID: int) -> Sequence[Row]:
        """Return all rows of an operation for a parent."""
        table = OPERATIONS[operation].table
        if table == "campaigns":
            return [*self._campaigns(ID), *self._tables.get((operation, ID), ())]
        if table == "message_links":
            return [*self._message_links(ID), *self._tables.get((operation, ID), ())]
        if table == "conversation_links":
            return [*self._series_links(ID), *self._tables.get((operation, ID), ())]
        found = self._tables.get((operation, ID))
        return self._generated(operation, ID) if found is None else found

    def _changeable(self, operation: str, ID: int) -> list[Row]:
        """Return a table as a list that may be changed."""
        self.version += 1
        if (operation, ID) not in self._tables:
            is_derived = OPERATIONS[operation].table in (
                "campaigns",
                "message_links",
                "conversation_links",
            )
            self._tables[operation, ID] = [] if is_derived else [*self._table(operation, ID)]
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

    # Messages

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
            if chosen is None or chosen.holds(self.zone.read(each.send_date)):
                yield each

    def _activity(self, message: Message) -> Row:
        """Return a row of ReportListMessageActivity, whose counts agree with the event rows."""
        ID, bits = message.ID, mix(self._maker.seed, 2, message.ID)
        sent, opens, reads, clicks, removals = (
            self._count(each, ID) for each in (SENT, OPEN, READ, CLICK, REMOVAL)
        )
        clickers = self._emails(CLICK, ID)
        repeaters = min(clicks - clickers, clickers)
        row: Row = {
            "ListID": str(message.ListID),
            "MsgID": str(ID),
            "Subject": self._maker.subject(ID),
            "SendDate": message.send_date,
            "DeliverCount": str(sent),
            "RemoveCount": str(removals),
            "RemovePercent": percent(removals, sent) if bits >> 48 & 7 else "1E-05",
            "OpenCount": str(opens),
            "OpenPercent": percent(self._emails(OPEN, ID), sent),
            "ReadCount": str(reads),
            "ReadPercent": percent(self._emails(READ, ID), sent),
            "ClickCount": str(clicks),
            "ClickerCount": str(clickers),
            "RepeatClickerCount": str(repeaters),
            "NewClickerCount": str(clickers - repeaters),
            "ClickerPercent": percent(clickers, sent),
            **orders(bits, clickers * (bits >> 8 & 3) // 4),
        }
        return changed(row, message.fields)

    def _delivery(self, message: Message) -> Row:
        row = self._activity(message)
        sent, bounced = self._count(SENT, message.ID), self._count(BOUNCE, message.ID)
        head: dict[str, Field] = {
            name: row[name] for name in ("ListID", "MsgID", "SendDate") if name in row
        }
        counts: dict[str, Field] = {
            "DeliverCount": str(sent),
            "DeliverPercent": percent(sent, sent + bounced),
            "BounceCount": str(bounced),
            "BouncePercent": percent(bounced, sent + bounced),
            "PassAlongCount": str(self._count(PASSALONGS, message.ID)),
            "Subject": row.get("Subject", ...),
        }
        return changed(head, counts)

    def _analytics(self, message: Message) -> Row:
        row = self._activity(message)
        campaign = self._generator.campaign_of(message.ListID, message.ID)
        bits = mix(self._maker.seed, 3, message.ID)
        return changed(
            {
                "CampaignID": str(campaign),
                "CampaignName": self._maker.campaign_name(campaign),
                "GoogleAnalyticsCampaignContent": one_of(ANALYTICS, bits, message.ID),
                "GoogleAnalyticsCampaignName": one_of(ANALYTICS, bits >> 8, message.ID),
                "ListrakAnalyticsCampaignName": one_of(ANALYTICS, bits >> 16, message.ID),
                "ListrakAnalyticsModuleName": one_of(ANALYTICS, bits >> 24, message.ID),
                "ListrakAnalyticsVersion": one_of(("3.1", ..., ""), bits >> 32),
                "ListID": str(message.ListID),
                "MsgID": str(message.ID),
                "SendDate": row.get("SendDate", ...),
                "Subject": row.get("Subject", ...),
            }
        )

    def _message_links(self, MsgID: int) -> list[Row]:
        """Return the links of a message: all that were clicked, and some others."""
        clicks: Counter[str] = Counter()
        clickers: dict[str, set[str]] = {}
        for row in self._table(CLICK, MsgID):
            if url := row.get("LinkUrl"):
                clicks[str(url)] += 1
                clickers.setdefault(str(url), set()).add(str(row.get("EmailAddress")))
        bits = mix(self._maker.seed, 4, MsgID)
        urls = list(clicks)
        if self._messages[MsgID].is_generated and (clicks or bits % 3):
            more = (f"https://www.example.com/footer?n={n}&<x>" for n in range(bits % 8))
            urls = list(dict.fromkeys([*(url for _, url in LINKS), *more, *urls]))
        sent, link = self._count(SENT, MsgID), self._maker.message_link
        return [
            changed(link(MsgID, url, mix(bits, n), (clicks[url], len(clickers.get(url, ())), sent)))
            for n, url in enumerate(urls)
        ]

    # Campaigns and complaints

    def _campaigns(self, ListID: int) -> list[Row]:
        of = Counter(
            self._generator.campaign_of(ListID, each.ID) for each in self._messages_of(ListID)
        )
        return [
            changed(
                {
                    "CampaignID": str(ID),
                    "ListID": str(ListID),
                    "Name": self._maker.campaign_name(ID),
                    "MessageCount": str(of[ID]),
                }
            )
            for ID in reversed(self._generator.campaign_ids(ListID))
        ]

    def _generated_complaint(self, moment: int, bits: int) -> Row:
        """Return a complaint about a message sent before it, of any list."""
        every = [each for each in self._messages.values() if each.is_generated]
        sent = [each for each in every if each.moment <= moment] or every
        message = sent[bits % len(sent)]
        person = message.first_person + (bits >> 32) % max(1, message.sends)
        email = self._maker.email(person)
        row = self._maker.row(_NAME["complaints"], ACCOUNT, email, moment, bits)
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

    # Conversations

    def _conversations_of(self, ListID: int) -> list[Conversation]:
        every = self._conversations.values()
        return [each for each in every if each.ListID == ListID and each.ID not in self._hidden]

    def _conversation(self, conversation: Conversation) -> Row:
        """Return a row whose counts agree with the conversation's event and link rows."""
        ID, bits = conversation.ID, mix(self._maker.seed, 6, conversation.ID)
        sent, opens, reads, _, removals = (
            self._count(each, ID) for each in CONVERSATION_OPERATIONS
        )
        contacts = conversation.contacts
        if (SERIES_SENT, ID) in self._tables:
            contacts = len({str(row.get("EmailAddress")) for row in self._table(SERIES_SENT, ID)})
        waiting = 0 if conversation.terminated else bits % (contacts + 1)
        terminated = (bits >> 32) % (contacts - waiting + 1)
        clicks = sum(
            int(str(r["ClickCount"])) for r in self._table(_NAME["conversation_links"], ID)
        )
        row: dict[str, Field] = self._head(conversation) | {
            "ContactCount": str(contacts),
            "WaitingCount": str(waiting),
            "TerminatedCount": str(contacts if conversation.terminated else terminated),
            "DeliverCount": str(sent),
            "RemoveCount": str(removals),
            "RemoveRate": percent(removals, sent),
            "OpenCount": str(opens),
            "OpenRate": percent(opens, sent),
            "ReadCount": str(reads),
            "ReadRate": percent(reads, sent),
            "ClickCount": str(clicks),
            **orders(bits, clicks // 3),
        }
        return changed(row | self._names(conversation), conversation.fields)

    def _series_delivery(self, conversation: Conversation) -> Row:
        ID = conversation.ID
        sent, _, _, bounced, _ = (self._count(each, ID) for each in CONVERSATION_OPERATIONS)
        row: dict[str, Field] = self._head(conversation) | {
            "SendCount": str(sent + bounced),
            "DeliverCount": str(sent),
            "DeliverRate": percent(sent, sent + bounced),
            "BounceCount": str(bounced),
            "BounceRate": percent(bounced, sent + bounced),
            "PassAlongCount": str(ID % 4 if sent else 0),
        }
        row |= self._names(conversation)
        return changed(row, {k: v for k, v in conversation.fields.items() if k in row})

    def _head(self, conversation: Conversation) -> dict[str, Field]:
        return {
            "ListID": str(conversation.ListID),
            "CampaignID": str(self._generator.campaign_of(conversation.ListID, conversation.ID)),
            "ConversationID": str(conversation.ID),
            "PublishedDate": conversation.published,
        }

    def _names(self, conversation: Conversation) -> dict[str, Field]:
        campaign = self._generator.campaign_of(conversation.ListID, conversation.ID)
        return {
            "CampaignName": self._maker.campaign_name(campaign),
            "ConversationName": self._maker.conversation_name(conversation.ID),
        }

    def _series_links(self, ConversationID: int) -> list[Row]:
        """Return the links of a conversation's messages, each clicked by half of them at most."""
        conversation = self._conversations[ConversationID]
        added = self._tables.get((SERIES_SENT, ConversationID))
        of = Counter(str(row.get("MsgID")) for row in added or ())
        rows: list[Row] = []
        for place, MsgID in enumerate(conversation.messages if conversation.sends else ()):
            sent = -(-(conversation.sends - place) // MESSAGES_OF_CONVERSATION)
            total = sent if added is None else of[str(MsgID)]
            for text, url in LINKS[: 2 + mix(self._maker.seed, 10, MsgID) % 4]:
                bits = mix(self._maker.seed, MsgID, len(rows))
                clickers = bits % (sent // 2 + 1)
                counts = (clickers + (bits >> 32) % (clickers + 1), clickers, total)
                rows.append(self._maker.conversation_link(MsgID, text, url, bits, counts))
        return rows
