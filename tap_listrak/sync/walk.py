"""The walk over the account: what a pass requests, and in which order.

Lists by ListID; of each list its messages, window by window, and within one by MsgID, of each
message its streams; then what is requested for many messages at once; what is requested by list;
and its conversations by ConversationID, of each its streams. At last what is requested for the
account. The order depends on the account alone, so that a place means the same in every run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from tap_listrak.config import Config
from tap_listrak.dates import parse_instant, windows
from tap_listrak.listrak.faults import ListrakError
from tap_listrak.listrak.pages import Page, ParentRow
from tap_listrak.streams import CONVERSATIONS, LISTS, MESSAGES, Per, Stream
from tap_listrak.sync.entry import Entry, Place, holds_parents
from tap_listrak.sync.parts import ListFinished, Outcome, PageFetched, Part, PartFinished, Section
from tap_listrak.sync.plan import is_in_turns, is_left_out, start_of, start_of_message

# What Listrak takes in one call of message_analytics.
MAX_BATCH = 2500
# Rows that go while pages are read shift the rest: short windows keep that rare.
PAGED_WINDOW_DAYS = 30

Entries = Mapping[Stream, Entry]
Pieces = list[tuple[Part, Page | ListrakError]]
Steps = Iterator[Part | Outcome]


def set_aside_parts(entries: Entries, config: Config, end: datetime) -> Iterator[Part]:
    """Yield what earlier runs set aside, up to now. Windows of messages are left to the walk."""
    for stream, entry in entries.items():
        if stream.name in config.mirror and not entry.unfinished:
            continue  # all of it is requested
        has_parents = stream.per in (Per.MESSAGE, Per.CONVERSATION)
        covers = entry.covers
        is_earlier = covers is not None and config.start_date < covers.start_date
        for owed in entry.set_aside:
            last_date = owed.sent_to if has_parents else owed.end
            if is_left_out(owed.list_id, last_date, config) or holds_parents(owed, stream):
                continue
            yield Part(
                stream,
                owed.list_id,
                config.start_date if has_parents and is_earlier else owed.start,
                max(owed.end, end) if has_parents else owed.end,
                parent_id=owed.parent_id,
                page=owed.page,
                digest=owed.digest,
                is_retry=True,
                is_verified=_is_verified(stream, config),
            )


def lists_to_walk(entries: Entries, list_ids: Iterable[int]) -> list[int]:
    """Return the lists that a stream has yet to walk."""
    by_list = [entry for stream, entry in entries.items() if stream.per is not Per.ACCOUNT]
    return [each for each in list_ids if any(each not in e.active.list_ids for e in by_list)]


def walk(
    config: Config,
    entries: Entries,
    list_ids: Iterable[int],
    stopped: Collection[Stream],
    retried: Collection[Part],
) -> Iterator[Section]:
    """Yield what a pass requests, for streams whose ranges have the same windows.

    It runs ahead of what is emitted, so it goes by the `entries` as they were when the pass began.
    It leaves out what was `retried` in this run, and streams that are `stopped`, also those that
    are added while it goes on.
    """
    for list_id in (*lists_to_walk(entries, list_ids), None):
        yield from Walk(config, entries, stopped, retried, list_id).sections()


class Walk:
    """The walk over one list, or over the account where `list_id` is None."""

    def __init__(
        self,
        config: Config,
        entries: Entries,
        stopped: Collection[Stream],
        retried: Collection[Part],
        list_id: int | None,
    ) -> None:
        self._config = config
        self._stopped = stopped
        self._list_id = list_id
        self._entries = {
            stream: entry
            for stream, entry in entries.items()
            if (stream.per is Per.ACCOUNT) == (list_id is None)
            if stream is not LISTS and list_id not in entry.active.list_ids
        }
        # The messages and conversations seen; those of which all were; and messages that wait.
        self._seen: dict[Stream, set[int]] = {MESSAGES: set(), CONVERSATIONS: set()}
        self._known = set(self._seen)
        self._last_window: set[int] = set()
        self._waiting: set[int] = set()
        self._left_out = {
            (stream, owed.parent_id)
            for stream, entry in self._entries.items()
            for owed in entry.set_aside
            if owed.list_id == list_id
        }
        self._left_out |= {(each.stream, each.parent_id) for each in retried}

    def sections(self) -> Iterator[Section]:
        """Yield all that is requested and handed on, in order."""
        yield from self._sections_of(MESSAGES, Per.MESSAGE, Per.BATCH)
        yield Section(None, self._without_parents)
        yield from self._sections_of(CONVERSATIONS, Per.CONVERSATION)
        if self._list_id is not None:
            yield Section(None, self._list_finished)

    def _streams(self, *per: Per) -> list[Stream]:
        return [each for each in self._entries if each.per in per and each not in self._stopped]

    def _place(self, stream: Stream) -> Place:
        """Return where an earlier run was cut off, if that is in this list."""
        place = self._entries[stream].active.place
        return place if place and place.list_id == self._list_id else Place()

    # What is requested for messages or conversations.

    def _sections_of(self, parent: Stream, *per: Per) -> Iterator[Section]:
        """Yield the windows of messages, or all conversations, with what follows from them."""
        streams = [*self._streams(*per), *(each for each in self._entries if each is parent)]
        if not streams:
            self._known.discard(parent)
            return
        active = self._entries[streams[0]].active
        days = active.interval_days or self._config.interval_days
        whole = active.start_date, active.end
        for start, end in windows(*whole, days) if parent.dated else [whole]:
            window = start if parent.dated else None
            if end < active.first_date:
                continue
            owing = [each for each in streams if not self._has_passed(each, window)]
            is_skipped = all(each in self._stopped for each in owing)
            if is_skipped or len(owing) < len(streams):
                self._known.discard(parent)
            if is_skipped:
                continue
            first = max(start, active.first_date)
            part = Part(parent, self._list_id, first, end, window=window)
            yield Section(part, partial(self._of_parents, owing, window))

    def _has_passed(self, stream: Stream, window: datetime | None) -> bool:
        reached = self._place(stream).window
        return window is not None and reached is not None and window < reached

    def _of_parents(self, streams: list[Stream], window: datetime | None, pieces: Pieces) -> Steps:
        """Yield what came of a request for messages or conversations, and what follows from it."""
        parent = pieces[0][0].stream
        children = [each for each in streams if each is not parent]
        rows: dict[int, ParentRow] = {}
        for part, page in pieces:
            error = page.record_error if isinstance(page, Page) else page
            if isinstance(page, Page):
                rows |= {getattr(row.record, parent.key_properties[0]): row for row in page.parents}
                if parent in streams and not error:
                    yield PageFetched(part, 1, page)
            else:
                self._known.discard(parent)
                yield from (PartFinished(self._lost(each, part, window), page) for each in children)
            if parent in streams:
                yield PartFinished(part, error)
        # Windows overlap; a message seen in two is taken once.
        new = {each: row for each, row in rows.items() if each not in self._last_window}
        self._last_window = set(rows) if window else set()
        self._seen[parent] |= rows.keys()
        yield from self._of_rows(
            new, [each for each in children if each.per is not Per.BATCH], window
        )

    def _lost(self, stream: Stream, part: Part, window: datetime | None) -> Part:
        """Return what a stream lacks where messages or conversations cannot be had."""
        entry = self._entries[stream]
        start = start_of(stream, entry, self._list_id, self._config)
        sent = (part.start, part.end) if part.is_window else None
        return Part(stream, part.list_id, start, entry.active.end, window=window, sent=sent)

    def _of_rows(
        self, rows: Mapping[int, ParentRow], streams: list[Stream], window: datetime | None
    ) -> Iterator[Part]:
        """Yield the parts of these messages or conversations, also of one that was cut off."""
        cut_off = {
            each: place.parent_id
            for each in streams
            if (place := self._place(each)).page and place.window == window and place.parent_id
        }
        ids = sorted(rows.keys() | set(cut_off.values()))
        for number, parent_id in enumerate(ids, 1):
            for stream in streams:
                if parent_id in rows or cut_off.get(stream) == parent_id:
                    part = self._part(stream, parent_id, rows.get(parent_id), window)
                    if part:
                        yield replace(part, number=number, count=len(ids))

    def _part(
        self, stream: Stream, parent_id: int, row: ParentRow | None, window: datetime | None
    ) -> Part | None:
        """Return the part of a message or conversation, unless it is done, set aside, or waits."""
        entry, place = self._entries[stream], self._place(stream)
        active, page, digest = entry.active, None, None
        if place.parent_id is not None and place.window == window:
            if parent_id == place.parent_id:
                page, digest = place.page, place.digest
            if parent_id <= place.parent_id and not page:
                return None
        if (stream, parent_id) in self._left_out:
            return None
        sent = _sent(row) if row else None
        start = start_of_message(stream, entry, self._list_id, self._config, parent_id, sent)
        if start is None:
            if is_in_turns(entry, self._list_id):
                self._waiting.add(parent_id)
            return None
        expected_rows = None
        # The counts are to date, so they say little of a range that starts later.
        if (
            row
            and stream.count_column
            and (not stream.dated or start <= (sent or active.start_date))
        ):
            expected_rows = getattr(row.record, stream.count_column)
        return Part(
            stream,
            self._list_id,
            start,
            active.end,
            parent_id=parent_id,
            window=window,
            sent=(sent, sent) if sent else None,
            expected_rows=expected_rows,
            page=page,
            digest=digest,
        )

    # What is requested without parents.

    def _without_parents(self, _: Pieces) -> Steps:
        for stream in self._streams(Per.BATCH):
            active = self._entries[stream].active
            part = Part(stream, self._list_id, active.start_date, active.end)
            msg_ids = sorted(self._seen[MESSAGES])
            for first in range(0, len(msg_ids), MAX_BATCH):
                yield part.of_messages(tuple(msg_ids[first : first + MAX_BATCH]))
        for stream in self._streams(Per.LIST, Per.ACCOUNT):
            if stream not in (MESSAGES, CONVERSATIONS):
                yield from self._windows(stream)

    def _windows(self, stream: Stream) -> Iterator[Part]:
        """Yield the windows of a list or of the account; one part where there are no dates."""
        entry, place = self._entries[stream], self._place(stream)
        end = entry.active.end
        start = min(start_of(stream, entry, self._list_id, self._config), end)
        if not stream.dated:
            yield Part(stream, self._list_id, start, end)
            return
        days = PAGED_WINDOW_DAYS if stream.paged else self._config.interval_days
        if stream.retention_days:
            days = stream.retention_days
            start = max(start, end - timedelta(days=days))
        if place.window:
            if place.window >= end and not place.page:
                return
            start = max(place.window, entry.active.first_date)
        owed = [each for each in entry.set_aside if each.list_id == self._list_id]
        for first, last in windows(start, end, days):
            if any(each.start <= first and last <= each.end for each in owed):
                continue
            is_place = first == place.window
            yield Part(
                stream,
                self._list_id,
                first,
                last,
                window=first,
                page=place.page if is_place else None,
                digest=place.digest if is_place else None,
                is_verified=_is_verified(stream, self._config),
            )

    def _list_finished(self, _: Pieces) -> Steps:
        parents = {parent: frozenset(self._seen[parent]) for parent in self._known}
        yield ListFinished(self._list_id or 0, parents, len(self._waiting))


def _is_verified(stream: Stream, config: Config) -> bool:
    return stream.paged and stream.name in config.mirror


def _sent(row: ParentRow) -> datetime | None:
    text = getattr(row.record, "SendDate", None)
    return parse_instant(text) if text else None
