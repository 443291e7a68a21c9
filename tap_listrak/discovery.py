"""Check which streams the user may read, with one request per stream."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime

from tap_listrak.config import Config
from tap_listrak.listrak.client import ListrakClient
from tap_listrak.listrak.faults import MissingOperationError, PermissionDeniedError
from tap_listrak.sampling import request_each_stream
from tap_listrak.streams import LISTS, STREAMS, Stream
from tap_listrak.sync.plan import warn_of_unlisted

LOGGER = logging.getLogger(__name__)


def find_readable_streams(config: Config, client: ListrakClient, now: datetime) -> list[Stream]:
    """Return the streams that the user may read.

    Omit a stream only if it is refused or its operation is missing. Keep it after a transient
    error, or if its parent has no row. Raises ListrakError if Listrak is unreachable or rejects
    the user.
    """
    readable = list(_readable(config, client, now))
    omitted = [stream.name for stream in STREAMS if stream not in readable]
    LOGGER.info(
        "Logged in to Listrak. Streams in the catalog: %s.",
        ", ".join(stream.name for stream in readable),
    )
    if omitted:
        LOGGER.info("Streams omitted (see the warnings): %s.", ", ".join(omitted))
    LOGGER.info('Select streams with `select` in the config, or "selected": true in the catalog.')
    return readable


def _readable(config: Config, client: ListrakClient, now: datetime) -> Iterator[Stream]:
    for stream, _, page, error in request_each_stream(STREAMS, config, client, now):
        if stream is LISTS and page and config.list_ids:
            shown = frozenset(row.record.ListID for row in page.parents)
            warn_of_unlisted(shown, config.list_ids)
        if isinstance(error, (PermissionDeniedError, MissingOperationError)):
            LOGGER.warning("%s is omitted from the catalog. %s", stream.name, error)
            continue
        if error:
            LOGGER.warning(
                "%s could not be checked, so it stays in the catalog. %s", stream.name, error
            )
        yield stream
