"""The walk over the account: what is asked, and in which order.

Lists by ListID; of each list its messages, window by window, each window's by SendDate and MsgID;
of each message its streams; then what is asked of many of its messages at once, what is asked by
list, and its conversations by ConversationID, of each its streams. At last what is asked of the
account. The order depends on the account alone, so that a checkpoint means the same in every run.

A message whose SendDate lies outside the window that it came in (or that has none) stands outside
this order: it is asked where it is found, moves no checkpoint, and is asked again on resuming.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tap_listrak.config import Config
from tap_listrak.dates import FIRST_INSTANT, parse_instant, windows
from tap_listrak.listrak.client import ParentRow
from tap_listrak.streams import CONVERSATIONS, LISTS, MESSAGES, Stream
from tap_listrak.sync.ranges import start_behind
from tap_listrak.sync.state import Checkpoint, OwedPart, StreamProgress
from tap_listrak.sync.tasks import (
    FetchTask,
    ListFinished,
    Need,
    PageFetched,
    ParentsListed,
    Step,
    Steps,
    TaskFinished,
    TaskSkipped,
    WindowStarted,
)

# What one call of message_analytics may ask, as Listrak says.
MAX_BATCH = 2500


@dataclass(frozen=True)
class Parent:
    """A message or conversation as the walk sees it.

    A conversation has no date that orders it; a message `is_in_order` unless its SendDate lies
    outside its window.
    """

    id: int
    send_date: datetime | None
    is_in_order: bool
    row: ParentRow

    @property
    def order(self) -> tuple[datetime, int]:
        """Where it stands among the messages of its window, or the conversations of its list."""
        return self.send_date or FIRST_INSTANT, self.id


def owed_tasks(
    progress_by_stream: Mapping[Stream, StreamProgress],
    list_ids: frozenset[int] | None,
    interval_days: int,
) -> Iterator[FetchTask]:
    """Return the tasks that earlier runs set aside, of these lists (None: of all)."""
    for stream, progress in progress_by_stream.items():
        for owed in progress.deferred:
            if list_ids is None or owed.list_id is None or owed.list_id in list_ids:
                task = FetchTask(
                    stream,
                    owed.list_id,
                    owed.start,
                    owed.end,
                    parent_id=owed.parent_id,
                    resume_at=owed.written,
                    is_owed=True,
                )
                yield from task.split(interval_days)


class Walk:
    """One run's walk over these lists, for streams whose range has begun.

    It runs ahead of what is emitted, so it goes by snapshots: what stood where as it began.
    """

    def __init__(
        self,
        config: Config,
        progress_by_stream: Mapping[Stream, StreamProgress],
        progress_before: Mapping[Stream, StreamProgress],
        list_ids: tuple[int, ...],
        end: datetime,
    ) -> None:
        """Plan the walk; `progress_before` is what stood before what is owed was asked for."""
        self._config = config
        self._progress = progress_by_stream
        self._progress_before = progress_before
        self._end = end
        self.list_ids = [list_id for list_id in list_ids if self._pending(list_id)]

    def upcoming(self) -> Iterator[FetchTask]:
        """Return the tasks of messages and conversations in the walk's order, to fetch ahead."""
        for list_id in self.list_ids:
            yield from self._windows(list_id)
            yield from self._conversations_task(list_id)

    def steps(self) -> Steps:
        """Yield all that is to be asked and handed on, in order."""
        for list_id in self.list_ids:
            yield from self._messages(list_id)
            for progress in self._pending(list_id):
                if progress.stream.is_by_list:
                    yield from self._in_windows(progress, list_id)
            yield from self._conversations(list_id)
            yield ListFinished(list_id)
        for progress in self._progress.values():
            if progress.stream.is_by_account:
                yield from self._in_windows(progress, None)

    def _pending(self, list_id: int) -> list[StreamProgress]:
        """Return the streams that have yet to walk a list."""
        return [
            progress
            for stream, progress in self._progress.items()
            if stream is not LISTS
            and not stream.is_by_account
            and list_id not in progress.active_range.finished_lists
        ]

    def _checkpoint(self, progress: StreamProgress, list_id: int | None) -> Checkpoint | None:
        """Return where the last run stopped, if that is in this list."""
        checkpoint = progress.active_range.checkpoint
        return checkpoint if checkpoint and checkpoint.list_id == list_id else None

    def _start(self, progress: StreamProgress, bookmark: datetime | None) -> datetime:
        """Return where the range starts of what was asked up to `bookmark`; None: never."""
        active = progress.active_range
        if bookmark is None:
            return active.start_date
        lookback = timedelta(days=self._config.lookback_days)
        return active.start or start_behind(bookmark, active.start_date, active.end, lookback)

    # Messages, by windows of `interval_days`.

    def _windows(self, list_id: int) -> Iterator[FetchTask]:
        """Return the windows in which a stream has yet to be asked something."""
        pending = [
            progress
            for progress in self._pending(list_id)
            if MESSAGES in (progress.stream, progress.stream.parent)
        ]
        for start, end in windows(self._config.start_date, self._end, self._config.interval_days):
            window = FetchTask(MESSAGES, list_id, start, end)
            if not all(self._is_done(window, progress) for progress in pending):
                yield window

    def _is_done(self, window: FetchTask, progress: StreamProgress) -> bool:
        """Tell whether all that a stream has of a window was emitted before."""
        checkpoint = self._checkpoint(progress, window.list_id)
        if checkpoint is None or checkpoint.date is None:
            return False
        if progress.stream is MESSAGES:
            return window.end <= checkpoint.date
        return window.end < checkpoint.date

    def _messages(self, list_id: int) -> Steps:
        pending = self._pending(list_id)
        batched = [each for each in pending if each.stream.is_by_batch]
        in_turns = [each for each in pending if each.active_turns]
        owed, seen = self._owed(MESSAGES, list_id), set[int]()
        last: frozenset[int] = frozenset()
        first_start = None
        for window in self._windows(list_id):
            first_start = first_start or window.start
            fetched = yield Need.NEXT_PARENT
            messages = _in_order(fetched, last)
            last = frozenset(row.record.MsgID for row in fetched.page.parents)
            seen |= last if batched else last & owed
            asked = [each for each in messages if not self._waits(in_turns, list_id, each)]
            msg_ids = tuple(message.id for message in asked)
            yield WindowStarted(window, msg_ids, len(messages) - len(asked))
            owing = [
                progress
                for progress in pending
                if progress.stream is not MESSAGES or not self._is_done(window, progress)
            ]
            yield from self._of_parents(fetched, list_id, messages, owing)
        for progress in batched:
            yield from self._batches(progress, list_id, seen)
        is_whole = first_start == self._config.start_date
        yield from self._owed_and_unseen(MESSAGES, list_id, owed, owed & seen, is_whole=is_whole)

    def _waits(self, in_turns: list[StreamProgress], list_id: int, message: Parent) -> bool:
        """Tell whether one of these streams leaves a message for a later run, in its turn."""
        return any(
            each.waits(list_id, message.id, message.send_date)
            and not self._is_too_old(message.send_date, each.bookmark_of(list_id))
            for each in in_turns
        )

    def _of_parents(
        self,
        fetched: PageFetched,
        list_id: int,
        parents: list[Parent],
        pending: list[StreamProgress],
    ) -> Iterator[Step]:
        """Yield a page of messages or conversations, and what streams have of each."""
        stream = fetched.task.stream
        children = []
        for progress in pending:
            if progress.stream is stream:
                page = fetched.page.with_parents(tuple(parent.row for parent in parents))
                yield fetched._replace(page=page)
                yield TaskFinished(fetched.task)
            elif progress.stream.supplied_key and progress.stream.parent is stream:
                children.append(progress)
        shown = {getattr(row.record, stream.key_properties[0]) for row in fetched.page.parents}
        for progress in children:
            yield from self._cut_off(progress, fetched.task, list_id, shown)
        for parent in parents:
            for progress in children:
                yield from self._of_parent(progress, list_id, parent)

    def _cut_off(
        self, progress: StreamProgress, window: FetchTask, list_id: int, shown: set[int]
    ) -> Iterator[Step]:
        """Yield the rest of what the last run stopped within, where it is not shown any more."""
        checkpoint = self._checkpoint(progress, list_id)
        if checkpoint is None or checkpoint.parent_id is None or checkpoint.written is None:
            return
        date = checkpoint.date
        if (
            checkpoint.parent_id in shown
            or not window.start <= (date or window.start) <= window.end
        ):
            return
        start = self._start_of(progress, list_id, checkpoint.parent_id, date)
        if start is not None:
            yield FetchTask(
                progress.stream,
                list_id,
                start,
                progress.active_range.end,
                parent_id=checkpoint.parent_id,
                send_date=date,
                resume_at=checkpoint.written,
            )

    def _of_parent(self, progress: StreamProgress, list_id: int, parent: Parent) -> Iterator[Step]:
        """Yield the task that a stream owes of a parent, unless it was emitted before or waits."""
        stream, active = progress.stream, progress.active_range
        checkpoint = self._checkpoint(progress, list_id)
        resume_at = None
        if checkpoint and parent.is_in_order:
            reached = checkpoint.date or FIRST_INSTANT, checkpoint.parent_id or 0
            if parent.order < reached or (parent.order == reached and not checkpoint.written):
                return
            if parent.order == reached:
                resume_at = checkpoint.written
        start = self._start_of(progress, list_id, parent.id, parent.send_date)
        if start is None:
            return
        # The counts are to date, so they say little about a range that starts later.
        since = parent.send_date or active.start_date
        is_whole = not stream.has_date_range or start <= since
        task = FetchTask(
            stream,
            list_id,
            start,
            active.end,
            parent_id=parent.id,
            send_date=parent.send_date,
            expected_rows=getattr(parent.row.record, stream.count_column)
            if stream.count_column and is_whole
            else None,
            resume_at=resume_at,
            moves_checkpoint=parent.is_in_order,
        )
        is_owed = OwedPart(list_id, parent.id) in progress.deferred_parts
        yield TaskSkipped(task) if is_owed else task

    def _start_of(
        self, progress: StreamProgress, list_id: int, parent_id: int, send_date: datetime | None
    ) -> datetime | None:
        """Return where the range of a message or conversation starts; None: it is not asked.

        That is a message that waits for its turn, or was sent too long ago.
        """
        bookmark, turns = progress.bookmark_of(list_id), progress.active_turns
        if bookmark and turns:
            bookmark = turns.bookmark_of(parent_id, send_date, progress.active_range.end)
            if bookmark is None:
                return None
        start = self._start(progress, bookmark)
        if progress.stream.is_of_new_messages:
            return start if send_date is None or start <= send_date else None
        return None if self._is_too_old(send_date, bookmark) else start

    def _is_too_old(self, send_date: datetime | None, bookmark: datetime | None) -> bool:
        """Tell whether `activity_window_days` leaves out a message asked from a bookmark."""
        days = self._config.activity_window_days
        if days and bookmark and send_date:
            return bookmark - send_date > timedelta(days=days)
        return False

    # Messages, many at once.

    def _batches(
        self, progress: StreamProgress, list_id: int, msg_ids: Iterable[int]
    ) -> Iterator[Step]:
        """Yield the tasks of a stream that is asked of many messages in one call."""
        start, end = progress.active_range.start_date, progress.active_range.end
        asked = []
        for msg_id in sorted(msg_ids):
            if OwedPart(list_id, msg_id) in progress.deferred_parts:
                yield TaskSkipped(_outside(progress.stream, list_id, start, end, msg_id))
            else:
                asked.append(msg_id)
        task = FetchTask(progress.stream, list_id, start, end, moves_checkpoint=False)
        for first in range(0, len(asked), MAX_BATCH):
            yield task.of_messages(tuple(asked[first : first + MAX_BATCH]))

    # Conversations, which come at once.

    def _conversations_task(self, list_id: int) -> Iterator[FetchTask]:
        """Return the task of a list's conversations, if a stream has yet to be asked by them."""
        for progress in self._pending(list_id):
            if CONVERSATIONS in (progress.stream, progress.stream.parent):
                start, end = self._config.start_date, self._end
                yield FetchTask(CONVERSATIONS, list_id, start, end, moves_checkpoint=False)
                return

    def _conversations(self, list_id: int) -> Steps:
        for _ in self._conversations_task(list_id):
            fetched = yield Need.NEXT_PARENT
            rows = {row.record.ConversationID: row for row in fetched.page.parents}
            parents = [Parent(key, None, is_in_order=True, row=rows[key]) for key in sorted(rows)]
            yield from self._of_parents(fetched, list_id, parents, self._pending(list_id))
            owed = self._owed(CONVERSATIONS, list_id)
            shown = owed & rows.keys()
            yield from self._owed_and_unseen(CONVERSATIONS, list_id, owed, shown, is_whole=True)

    # What was set aside of messages or conversations.

    def _owed(self, stream: Stream, list_id: int) -> set[int]:
        """Return the messages or conversations of which an earlier run set something aside."""
        return {
            owed.parent_id
            for progress in self._progress_before.values()
            for owed in progress.deferred
            if progress.stream.parent is stream and owed.list_id == list_id
            if owed.parent_id is not None
        }

    def _owed_and_unseen(
        self, stream: Stream, list_id: int, owed: set[int], shown: set[int], *, is_whole: bool
    ) -> Iterator[Step]:
        """Yield what those that were owed, and are not shown now, owe of this range.

        Where all of the list's were seen, yield also which of the owed are shown and which not.
        """
        for progress in self._pending(list_id):
            if progress.stream.parent is stream:
                yield from self._unseen(progress, list_id, shown)
        if is_whole:
            yield ParentsListed(stream, list_id, frozenset(shown), frozenset(owed - shown))

    def _unseen(
        self, progress: StreamProgress, list_id: int, shown: set[int]
    ) -> Iterator[TaskSkipped]:
        end = progress.active_range.end
        for owed in self._progress_before[progress.stream].deferred:
            if owed.list_id != list_id or owed.parent_id is None or owed.parent_id in shown:
                continue
            start = self._start_of(progress, list_id, owed.parent_id, None)
            if start is not None and owed.end < end:
                yield TaskSkipped(_outside(progress.stream, list_id, start, end, owed.parent_id))

    # What is asked by list, or of the account, in windows or at once.

    def _in_windows(self, progress: StreamProgress, list_id: int | None) -> Iterator[Step]:
        start, end = self._start(progress, progress.bookmark_of(list_id)), progress.active_range.end
        checkpoint = self._checkpoint(progress, list_id)
        resume_at = None
        if checkpoint and checkpoint.date:
            if checkpoint.written is None and checkpoint.date >= end:
                return
            start, resume_at = checkpoint.date, checkpoint.written
        task = FetchTask(
            progress.stream,
            list_id,
            start,
            end,
            resume_at=resume_at,
            moves_checkpoint=progress.stream.has_date_range,
        )
        if OwedPart(list_id, None) in progress.deferred_parts:
            yield TaskSkipped(task)
        else:
            yield from task.split(self._config.interval_days)


def _outside(
    stream: Stream, list_id: int, start: datetime, end: datetime, parent_id: int
) -> FetchTask:
    """Return a task that stands outside the walk's order."""
    return FetchTask(stream, list_id, start, end, parent_id=parent_id, moves_checkpoint=False)


def _in_order(fetched: PageFetched, known: frozenset[int]) -> list[Parent]:
    """Return a window's messages in the walk's order, without those of the window before.

    Windows share their bounds; a message seen in two is taken once.
    """
    window, messages = fetched.task, {}
    for row in fetched.page.parents:
        msg_id, text = row.record.MsgID, row.record.SendDate
        send_date = parse_instant(text) if text else None
        is_in_order = send_date is not None and window.start <= send_date <= window.end
        if msg_id not in known:
            messages[msg_id] = Parent(msg_id, send_date, is_in_order, row)
    return sorted(messages.values(), key=lambda message: message.order)
