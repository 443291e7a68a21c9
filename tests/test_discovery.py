"""Discovery prints the catalog of all streams but those that Listrak refuses to this user."""

import json
from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from jsonschema import Draft4Validator
from singer.catalog import Catalog

from fake_listrak import Account, ListrakService, Reply, fault, html, with_exception
from tap_listrak.streams import BY_NAME, STREAMS, Stream
from tests.support.accounts import list_ids, message_ids
from tests.support.faults import Answer
from tests.support.published import ALL_COLUMNS, ALL_KEYS
from tests.support.records import KINDS
from tests.support.tap import PASSWORD, USERNAME, MakeTap, Run, Tap

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


def test_discovery_prints_a_catalog_that_singer_python_reads_and_nothing_else(tap: Tap) -> None:
    run = tap.run("--discover")
    assert run.code == 0
    assert set(json.loads(run.out)) == {"streams"}
    assert not run.warnings()
    read = Catalog.from_dict(json.loads(run.out))
    assert {entry.tap_stream_id: entry.key_properties for entry in read.streams} == ALL_KEYS


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
def test_stream_metadata_names_keys_method_and_parent(stream: str, entries: Entries) -> None:
    assert entries[stream]["stream"] == stream
    assert entries[stream]["key_properties"] == ALL_KEYS[stream]
    assert metadata_of(entries[stream])[()] == {
        "table-key-properties": ALL_KEYS[stream],
        "forced-replication-method": "FULL_TABLE",
        "inclusion": "available",
        **({"parent-tap-stream-id": PARENTS[stream]} if stream in PARENTS else {}),
    }


@each_stream
def test_keys_come_always_and_other_columns_by_default(stream: str, entries: Entries) -> None:
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
    (ListID,) = list_ids(account)
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    account.add_message(ListID, 42, yesterday, OrderTotal="much")
    run = make_tap(account).run("--discover")
    assert run.code == 0
    assert len(json.loads(run.out)["streams"]) == len(ALL_COLUMNS)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (None, "password"),
        ("[Logon] [ProhibitedIPAddress] Prohibited IP Address", "SOAP API IP Authorization"),
    ],
)
def test_a_refused_login_is_found_by_one_call(reply: str | None, told: str, tap: Tap) -> None:
    if reply:
        tap.answer(STREAMS[0].operation, fault(f"Op(): {reply}"))
    run = tap.run("--discover", config={} if reply else {"password": "not it"})
    assert (run.code, run.out) == (3, "")
    (line,) = run.lines("CRITICAL")
    assert told in line
    assert "Traceback" not in run.err
    assert "not it" not in run.err
    assert PASSWORD not in run.err
    assert len(tap.service.asked) == 1


# Access: each stream is requested once.

NAMES = [stream.name for stream in STREAMS]
CLICKS = BY_NAME["message_clicks"]
# One of each manner of request; all take one way.
SAMPLES = [BY_NAME[name] for name in ("messages", "campaigns", "conversation_opens", "complaints")]
DENIED = "[Security] [AccessDenied] No access"
REFUSAL = fault(f"Op(): {DENIED}")


@pytest.fixture
def one_list(make_tap: MakeTap) -> Tap:
    """A tap for an account of one list with messages within the newest window."""
    return make_tap(lists=1, messages=3, config={"start_date": "2025-01-01", "interval_days": 3650})


def discovered(run: Run) -> list[str]:
    return [entry["stream"] for entry in json.loads(run.out)["streams"]]


def refusing(tap: Tap, stream: Stream, reply: Reply | Answer) -> Run:
    tap.answer(stream.operation, reply)
    return tap.run("--discover")


def test_each_stream_is_asked_for_once_for_one_real_parent(one_list: Tap) -> None:
    run = one_list.run("--discover")
    assert discovered(run) == NAMES
    asked = Counter(ask.operation for ask in one_list.service.asked)
    assert asked == Counter(stream.operation for stream in STREAMS)
    account = one_list.service.account
    (ListID,) = list_ids(account)
    MsgIDs = set(map(str, message_ids(account)))
    asked_by = {
        "ListID": {str(ListID)},
        "MsgID": MsgIDs,
        "MsgIDs": MsgIDs,
        "ConversationID": set(map(str, account.conversation_ids(ListID))),
    }
    for ask in one_list.service.asked:
        for name in asked_by.keys() & ask.arguments.keys():
            assert ask.arguments[name] in asked_by[name]


@pytest.mark.parametrize(
    ("stream", "reply"),
    [
        *((stream, REFUSAL) for stream in SAMPLES),
        *((CLICKS, html(401)), (CLICKS, html(403))),
        # In a reply that is good but for it.
        (BY_NAME["message_sends"], lambda ask: with_exception(ask, f"Op(): {DENIED}")),
    ],
)
def test_a_refused_stream_is_omitted_and_named(
    one_list: Tap, stream: Stream, reply: Reply | Answer
) -> None:
    run = refusing(one_list, stream, reply)
    assert run.code == 0
    assert discovered(run) == [name for name in NAMES if name != stream.name]
    (warning,) = run.warnings()
    assert f"{stream.name} is omitted from the catalog" in warning
    assert "AccessDenied" in warning or "HTTP 40" in warning
    assert one_list.waits == []


def test_a_summary_for_people_says_what_was_found_and_what_was_left_out(one_list: Tap) -> None:
    run = refusing(one_list, CLICKS, REFUSAL)
    found = ", ".join(name for name in NAMES if name != "message_clicks")
    lines = [line for line in run.lines("INFO") if "METRIC" not in line]
    assert lines == [
        f"INFO Logged in to Listrak. Streams in the catalog: {found}.",
        "INFO Streams omitted (see the warnings): message_clicks.",
        'INFO Select streams with `select` in the config, or "selected": true in the catalog.',
    ]


@pytest.mark.parametrize(
    ("stream", "reply"),
    [
        *((stream, html(404)) for stream in SAMPLES),
        (CLICKS, html(503)),
        (CLICKS, fault("Out of order")),
        (CLICKS, Reply(reset=True)),
    ],
)
def test_a_stream_that_cannot_be_checked_stays(one_list: Tap, stream: Stream, reply: Reply) -> None:
    run = refusing(one_list, stream, reply)
    assert run.code == 0
    assert discovered(run) == NAMES
    assert f"{stream.name} could not be checked" in run.err
    assert one_list.waits == []


@pytest.mark.parametrize("code", ["InvalidLogonAttempt", "LoginAttemptsExceeded", "Other"])
def test_a_refused_logon_ends_discovery(one_list: Tap, code: str) -> None:
    run = refusing(one_list, CLICKS, fault(f"Op(): [Logon] [{code}] Sorry"))
    assert run.code == 3
    assert run.out == ""
    assert len(run.lines("CRITICAL")) == 1


def test_the_first_call_is_retried_as_in_a_sync(one_list: Tap) -> None:
    run = refusing(one_list, STREAMS[0], html(503))
    assert run.code == 1
    assert run.out == ""
    assert len(one_list.waits) == 4


@pytest.mark.parametrize("shape", [{"lists": 0}, {"messages": 0}, {"conversations": 0}], ids=str)
def test_an_empty_account_keeps_every_stream(make_tap: MakeTap, shape: dict[str, int]) -> None:
    assert discovered(make_tap(**shape).run("--discover")) == NAMES
