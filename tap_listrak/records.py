"""Row elements into records, typed by the stream's JSON schema.

A reader is made once for each stream of a run, from its schema and the selected columns. Rows are
read by element name, wherever they stand: absent, nil and empty elements are null.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
from lxml import etree

from tap_listrak import dates, errors
from tap_listrak.config import Config
from tap_listrak.reply import LISTRAK
from tap_listrak.streams import Stream

# A record has an attribute for each of its columns.
Record = Any
Convert = Callable[[str], Any]
_ENCODER = msgspec.json.Encoder(decimal_format="number")

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[Ee][+-]?[0-9]{1,4})?")
_NO_NUMBER = {"NaN", "INF", "-INF", "+INF", "Infinity", "-Infinity"}


@dataclass
class Oddities:
    """What a page held that is worth a WARNING: fields the schema lacks, rows without their key."""

    unknown: set[str] = field(default_factory=set)
    keyless: int = 0


def integer(text: str) -> int:
    """Read an xs:int; 64 bits are what warehouses hold. Raises ValueError."""
    text = text.strip()
    if not _INTEGER.fullmatch(text) or len(text) > 20:
        raise ValueError("not a whole number")
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError("not a whole number of 64 bits")
    return value


def number(text: str) -> Decimal | None:
    """Read a decimal or double as the number that was sent, never through a float."""
    text = text.strip()
    if text in _NO_NUMBER:
        return None
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    return Decimal(text)


def boolean(text: str) -> bool:
    """Read an xs:boolean. Raises ValueError."""
    text = text.strip().lower()
    if text in ("true", "1"):
        return True
    if text in ("false", "0"):
        return False
    raise ValueError("not a boolean")


def encode(value: Any) -> bytes:
    """Make JSON of records, or of anything that holds what records hold."""
    return _ENCODER.encode(value)


class Reader:
    """Reads the rows of one stream into records with these columns."""

    def __init__(self, stream: Stream, columns: Iterable[str], config: Config) -> None:
        self.stream = stream
        properties: Mapping[str, Any] = stream.schema(config)["properties"]
        parent_key = stream.parent_key
        wanted = list(columns)
        self._properties = {column: properties[column] for column in wanted}
        self._where_absent = stream.where_absent(config)
        given = {parent_key, *self._where_absent}
        self._key = [column for column in stream.key(config) if column not in given]
        self._parent_key = parent_key if parent_key in wanted else None
        self._wanted = wanted
        self._make = msgspec.defstruct("Record", wanted, gc=False)
        self._zone = config.timezone
        # By element: its column, and how its text is read (None: as it is).
        self._cells: dict[str, tuple[str, Convert | None]] = {
            LISTRAK + column: (column, self._convert(column, properties[column]))
            for column in wanted
            if column != parent_key
        }
        self._known = {LISTRAK + column for column in properties}
        self._compound = any({"array", "object"} & _types(properties[column]) for column in wanted)
        # By column, the first text of each row's first such element, and the rows that have one.
        first = {column: f"l:{column}[1]/text()" for column in properties if column != parent_key}
        self._texts = {column: _xpath(f"*/{first[column]}") for column in wanted if column in first}
        self._filled = {column: _xpath(f"*[{first[column]}]") for column in self._texts}
        others = [f" - count(*/{first[column]})" for column in first if column not in wanted]
        self._nodes = _xpath(f"count(*/*/node()){''.join(others)}")

    def _convert(self, column: str, schema: Mapping[str, Any]) -> Convert | None:
        types = _types(schema)
        if "integer" in types:
            return integer
        if "number" in types:
            return number
        if "boolean" in types:
            return boolean
        if schema.get("format") == "date-time" and column in self.stream.event_dates:
            return dates.event_reader(self._zone)
        if schema.get("format") == "date-time" or column in self.stream.utc_text:
            return dates.reader(self._zone)
        return None

    def read(self, rows: etree._Element, parent: int | None, oddities: Oddities) -> list[Record]:
        """Read the children of `rows` into records that carry `parent`, their parent's key.

        Raises Unreadable, naming the field, for a value that is not of its type.
        """
        if not len(rows):
            return []
        return self._by_column(rows, parent) or self._by_row(rows, parent, oddities)

    def _by_column(self, rows: etree._Element, parent: int | None) -> list[Record] | None:
        """Read a plain page column by column, which is several times as fast; None for others.

        A page is plain when whatever stands within the rows' elements is the text that is read
        here, or belongs to a column that was not selected; and every row has its key.
        """
        if self._compound:
            return None
        texts: dict[str, Any] = {column: path(rows) for column, path in self._texts.items()}
        if sum(map(len, texts.values())) != self._nodes(rows):
            return None
        columns: list[Iterable[Any]] = []
        try:
            for column in self._wanted:
                if column == self._parent_key:
                    columns.append(itertools.repeat(parent))
                    continue
                values = texts[column]
                if "" in values:  # of an empty CDATA section, which is no value
                    return None
                convert = self._cells[LISTRAK + column][1]
                if convert:
                    values = list(map(convert, values))
                if len(values) != len(rows):
                    if column in self._key:
                        return None
                    values = _aligned(rows, values, self._filled[column](rows))
                absent = self._where_absent.get(column)
                if absent is not None and None in values:
                    values = [absent if value is None else value for value in values]
                columns.append(values)
        except ValueError:
            # Row by row, the field can be named.
            return None
        return list(map(self._make, *columns))

    def _by_row(self, rows: etree._Element, parent: int | None, oddities: Oddities) -> list[Record]:
        records = []
        for row in rows:
            values = self._read_row(row, oddities)
            if self._parent_key:
                values[self._parent_key] = parent
            for column, absent in self._where_absent.items():
                values[column] = absent if values[column] is None else values[column]
            if all(values[column] is not None for column in self._key):
                records.append(self._make(**values))
            else:
                oddities.keyless += 1
        return records

    def _read_row(self, row: etree._Element, oddities: Oddities) -> dict[str, Any]:
        values = dict.fromkeys(self._wanted)
        found: dict[str, list[etree._Element]] = {}
        for cell in row:
            tag = str(cell.tag)
            if tag in self._cells:
                found.setdefault(tag, []).append(cell)
            elif tag not in self._known:
                oddities.unknown.add(etree.QName(tag).localname)
        for tag, elements in found.items():
            column, convert = self._cells[tag]
            try:
                values[column] = _value(elements, self._properties[column], convert)
            except ValueError as wrong:
                # The value itself stays out of the log: it may be a contact's data.
                raise errors.error("value", f"field {column}: {wrong}") from wrong
        return values


def _xpath(path: str) -> etree.XPath:
    return etree.XPath(path, namespaces={"l": LISTRAK[1:-1]}, smart_strings=False)


def _aligned(rows: etree._Element, values: list[Any], filled: Any) -> list[Any]:
    """Spread the values of the `filled` rows over all rows, None for the others."""
    value, has_value = iter(values), set(filled)
    return [next(value) if row in has_value else None for row in rows]


def _types(schema: Mapping[str, Any]) -> set[str]:
    types = schema["type"]
    return {types} if isinstance(types, str) else set(types)


def _value(
    elements: list[etree._Element], schema: Mapping[str, Any], convert: Convert | None
) -> Any:
    types = _types(schema)
    if "array" in types:
        return _texts(elements) or None
    filled = [element for element in elements if element.text or len(element)]
    if not filled:
        return None
    if len(filled) > 1:
        raise ValueError("the element stands there twice")
    element = filled[0]
    if "object" in types:
        return _nested(element, schema)
    if len(element):
        raise ValueError("elements where text is due")
    text = element.text
    return convert(text) if convert and text else text


def _texts(elements: list[etree._Element]) -> list[str]:
    """Read repeated elements of text, or one element that holds the texts as its children."""
    leaves = [leaf for element in elements for leaf in (list(element) or [element])]
    if any(len(leaf) for leaf in leaves):
        raise ValueError("elements where text is due")
    return [leaf.text for leaf in leaves if leaf.text]


def _nested(element: etree._Element, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    converts = {"integer": integer, "string": None}
    nested: dict[str, Any] = {}
    for column, facts in schema["properties"].items():
        (kind,) = _types(facts) - {"null"}
        nested[column] = _value(element.findall(LISTRAK + column), facts, converts[kind])
    if (element.text or "").strip():
        raise ValueError("text where elements are due")
    return nested
