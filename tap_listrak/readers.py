"""Build the page readers, for selected columns and for those that the walk needs."""

from __future__ import annotations

from collections.abc import Mapping

from tap_listrak.config import Config
from tap_listrak.listrak.pages import PageReader
from tap_listrak.listrak.records import RecordReader
from tap_listrak.streams import (
    CONVERSATIONS,
    LISTS,
    MESSAGES,
    STREAMS,
    Per,
    Stream,
    Table,
    with_parents,
)

# Columns of parents that the walk needs, whatever is selected.
WALK_COLUMNS: dict[Stream, tuple[str, ...]] = {
    LISTS: ("ListID",),
    MESSAGES: ("MsgID", "SendDate"),
    CONVERSATIONS: ("ConversationID",),
}
# Columns of parents that count the events of their children; replies may lack them.
COUNT_COLUMNS = {
    parent: tuple(
        dict.fromkeys(
            child.count_column for child in STREAMS if child.parent is parent and child.count_column
        )
    )
    for parent in WALK_COLUMNS
}


def build_readers(
    tables: Mapping[Stream, Table], selection: Mapping[Stream, tuple[str, ...]], config: Config
) -> dict[Stream, PageReader]:
    """Return a reader for each selected stream and for each of their parents."""
    readers = {}
    for stream in with_parents((LISTS, *selection)):
        table, selected = tables[stream], selection.get(stream, ())
        needed, counts = WALK_COLUMNS.get(stream, ()), COUNT_COLUMNS.get(stream, ())
        columns = dict.fromkeys((*selected, *needed, *counts))
        hints = frozenset(counts) - frozenset(selected)
        fallback = None
        if stream in WALK_COLUMNS and selected:
            own = (*needed, *counts)
            optional = frozenset(own) - frozenset(table.key_properties)
            fallback = RecordReader(table, own, config.timezone, hints=optional)
        is_of_account = stream.per is Per.ACCOUNT and stream is not LISTS
        readers[stream] = PageReader(
            RecordReader(
                table, columns, config.timezone, hints=hints, hash_key=config.email_hash_key
            ),
            selected,
            fallback=fallback,
            with_key_digest=stream.paged and stream.name in config.mirror,
            only_lists=config.list_ids if is_of_account else None,
        )
    return readers
