"""Texts become values of their column's type, and a page read by column is one read by row."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from tap_listrak.config import parse_config
from tap_listrak.listrak.faults import InvalidValueError
from tap_listrak.listrak.records import RecordReader, RowIssues, encode_lines
from tap_listrak.listrak.response import parse_rows
from tap_listrak.listrak.transport import HttpReply
from tap_listrak.listrak.values import boolean, integer, number
from tap_listrak.streams import BY_NAME, resolve_tables
from tests.support.published import ALL_COLUMNS
from tests.support.replies import NIL, rows_of

CONFIG = parse_config(
    {"username": "u", "password": "p", "start_date": "2025-01-01", "keep_every_event": True},
    datetime(2026, 1, 1, tzinfo=timezone.utc),
)
TABLES = resolve_tables(CONFIG)
PARENT = 4711


# Values.

VALUES: dict[Callable[[str], Any], dict[str, str]] = {
    integer: {" -42\n": "-42", "+007": "7", **{text: text for text in (f"{2**63 - 1}", "0")}},
    number: {
        **{text: text for text in ("-12.50", "0.30000000000000004000", "1E+999", "0")},
        "\t-.5 ": "-0.5",
        **dict.fromkeys(("NaN", "INF", "-INF", "+INF", "Infinity", "-Infinity", " NaN\n"), "null"),
    },
    boolean: {"true": "true", " 1\n": "true", "False": "false", "0": "false"},
}
NOT_VALUES: dict[Callable[[str], Any], list[str]] = {
    integer: ["", "1.0", "1_000", "١٢", "twelve", "--1", str(2**63), str(-(2**63) - 1), "9" * 5000],
    number: ["", "1e", "0x1", "1,5", "1e99999", "snan", "1.5.1"],
    boolean: ["", "yes", "2", "truefalse"],
}


@pytest.mark.parametrize(
    ("read", "text", "json"),
    [(read, *pair) for read, pairs in VALUES.items() for pair in pairs.items()],
)
def test_a_value_is_emitted_exactly(read: Callable[[str], Any], text: str, json: str) -> None:
    assert encode_lines([read(text)]).decode().strip() == json


@pytest.mark.parametrize(
    ("read", "text"), [(read, text) for read, texts in NOT_VALUES.items() for text in texts]
)
def test_a_text_of_another_type_is_refused(read: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ValueError, match=r"^not an? "):
        read(text)


# Pages.

STREAMS_OF_TEXTS = [
    stream for stream, kinds in ALL_COLUMNS.items() if not {"array", "object"} & {*kinds.values()}
]
PLAIN = {"integer": "7", "number": "1.50", "boolean": "true"}
DATE = "2026-06-30T01:02:03"
EMPTY = ["", "<{0} />", f"<{{0}} {NIL} />"]
ODD = [
    *("<{0}>1<![CDATA[2]]></{0}>", "<{0}><![CDATA[]]></{0}>", "<{0}>a<b>1</b></{0}>", "text"),
    *("<{0}>1</{0}><{0}>1</{0}>", "<{0}>1</{0}><{0}/>", "<{0}/><{0}>1</{0}>", "<{0}>odd</{0}>"),
    *('<{0} xmlns="urn:other">1</{0}>', "<New>1</New>", "<{0}><b>1</b><b>2</b></{0}>"),
]


def read_rows(stream: str, *rows: str) -> etree._Element:
    """Parse rows, each the XML within the row element."""
    reply = HttpReply(200, rows_of(stream, *rows).body, 0, "")
    return parse_rows(reply, BY_NAME[stream].operation, BY_NAME[stream].row)


@settings(max_examples=300)
@given(st.sampled_from(STREAMS_OF_TEXTS), st.data())
def test_a_page_read_by_column_is_what_it_is_read_by_row(stream: str, data: st.DataObject) -> None:
    table, parent = TABLES[BY_NAME[stream]], BY_NAME[stream].supplied_key
    unselected = data.draw(st.sets(st.sampled_from(table.columns), max_size=3))
    columns = [each for each in table.columns if each not in unselected - {*table.key_properties}]
    cells = {
        column: f"<{column}>{DATE if 'Date' in column else PLAIN.get(kind, 'text')}</{column}>"
        for column, kind in ALL_COLUMNS[stream].items()
        if column != parent
    }
    rows = [dict(cells), dict(cells), dict(cells)]
    forms = st.sampled_from(EMPTY) | st.sampled_from(ODD)
    change = st.tuples(st.integers(0, 2), st.sampled_from(sorted(cells)), forms)
    changes = data.draw(st.lists(change, max_size=2))
    for row, column, form in changes:
        rows[row][column] = form.format(column)
    page = read_rows(stream, *("".join(row.values()) for row in rows))

    reader = RecordReader(table, columns, CONFIG.timezone)
    by_column, issues = reader.read_by_column(page, PARENT), RowIssues()
    try:
        by_row = reader.read_by_row(page, PARENT, issues)
    except InvalidValueError:
        assert by_column is None
    else:
        assert by_column is None or encode_lines(by_column) == encode_lines(by_row)
        assert by_column is None or issues == RowIssues()
    if all(form in EMPTY and column not in table.key_properties for _, column, form in changes):
        assert by_column, "pages without oddities are read the fast way"


def test_the_digest_of_keys_is_that_of_the_keys_in_any_order() -> None:
    stream = "subscribed_contacts"
    table = TABLES[BY_NAME[stream]]
    reader = RecordReader(table, table.columns, CONFIG.timezone)

    def digest(*contacts: str) -> str:
        """Digest the keys of these contacts, each in a row that has a field of its own."""
        cells = "<ContactID>{}</ContactID><AdditionMethod>{}</AdditionMethod>"
        rows = [cells.format(contact, number) for number, contact in enumerate(contacts)]
        return reader.digest_keys(reader.read(read_rows(stream, *rows), PARENT, RowIssues()))

    assert digest("a", "b") == digest("b", "a")
    assert len({digest(*contacts) for contacts in ("a", "ab", "ac", "abb")}) == 4


# Schemas.


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["null", "array"], "items": {"type": "integer"}},
        {"type": ["null", "object"], "properties": {"IsOn": {"type": ["null", "boolean"]}}},
        {"type": ["string", "integer"]},
    ],
    ids=str,
)
def test_a_schema_of_an_unsupported_type_is_refused(schema: dict[str, Any]) -> None:
    table = TABLES[BY_NAME["message_opens"]]
    properties = {**table.schema["properties"], "Odd": schema}
    changed = replace(table, schema={**table.schema, "properties": properties})
    with pytest.raises(TypeError, match=r"message_opens\.Odd"):
        RecordReader(changed, table.columns, CONFIG.timezone)
