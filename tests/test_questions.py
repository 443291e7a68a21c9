"""Run the SQL of docs/joins.md on what the tap emitted."""

import re
import sqlite3
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tap_listrak.streams import BY_NAME
from tests.support.accounts import NOW, small
from tests.support.tap import MakeTap, Run, Tap, catalog_of

JOINS = (Path(__file__).parent.parent / "docs/joins.md").read_text("utf-8")
LEAVERS, EARNINGS, SUBSCRIBED = re.findall(r"```sql\n(.*?)```", JOINS, re.DOTALL)
TABLES = ("lists", "list_unsubs", "subscribed_contacts", "conversations", "conversation_unsubs")


def tap_of(make_tap: MakeTap, **shape: Any) -> Tap:
    tap = make_tap(small(**shape), {"start_date": "2026-04-01"})
    tap.catalog = catalog_of(*TABLES)
    return tap


def answer(query: str, *runs: Run) -> list[tuple[Any, ...]]:
    """Upsert the RECORDs of these runs by key, and query them."""
    database = sqlite3.connect(":memory:")
    for message in (message for run in runs for message in run.messages):
        if message["type"] == "SCHEMA":
            columns = ", ".join(f'"{name}"' for name in message["schema"]["properties"])
            key = ", ".join(f'"{name}"' for name in message["key_properties"])
            table = f"{message['stream']} ({columns}, PRIMARY KEY ({key}))"
            database.execute(f"CREATE TABLE IF NOT EXISTS {table}")
        elif message["type"] == "RECORD":
            cells = message["record"].values()
            places = ", ".join("?" * len(cells))
            database.execute(
                f"INSERT OR REPLACE INTO {message['stream']} VALUES ({places})",  # noqa: S608 # the stream's own name
                [str(cell) if isinstance(cell, (list, dict)) else cell for cell in cells],
            )
    return database.execute(query).fetchall()


def test_who_left_when_and_how(make_tap: MakeTap) -> None:
    run = tap_of(make_tap).run(clock=NOW)
    found = answer(LEAVERS, run)
    names = {each["ListID"]: each["ListName"] for each in run.records("lists")}
    assert Counter(found) == Counter(
        (names[each["ListID"]], each["EmailAddress"], each["RemovalDate"], each["RemovalMethod"])
        for each in run.records("list_unsubs")
    )
    assert [row[2] for row in found] == sorted((row[2] for row in found), reverse=True)


def test_which_conversation_earns_its_keep(make_tap: MakeTap) -> None:
    run = tap_of(make_tap).run(clock=NOW)
    unsubs = run.records("conversation_unsubs")
    left = Counter(
        each for each, _ in {(row["ConversationID"], row["EmailAddress"]) for row in unsubs}
    )
    expected = []
    for row in run.records("conversations"):
        total, sent = row["OrderTotal"], row["DeliverCount"]
        rate = total / sent if sent else None
        expected.append((row["ConversationName"], total, sent, rate, left[row["ConversationID"]]))
    found = answer(EARNINGS, run)
    assert Counter(found) == Counter(expected)
    assert [row[1] for row in found] == sorted((row[1] for row in found), reverse=True)


def test_who_is_subscribed_now_without_mirror(make_tap: MakeTap) -> None:
    # Nobody has left so far, nor come back with the date of the first time.
    tap = tap_of(make_tap, removals=0)
    account, list_id = tap.service.account, tap.first_list
    first = tap.run(clock=NOW)
    left, operation = datetime(2026, 7, 2, 8), BY_NAME["list_unsubs"].operation
    goes, comes_back = account.contacts(list_id)[:2]
    for row in (dict(goes), dict(comes_back)):
        email, added = str(row["EmailAddress"]), str(row["AdditionDate"])
        account.hide_contact(list_id, email)
        account.add_row(operation, list_id, left, EmailAddress=email, AdditionDate=added)
    account.add_contact(list_id, str(comes_back["EmailAddress"]), left + timedelta(hours=1))
    second = tap.run(clock=NOW + timedelta(days=2), state=first.state)
    found = {row[1:] for row in answer(SUBSCRIBED, first, second)}
    contacts = {
        (each, str(row["EmailAddress"])) for each in tap.list_ids for row in account.contacts(each)
    }
    assert found == contacts
    assert (list_id, goes["EmailAddress"]) not in found
