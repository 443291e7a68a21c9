"""The operations of the v31 contract that are served, read from its WSDL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from lxml import etree

NAMESPACE: Final = "http://webservices.listrak.com/v31/"
ID_OF: Final = {"list": "ListID", "message": "MsgID", "conversation": "ConversationID"}
"""The column that identifies the parent of an operation's rows; the account has no ID."""

Value: TypeAlias = str | list[str] | dict[str, str] | None
"""An element's value: text, None for `xsi:nil`, texts of a repeated element, or children."""
Row: TypeAlias = dict[str, Value]
"""One row as on the wire, by element name in the contract's order, without absent elements."""


@dataclass(frozen=True)
class Operation:
    """One operation: its arguments, its rows, and their table.

    key: that of its rows, with the parent's ID if the row lacks it. date: the row's date, by which
    StartDate and EndDate select. row: name of the row element. columns, arguments: types by name,
    such as int, dateTime, ArrayOfInt. takes_exception: it takes and returns a WSException.
    """

    name: str
    table: str
    key: tuple[str, ...]
    date: str | None
    row: str
    columns: Mapping[str, str]
    arguments: Mapping[str, str]
    takes_exception: bool

    @property
    def asked_by(self) -> str:
        """The parent of its rows, as in ID_OF, or "account". Analytics belong to a list."""
        found = (parent for parent, ID in ID_OF.items() if ID in self.arguments)
        return next(found, "list" if "MsgIDs" in self.arguments else "account")


# Operation, table, key and date. The date is marked by * in the key, or follows it in parentheses.
_PUBLISHED: Final = """
GetContactListCollection lists ListID
ReportListMessageActivity messages MsgID (SendDate)
ReportMessageContactSent message_sends MsgID EmailAddress
ReportRangeMessageContactOpen message_opens MsgID EmailAddress (OpenDate)
ReportRangeMessageContactRead message_reads MsgID EmailAddress (ReadDate)
ReportRangeMessageContactClick message_clicks MsgID EmailAddress (ClickDate)
ReportRangeMessageContactBounces message_bounces MsgID EmailAddress (BounceDate)
ReportRangeMessageContactRemoval message_unsubs MsgID EmailAddress (RemovalDate)
ReportRangeSubscribedContacts subscribed_contacts ContactID ListID (AdditionDate)
"""
PASSALONGS: Final = "ReportRangeMessageContactPassalong"
_FURTHER: Final = f"""
ReportRangeListContactRemoval list_unsubs ContactID ListID RemovalDate*
ReportRangeListContactHygiene list_hygiene ContactID ListID HygieneDate*
ReportListImportHistory imports ImportFileID (StartDate)
GetCampaignCollection campaigns CampaignID
GetTransactionalMessageCollection transactional_messages ListID TransactionalMsgID
GetSavedMessageCollection saved_messages ListID SavedMsgID
ReportListMessageDelivery message_deliveries MsgID (SendDate)
GetMessageAnalyticsInformation message_analytics MsgID
ReportMessageLinkClick message_links MsgID LinkID
ReportMessageLocationOpen message_location_opens MsgID CountryID RegionID
ReportMessageLocationRead message_location_reads MsgID CountryID RegionID
ReportMessageLocationClick message_location_clicks MsgID CountryID RegionID
{PASSALONGS} message_passalongs MsgID FromEmailAddress ToEmailAddress PassAlongDate*
ReportListConversationActivity conversations ConversationID
ReportListConversationDelivery conversation_deliveries ConversationID
ReportConversationLinkClick conversation_links ConversationID MsgID LinkID
ReportConversationContactDelivery conversation_sends ConversationID MsgID EmailAddress SendDate*
ReportConversationContactOpen conversation_opens ConversationID MsgID EmailAddress OpenDate*
ReportConversationContactRead conversation_reads ConversationID MsgID EmailAddress ReadDate*
ReportConversationContactBounce conversation_bounces ConversationID MsgID EmailAddress BounceDate*
ReportConversationContactRemoval conversation_unsubs ConversationID MsgID EmailAddress RemoveDate*
ReportAdminContactFeedbackLoop complaints ListID MessageID EmailAddress AbuseDate*
"""

_WSDL: Final = "{http://schemas.xmlsoap.org/wsdl/}"
_XS: Final = "{http://www.w3.org/2001/XMLSchema}"
_CONTRACT: Final = Path(__file__).with_name("listrak_v31_full.wsdl").read_bytes()


def _operations() -> dict[str, Operation]:
    """Read the operations from the WSDL."""
    fields = {
        str(each.get("name")): {
            str(field.get("name")): str(field.get("type")).partition(":")[2]
            for field in each.iterfind(f".//{_XS}sequence/{_XS}element")
        }
        for each in etree.fromstring(_CONTRACT).iterfind(f".//{_XS}schema/*")
    }
    operations = {}
    for line in f"{_PUBLISHED.strip()}{_FURTHER}".splitlines():
        name, table, *columns = line.split()
        date = next((each.strip("*()") for each in columns if each[-1] in "*)"), None)
        key = tuple(each.rstrip("*") for each in columns if each[0] != "(")
        arguments = dict(fields[name])
        takes_exception = arguments.pop("WSException", None) is not None
        (row,) = fields[fields[f"{name}Response"][f"{name}Result"]]
        operations[name] = Operation(
            name, table, key, date, row, fields[row], arguments, takes_exception
        )
    return operations


OPERATIONS: Final[Mapping[str, Operation]] = _operations()
NAME_OF: Final = {operation.table: operation.name for operation in OPERATIONS.values()}
"""The operation that returns a table's rows."""
PUBLISHED_OPERATIONS: Final = tuple(OPERATIONS)[:9]
"""The operations of the nine published tables."""
FURTHER_OPERATIONS: Final = tuple(OPERATIONS)[9:]
"""Those of the further tables."""
MESSAGE_OPERATIONS: Final = tuple(
    NAME_OF[f"message_{kind}"]
    for kind in ("sends", "opens", "reads", "clicks", "bounces", "unsubs")
)
"""The six operations of the published tables that are called per message."""
CONVERSATION_OPERATIONS: Final = tuple(
    NAME_OF[f"conversation_{kind}"] for kind in ("sends", "opens", "reads", "bounces", "unsubs")
)
"""The five operations that return a conversation's events."""


def read_wsdl(which: Literal["full", "nine"]) -> bytes:
    """Return the contract with all 89 operations, or with those of the nine published tables."""
    if which == "full":
        return _CONTRACT
    root = etree.fromstring(_CONTRACT)
    for each in [*root.iter(f"{_WSDL}operation")]:
        parent = each.getparent()
        if each.get("name") not in PUBLISHED_OPERATIONS and parent is not None:
            parent.remove(each)
    return etree.tostring(root, encoding="utf-8", xml_declaration=True)
