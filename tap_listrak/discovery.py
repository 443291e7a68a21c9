"""Discovery's check: which streams this user may read, by one request each."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime

from tap_listrak.access import ask_each_stream
from tap_listrak.config import Config
from tap_listrak.listrak.client import ListrakClient
from tap_listrak.listrak.faults import MissingOperationError, PermissionDeniedError
from tap_listrak.streams import LISTS, STREAMS, Stream

LOGGER = logging.getLogger(__name__)


def find_readable_streams(config: Config, client: ListrakClient, now: datetime) -> list[Stream]:
    """Return the streams that Listrak does not refuse to this user.

    Only a refusal, or a service without its operation, leaves a stream out: what may pass, and a
    parent that is not there, keep it.
    Raises ListrakError where Listrak cannot be reached or refuses the user as such.
    """
    readable = list(_readable(config, client, now))
    left_out = [stream.name for stream in STREAMS if stream not in readable]
    LOGGER.info(
        "Listrak let the user in. In the catalog: %s.",
        ", ".join(stream.name for stream in readable),
    )
    if left_out:
        LOGGER.info("Left out, for the reasons in the warnings: %s.", ", ".join(left_out))
    LOGGER.info('To select a stream, set "selected": true in its metadata, at the breadcrumb [].')
    return readable


def _readable(config: Config, client: ListrakClient, now: datetime) -> Iterator[Stream]:
    for stream, _, page, error in ask_each_stream(STREAMS, config, client, now):
        if stream is LISTS and page and config.list_ids:
            shown = frozenset(row.record.ListID for row in page.parents)
            if unknown := sorted(config.list_ids - shown):
                LOGGER.warning(
                    "Listrak does not show these of the config's list_ids: %s.",
                    ", ".join(map(str, unknown)),
                )
        if isinstance(error, (PermissionDeniedError, MissingOperationError)):
            LOGGER.warning("%s is left out of the catalog. %s", stream.name, error)
            continue
        if error:
            LOGGER.warning(
                "%s could not be checked and stays in the catalog. %s", stream.name, error
            )
        yield stream
