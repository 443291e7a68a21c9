"""Convert row elements to records, and records to JSON, typed by the stream's JSON schema.

Fields are read by name, in any order and namespace; absent, nil and empty elements are null.

There are two equivalent ways to read a page: by row, and by column, which takes a tenth of the
time. Read a page by column only if a node count proves that this reads everything in its rows.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from lxml import etree
from pytz import BaseTzInfo

from tap_listrak.listrak.faults import Condition, make_error
from tap_listrak.listrak.response import LISTRAK
from tap_listrak.listrak.values import (
    Convert,
    check_schema,
    converter,
    is_compound,
    read_elements,
)
from tap_listrak.streams import Table

# A record has an attribute for each of its columns.
Record = Any
_ENCODER = msgspec.json.Encoder(decimal_format="number")


@dataclass
class RowIssues:
    """Problems of a page that are worth a WARNING: unknown fields, rows without a key."""

    unknown_fields: set[str] = field(default_factory=set)
    rows_without_key: int = 0


def encode_lines(records: list[Record]) -> bytes:
    """Return the records as JSON, one per line.

    JSON escapes line breaks within texts, so each record is exactly one line.
    """
    return _ENCODER.encode_lines(records)


class RecordReader:
    """Read the rows of one stream into records with the given columns."""

    def __init__(
        self,
        table: Table,
        columns: Iterable[str],
        zone: BaseTzInfo,
        *,
        hints: Collection[str] = (),
        hash_key: str | None = None,
    ) -> None:
        """Raise TypeError for an unsupported schema.

        `hints` are columns that are not emitted: their invalid values become null. `hash_key` is
        the config's email_hash_key.
        """
        check_schema(table)
        self.stream = table.stream
        self._key_properties = table.key_properties
        self._properties: dict[str, Any] = table.schema["properties"]
        self._columns = tuple(columns)
        self._hints = hints
        self._key_defaults = table.key_defaults
        parent_column = self.stream.supplied_key
        # The key columns that Listrak sends, and the required ones. If none is required, a row
        # needs at least one.
        self._own_key = [column for column in table.key_properties if column != parent_column]
        self._key = [column for column in self._own_key if column not in self._key_defaults]
        self._parent_column = parent_column if parent_column in self._columns else None
        self._make = msgspec.defstruct("Record", self._columns, gc=False)
        # By column; None keeps the text.
        self._converters: dict[str, Convert | None] = {
            column: converter(column, table, zone, hash_key)
            for column in self._columns
            if column != parent_column
        }
        self._prepare_columns(parent_column)

    def read(self, rows: etree._Element, parent_id: int | None, issues: RowIssues) -> list[Record]:
        """Read the children of `rows` into records with `parent_id`, their parent's key.

        Raises InvalidValueError, naming the field, for a value that is not of its column's type.
        """
        if not len(rows):
            return []
        return self.read_by_column(rows, parent_id) or self.read_by_row(rows, parent_id, issues)

    def digest_keys(self, records: list[Record]) -> str:
        """Return a digest of the records' keys that does not depend on their order."""
        keys = ([getattr(record, name) for name in self._key_properties] for record in records)
        lines = sorted(map(_ENCODER.encode, keys))
        return hashlib.sha256(b"\n".join(lines)).hexdigest()[:16]

    # By row: slow, reads any page.

    def read_by_row(
        self, rows: etree._Element, parent_id: int | None, issues: RowIssues
    ) -> list[Record]:
        """Read any page, and collect its problems in `issues`."""
        records = []
        for row in rows:
            values = self._read_row(row, issues)
            if self._parent_column:
                values[self._parent_column] = parent_id
            if not self._has_key(values):
                issues.rows_without_key += 1
                continue
            for column, absent in self._key_defaults.items():
                values[column] = absent if values[column] is None else values[column]
            records.append(self._make(**values))
        return records

    def _has_key(self, values: dict[str, Any]) -> bool:
        if self._key:
            return all(values[column] is not None for column in self._key)
        return any(values[column] is not None for column in self._own_key)

    def _read_row(self, row: etree._Element, issues: RowIssues) -> dict[str, Any]:
        values = dict.fromkeys(self._columns)
        found: dict[str, list[etree._Element]] = {}
        for cell in row:
            # Ignore the namespace.
            column = str(cell.tag).rpartition("}")[2]
            if column in self._converters:
                found.setdefault(column, []).append(cell)
            elif column not in self._properties:
                issues.unknown_fields.add(column)
        for column, elements in found.items():
            convert = self._converters[column]
            try:
                values[column] = read_elements(elements, self._properties[column], convert)
            except ValueError as exc:
                if column in self._hints:
                    continue
                # Do not log the value: it may be a contact's data.
                raise make_error(Condition.INVALID_VALUE, f"field {column}: {exc}") from exc
        return values

    # By column: fast, reads a page of texts only.

    def _prepare_columns(self, parent_column: str | None) -> None:
        """Compile the XPaths for reading by column."""
        columns = self._columns
        # Arrays and objects have more than one text in a row.
        self._has_fast_way = not any(is_compound(self._properties[column]) for column in columns)
        first = {
            column: f"l:{column}[1]/text()"
            for column in self._properties
            if column != parent_column
        }
        # By column: the text of each row's first element of that name, and the rows with one.
        self._texts = {
            column: _xpath(f"*/{first[column]}") for column in columns if column in first
        }
        self._filled = {column: _xpath(f"*[{first[column]}]") for column in self._texts}
        others = [f" - count(*/{first[column]})" for column in first if column not in columns]
        self._count_nodes = _xpath(f"count(*/*/node()){''.join(others)}")

    def read_by_column(self, rows: etree._Element, parent_id: int | None) -> list[Record] | None:
        """Read a page in which all values are plain text; return None for any other page.

        It does not read pages with nested, repeated or unknown elements, rows without a key, or
        invalid values.
        """
        if not self._has_fast_way:
            return None
        texts: dict[str, Any] = {column: path(rows) for column, path in self._texts.items()}
        if sum(map(len, texts.values())) != self._count_nodes(rows):
            return None
        columns: list[Iterable[Any]] = []
        try:
            for column in self._columns:
                if column == self._parent_column:
                    columns.append(itertools.repeat(parent_id))
                    continue
                values = texts[column]
                if "" in values:  # an empty CDATA section
                    return None
                convert = self._converters[column]
                if convert:
                    values = list(map(convert, values))
                if len(values) != len(rows):
                    if column in (self._key or self._own_key):
                        return None
                    values = _spread(values, self._filled[column](rows), rows)
                absent = self._key_defaults.get(column)
                if absent is not None and None in values:
                    values = [absent if value is None else value for value in values]
                columns.append(values)
        except ValueError:
            # Reading by row names the field.
            return None
        return list(map(self._make, *columns))


def _xpath(path: str) -> etree.XPath:
    return etree.XPath(path, namespaces={"l": LISTRAK[1:-1]}, smart_strings=False)


def _spread(values: list[Any], filled: Any, rows: etree._Element) -> list[Any]:
    """Spread the values of the `filled` rows over all rows, None for the others."""
    value, has_value = iter(values), set(filled)
    return [next(value) if row in has_value else None for row in rows]
