"""Rows of any order, with any elements, become records of exactly the selected columns."""

import io
import json
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from tap_listrak.config import parse_config
from tap_listrak.listrak.faults import InvalidValueError
from tap_listrak.listrak.pages import PageReader
from tap_listrak.listrak.records import RecordReader, RowIssues, encode_lines
from tap_listrak.listrak.response import LISTRAK
from tap_listrak.listrak.transport import HttpReply
from tap_listrak.listrak.values import boolean, integer, number
from tap_listrak.singer_output import SingerOutput
from tap_listrak.streams import BY_NAME, resolve_tables
from tests.support.published import ALL_COLUMNS, ALL_KEYS
from tests.support.records import NEVER, NO_DATE
from tests.support.replies import rows_of

CONFIG = parse_config(
    {"username": "robot", "password": "hunter2", "start_date": "2025-01-01"},
    datetime(2026, 1, 1, tzinfo=timezone.utc),
)
TABLES = resolve_tables(CONFIG)
PARENT = 4711
SPACES = st.text(" \t\n\r", max_size=2)


def read_json(value: Any) -> Any:
    """What a target reads of a value, with a number's digits unchanged."""
    return json.loads(encode_lines([value]), parse_float=Decimal)


# Values.


@given(st.integers(-(2**63), 2**63 - 1), SPACES, SPACES)
def test_an_integer_is_read_whatever_surrounds_it(value: int, before: str, after: str) -> None:
    assert integer(f"{before}{value}{after}") == value


@given(st.text(max_size=25) | st.integers(-(10**40), 10**40).map(str))
@example(str(2**63))
@example(str(-(2**63) - 1))
@example("1_000")
@example("١٢")
@example("1.0")
@example("9" * 5000)
def test_a_text_is_an_integer_of_ascii_digits_and_64_bits_or_refused(text: str) -> None:
    try:
        value = integer(text)
    except ValueError:
        return
    assert text.strip().lstrip("+-").lstrip("0") == str(abs(value)).lstrip("0")
    assert -(2**63) <= value < 2**63


numbers = st.from_regex(
    r"[+-]?([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})([eE][+-]?[0-9]{1,3})?", fullmatch=True
)


@given(numbers, SPACES)
@example("-0.0", "")
@example("1E+999", "")
@example("0.30000000000000004000", "")
def test_a_number_keeps_its_value_exactly(text: str, around: str) -> None:
    value = read_json(number(f"{around}{text}{around}"))
    assert Decimal(value) == Decimal(text)


@pytest.mark.parametrize("text", ["NaN", "INF", "-INF", "+INF", "Infinity", "-Infinity", " NaN\n"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert number(text) is None


@given(st.text(max_size=20))
@example("1e")
@example("0x1")
@example("1,5")
@example("1e99999")
@example("snan")
def test_a_text_is_json_of_a_number_or_null_or_refused(text: str) -> None:
    try:
        value = read_json(number(text))
    except ValueError:
        return
    assert value is None or isinstance(value, (int, Decimal))


@given(st.sampled_from([("true", True), ("1", True), ("false", False), ("0", False)]), SPACES)
def test_a_boolean_is_read_in_the_spellings_of_xml(spelt: tuple[str, bool], around: str) -> None:
    assert boolean(f"{around}{spelt[0]}{around}") is spelt[1]


@given(st.text(max_size=6).filter(lambda text: text.strip().lower() not in "true1false0"))
@example("yes")
@example("2")
def test_other_booleans_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="boolean"):
        boolean(text)


# Rows.


@dataclass
class Cell:
    """A column's element in a row: its XML, and the value that it is to become."""

    column: str
    xml: str
    value: Any = None


@dataclass
class Page:
    """Rows of a stream, and which columns of them are selected."""

    stream: str
    columns: list[str]
    rows: list[list[Cell]]

    @property
    def due(self) -> list[dict[str, Any]]:
        """The records that the rows are to become, but for those without their key."""
        stream, kinds = BY_NAME[self.stream], ALL_COLUMNS[self.stream]
        own = {column for column in ALL_KEYS[self.stream] if column != stream.supplied_key}
        absent = {column: NO_DATE for column in own if kinds[column] == "date-time"}
        if not stream.is_published:
            absent.update((column, "") for column in own if kinds[column] == "string")
        records = []
        for row in self.rows:
            values = {cell.column: cell.value for cell in row}
            present = {column for column in own if values.get(column) is not None}
            if present and present >= own - absent.keys():
                values.update((column, absent[column]) for column in own - present)
                if stream.supplied_key:
                    values[stream.supplied_key] = PARENT
                records.append({column: values.get(column) for column in self.columns})
        return records

    def read(self) -> tuple[list[dict[str, Any]], RowIssues]:
        """What the tap makes of it."""
        return read(self.stream, self.columns, *("".join(c.xml for c in row) for row in self.rows))


def read(stream: str, columns: list[str], *rows: str) -> tuple[list[dict[str, Any]], RowIssues]:
    """Read rows, each the XML within the row element."""
    tag, namespace = BY_NAME[stream].row, LISTRAK[1:-1]
    result = etree.fromstring(
        f'<Result xmlns="{namespace}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        + "".join(f"<{tag}>{row}</{tag}>" for row in rows)
        + "</Result>"
    )
    issues = RowIssues()
    parent = PARENT if BY_NAME[stream].supplied_key else None
    reader = RecordReader(TABLES[BY_NAME[stream]], columns, CONFIG.timezone)
    lines = encode_lines(reader.read(result, parent, issues))
    fast = reader.read_by_column(result, parent)
    if fast is not None:
        # Both ways give the same records, and the same bytes.
        assert (
            lines == encode_lines(fast) == encode_lines(reader.read_by_row(result, parent, issues))
        )
    return [json.loads(line, parse_float=Decimal) for line in lines.splitlines()], issues


texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n&<>\"'"),
    min_size=1,
    max_size=12,
)


def in_xml(column: str, text: str) -> str:
    return f"<{column}>{escape(text)}</{column}>"


def is_date(column: str, kind: str) -> bool:
    """Whether a column comes in UTC, be it as text."""
    return kind == "date-time" or column in ("AdditionDate", "RemovalDate")


@st.composite
def filled(draw: st.DrawFn, column: str, kind: str) -> Cell:
    """An element that holds a value of its column's type."""
    value: Any
    if kind == "integer":
        value = draw(st.integers(-(2**31), 2**31 - 1))
        return Cell(column, in_xml(column, str(value)), value)
    if kind == "number":
        value = draw(st.decimals(allow_nan=False, allow_infinity=False, places=6))
        return Cell(column, in_xml(column, str(value)), value)
    if kind == "boolean":
        value = draw(st.booleans())
        return Cell(column, in_xml(column, str(value).lower()), value)
    if is_date(column, kind):
        value = draw(st.datetimes(datetime(1, 1, 2))).replace(microsecond=0).isoformat()
        return Cell(column, in_xml(column, value), f"{value}Z")
    if kind == "object":
        value = draw(st.integers(1, 99))
        xml = f"<{column}><VmtaID>{value}</VmtaID></{column}>"
        return Cell(column, xml, {"VmtaID": value, "Description": None})
    if kind == "array":
        value = draw(st.lists(texts, min_size=1, max_size=3))
        if draw(st.booleans()):
            inner = "".join(in_xml("string", text) for text in value)
            return Cell(column, f"<{column}>{inner}</{column}>", value)
        return Cell(column, "".join(in_xml(column, text) for text in value), value)
    value = draw(texts)
    return Cell(column, in_xml(column, value), value)


def blank(column: str, kind: str) -> st.SearchStrategy[Cell]:
    """An element that holds nothing, or the date that was never set."""
    forms = [f'<{column} xsi:nil="true" />', f"<{column} />"]
    if is_date(column, kind):
        forms.append(in_xml(column, NEVER))
    return st.sampled_from(forms).map(lambda xml: Cell(column, xml))


@st.composite
def even_rows(draw: st.DrawFn, stream: str) -> list[Cell]:
    """A row of every column, each filled."""
    supplied_key = BY_NAME[stream].supplied_key
    kinds = ALL_COLUMNS[stream].items()
    cells = [draw(filled(*column)) for column in kinds if column[0] != supplied_key]
    return draw(st.permutations(cells))


@st.composite
def any_rows(draw: st.DrawFn, stream: str) -> list[Cell]:
    """A row of some of the columns in any order, with elements that the schema lacks."""
    names = sorted(ALL_COLUMNS[stream])
    sent = draw(st.sets(st.sampled_from(names)))
    if draw(st.integers(0, 4)):
        sent |= set(ALL_KEYS[stream])
    empty = draw(st.sets(st.sampled_from(names), max_size=3))
    kinds = ALL_COLUMNS[stream]
    cells = [
        draw((blank if column in empty else filled)(column, kinds[column]))
        for column in sorted(sent)
    ]
    unknown = draw(st.sets(st.sampled_from(["Device", "Geo", "Listid"]), max_size=2))
    cells += [Cell(name, f"<{name}><a/>b</{name}>") for name in sorted(unknown)]
    return draw(st.permutations(cells))


@st.composite
def pages(draw: st.DrawFn) -> Page:
    """Some rows of a stream, of which any columns are selected; in half of them all even."""
    stream = draw(st.sampled_from(sorted(ALL_COLUMNS)))
    chosen = draw(st.sets(st.sampled_from(sorted(ALL_COLUMNS[stream])))) | set(ALL_KEYS[stream])
    rows = even_rows(stream)
    if draw(st.booleans()):
        rows |= any_rows(stream)
    columns = [column for column in ALL_COLUMNS[stream] if column in chosen]
    return Page(stream, columns, draw(st.lists(rows, max_size=4)))


@settings(max_examples=120)  # each of the streams is drawn several times
@given(pages())
def test_rows_become_records_of_the_selected_columns_with_the_values_sent(page: Page) -> None:
    records, issues = page.read()
    assert records == page.due
    assert all(list(record) == page.columns for record in records)
    assert issues.rows_without_key == len(page.rows) - len(page.due)
    assert issues.unknown_fields == {
        cell.column
        for row in page.rows
        for cell in row
        if cell.column not in ALL_COLUMNS[page.stream]
    }


@given(st.lists(even_rows("message_bounces"), min_size=1, max_size=4), st.data())
def test_one_odd_value_among_many_is_found(rows: list[list[Cell]], data: st.DataObject) -> None:
    page = Page("message_bounces", list(ALL_COLUMNS["message_bounces"]), rows)
    odd = data.draw(st.sampled_from(rows))
    count = next(cell for cell in odd if cell.column == "BounceCount")
    count.xml = in_xml("BounceCount", "secret")
    with pytest.raises(InvalidValueError, match="BounceCount") as raised:
        page.read()
    assert "secret" not in str(raised.value)


@given(st.data())
def test_texts_are_never_taken_for_those_of_another_row(data: st.DataObject) -> None:
    stream = "message_opens"
    second = texts.filter(lambda text: "]]>" not in text)
    forms = st.none() | texts | st.tuples(texts, second)
    dates = data.draw(st.lists(forms, min_size=1, max_size=5))
    xml = [
        "<ContactID>c</ContactID><EmailAddress>e</EmailAddress>"
        + ("<OpenDate />" if each is None else f"<OpenDate>{in_sections(each)}</OpenDate>")
        for each in dates
    ]
    records, _ = read(stream, list(ALL_COLUMNS[stream]), *xml)
    assert [record["OpenDate"] for record in records] == [
        "".join(each) if isinstance(each, tuple) else each for each in dates
    ]


def in_sections(text: str | tuple[str, str]) -> str:
    """A text in XML; the second of two as a CDATA section."""
    if isinstance(text, str):
        return escape(text)
    return f"{escape(text[0])}<![CDATA[{text[1]}]]>"


def key_digest(stream: str, *rows: str, mirrored: bool = True) -> str:
    records = RecordReader(TABLES[BY_NAME[stream]], ALL_COLUMNS[stream], CONFIG.timezone)
    reader = PageReader(records, tuple(ALL_COLUMNS[stream]), with_key_digest=mirrored)
    reply = HttpReply(200, rows_of(stream, *rows).body, 0, "")
    return reader.read(reply, PARENT, datetime(2026, 7, 1)).key_digest


def contact(email: str, method: str = "API") -> str:
    fields = {"ContactID": email, "EmailAddress": email, "AdditionMethod": method}
    return "".join(in_xml(*field) for field in fields.items())


def test_the_digest_of_keys_is_that_of_the_keys_in_any_order() -> None:
    stream = "subscribed_contacts"
    due = key_digest(stream, contact("a"), contact("b"))
    assert due
    assert due == key_digest(stream, contact("b"), contact("a", "Import"))
    assert due != key_digest(stream, contact("a"))
    assert due != key_digest(stream, contact("a"), contact("c"))
    assert due != key_digest(stream, contact("a"), contact("b"), contact("b"))
    assert key_digest(stream, contact("a"), mirrored=False) == ""
    assert key_digest("lists", "<ListID>1</ListID>") != key_digest("lists", "<ListID>2</ListID>")


# What is written of records.

anything = st.text(st.characters(codec="utf-8") | st.sampled_from('\n\r\0\x85\u2028"\\'))
values = st.none() | anything | st.lists(anything, max_size=2) | st.dictionaries(anything, anything)


@given(st.data())
def test_each_record_is_one_line_of_stdout_whatever_it_holds(data: st.DataObject) -> None:
    stream = data.draw(st.sampled_from(sorted(ALL_COLUMNS)))
    columns = list(ALL_COLUMNS[stream])
    make = msgspec.defstruct("Record", columns)
    rows = data.draw(st.lists(st.tuples(*[values] * len(columns)), max_size=2))
    records = [make(*row) for row in rows]
    stdout = io.BytesIO()
    lines = encode_lines(records)
    version = data.draw(st.none() | st.integers(0, 2**53))
    moment = datetime(2026, 7, 1, 12, 0, 0, 5)
    SingerOutput(stdout).write_records(stream, lines, moment, version)
    *written, rest = stdout.getvalue().split(b"\n")
    assert rest == b""
    assert [json.loads(line, object_pairs_hook=list) for line in written] == [
        json.loads(
            json.dumps(
                {
                    "type": "RECORD",
                    "stream": stream,
                    "record": dict(zip(columns, row, strict=True)),
                    **({} if version is None else {"version": version}),
                    "time_extracted": "2026-07-01T12:00:00.000005Z",
                }
            ),
            object_pairs_hook=list,
        )
        for row in rows
    ]
    # Lists and messages are encoded one by one.
    assert lines == b"".join(encode_lines([record]) for record in records)


# Schemas.


def nullable(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": ["null", kind], **more}


UNREADABLE: list[dict[str, Any]] = [
    nullable("array", items=nullable("object", properties={"Name": nullable("string")})),
    nullable("array", items={"type": "object", "properties": {"Name": {"type": "string"}}}),
    nullable("array", items={"type": "array", "items": {"type": "string"}}),
    nullable("array", items={"type": "integer"}),
    nullable("array", items={"type": "number"}),
    nullable("array", items=nullable("string")),
    nullable("object", properties={"Name": nullable("object", properties={})}),
    nullable("object", properties={"Names": nullable("array", items={"type": "string"})}),
    nullable("object", properties={"ID": nullable("integer"), "Share": nullable("number")}),
    nullable("object", properties={"IsOn": nullable("boolean")}),
    nullable("object", properties={"ID": {"type": ["integer", "string"]}}),
    {"type": ["string", "integer"]},
    {"type": ["null", "string", "array"], "items": {"type": "string"}},
    {"type": "null"},
    {"type": "date"},
]


@pytest.mark.parametrize("selected", [True, False])
@pytest.mark.parametrize("schema", UNREADABLE, ids=str)
def test_an_unreadable_schema_is_refused(schema: dict[str, Any], selected: bool) -> None:
    table = TABLES[BY_NAME["message_opens"]]
    properties = {**table.schema["properties"], "Odd": schema}
    changed = replace(table, schema={**table.schema, "properties": properties})
    columns = [*table.columns, "Odd"] if selected else table.columns
    with pytest.raises(TypeError, match=r"message_opens\.Odd"):
        RecordReader(changed, columns, CONFIG.timezone)
