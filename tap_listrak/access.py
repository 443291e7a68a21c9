"""Ask for each stream once, for one real row of its parent: for discovery and for `--test`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from tap_listrak.config import Config
from tap_listrak.listrak.client import ListrakClient, Page, ParentRow, missing_operations
from tap_listrak.listrak.faults import AuthenticationError, ListrakError, PermissionDeniedError
from tap_listrak.readers import COUNT_COLUMNS
from tap_listrak.streams import LISTS, PARENTS, Stream, with_parents
from tap_listrak.sync.parts import Part


class Answer(NamedTuple):
    """What Listrak said when a stream was asked for: a page, or an error.

    Without a `part` it was not asked: no row of its parent is there to ask by, or the service lacks
    its operation, which is an error.
    """

    stream: Stream
    part: Part | None = None
    page: Page | None = None
    error: ListrakError | None = None


def ask_each_stream(
    streams: Collection[Stream], config: Config, client: ListrakClient, end: datetime
) -> Iterator[Answer]:
    """Ask for these streams and, before them, for the parents that they are asked by.

    At most one page is asked for, of one parent, up to `end`. The call for the lists, which checks
    the credentials, is retried as in a sync, and no other. Raises ListrakError where Listrak cannot
    be reached or refuses the user as such.
    """
    parents: dict[Stream, ParentRow] = {}
    for stream in with_parents(streams):
        # The first call, for the lists, has tried to load the WSDL as often as a sync does.
        if stream is not LISTS and stream.operation not in client.load_operations():
            yield Answer(stream, error=missing_operations(stream))
            continue
        if stream.parent and stream.parent not in parents:
            yield Answer(stream)
            continue
        part = _part(stream, parents, config, end)
        try:
            tries = 5 if stream is LISTS else 1
            page = client.fetch(part.request(config, 1)._replace(tries=tries))
        except AuthenticationError:
            raise
        except ListrakError as exc:
            if stream is LISTS and not isinstance(exc, PermissionDeniedError):
                raise
            yield Answer(stream, part, error=exc)
            continue
        if stream in PARENTS and page.parents:
            parents[stream] = _choose(stream, page.parents, config)
        yield Answer(stream, part, page)


def _part(
    stream: Stream, parents: Mapping[Stream, ParentRow], config: Config, end: datetime
) -> Part:
    newest = max(config.start_date, end - timedelta(days=config.interval_days))
    parent = parents[stream.parent].record if stream.parent and stream.parent is not LISTS else None
    return Part(
        stream,
        parents[LISTS].record.ListID if stream.parent else None,
        config.start_date if stream.paged else newest,
        end,
        parent_id=getattr(parent, stream.parent.key_properties[0])
        if stream.parent and parent
        else None,
        expected_rows=getattr(parent, stream.count_column or "", None),
    )


def _choose(stream: Stream, rows: tuple[ParentRow, ...], config: Config) -> ParentRow:
    """Choose the row to ask by: the first list that is to be synced, the message with most rows."""
    key = stream.key_properties[0]

    def order(row: ParentRow) -> tuple[bool, int, int]:
        ID = getattr(row.record, key)
        counts = (getattr(row.record, column, None) or 0 for column in COUNT_COLUMNS[stream])
        is_left_out = stream is LISTS and config.list_ids is not None and ID not in config.list_ids
        return is_left_out, -sum(counts), ID

    return min(rows, key=order)
