"""Define the streams as data: one entry per stream, from which everything else is derived.

To add a stream, add an entry here and its JSON schema in `schemas/`.
Operations, arguments and row elements are those of Listrak's WSDL.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from typing import Any

from tap_listrak.config import Config

# Placeholder for a missing date in a key: keys are never null.
_NO_DATE = "1970-01-01T00:00:00Z"
# The columns that hold a contact's email address, in any stream.
ADDRESS_COLUMNS = frozenset(
    ("EmailAddress", "FromEmailAddress", "ToEmailAddress", "OldEmailAddress")
)


class Per(Enum):
    """Scope of one call. The value is the argument that identifies it."""

    ACCOUNT = ""
    LIST = "ListID"
    MESSAGE = "MsgID"
    BATCH = "MsgIDs"  # up to 2,500 messages
    CONVERSATION = "ConversationID"


@dataclass(frozen=True, eq=False)
class Stream:
    """A table: where its rows come from, and which columns identify a row."""

    name: str
    operation: str
    row: str
    per: Per
    key_properties: tuple[str, ...]
    # The operation takes Page.
    paged: bool = False
    # The operation takes StartDate and EndDate.
    dated: bool = False
    # The operation's further arguments.
    options: tuple[str, ...] = ()
    # How far back Listrak keeps the rows; None: forever.
    retention_days: int | None = None
    # The name of the bookmark in the state; streams without one are emitted in full in each run.
    replication_key: str | None = None
    # The rows have no date: request the messages that were sent within the range.
    by_send_date: bool = False
    # Added to the lookback.
    late_days: int = 0
    # The parent's column that counts the events to date.
    count_column: str | None = None
    # Old rows change, or come back with their original date.
    old_rows_change: bool = False
    # Columns that are text, as sent, unless typed_event_dates is set ...
    event_dates: tuple[str, ...] = ()
    # ... and those of them that are converted to RFC 3339 in UTC even as text.
    utc_text: tuple[str, ...] = ()
    # Added to the key by keep_every_event.
    event_key: tuple[str, ...] = ()
    # Its texts may contain contacts' email addresses, which email_hash_key hashes.
    holds_addresses: bool = False
    # One of the nine streams of the published integration: every service has them, and a run
    # without a catalog syncs them.
    is_published: bool = False

    def __repr__(self) -> str:
        return self.name

    @property
    def parent(self) -> Stream | None:
        """The stream that supplies the IDs for the requests of this one."""
        return _PARENT_PER.get(self.per)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Listrak's names of the operation's arguments."""
        per = (self.per.value,) if self.per.value else ()
        dates = ("StartDate", "EndDate") if self.dated else ()
        return (*per, *dates, *(("Page",) if self.paged else ()), *self.options)

    @property
    def supplied_key(self) -> str | None:
        """The key column that is filled from the request, because the reply lacks it."""
        return None if self.per in (Per.ACCOUNT, Per.BATCH) else self.per.value

    @property
    def can_backfill(self) -> bool:
        """Whether a range of dates limits the rows; if not, a backfill emits all of them."""
        return self.replication_key is not None and (self.dated or self.by_send_date)

    @property
    def can_rotate(self) -> bool:
        """Whether `recent_days` and `older_every_days` apply."""
        return self.old_rows_change or (self.per is Per.MESSAGE and not self.by_send_date)

    @property
    def counts_rows(self) -> bool:
        """Whether `count_column` is the number of rows; for totals to date it is not."""
        return self.dated or self.by_send_date


LISTS = Stream(
    name="lists",
    operation="GetContactListCollection",
    row="WSContactList",
    per=Per.ACCOUNT,
    key_properties=("ListID",),
    is_published=True,
)
MESSAGES = Stream(
    name="messages",
    operation="ReportListMessageActivity",
    row="WSMessageActivity",
    per=Per.LIST,
    dated=True,
    options=("IncludeTestMessages",),
    key_properties=("MsgID",),
    is_published=True,
)
MESSAGE_SENDS = Stream(
    name="message_sends",
    operation="ReportMessageContactSent",
    row="WSMessageRecipient",
    per=Per.MESSAGE,
    paged=True,
    key_properties=("MsgID", "EmailAddress"),
    replication_key="SendDate",
    by_send_date=True,
    # Send-time optimization may deliver up to a day after SendDate, and `timezone` may be wrong.
    late_days=2,
    count_column="DeliverCount",
    holds_addresses=True,
    is_published=True,
)
MESSAGE_OPENS = Stream(
    name="message_opens",
    operation="ReportRangeMessageContactOpen",
    row="WSContactOpen",
    per=Per.MESSAGE,
    paged=True,
    dated=True,
    key_properties=("MsgID", "EmailAddress"),
    replication_key="OpenDate",
    count_column="OpenCount",
    event_dates=("OpenDate",),
    event_key=("OpenDate",),
    holds_addresses=True,
    is_published=True,
)
MESSAGE_CLICKS = Stream(
    name="message_clicks",
    operation="ReportRangeMessageContactClick",
    row="WSContactClick",
    per=Per.MESSAGE,
    paged=True,
    dated=True,
    key_properties=("MsgID", "EmailAddress"),
    replication_key="ClickDate",
    count_column="ClickCount",
    event_dates=("ClickDate",),
    event_key=("ClickDate", "LinkUrl"),
    holds_addresses=True,
    is_published=True,
)
MESSAGE_READS = Stream(
    name="message_reads",
    operation="ReportRangeMessageContactRead",
    row="WSContactRead",
    per=Per.MESSAGE,
    paged=True,
    dated=True,
    key_properties=("MsgID", "EmailAddress"),
    replication_key="ReadDate",
    count_column="ReadCount",
    event_dates=("ReadDate",),
    event_key=("ReadDate",),
    holds_addresses=True,
    is_published=True,
)
MESSAGE_BOUNCES = Stream(
    name="message_bounces",
    operation="ReportRangeMessageContactBounces",
    row="WSContactBounce",
    per=Per.MESSAGE,
    paged=True,
    dated=True,
    key_properties=("MsgID", "EmailAddress"),
    replication_key="BounceDate",
    event_dates=("BounceDate",),
    event_key=("BounceDate",),
    holds_addresses=True,
    is_published=True,
)
MESSAGE_UNSUBS = Stream(
    name="message_unsubs",
    operation="ReportRangeMessageContactRemoval",
    row="WSContactRemovalInfo",
    per=Per.MESSAGE,
    paged=True,
    dated=True,
    key_properties=("MsgID", "EmailAddress"),
    replication_key="RemovalDate",
    count_column="RemoveCount",
    event_dates=("AdditionDate", "RemovalDate"),
    utc_text=("AdditionDate", "RemovalDate"),
    holds_addresses=True,
    is_published=True,
)
SUBSCRIBED_CONTACTS = Stream(
    name="subscribed_contacts",
    operation="ReportRangeSubscribedContacts",
    row="WSContactSubscriptionInfo",
    per=Per.LIST,
    paged=True,
    dated=True,
    key_properties=("ContactID", "ListID"),
    replication_key="AdditionDate",
    holds_addresses=True,
    old_rows_change=True,
    is_published=True,
)

# Beyond the published nine. Event streams keep every event: the date is part of the key.

MESSAGE_LINKS = Stream(
    name="message_links",
    operation="ReportMessageLinkClick",
    row="WSMessageLink",
    per=Per.MESSAGE,
    paged=True,
    key_properties=("MsgID", "LinkID"),
    # Not a column: the rows are totals to date, and have no date.
    replication_key="AskedUntil",
    count_column="ClickCount",
    holds_addresses=True,
)
MESSAGE_LOCATION_OPENS = Stream(
    name="message_location_opens",
    operation="ReportMessageLocationOpen",
    row="WSMessageLocationOpen",
    per=Per.MESSAGE,
    paged=True,
    key_properties=("MsgID", "CountryID", "RegionID"),
    replication_key="AskedUntil",
    count_column="OpenCount",
)
MESSAGE_LOCATION_READS = Stream(
    name="message_location_reads",
    operation="ReportMessageLocationRead",
    row="WSMessageLocationRead",
    per=Per.MESSAGE,
    paged=True,
    key_properties=("MsgID", "CountryID", "RegionID"),
    replication_key="AskedUntil",
    count_column="ReadCount",
)
MESSAGE_LOCATION_CLICKS = Stream(
    name="message_location_clicks",
    operation="ReportMessageLocationClick",
    row="WSMessageLocationClick",
    per=Per.MESSAGE,
    paged=True,
    key_properties=("MsgID", "CountryID", "RegionID"),
    replication_key="AskedUntil",
    count_column="ClickCount",
)
MESSAGE_PASSALONGS = Stream(
    name="message_passalongs",
    operation="ReportRangeMessageContactPassalong",
    row="WSContactPassalong",
    per=Per.MESSAGE,
    paged=True,
    dated=True,
    key_properties=("MsgID", "FromEmailAddress", "ToEmailAddress", "PassAlongDate"),
    replication_key="PassAlongDate",
    holds_addresses=True,
)
MESSAGE_ANALYTICS = Stream(
    name="message_analytics",
    operation="GetMessageAnalyticsInformation",
    row="WSMessageAnalyticsInformation",
    per=Per.BATCH,
    key_properties=("MsgID",),
)
MESSAGE_DELIVERIES = Stream(
    name="message_deliveries",
    operation="ReportListMessageDelivery",
    row="WSMessageDelivery",
    per=Per.LIST,
    dated=True,
    options=("IncludeTestMessages",),
    key_properties=("MsgID",),
)
LIST_UNSUBS = Stream(
    name="list_unsubs",
    operation="ReportRangeListContactRemoval",
    row="WSContactRemovalInfo",
    per=Per.LIST,
    paged=True,
    dated=True,
    key_properties=("ContactID", "ListID", "RemovalDate"),
    replication_key="RemovalDate",
    holds_addresses=True,
)
LIST_HYGIENE = Stream(
    name="list_hygiene",
    operation="ReportRangeListContactHygiene",
    row="WSContactHygieneInfo",
    per=Per.LIST,
    paged=True,
    dated=True,
    key_properties=("ContactID", "ListID", "HygieneDate"),
    replication_key="HygieneDate",
    holds_addresses=True,
)
IMPORTS = Stream(
    name="imports",
    operation="ReportListImportHistory",
    row="WSImportHistory",
    per=Per.LIST,
    paged=True,
    dated=True,
    retention_days=31,
    key_properties=("ImportFileID",),
    replication_key="StartDate",
)
CAMPAIGNS = Stream(
    name="campaigns",
    operation="GetCampaignCollection",
    row="WSCampaign",
    per=Per.LIST,
    key_properties=("CampaignID",),
)
TRANSACTIONAL_MESSAGES = Stream(
    name="transactional_messages",
    operation="GetTransactionalMessageCollection",
    row="WSTransactionalMessage",
    per=Per.LIST,
    key_properties=("ListID", "TransactionalMsgID"),
)
SAVED_MESSAGES = Stream(
    name="saved_messages",
    operation="GetSavedMessageCollection",
    row="WSSavedMessage",
    per=Per.LIST,
    key_properties=("ListID", "SavedMsgID"),
)
CONVERSATIONS = Stream(
    name="conversations",
    operation="ReportListConversationActivity",
    row="WSConversationActivity",
    per=Per.LIST,
    options=("IncludeTerminated",),
    key_properties=("ConversationID",),
)
CONVERSATION_DELIVERIES = Stream(
    name="conversation_deliveries",
    operation="ReportListConversationDelivery",
    row="WSConversationDelivery",
    per=Per.LIST,
    options=("IncludeTerminated",),
    key_properties=("ConversationID",),
)
CONVERSATION_LINKS = Stream(
    name="conversation_links",
    operation="ReportConversationLinkClick",
    row="WSConversationLinkClick",
    per=Per.CONVERSATION,
    paged=True,
    key_properties=("ConversationID", "MsgID", "LinkID"),
    holds_addresses=True,
)
CONVERSATION_SENDS = Stream(
    name="conversation_sends",
    operation="ReportConversationContactDelivery",
    row="WSConversationContactDelivery",
    per=Per.CONVERSATION,
    paged=True,
    dated=True,
    key_properties=("ConversationID", "MsgID", "EmailAddress", "SendDate"),
    replication_key="SendDate",
    count_column="DeliverCount",
    holds_addresses=True,
)
CONVERSATION_OPENS = Stream(
    name="conversation_opens",
    operation="ReportConversationContactOpen",
    row="WSConversationContactOpen",
    per=Per.CONVERSATION,
    paged=True,
    dated=True,
    key_properties=("ConversationID", "MsgID", "EmailAddress", "OpenDate"),
    replication_key="OpenDate",
    count_column="OpenCount",
    holds_addresses=True,
)
CONVERSATION_READS = Stream(
    name="conversation_reads",
    operation="ReportConversationContactRead",
    row="WSConversationContactRead",
    per=Per.CONVERSATION,
    paged=True,
    dated=True,
    key_properties=("ConversationID", "MsgID", "EmailAddress", "ReadDate"),
    replication_key="ReadDate",
    count_column="ReadCount",
    holds_addresses=True,
)
CONVERSATION_BOUNCES = Stream(
    name="conversation_bounces",
    operation="ReportConversationContactBounce",
    row="WSConversationContactBounce",
    per=Per.CONVERSATION,
    paged=True,
    dated=True,
    key_properties=("ConversationID", "MsgID", "EmailAddress", "BounceDate"),
    replication_key="BounceDate",
    holds_addresses=True,
)
CONVERSATION_UNSUBS = Stream(
    name="conversation_unsubs",
    operation="ReportConversationContactRemoval",
    row="WSConversationContactRemoval",
    per=Per.CONVERSATION,
    paged=True,
    dated=True,
    key_properties=("ConversationID", "MsgID", "EmailAddress", "RemoveDate"),
    replication_key="RemoveDate",
    count_column="RemoveCount",
    holds_addresses=True,
)
COMPLAINTS = Stream(
    name="complaints",
    operation="ReportAdminContactFeedbackLoop",
    row="WSFeedbackLoopListing",
    per=Per.ACCOUNT,
    paged=True,
    dated=True,
    key_properties=("ListID", "MessageID", "EmailAddress", "AbuseDate"),
    replication_key="AbuseDate",
    holds_addresses=True,
)

# In walk order: parents before their children.
STREAMS = (
    LISTS,
    MESSAGES,
    MESSAGE_SENDS,
    MESSAGE_OPENS,
    MESSAGE_CLICKS,
    MESSAGE_READS,
    MESSAGE_BOUNCES,
    MESSAGE_UNSUBS,
    SUBSCRIBED_CONTACTS,
    MESSAGE_LINKS,
    MESSAGE_LOCATION_OPENS,
    MESSAGE_LOCATION_READS,
    MESSAGE_LOCATION_CLICKS,
    MESSAGE_PASSALONGS,
    MESSAGE_ANALYTICS,
    MESSAGE_DELIVERIES,
    LIST_UNSUBS,
    LIST_HYGIENE,
    IMPORTS,
    CAMPAIGNS,
    TRANSACTIONAL_MESSAGES,
    SAVED_MESSAGES,
    CONVERSATIONS,
    CONVERSATION_DELIVERIES,
    CONVERSATION_LINKS,
    CONVERSATION_SENDS,
    CONVERSATION_OPENS,
    CONVERSATION_READS,
    CONVERSATION_BOUNCES,
    CONVERSATION_UNSUBS,
    COMPLAINTS,
)
BY_NAME = {stream.name: stream for stream in STREAMS}

# The streams that a run without a catalog syncs.
PUBLISHED = tuple(stream for stream in STREAMS if stream.is_published)
_PARENT_PER = {
    Per.LIST: LISTS,
    Per.MESSAGE: MESSAGES,
    Per.BATCH: MESSAGES,
    Per.CONVERSATION: CONVERSATIONS,
}
# The streams that supply the IDs for the requests of others.
PARENTS = frozenset(_PARENT_PER.values())


def with_parents(streams: Iterable[Stream]) -> tuple[Stream, ...]:
    """Return these streams and all their parents, in the order of STREAMS."""
    found = set(streams)
    while parents := {stream.parent for stream in found if stream.parent} - found:
        found |= parents
    return tuple(stream for stream in STREAMS if stream in found)


@dataclass(frozen=True, eq=False)
class Table:
    """A stream's table under one config: its schema and key.

    `key_defaults` are the values of key columns that Listrak may leave empty: keys are never null.
    """

    stream: Stream
    schema: dict[str, Any]
    key_properties: tuple[str, ...]
    key_defaults: dict[str, str]

    @property
    def depends_on_timezone(self) -> bool:
        """Whether `timezone` changes the values of a column."""
        columns = self.schema["properties"].values()
        has_dates = any(column.get("format") == "date-time" for column in columns)
        return has_dates or bool(self.stream.utc_text)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, in schema order."""
        return tuple(self.schema["properties"])


def resolve_table(stream: Stream, config: Config) -> Table:
    """Read a stream's schema and return its table under this config."""
    text = files("tap_listrak").joinpath(f"schemas/{stream.name}.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    typed = stream.event_dates if config.typed_event_dates else ()
    event_key = stream.event_key if config.keep_every_event else ()
    for column in typed:
        schema["properties"][column]["format"] = "date-time"
    for column in event_key:
        schema["properties"][column]["type"] = "string"
    key = (*stream.key_properties, *event_key)
    dates = [column for column in key if schema["properties"][column].get("format") == "date-time"]
    texts = list(event_key)
    if not stream.is_published:
        texts += [column for column in key if "string" in schema["properties"][column]["type"]]
    defaults = {**dict.fromkeys(texts, ""), **dict.fromkeys(dates, _NO_DATE)}
    return Table(stream, schema, key, defaults)


def resolve_tables(config: Config) -> dict[Stream, Table]:
    """Return the table of each stream under this config."""
    return {stream: resolve_table(stream, config) for stream in STREAMS}
