"""Discovery prints the catalog of all streams but those that Listrak refuses to this user."""

import json
from collections import Counter
from typing import Any

import pytest
from jsonschema import Draft4Validator
from singer.catalog import Catalog

from fake_listrak import Reply, fault, html, with_exception
from tap_listrak.streams import BY_NAME, STREAMS, Stream
from tests.support.accounts import serving, small
from tests.support.faults import Answer
from tests.support.published import ALL_COLUMNS, ALL_KEYS
from tests.support.records import KINDS
from tests.support.tap import PASSWORD, MakeTap, Run, Tap

PARENTS = {
    stream: f"{kind.asked_by}s" for stream, kind in KINDS.items() if kind.asked_by != "account"
} | {"message_analytics": "messages"}

Entries = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> Entries:
    """The catalog's entries by stream."""
    with serving(small(), tmp_path_factory.mktemp("discovery")) as tap:
        return {entry["tap_stream_id"]: entry for entry in tap.discover()["streams"]}


def kind_of(schema: dict[str, Any]) -> tuple[str, bool]:
    """A column's type, and whether it may be null."""
    types = {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    (kind,) = types - {"null"}
    return schema.get("format", kind), "null" in types


def test_discovery_prints_a_catalog_that_singer_python_reads_and_nothing_else(tap: Tap) -> None:
    run = tap.run("--discover")
    assert run.code == 0
    assert not run.warnings()
    read = Catalog.from_dict(json.loads(run.out))
    assert {entry.tap_stream_id: entry.key_properties for entry in read.streams} == ALL_KEYS


@pytest.mark.parametrize("stream", ALL_COLUMNS)
def test_columns_and_types_are_those_of_the_reference(stream: str, entries: Entries) -> None:
    schema = entries[stream]["schema"]
    Draft4Validator.check_schema(schema)
    assert kind_of(schema) == ("object", False)
    assert schema["additionalProperties"] is False
    assert {name: kind_of(facts) for name, facts in schema["properties"].items()} == {
        column: (kind, column not in ALL_KEYS[stream])
        for column, kind in ALL_COLUMNS[stream].items()
    }


@pytest.mark.parametrize("stream", ALL_COLUMNS)
def test_metadata_names_key_and_parent_and_selects_every_column(
    stream: str, entries: Entries
) -> None:
    by_default = {"inclusion": "available", "selected-by-default": True}
    expected: dict[tuple[str, ...], dict[str, Any]] = {
        ("properties", column): by_default for column in ALL_COLUMNS[stream]
    }
    for column in ALL_KEYS[stream]:
        expected["properties", column] = {"inclusion": "automatic"}
    expected[()] = {
        "table-key-properties": ALL_KEYS[stream],
        "forced-replication-method": "FULL_TABLE",
        "inclusion": "available",
        **({"parent-tap-stream-id": PARENTS[stream]} if stream in PARENTS else {}),
    }
    if stream == "lists":
        for part in ("VmtaID", "Description"):
            expected["properties", "Vmta", "properties", part] = by_default
    metadata = entries[stream]["metadata"]
    assert {tuple(each["breadcrumb"]): each["metadata"] for each in metadata} == expected


# Access: each stream is requested once.

NAMES = [stream.name for stream in STREAMS]
CLICKS = BY_NAME["message_clicks"]
# One of each manner of request.
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


def test_each_stream_is_requested_once_for_one_real_parent(one_list: Tap) -> None:
    assert discovered(one_list.run("--discover")) == NAMES
    asked = Counter(ask.operation for ask in one_list.service.asked)
    assert asked == Counter(stream.operation for stream in STREAMS)
    account = one_list.service.account
    real = {
        "ListID": one_list.list_ids,
        **dict.fromkeys(("MsgID", "MsgIDs"), one_list.msg_ids()),
        "ConversationID": account.conversation_ids(one_list.first_list),
    }
    for ask in one_list.service.asked:
        for name in real.keys() & ask.arguments.keys():
            assert ask.arguments[name] in map(str, real[name])


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
    found = [name for name in NAMES if name != stream.name]
    assert (run.code, discovered(run), one_list.waits) == (0, found, [])
    (warning,) = run.warnings()
    assert f"{stream.name} is omitted from the catalog" in warning
    assert "AccessDenied" in warning or "HTTP 40" in warning
    assert [line for line in run.lines("INFO") if "METRIC" not in line] == [
        f"INFO Logged in to Listrak. Streams in the catalog: {', '.join(found)}.",
        f"INFO Streams omitted (see the warnings): {stream.name}.",
        'INFO Select streams with `select` in the config, or "selected": true in the catalog.',
    ]


@pytest.mark.parametrize(
    ("stream", "reply"),
    [
        *((stream, html(404)) for stream in SAMPLES),
        *((CLICKS, each) for each in (html(503), fault("Out of order"), Reply(reset=True))),
    ],
)
def test_a_stream_that_cannot_be_checked_stays(one_list: Tap, stream: Stream, reply: Reply) -> None:
    run = refusing(one_list, stream, reply)
    assert (run.code, discovered(run), one_list.waits) == (0, NAMES, [])
    assert f"{stream.name} could not be checked" in run.err


@pytest.mark.parametrize("flag", ["--discover", "--test"])
@pytest.mark.parametrize(
    ("stream", "reply", "told"),
    [
        (STREAMS[0], None, "password"),
        (STREAMS[0], "ProhibitedIPAddress", "SOAP API IP Authorization"),
        *((CLICKS, code, code) for code in ("InvalidLogonAttempt", "LoginAttemptsExceeded")),
    ],
)
def test_a_refused_logon_ends_discovery_and_test_at_once(
    one_list: Tap, stream: Stream, reply: str | None, told: str, flag: str
) -> None:
    if reply:
        one_list.answer(stream.operation, fault(f"Op(): [Logon] [{reply}] Sorry"))
    run = one_list.run(flag, config={} if reply else {"password": "not it"})
    assert (run.code, run.out) == (3, "")
    (line,) = run.lines("CRITICAL")
    assert told in line
    assert one_list.service.asked[-1].operation == stream.operation
    assert not [text for text in ("Traceback", "not it", PASSWORD) if text in run.err]


def test_the_first_call_is_retried_as_in_a_sync(one_list: Tap) -> None:
    run = refusing(one_list, STREAMS[0], html(503))
    assert (run.code, run.out, len(one_list.waits)) == (1, "", 4)


@pytest.mark.parametrize("shape", [{"lists": 0}, {"messages": 0}, {"conversations": 0}], ids=str)
def test_an_empty_account_keeps_every_stream(make_tap: MakeTap, shape: dict[str, int]) -> None:
    assert discovered(make_tap(**shape).run("--discover")) == NAMES
