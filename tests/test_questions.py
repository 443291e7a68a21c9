"""Run the SQL of docs/joins.md on what the tap emitted."""

import re
import sqlite3
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tap_listrak.streams import BY_NAME
from tests.support.accounts import NOW, list_ids, small
from tests.support.records import all_rows, due
from tests.support.tap import MakeTap, Run, Tap, catalog_of

TABLES = (Path(__file__).parent.parent / "docs/joins.md").read_text("utf-8")
# What the questions are asked of.
ASKED = ("lists", "list_unsubs", "subscribed_contacts", "conversations", "conversation_unsubs")
LEAVERS, EARNINGS, SUBSCRIBED = re.findall(r"```sql\n(.*?)```", TABLES, re.DOTALL)


class Warehouse:
    """A database in memory into which RECORDs are upserted by key."""

    def __init__(self) -> None:
        self._database = sqlite3.connect(":memory:")

    def load(self, run: Run) -> None:
        for message in run.messages:
            if message["type"] == "SCHEMA":
                columns = [f'"{name}"' for name in message["schema"]["properties"]]
                key = ", ".join(f'"{name}"' for name in message["key_properties"])
                table = f"{message['stream']} ({', '.join(columns)}, PRIMARY KEY ({key}))"
                self._database.execute(f"CREATE TABLE IF NOT EXISTS {table}")
            elif message["type"] == "RECORD":
                record = message["record"]
                names = ", ".join(f'"{name}"' for name in record)
                places = ", ".join("?" * len(record))
                self._database.execute(
                    f"INSERT OR REPLACE INTO {message['stream']} ({names}) VALUES ({places})",  # noqa: S608 # the stream's own name
                    [str(each) if isinstance(each, (list, dict)) else each for each in
                     record.values()],
                )  # fmt: skip

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        return self._database.execute(query).fetchall()


def asking(make_tap: MakeTap, **shape: Any) -> Tap:
    tap = make_tap(small(**shape), {"start_date": "2026-04-01"})
    tap.catalog = catalog_of(*ASKED)
    return tap


def records(tap: Tap, stream: str) -> Iterable[dict[str, Any]]:
    """What a warehouse keeps of the account's stream: of each key, the last record."""
    kept = {}
    for _, parent, row in all_rows(tap.service.account, [stream]):
        record = due(stream, row, parent)
        kept[tuple(record[column] for column in BY_NAME[stream].key_properties)] = record
    return kept.values()


def loaded(*runs: Run) -> Warehouse:
    warehouse = Warehouse()
    for run in runs:
        assert run.code == 0
        warehouse.load(run)
    return warehouse


def test_who_left_when_and_how(make_tap: MakeTap) -> None:
    tap = asking(make_tap)
    found = loaded(tap.run(clock=NOW)).ask(LEAVERS)
    names = {each["ListID"]: each["ListName"] for each in records(tap, "lists")}
    expected = [
        (names[each["ListID"]], each["EmailAddress"], each["RemovalDate"], each["RemovalMethod"])
        for each in records(tap, "list_unsubs")
    ]
    assert Counter(found) == Counter(expected)
    assert [row[2] for row in found] == sorted((row[2] for row in found), reverse=True)


def test_which_conversation_earns_its_keep(make_tap: MakeTap) -> None:
    tap = asking(make_tap)
    found = loaded(tap.run(clock=NOW)).ask(EARNINGS)
    left: dict[int, set[str]] = {}
    for each in records(tap, "conversation_unsubs"):
        left.setdefault(each["ConversationID"], set()).add(each["EmailAddress"])
    expected = Counter(
        (
            each["ConversationName"],
            float(each["OrderTotal"]),
            each["DeliverCount"],
            len(left.get(each["ConversationID"], ())),
        )
        for each in records(tap, "conversations")
    )
    assert Counter((name, float(total), sent, gone) for name, total, sent, _, gone in found) == (
        expected
    )
    for _, total, sent, per_message, _ in found:
        assert per_message == (pytest.approx(total / sent) if sent else None)


def test_who_is_subscribed_now_without_mirror(make_tap: MakeTap) -> None:
    # Nobody has left so far, nor come back with the date of the first time.
    tap = asking(make_tap, removals=0)
    account = tap.service.account
    list_id = list_ids(account)[0]
    first = tap.run(clock=NOW)
    goes, comes_back = (
        {key: str(value) for key, value in row.items()} for row in account.contacts(list_id)[:2]
    )
    left = datetime(2026, 7, 2, 8)
    for row in (goes, comes_back):
        account.hide_contact(list_id, row["EmailAddress"])
        account.add_row(
            BY_NAME["list_unsubs"].operation,
            list_id,
            left,
            EmailAddress=row["EmailAddress"],
            AdditionDate=row["AdditionDate"],
        )
    account.add_contact(list_id, comes_back["EmailAddress"], left + timedelta(hours=1))
    second = tap.run(clock=NOW + timedelta(days=2), state=first.state)
    found = loaded(first, second).ask(SUBSCRIBED)
    expected = {
        (each["ContactID"], each["ListID"], each["EmailAddress"])
        for each in records(tap, "subscribed_contacts")
    }
    assert goes["EmailAddress"] not in {email for _, of, email in expected if of == list_id}
    assert set(found) == expected
