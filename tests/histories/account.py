"""A small account whose rows are added, removed and hidden one by one between runs."""

import itertools
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fake_listrak import OPERATIONS, PUBLISHED_OPERATIONS, Account, Row
from fake_listrak.generator import Mailing
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
COUNTS: Final = ("right", "unique", "a day late", "fixed", "jumping")
"""What the counts of messages may be."""
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
    changed_in: the run before which a contact last came back or changed the address.
    excused: it may be missing for good: it was hidden from a run that would have given it.
    """

    stream: str
    list_id: int
    msg_id: int | None
    email: str
    key: Key
    wall: datetime
    shown_since: int
    changed_in: int | None = None
    excused: bool = False


class MadeUpAccount(Account):
    """An account of AccountRows. Times on the wire are walls.

    run: the number of the next run. tests: test messages. undated: messages that are shown without
    a SendDate, in every window. left: contacts who unsubscribed. counts: one of COUNTS.
    """

    def __init__(self, rng: random.Random, **shape: Any) -> None:
        super().__init__(lists=0, messages=0, contacts=0, **shape)
        # One service serves many accounts, and caches replies by version.
        self.version = next(_NUMBERS) << 32
        self.run = 0
        self.rows_of: dict[str, list[AccountRow]] = {stream: [] for stream in STREAMS}
        self.messages_by_id: dict[int, AccountRow] = {}
        self.tests: set[int] = set()
        self.undated: set[int] = set()
        self.left: set[AccountRow] = set()
        self.counts = "right"
        self._rng = rng

    def add(self, stream: str, list_id: int, msg_id: int | None, wall: datetime) -> None:
        """Add a row."""
        email = f"{stream}{next(_NUMBERS)}@example.com"
        key: dict[str, Any] = {"ListID": list_id, "MsgID": msg_id}
        if stream == "lists":
            self.add_list(list_id)
        elif stream == "messages" and msg_id:
            date = "" if msg_id in self.undated else wall
            self.add_message(list_id, msg_id, date, test=msg_id in self.tests)
        else:
            key |= self._serve(stream, msg_id or list_id, email, wall)
        row = AccountRow(stream, list_id, msg_id, email, key_of(stream, key), wall, self.run)
        self.rows_of[stream].append(row)
        if stream == "messages" and msg_id:
            self.messages_by_id[msg_id] = row

    def _serve(self, stream: str, parent_id: int, email: str, wall: datetime, **ids: str) -> Row:
        """Add a row at any place of its table."""
        operation = OPERATION_OF[stream]
        date = wall if OPERATIONS[operation].date else None
        self.add_row(operation, parent_id, date, EmailAddress=email, **ids)
        rows = self._changeable(operation, parent_id)
        row = rows.pop()
        rows.insert(self._rng.randrange(len(rows) + 1), row)
        return row

    def leave(self, row: AccountRow) -> None:
        """Let a contact unsubscribe: the rows after it move up."""
        self.left.add(row)
        self.hide_contact(row.list_id, row.email)

    def come_back(self, row: AccountRow) -> None:
        """Let a contact subscribe again, with the first AdditionDate."""
        self.left.discard(row)
        row.shown_since = row.changed_in = self.run
        contact_id = row.key[ALL_KEYS[row.stream].index("ContactID")]
        self._serve(row.stream, row.list_id, row.email, row.wall, ContactID=contact_id)

    def change_address(self, row: AccountRow) -> None:
        """Give a contact another address, with the same AdditionDate."""
        rows = self._changeable(OPERATION_OF[row.stream], row.list_id)
        place = next(n for n, each in enumerate(rows) if each["EmailAddress"] == row.email)
        row.email, row.changed_in = f"run{self.run}.{row.email}", self.run
        rows[place] = {**rows[place], "EmailAddress": row.email}

    def show(self, ID: int) -> None:
        """Show a list or message that was hidden."""
        self.version += 1
        self._hidden.discard(ID)
        for row in self.all_rows():
            if ID in (row.list_id, row.msg_id):
                row.shown_since = self.run

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

    def _count(self, operation: str, mailing: Mailing) -> int:
        """See Account."""
        count = super()._count(operation, mailing)
        rows = self.rows_of.get(OPERATIONS[operation].table, ())
        new = sum(row.msg_id == mailing.ID and row.shown_since == self.run for row in rows)
        # Unique counts leave out who is counted already.
        values = (count, (count + 1) // 2, count - new, 1, self.version % 2**32)
        return dict(zip(COUNTS, values, strict=True))[self.counts]
