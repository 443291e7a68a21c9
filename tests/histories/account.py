"""A small account whose rows are added, removed and hidden one by one between runs."""

import itertools
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fake_listrak import OPERATIONS, PUBLISHED_OPERATIONS, Account
from fake_listrak.account import MESSAGES, Table
from fake_listrak.clock import Range
from tests.support.published import ALL_KEYS

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
_COUNTS: Final = ("OpenCount", "ReadCount", "ClickCount", "RemoveCount")
_NUMBERS: Final = itertools.count(1)

Key = tuple[str, ...]


def key_of(stream: str, record: Mapping[str, Any]) -> Key:
    """Return the published key of a RECORD."""
    return tuple(str(record[name]) for name in ALL_KEYS[stream])


@dataclass(eq=False)
class AccountRow:
    """One row of the account.

    wall: its date on the wire; for a send that of its message; for a list, when it was made.
    shown_since: the first run since which it was visible without interruption.
    excused: it may be missing for good: it was hidden from a run that would have given it.
    """

    stream: str
    list_id: int
    msg_id: int | None
    key: Key
    wall: datetime
    shown_since: int
    excused: bool = False


class MadeUpAccount(Account):
    """An account of AccountRows. Times on the wire are walls.

    tests: test messages. undated: messages that are shown without a SendDate, in every window.
    left: contacts who unsubscribed. fixed_counts: messages show the same counts for good.
    """

    def __init__(self, rng: random.Random, **shape: Any) -> None:
        super().__init__(lists=0, messages=0, contacts=0, **shape)
        # One service serves many accounts, and caches replies by version.
        self.version = next(_NUMBERS) << 32
        self.rows_of: dict[str, list[AccountRow]] = {stream: [] for stream in STREAMS}
        self.messages_by_id: dict[int, AccountRow] = {}
        self.tests: set[int] = set()
        self.undated: set[int] = set()
        self.left: set[AccountRow] = set()
        self.fixed_counts = False
        self._rng = rng

    def add(
        self, stream: str, list_id: int, msg_id: int | None, wall: datetime, run: int
    ) -> AccountRow:
        """Add a row that run number `run` is the first to see, at any place of its table."""
        email = f"{stream}{next(_NUMBERS)}@example.com"
        key: dict[str, Any] = {"ListID": list_id, "MsgID": msg_id, "EmailAddress": email}
        if stream == "lists":
            self.add_list(list_id)
        elif stream == "messages" and msg_id:
            date = "" if msg_id in self.undated else wall
            self.add_message(list_id, msg_id, date, test=msg_id in self.tests)
        elif stream == "subscribed_contacts":
            key["ContactID"] = self._subscribe(list_id, email, wall)
        elif msg_id:
            operation = OPERATION_OF[stream]
            self.add_event(operation, msg_id, email, wall if OPERATIONS[operation].date else None)
            self._shuffle_last(operation, msg_id)
        row = AccountRow(stream, list_id, msg_id, key_of(stream, key), wall, run)
        self.rows_of[stream].append(row)
        if stream == "messages" and msg_id:
            self.messages_by_id[msg_id] = row
        return row

    def _subscribe(self, list_id: int, email: str, wall: datetime) -> str:
        self.add_contact(list_id, email, wall, ContactID=email)
        self._shuffle_last(OPERATION_OF["subscribed_contacts"], list_id)
        return email

    def _shuffle_last(self, operation: str, parent_id: int) -> None:
        rows = self._changeable(operation, parent_id)
        rows.insert(self._rng.randrange(len(rows)), rows.pop())

    def leave(self, row: AccountRow) -> None:
        """Let a contact unsubscribe: the rows after it move up."""
        # If it comes back, it has its first AdditionDate, which may be before the bookmark.
        row.excused = True
        self.left.add(row)
        self.hide_contact(row.list_id, _contact_id(row))

    def come_back(self, row: AccountRow, run: int) -> None:
        """Let a contact subscribe again, with the first AdditionDate."""
        self.left.discard(row)
        row.shown_since = run
        self._subscribe(row.list_id, _contact_id(row), row.wall)

    def show(self, ID: int, run: int) -> None:
        """Show a list or message that was hidden."""
        self.version += 1
        self._hidden.discard(ID)
        for row in self.all_rows():
            if ID in (row.list_id, row.msg_id):
                row.shown_since = run

    def all_rows(self) -> Iterable[AccountRow]:
        """Return the rows of every stream."""
        return itertools.chain.from_iterable(self.rows_of.values())

    def shows(self, row: AccountRow) -> bool:
        """Return whether Listrak shows a row now."""
        return not {row.list_id, row.msg_id} & self._hidden and row not in self.left

    @property
    def list_ids(self) -> list[int]:
        """The lists, whether the user can see them or not."""
        return sorted(self._lists)

    @property
    def visible_lists(self) -> list[int]:
        """The lists that the user can see."""
        return sorted(self._lists.keys() - self._hidden)

    @property
    def absent(self) -> set[int]:
        """The messages that are missing now."""
        return self._hidden & self.messages_by_id.keys()

    def select(
        self, operation: str, ID: int, chosen: Range | None = None, every: bool = True
    ) -> Table:
        """See Account."""
        rows = super().select(operation, ID, chosen, every)
        if operation != MESSAGES or not self.fixed_counts:
            return rows
        return [{**row, **dict.fromkeys(_COUNTS, "1")} for row in rows[:]]


def _contact_id(row: AccountRow) -> str:
    return row.key[ALL_KEYS["subscribed_contacts"].index("ContactID")]
