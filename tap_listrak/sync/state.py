"""What has been emitted of each stream, and what is still owed. Pure: events in, snapshots out.

A part of the account owes a range of time. A stream owes what lies between
its bookmark and the run's end; a list that the bookmark does not speak for owes everything since
`start_date`; what was set aside owes its own range. See docs/state.md for an example.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import NamedTuple

from tap_listrak.dates import EPOCH
from tap_listrak.streams import Stream
from tap_listrak.sync.tasks import FetchTask, WrittenPage
from tap_listrak.sync.turns import TurnOptions, Turns, all_asked

# What Listrak neither shows nor answers for so long is gone.
DAYS_TO_FORGET = 30


class BookmarkScope(NamedTuple):
    """What a bookmark speaks for: these lists since `start_date`, with test messages or without."""

    start_date: datetime
    list_ids: frozenset[int]
    include_test_messages: bool = True


class Checkpoint(NamedTuple):
    """How far the walk of one list (or of the account) has come: all before it was emitted.

    For the streams of a message it is a message, of which `date` is the SendDate; for those of a
    conversation it is that, without a date; for the others the window that starts at `date`.
    `written` is the last page written of it; None when all of it was (then `date` of a window is
    its end).
    """

    list_id: int | None
    date: datetime | None
    parent_id: int | None
    written: WrittenPage | None


class RangeProgress(NamedTuple):
    """A stream's range in this run, the config that it is asked under, and how far it has come.

    There is no one `start` where messages are asked in turns. `turn_options` are those that the
    range was begun under, also where it asks every message.
    """

    start_date: datetime
    start: datetime | None
    end: datetime
    include_test_messages: bool
    timezone: str | None
    interval_days: int | None = None
    finished_lists: frozenset[int] = frozenset()
    checkpoint: Checkpoint | None = None
    is_mirrored: bool = False
    turn_options: TurnOptions | None = None

    @property
    def version(self) -> int | None:
        """The version of a mirrored stream's RECORDs: its end, in milliseconds since 1970."""
        return version_at(self.end) if self.is_mirrored else None


def version_at(end: datetime) -> int:
    """Return the version of a range that ends then."""
    return (end - EPOCH) // timedelta(milliseconds=1)


class OwedPart(NamedTuple):
    """What tells one of a stream's deferred fetches from another; see tasks.Part."""

    list_id: int | None
    parent_id: int | None


class DeferredFetch(NamedTuple):
    """A part that failed and was set aside, with the range that it still owes.

    `written` is the last page written of it (of its first window, for what is asked in windows);
    None where none was. `failed_since` and `absent_since` are when its calls began to fail, and
    when Listrak's lists, messages or conversations began to lack it.
    """

    list_id: int | None
    parent_id: int | None
    start: datetime
    end: datetime
    written: WrittenPage | None = None
    failed_since: datetime | None = None
    absent_since: datetime | None = None

    @property
    def part(self) -> OwedPart:
        """What tells it from the stream's other deferred fetches."""
        return OwedPart(self.list_id, self.parent_id)

    def is_gone(self, now: datetime) -> bool:
        """Tell whether Listrak has not shown it for DAYS_TO_FORGET, nor failed for it in less.

        What did not fail was answered for, up to a range that has grown since.
        """
        long_ago = now - timedelta(days=DAYS_TO_FORGET)
        is_absent = self.absent_since is not None and self.absent_since <= long_ago
        return is_absent and (self.failed_since is None or self.failed_since <= long_ago)


@dataclass(frozen=True)
class StreamProgress:
    """All that is known of one stream: a snapshot that does not change.

    `turns` stands where messages are asked in turns: then `bookmark` is the oldest of its own.
    `version` is the one last activated of a stream that is mirrored.
    """

    stream: Stream
    bookmark: datetime | None = None
    scope: BookmarkScope | None = None
    range: RangeProgress | None = None
    deferred: tuple[DeferredFetch, ...] = ()
    turns: Turns | None = None
    version: int | None = None

    @property
    def active_range(self) -> RangeProgress:
        """The range of this run, once it has begun."""
        if self.range is None:
            raise ValueError(f"{self.stream.name} has no range")
        return self.range

    @property
    def last_end(self) -> datetime | None:
        """Where the last range ended that was complete."""
        return self.turns.recent if self.turns else self.bookmark

    def bookmark_of(self, list_id: int | None) -> datetime | None:
        """Return the bookmark, where it speaks for this list."""
        is_covered = self.scope is None or list_id is None or list_id in self.scope.list_ids
        return self.bookmark if is_covered else None

    @property
    def active_turns(self) -> Turns | None:
        """The turns, where this run's range asks by them."""
        return self.turns if self.active_range.start is None else None

    def waits(self, list_id: int, msg_id: int, send_date: datetime | None) -> bool:
        """Tell whether this run leaves a message of a list for a later one, in its turn."""
        turns = self.active_turns
        if turns is None or self.bookmark_of(list_id) is None:
            return False
        return turns.bookmark_of(msg_id, send_date, self.active_range.end) is None

    @cached_property
    def deferred_parts(self) -> frozenset[OwedPart]:
        """The parts that are set aside."""
        return frozenset(deferred.part for deferred in self.deferred)


class StreamState:
    """The progress of one stream. Nothing else changes it; its methods are what can happen."""

    def __init__(self, progress: StreamProgress, *, is_known: bool) -> None:
        """Begin with what the state says; `is_known` is whether it says anything."""
        self._progress = progress
        self._is_known = is_known

    @property
    def is_known(self) -> bool:
        """Whether the state has something to say of this stream, be it that nothing is owed."""
        return self._is_known

    @property
    def progress(self) -> StreamProgress:
        """The snapshot of this moment."""
        return self._progress

    def _update(self, **changes: object) -> None:
        self._progress = replace(self._progress, **changes)  # type: ignore[arg-type] # any field's

    def _update_range(self, **changes: object) -> None:
        self._update(range=self._progress.active_range._replace(**changes))  # type: ignore[arg-type] # any field's

    # The range.

    def scope_pinned(self, list_ids: frozenset[int], start_date: datetime) -> None:
        """Let a bookmark without a scope (the published tap's) speak for the lists seen first."""
        if self._progress.bookmark and self._progress.scope is None:
            self._update(scope=BookmarkScope(start_date, list_ids))

    def range_dropped(self) -> None:
        """Forget an unfinished range of which nothing is to be asked any more."""
        self._update(range=None)

    def range_planned(self, progress: RangeProgress, scope: BookmarkScope | None) -> None:
        """Begin the range of this run."""
        self._is_known = True
        self._update(range=progress, scope=scope)

    def lists_finished(self, list_ids: frozenset[int]) -> None:
        """Note that all that this stream has of some lists was emitted or set aside."""
        progress = self._progress.active_range
        checkpoint = progress.checkpoint
        if checkpoint and checkpoint.list_id in list_ids:
            checkpoint = None
        finished = progress.finished_lists | list_ids
        self._update_range(finished_lists=finished, checkpoint=checkpoint)

    def version_activated(self) -> None:
        """Note that what the mirrored stream held before this range was given up."""
        self._update(version=self._progress.active_range.version)

    def range_finished(self) -> None:
        """Move the bookmark to the end of the range, all of which was emitted or set aside."""
        progress, turns = self._progress.active_range, self._progress.active_turns
        if self._progress.stream.replication_key:
            scope = BookmarkScope(
                progress.start_date, progress.finished_lists, progress.include_test_messages
            )
            if turns:
                turns = turns.asked_until(progress.end)
            elif progress.turn_options:
                turns = all_asked(progress.turn_options, progress.end)
            reached = turns.oldest if turns else progress.end
            bookmark = max(self._progress.bookmark or reached, reached)
            self._update(bookmark=bookmark, scope=scope, turns=turns)
        self._update(range=None)

    # Its tasks.

    def page_written(self, task: FetchTask, number: int, digest: str) -> None:
        """Note that the rows of a page were emitted."""
        written = WrittenPage(number, digest)
        if task.is_owed:
            self._change_deferred(task, start=task.start, written=written, failed_since=None)
        elif task.moves_checkpoint:
            self._update_range(checkpoint=_checkpoint(task, written))

    def task_finished(self, task: FetchTask) -> None:
        """Note that all rows of a task were emitted."""
        if not task.is_owed:
            self._pass(task, task.end)
            return
        owed = self._deferred(task)
        if task.end < owed.end:
            self._change_deferred(task, start=task.end, written=None, failed_since=None)
        else:
            kept = (each for each in self._progress.deferred if each is not owed)
            self._update(deferred=tuple(kept))

    def task_deferred(self, task: FetchTask, now: datetime) -> None:
        """Set aside what a task, and the windows after it, could not give."""
        if task.is_owed:
            owed = self._deferred(task)
            self._change_deferred(task, failed_since=owed.failed_since or now)
            return
        checkpoint = self._progress.active_range.checkpoint
        written = task.resume_at
        # The checkpoint is within this task only if a page of it was written.
        if (
            checkpoint
            and checkpoint.written
            and checkpoint == _checkpoint(task, checkpoint.written)
        ):
            written = checkpoint.written
        self._defer(task, written, now)

    def task_skipped(self, task: FetchTask) -> None:
        """Add this range to what is set aside of a part that is not asked again in this run."""
        self._defer(task, None, None)

    def parts_seen(
        self, present: set[OwedPart], absent: set[OwedPart], now: datetime
    ) -> list[DeferredFetch]:
        """Note which of the parts set aside Listrak still shows, and which it does not.

        What it has neither shown nor answered for in DAYS_TO_FORGET is dropped, and returned.
        """
        kept: list[DeferredFetch] = []
        dropped: list[DeferredFetch] = []
        for owed in self._progress.deferred:
            if owed.part in present:
                kept.append(owed._replace(absent_since=None))
            elif owed.part in absent:
                seen = owed._replace(absent_since=owed.absent_since or now)
                (dropped if seen.is_gone(now) else kept).append(seen)
            else:
                kept.append(owed)
        self._update(deferred=tuple(kept))
        return dropped

    def _pass(self, task: FetchTask, end: datetime) -> None:
        """Move the checkpoint behind a task, or behind all windows up to `end`."""
        if task.moves_checkpoint:
            self._update_range(checkpoint=_checkpoint(replace(task, start=end), None))

    def _defer(
        self, task: FetchTask, written: WrittenPage | None, failed_since: datetime | None
    ) -> None:
        start, end = task.start, self._progress.active_range.end
        new = DeferredFetch(task.list_id, task.parent_id, start, end, written, failed_since)
        known = [each for each in self._progress.deferred if each.part == new.part]
        if not known:
            self._update(deferred=(*self._progress.deferred, new))
        for owed in known:
            wider = owed._replace(start=min(owed.start, start), end=max(owed.end, end))
            if (wider.start, wider.end) != (owed.start, owed.end):
                # The pages of another range are other pages.
                wider = wider._replace(written=None)
            self._replace_deferred(owed, wider)
        self._pass(task, end)

    def _deferred(self, task: FetchTask) -> DeferredFetch:
        return next(
            each for each in self._progress.deferred if each.part == (task.list_id, task.parent_id)
        )

    def _change_deferred(self, task: FetchTask, **changes: object) -> None:
        owed = self._deferred(task)
        self._replace_deferred(owed, owed._replace(**changes))  # type: ignore[arg-type] # any field's

    def _replace_deferred(self, old: DeferredFetch, new: DeferredFetch) -> None:
        deferred = tuple(new if each is old else each for each in self._progress.deferred)
        self._update(deferred=deferred)


def _checkpoint(task: FetchTask, written: WrittenPage | None) -> Checkpoint:
    """Return the checkpoint behind a page of a task; without a page, behind all of it."""
    date = task.start if task.parent_id is None else task.send_date
    return Checkpoint(task.list_id, date, task.parent_id, written)
