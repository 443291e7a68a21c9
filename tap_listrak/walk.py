"""The walk over the account: what is asked, and in which order.

Lists by ListID; a list's messages by SendDate and MsgID; of each message its streams; then the
list's contacts by date windows; of all these, pages.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from tap_listrak.catalog import Selection
from tap_listrak.client import Client, Reply
from tap_listrak.config import Config
from tap_listrak.dates import UTC, parse_instant, windows
from tap_listrak.errors import TapError
from tap_listrak.parts import Part
from tap_listrak.pipeline import Page, Workers
from tap_listrak.records import Oddities, Reader, Record, encode
from tap_listrak.state import Progress
from tap_listrak.streams import LISTS, MESSAGES, STREAMS, SUBSCRIBED_CONTACTS, Stream

LOGGER = logging.getLogger(__name__)

_COUNTS = [stream.count for stream in STREAMS if stream.count]
_DAWN = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Parents:
    """All lists of the account, or all messages of some of them, in their turn.

    `ListIDs` are the lists that are these, or whose messages these are; `keys` their own keys in
    the walk's order.
    """

    stream: Stream
    ListIDs: frozenset[int]
    keys: tuple[int, ...]
    page: Page


@dataclass(frozen=True)
class Walked:
    """The end of a list: all that its streams have was given before."""

    ListID: int


@dataclass(frozen=True)
class Message:
    """What the walk needs of a message, and its record as JSON."""

    MsgID: int
    SendDate: datetime | None
    counts: dict[str, Any]
    record: bytes

    @property
    def place(self) -> tuple[datetime, int]:
        """Where it stands in the order of its list."""
        return self.SendDate or _DAWN, self.MsgID


def fetch_lists(config: Config, client: Client, workers: Workers, selection: Selection) -> Parents:
    """Fetch the lists that this run is about. Raises TapError where there are none."""
    reader = _reader(LISTS, selection, config)
    reply = workers.result(workers.submit(lambda: client.call(reader, {}, "of the account")))
    columns = selection.get(LISTS, ())
    lists = {record.ListID: _encode(record, columns) for record in reply.records}
    if not lists:
        raise TapError(
            "Listrak shows this user no lists. Grant it the lists to sync under Manage, "
            "Accounts, User Manager."
        )
    wanted = config.list_ids
    if wanted is not None:
        unknown = wanted - lists.keys()
        if unknown:
            ids = ", ".join(map(str, sorted(unknown)))
            LOGGER.warning("Listrak does not show these of the config's list_ids: %s.", ids)
        lists = {ListID: record for ListID, record in lists.items() if ListID in wanted}
        if not lists:
            raise TapError(
                "None of the config's `list_ids` is a list that Listrak shows this user."
            )
    ListIDs = tuple(sorted(lists))
    page = _page(reply, _array(lists[ListID] for ListID in ListIDs), len(lists))
    return Parents(LISTS, frozenset(ListIDs), ListIDs, page)


class Walk:
    """One run's walk for the streams of `active`, each from where its progress stands."""

    def __init__(
        self,
        config: Config,
        client: Client,
        workers: Workers,
        selection: Selection,
        active: Mapping[Stream, Progress],
        end: datetime,
    ) -> None:
        self._config = config
        self._client = client
        self._workers = workers
        self._selection = selection
        self._active = active
        self._end = end
        # The walk runs ahead of what is emitted, so it looks at where the last run stood.
        self._resume = {stream: each.range.place for stream, each in active.items()}
        self._readers = {
            stream: _reader(stream, selection, config) for stream in (*selection, MESSAGES)
        }
        self._windows: dict[int, list[Future[tuple[list[Message], Page]]]] = {}

    # What the workers do.

    def ask(self, part: Part, number: int) -> Page:
        """Ask for one page of a part and read it. Raises ListrakError."""
        reply = self._client.call(
            self._readers[part.stream],
            part.arguments(self._config, number),
            f"{part}, page {number}",
            part.ListID if part.MsgID is None else part.MsgID,
        )
        return _page(reply, encode(reply.records), len(reply.records))

    # The order.

    def items(self, lists: Parents) -> Iterator[Part | Parents | Walked | None]:
        """Give, in order, all that is to be asked and told; None while a reply is awaited."""
        yield lists
        yield from self._set_aside(lists.ListIDs)
        to_walk = self.to_walk(lists)
        to_come = [ListID for ListID in to_walk if self._needs_messages(ListID)]
        for ListID in to_walk:
            pending = self._pending(ListID)
            if to_come and to_come[0] == ListID:
                messages, page = yield from self._messages(to_come)
                to_come.pop(0)
                keys = tuple(message.MsgID for message in messages)
                yield Parents(MESSAGES, frozenset([ListID]), keys, page)
                for message in messages:
                    for progress in pending:
                        if progress.stream.of_message:
                            yield from self._of_message(progress, ListID, message)
            for progress in pending:
                if progress.stream is SUBSCRIBED_CONTACTS:
                    yield from self._contacts(progress, ListID)
            yield Walked(ListID)

    def to_walk(self, lists: Parents) -> list[int]:
        """The ListIDs that some stream has yet to walk, in order."""
        return [ListID for ListID in lists.keys if self._pending(ListID)]

    def _pending(self, ListID: int) -> list[Progress]:
        """The streams that have yet to walk a list."""
        return [
            progress
            for stream, progress in self._active.items()
            if stream is not LISTS and ListID not in progress.range.done
        ]

    def _set_aside(self, known: frozenset[int]) -> Iterator[Part]:
        for progress in self._active.values():
            # A copy: what succeeds leaves the list before the walk has come to its end.
            for owed in list(progress.set_aside):
                if owed.ListID in known:
                    part = Part(progress.stream, owed.ListID, owed.start, owed.end, owed.MsgID)
                    yield from replace(part, page=owed.page, owed=owed).split()

    def _of_message(self, progress: Progress, ListID: int, message: Message) -> Iterator[Part]:
        """Give the part that a stream owes of a message, unless it was emitted before."""
        stream, start = progress.stream, progress.start_of(ListID)
        place = self._resume[stream]
        page = 1
        if place and place.ListID == ListID and place.MsgID is not None:
            here = (place.since or _DAWN, place.MsgID)
            if message.place < here or (message.place == here and place.page is None):
                return
            if message.place == here:
                page = place.page or 1
        if message.SendDate and self._is_too_old(message.SendDate, progress, ListID):
            return
        ranged = "StartDate" in stream.arguments
        since_sent = not ranged or message.SendDate is None or start <= message.SendDate
        yield Part(
            stream,
            ListID,
            start,
            progress.range.end,
            MsgID=message.MsgID,
            SendDate=message.SendDate,
            page=page,
            # The counts are to date, so they say little about a window that starts later.
            expected=message.counts.get(stream.count or "") if since_sent else None,
        )

    def _is_too_old(self, sent: datetime, progress: Progress, ListID: int) -> bool:
        """Whether a message was sent too long ago to be asked for a stream's rows."""
        if "StartDate" not in progress.stream.arguments:
            return sent < progress.start_of(ListID)
        days, bookmark = self._config.activity_window_days, progress.bookmark_of(ListID)
        return bool(days and bookmark and bookmark - sent > timedelta(days=days))

    def _contacts(self, progress: Progress, ListID: int) -> Iterator[Part]:
        start, end = progress.start_of(ListID), progress.range.end
        place = self._resume[progress.stream]
        page = 1
        if place and place.ListID == ListID and place.since:
            if place.page is None and place.since >= end:
                return
            start, page = place.since, place.page or 1
        yield from Part(progress.stream, ListID, start, end, page=page).split()

    # Messages: asked for a list ahead, or more where workers would be idle.

    def _needs_messages(self, ListID: int) -> bool:
        pending = self._pending(ListID)
        return any(each.stream is MESSAGES or each.stream.of_message for each in pending)

    def _messages(self, to_come: list[int]) -> Generator[None, None, tuple[list[Message], Page]]:
        """Give the messages of the first list to come, in order; None while they are awaited."""
        for ListID in to_come[:2]:
            self._ask_messages(ListID)
        under_way = self._windows[to_come[0]]
        ahead = 2
        while not all(future.done() for future in under_way):
            futures = [future for each in self._windows.values() for future in each]
            awaited = sum(not future.done() for future in futures)
            if awaited < self._workers.count and ahead < len(to_come):
                self._ask_messages(to_come[ahead])
                ahead += 1
            else:
                yield None
        return _join([future.result() for future in self._windows.pop(to_come[0])])

    def _ask_messages(self, ListID: int) -> None:
        if ListID not in self._windows:
            tiles = windows(self._config.start_date, self._end, self._config.interval_days)
            self._windows[ListID] = [
                self._workers.submit(partial(self._read_messages, Part(MESSAGES, ListID, *tile)))
                for tile in tiles
            ]

    def _read_messages(self, part: Part) -> tuple[list[Message], Page]:
        reader, arguments = self._readers[MESSAGES], part.arguments(self._config, 1)
        reply = self._client.call(reader, arguments, str(part), part.ListID)
        messages = [
            Message(
                record.MsgID,
                record.SendDate and parse_instant(record.SendDate),
                {column: getattr(record, column) for column in _COUNTS},
                _encode(record, self._selection.get(MESSAGES, ())),
            )
            for record in reply.records
        ]
        return messages, _page(reply, b"[]", 0)


def _page(reply: Reply, records: bytes, count: int) -> Page:
    return Page(reply.rows, records, count, reply.came, reply.oddities, reply.fingerprint)


def _reader(stream: Stream, selection: Selection, config: Config) -> Reader:
    """Make the reader of the selected columns, and of what the walk needs of messages."""
    needed = {LISTS: ("ListID",), MESSAGES: ("MsgID", "SendDate", *_COUNTS)}
    columns = dict.fromkeys((*selection.get(stream, ()), *needed.get(stream, ())))
    return Reader(stream, columns, config)


def _encode(record: Record, columns: Iterable[str]) -> bytes:
    """Make the JSON of a parent's record, with the columns that were selected."""
    return encode({column: getattr(record, column) for column in columns})


def _join(found: list[tuple[list[Message], Page]]) -> tuple[list[Message], Page]:
    """Join the windows of a list: messages in the walk's order, and one page of them all.

    Windows share their bounds; a message seen in two is taken once.
    """
    by_key = {message.MsgID: message for messages, _ in reversed(found) for message in messages}
    messages = sorted(by_key.values(), key=lambda message: message.place)
    oddities = Oddities()
    for _, page in found:
        oddities.unknown |= page.oddities.unknown
        oddities.keyless += page.oddities.keyless
    records = _array(message.record for message in messages)
    _, last = found[-1]
    return messages, replace(last, records=records, count=len(messages), oddities=oddities)


def _array(records: Iterable[bytes]) -> bytes:
    """Make a JSON array of what is JSON already."""
    return b"[%b]" % b",".join(records)
