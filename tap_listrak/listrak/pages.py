"""Convert replies to pages of records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple, Protocol

from tap_listrak.listrak.faults import Condition, InvalidValueError, ListrakError, make_error
from tap_listrak.listrak.records import Record, RecordReader, RowIssues, encode_lines
from tap_listrak.listrak.response import digest_rows, parse_rows
from tap_listrak.listrak.transport import HttpReply
from tap_listrak.streams import PARENTS


class ParentRow(NamedTuple):
    """A list, message or conversation: its record, and the record as a JSON line."""

    record: Record
    line: bytes


@dataclass(frozen=True)
class Page:
    """The rows of one reply.

    `row_count` 0 means that there are no more rows. `lines` are the records as JSON, one per line,
    and `record_count` is their number. `digest` identifies the rows as sent; `key_digest`, only for
    mirrors, identifies their keys in any order. `parents` are the records of a parent stream. If
    there is a `record_error`, a selected value is invalid, but the parents can be walked.
    """

    row_count: int
    lines: bytes
    record_count: int
    received_at: datetime
    digest: str
    issues: RowIssues
    parents: tuple[ParentRow, ...] = ()
    key_digest: str = ""
    record_error: ListrakError | None = None

    def with_parents(self, parents: tuple[ParentRow, ...]) -> Page:
        """Return the page reduced to these parents, in this order."""
        lines = b"".join(parent.line for parent in parents)
        return replace(self, lines=lines, record_count=len(parents), parents=parents)


class Reader(Protocol):
    """Read the pages of one stream."""

    def read(self, reply: HttpReply, parent_id: int | None, received_at: datetime) -> Page:
        """Return the page of a reply. Raises ListrakError."""


class PageReader:
    """Read the pages of one stream.

    Records of parents have more columns than `selected`, but only the selected ones are emitted. If
    a value is invalid, `fallback` reads the columns that the walk needs. `only_lists` filters the
    rows of account streams.
    """

    def __init__(
        self,
        records: RecordReader,
        selected: tuple[str, ...],
        *,
        fallback: RecordReader | None = None,
        with_key_digest: bool = False,
        only_lists: frozenset[int] | None = None,
    ) -> None:
        self._records = records
        self._selected = selected
        self._fallback = fallback
        self._with_key_digest = with_key_digest
        self._only_lists = only_lists

    def read(self, reply: HttpReply, parent_id: int | None, received_at: datetime) -> Page:
        """Return the page of a reply. Raises ListrakError."""
        stream = self._records.stream
        rows = parse_rows(reply, stream.operation, stream.row)
        issues, record_error = RowIssues(), None
        try:
            records = self._records.read(rows, parent_id, issues)
        except InvalidValueError as exc:
            if self._fallback is None:
                raise
            record_error = exc
            records = self._fallback.read(rows, parent_id, RowIssues())
        if len(rows) and not records:
            raise make_error(Condition.INCOMPLETE, f"no row of {len(rows)} has its key")
        if self._only_lists is not None:
            records = [each for each in records if each.ListID in self._only_lists]
        digest = digest_rows(reply.body, stream.operation)
        keys = self._records.digest_keys(records) if self._with_key_digest else ""
        page = Page(len(rows), b"", len(records), received_at, digest, issues, key_digest=keys)
        if stream not in PARENTS:
            return replace(page, lines=encode_lines(records))
        parents = tuple(
            ParentRow(each, b"" if record_error else self._line(each)) for each in records
        )
        return replace(page.with_parents(parents), record_error=record_error)

    def _line(self, record: Record) -> bytes:
        if not self._selected:
            return b""
        line = encode_lines([{column: getattr(record, column) for column in self._selected}])
        # Copy it: the result of msgspec keeps its larger buffer alive.
        return b"%b" % line
