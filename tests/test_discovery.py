"""Discovery prints the catalog of all streams, once Listrak has let us in."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from jsonschema import Draft4Validator
from singer.catalog import Catalog

from fake_listrak import Account, Ask, ListrakService, Reply, fault
from tests.support.published import ALL_COLUMNS, ALL_KEYS
from tests.support.records import KINDS
from tests.support.tap import PASSWORD, USERNAME, MakeTap, Tap

PARENTS = {
    stream: f"{kind.asked_by}s" for stream, kind in KINDS.items() if kind.asked_by != "account"
} | {"message_analytics": "messages"}

Entries = dict[str, dict[str, Any]]
each_stream = pytest.mark.parametrize("stream", ALL_COLUMNS)


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> Entries:
    """The catalog's entries by stream."""
    with ListrakService(Account(), username=USERNAME, password=PASSWORD) as service:
        catalog = Tap(service, tmp_path_factory.mktemp("discovery")).discover()
    return {entry["tap_stream_id"]: entry for entry in catalog["streams"]}


def metadata_of(entry: dict[str, Any]) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tuple(each["breadcrumb"]): each["metadata"] for each in entry["metadata"]}


def kind_of(schema: dict[str, Any]) -> tuple[str, bool]:
    types = {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    (kind,) = types - {"null"}
    return schema.get("format", kind), "null" in types


def test_discovery_prints_a_catalog_and_nothing_else(tap: Tap) -> None:
    run = tap.run("--discover")
    assert run.code == 0
    assert set(json.loads(run.out)) == {"streams"}
    assert not run.lines("WARNING")
    assert not run.lines("CRITICAL")


def test_singer_python_reads_the_catalog(tap: Tap) -> None:
    read = Catalog.from_dict(tap.discover())
    assert {entry.tap_stream_id: entry.key_properties for entry in read.streams} == ALL_KEYS


def test_the_catalog_holds_every_stream(entries: Entries) -> None:
    assert set(entries) == set(ALL_COLUMNS)
    assert all(entry["stream"] == name for name, entry in entries.items())


@each_stream
def test_columns_and_types_are_those_of_the_reference(stream: str, entries: Entries) -> None:
    schema = entries[stream]["schema"]
    Draft4Validator.check_schema(schema)
    assert kind_of(schema) == ("object", False)
    assert schema["additionalProperties"] is False
    assert {name: kind_of(facts) for name, facts in schema["properties"].items()} == {
        column: (kind, column not in ALL_KEYS[stream])
        for column, kind in ALL_COLUMNS[stream].items()
    }


@each_stream
def test_keys_are_those_of_the_reference(stream: str, entries: Entries) -> None:
    assert entries[stream]["key_properties"] == ALL_KEYS[stream]


@each_stream
def test_stream_metadata_names_keys_method_and_parent(stream: str, entries: Entries) -> None:
    assert metadata_of(entries[stream])[()] == {
        "table-key-properties": ALL_KEYS[stream],
        "forced-replication-method": "FULL_TABLE",
        "inclusion": "available",
        **({"parent-tap-stream-id": PARENTS[stream]} if stream in PARENTS else {}),
    }


@each_stream
def test_keys_come_automatically_and_other_columns_by_default(
    stream: str, entries: Entries
) -> None:
    metadata = metadata_of(entries[stream])
    del metadata[()]
    if stream == "lists":
        for part in ("VmtaID", "Description"):
            facts = metadata.pop(("properties", "Vmta", "properties", part))
            assert facts == {"inclusion": "available", "selected-by-default": True}
    assert metadata == {
        ("properties", column): (
            {"inclusion": "automatic"}
            if column in ALL_KEYS[stream]
            else {"inclusion": "available", "selected-by-default": True}
        )
        for column in ALL_COLUMNS[stream]
    }


def test_a_value_that_cannot_be_read_leaves_no_stream_out(make_tap: MakeTap) -> None:
    account = Account(lists=1)
    ListID = int(str(account.lists()[0]["ListID"]))
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    account.add_message(ListID, 42, yesterday, OrderTotal="much")
    run = make_tap(account).run("--discover")
    assert run.code == 0
    assert len(json.loads(run.out)["streams"]) == len(ALL_COLUMNS)


def test_a_wrong_password_is_found_at_discovery_by_one_call(tap: Tap) -> None:
    run = tap.run("--discover", config={"password": "not it"})
    assert run.code == 3
    assert run.out == ""
    (line,) = run.lines("CRITICAL")
    assert "password" in line
    assert "Traceback" not in run.err
    assert "not it" not in run.err
    assert PASSWORD not in run.err
    assert len(tap.service.asked) == 1


def test_an_address_that_listrak_does_not_allow_is_found_at_discovery(tap: Tap) -> None:
    def refuse(ask: Ask) -> Reply | None:
        text = f"{ask.operation}(): [Logon] [ProhibitedIPAddress] Prohibited IP Address"
        return None if ask.operation == "WSDL" else fault(text)

    tap.service.rules.append(refuse)
    run = tap.run("--discover")
    assert run.code == 3
    assert run.out == ""
    (line,) = run.lines("CRITICAL")
    assert "Manage, Accounts, SOAP API IP Authorization" in line
    assert len(tap.service.asked) == 1
