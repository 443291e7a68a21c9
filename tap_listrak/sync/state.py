"""Keep the state of one stream: events in, snapshots out. No I/O."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime

from msgspec.structs import replace

from tap_listrak.config import Config
from tap_listrak.listrak.faults import ListrakError
from tap_listrak.logs import plural
from tap_listrak.streams import Per, Stream
from tap_listrak.sync.counts import Count, NewestCounts
from tap_listrak.sync.entry import Entry, Place, Range, SetAside, is_parent_window
from tap_listrak.sync.failures import can_set_aside_at_the_end, reason_to_stop
from tap_listrak.sync.parts import Part
from tap_listrak.sync.plan import is_excluded
from tap_listrak.sync.turns import CountFilter, everything_requested_until


class StreamState:
    """The state of one stream. Change it only through its methods.

    A failed part is held until another part of the stream succeeds. While parts are held,
    `snapshot` stays at the value before the first of them. A backfill is not resumed, so it only
    counts failed parts, and writes no entry.
    """

    def __init__(
        self, stream: Stream, entry: Entry, *, has_entry: bool, is_backfill: bool = False
    ) -> None:
        """`has_entry`: whether the state has, or will have, an entry for the stream."""
        self.stream = stream
        self.entry = entry
        self.has_entry = has_entry
        self.stopped_by: ListrakError | None = None
        self._held: list[tuple[SetAside, ListrakError]] = []
        self._before_held: Entry | None = None
        self._failed = 0
        self._is_backfill = is_backfill
        self._was_answered = False
        self._last_retry: ListrakError | None = None
        self._counts: NewestCounts | None = None

    @property
    def snapshot(self) -> Entry:
        """The entry to write to the STATE."""
        return self._before_held or self.entry

    @property
    def is_complete(self) -> bool:
        """Whether nothing is held or set aside, except parts that Listrak no longer returns."""
        return not self._held and all(aside.absent_since for aside in self.entry.set_aside)

    def _update(self, **changes: object) -> None:
        self.entry = replace(self.entry, **changes)

    def _update_range(self, **changes: object) -> None:
        self._update(unfinished=replace(self.entry.current, **changes))

    # The range.

    def begin(self, new: Range) -> None:
        """Begin a range. A mirror requests everything, so nothing stays set aside."""
        self.has_entry = not self._is_backfill
        self._update(unfinished=new)
        # Another run's counts may be newer than this range, or incomplete.
        self._counts = None if new.list_ids else NewestCounts()
        if new.version and new.whole:
            self._update(set_aside=())

    def list_finished(self, list_id: int, counts: Iterable[Count] = ()) -> None:
        """Mark a list as done, with the counts of its messages."""
        current = self.entry.current
        if self._counts:
            for count in counts:
                self._counts.add(count)
        place = current.place
        self._update_range(
            list_ids=tuple(sorted({*current.list_ids, list_id})),
            place=None if place and place.list_id == list_id else place,
        )

    def rows_left_out(self) -> None:
        """Mark the range as incomplete: some rows could not be emitted."""
        self._update_range(left_out=True)

    def version_activated(self) -> None:
        """Record that ACTIVATE_VERSION was written."""
        self._update(version=self.entry.current.version)

    def range_finished(self) -> None:
        """Move the bookmark to the end of the range, after all of it was emitted or set aside."""
        entry, current = self.entry, self.entry.current
        covers = current.covered(max(current.end, entry.last_end or current.end))
        bookmark = entry.bookmark
        if self.stream.replication_key:
            reached = current.end
            if current.older_every_days:
                reached = everything_requested_until(covers.end, current.older_every_days)
            bookmark = max(bookmark or reached, reached)
        self._update(
            bookmark=bookmark,
            covers=covers,
            unfinished=None,
            turns=self._build_filter(covers.end),
            set_aside=tuple(each for each in entry.set_aside if self._is_missing(each, covers)),
        )

    def _build_filter(self, end: datetime) -> CountFilter | None:
        """Return the filter of this range; None if an earlier run began it or nothing rotates."""
        found = self._counts.build_filter() if self._counts else None
        return CountFilter(end, *found) if found else None

    def _is_missing(self, aside: SetAside, covers: Range) -> bool:
        """Return whether a set-aside part is still missing after a completed range.

        A window of parents is complete if a range with a later end walked it without failure. If
        it failed again, it is held, and starts later than what is set aside.
        """
        if any(_can_merge(aside, held, self.stream) for held, _ in self._held):
            return True
        last_date = aside.sent_to or (None if aside.parent_id else aside.end)
        if last_date and last_date < covers.start_date:
            return False
        is_walked = aside.list_id in covers.list_ids and aside.end < self.entry.current.end
        return not (is_parent_window(aside, self.stream) and is_walked)

    # Parts of the walk.

    def page_written(self, part: Part, number: int, digest: str) -> None:
        """Record a page that was emitted."""
        self._move_place(part, number, digest)

    def part_finished(self, part: Part) -> None:
        """Record a part that was emitted."""
        self._move_place(part)

    def part_failed(self, part: Part, error: ListrakError, now: datetime) -> None:
        """Hold a failed part; stop the stream above the limits."""
        self._failed += 1
        self._stop_if(reason_to_stop(error, self._failed, 0))
        if self._is_backfill:
            return
        if not self._held:
            self._before_held = self.entry
        place = self.entry.current.place
        written: tuple[int | None, str | None] = part.resume or (None, None)
        if place and place == _place(part, place.page, place.digest):
            written = place.page, place.digest
        if error.is_of_pages:
            written = None, None
        sent_from, sent_to = part.sent_range or (None, None)
        aside = SetAside(
            list_id=part.list_id,
            parent_id=part.parent_id,
            start=part.start,
            end=part.end,
            sent_from=sent_from,
            sent_to=sent_to,
            page=written[0],
            digest=written[1],
            failed_since=now,
        )
        self._held.append((aside, error))
        self._move_place(part)

    def service_works(self) -> list[ListrakError]:
        """Record that the service answered. Set the held parts aside, and return their errors."""
        self._was_answered = True
        return self._set_aside_held()

    def set_aside_at_end(self) -> list[ListrakError]:
        """Set aside the parts held at the end of a range, if few, and return their errors."""
        if can_set_aside_at_the_end(len(self._held), was_answered=self._was_answered):
            return self._set_aside_held()
        return []

    def stop_if_held(self) -> None:
        """Stop the stream if parts are still held."""
        if self._held:
            last, failed = self._held[-1][1], plural(len(self._held), "part")
            self._stop_if(last.prefixed(f"{failed} failed in a row; last error: "))

    def _move_place(self, part: Part, page: int | None = None, digest: str | None = None) -> None:
        # A place cannot identify a batch or an undated request of a list.
        if part.window is not None or part.stream.per is Per.CONVERSATION:
            self._update_range(place=_place(part, page, digest))

    def _stop_if(self, error: ListrakError | None) -> None:
        self.stopped_by = self.stopped_by or error

    def _set_aside_held(self) -> list[ListrakError]:
        held, self._held, self._before_held = self._held, [], None
        for aside, error in held:
            others: list[SetAside] = []
            for each in self.entry.set_aside:
                if _can_merge(each, aside, self.stream):
                    aside = each.merged(aside)
                else:
                    others.append(each)
            self._update(set_aside=(*others, aside))
            self._stop_if(reason_to_stop(error, 0, len(self.entry.set_aside)))
        return [error for _, error in held]

    # Retries of what earlier runs set aside.

    def retry_written(self, part: Part, number: int, digest: str) -> None:
        """Record a page of a retry that was emitted."""

        def with_page(aside: SetAside) -> list[SetAside]:
            # Page numbers of a half do not apply to the whole.
            is_half = part.is_window and (part.start, part.end) != (aside.start, aside.end)
            page = (None, None) if is_half else (number, digest)
            return [replace(aside, page=page[0], digest=page[1], failed_since=None)]

        self._change_set_aside(part, with_page)

    def retry_finished(self, part: Part) -> None:
        """Record a retry that was emitted."""
        rests = (aside.without(part) for aside in self.entry.set_aside)
        self._update(set_aside=tuple(itertools.chain.from_iterable(rests)))

    def retry_failed(self, part: Part, error: ListrakError, now: datetime) -> None:
        """Keep a part set aside, with all dates that were requested."""

        def widened(aside: SetAside) -> list[SetAside]:
            start, end = min(aside.start, part.start), max(aside.end, part.end)
            since = aside.failed_since or now
            kept = replace(aside, start=start, end=end, failed_since=since)
            return [replace(kept, page=None, digest=None) if error.is_of_pages else kept]

        self._change_set_aside(part, widened)
        self._last_retry = error
        self._stop_if(reason_to_stop(error, 0, 0))

    def retries_finished(self) -> None:
        """Stop the stream if too many parts are still set aside."""
        if self._last_retry:
            self._stop_if(reason_to_stop(self._last_retry, 0, len(self.entry.set_aside)))

    def _change_set_aside(self, part: Part, change: Callable[[SetAside], list[SetAside]]) -> None:
        changed = (change(each) if each.covers(part) else [each] for each in self.entry.set_aside)
        self._update(set_aside=tuple(itertools.chain.from_iterable(changed)))

    # Absence.

    def lists_shown(self, shown: Collection[int], config: Config, now: datetime) -> list[SetAside]:
        """Update `absent_since` from the lists returned; give up parts, and return them."""

        def is_absent(aside: SetAside) -> bool | None:
            if aside.list_id is None or is_excluded(aside.list_id, None, config):
                return None
            if aside.list_id not in shown:
                return True
            return None if aside.parent_id is not None else False

        return self._update_absent(is_absent, now)

    def parents_shown(self, list_id: int, shown: Collection[int], now: datetime) -> list[SetAside]:
        """Update `absent_since` from the parents of a list; give up parts, and return them."""

        def is_absent(aside: SetAside) -> bool | None:
            has_parent = aside.list_id == list_id and aside.parent_id is not None
            return aside.parent_id not in shown if has_parent else None

        return self._update_absent(is_absent, now)

    def _update_absent(
        self, is_absent: Callable[[SetAside], bool | None], now: datetime
    ) -> list[SetAside]:
        kept: list[SetAside] = []
        gone: list[SetAside] = []
        for aside in self.entry.set_aside:
            absent = is_absent(aside)
            if absent is not None:
                aside = replace(aside, absent_since=(aside.absent_since or now) if absent else None)
            (gone if absent and aside.is_gone(now) else kept).append(aside)
        self._update(set_aside=tuple(kept))
        return gone


def with_same_windows(states: Collection[StreamState]) -> Iterator[list[StreamState]]:
    """Group states that have the same windows, earliest end first."""

    def key(state: StreamState) -> tuple[datetime, datetime, int]:
        current = state.entry.current
        return current.end, current.start_date, current.interval_days or 0

    for _, group in itertools.groupby(sorted(states, key=key), key):
        yield list(group)


def _can_merge(aside: SetAside, new: SetAside, stream: Stream) -> bool:
    """Return whether two set-aside parts become one: the same part, or overlapping windows."""
    if (aside.list_id, aside.parent_id) != (new.list_id, new.parent_id):
        return False
    if aside.parent_id is not None:
        return True
    if not is_parent_window(aside, stream):
        return (aside.start, aside.end) == (new.start, new.end)
    if not (aside.sent_from and aside.sent_to and new.sent_from and new.sent_to):
        return True
    return aside.sent_from <= new.sent_to and new.sent_from <= aside.sent_to


def _place(part: Part, page: int | None = None, digest: str | None = None) -> Place:
    """Return the place at a page of a part, or at its end."""
    window = part.end if part.is_window and page is None else part.window
    return Place(part.list_id, window, part.parent_id, page, digest)
