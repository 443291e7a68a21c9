"""What has been emitted of each stream, and what has not: events in, snapshots out. No I/O."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from tap_listrak.config import Config
from tap_listrak.listrak.faults import ListrakError
from tap_listrak.streams import Per, Stream
from tap_listrak.sync.entry import Entry, Place, Range, SetAside, holds_parents
from tap_listrak.sync.failures import can_set_aside_at_the_end, reason_to_stop
from tap_listrak.sync.parts import Part
from tap_listrak.sync.plan import is_left_out
from tap_listrak.sync.turns import everything_requested_until


class Held(NamedTuple):
    """A part that failed while nothing has shown that its stream's operation works."""

    part: Part
    error: ListrakError
    owed: SetAside


class StreamState:
    """The state of one stream. Nothing else changes it; its methods are what can happen.

    While parts are held, the state that is written stays as it was before the first of them.
    """

    def __init__(self, stream: Stream, entry: Entry, *, is_known: bool) -> None:
        """Begin with a stream's entry; `is_known` is whether the state has one."""
        self.stream = stream
        self.entry = entry
        self.is_known = is_known
        self.stopped_by: ListrakError | None = None
        self.held: list[Held] = []
        self._before_held: Entry | None = None
        self._failed = 0
        self._was_answered = False
        self._last_retry: ListrakError | None = None

    @property
    def snapshot(self) -> Entry:
        """What may be claimed now."""
        return self._before_held or self.entry

    @property
    def is_complete(self) -> bool:
        """Whether nothing of it is held, or set aside of what Listrak still shows."""
        return not self.held and all(owed.absent_since for owed in self.entry.set_aside)

    def _update(self, **changes: object) -> None:
        self.entry = replace(self.entry, **changes)

    def _update_range(self, **changes: object) -> None:
        self._update(unfinished=replace(self.entry.active, **changes))

    # The range.

    def begin(self, new: Range) -> None:
        """Begin the range of a pass.

        The range of a mirror is whole, so what was set aside of it before is requested with it.
        """
        self.is_known = True
        if new.version and new.whole:
            self._update(set_aside=())
        self._update(unfinished=new)

    def list_finished(self, list_id: int) -> None:
        """Note that everything of a list was emitted, held or set aside."""
        active = self.entry.active
        place = active.place
        self._update_range(
            list_ids=tuple(sorted({*active.list_ids, list_id})),
            place=None if place and place.list_id == list_id else place,
        )

    def rows_left_out(self) -> None:
        """Note that rows of this range could not be emitted."""
        self._update_range(left_out=True)

    def version_activated(self) -> None:
        """Note that the target was told to delete the rows of earlier versions."""
        self._update(version=self.entry.active.version)

    def range_finished(self) -> None:
        """Move the bookmark to the end of the range, all of which was emitted or set aside."""
        active, entry = self.entry.active, self.entry
        covers = replace(
            active,
            start_date=active.first_date,
            left_out_before=None,
            end=max(active.end, entry.last_end or active.end),
            interval_days=None,
            recent_days=None,
            bookmark=None,
            whole=False,
            version=None,
            left_out=False,
            place=None,
        )
        bookmark = entry.bookmark
        if self.stream.replication_key:
            reached = active.end
            if active.older_every_days:
                reached = everything_requested_until(covers.end, active.older_every_days)
            bookmark = max(bookmark or reached, reached)
        self._update(
            bookmark=bookmark,
            covers=covers,
            unfinished=None,
            set_aside=tuple(each for each in entry.set_aside if self._is_owed(each, covers)),
        )

    def _is_owed(self, owed: SetAside, covers: Range) -> bool:
        """Return whether what is set aside still is, now that a range up to `covers` is complete.

        A window of messages is not, where it has not failed in a range that began after it did.
        """
        last_date = owed.sent_to or (None if owed.parent_id else owed.end)
        if last_date and last_date < covers.start_date:
            return False
        is_walked = owed.list_id in covers.list_ids and owed.end < self.entry.active.end
        return not (holds_parents(owed, self.stream) and is_walked)

    # Its parts.

    def page_written(self, part: Part, number: int, digest: str) -> None:
        """Note that the rows of a page were emitted."""
        if part.is_retry:
            # Half a window has other pages.
            written = (None, None) if part.is_half else (number, digest)
            self._replace(
                part,
                lambda owed: replace(owed, page=written[0], digest=written[1], failed_since=None),
            )
        elif _has_place(part):
            self._update_range(place=_place(part, number, digest))

    def part_finished(self, part: Part) -> None:
        """Note that all rows of a part were emitted."""
        if part.is_retry:
            owed = self.entry.set_aside
            kept = ([each] if not each.holds(part) else each.without(part) for each in owed)
            self._update(set_aside=tuple(itertools.chain.from_iterable(kept)))
        else:
            self._pass(part)

    def part_failed(self, part: Part, error: ListrakError, now: datetime) -> None:
        """Hold a part that cannot be had; stop the stream if that is one too many."""
        if part.is_retry:
            self._replace(
                part,
                lambda owed: replace(
                    owed,
                    start=min(owed.start, part.start),
                    end=max(owed.end, part.end),
                    failed_since=owed.failed_since or now,
                ),
            )
            self._last_retry = error
            self._stop_if(reason_to_stop(error, 0, 0))
            return
        if not self.held:
            self._before_held = self.entry
        place = self.entry.active.place
        written = place if place and place == _place(part, place.page, place.digest) else None
        sent_from, sent_to = part.sent or (None, None)
        owed = SetAside(
            list_id=part.list_id,
            parent_id=part.parent_id,
            start=part.start,
            end=part.end,
            sent_from=sent_from,
            sent_to=sent_to,
            page=written.page if written else part.page,
            digest=written.digest if written else part.digest,
            failed_since=now,
        )
        self.held.append(Held(part, error, owed))
        self._failed += 1
        self._pass(part)
        self._stop_if(reason_to_stop(error, self._failed, 0))

    def retries_ended(self) -> None:
        """Stop the stream if too much is still set aside after all of it was retried."""
        if self._last_retry:
            self._stop_if(reason_to_stop(self._last_retry, 0, len(self.entry.set_aside)))

    def answered(self, part: Part) -> list[Held]:
        """Note that a call was answered; set aside, and return, what is held of a walk."""
        self._was_answered = True
        return [] if part.is_retry else self._set_aside_held()

    def range_ends(self) -> list[Held]:
        """Set aside, and return, what is held at the end of a range, if the rules allow it."""
        if can_set_aside_at_the_end(len(self.held), was_answered=self._was_answered):
            return self._set_aside_held()
        return []

    def run_ends(self) -> None:
        """Stop the stream if parts of it are held."""
        if self.held and not self.stopped_by:
            last = self.held[-1].error
            self._stop_if(last.prefixed(f"{len(self.held)} parts in a row failed, the last with: "))

    def _stop_if(self, error: ListrakError | None) -> None:
        self.stopped_by = self.stopped_by or error

    def _set_aside_held(self) -> list[Held]:
        held, self.held, self._before_held = self.held, [], None
        for each in held:
            self._set_aside(each.owed)
            self._stop_if(reason_to_stop(each.error, 0, len(self.entry.set_aside)))
        return held

    def _set_aside(self, new: SetAside) -> None:
        """Add a part to those set aside; windows of messages that overlap become one."""
        others: list[SetAside] = []
        for each in self.entry.set_aside:
            if not _is_same(each, new, self.stream):
                others.append(each)
                continue
            is_wider = (new.start, new.end) != (each.start, each.end)
            new = replace(
                new,
                start=min(each.start, new.start),
                end=max(each.end, new.end),
                sent_from=min((d for d in (each.sent_from, new.sent_from) if d), default=None),
                sent_to=max((d for d in (each.sent_to, new.sent_to) if d), default=None),
                page=None if is_wider else each.page,
                digest=None if is_wider else each.digest,
                failed_since=each.failed_since or new.failed_since,
                absent_since=each.absent_since,
            )
        self._update(set_aside=(*others, new))

    def _replace(self, part: Part, change: Callable[[SetAside], SetAside]) -> None:
        changed = (change(each) if each.holds(part) else each for each in self.entry.set_aside)
        self._update(set_aside=tuple(changed))

    def _pass(self, part: Part) -> None:
        """Move the place to the end of a part."""
        if _has_place(part):
            self._update_range(place=_place(part))

    # What Listrak shows.

    def lists_shown(self, shown: Collection[int], config: Config, now: datetime) -> list[SetAside]:
        """Note the lists that Listrak shows; drop and return what is gone for good."""

        def is_absent(owed: SetAside) -> bool | None:
            if owed.list_id is None or is_left_out(owed.list_id, None, config):
                return None
            if owed.list_id not in shown:
                return True
            return None if owed.parent_id is not None else False

        return self._note_absent(is_absent, now)

    def parents_shown(self, list_id: int, shown: Collection[int], now: datetime) -> list[SetAside]:
        """Note all messages or conversations of a list; drop and return what is gone for good."""

        def is_absent(owed: SetAside) -> bool | None:
            is_known = owed.list_id == list_id and owed.parent_id is not None
            return owed.parent_id not in shown if is_known else None

        return self._note_absent(is_absent, now)

    def _note_absent(
        self, is_absent: Callable[[SetAside], bool | None], now: datetime
    ) -> list[SetAside]:
        kept: list[SetAside] = []
        gone: list[SetAside] = []
        for owed in self.entry.set_aside:
            absent = is_absent(owed)
            if absent is not None:
                owed = replace(owed, absent_since=(owed.absent_since or now) if absent else None)
            (gone if absent and owed.is_gone(now) else kept).append(owed)
        self._update(set_aside=tuple(kept))
        return gone


def _is_same(owed: SetAside, new: SetAside, stream: Stream) -> bool:
    """Return whether two things set aside become one."""
    if (owed.list_id, owed.parent_id) != (new.list_id, new.parent_id):
        return False
    if owed.parent_id is not None:
        return True
    if not holds_parents(owed, stream):
        return (owed.start, owed.end) == (new.start, new.end)
    if None in (owed.sent_from, owed.sent_to, new.sent_from, new.sent_to):
        return True
    return owed.sent_from <= new.sent_to and new.sent_from <= owed.sent_to  # type: ignore[operator] # none is None


def _has_place(part: Part) -> bool:
    """Return whether a run can be resumed at a part: neither a batch nor a whole list is one."""
    return part.window is not None or part.stream.per is Per.CONVERSATION


def _place(part: Part, page: int | None = None, digest: str | None = None) -> Place:
    """Return the place at a page of a part; without a page, at its end."""
    window = part.end if part.is_window and page is None else part.window
    return Place(part.list_id, window, part.parent_id, page, digest)
