"""The readers of what is selected, and of what the walk needs besides."""

from __future__ import annotations

from collections.abc import Mapping

from pytz import BaseTzInfo

from tap_listrak.listrak.client import PageReader
from tap_listrak.listrak.records import RecordReader
from tap_listrak.streams import CONVERSATIONS, LISTS, MESSAGES, STREAMS, Stream, Table, with_parents

# What the walk needs to know of what others are asked by, whatever columns are selected.
WALK_COLUMNS: dict[Stream, tuple[str, ...]] = {
    LISTS: ("ListID",),
    MESSAGES: ("MsgID", "SendDate"),
    CONVERSATIONS: ("ConversationID",),
}
# About how many rows each has of its children: hints, which may be missing.
COUNT_COLUMNS = {
    parent: tuple(
        child.count_column for child in STREAMS if child.parent is parent and child.count_column
    )
    for parent in WALK_COLUMNS
}


def build_readers(
    tables: Mapping[Stream, Table], selection: Mapping[Stream, tuple[str, ...]], zone: BaseTzInfo
) -> dict[Stream, PageReader]:
    """Return the readers of what is selected, and of the parents that it is asked by."""
    readers = {}
    for stream in with_parents((LISTS, *selection)):
        selected = selection.get(stream, ())
        counts = COUNT_COLUMNS.get(stream, ())
        columns = dict.fromkeys((*selected, *WALK_COLUMNS.get(stream, ()), *counts))
        hints = frozenset(counts) - frozenset(selected)
        records = RecordReader(tables[stream], columns, zone, hints=hints)
        readers[stream] = PageReader(records, selected)
    return readers
