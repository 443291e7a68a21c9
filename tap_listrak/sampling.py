"""Request one page of each stream, for one row of its parent, for discovery and `--test`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from tap_listrak.config import Config
from tap_listrak.listrak.client import MAX_TRIES, ListrakClient, missing_operations
from tap_listrak.listrak.faults import AuthenticationError, ListrakError, PermissionDeniedError
from tap_listrak.listrak.pages import Page, ParentRow
from tap_listrak.readers import COUNT_COLUMNS
from tap_listrak.streams import LISTS, PARENTS, Stream, with_parents
from tap_listrak.sync.parts import Part


class Answer(NamedTuple):
    """The result of one request: a page or an error.

    Without a `part` nothing was requested: the parent has no row, or (with `error`) the service
    lacks the operation.
    """

    stream: Stream
    part: Part | None = None
    page: Page | None = None
    error: ListrakError | None = None


def request_each_stream(
    streams: Collection[Stream], config: Config, client: ListrakClient, end: datetime
) -> Iterator[Answer]:
    """Request one page, up to `end`, of each of these streams and of their parents.

    Only the call for the lists, which checks the credentials, is retried. Raises ListrakError if
    Listrak is unreachable or rejects the user.
    """
    parents: dict[Stream, ParentRow] = {}
    for stream in with_parents(streams):
        # The call for the lists has loaded the WSDL, with retries.
        if stream is not LISTS and stream.operation not in client.load_operations():
            yield Answer(stream, error=missing_operations(stream))
            continue
        if stream.parent and stream.parent not in parents:
            yield Answer(stream)
            continue
        part = _part(stream, parents, config, end)
        try:
            tries = MAX_TRIES if stream is LISTS else 1
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
    list_id, parent_id, parent = None, None, None
    if stream.parent:
        list_id = parents[LISTS].record.ListID
        parent = parents[stream.parent].record
        if stream.parent is not LISTS:
            parent_id = getattr(parent, stream.parent.key_properties[0])
    return Part(
        stream,
        list_id,
        config.start_date if stream.paged else newest,
        end,
        parent_id=parent_id,
        expected_rows=getattr(parent, stream.count_column or "", None)
        if stream.counts_rows
        else None,
    )


def _choose(stream: Stream, rows: tuple[ParentRow, ...], config: Config) -> ParentRow:
    """Return the parent to use: the first list to sync, or the message with most rows."""
    key = stream.key_properties[0]

    def order(row: ParentRow) -> tuple[bool, int, int]:
        parent_id = getattr(row.record, key)
        counts = (getattr(row.record, column, None) or 0 for column in COUNT_COLUMNS[stream])
        is_excluded = stream is LISTS and parent_id not in (config.list_ids or {parent_id})
        return is_excluded, -sum(counts), parent_id

    return min(rows, key=order)
