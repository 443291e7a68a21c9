"""The walk over the account: what a pass requests, and in which order.

Lists by ListID; of each list its messages, window by window, and within one by MsgID, of each
message its streams; then what is requested for many messages at once; what is requested by list;
and its conversations by ConversationID, of each its streams. At last what is requested for the
account. The order depends on the account alone, so that a place means the same in every run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial

from tap_listrak.config import Config
from tap_listrak.dates import parse_instant, windows
from tap_listrak.listrak.client import Page, ParentRow
from tap_listrak.listrak.faults import ListrakError
from tap_listrak.streams import CONVERSATIONS, LISTS, MESSAGES, Per, Stream
from tap_listrak.sync.entry import Entry, Place
from tap_listrak.sync.parts import (
    ListFinished,
    Outcome,
    PageFetched,
    Part,
    PartFinished,
    Section,
)
from tap_listrak.sync.plan import is_in_turns, is_left_out, start_of, start_of_message

# What Listrak takes in one call of message_analytics.
MAX_BATCH = 2500
# Rows that go while pages are read shift the rest: short windows keep that rare.
PAGED_WINDOW_DAYS = 30

Pieces = list[tuple[Part, Page | ListrakError]]
Steps = Iterator[Part | Outcome]
# The ids of the parents of a list that were seen, by stream; None among them: not all were.
Seen = dict[Stream, set[int | None]]


def set_aside_parts(
    entries: Mapping[Stream, Entry], config: Config, end: datetime
) -> Iterator[Part]:
    """Yield what earlier runs set aside, up to now. Windows of messages are left to the walk."""
    for stream, entry in entries.items():
        if stream.name in config.mirror and not entry.unfinished:
            continue  # all of it is requested
        has_parents = stream.per in (Per.MESSAGE, Per.CONVERSATION)
        is_same_zone = entry.covers is None or entry.covers.timezone == str(config.timezone.zone)
        for owed in entry.set_aside:
            last_date = owed.sent_to if has_parents else owed.end
            if is_left_out(owed.list_id, last_date, config):
                continue
            if has_parents and owed.parent_id is None:
                continue
            yield Part(
                stream,
                owed.list_id,
                owed.start,
                max(owed.end, end) if has_parents else owed.end,
                parent_id=owed.parent_id,
                page=owed.page if is_same_zone else None,
                digest=owed.digest if is_same_zone else None,
                is_retry=True,
                is_verified=_is_verified(stream, config),
            )


def _is_verified(stream: Stream, config: Config) -> bool:
    return stream.paged and stream.name in config.mirror


class Walk:
    """One pass over these lists, for streams whose ranges have the same windows.

    It runs ahead of what is emitted, so it goes by the entries as they were when it began. It
    leaves out what is set aside, or was `retried` in this run, and streams that are `stopped`, also
    those that are added while it goes on.
    """

    def __init__(
        self,
        config: Config,
        entries: Mapping[Stream, Entry],
        list_ids: Iterable[int],
        stopped: Collection[Stream],
        retried: Iterable[Part],
    ) -> None:
        self._config = config
        self._entries = dict(entries)
        self._stopped = stopped
        self._owed = {
            (stream, owed.list_id, owed.parent_id)
            for stream, entry in entries.items()
            for owed in entry.set_aside
        }
        self._owed.update((part.stream, part.list_id, part.parent_id) for part in retried)
        self.list_ids = [list_id for list_id in list_ids if self._pending(list_id)]
        # Messages that wait in at least one stream.
        self.waiting = 0

    def sections(self) -> Iterator[Section]:
        """Yield all that is requested and handed on, in order."""
        for list_id in self.list_ids:
            seen: Seen = {MESSAGES: set(), CONVERSATIONS: set()}
            yield from self._messages(list_id, seen)
            yield Section(None, partial(self._by_list, list_id, seen))
            yield from self._conversations(list_id, seen)
            yield Section(None, partial(self._list_finished, list_id, seen))
        yield Section(None, self._by_account)

    def _pending(self, list_id: int, *per: Per) -> list[Stream]:
        """Return the streams that have yet to walk a list, of these kinds (none: all by list)."""
        return [
            stream
            for stream, entry in self._entries.items()
            if stream.per is not Per.ACCOUNT and (not per or stream.per in per)
            if stream not in self._stopped and list_id not in entry.active.list_ids
        ]

    def _place(self, stream: Stream, list_id: int | None) -> Place:
        """Return where an earlier run was cut off, if that is in this list."""
        place = self._entries[stream].active.place
        return place if place and place.list_id == list_id else Place()

    # Messages, by windows of `interval_days`.

    def _messages(self, list_id: int, seen: Seen) -> Iterator[Section]:
        streams = self._pending(list_id, Per.MESSAGE, Per.BATCH)
        if MESSAGES in self._pending(list_id):
            streams.append(MESSAGES)
        if not streams:
            seen[MESSAGES].add(None)
            return
        active = self._entries[streams[0]].active
        days = active.interval_days or self._config.interval_days
        before: set[int] = set()
        for start, end in windows(active.start_date, active.end, days):
            owing = [each for each in streams if not self._has_passed(each, list_id, start)]
            if end < self._config.start_date or all(each in self._stopped for each in owing):
                continue
            if len(owing) < len(streams):
                seen[MESSAGES].add(None)
            first = max(start, self._config.start_date)
            part = Part(MESSAGES, list_id, first, end, window=start)
            yield Section(part, partial(self._of_window, owing, seen, before, start))

    def _has_passed(self, stream: Stream, list_id: int, window: datetime) -> bool:
        place = self._place(stream, list_id)
        return place.window is not None and window < place.window

    def _of_window(
        self,
        streams: list[Stream],
        seen: Seen,
        before: set[int],
        window: datetime,
        pieces: Pieces,
    ) -> Steps:
        """Yield a window of messages, and what these streams have of each."""
        list_id = pieces[0][0].list_id
        children = [each for each in streams if each is not MESSAGES]
        rows: dict[int, ParentRow] = {}
        for part, page in pieces:
            yield from self._of_parents(part, page, MESSAGES in streams, children, seen)
            if isinstance(page, Page):
                # Windows overlap; a message seen in two is taken once.
                rows |= {row.record.MsgID: row for row in page.parents}
        new = {msg_id: row for msg_id, row in rows.items() if msg_id not in before}
        before.clear()
        before.update(rows)
        seen[MESSAGES].update(rows)
        self._count_waiting(list_id, new, children)
        resumed = {
            stream: place.parent_id
            for stream in children
            if (place := self._place(stream, list_id)).page and place.window == window
        }
        ids = sorted(new.keys() | {each for each in resumed.values() if each is not None})
        for number, msg_id in enumerate(ids, 1):
            row = new.get(msg_id)
            for stream in children:
                if stream.per is Per.MESSAGE and (row or resumed.get(stream) == msg_id):
                    yield from self._of_parent(
                        stream, list_id, msg_id, row, window, number=number, count=len(ids)
                    )

    def _of_parents(
        self,
        part: Part,
        page: Page | ListrakError,
        is_emitted: bool,
        children: list[Stream],
        seen: Seen,
    ) -> Steps:
        """Yield what came of a request for messages or conversations."""
        error = page.own_error if isinstance(page, Page) else page
        if is_emitted:
            if isinstance(page, Page) and not error:
                yield PageFetched(part, 1, page)
            yield PartFinished(part, error)
        if isinstance(page, Page):
            return
        seen[part.stream].add(None)
        sent = (part.start, part.end) if part.stream is MESSAGES else None
        for stream in children:
            entry = self._entries[stream]
            start = start_of(stream, entry, part.list_id, self._config)
            lost = Part(
                stream, part.list_id, start, entry.active.end, window=part.window, sent=sent
            )
            yield PartFinished(lost, page)

    def _count_waiting(
        self, list_id: int | None, rows: Mapping[int, ParentRow], streams: list[Stream]
    ) -> None:
        in_turns = [
            each
            for each in streams
            if each.per is Per.MESSAGE
            and list_id is not None
            and is_in_turns(self._entries[each], list_id)
        ]
        for msg_id, row in rows.items():
            self.waiting += any(
                self._start(each, list_id, msg_id, _sent(row)) is None for each in in_turns
            )

    def _start(
        self, stream: Stream, list_id: int | None, parent_id: int, sent: datetime | None
    ) -> datetime | None:
        if list_id is None:
            raise ValueError("messages are of a list")
        entry = self._entries[stream]
        return start_of_message(stream, entry, list_id, self._config, parent_id, sent)

    def _of_parent(
        self,
        stream: Stream,
        list_id: int | None,
        parent_id: int,
        row: ParentRow | None,
        window: datetime | None,
        *,
        number: int = 0,
        count: int = 0,
    ) -> Iterator[Part]:
        """Yield the part of a message or conversation, unless it is done, set aside, or waits."""
        active = self._entries[stream].active
        place = self._place(stream, list_id)
        is_resumed = False
        if place.parent_id is not None and place.window == window:
            is_resumed = parent_id == place.parent_id and place.page is not None
            if parent_id <= place.parent_id and not is_resumed:
                return
        if (stream, list_id, parent_id) in self._owed:
            return
        sent = _sent(row) if row else None
        start = self._start(stream, list_id, parent_id, sent)
        if start is None:
            return
        # The counts are to date, so they say little of a range that starts later.
        is_whole = not stream.dated or start <= (sent or active.start_date)
        yield Part(
            stream,
            list_id,
            start,
            active.end,
            parent_id=parent_id,
            window=window,
            sent=(sent, sent) if sent else None,
            number=number,
            count=count,
            expected_rows=getattr(row.record, stream.count_column)
            if row and stream.count_column and is_whole
            else None,
            page=place.page if is_resumed else None,
            digest=place.digest if is_resumed else None,
        )

    # Conversations, which come at once.

    def _conversations(self, list_id: int, seen: Seen) -> Iterator[Section]:
        children = self._pending(list_id, Per.CONVERSATION)
        is_emitted = CONVERSATIONS in self._pending(list_id)
        if not children and not is_emitted:
            seen[CONVERSATIONS].add(None)
            return
        active = self._entries[children[0] if children else CONVERSATIONS].active
        part = Part(CONVERSATIONS, list_id, active.start_date, active.end)
        yield Section(part, partial(self._of_conversations, children, is_emitted, seen))

    def _of_conversations(
        self,
        children: list[Stream],
        is_emitted: bool,
        seen: Seen,
        pieces: Pieces,
    ) -> Steps:
        for part, page in pieces:
            yield from self._of_parents(part, page, is_emitted, children, seen)
            if not isinstance(page, Page):
                continue
            rows = {row.record.ConversationID: row for row in page.parents}
            seen[CONVERSATIONS].update(rows)
            for parent_id in sorted(rows):
                for stream in children:
                    yield from self._of_parent(
                        stream, part.list_id, parent_id, rows[parent_id], None
                    )

    # What is requested by list, or for the account.

    def _by_list(self, list_id: int, seen: Seen, _: Pieces) -> Steps:
        for stream in self._pending(list_id, Per.BATCH):
            active = self._entries[stream].active
            part = Part(stream, list_id, active.start_date, active.end)
            msg_ids = sorted(each for each in seen[MESSAGES] if each is not None)
            for first in range(0, len(msg_ids), MAX_BATCH):
                yield part.of_messages(tuple(msg_ids[first : first + MAX_BATCH]))
        for stream in self._pending(list_id, Per.LIST):
            if stream not in (MESSAGES, CONVERSATIONS):
                yield from self._windows(stream, list_id)

    def _by_account(self, _: Pieces) -> Steps:
        for stream in self._entries:
            if stream.per is Per.ACCOUNT and stream is not LISTS and stream not in self._stopped:
                yield from self._windows(stream, None)

    def _windows(self, stream: Stream, list_id: int | None) -> Iterator[Part]:
        """Yield the windows of a list or of the account; one part where there are no dates."""
        entry, active = self._entries[stream], self._entries[stream].active
        end = active.end
        start = min(start_of(stream, entry, list_id, self._config), end)
        if not stream.dated:
            yield Part(stream, list_id, start, end)
            return
        days = PAGED_WINDOW_DAYS if stream.paged else self._config.interval_days
        if stream.kept_days:
            days = stream.kept_days
            start = max(start, end - timedelta(days=days))
        place = self._place(stream, list_id)
        if place.window:
            if place.window >= end and not place.page:
                return
            start = max(place.window, self._config.start_date)
        for first, last in windows(start, end, days):
            is_owed = any(
                owed.list_id == list_id and owed.start <= first and last <= owed.end
                for owed in entry.set_aside
            )
            if is_owed:
                continue
            is_place = first == place.window
            yield Part(
                stream,
                list_id,
                first,
                last,
                window=first,
                page=place.page if is_place else None,
                digest=place.digest if is_place else None,
                is_verified=_is_verified(stream, self._config),
            )

    def _list_finished(self, list_id: int, seen: Seen, _: Pieces) -> Steps:
        known = {stream: ids for stream, ids in seen.items() if None not in ids}
        yield ListFinished(list_id, known)


def _sent(row: ParentRow) -> datetime | None:
    text = row.record.SendDate if hasattr(row.record, "SendDate") else None
    return parse_instant(text) if text else None
