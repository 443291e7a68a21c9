"""A small account whose rows are added, removed and hidden one by one between runs."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fake_listrak import OPERATIONS, PUBLISHED_OPERATIONS, Account, Row
from fake_listrak.clock import Range, instant, write_iso, write_us

OPERATION_OF: Final = {OPERATIONS[name].table: name for name in PUBLISHED_OPERATIONS}
"""By stream, the operation that gives its rows."""
STREAMS: Final = tuple(OPERATION_OF)
MESSAGE_STREAMS: Final = tuple(each for each in STREAMS if each.startswith("message_"))
"""The streams that are keyed by message."""
EVENT_STREAMS: Final = tuple(each for each in MESSAGE_STREAMS if each != "message_sends")
REPLICATION_KEYS: Final = {
    each: OPERATIONS[OPERATION_OF[each]].date or "SendDate"
    for each in (*MESSAGE_STREAMS, "subscribed_contacts")
}

Key = tuple[str, ...]

_KEY_COLUMNS: Final = {
    "lists": ("ListID",),
    "messages": ("MsgID",),
    "subscribed_contacts": ("ListID", "ContactID"),
    **dict.fromkeys(MESSAGE_STREAMS, ("MsgID", "EmailAddress")),
}
_COUNTS: Final = {
    "DeliverCount": "message_sends",
    "RemoveCount": "message_unsubs",
    "OpenCount": "message_opens",
    "ReadCount": "message_reads",
    "ClickCount": "message_clicks",
}
_VERSIONS: Final = itertools.count(1)  # one service serves many accounts, and caches by version


def key_of(stream: str, record: Mapping[str, Any]) -> Key:
    """Return the published key of a RECORD."""
    return tuple(str(record[name]) for name in _KEY_COLUMNS[stream])


@dataclass(eq=False)
class AccountRow:
    """One row of the account.

    wall: its date on the wire; for a send that of its message; for a list, when it was made.
    arrived: the number of the first run that could see it.
    shown_since: the first run since which it was visible without interruption.
    excused: it may be missing for good: it was hidden from a run that would have given it.
    changed_in: the run before which a contact last came back, or changed the address.
    """

    stream: str
    list_id: int
    msg_id: int | None
    key: Key
    wire: Row
    wall: datetime
    arrived: int
    order: float
    shown_since: int
    excused: bool = False
    changed_in: int | None = None


class MadeUpAccount(Account):
    """An account of AccountRows. Times on the wire are walls.

    revoked: lists that the user cannot see now. absent: messages that are missing now.
    tests: test messages. undated: messages that are shown without a SendDate, in every window.
    left: contacts who unsubscribed. counts: what the counts of messages are.
    """

    def __init__(self, **shape: Any) -> None:
        super().__init__(lists=0, messages=0, contacts=0, **shape)
        self.rows_of: dict[str, list[AccountRow]] = {stream: [] for stream in STREAMS}
        self.lists_by_id: dict[int, AccountRow] = {}
        self.messages_by_id: dict[int, AccountRow] = {}
        self.tests: set[int] = set()
        self.undated: set[int] = set()
        self.revoked: set[int] = set()
        self.absent: set[int] = set()
        self.left: set[AccountRow] = set()
        self.counts = "right"
        self.run = 0
        self._served: dict[tuple[str, int], list[AccountRow]] = {}
        self.changed()

    # Changes

    def changed(self) -> None:
        """Note that replies may differ now."""
        self.version = next(_VERSIONS)

    def add(
        self, stream: str, list_id: int, msg_id: int | None, name: str, wall: datetime, run: int,
        order: float,
    ) -> AccountRow:  # fmt: skip
        """Add a row that run number `run` is the first to see; `name` tells it from others."""
        wire: Row = {"ListID": str(list_id), "ListName": name}
        if stream == "messages":
            wire = {"ListID": str(list_id), "MsgID": str(msg_id), "Subject": name}
        elif stream == "subscribed_contacts":
            wire = {"ContactID": name, "EmailAddress": f"{name}@example.com"}
        elif stream != "lists":
            wire = {"EmailAddress": f"{name}@example.com"}
            if stream != "message_sends":
                wire["ContactID"] = name
            if stream == "message_bounces":
                wire["BounceCount"] = "1"
        operation = OPERATIONS[OPERATION_OF[stream]]
        if operation.date:
            is_us = operation.date_is_text and self.event_dates == "us"
            wire[operation.date] = (write_us if is_us else write_iso)(instant(wall))
        key = key_of(stream, {"ListID": list_id, "MsgID": msg_id, **wire})
        row = AccountRow(stream, list_id, msg_id, key, wire, wall, run, order, run)
        self.rows_of[stream].append(row)
        if stream == "lists":
            self.lists_by_id[list_id] = row
        elif stream == "messages":
            assert msg_id is not None
            self.messages_by_id[msg_id] = row
        else:
            self._serve(row)
        self.changed()
        return row

    def _serve(self, row: AccountRow) -> None:
        served = self._served.setdefault(self._place(row), [])
        served.append(row)
        served.sort(key=lambda each: each.order)

    @staticmethod
    def _place(row: AccountRow) -> tuple[str, int]:
        return OPERATION_OF[row.stream], row.list_id if row.msg_id is None else row.msg_id

    def leave(self, row: AccountRow) -> None:
        """Let a contact unsubscribe: the rows after it move up."""
        self.left.add(row)
        self._served[self._place(row)].remove(row)
        self.changed()

    def change_address(self, row: AccountRow, run: int) -> None:
        """Give a contact another address, with the same AdditionDate."""
        row.wire["EmailAddress"] = f"run{run}.{row.wire['EmailAddress']}"
        row.changed_in = run
        self.changed()

    def come_back(self, row: AccountRow, run: int) -> None:
        """Let a contact subscribe again, with the first AdditionDate."""
        self.left.discard(row)
        row.shown_since = row.changed_in = run
        self._serve(row)
        self.changed()

    def all_rows(self) -> Iterable[AccountRow]:
        """Return the rows of every stream."""
        return itertools.chain.from_iterable(self.rows_of.values())

    def rows_of_message(self, msg_id: int) -> Iterable[AccountRow]:
        """Return all rows of a message, itself included."""
        return (row for row in self.all_rows() if row.msg_id == msg_id)

    def shows(self, row: AccountRow) -> bool:
        """Return whether Listrak shows a row now."""
        is_hidden = row.list_id in self.revoked or row.msg_id in self.absent
        return not is_hidden and row not in self.left

    def visible_lists(self) -> list[int]:
        """Return the lists that the user can see."""
        return sorted(self.lists_by_id.keys() - self.revoked)

    # What the service requests of an Account

    def lists(self) -> list[Row]:
        """See Account."""
        return [self.lists_by_id[each].wire for each in self.visible_lists()]

    def has(self, kind: str, ID: int) -> bool:
        """See Account."""
        row = (self.lists_by_id if kind == "list" else self.messages_by_id).get(ID)
        return row is not None and self.shows(row)

    def select(
        self, operation: str, ID: int, chosen: Range | None = None, every: bool = True
    ) -> list[Row]:
        """See Account."""
        if operation == OPERATION_OF["lists"]:
            return self.lists()
        if operation == OPERATION_OF["messages"]:
            return self._activity(ID, chosen, every)
        rows = self._served.get((operation, ID), ())
        return [row.wire for row in rows if chosen is None or chosen.holds(instant(row.wall))]

    def _activity(self, ListID: int, chosen: Range | None, with_tests: bool) -> list[Row]:
        return [
            {**row.wire, **self._counts(MsgID), **({"SendDate": None} if undated else {})}
            for MsgID, row in self.messages_by_id.items()
            if row.list_id == ListID
            and self.shows(row)
            and (with_tests or MsgID not in self.tests)
            and (
                (undated := MsgID in self.undated) or not chosen or chosen.holds(instant(row.wall))
            )
        ]

    def _counts(self, MsgID: int) -> Row:
        return {
            column: str(self._shown_count(self._served.get((OPERATION_OF[stream], MsgID), ())))
            for column, stream in _COUNTS.items()
        }

    def _shown_count(self, rows: Iterable[AccountRow]) -> int:
        found = list(rows)
        return {
            "right": len(found),
            "unique": (len(found) + 1) // 2,  # every second is of someone who is counted already
            "late": sum(row.arrived < self.run for row in found),
            "fixed": 1,
            "jumping": self.version,
        }[self.counts]
