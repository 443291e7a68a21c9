"""The operations of the v31 contract that are served, as data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from lxml import etree

NAMESPACE: Final = "http://webservices.listrak.com/v31/"
AskedBy: TypeAlias = Literal["account", "list", "message", "conversation"]
ID_OF: Final[Mapping[AskedBy, str]] = {
    "list": "ListID",
    "message": "MsgID",
    "conversation": "ConversationID",
}
"""The column that identifies the parent of an operation's rows; the account has no ID."""

Value: TypeAlias = str | list[str] | dict[str, str] | None
"""An element's value: text, None for `xsi:nil`, texts of a repeated element, or children."""

Row: TypeAlias = dict[str, Value]
"""One row as on the wire, by element name in the contract's order. A missing name is an absent
element, None a nil one and "" an empty one."""


@dataclass(frozen=True)
class Operation:
    """One operation: its arguments, its rows, and their table."""

    name: str
    table: str
    row: str
    """Name of the row element."""
    asked_by: AskedBy
    """The parent of its rows. Analytics belong to a list, although requested by MsgIDs."""
    arguments: Mapping[str, str]
    """Type (int, ints, dateTime, boolean) by name; all but ints are required."""
    key: tuple[str, ...]
    """The key of its rows, with the parent's ID if the row lacks it."""
    date: str | None = None
    """The row's date, by which StartDate and EndDate select."""
    date_is_text: bool = False
    """The date is an xs:string without a fixed format."""
    takes_exception: bool = False
    """Takes WSException by reference, and so returns one."""


_RANGE: Final = {"StartDate": "dateTime", "EndDate": "dateTime"}
_EVENTS: Final = {"MsgID": "int", **_RANGE, "Page": "int"}
_LIST_EVENTS: Final = {"ListID": "int", **_RANGE, "Page": "int"}
_LIST_MESSAGES: Final = {"ListID": "int", **_RANGE, "IncludeTestMessages": "boolean"}
_LIST_CONVERSATIONS: Final = {"ListID": "int", "IncludeTerminated": "boolean"}
_CONVERSATION_EVENTS: Final = {"ConversationID": "int", "Page": "int", **_RANGE}


def _message_event(kind: str, table: str, row: str, date: str, is_text: bool = True) -> Operation:
    return Operation(
        f"ReportRangeMessageContact{kind}",
        table,
        row,
        "message",
        _EVENTS,
        ("MsgID", "EmailAddress"),
        date=date,
        date_is_text=is_text,
    )


def _conversation_event(kind: str, table: str, row: str, date: str) -> Operation:
    return Operation(
        f"ReportConversationContact{kind}",
        table,
        row,
        "conversation",
        _CONVERSATION_EVENTS,
        ("ConversationID", "MsgID", "EmailAddress", date),
        date=date,
        takes_exception=True,
    )


_PUBLISHED: Final = (
    Operation("GetContactListCollection", "lists", "WSContactList", "account", {}, ("ListID",)),
    Operation(
        "ReportListMessageActivity",
        "messages",
        "WSMessageActivity",
        "list",
        _LIST_MESSAGES,
        ("MsgID",),
        date="SendDate",
        takes_exception=True,
    ),
    Operation(
        "ReportMessageContactSent",
        "message_sends",
        "WSMessageRecipient",
        "message",
        {"MsgID": "int", "Page": "int"},
        ("MsgID", "EmailAddress"),
        takes_exception=True,
    ),
    _message_event("Open", "message_opens", "WSContactOpen", "OpenDate"),
    _message_event("Read", "message_reads", "WSContactRead", "ReadDate"),
    _message_event("Click", "message_clicks", "WSContactClick", "ClickDate"),
    _message_event("Bounces", "message_bounces", "WSContactBounce", "BounceDate"),
    _message_event("Removal", "message_unsubs", "WSContactRemovalInfo", "RemovalDate", False),
    Operation(
        "ReportRangeSubscribedContacts",
        "subscribed_contacts",
        "WSContactSubscriptionInfo",
        "list",
        _LIST_EVENTS,
        ("ContactID", "ListID"),
        date="AdditionDate",
    ),
)

_FURTHER: Final = (
    Operation(
        "ReportRangeListContactRemoval",
        "list_unsubs",
        "WSContactRemovalInfo",
        "list",
        _LIST_EVENTS,
        ("ContactID", "ListID", "RemovalDate"),
        date="RemovalDate",
    ),
    Operation(
        "ReportRangeListContactHygiene",
        "list_hygiene",
        "WSContactHygieneInfo",
        "list",
        _LIST_EVENTS,
        ("ContactID", "ListID", "HygieneDate"),
        date="HygieneDate",
        date_is_text=True,
    ),
    Operation(
        "ReportListImportHistory",
        "imports",
        "WSImportHistory",
        "list",
        {"ListID": "int", "Page": "int", **_RANGE},
        ("ImportFileID",),
        date="StartDate",
        takes_exception=True,
    ),
    Operation(
        "GetCampaignCollection",
        "campaigns",
        "WSCampaign",
        "list",
        {"ListID": "int"},
        ("CampaignID",),
    ),
    Operation(
        "GetTransactionalMessageCollection",
        "transactional_messages",
        "WSTransactionalMessage",
        "list",
        {"ListID": "int"},
        ("ListID", "TransactionalMsgID"),
    ),
    Operation(
        "GetSavedMessageCollection",
        "saved_messages",
        "WSSavedMessage",
        "list",
        {"ListID": "int"},
        ("ListID", "SavedMsgID"),
    ),
    Operation(
        "ReportListMessageDelivery",
        "message_deliveries",
        "WSMessageDelivery",
        "list",
        _LIST_MESSAGES,
        ("MsgID",),
        date="SendDate",
        takes_exception=True,
    ),
    Operation(
        "GetMessageAnalyticsInformation",
        "message_analytics",
        "WSMessageAnalyticsInformation",
        "list",
        {"MsgIDs": "ints"},
        ("MsgID",),
    ),
    Operation(
        "ReportMessageLinkClick",
        "message_links",
        "WSMessageLink",
        "message",
        {"MsgID": "int", "Page": "int"},
        ("MsgID", "LinkID"),
        takes_exception=True,
    ),
    *(
        Operation(
            f"ReportMessageLocation{kind}",
            f"message_location_{kind.lower()}s",
            f"WSMessageLocation{kind}",
            "message",
            {"MsgID": "int", "Page": "int"},
            ("MsgID", "CountryID", "RegionID"),
            takes_exception=True,
        )
        for kind in ("Open", "Read", "Click")
    ),
    Operation(
        "ReportRangeMessageContactPassalong",
        "message_passalongs",
        "WSContactPassalong",
        "message",
        _EVENTS,
        ("MsgID", "FromEmailAddress", "ToEmailAddress", "PassAlongDate"),
        date="PassAlongDate",
        date_is_text=True,
    ),
    Operation(
        "ReportListConversationActivity",
        "conversations",
        "WSConversationActivity",
        "list",
        _LIST_CONVERSATIONS,
        ("ConversationID",),
        takes_exception=True,
    ),
    Operation(
        "ReportListConversationDelivery",
        "conversation_deliveries",
        "WSConversationDelivery",
        "list",
        _LIST_CONVERSATIONS,
        ("ConversationID",),
        takes_exception=True,
    ),
    Operation(
        "ReportConversationLinkClick",
        "conversation_links",
        "WSConversationLinkClick",
        "conversation",
        {"ConversationID": "int", "Page": "int"},
        ("ConversationID", "MsgID", "LinkID"),
        takes_exception=True,
    ),
    _conversation_event(
        "Delivery", "conversation_sends", "WSConversationContactDelivery", "SendDate"
    ),
    _conversation_event("Open", "conversation_opens", "WSConversationContactOpen", "OpenDate"),
    _conversation_event("Read", "conversation_reads", "WSConversationContactRead", "ReadDate"),
    _conversation_event(
        "Bounce", "conversation_bounces", "WSConversationContactBounce", "BounceDate"
    ),
    _conversation_event(
        "Removal", "conversation_unsubs", "WSConversationContactRemoval", "RemoveDate"
    ),
    Operation(
        "ReportAdminContactFeedbackLoop",
        "complaints",
        "WSFeedbackLoopListing",
        "account",
        {**_RANGE, "Page": "int"},
        ("ListID", "MessageID", "EmailAddress", "AbuseDate"),
        date="AbuseDate",
        takes_exception=True,
    ),
)

OPERATIONS: Final[Mapping[str, Operation]] = {
    operation.name: operation for operation in (*_PUBLISHED, *_FURTHER)
}
PUBLISHED_OPERATIONS: Final = tuple(operation.name for operation in _PUBLISHED)
"""The operations of the nine published tables."""
FURTHER_OPERATIONS: Final = tuple(operation.name for operation in _FURTHER)
"""Those of the further tables."""
MESSAGE_OPERATIONS: Final = tuple(
    operation.name for operation in _PUBLISHED if operation.asked_by == "message"
)
"""The six operations of the published tables that are called per message."""
CONVERSATION_OPERATIONS: Final = tuple(
    operation.name
    for operation in _FURTHER
    if operation.asked_by == "conversation" and operation.date is not None
)
"""The five operations that return a conversation's events."""
PASSALONGS: Final = "ReportRangeMessageContactPassalong"
_FULL: Final = Path(__file__).with_name("listrak_v31_full.wsdl")


def read_wsdl(which: Literal["full", "nine"]) -> bytes:
    """Return the contract of all 89 operations, or of those of the nine published tables."""
    contract = _FULL.read_bytes()
    return contract if which == "full" else _only(contract, PUBLISHED_OPERATIONS)


def _only(contract: bytes, operations: Collection[str]) -> bytes:
    """Take the other operations out of a WSDL, and the elements and types that nothing names."""
    root = etree.fromstring(contract)
    wsdl, schema = "{http://schemas.xmlsoap.org/wsdl/}", "{http://www.w3.org/2001/XMLSchema}"
    for operation in [*root.iter(f"{wsdl}operation")]:
        if operation.get("name") not in operations:
            _remove(operation)
    named = [*root.iter(f"{wsdl}message"), *root.iterfind(f".//{schema}schema/*")]
    while named:
        used = {
            str(value).partition(":")[2]
            for element in root.iter()
            for name, value in element.attrib.items()
            if name != "name"
        }
        unused = [element for element in named if element.get("name") not in used]
        if not unused:
            break
        for element in unused:
            _remove(element)
            named.remove(element)
    return etree.tostring(root, encoding="utf-8", xml_declaration=True)


def _remove(element: etree._Element) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)
