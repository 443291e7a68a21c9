"""A catalog or `select` selects streams and columns; only what they need is requested."""

import copy
import json
import random
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from tap_listrak.streams import BY_NAME
from tests.support.accounts import NOW, message_ids, serving, small
from tests.support.published import ALL_COLUMNS, ALL_KEYS, COLUMNS, KEYS
from tests.support.records import all_due, all_emitted, assert_valid, exactly
from tests.support.tap import MakeTap, Run, Tap, selecting

Catalog = dict[str, Any]
LISTS = "GetContactListCollection"
MESSAGES = "ReportListMessageActivity"


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap for an account of two lists and three months."""
    return make_tap(small(), {"start_date": "2026-04-01"})


@pytest.fixture(scope="module")
def discovered(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """What discovery prints."""
    with serving(small(), tmp_path_factory.mktemp("discovery")) as tap:
        return tap.discover()


@pytest.fixture
def catalog(discovered: Catalog) -> Catalog:
    """A copy of it for each test."""
    return copy.deepcopy(discovered)


def entry_of(catalog: Catalog, stream: str) -> dict[str, Any]:
    entry: dict[str, Any]
    (entry,) = (each for each in catalog["streams"] if each["tap_stream_id"] == stream)
    return entry


def mark(catalog: Catalog, stream: str, *breadcrumb: str, **facts: Any) -> None:
    """Set metadata of a stream, or of one of its columns."""
    for each in entry_of(catalog, stream)["metadata"]:
        if tuple(each["breadcrumb"]) == breadcrumb:
            each["metadata"].update(facts)


def columns_of(run: Run) -> dict[str, set[str]]:
    """By stream, the columns that its SCHEMA holds."""
    return {each["stream"]: set(each["schema"]["properties"]) for each in run.of_type("SCHEMA")}


def without_time(run: Run) -> list[dict[str, Any]]:
    """Return the SCHEMAs and RECORDs, without the times of their replies."""
    return [
        {key: value for key, value in message.items() if key != "time_extracted"}
        for message in run.messages
        if message["type"] != "STATE"
    ]


# One of each manner of request, and the others in the long tests.
ALONE = ("lists", "messages", "message_opens", "subscribed_contacts", "conversation_sends")


@pytest.mark.parametrize(
    "stream",
    [pytest.param(name, marks=() if name in ALONE else pytest.mark.long) for name in ALL_COLUMNS],
)
def test_a_stream_alone_requests_what_it_needs(stream: str, tap: Tap, catalog: Catalog) -> None:
    run = tap.run(clock=NOW, catalog=selecting(catalog, stream))
    assert run.code == 0
    assert list(columns_of(run)) == [stream]
    due = all_due(tap.service.account, end=NOW)
    assert all_emitted(run) == {
        name: rows if name == stream else Counter() for name, rows in due.items()
    }
    needed, above = {LISTS}, BY_NAME.get(stream)
    while above:
        needed.add(above.operation)
        above = above.parent
    assert {ask.operation for ask in tap.service.asked} == needed


def test_streams_share_the_calls_for_their_parents(tap: Tap, catalog: Catalog) -> None:
    tap.run(clock=NOW, catalog=selecting(catalog, "message_opens", "message_reads"))
    made = Counter(ask.operation for ask in tap.service.asked)
    assert (made[LISTS], made[MESSAGES]) == (1, 2)


def test_any_columns_are_selected_alone_and_keys_always_come(tap: Tap, catalog: Catalog) -> None:
    chance = random.Random(0)
    chosen = {stream: set(ALL_KEYS[stream]) for stream in ALL_COLUMNS}
    selecting(catalog, *ALL_COLUMNS)
    for stream, columns in ALL_COLUMNS.items():
        for column in columns:
            selected = chance.random() < 0.5
            mark(catalog, stream, "properties", column, selected=selected)
            if selected:
                chosen[stream].add(column)
    run = tap.run(clock=NOW, catalog=catalog)
    assert run.code == 0
    assert columns_of(run) == chosen
    assert_valid(run)
    assert all_emitted(run) == {
        stream: Counter(
            tuple(cell for cell in row if cell[0] in chosen[stream]) for row in rows.elements()
        )
        for stream, rows in all_due(tap.service.account, end=NOW).items()
    }
    for message in exactly(run):
        if message["type"] == "RECORD":
            assert set(message["record"]) == chosen[message["stream"]]


def test_columns_marked_as_not_selected_by_default_stay_out(tap: Tap, catalog: Catalog) -> None:
    selecting(catalog, "lists")
    mark(catalog, "lists", "properties", "ListName", **{"selected-by-default": False})
    mark(catalog, "lists", "properties", "FromName", inclusion="unsupported")
    run = tap.run(clock=NOW, catalog=catalog)
    assert columns_of(run) == {"lists": set(COLUMNS["lists"]) - {"ListName", "FromName"}}


def test_a_column_that_was_not_selected_is_not_read(tap: Tap, catalog: Catalog) -> None:
    account, operation = tap.service.account, BY_NAME["message_bounces"].operation
    sent = datetime(2026, 6, 1)
    account.add_event(
        operation, min(message_ids(account)), "odd@example.com", sent, BounceCount="many"
    )
    selecting(catalog, "message_bounces")
    mark(catalog, "message_bounces", "properties", "BounceCount", selected=False)
    run = tap.run(clock=NOW, catalog=catalog)
    assert run.code == 0
    assert not run.warnings()
    assert "odd@example.com" in {each["EmailAddress"] for each in run.records("message_bounces")}


def test_without_a_catalog_the_published_streams_are_selected_with_every_column(tap: Tap) -> None:
    run = tap.run(clock=NOW)
    assert columns_of(run) == {stream: set(columns) for stream, columns in COLUMNS.items()}


@pytest.mark.parametrize("flag", ["--properties", "-p"])
def test_properties_is_another_name_of_catalog(flag: str, tap: Tap, catalog: Catalog) -> None:
    mark(selecting(catalog, "lists"), "lists", "properties", "ListName", selected=False)
    by_catalog = tap.run(clock=NOW, catalog=catalog)
    by_properties = tap.run(flag, str(tap.folder / "catalog.json"), clock=NOW)
    assert by_properties.code == by_catalog.code == 0
    assert without_time(by_properties) == without_time(by_catalog)
    assert by_properties.state == by_catalog.state


@pytest.mark.parametrize("how", ["selects none", "says nothing", "holds no stream"])
def test_a_catalog_that_selects_nothing_is_warned_of(how: str, tap: Tap, catalog: Catalog) -> None:
    if how == "selects none":
        selecting(catalog)
    elif how == "holds no stream":
        catalog = {"streams": []}
    run = tap.run(catalog=catalog)
    probed = tap.run("--test", catalog=catalog)
    assert (run.code, run.out, probed.code) == (0, "", 0)
    (warning,) = run.warnings()
    assert '"selected": true' in warning
    assert probed.warnings() == [warning]
    assert tap.service.connections == 0


def published(catalog: Catalog, *streams: str) -> Catalog:
    """A catalog in the form of the published tap, with these streams selected."""
    made = {"streams": [copy.deepcopy(entry_of(catalog, name)) for name in COLUMNS]}
    for entry in made["streams"]:
        name = entry["tap_stream_id"]
        table: dict[str, Any] = {"table-key-properties": KEYS[name]}
        if name in ("lists", "messages"):
            table["inclusion"] = "automatic"
        else:
            table["inclusion"] = "available"
            if name in streams:
                table["selected"] = True
        entry["metadata"] = [{"breadcrumb": [], "metadata": table}] + [
            {"breadcrumb": ["properties", column], "metadata": {"inclusion": "automatic"}}
            for column in COLUMNS[name]
        ]
    return made


@pytest.mark.parametrize("chosen", [(), ("message_clicks",)])
def test_a_catalog_of_the_published_tap_selects_lists_and_messages_by_itself(
    chosen: tuple[str, ...], tap: Tap, catalog: Catalog
) -> None:
    run = tap.run(clock=NOW, catalog=published(catalog, *chosen))
    assert columns_of(run) == {
        stream: set(COLUMNS[stream]) for stream in ("lists", "messages", *chosen)
    }
    due = all_due(tap.service.account, end=NOW)
    for stream in columns_of(run):
        assert all_emitted(run)[stream] == due[stream]


@pytest.mark.parametrize("place", ["schema", "entry"])
def test_selected_may_be_in_the_schema_or_the_entry(place: str, tap: Tap, catalog: Catalog) -> None:
    for entry in catalog["streams"]:
        del entry["metadata"]
        where = entry["schema"] if place == "schema" else entry
        where["selected"] = entry["stream"] == "lists"
    entry_of(catalog, "lists")["schema"]["properties"]["ListName"]["selected"] = False
    run = tap.run(clock=NOW, catalog=catalog)
    assert columns_of(run) == {"lists": set(COLUMNS["lists"]) - {"ListName"}}


def test_metadata_goes_before_what_the_schema_says(tap: Tap, catalog: Catalog) -> None:
    selecting(catalog, "lists")
    for entry in catalog["streams"]:
        entry["schema"]["selected"] = entry["stream"] == "messages"
    run = tap.run(clock=NOW, catalog=catalog)
    assert list(columns_of(run)) == ["lists"]


def test_an_unknown_stream_is_warned_of_and_others_are_synced(tap: Tap, catalog: Catalog) -> None:
    selecting(catalog, "lists")
    stranger = {**entry_of(catalog, "lists"), "stream": "coupons", "tap_stream_id": "coupons"}
    catalog["streams"].append(stranger)
    run = tap.run(clock=NOW, catalog=catalog)
    assert run.code == 0
    assert list(columns_of(run)) == ["lists"]
    (warning,) = run.warnings()
    assert "coupons" in warning


def test_schemas_and_keys_are_the_taps_whatever_a_catalog_holds(tap: Tap, catalog: Catalog) -> None:
    selecting(catalog, "lists")
    entry = entry_of(catalog, "lists")
    entry["schema"]["properties"].clear()
    entry["schema"]["properties"]["Invented"] = {"type": "string"}
    entry["key_properties"][:] = ["ListName"]
    run = tap.run(clock=NOW, catalog=catalog)
    (schema,) = run.of_type("SCHEMA")
    assert schema["key_properties"] == ["ListID"]
    assert set(schema["schema"]["properties"]) == set(COLUMNS["lists"])
    assert all_emitted(run)["lists"] == all_due(tap.service.account, end=NOW)["lists"]


def of_lists(*metadata: Any, **facts: Any) -> Catalog:
    """A catalog of lists with this metadata, or with these facts."""
    facts = facts or {"metadata": [*metadata]}
    return {"streams": [{"stream": "lists", "tap_stream_id": "lists", **facts}]}


def item(breadcrumb: Any = (), metadata: Any = None, **facts: Any) -> dict[str, Any]:
    """One item of metadata, with these facts unless it is given whole."""
    return {"breadcrumb": breadcrumb, "metadata": metadata if metadata is not None else facts}


BROKEN: list[Any] = [
    *([], "[", '"lists"', "null", {}, {"streams": None}, {"streams": {}}, {"streams": "lists"}),
    *({"streams": ["lists"]}, {"streams": [None]}, {"streams": [{}]}),
    *({"streams": [{"stream": {}}]}, {"streams": [{"tap_stream_id": 5}]}),
    {"streams": [{"stream": "lists", "tap_stream_id": ["lists"]}]},
    {"streams": [*of_lists()["streams"], *of_lists()["streams"]]},
    *(of_lists(metadata={"selected": True}), of_lists(metadata="selected"), of_lists(metadata=5)),
    *(of_lists(None), of_lists("selected"), of_lists([]), of_lists({})),
    *(of_lists({"breadcrumb": []}), of_lists({"metadata": {}})),
    *(of_lists(item(None)), of_lists(item("properties")), of_lists(item([[]]))),
    *(of_lists(item(metadata="selected")), of_lists(item(metadata=[]))),
    *(of_lists(item(selected="true")), of_lists(item(selected=1)), of_lists(item(selected={}))),
    *(of_lists(item(**{"selected-by-default": "yes"})), of_lists(schema={"selected": "true"})),
    of_lists(item(selected=True), item(["properties", "ListName"], selected="no")),
]


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_broken_catalog_is_refused_in_one_line_before_any_request(broken: Any, tap: Tap) -> None:
    assert "catalog" in tap.refusal(tap.run(catalog=broken))


# The parts of an object.

VMTA = ("properties", "Vmta")


def parts_of_vmta(run: Run) -> set[frozenset[str]]:
    """Return the sets of parts that a Vmta has in this run."""
    return {frozenset(record["Vmta"]) for record in run.records("lists") if record.get("Vmta")}


@pytest.mark.parametrize(
    ("deselected", "parts"),
    [
        ([(*VMTA, "properties", "Description")], {"VmtaID"}),
        ([(*VMTA, "properties", "VmtaID")], {"Description"}),
        ([(*VMTA, "properties", part) for part in ("VmtaID", "Description")], None),
        ([VMTA], None),
        ([], {"VmtaID", "Description"}),
    ],
    ids=["one", "the other", "both", "all", "none"],
)
def test_an_object_or_a_part_of_it_is_deselected_as_any_column(
    deselected: list[tuple[str, ...]], parts: set[str] | None, tap: Tap, catalog: Catalog
) -> None:
    mark(selecting(catalog, "lists"), "lists", *VMTA, selected=True)
    for breadcrumb in deselected:
        mark(catalog, "lists", *breadcrumb, selected=False)
    run = tap.run(clock=NOW, catalog=catalog)
    assert not run.warnings()
    assert_valid(run)
    (schema,) = run.of_type("SCHEMA")
    vmta = schema["schema"]["properties"].get("Vmta")
    assert (set(vmta["properties"]) if vmta else None) == parts
    for record in run.records("lists"):
        assert ("Vmta" in record) == bool(parts)
    assert parts_of_vmta(run) == ({frozenset(parts)} if parts else set())


# Patterns.

CLICKS = set(COLUMNS["message_clicks"])
PATTERNS: list[tuple[list[str] | str, dict[str, set[str]]]] = [
    (["lists"], {"lists": set(COLUMNS["lists"])}),
    ("lists.*,!lists.Vmta", {"lists": set(COLUMNS["lists"]) - {"Vmta"}}),
    (["lists.*", "!lists.Vmta.*"], {"lists": set(COLUMNS["lists"]) - {"Vmta"}}),
    (["lists.ListName"], {"lists": {"ListID", "ListName"}}),
    (["lists.Vmta.Description"], {"lists": {"ListID", "Vmta"}}),
    (["lists.Vmta", "!lists.*.VmtaID", "!lists.ListID"], {"lists": {"ListID", "Vmta"}}),
    (
        ["!message_*.LinkDescription", "message_[co]*.*", "!message_opens"],
        {"message_clicks": CLICKS - {"LinkDescription"}},
    ),
    (["*.*"], {stream: set(columns) for stream, columns in ALL_COLUMNS.items()}),
]


@pytest.mark.parametrize(
    ("patterns", "columns"), PATTERNS, ids=[str(patterns) for patterns, _ in PATTERNS]
)
def test_select_is_obeyed_by_a_sync_and_marked_by_discovery(
    patterns: list[str] | str, columns: dict[str, set[str]], tap: Tap
) -> None:
    run = tap.run(clock=NOW, config={"select": patterns})
    assert run.code == 0
    assert columns_of(run) == columns
    assert not run.warnings()
    marked = json.loads(tap.run("--discover", clock=NOW, config={"select": patterns}).out)
    assert {
        entry["stream"]
        for entry in marked["streams"]
        for each in entry["metadata"]
        if not each["breadcrumb"] and each["metadata"]["selected"]
    } == columns.keys()
    assert without_time(tap.run(clock=NOW, catalog=marked)) == without_time(run)


def test_a_pattern_of_a_part_leaves_the_other_parts_out(tap: Tap) -> None:
    run = tap.run(clock=NOW, config={"select": ["lists.Vmta.Description"]})
    assert parts_of_vmta(run) == {frozenset({"Description"})}
    assert_valid(run)


def test_a_catalog_goes_over_select(tap: Tap, catalog: Catalog) -> None:
    catalog = selecting(catalog, "lists")
    run = tap.run(clock=NOW, catalog=catalog, config={"select": "messages"})
    assert list(columns_of(run)) == ["lists"]


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("mesages", "messages"),
        ("MESSAGES", "messages"),
        ("lists.LISTNAME", "lists.ListName"),
        ("!mesage_clicks.*", "message_clicks"),
        ("list.ListName", "lists"),
        ("lists.Listname", "lists.ListName"),
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


@pytest.mark.parametrize("flags", [(), ("--test",)], ids=str)
def test_patterns_that_only_exclude_are_warned_of(flags: tuple[str, ...], tap: Tap) -> None:
    run = tap.run(*flags, config={"select": "!lists.*"})
    assert (run.code, run.out) == (0, "")
    (warning,) = run.warnings()
    assert warning.startswith("WARNING `select` in the config selects no stream")
    assert tap.service.connections == 0


@pytest.mark.parametrize("key", ["stream", "stream_alias"])
def test_an_alias_is_warned_of_and_the_name_stays(key: str, tap: Tap, catalog: Catalog) -> None:
    entry_of(selecting(catalog, "lists"), "lists")[key] = "mailing_lists"
    run = tap.run(clock=NOW, catalog=catalog)
    assert list(columns_of(run)) == ["lists"]
    (warning,) = run.warnings()
    assert "renames lists to mailing_lists" in warning
