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
    """One table: where its rows come from, and what makes a row its own.

    `count` names the column of messages that holds about how many rows a message has here.
    `event_dates` are the columns that are text unless `typed_event_dates` is set; as text they are
    as sent, but those of `utc_text` hold RFC 3339 in UTC. `event_key` is what tells one event of a
    contact from another, and joins the key with `keep_every_event`.
    """

    name: str
    operation: str
    row: str
    arguments: tuple[str, ...]
    published_key: tuple[str, ...]
    parent: Stream | None = None
    bookmark: str | None = None
    count: str | None = None
    event_dates: tuple[str, ...] = ()
    utc_text: tuple[str, ...] = ()
    event_key: tuple[str, ...] = ()

    @property
    def parent_key(self) -> str | None:
        """The parent's key column, which every row carries: ListID or MsgID."""
        return self.parent.published_key[0] if self.parent else None

    @property
    def of_message(self) -> bool:
        """Whether rows are asked for message by message."""
        return self.parent_key == "MsgID"

    def key(self, config: Config) -> tuple[str, ...]:
        """Give the key's columns."""
        return (*self.published_key, *self.where_absent(config))

    def schema(self, config: Config) -> dict[str, Any]:
        """Give the JSON schema, with all columns."""
        text = files("tap_listrak").joinpath(f"schemas/{self.name}.json").read_text("utf-8")
        schema: dict[str, Any] = json.loads(text)
        for column in self.event_dates if config.typed_event_dates else ():
            schema["properties"][column]["format"] = "date-time"
        for column in self.where_absent(config):
            schema["properties"][column]["type"] = "string"
        return schema

    def where_absent(self, config: Config) -> dict[str, str]:
        """Give what stands in those columns of the key that Listrak may leave empty."""
        typed = self.event_dates if config.typed_event_dates else ()
        absent = self.event_key if config.keep_every_event else ()
        return {column: _NO_DATE if column in typed else "" for column in absent}


_MSG_RANGE = ("MsgID", "StartDate", "EndDate", "Page")

LISTS = Stream(
    name="lists",
    operation="GetContactListCollection",
    row="WSContactList",
    arguments=(),
    published_key=("ListID",),
)
MESSAGES = Stream(
    name="messages",
    operation="ReportListMessageActivity",
    row="WSMessageActivity",
    arguments=("ListID", "StartDate", "EndDate", "IncludeTestMessages"),
    published_key=("MsgID",),
    parent=LISTS,
)
MESSAGE_SENDS = Stream(
    name="message_sends",
    operation="ReportMessageContactSent",
    row="WSMessageRecipient",
    arguments=("MsgID", "Page"),
    published_key=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    bookmark="SendDate",
    count="DeliverCount",
)
MESSAGE_OPENS = Stream(
    name="message_opens",
    operation="ReportRangeMessageContactOpen",
    row="WSContactOpen",
    arguments=_MSG_RANGE,
    published_key=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    bookmark="OpenDate",
    count="OpenCount",
    event_dates=("OpenDate",),
    event_key=("OpenDate",),
)
MESSAGE_CLICKS = Stream(
    name="message_clicks",
    operation="ReportRangeMessageContactClick",
    row="WSContactClick",
    arguments=_MSG_RANGE,
    published_key=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    bookmark="ClickDate",
    count="ClickCount",
    event_dates=("ClickDate",),
    event_key=("ClickDate", "LinkUrl"),
)
MESSAGE_READS = Stream(
    name="message_reads",
    operation="ReportRangeMessageContactRead",
    row="WSContactRead",
    arguments=_MSG_RANGE,
    published_key=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    bookmark="ReadDate",
    count="ReadCount",
    event_dates=("ReadDate",),
    event_key=("ReadDate",),
)
MESSAGE_BOUNCES = Stream(
    name="message_bounces",
    operation="ReportRangeMessageContactBounces",
    row="WSContactBounce",
    arguments=_MSG_RANGE,
    published_key=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    bookmark="BounceDate",
    event_dates=("BounceDate",),
    event_key=("BounceDate",),
)
MESSAGE_UNSUBS = Stream(
    name="message_unsubs",
    operation="ReportRangeMessageContactRemoval",
    row="WSContactRemovalInfo",
    arguments=_MSG_RANGE,
    published_key=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    bookmark="RemovalDate",
    count="RemoveCount",
    event_dates=("AdditionDate", "RemovalDate"),
    utc_text=("AdditionDate", "RemovalDate"),
)
SUBSCRIBED_CONTACTS = Stream(
    name="subscribed_contacts",
    operation="ReportRangeSubscribedContacts",
    row="WSContactSubscriptionInfo",
    arguments=("ListID", "StartDate", "EndDate", "Page"),
    published_key=("ContactID", "ListID"),
    parent=LISTS,
    bookmark="AdditionDate",
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
