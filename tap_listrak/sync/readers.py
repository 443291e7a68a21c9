"""The readers of what is selected, and of what the walk needs besides."""

from __future__ import annotations

from collections.abc import Mapping

from pytz import BaseTzInfo

from tap_listrak.listrak.client import PageReader
from tap_listrak.listrak.records import RecordReader
from tap_listrak.streams import LISTS, MESSAGES, STREAMS, Stream, Table

# About how many rows a message has of each stream: a hint, which may be missing.
COUNT_COLUMNS = tuple(stream.count_column for stream in STREAMS if stream.count_column)
# What the walk needs to know, whatever columns are selected.
WALK_COLUMNS = {LISTS: ("ListID",), MESSAGES: ("MsgID", "SendDate", *COUNT_COLUMNS)}


def build_readers(
    tables: Mapping[Stream, Table], selection: Mapping[Stream, tuple[str, ...]], zone: BaseTzInfo
) -> dict[Stream, PageReader]:
    """Return the readers of what is selected, and of the parents that the walk needs."""
    readers = {}
    for stream in dict.fromkeys((*selection, *WALK_COLUMNS)):
        selected = selection.get(stream, ())
        columns = dict.fromkeys((*selected, *WALK_COLUMNS.get(stream, ())))
        hints = frozenset(COUNT_COLUMNS) - frozenset(selected) if stream is MESSAGES else ()
        records = RecordReader(tables[stream], columns, zone, hints=hints)
        readers[stream] = PageReader(records, selected)
    return readers
