"""The nine streams, as data: one entry each, from which everything else derives.

To add a stream, add an entry here and its JSON schema in `schemas/`.
Operations, arguments and row elements are those of Listrak's WSDL.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from tap_listrak.config import Config

# What stands in a key column for a date that is absent: a key is never null.
_NO_DATE = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, eq=False)
class Stream:
    """One table: where its rows come from, and what tells one row from another.

    `arguments` are those of the operation, by Listrak's names. `replication_key` names the bookmark
    in the state; streams without one are given whole in each run. `count_column` is the column of
    messages that holds about how many rows a message has here.
    `event_dates` are the columns that are text unless `typed_event_dates` is set; as text they are
    as sent, but those of `utc_text` hold RFC 3339 in UTC. `event_key` is what tells one event of a
    contact from another, and joins the key with `keep_every_event`.
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

    def __repr__(self) -> str:
        return self.name

    @property
    def parent_key(self) -> str | None:
        """The parent's key column, which every row carries: ListID or MsgID."""
        return self.parent.key_properties[0] if self.parent else None

    @property
    def is_by_message(self) -> bool:
        """Whether rows are asked for message by message."""
        return self.parent_key == "MsgID"

    @property
    def is_by_list(self) -> bool:
        """Whether rows are asked for list by list, and no other stream is asked by them."""
        return self.parent_key == "ListID" and self not in PARENTS

    @property
    def is_paged(self) -> bool:
        """Whether the operation gives its rows page by page."""
        return "Page" in self.arguments

    @property
    def has_date_range(self) -> bool:
        """Whether the operation takes the range of dates that is asked for."""
        return "StartDate" in self.arguments


_MSG_RANGE = ("MsgID", "StartDate", "EndDate", "Page")

LISTS = Stream(
    name="lists",
    operation="GetContactListCollection",
    row="WSContactList",
    arguments=(),
    key_properties=("ListID",),
)
MESSAGES = Stream(
    name="messages",
    operation="ReportListMessageActivity",
    row="WSMessageActivity",
    arguments=("ListID", "StartDate", "EndDate", "IncludeTestMessages"),
    key_properties=("MsgID",),
    parent=LISTS,
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
)
SUBSCRIBED_CONTACTS = Stream(
    name="subscribed_contacts",
    operation="ReportRangeSubscribedContacts",
    row="WSContactSubscriptionInfo",
    arguments=("ListID", "StartDate", "EndDate", "Page"),
    key_properties=("ContactID", "ListID"),
    parent=LISTS,
    replication_key="AdditionDate",
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
)
BY_NAME = {stream.name: stream for stream in STREAMS}

# What other streams are asked by: without its rows, theirs cannot be had.
PARENTS = frozenset(stream.parent for stream in STREAMS if stream.parent)


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
    absent = {column: _NO_DATE if column in typed else "" for column in event_key}
    return Table(stream, schema, (*stream.key_properties, *event_key), absent)


def resolve_tables(config: Config) -> dict[Stream, Table]:
    """Return the table of each stream under this config."""
    return {stream: resolve_table(stream, config) for stream in STREAMS}
