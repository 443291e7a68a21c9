"""Row elements into records, and records into JSON, typed by the stream's JSON schema.

A reader is made once for each stream of a run, from its table and the selected columns. Rows are
read by element name, wherever they stand: absent, nil and empty elements are null.

There are two ways to read a page, which give the same records: row by row, and column by column,
which takes a tenth of the time. The second is taken where one count proves that nothing stands
within the rows but the texts that it reads.
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
    """What a page held that is worth a WARNING: fields the schema lacks, rows without their key."""

    unknown_fields: set[str] = field(default_factory=set)
    rows_without_key: int = 0


def encode_lines(records: list[Record]) -> bytes:
    """Return the records as JSON, one a line.

    JSON writes the line ends within texts as escapes, so that a line end stands behind each record
    and nowhere else, whatever the records hold.
    """
    return _ENCODER.encode_lines(records)


class RecordReader:
    """Reads the rows of one stream into records with these columns."""

    def __init__(
        self,
        table: Table,
        columns: Iterable[str],
        zone: BaseTzInfo,
        *,
        hints: Collection[str] = (),
    ) -> None:
        """Prepare both ways of reading. Raises TypeError for a schema that neither can read.

        An unreadable value of a column among the `hints`, which is not emitted, is null.
        """
        check_schema(table)
        self.stream = table.stream
        self._key_properties = table.key_properties
        self._properties: dict[str, Any] = table.schema["properties"]
        self._columns = tuple(columns)
        self._hints = hints
        self._absent_values = table.absent_values
        parent_column = self.stream.supplied_key
        # The parent's key comes from the request, the absent values from the config.
        supplied = {parent_column, *self._absent_values}
        self._key = [column for column in table.key_properties if column not in supplied]
        self._parent_column = parent_column if parent_column in self._columns else None
        self._make = msgspec.defstruct("Record", self._columns, gc=False)
        # By element: its column, and how its text is read (None: as it is).
        self._cells: dict[str, tuple[str, Convert | None]] = {
            LISTRAK + column: (column, converter(column, table, zone))
            for column in self._columns
            if column != parent_column
        }
        self._known = {LISTRAK + column for column in self._properties}
        self._prepare_columns(parent_column)

    def read(self, rows: etree._Element, parent_id: int | None, issues: RowIssues) -> list[Record]:
        """Read the children of `rows` into records that carry `parent_id`, their parent's key.

        Raises InvalidValueError, naming the field, for a value that is not of its type.
        """
        if not len(rows):
            return []
        return self.read_by_column(rows, parent_id) or self.read_by_row(rows, parent_id, issues)

    def digest_keys(self, records: list[Record]) -> str:
        """Return a digest of the keys of these records, whatever their order."""
        keys = ([getattr(record, name) for name in self._key_properties] for record in records)
        lines = sorted(map(_ENCODER.encode, keys))
        return hashlib.sha256(b"\n".join(lines)).hexdigest()[:16]

    # Row by row: the plain way, for every page.

    def read_by_row(
        self, rows: etree._Element, parent_id: int | None, issues: RowIssues
    ) -> list[Record]:
        """Read any page; `issues` takes what is left out of it."""
        records = []
        for row in rows:
            values = self._read_row(row, issues)
            if self._parent_column:
                values[self._parent_column] = parent_id
            for column, absent in self._absent_values.items():
                values[column] = absent if values[column] is None else values[column]
            if all(values[column] is not None for column in self._key):
                records.append(self._make(**values))
            else:
                issues.rows_without_key += 1
        return records

    def _read_row(self, row: etree._Element, issues: RowIssues) -> dict[str, Any]:
        values = dict.fromkeys(self._columns)
        found: dict[str, list[etree._Element]] = {}
        for cell in row:
            tag = str(cell.tag)
            if tag in self._cells:
                found.setdefault(tag, []).append(cell)
            elif tag not in self._known:
                issues.unknown_fields.add(etree.QName(tag).localname)
        for tag, elements in found.items():
            column, convert = self._cells[tag]
            try:
                values[column] = read_elements(elements, self._properties[column], convert)
            except ValueError as exc:
                if column in self._hints:
                    continue
                # The value itself stays out of the log: it may be a contact's data.
                raise make_error(Condition.INVALID_VALUE, f"field {column}: {exc}") from exc
        return values

    # Column by column: the fast way, for a plain page.

    def _prepare_columns(self, parent_column: str | None) -> None:
        """Compile what reads a column, and what counts the nodes that may stand in a plain page."""
        columns = self._columns
        # A column of several texts has no one text in each row.
        self._has_fast_way = not any(is_compound(self._properties[column]) for column in columns)
        first = {
            column: f"l:{column}[1]/text()"
            for column in self._properties
            if column != parent_column
        }
        # By column: the text of each row's first such element, and the rows that have one.
        self._texts = {
            column: _xpath(f"*/{first[column]}") for column in columns if column in first
        }
        self._filled = {column: _xpath(f"*[{first[column]}]") for column in self._texts}
        others = [f" - count(*/{first[column]})" for column in first if column not in columns]
        self._count_nodes = _xpath(f"count(*/*/node()){''.join(others)}")

    def read_by_column(self, rows: etree._Element, parent_id: int | None) -> list[Record] | None:
        """Read a plain page; return None for any other.

        A page is plain when whatever stands within the rows' elements is a text that is read here,
        or that of a column which was not selected; and every row has its key.
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
                if "" in values:  # of an empty CDATA section, which is no value
                    return None
                convert = self._cells[LISTRAK + column][1]
                if convert:
                    values = list(map(convert, values))
                if len(values) != len(rows):
                    if column in self._key:
                        return None
                    values = _spread(values, self._filled[column](rows), rows)
                absent = self._absent_values.get(column)
                if absent is not None and None in values:
                    values = [absent if value is None else value for value in values]
                columns.append(values)
        except ValueError:
            # Row by row, the field can be named.
            return None
        return list(map(self._make, *columns))


def _xpath(path: str) -> etree.XPath:
    return etree.XPath(path, namespaces={"l": LISTRAK[1:-1]}, smart_strings=False)


def _spread(values: list[Any], filled: Any, rows: etree._Element) -> list[Any]:
    """Spread the values of the `filled` rows over all rows, None for the others."""
    value, has_value = iter(values), set(filled)
    return [next(value) if row in has_value else None for row in rows]
