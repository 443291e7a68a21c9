"""A catalog or `select` selects streams and columns; only what they need is requested."""

import json
import random
import re
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from tap_listrak.streams import BY_NAME
from tests.support.accounts import NOW, message_ids, small
from tests.support.published import ALL_COLUMNS, ALL_KEYS, COLUMNS, KEYS
from tests.support.records import all_due, all_emitted, assert_valid
from tests.support.tap import MakeTap, Run, Tap, catalog_of

Catalog = dict[str, Any]
LISTS = "GetContactListCollection"
MESSAGES = "ReportListMessageActivity"
NOT = {"selected": False}


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap for an account of two lists and three months."""
    return make_tap(small(), {"start_date": "2026-04-01"})


def marking(**streams: dict[str, Any]) -> Catalog:
    """A catalog with metadata by stream and column ("": of the stream, else it is selected)."""
    return {
        "streams": [
            {"stream": name, "metadata": metadata_of({"": {"selected": True}, **facts})}
            for name, facts in streams.items()
        ]
    }


def metadata_of(facts: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"breadcrumb": ["properties", column] if column else [], "metadata": each}
        for column, each in facts.items()
    ]


def columns_of(run: Run) -> dict[str, set[str]]:
    """By stream, the columns that its SCHEMA holds."""
    return {each["stream"]: set(each["schema"]["properties"]) for each in run.of_type("SCHEMA")}


# One of each manner of request, and the others in the long tests.
ALONE = ("lists", "messages", "message_opens", "subscribed_contacts", "conversation_sends")


@pytest.mark.parametrize(
    "stream",
    [pytest.param(name, marks=() if name in ALONE else pytest.mark.long) for name in ALL_COLUMNS],
)
def test_a_stream_alone_requests_what_it_needs(stream: str, tap: Tap) -> None:
    run = tap.run(clock=NOW, catalog=catalog_of(stream))
    assert run.code == 0
    assert list(columns_of(run)) == [stream]
    emitted, due = all_emitted(run), all_due(tap.service.account, end=NOW)
    assert {name: rows for name, rows in emitted.items() if rows} == {stream: due[stream]}
    needed, above = {LISTS}, BY_NAME.get(stream)
    while above:
        needed.add(above.operation)
        above = above.parent
    assert {ask.operation for ask in tap.service.asked} == needed


def test_any_columns_are_selected_alone_and_keys_always_come(tap: Tap) -> None:
    chance = random.Random(0)
    marked = {
        stream: {column: {"selected": chance.random() < 0.5} for column in columns}
        for stream, columns in ALL_COLUMNS.items()
    }
    run = tap.run(clock=NOW, catalog=marking(**marked))
    assert run.code == 0
    chosen = {
        stream: {*ALL_KEYS[stream], *(name for name, facts in columns.items() if facts["selected"])}
        for stream, columns in marked.items()
    }
    assert columns_of(run) == chosen
    assert_valid(run)
    assert all_emitted(run) == {
        stream: Counter(
            tuple(cell for cell in row if cell[0] in chosen[stream]) for row in rows.elements()
        )
        for stream, rows in all_due(tap.service.account, end=NOW).items()
    }


def test_a_column_is_deselected_in_three_ways(tap: Tap) -> None:
    facts = {
        "Vmta": NOT,
        "ListName": {"selected-by-default": False},
        "FromName": {"inclusion": "unsupported"},
    }
    run = tap.run(clock=NOW, catalog=marking(lists=facts))
    assert columns_of(run) == {"lists": COLUMNS["lists"].keys() - facts.keys()}


def test_a_column_that_was_not_selected_is_not_read(tap: Tap) -> None:
    account, operation = tap.service.account, BY_NAME["message_bounces"].operation
    email, sent, msg_id = "odd@example.com", datetime(2026, 6, 1), min(message_ids(account))
    account.add_event(operation, msg_id, email, sent, BounceCount="many")
    run = tap.run(clock=NOW, catalog=marking(message_bounces={"BounceCount": NOT}))
    assert (run.code, run.warnings()) == (0, [])
    assert email in run.addresses("message_bounces")


def test_without_a_catalog_the_published_streams_are_selected_with_every_column(tap: Tap) -> None:
    run = tap.run(clock=NOW)
    assert columns_of(run) == {stream: set(columns) for stream, columns in COLUMNS.items()}
    made = Counter(ask.operation for ask in tap.service.asked)
    assert (made[LISTS], made[MESSAGES]) == (1, len(tap.list_ids)), "streams share their parents"


def test_a_catalog_of_the_published_tap_selects_lists_and_messages_by_itself(tap: Tap) -> None:
    automatic: dict[str, Any] = {"inclusion": "automatic"}
    marked = {
        stream: dict.fromkeys(["", *columns], automatic) for stream, columns in COLUMNS.items()
    }
    for stream in COLUMNS.keys() - {"lists", "messages"}:
        marked[stream][""] = {"inclusion": "available"}
    marked["message_clicks"][""] = {"inclusion": "available", "selected": True}
    catalog = marking(**marked)
    for entry in catalog["streams"]:
        entry |= {"schema": {"properties": {"Invented": {}}}, "key_properties": ["Invented"]}
    run = tap.run(clock=NOW, catalog=catalog)
    selected = ("lists", "messages", "message_clicks")
    assert columns_of(run) == {stream: set(COLUMNS[stream]) for stream in selected}
    assert [each["key_properties"] for each in run.of_type("SCHEMA")] == [KEYS[s] for s in selected]


def test_selected_may_be_in_the_schema_or_the_entry_and_metadata_overrides_it(tap: Tap) -> None:
    schema = {"selected": True, "properties": {"Subject": NOT}}
    streams: list[dict[str, Any]] = [
        {"stream": "messages", "schema": schema},
        {"stream": "lists", "selected": True},
        {"stream": "campaigns", "selected": True, "metadata": metadata_of({"": NOT})},
    ]
    run = tap.run(clock=NOW, catalog={"streams": streams})
    assert columns_of(run).keys() == {"lists", "messages"}
    assert columns_of(run)["messages"] == COLUMNS["messages"].keys() - {"Subject"}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"tap_stream_id": "coupons"}, "stream coupons"),
        ({"tap_stream_id": "messages", "stream": "news"}, "renames messages to news"),
        ({"tap_stream_id": "messages", "stream_alias": "news"}, "renames messages to news"),
    ],
)
def test_unknown_streams_and_aliases_are_warned_of_and_names_stay(
    facts: dict[str, str], said: str, tap: Tap
) -> None:
    catalog = catalog_of("lists", "messages")
    catalog["streams"][1].update(facts)
    run = tap.run(clock=NOW, catalog=catalog)
    assert run.code == 0
    assert columns_of(run).keys() == {"lists", facts["tap_stream_id"]} - {"coupons"}
    (warning,) = run.warnings()
    assert said in warning


BROKEN_METADATA: list[Any] = [
    *(5, "selected", {"selected": True}, [None], [{}], [{"breadcrumb": []}]),
    *([{"breadcrumb": each, "metadata": {}}] for each in (None, "properties", [5])),
    *(metadata_of({"": each}) for each in ("x", {"selected": "true"}, {"selected-by-default": 1})),
    metadata_of({"": {"selected": True}, "ListName": {"selected": "no"}}),
]
BROKEN_STREAMS: list[Any] = [
    *({}, ["lists"], [{}], [{"tap_stream_id": 5}], [{"stream": {}}], [{"stream": "lists"}] * 2),
    [{"stream": "lists", "schema": {"selected": "true"}}],
    *([{"stream": "lists", "metadata": each}] for each in BROKEN_METADATA),
]
BROKEN = ["[", "[]", '"lists"', "null", "{}", *({"streams": each} for each in BROKEN_STREAMS)]


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_broken_catalog_is_refused_in_one_line_before_any_request(broken: Any, tap: Tap) -> None:
    assert "catalog" in tap.refusal(tap.run(catalog=broken))


@pytest.mark.parametrize("flags", [(), ("--test",)], ids=str)
@pytest.mark.parametrize(
    ("catalog", "select", "said"),
    [
        ({"streams": []}, None, '"selected": true'),
        (marking(lists={"": NOT}), None, '"selected": true'),
        (marking(lists={"": {}}), "lists", '"selected": true'),  # a catalog overrides select
        (None, "!lists.*", "`select` in the config selects no stream"),
    ],
    ids=str,
)
def test_a_catalog_or_select_that_selects_nothing_is_warned_of(
    catalog: Catalog | None, select: str | None, said: str, flags: tuple[str, ...], tap: Tap
) -> None:
    run = tap.run(*flags, catalog=catalog, config={"select": select})
    assert (run.code, run.out, tap.service.connections) == (0, "", 0)
    (warning,) = run.warnings()
    assert said in warning


# Patterns.

PATHS = {f"{stream}.{column}" for stream, columns in ALL_COLUMNS.items() for column in columns}
PATHS |= {"lists.Vmta.VmtaID", "lists.Vmta.Description"}


def paths_of(run: Run) -> set[str]:
    """The columns in the records of each stream, and the parts of a list's Vmta."""
    columns = {(each["stream"], name) for each in run.of_type("RECORD") for name in each["record"]}
    parts = {part for record in run.records("lists") for part in record.get("Vmta") or ()}
    return {".".join(each) for each in columns} | {f"lists.Vmta.{part}" for part in parts}


@pytest.mark.parametrize(
    ("patterns", "selected"),
    [
        (["lists"], r"lists\..*"),
        ("lists.*,!lists.Vmta", r"lists\.(?!Vmta).*"),
        (["lists.*", "!lists.Vmta.*"], r"lists\.(?!Vmta).*"),
        (["lists.ListName"], r"lists\.(ListID|ListName)"),
        (["lists.Vmta.Description"], r"lists\.(ListID|Vmta|Vmta\.Description)"),
        (["lists.Vmta", "!*.*.Description", "!*.ListID"], r"lists\.(ListID|Vmta|Vmta\.VmtaID)"),
        (["!*.LinkUrl", "message_[co]*.*", "!message_opens"], r"message_clicks\.(?!LinkUrl).*"),
        (["*.*"], ".*"),
    ],
)
def test_select_is_obeyed_by_a_sync_and_marked_by_discovery(
    patterns: list[str] | str, selected: str, tap: Tap
) -> None:
    run = tap.run(clock=NOW, config={"select": patterns})
    assert (run.code, run.warnings()) == (0, [])
    assert paths_of(run) == {path for path in PATHS if re.fullmatch(selected, path)}
    assert_valid(run)
    marked = json.loads(tap.run("--discover", clock=NOW, config={"select": patterns}).out)
    assert all_emitted(tap.run(clock=NOW, catalog=marked)) == all_emitted(run)


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("MESAGES", "messages"),
        ("!mesage_clicks.*", "message_clicks"),
        ("list.ListName", "lists"),
        ("lists.LISTNAME", "lists.ListName"),
        ("message_*.LinkDescriptions", "message_links.LinkDescription"),
        ("lists.Vmta.Descriptoin", "lists.Vmta.Description"),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--discover",)], ids=str)
def test_a_pattern_that_matches_nothing_is_refused_with_the_nearest_name(
    flags: tuple[str, ...], pattern: str, near: str, tap: Tap
) -> None:
    assert tap.refusal(tap.run(*flags, config={"select": ["lists", pattern]})) == (
        f"CRITICAL Invalid `select` in the config: {pattern} matches no stream or column. The "
        f"nearest name is {near}."
    )
