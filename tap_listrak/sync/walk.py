"""Decide what a pass over the account requests, and in which order. Pure.

For each list, by ListID:
1. its messages, by window and then by MsgID, each with its streams;
2. streams by batch of messages, then streams by list;
3. its conversations, by ConversationID, each with its streams.
Account streams come last. The order depends only on the account, so a place is valid in every run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from tap_listrak.config import Config
from tap_listrak.dates import parse_instant, windows
from tap_listrak.listrak.pages import Page, ParentRow
from tap_listrak.streams import CONVERSATIONS, LISTS, MESSAGES, Per, Stream
from tap_listrak.sync.counts import Count, NewestCounts
from tap_listrak.sync.entry import Entry, Place, is_parent_window, resume_at
from tap_listrak.sync.parts import (
    Items,
    ListFinished,
    PageFetched,
    ParentResults,
    Part,
    PartFinished,
    Section,
)
from tap_listrak.sync.plan import is_excluded, rotation_of, start_of_list, start_of_parent
from tap_listrak.sync.turns import PAGED_WINDOW_DAYS

# Maximum MsgIDs of one message_analytics call.
MAX_BATCH = 2500

Entries = Mapping[Stream, Entry]


def set_aside_parts(entries: Entries, config: Config, end: datetime) -> Iterator[Part]:
    """Yield the parts that earlier runs set aside, except windows of parents: see Walk."""
    for stream, entry in entries.items():
        if stream.name in config.mirror and not entry.unfinished:
            continue  # a new mirror requests everything
        has_parents = stream.per in (Per.MESSAGE, Per.CONVERSATION)
        covers = entry.covers
        is_earlier = covers is not None and config.start_date < covers.start_date
        for aside in entry.set_aside:
            last_date = aside.sent_to if has_parents else aside.end
            if is_excluded(aside.list_id, last_date, config) or is_parent_window(aside, stream):
                continue
            yield Part(
                stream,
                aside.list_id,
                config.start_date if has_parents and is_earlier else aside.start,
                max(aside.end, end) if has_parents else aside.end,
                parent_id=aside.parent_id,
                resume=resume_at(aside),
                is_retry=True,
                read_twice=_is_read_twice(stream, config),
            )


def lists_to_walk(entries: Entries, list_ids: Iterable[int]) -> list[int]:
    """Return the lists that at least one stream has not walked yet."""
    by_list = [entry for stream, entry in entries.items() if stream.per is not Per.ACCOUNT]
    return [each for each in list_ids if any(each not in e.current.list_ids for e in by_list)]


def walk(
    config: Config,
    entries: Entries,
    list_ids: Iterable[int],
    stopped: Collection[Stream],
    retried: Collection[Part],
) -> Iterator[Section]:
    """Yield the sections of a pass, for streams that have the same windows.

    The walk is ahead of the output, so it uses `entries` as of the start of the pass. It skips the
    parts `retried` in this run, and `stopped` streams, even if they stop during the pass.
    """
    for list_id in (*lists_to_walk(entries, list_ids), None):
        yield from Walk(config, entries, stopped, retried, list_id).sections()


class Walk:
    """The walk over one list, or over the account if `list_id` is None."""

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
            if stream is not LISTS and list_id not in entry.current.list_ids
        }
        # The IDs seen of each parent stream, and the parent streams with all IDs seen.
        self._seen: dict[Stream, set[int]] = {MESSAGES: set(), CONVERSATIONS: set()}
        self._complete_parents = set(self._seen)
        self._ids_of_last_window: set[int] = set()
        self._not_due: set[int] = set()
        self._counts: dict[Stream, NewestCounts] = defaultdict(NewestCounts)
        self._rotations = {
            stream: rotation_of(entry, list_id) for stream, entry in self._entries.items()
        }
        self._skipped = {
            (stream, aside.parent_id)
            for stream, entry in self._entries.items()
            for aside in entry.set_aside
            if aside.list_id == list_id
        }
        self._skipped |= {(p.stream, p.parent_id) for p in retried if p.list_id == list_id}

    def sections(self) -> Iterator[Section]:
        """Yield the sections in order."""
        yield from self._sections_of(MESSAGES, Per.MESSAGE, Per.BATCH)
        yield Section(None, self._without_parents)
        yield from self._sections_of(CONVERSATIONS, Per.CONVERSATION)
        if self._list_id is not None:
            yield Section(None, self._list_finished)

    def _streams(self, *per: Per) -> list[Stream]:
        return [each for each in self._entries if each.per in per and each not in self._stopped]

    def _place(self, stream: Stream) -> Place:
        """Return the place in this list where an earlier run stopped, or an empty one."""
        place = self._entries[stream].current.place
        return place if place and place.list_id == self._list_id else Place()

    # Streams by message or conversation.

    def _sections_of(self, parent: Stream, *per: Per) -> Iterator[Section]:
        """Yield a section per window of messages, or one for all conversations."""
        streams = [*self._streams(*per), *(each for each in self._entries if each is parent)]
        if not streams:
            self._complete_parents.discard(parent)
            return
        current = self._entries[streams[0]].current
        days = current.interval_days or self._config.interval_days
        whole = current.start_date, current.end
        for start, end in windows(*whole, days) if parent.dated else [whole]:
            window = start if parent.dated else None
            if end < current.first_date:
                continue
            pending = [each for each in streams if not self._is_done(each, window)]
            is_skipped = all(each in self._stopped for each in pending)
            if is_skipped or len(pending) < len(streams):
                self._complete_parents.discard(parent)
            if is_skipped:
                continue
            first = max(start, current.first_date)
            part = Part(parent, self._list_id, first, end, window=window)
            yield Section(part, partial(self._of_parents, pending, window))

    def _is_done(self, stream: Stream, window: datetime | None) -> bool:
        reached = self._place(stream).window
        return window is not None and reached is not None and window < reached

    def _of_parents(
        self, streams: list[Stream], window: datetime | None, results: ParentResults
    ) -> Items:
        """Yield the outcomes of a request for parents, then the parts of their streams."""
        parent = results[0][0].stream
        children = [each for each in streams if each is not parent]
        key = parent.key_properties[0]
        previous = self._ids_of_last_window if window else set()
        rows: dict[int, ParentRow] = {}
        self._ids_of_last_window = set()
        for part, page in results:
            error = page.record_error if isinstance(page, Page) else page
            if isinstance(page, Page):
                seen = {getattr(row.record, key): row for row in page.parents}
                # Adjacent windows overlap.
                new = {ID: seen[ID] for ID in seen if ID not in previous and ID not in rows}
                rows |= new
                self._ids_of_last_window |= seen.keys() if window else set()
                self._seen[parent] |= seen.keys()
                if parent in streams and not error:
                    yield PageFetched(part, 1, page.with_parents(tuple(new.values())))
            else:
                self._complete_parents.discard(parent)
                yield from (PartFinished(self._lost(each, part, window), page) for each in children)
            if parent in streams:
                yield PartFinished(part, error)
        by_parent = [each for each in children if each.per is not Per.BATCH]
        yield from self._of_rows(rows, by_parent, window)

    def _lost(self, stream: Stream, part: Part, window: datetime | None) -> Part:
        """Return the part to set aside for a stream after the request for its parents failed."""
        entry = self._entries[stream]
        start = start_of_list(stream, entry, self._list_id, self._config)
        sent = (part.start, part.end) if part.is_window else None
        return Part(stream, part.list_id, start, entry.current.end, window=window, sent_range=sent)

    def _of_rows(
        self, rows: Mapping[int, ParentRow], streams: list[Stream], window: datetime | None
    ) -> Iterator[Part]:
        """Yield the parts of these parents, and any part to resume that Listrak did not return."""
        resumed = {
            each: place.parent_id
            for each in streams
            if (place := self._place(each)).page and place.window == window and place.parent_id
        }
        ids = sorted(rows.keys() | set(resumed.values()))
        for number, parent_id in enumerate(ids, 1):
            row = rows.get(parent_id)
            sent = _send_date(row) if row else None
            for stream in streams:
                if row or resumed.get(stream) == parent_id:
                    part = self._part(stream, parent_id, row, sent, window)
                    if part:
                        yield replace(part, progress=(number, len(ids)))

    def _part(
        self,
        stream: Stream,
        parent_id: int,
        row: ParentRow | None,
        sent: datetime | None,
        window: datetime | None,
    ) -> Part | None:
        """Return the part of a parent; None if it is done, set aside or not due."""
        entry, place = self._entries[stream], self._place(stream)
        reached = place.parent_id if place.window == window else None
        is_place = parent_id == reached and place.page is not None
        is_done = reached is not None and parent_id <= reached and not is_place
        count = getattr(row.record, stream.count_column) if row and stream.count_column else None
        if entry.current.older_every_days and sent and count is not None:
            self._counts[stream].add(Count(sent, parent_id, count))
        if is_done or (stream, parent_id) in self._skipped:
            return None
        rotation = self._rotations[stream]
        start = start_of_parent(
            stream, entry, self._list_id, self._config, rotation, parent_id, sent, count
        )
        if start is None:
            if rotation:
                self._not_due.add(parent_id)
            return None
        # Counts are totals to date: use them only if the range covers all of the message's dates.
        has_all_dates = not stream.dated or start <= (sent or entry.current.start_date)
        return Part(
            stream,
            self._list_id,
            start,
            entry.current.end,
            parent_id=parent_id,
            window=window,
            sent_range=(sent, sent) if sent else None,
            expected_rows=count if stream.counts_rows and has_all_dates else None,
            resume=resume_at(place) if is_place else None,
        )

    # Batch, list and account streams.

    def _without_parents(self, _: ParentResults) -> Items:
        for stream in self._streams(Per.BATCH):
            current = self._entries[stream].current
            part = Part(stream, self._list_id, current.start_date, current.end)
            msg_ids = sorted(self._seen[MESSAGES])
            for first in range(0, len(msg_ids), MAX_BATCH):
                yield part.of_messages(tuple(msg_ids[first : first + MAX_BATCH]))
        for stream in self._streams(Per.LIST, Per.ACCOUNT):
            if stream not in (MESSAGES, CONVERSATIONS):
                yield from self._windows(stream)

    def _windows(self, stream: Stream) -> Iterator[Part]:
        """Yield a part per window, or a single one if the stream is not dated."""
        entry, place = self._entries[stream], self._place(stream)
        end = entry.current.end
        rotation = self._rotations[stream]
        since = rotation.last_end if rotation else None
        new_since = start_of_list(stream, entry, self._list_id, self._config, since)
        start = entry.current.first_date if rotation else min(new_since, end)
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
            start = max(place.window, entry.current.first_date)
        set_aside = [each for each in entry.set_aside if each.list_id == self._list_id]
        for first, last in (
            rotation.due_windows(start, new_since) if rotation else windows(start, end, days)
        ):
            if any(each.start <= first and last <= each.end for each in set_aside):
                continue
            resume = resume_at(place) if first == place.window else None
            read_twice = _is_read_twice(stream, self._config)
            yield Part(
                stream,
                self._list_id,
                first,
                last,
                window=first,
                resume=resume,
                read_twice=read_twice,
            )

    def _list_finished(self, _: ParentResults) -> Items:
        parents = {each: frozenset(self._seen[each]) for each in self._complete_parents}
        yield ListFinished(self._list_id or 0, parents, len(self._not_due), self._counts)


def _is_read_twice(stream: Stream, config: Config) -> bool:
    return stream.paged and stream.name in config.mirror


def _send_date(row: ParentRow) -> datetime | None:
    text = getattr(row.record, "SendDate", None)
    return parse_instant(text) if text else None
