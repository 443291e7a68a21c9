"""An account whose rows stand in lists of their own, each with the run that could first see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from fake_listrak import OPERATIONS, Account, Row
from fake_listrak.clock import Range, instant, write_iso, write_us

OPERATION_OF: Final = {each.table: each.name for each in OPERATIONS.values()}
"""By stream, the operation that gives its rows."""

KEPT_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "lists": ("ListID", "ListName"),
    "messages": ("MsgID", "ListID", "Subject"),
    "message_sends": ("MsgID", "EmailAddress"),
    "message_opens": ("MsgID", "ContactID", "EmailAddress", "OpenDate"),
    "message_clicks": (
        "MsgID",
        "ContactID",
        "EmailAddress",
        "ClickDate",
        "LinkUrl",
        "LinkDescription",
    ),
    "message_reads": ("MsgID", "ContactID", "EmailAddress", "ReadDate"),
    "message_bounces": (
        "MsgID",
        "ContactID",
        "EmailAddress",
        "BounceReason",
        "BounceDetail",
        "BounceDate",
    ),
    "message_unsubs": ("MsgID", "ContactID", "EmailAddress", "RemovalMethod"),
    "subscribed_contacts": ("ContactID", "ListID", "EmailAddress", "AdditionMethod"),
}
"""By stream, columns whose values depend on no option, and which together tell its rows apart."""

MESSAGE_STREAMS: Final = tuple(name for name in KEPT_COLUMNS if name.startswith("message_"))

Identity = tuple[str, ...]


def identity(stream: str, row: Mapping[str, object]) -> Identity:
    """What tells a row from others, whether it comes from the service or from a RECORD."""
    return tuple("" if row.get(name) is None else str(row[name]) for name in KEPT_COLUMNS[stream])


@dataclass(frozen=True, eq=False)
class RecordedRow:
    """One row of the account.

    wall: its date as the service shows it; that of the message, for one that was sent.
    arrived: number of the first run that could see it.
    order: its place among the rows served.
    """

    stream: str
    list_id: int
    msg_id: int | None
    wire: Row
    wall: datetime
    arrived: int
    order: float

    @property
    def identity(self) -> Identity:
        """What tells it from other rows of its stream."""
        parents: dict[str, object] = {"ListID": self.list_id, "MsgID": self.msg_id}
        return identity(self.stream, {**parents, **self.wire})


class RecordedAccount(Account):
    """Rows that are added, taken away and hidden one by one; times on the wire are walls.

    revoked: lists that the user cannot see now.
    hidden: messages that the service denies now; unlisted: those that only the reply of
        ReportListMessageActivity lacks.
    undated: messages that are shown without their SendDate.
    gone: rows taken away for good.
    """

    def __init__(
        self,
        page_size: int,
        bounds: Literal["inclusive", "exclusive", "start"],
        event_dates: Literal["iso", "us"],
        empty: Literal["absent", "empty", "nil", "mixed"],
    ) -> None:
        super().__init__(
            lists=0,
            messages=0,
            contacts=0,
            page_size=page_size,
            bounds=bounds,
            event_dates=event_dates,
            empty=empty,
        )
        self.recorded: dict[str, list[RecordedRow]] = {stream: [] for stream in KEPT_COLUMNS}
        self.lists_by_id: dict[int, RecordedRow] = {}
        self.messages_by_id: dict[int, RecordedRow] = {}
        self.tests: set[int] = set()
        self.revoked: set[int] = set()
        self.hidden: set[int] = set()
        self.unlisted: set[int] = set()
        self.undated: set[int] = set()
        self.gone: set[RecordedRow] = set()
        self._served: dict[tuple[str, int], list[RecordedRow]] = {}

    # Changes

    def changed(self) -> None:
        """Note that replies may be others now."""
        self.version += 1

    def record(
        self,
        stream: str,
        list_id: int,
        msg_id: int | None,
        wire: Row,
        wall: datetime,
        arrived: int,
        order: float,
    ) -> RecordedRow:
        """Add a row, its date written in the form of this account."""
        operation = OPERATIONS[OPERATION_OF[stream]]
        if operation.date:
            written = write_iso(instant(wall))
            if operation.date_is_text and self.event_dates == "us":
                written = write_us(instant(wall))
            wire = {**wire, operation.date: written}
        row = RecordedRow(stream, list_id, msg_id, wire, wall, arrived, order)
        self.recorded[stream].append(row)
        if stream == "lists":
            self.lists_by_id[list_id] = row
        elif stream == "messages" and msg_id is not None:
            self.messages_by_id[msg_id] = row
        else:
            of = list_id if msg_id is None else msg_id
            served = self._served.setdefault((operation.name, of), [])
            served.append(row)
            served.sort(key=lambda each: each.order)
        self.changed()
        return row

    def take_away(self, row: RecordedRow) -> None:
        """Take a row of a message or list away for good: those behind it move up."""
        self.gone.add(row)
        of = row.list_id if row.msg_id is None else row.msg_id
        self._served[OPERATION_OF[row.stream], of].remove(row)
        self.changed()

    def move_message(self, MsgID: int, wall: datetime) -> None:
        """Let a message have been sent at another time."""
        old = self.messages_by_id[MsgID]
        wire = {**old.wire, "SendDate": write_iso(instant(wall))}
        new = replace(old, wire=wire, wall=wall)
        self.messages_by_id[MsgID] = new
        self.recorded["messages"] = [
            new if row is old else row for row in self.recorded["messages"]
        ]
        self.changed()

    def shown_messages(self) -> frozenset[int]:
        """The messages that are in the replies of their lists, where those can be seen."""
        return frozenset(self.messages_by_id.keys() - self.hidden - self.unlisted)

    def visible_lists(self) -> list[int]:
        """The lists that the user can see."""
        return sorted(self.lists_by_id.keys() - self.revoked)

    # What the service asks for

    def lists(self) -> list[Row]:
        """See Account."""
        return [row.wire for ListID, row in self.lists_by_id.items() if self.has_list(ListID)]

    def has_list(self, ListID: int) -> bool:
        """See Account."""
        return ListID in self.lists_by_id and ListID not in self.revoked

    def has_message(self, MsgID: int) -> bool:
        """See Account."""
        row = self.messages_by_id.get(MsgID)
        return row is not None and MsgID not in self.hidden and self.has_list(row.list_id)

    def activity(self, ListID: int, chosen: Range | None, with_tests: bool) -> list[Row]:
        """See Account."""
        shown = self.shown_messages()
        return [
            {**row.wire, **self._event_counts(MsgID), **self._send_date(row)}
            for MsgID, row in self.messages_by_id.items()
            if row.list_id == ListID
            and MsgID in shown
            and (with_tests or MsgID not in self.tests)
            and (chosen is None or MsgID in self.undated or chosen.holds(instant(row.wall)))
        ]

    def _send_date(self, message: RecordedRow) -> Row:
        return {"SendDate": None} if message.msg_id in self.undated else {}

    def _event_counts(self, MsgID: int) -> Row:
        columns = {
            "DeliverCount": "message_sends",
            "RemoveCount": "message_unsubs",
            "OpenCount": "message_opens",
            "ReadCount": "message_reads",
            "ClickCount": "message_clicks",
        }
        return {
            column: str(len(self._served.get((OPERATION_OF[stream], MsgID), ())))
            for column, stream in columns.items()
        }

    def page(self, operation: str, ID: int, chosen: Range | None, page: int) -> list[Row]:
        """See Account."""
        rows: Iterable[RecordedRow] = self._served.get((operation, ID), ())
        if chosen is not None:
            rows = [row for row in rows if chosen.holds(instant(row.wall))]
        return [row.wire for row in rows][(page - 1) * self.page_size : page * self.page_size]
