"""The Listrak that the tests run against: it keeps the contract, and its tables agree."""

from __future__ import annotations

import json
import os
import re
import runpy
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zeep

from fake_listrak import (
    FURTHER_OPERATIONS,
    OPERATIONS,
    PUBLISHED_OPERATIONS,
    Account,
    ListrakService,
    Operation,
    Row,
)
from fake_listrak.clock import NEVER, Range, Zone, instant
from fake_listrak.contract import CONVERSATION_OPERATIONS, ID_OF
from tests.support.accounts import list_ids, small
from tests.support.published import ALL_COLUMNS, ALL_KEYS, COLUMNS

NAMESPACE = "http://webservices.listrak.com/v31/"
ROOT = Path(__file__).parent.parent
NAME = {kind.table: kind.name for kind in OPERATIONS.values()}
DATED = [
    kind.table
    for kind in OPERATIONS.values()
    if kind.name in FURTHER_OPERATIONS and "StartDate" in kind.arguments
]
MIDDLE = datetime(2026, 5, 15)
ALL_TIME = {"StartDate": datetime(1900, 1, 1), "EndDate": datetime(2100, 1, 1)}
ZEEP: Any = zeep.Client  # which has no type information
Parents = list[int | None]


def parents(account: Account, kind: Operation) -> Parents:
    """The IDs of an operation's parents; None is the account."""
    if kind.asked_by == "account":
        return [None]
    lists = list_ids(account)
    if kind.asked_by == "list":
        return [*lists]
    if kind.asked_by == "message":
        return [int(str(row["MsgID"])) for ListID in lists for row in account.messages(ListID)]
    return [ID for ListID in lists for ID in account.conversation_ids(ListID)]


def table(account: Account, name: str) -> list[Row]:
    """All rows of a table, with the ID of their parent where they lack it."""
    kind = OPERATIONS[NAME[name]]
    found: list[Row] = []
    for parent in parents(account, kind):
        for row in account.rows(kind.name, parent):
            if parent is not None:
                row = {**row, ID_OF[kind.asked_by]: str(parent)}
            found.append(row)
    return found


def of(account: Account, name: str, parent: int | None) -> list[Row]:
    return account.rows(NAME[name], parent)


def number(row: Row, name: str) -> int:
    return int(str(row[name]))


class Client:
    """Asks a service as zeep does, which holds every reply against the WSDL."""

    def __init__(self, service: ListrakService, contract: ListrakService | None = None) -> None:
        self._account = service.account
        client = ZEEP((contract or service).url)
        binding = f"{{{NAMESPACE}}}IntegrationServiceSoap"
        self._service = client.create_service(binding, service.url.partition("?")[0])
        user = client.get_element(f"{{{NAMESPACE}}}WSUser")
        self._header = user(UserName=service.username, Password=service.password)

    def call(self, operation: str, **arguments: Any) -> Any:
        if OPERATIONS[operation].takes_exception:
            arguments.setdefault("WSException", zeep.xsd.SkipValue)
        return self._service[operation](**arguments, _soapheaders=[self._header])

    def page(self, operation: str, parent: int | None, **arguments: Any) -> list[Any]:
        """The rows of one reply, for one parent."""
        kind = OPERATIONS[operation]
        arguments = {"IncludeTestMessages": True, "IncludeTerminated": True} | arguments
        if "MsgIDs" in kind.arguments:
            rows = self._account.messages(parent or 0)
            arguments["MsgIDs"] = {"int": [number(row, "MsgID") for row in rows]}
        elif parent is not None:
            arguments[ID_OF[kind.asked_by]] = parent
        taken = {name: value for name, value in arguments.items() if name in kind.arguments}
        reply = self.call(operation, **taken)
        if kind.takes_exception:
            # zeep reads a nil one so.
            assert not any(reply.WSException[name] for name in dir(reply.WSException))
            reply = reply[f"{operation}Result"]
            reply = reply and reply[kind.row]
        return list(reply or ())

    def rows(self, operation: str, parent: int | None, **window: datetime) -> list[Any]:
        """The rows of all pages."""
        window = window or ALL_TIME
        if "Page" not in OPERATIONS[operation].arguments:
            return self.page(operation, parent, **window)
        rows: list[Any] = []
        while page := self.page(operation, parent, Page=self._pages(rows), **window):
            rows += page
        return rows

    def _pages(self, rows: list[Any]) -> int:
        return len(rows) // self._account.page_size + 1 + bool(len(rows) % self._account.page_size)


def same(text: Any, value: Any) -> bool:
    """Whether zeep read what is on the wire."""
    if not text:
        return not value
    if isinstance(text, list):
        return list(text) == list(value)
    if isinstance(text, dict):
        return all(same(inner, value[name]) for name, inner in text.items())
    if isinstance(value, datetime):
        naive = value.replace(tzinfo=None)
        return Zone("UTC").read_iso(text) == instant(naive)
    if isinstance(value, bool):
        return bool(text == str(value).lower())
    if isinstance(value, int | float | Decimal):
        return type(value)(text) == value
    return bool(text == value)


@pytest.fixture(scope="module")
def account() -> Account:
    return small()


@pytest.fixture(scope="module")
def client(account: Account) -> Iterator[Client]:
    with ListrakService(account) as service:
        yield Client(service)


# The contract


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_reply_keeps_the_contract(account: Account, client: Client, operation: str) -> None:
    kind = OPERATIONS[operation]
    seen = 0
    for parent in parents(account, kind):
        due = account.rows(operation, parent)
        came = client.rows(operation, parent)
        assert len(came) == len(due)
        for text, row in zip(due, came):
            assert set(text) <= set(dir(row))
            assert all(same(text.get(name), row[name]) for name in dir(row))
        seen += len(due)
    assert seen


@pytest.mark.parametrize("event_dates", ["iso", "us"])
@pytest.mark.parametrize("name", DATED)
def test_a_window_selects_by_the_date(name: str, event_dates: str) -> None:
    account = small(event_dates=event_dates)
    kind = OPERATIONS[NAME[name]]
    with ListrakService(account) as service:
        client = Client(service)
        for parent in parents(account, kind):
            late = client.rows(
                kind.name, parent, StartDate=MIDDLE, EndDate=MIDDLE + timedelta(days=365)
            )
            due = [
                row
                for row in of(account, name, parent)
                if (account.zone.read(str(row[kind.date or ""])) or 0) >= instant(MIDDLE)
            ]
            assert len(late) == len(due)
            assert all(
                any(all(same(row.get(key), came[key]) for key in dir(came)) for row in due)
                for came in late
            )


def test_the_columns_are_those_of_the_contract() -> None:
    kinds = {"int": "integer", "double": "number", "decimal": "number", "dateTime": "date-time"}
    text_dates = {"AddDate", "HygieneDate", "PassAlongDate"}
    for name in ALL_COLUMNS.keys() - COLUMNS.keys():
        kind = OPERATIONS[NAME[name]]
        columns = {field: kinds.get(of_type, "string") for field, of_type in kind.columns.items()}
        columns |= dict.fromkeys(columns.keys() & text_dates, "date-time")
        columns |= dict.fromkeys(columns.keys() & {"ContactID"}, "string")
        if kind.asked_by in ID_OF:
            columns[ID_OF[kind.asked_by]] = "integer"
        assert ALL_COLUMNS[name] == columns
        assert set(ALL_KEYS[name]) <= columns.keys()
    assert ALL_COLUMNS.keys() == ALL_KEYS.keys() == NAME.keys()


def test_the_contract_of_nine_operations_knows_no_others(account: Account) -> None:
    with ListrakService(account, wsdl="nine") as nine, ListrakService(account) as full:
        client = Client(nine, contract=full)
        (ListID, _) = list_ids(account)
        assert client.page(NAME["messages"], ListID, **ALL_TIME)
        for name in ALL_COLUMNS.keys() - COLUMNS.keys():
            kind = OPERATIONS[NAME[name]]
            parent = parents(account, kind)[0]
            with pytest.raises(zeep.exceptions.Fault, match="Server did not recognize"):
                client.page(kind.name, parent, Page=1, **ALL_TIME)
        operations = {name for name, _ in ZEEP(nine.url).service}
    assert operations == set(PUBLISHED_OPERATIONS)


# What is refused


def test_a_conversation_that_is_not_there_is_refused() -> None:
    account = small()
    hidden, other = account.conversation_ids(list_ids(account)[0])[:2]
    account.hide_conversation(hidden)
    with ListrakService(account) as service:
        client = Client(service)
        for operation in (*CONVERSATION_OPERATIONS, NAME["conversation_links"]):
            client.page(operation, other, Page=1, **ALL_TIME)
            for ConversationID in (hidden, 1):
                with pytest.raises(zeep.exceptions.Fault, match=r"\[InvalidConversationID\]"):
                    client.page(operation, ConversationID, Page=1, **ALL_TIME)


def analytics_of(client: Client, *MsgIDs: int) -> list[int]:
    rows = client.call(NAME["message_analytics"], MsgIDs={"int": list(MsgIDs)})
    return [row.MsgID for row in rows or ()]


def test_analytics_of_a_message_that_is_not_there_refuse_the_call_or_lack_it() -> None:
    account = small()
    first, second, hidden = (
        number(row, "MsgID") for row in of(account, "message_analytics", list_ids(account)[0])[:3]
    )
    account.hide_message(hidden)
    for absent in (hidden, 1):
        account.unknown_messages = "refused"
        refused = pytest.raises(zeep.exceptions.Fault, match=r"^Get.*\(\): \[Message\] \[Inva")
        with ListrakService(account) as service, refused:
            analytics_of(Client(service), first, absent, second)
        account.unknown_messages = "missing"
        with ListrakService(account) as service:
            came = analytics_of(Client(service), first, absent, second)
        assert sorted(came) == sorted((first, second))


@pytest.mark.parametrize("name", ALL_KEYS)
def test_accounts_of_one_seed_are_alike(name: str) -> None:
    assert table(small(seed=3), name) == table(small(seed=3), name) != table(small(seed=4), name)


# What agrees, and what is odd


@pytest.mark.parametrize(
    "shape",
    [{}, {"event_dates": "us", "seed": 7}, {"offsets": True, "timezone": "Asia/Tokyo"}],
)
def test_counts_are_those_of_the_rows(shape: dict[str, Any]) -> None:
    account = small(**shape)
    counts = account.row_counts()
    for name, key in ALL_KEYS.items():
        rows = table(account, name)
        keys = {tuple(row.get(column) for column in key) for row in rows}
        assert counts[name] == {"total": len(rows), "distinct": len(keys)}, name
        assert rows


def test_the_counts_of_messages_and_conversations_agree_with_their_rows(account: Account) -> None:
    for row in table(account, "message_deliveries"):
        ID = number(row, "MsgID")
        assert number(row, "BounceCount") == len(of(account, "message_bounces", ID))
        assert number(row, "PassAlongCount") == len(of(account, "message_passalongs", ID))
        clicks = Counter(row["LinkUrl"] for row in of(account, "message_clicks", ID))
        links = of(account, "message_links", ID)
        assert clicks == +Counter({row["LinkURL"]: number(row, "ClickCount") for row in links})
    for row in table(account, "messages"):
        ID = number(row, "MsgID")
        for column in ("Deliver", "Open", "Read", "Click", "Remove"):
            names = {"Deliver": "sends", "Remove": "unsubs"}
            name = f"message_{names.get(column, f'{column.lower()}s')}"
            assert number(row, f"{column}Count") == len(of(account, name, ID))
        clickers = {click["EmailAddress"] for click in of(account, "message_clicks", ID)}
        assert number(row, "ClickerCount") == len(clickers)
    for row in table(account, "conversations"):
        ID = number(row, "ConversationID")
        assert number(row, "DeliverCount") == len(of(account, "conversation_sends", ID))
        assert number(row, "OpenCount") == len(of(account, "conversation_opens", ID))


def test_many_rows_are_the_same_as_a_few_of_them() -> None:
    """What is generated by index has pages and ranges like any other rows."""
    operation = NAME["message_opens"]
    account = small(lists=1, messages=1, counts={operation: 6001}, page_size=1000)
    (ID,) = parents(account, OPERATIONS[operation])
    assert ID is not None
    every = account.rows(operation, ID)
    assert len(every) == 6001
    assert [
        row for n in range(0, 6001, 7) for row in account.select(operation, ID)[n : n + 7]
    ] == every
    chosen = Range(instant(MIDDLE), instant(datetime(2026, 7, 1)) + 1)
    late = account.select(operation, ID, chosen)[:]
    due = [row for row in every if chosen.holds(account.zone.read(str(row["OpenDate"])))]
    assert sorted(map(str, late)) == sorted(map(str, due))


@pytest.mark.parametrize("account", [small(), Account()], ids=["small", "default"])
def test_what_is_odd_occurs(account: Account) -> None:
    assert "0" in {row["MessageCount"] for row in table(account, "campaigns")}
    for ListID in list_ids(account):
        removals = of(account, "list_unsubs", ListID)
        joined = {row["ContactID"]: str(row["AdditionDate"]) for row in account.contacts(ListID)}
        assert Counter(row["ContactID"] for row in removals).most_common(1)[0][1] > 1
        assert any(row["ContactID"] in joined for row in removals)
        analysed = {row["MsgID"] for row in of(account, "message_analytics", ListID)}
        assert any(row["MsgID"] not in analysed for row in account.messages(ListID))
    sends = table(account, "conversation_sends")
    twice = Counter((row["MsgID"], row["EmailAddress"]) for row in sends)
    assert twice.most_common(1)[0][1] == 2
    assert NEVER in {row["PublishedDate"] for row in table(account, "conversations")}
    assert NEVER in {row["EndDate"] for row in table(account, "imports")}
    rows = [row for name in ALL_COLUMNS for row in table(account, name)]
    texts = "".join(str(value) for row in rows for value in row.values() if isinstance(value, str))
    assert all(hard in texts for hard in ("&", "<", ">", '"', "'", "\r\n", "\t", "é", "\U0001f389"))
    assert any(None in row.values() for row in rows)
    assert any("" in row.values() for row in rows)


@pytest.mark.parametrize(("event_dates", "form"), [("iso", "T"), ("us", "/")])
def test_dates_that_are_text_have_the_form_of_the_account(event_dates: str, form: str) -> None:
    account = small(event_dates=event_dates)
    for name, column in [("list_hygiene", "HygieneDate"), ("message_passalongs", "PassAlongDate")]:
        assert all(form in str(row[column]) for row in table(account, name))


# What changes between runs

DERIVED = ("conversations", "conversation_deliveries", "message_deliveries", "message_analytics")


@pytest.mark.parametrize("name", sorted(ALL_COLUMNS.keys() - COLUMNS.keys() - {*DERIVED}))
def test_a_row_is_added_after_the_others(name: str) -> None:
    account = small()
    kind = OPERATIONS[NAME[name]]
    parent = parents(account, kind)[0]
    before = of(account, name, parent)
    fields: dict[str, Any] = {"Unheard": "of"}
    if kind.asked_by == "account":
        fields |= {"ListID": str(list_ids(account)[0]), "MessageID": "7000001"}
    account.add_row(kind.name, parent, datetime(2026, 6, 28, 1, 2, 3), **fields)
    *others, added = of(account, name, parent)
    assert others == before
    assert added["Unheard"] == "of"
    assert added.keys() - {"Unheard"} <= ALL_COLUMNS[name].keys()
    if kind.date is not None:
        assert added[kind.date] == "2026-06-28T01:02:03"


def test_rows_of_ones_own_take_the_place_of_generated_ones() -> None:
    account = small()
    (ListID, _) = list_ids(account)
    own: Row = {"ContactID": "a", "EmailAddress": "a@b", "AdditionDate": "2026-06-01T00:00:00"}
    account.fill(NAME["subscribed_contacts"], ListID, [own])
    with ListrakService(account) as service:
        (came,) = Client(service).rows(NAME["subscribed_contacts"], ListID)
        assert came.EmailAddress == "a@b"
        account.hide_contact(ListID, "a@b")
        assert not Client(service).rows(NAME["subscribed_contacts"], ListID)


# What its README shows


def block(language: str) -> str:
    """The one block of README in a language."""
    text = (ROOT / "fake_listrak/README.md").read_text("utf-8")
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(found)


def test_the_commands_of_the_readme_sync_all_rows(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    (tmp_path / "config.json").write_text(block("json").replace("8765", port))
    commands = f"trap 'kill $(jobs -p)' EXIT\n{block('sh').replace('8765', port)}"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    subprocess.run(["/bin/bash", "-ec", commands], cwd=tmp_path, env=env, check=True, timeout=300)
    messages = map(json.loads, (tmp_path / "rows.jsonl").read_text("utf-8").splitlines())
    came = Counter(each["stream"] for each in messages if each["type"] == "RECORD")
    held = Account().row_counts()
    assert came == {name: held[name]["total"] for name in COLUMNS}


def test_the_python_of_the_readme_serves_an_account(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "example.py").write_text(block("python"))
    runpy.run_path(str(tmp_path / "example.py"))
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")
