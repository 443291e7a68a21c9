"""The nine operations of the v31 contract, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

NAMESPACE: Final = "http://webservices.listrak.com/v31/"
WSDL: Final = Path(__file__).with_name("listrak_v31.wsdl")

Value: TypeAlias = str | list[str] | dict[str, str] | None
"""What an element holds: text, None for `xsi:nil`, texts of a repeated element, or children."""

Row: TypeAlias = dict[str, Value]
"""One row as on the wire, by element name in the contract's order. A missing name is an absent
element, None a nil one and "" an empty one."""


@dataclass(frozen=True)
class Operation:
    """One operation: what it takes, what it gives, and the table that its rows fill."""

    name: str
    table: str
    row: str
    """Name of the row element."""
    arguments: Mapping[str, str]
    """Type (int, dateTime, boolean) by name; all are required."""
    date: str | None = None
    """The row's date, which StartDate and EndDate select by."""
    date_is_text: bool = False
    """The date is an xs:string, of no fixed form."""
    takes_exception: bool = False
    """Takes WSException by reference, and so gives one back."""


_RANGE: Final = {"StartDate": "dateTime", "EndDate": "dateTime"}
_EVENTS: Final = {"MsgID": "int", **_RANGE, "Page": "int"}

OPERATIONS: Final[Mapping[str, Operation]] = {
    operation.name: operation
    for operation in (
        Operation("GetContactListCollection", "lists", "WSContactList", {}),
        Operation(
            "ReportListMessageActivity",
            "messages",
            "WSMessageActivity",
            {"ListID": "int", **_RANGE, "IncludeTestMessages": "boolean"},
            date="SendDate",
            takes_exception=True,
        ),
        Operation(
            "ReportMessageContactSent",
            "message_sends",
            "WSMessageRecipient",
            {"MsgID": "int", "Page": "int"},
            takes_exception=True,
        ),
        Operation(
            "ReportRangeMessageContactOpen",
            "message_opens",
            "WSContactOpen",
            _EVENTS,
            date="OpenDate",
            date_is_text=True,
        ),
        Operation(
            "ReportRangeMessageContactRead",
            "message_reads",
            "WSContactRead",
            _EVENTS,
            date="ReadDate",
            date_is_text=True,
        ),
        Operation(
            "ReportRangeMessageContactClick",
            "message_clicks",
            "WSContactClick",
            _EVENTS,
            date="ClickDate",
            date_is_text=True,
        ),
        Operation(
            "ReportRangeMessageContactBounces",
            "message_bounces",
            "WSContactBounce",
            _EVENTS,
            date="BounceDate",
            date_is_text=True,
        ),
        Operation(
            "ReportRangeMessageContactRemoval",
            "message_unsubs",
            "WSContactRemovalInfo",
            _EVENTS,
            date="RemovalDate",
        ),
        Operation(
            "ReportRangeSubscribedContacts",
            "subscribed_contacts",
            "WSContactSubscriptionInfo",
            {"ListID": "int", **_RANGE, "Page": "int"},
            date="AdditionDate",
        ),
    )
}

MESSAGE_OPERATIONS: Final = tuple(
    operation.name for operation in OPERATIONS.values() if "MsgID" in operation.arguments
)
