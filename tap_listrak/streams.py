"""The nine streams, as data: one entry each, from which everything else derives.

To add a stream, add an entry here and its JSON schema in `schemas/`.
Operations, arguments and row elements are those of Listrak's WSDL.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, eq=False)
class Stream:
    """One table: where its rows come from, and what makes a row its own.

    `count` names the column of messages that holds about how many rows a message has here.
    `string_dates` pass through as sent; `utc_strings` are strings that hold RFC 3339 in UTC.
    """

    name: str
    operation: str
    row: str
    arguments: tuple[str, ...]
    key: tuple[str, ...]
    parent: Stream | None = None
    bookmark: str | None = None
    count: str | None = None
    utc_strings: tuple[str, ...] = ()

    @property
    def parent_key(self) -> str | None:
        """The parent's key column, which every row carries: ListID or MsgID."""
        return self.parent.key[0] if self.parent else None

    @property
    def of_message(self) -> bool:
        """Whether rows are asked for message by message."""
        return self.parent_key == "MsgID"

    def schema(self) -> dict[str, Any]:
        """Read the stream's JSON schema, whole."""
        text = files("tap_listrak").joinpath(f"schemas/{self.name}.json").read_text("utf-8")
        schema: dict[str, Any] = json.loads(text)
        return schema


_MSG_RANGE = ("MsgID", "StartDate", "EndDate", "Page")

LISTS = Stream(
    name="lists",
    operation="GetContactListCollection",
    row="WSContactList",
    arguments=(),
    key=("ListID",),
)
MESSAGES = Stream(
    name="messages",
    operation="ReportListMessageActivity",
    row="WSMessageActivity",
    arguments=("ListID", "StartDate", "EndDate", "IncludeTestMessages"),
    key=("MsgID",),
    parent=LISTS,
)
MESSAGE_SENDS = Stream(
    name="message_sends",
    operation="ReportMessageContactSent",
    row="WSMessageRecipient",
    arguments=("MsgID", "Page"),
    key=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    bookmark="SendDate",
    count="DeliverCount",
)
MESSAGE_OPENS = Stream(
    name="message_opens",
    operation="ReportRangeMessageContactOpen",
    row="WSContactOpen",
    arguments=_MSG_RANGE,
    key=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    bookmark="OpenDate",
    count="OpenCount",
)
MESSAGE_CLICKS = Stream(
    name="message_clicks",
    operation="ReportRangeMessageContactClick",
    row="WSContactClick",
    arguments=_MSG_RANGE,
    key=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    bookmark="ClickDate",
    count="ClickCount",
)
MESSAGE_READS = Stream(
    name="message_reads",
    operation="ReportRangeMessageContactRead",
    row="WSContactRead",
    arguments=_MSG_RANGE,
    key=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    bookmark="ReadDate",
    count="ReadCount",
)
MESSAGE_BOUNCES = Stream(
    name="message_bounces",
    operation="ReportRangeMessageContactBounces",
    row="WSContactBounce",
    arguments=_MSG_RANGE,
    key=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    bookmark="BounceDate",
)
MESSAGE_UNSUBS = Stream(
    name="message_unsubs",
    operation="ReportRangeMessageContactRemoval",
    row="WSContactRemovalInfo",
    arguments=_MSG_RANGE,
    key=("MsgID", "EmailAddress"),
    parent=MESSAGES,
    bookmark="RemovalDate",
    count="RemoveCount",
    utc_strings=("AdditionDate", "RemovalDate"),
)
SUBSCRIBED_CONTACTS = Stream(
    name="subscribed_contacts",
    operation="ReportRangeSubscribedContacts",
    row="WSContactSubscriptionInfo",
    arguments=("ListID", "StartDate", "EndDate", "Page"),
    key=("ContactID", "ListID"),
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
