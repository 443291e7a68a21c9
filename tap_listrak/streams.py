"""The streams, as data: one entry each, from which everything else derives.

To add a stream, add an entry here and its JSON schema in `schemas/`.
Operations, arguments and row elements are those of Listrak's WSDL.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from tap_listrak.config import MIRRORABLE, Config

# What stands in a key column for a date that is absent: a key is never null.
_NO_DATE = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, eq=False)
class Stream:
    """One table: where its rows come from, and what tells one row from another.

    `arguments` are those of the operation, by Listrak's names: they tell what it is asked by (the
    account, a list, a message, a conversation, or many messages at once), and whether in pages and
    for a range of dates. `replication_key` names the bookmark in the state; streams without one are
    given whole in each run. `count_column` is the column of the parent that holds about how many
    rows it has here.
    `event_dates` are the columns that are text unless `typed_event_dates` is set; as text they are
    as sent, but those of `utc_text` hold RFC 3339 in UTC. `event_key` is what tells one event of a
    contact from another, and joins the key with `keep_every_event`.
    A stream that `is_published` is one of the nine of the published integration, which are synced
    without a catalog, and which every service has.
    """

    name: str
    operation: str
    row: str
    arguments: tuple[str, ...]
    key_properties: tuple[str, ...]
    parent: Stream | None = None
    replication_key: str | None = None
    count_column: str | None = None
    event_dates: tuple[str, ...] = ()
    utc_text: tuple[str, ...] = ()
    event_key: tuple[str, ...] = ()
    is_published: bool = False

    def __repr__(self) -> str:
        return self.name

    @property
    def parent_key(self) -> str | None:
        """The parent's key column: ListID, MsgID or ConversationID."""
        return self.parent.key_properties[0] if self.parent else None

    @property
    def supplied_key(self) -> str | None:
        """The parent's key where it is what is asked by: every row carries it from the request."""
        return self.parent_key if self.parent_key in self.arguments else None

    @property
    def is_by_message(self) -> bool:
        """Whether rows are asked for message by message."""
        return "MsgID" in self.arguments

    @property
    def is_by_batch(self) -> bool:
        """Whether rows are asked for of many messages at once."""
        return "MsgIDs" in self.arguments

    @property
    def is_by_conversation(self) -> bool:
        """Whether rows are asked for conversation by conversation."""
        return "ConversationID" in self.arguments

    @property
    def is_by_list(self) -> bool:
        """Whether rows are asked for list by list, and no other stream is asked by them."""
        return "ListID" in self.arguments and self not in PARENTS

    @property
    def is_by_account(self) -> bool:
        """Whether rows are asked for of the whole account, and no other stream is asked by them."""
        return self.parent is None and self not in PARENTS

    @property
    def is_paged(self) -> bool:
        """Whether the operation gives its rows page by page."""
        return "Page" in self.arguments

    @property
    def has_date_range(self) -> bool:
        """Whether the operation takes the range of dates that is asked for."""
        return "StartDate" in self.arguments

    @property
    def is_of_new_messages(self) -> bool:
        """Whether only messages sent within the range are asked: their rows have no other date."""
        return self.is_by_message and self.replication_key == "SendDate"

    @property
    def takes_turns(self) -> bool:
        """Whether old messages may be asked in turns for these rows, not in every run."""
        return self.is_by_message and not self.is_of_new_messages

    @property
    def can_be_mirrored(self) -> bool:
        """Whether `mirror` may name it."""
        return self.name in MIRRORABLE


_MSG_RANGE = ("MsgID", "StartDate", "EndDate", "Page")

LISTS = Stream(
    name="lists",
    operation="GetContactListCollection",
    row="WSContactList",
    arguments=(),
    key_properties=("ListID",),
    is_published=True,
)
MESSAGES = Stream(
    name="messages",
    operation="ReportListMessageActivity",
    row="WSMessageActivity",
    arguments=("ListID", "StartDate", "EndDate", "IncludeTestMessages"),
    key_properties=("MsgID",),
    parent=LISTS,
    is_published=True,
)
MESSAGE_SENDS = Stream(
    name="message_sends",
    operation="ReportMessageContactSent",
    row="WSMessageRecipient",
    arguments=("MsgID", "Page"),
    key_properties=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    replication_key="SendDate",
    count_column="DeliverCount",
    is_published=True,
)
MESSAGE_OPENS = Stream(
    name="message_opens",
    operation="ReportRangeMessageContactOpen",
    row="WSContactOpen",
    arguments=_MSG_RANGE,
    key_properties=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    replication_key="OpenDate",
    count_column="OpenCount",
    event_dates=("OpenDate",),
    event_key=("OpenDate",),
    is_published=True,
)
MESSAGE_CLICKS = Stream(
    name="message_clicks",
    operation="ReportRangeMessageContactClick",
    row="WSContactClick",
    arguments=_MSG_RANGE,
    key_properties=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    replication_key="ClickDate",
    count_column="ClickCount",
    event_dates=("ClickDate",),
    event_key=("ClickDate", "LinkUrl"),
    is_published=True,
)
MESSAGE_READS = Stream(
    name="message_reads",
    operation="ReportRangeMessageContactRead",
    row="WSContactRead",
    arguments=_MSG_RANGE,
    key_properties=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    replication_key="ReadDate",
    count_column="ReadCount",
    event_dates=("ReadDate",),
    event_key=("ReadDate",),
    is_published=True,
)
MESSAGE_BOUNCES = Stream(
    name="message_bounces",
    operation="ReportRangeMessageContactBounces",
    row="WSContactBounce",
    arguments=_MSG_RANGE,
    key_properties=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    replication_key="BounceDate",
    event_dates=("BounceDate",),
    event_key=("BounceDate",),
    is_published=True,
)
MESSAGE_UNSUBS = Stream(
    name="message_unsubs",
    operation="ReportRangeMessageContactRemoval",
    row="WSContactRemovalInfo",
    arguments=_MSG_RANGE,
    key_properties=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    replication_key="RemovalDate",
    count_column="RemoveCount",
    event_dates=("AdditionDate", "RemovalDate"),
    utc_text=("AdditionDate", "RemovalDate"),
    is_published=True,
)
SUBSCRIBED_CONTACTS = Stream(
    name="subscribed_contacts",
    operation="ReportRangeSubscribedContacts",
    row="WSContactSubscriptionInfo",
    arguments=("ListID", "StartDate", "EndDate", "Page"),
    key_properties=("ContactID", "ListID"),
    parent=LISTS,
    replication_key="AdditionDate",
    is_published=True,
)

# Beyond the published nine. Their event streams keep every event: the date is part of the key.

_LIST_RANGE = ("ListID", "StartDate", "EndDate", "Page")
_CONVERSATION_RANGE = ("ConversationID", "Page", "StartDate", "EndDate")

MESSAGE_LINKS = Stream(
    name="message_links",
    operation="ReportMessageLinkClick",
    row="WSMessageLink",
    arguments=("MsgID", "Page"),
    key_properties=("MsgID", "LinkID"),
    parent=MESSAGES,
    # No column: its rows are totals to date, and have no date of their own.
    replication_key="AskedUntil",
)
MESSAGE_PASSALONGS = Stream(
    name="message_passalongs",
    operation="ReportRangeMessageContactPassalong",
    row="WSContactPassalong",
    arguments=_MSG_RANGE,
    key_properties=("MsgID", "FromEmailAddress", "ToEmailAddress", "PassAlongDate"),
    parent=MESSAGES,
    replication_key="PassAlongDate",
)
MESSAGE_ANALYTICS = Stream(
    name="message_analytics",
    operation="GetMessageAnalyticsInformation",
    row="WSMessageAnalyticsInformation",
    arguments=("MsgIDs",),
    key_properties=("MsgID",),
    parent=MESSAGES,
)
MESSAGE_DELIVERIES = Stream(
    name="message_deliveries",
    operation="ReportListMessageDelivery",
    row="WSMessageDelivery",
    arguments=("ListID", "StartDate", "EndDate", "IncludeTestMessages"),
    key_properties=("MsgID",),
    parent=LISTS,
)
LIST_UNSUBS = Stream(
    name="list_unsubs",
    operation="ReportRangeListContactRemoval",
    row="WSContactRemovalInfo",
    arguments=_LIST_RANGE,
    key_properties=("ContactID", "ListID", "RemovalDate"),
    parent=LISTS,
    replication_key="RemovalDate",
)
LIST_HYGIENE = Stream(
    name="list_hygiene",
    operation="ReportRangeListContactHygiene",
    row="WSContactHygieneInfo",
    arguments=_LIST_RANGE,
    key_properties=("ContactID", "ListID", "HygieneDate"),
    parent=LISTS,
    replication_key="HygieneDate",
)
IMPORTS = Stream(
    name="imports",
    operation="ReportListImportHistory",
    row="WSImportHistory",
    arguments=("ListID", "Page", "StartDate", "EndDate"),
    key_properties=("ImportFileID",),
    parent=LISTS,
    replication_key="StartDate",
)
CAMPAIGNS = Stream(
    name="campaigns",
    operation="GetCampaignCollection",
    row="WSCampaign",
    arguments=("ListID",),
    key_properties=("CampaignID",),
    parent=LISTS,
)
TRANSACTIONAL_MESSAGES = Stream(
    name="transactional_messages",
    operation="GetTransactionalMessageCollection",
    row="WSTransactionalMessage",
    arguments=("ListID",),
    key_properties=("ListID", "TransactionalMsgID"),
    parent=LISTS,
)
CONVERSATIONS = Stream(
    name="conversations",
    operation="ReportListConversationActivity",
    row="WSConversationActivity",
    arguments=("ListID", "IncludeTerminated"),
    key_properties=("ConversationID",),
    parent=LISTS,
)
CONVERSATION_DELIVERIES = Stream(
    name="conversation_deliveries",
    operation="ReportListConversationDelivery",
    row="WSConversationDelivery",
    arguments=("ListID", "IncludeTerminated"),
    key_properties=("ConversationID",),
    parent=LISTS,
)
CONVERSATION_LINKS = Stream(
    name="conversation_links",
    operation="ReportConversationLinkClick",
    row="WSConversationLinkClick",
    arguments=("ConversationID", "Page"),
    key_properties=("ConversationID", "MsgID", "LinkID"),
    parent=CONVERSATIONS,
)
CONVERSATION_SENDS = Stream(
    name="conversation_sends",
    operation="ReportConversationContactDelivery",
    row="WSConversationContactDelivery",
    arguments=_CONVERSATION_RANGE,
    key_properties=("ConversationID", "MsgID", "EmailAddress", "SendDate"),
    parent=CONVERSATIONS,
    replication_key="SendDate",
    count_column="DeliverCount",
)
CONVERSATION_OPENS = Stream(
    name="conversation_opens",
    operation="ReportConversationContactOpen",
    row="WSConversationContactOpen",
    arguments=_CONVERSATION_RANGE,
    key_properties=("ConversationID", "MsgID", "EmailAddress", "OpenDate"),
    parent=CONVERSATIONS,
    replication_key="OpenDate",
    count_column="OpenCount",
)
CONVERSATION_READS = Stream(
    name="conversation_reads",
    operation="ReportConversationContactRead",
    row="WSConversationContactRead",
    arguments=_CONVERSATION_RANGE,
    key_properties=("ConversationID", "MsgID", "EmailAddress", "ReadDate"),
    parent=CONVERSATIONS,
    replication_key="ReadDate",
    count_column="ReadCount",
)
CONVERSATION_BOUNCES = Stream(
    name="conversation_bounces",
    operation="ReportConversationContactBounce",
    row="WSConversationContactBounce",
    arguments=_CONVERSATION_RANGE,
    key_properties=("ConversationID", "MsgID", "EmailAddress", "BounceDate"),
    parent=CONVERSATIONS,
    replication_key="BounceDate",
)
CONVERSATION_UNSUBS = Stream(
    name="conversation_unsubs",
    operation="ReportConversationContactRemoval",
    row="WSConversationContactRemoval",
    arguments=_CONVERSATION_RANGE,
    key_properties=("ConversationID", "MsgID", "EmailAddress", "RemoveDate"),
    parent=CONVERSATIONS,
    replication_key="RemoveDate",
    count_column="RemoveCount",
)
COMPLAINTS = Stream(
    name="complaints",
    operation="ReportAdminContactFeedbackLoop",
    row="WSFeedbackLoopListing",
    arguments=("StartDate", "EndDate", "Page"),
    key_properties=("ListID", "MessageID", "EmailAddress", "AbuseDate"),
    replication_key="AbuseDate",
)

# In the order in which a run walks them: a parent before its children.
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
    MESSAGE_PASSALONGS,
    MESSAGE_ANALYTICS,
    MESSAGE_DELIVERIES,
    LIST_UNSUBS,
    LIST_HYGIENE,
    IMPORTS,
    CAMPAIGNS,
    TRANSACTIONAL_MESSAGES,
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

# Those that are synced without a catalog.
PUBLISHED = tuple(stream for stream in STREAMS if stream.is_published)
# What other streams are asked by: without its rows, theirs cannot be had.
PARENTS = frozenset(stream.parent for stream in STREAMS if stream.parent)


def with_parents(streams: Iterable[Stream]) -> tuple[Stream, ...]:
    """Return these streams and all that they are asked by, in the order of STREAMS."""
    found = set(streams)
    while parents := {stream.parent for stream in found if stream.parent} - found:
        found |= parents
    return tuple(stream for stream in STREAMS if stream in found)


@dataclass(frozen=True, eq=False)
class Table:
    """A stream's table under one config: its schema and key.

    `absent_values` is what stands in those columns of the key that Listrak may leave empty, since a
    key is never null.
    """

    stream: Stream
    schema: dict[str, Any]
    key_properties: tuple[str, ...]
    absent_values: dict[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, in the schema's order."""
        return tuple(self.schema["properties"])


def resolve_table(stream: Stream, config: Config) -> Table:
    """Read the stream's schema, and return its table under this config."""
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
    absent = {**dict.fromkeys(texts, ""), **dict.fromkeys(dates, _NO_DATE)}
    return Table(stream, schema, key, absent)


def resolve_tables(config: Config) -> dict[Stream, Table]:
    """Return the table of each stream under this config."""
    return {stream: resolve_table(stream, config) for stream in STREAMS}
