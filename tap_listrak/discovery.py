"""Discovery's check: which streams this user may read, asked of Listrak once each."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from tap_listrak.config import Config
from tap_listrak.listrak.client import ListrakClient
from tap_listrak.listrak.errors import AuthenticationError, ListrakError, PermissionDeniedError
from tap_listrak.streams import LISTS, PARENTS, STREAMS, Stream
from tap_listrak.sync.tasks import FetchTask

LOGGER = logging.getLogger(__name__)


def find_readable_streams(config: Config, client: ListrakClient, now: datetime) -> list[Stream]:
    """Return the streams that Listrak does not refuse to this user.

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


def _readable(config: Config, client: ListrakClient, now: datetime) -> Iterator[Stream]:
    # A key of each parent; where there is none, its children cannot be asked for.
    keys: dict[Stream, int] = {}
    newest = max(config.start_date, now - timedelta(days=config.interval_days))
    for stream in STREAMS:
        # The first call, of lists, has tried to load the WSDL as often as all else is tried.
        if stream is not LISTS and not client.offers(stream):
            LOGGER.warning(
                "%s is left out of the catalog. The service's WSDL lacks its operation, %s.",
                stream.name,
                stream.operation,
            )
            continue
        if stream.parent and stream.parent not in keys:
            yield stream
            continue
        task = FetchTask(
            stream,
            keys.get(LISTS),
            config.start_date if stream.is_paged else newest,
            now,
            parent_id=None if stream.parent in (None, LISTS) else keys[stream.parent],
        )
        request = task.request(config, 1)._replace(retry=stream is LISTS)
        try:
            parents = client.fetch(request).parents
        except PermissionDeniedError as exc:
            LOGGER.warning("%s is left out of the catalog. %s", stream.name, exc)
            continue
        except AuthenticationError:
            raise
        except ListrakError as exc:
            if stream is LISTS:
                raise
            LOGGER.warning("%s could not be checked and stays in the catalog. %s", stream.name, exc)
            yield stream
            continue
        yield stream
        if stream in PARENTS and parents:
            key = stream.key_properties[0]
            keys[stream] = min(getattr(parent.record, key) for parent in parents)
