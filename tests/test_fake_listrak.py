"""The fake Listrak service that the tests run against keeps the contract, and its tables agree."""

import json
import os
import re
import runpy
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from itertools import chain, count, takewhile
from pathlib import Path
from typing import Any

import pytest
import zeep

from fake_listrak import OPERATIONS, Account, ListrakService, Row
from fake_listrak.clock import NEVER, Range, Zone, instant
from fake_listrak.contract import ID_OF, NAME_OF
from fake_listrak.generator import KINDS
from fake_listrak.server import row_counts
from tests.support.accounts import list_ids, small
from tests.support.published import ALL_COLUMNS, ALL_KEYS, COLUMNS
from tests.support.records import all_parents, all_rows

NAMESPACE = "{http://webservices.listrak.com/v31/}"
ROOT = Path(__file__).parent.parent
MIDDLE = datetime(2026, 5, 15)
CALL: dict[str, Any] = {
    "StartDate": datetime(1900, 1, 1),
    "EndDate": datetime(2100, 1, 1),
    "IncludeTestMessages": True,
    "IncludeTerminated": True,
}
ZEEP: Any = zeep.Client  # which has no type information


class Client:
    """Calls a service as zeep does, which checks every reply against the WSDL."""

    def __init__(self, service: ListrakService) -> None:
        client = ZEEP(service.url)
        binding, address = f"{NAMESPACE}IntegrationServiceSoap", service.url.partition("?")[0]
        self._service = client.create_service(binding, address)
        user = client.get_element(f"{NAMESPACE}WSUser")
        self._header = user(UserName=service.username, Password=service.password)
        self._account = service.account

    def page(self, operation: str, parent: int | None, **given: Any) -> list[Any]:
        kind = OPERATIONS[operation]
        arguments = {**CALL, ID_OF.get(kind.asked_by, ""): parent, **given}
        if "MsgIDs" in kind.arguments:
            messages = self._account.messages(parent or 0)
            arguments.setdefault("MsgIDs", {"int": [row["MsgID"] for row in messages]})
        arguments = {name: value for name, value in arguments.items() if name in kind.arguments}
        if kind.takes_exception:
            arguments["WSException"] = zeep.xsd.SkipValue
        reply = self._service[operation](**arguments, _soapheaders=[self._header])
        if kind.takes_exception:
            assert not any(reply.WSException[name] for name in dir(reply.WSException))
            reply = reply[f"{operation}Result"]
            reply = reply and reply[kind.row]
        return list(reply or ())

    def rows(self, operation: str, parent: int | None) -> list[Any]:
        if "Page" not in OPERATIONS[operation].arguments:
            return self.page(operation, parent)
        pages = (self.page(operation, parent, Page=page) for page in count(1))
        return [*chain.from_iterable(takewhile(bool, pages))]


def same(text: Any, value: Any) -> bool:
    """Whether zeep read what is on the wire."""
    if not text:
        return not value
    if isinstance(text, list):
        return list(text) == list(value)
    if isinstance(text, dict):
        return all(same(inner, value[name]) for name, inner in text.items())
    if isinstance(value, datetime):
        return Zone("UTC").read_iso(text) == instant(value.replace(tzinfo=None))
    if isinstance(value, bool):
        return bool(text == str(value).lower())
    if isinstance(value, int | float | Decimal):
        return type(value)(text) == value
    return bool(text == value)


def number(row: Row, name: str) -> int:
    return int(str(row[name]))


@pytest.fixture(scope="module")
def account() -> Account:
    return small()


@pytest.fixture(scope="module")
def client(account: Account) -> Iterator[Client]:
    with ListrakService(account) as service:
        yield Client(service)


def test_each_reply_keeps_the_contract(account: Account, client: Client) -> None:
    seen = Counter[str]()
    for operation, parent in all_parents(account):
        due, came = account.rows(operation, parent), client.rows(operation, parent)
        assert len(came) == len(due)
        for text, row in zip(due, came):
            assert set(text) <= set(dir(row))
            assert all(same(text.get(name), row[name]) for name in dir(row))
        seen[operation] += len(due)
    assert all(seen[operation] for operation in OPERATIONS)


def test_the_columns_are_those_of_the_contract() -> None:
    kinds = {"int": "integer", "double": "number", "decimal": "number", "dateTime": "date-time"}
    text_dates = {"AddDate", "HygieneDate", "PassAlongDate"}
    for name in ALL_COLUMNS.keys() - COLUMNS.keys():
        kind = OPERATIONS[NAME_OF[name]]
        columns = {field: kinds.get(of_type, "string") for field, of_type in kind.columns.items()}
        columns |= dict.fromkeys(columns.keys() & text_dates, "date-time")
        columns |= dict.fromkeys(columns.keys() & {"ContactID"}, "string")
        if kind.asked_by in ID_OF:
            columns[ID_OF[kind.asked_by]] = "integer"
        assert ALL_COLUMNS[name] == columns
        assert set(ALL_KEYS[name]) <= columns.keys()
    assert ALL_COLUMNS.keys() == ALL_KEYS.keys() == NAME_OF.keys()


def test_what_is_hidden_or_unknown_is_refused() -> None:
    account = small()
    parents = {OPERATIONS[operation].asked_by: parent for operation, parent in all_parents(account)}
    for ID in filter(None, parents.values()):
        account.hide(ID)
    with ListrakService(account) as service:
        client = Client(service)
        for kind in OPERATIONS.values():
            name = ID_OF.get(kind.asked_by, "")
            for parent in (parents[kind.asked_by], 1) if name in kind.arguments else ():
                with pytest.raises(zeep.exceptions.Fault, match=rf"\[Invalid{name}\]"):
                    client.rows(kind.name, parent)


def test_accounts_of_one_seed_are_alike() -> None:
    one, again, other = ([*all_rows(small(seed=seed))] for seed in (3, 3, 4))
    assert one == again != other


def test_the_counts_of_messages_agree_with_their_rows(account: Account) -> None:
    for name, _, row in all_rows(account, ("messages", "message_deliveries")):
        ID = number(row, "MsgID")
        for kind, (_, column) in KINDS.items():
            events = account.rows(NAME_OF[f"message_{kind}"], ID)
            assert column not in row or number(row, column) == len(events)
        clicks = account.rows(NAME_OF["message_clicks"], ID)
        links = account.rows(NAME_OF["message_links"], ID)
        by_link = {str(each["LinkURL"]): number(each, "ClickCount") for each in links}
        assert Counter(each["LinkUrl"] for each in clicks) == +Counter(by_link)
        if name == "messages":
            assert number(row, "ClickerCount") == len({each["EmailAddress"] for each in clicks})


def test_many_rows_are_the_same_as_a_few_of_them() -> None:
    operation = NAME_OF["message_opens"]
    account = small(lists=1, messages=1, counts={operation: 6001})
    ID = number(account.messages(list_ids(account)[0])[0], "MsgID")
    every, table = account.rows(operation, ID), account.select(operation, ID)
    assert len(every) == 6001
    assert [row for n in range(0, 6001, 7) for row in table[n : n + 7]] == every
    chosen = Range(instant(MIDDLE), instant(datetime(2026, 7, 1)))
    late = account.select(operation, ID, chosen)[:]
    due = [row for row in every if chosen.holds(account.zone.read(str(row["OpenDate"])))]
    assert sorted(map(str, late)) == sorted(map(str, due))


def test_odd_values_occur(account: Account) -> None:
    values = [value for _, _, row in all_rows(account) for value in row.values()]
    texts = "".join(value for value in values if isinstance(value, str))
    assert all(odd in texts for odd in ("&", "<", ">", '"', "'", "\r\n", "\t", "é", "\U0001f389"))
    assert {None, "", NEVER} <= {value for value in values if not isinstance(value, list | dict)}


def test_rows_are_added_and_replaced() -> None:
    account = small()
    derived = ("conversations", "conversation_deliveries", "message_deliveries")
    for operation, parent in dict(all_parents(account)).items():
        kind = OPERATIONS[operation]
        if kind.table in (*COLUMNS, *derived, "message_analytics"):
            continue
        before = account.rows(operation, parent)
        account.add_row(operation, parent, datetime(2026, 6, 28, 1, 2, 3), Unheard="of")
        *others, added = account.rows(operation, parent)
        assert others == before
        assert added["Unheard"] == "of"
        assert kind.date is None or added[kind.date] == "2026-06-28T01:02:03"
        account.fill(operation, parent, before[:1])
        assert account.rows(operation, parent) == before[:1]


def block(language: str) -> str:
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
    held = row_counts(Account())
    assert came == {name: held[name]["total"] for name in COLUMNS}


def test_the_python_of_the_readme_serves_an_account(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "example.py").write_text(block("python"))
    runpy.run_path(str(tmp_path / "example.py"))
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")
