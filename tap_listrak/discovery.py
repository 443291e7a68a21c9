"""Discovery's check: which streams this user may read, asked of Listrak once each."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from tap_listrak.client import Client
from tap_listrak.config import Config
from tap_listrak.errors import ListrakError, NoAccess, Refused
from tap_listrak.parts import Part
from tap_listrak.records import Reader
from tap_listrak.streams import LISTS, MESSAGES, STREAMS, Stream

LOGGER = logging.getLogger(__name__)


def readable_streams(config: Config, client: Client, now: datetime) -> list[Stream]:
    """Give the streams that Listrak does not refuse to this user.

    The first call checks the credentials, and is retried as in a sync; each stream is then asked
    for once, for one real parent. Only a refusal leaves a stream out: what may pass, and a parent
    that is not there, keep it. Raises ListrakError where Listrak cannot be reached or refuses the
    user as such.
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


def _readable(config: Config, client: Client, now: datetime) -> Iterator[Stream]:
    # A key of each parent; where there is none, its children cannot be asked for.
    found: dict[Stream, int] = {}
    newest = max(config.start_date, now - timedelta(days=config.interval_days))
    for stream in STREAMS:
        if stream.parent and stream.parent not in found:
            yield stream
            continue
        part = Part(
            stream,
            found.get(LISTS, 0),
            newest if stream is MESSAGES else config.start_date,
            now,
            found[MESSAGES] if stream.of_message else None,
        )
        what = str(part) if stream.parent else "of the account"
        arguments = part.arguments(config, 1)
        reader = Reader(stream, stream.key(config), config)
        try:
            parent = part.MsgID or part.ListID
            records = client.call(reader, arguments, what, parent, retry=stream is LISTS).records
        except NoAccess as refused:
            LOGGER.warning("%s is left out of the catalog. %s", stream.name, refused)
            continue
        except Refused:
            raise
        except ListrakError as failed:
            if stream is LISTS:
                raise
            LOGGER.warning(
                "%s could not be checked and stays in the catalog. %s", stream.name, failed
            )
            yield stream
            continue
        yield stream
        if stream in (LISTS, MESSAGES) and records:
            found[stream] = min(getattr(record, stream.published_key[0]) for record in records)
