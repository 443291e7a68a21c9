"""The walk over the account: what is asked, and in which order.

Lists by ListID; of each list its messages, window by window, each window's by SendDate and MsgID;
of each message its streams; then the list's contacts by windows. The order depends on the account
alone, so that a checkpoint means the same in every run.

A message whose SendDate lies outside the window that it came in (or that has none) stands outside
this order: it is asked where it is found, moves no checkpoint, and is asked again on resuming.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tap_listrak.config import Config
from tap_listrak.dates import FIRST_INSTANT, parse_instant, windows
from tap_listrak.listrak.client import ParentRow
from tap_listrak.streams import LISTS, MESSAGES, Stream
from tap_listrak.sync.state import Checkpoint, OwedPart, StreamProgress
from tap_listrak.sync.tasks import (
    FetchTask,
    ListFinished,
    MessagesListed,
    Need,
    PageFetched,
    Step,
    Steps,
    TaskFinished,
    TaskSkipped,
    WindowStarted,
)


@dataclass(frozen=True)
class Message:
    """A message as the walk sees it; `is_in_order` unless it lies outside its window."""

    msg_id: int
    send_date: datetime | None
    is_in_order: bool
    row: ParentRow

    @property
    def order(self) -> tuple[datetime, int]:
        """Where it stands among the messages of its window."""
        return self.send_date or FIRST_INSTANT, self.msg_id


def owed_tasks(
    progress_by_stream: Mapping[Stream, StreamProgress], list_ids: frozenset[int] | None
) -> Iterator[FetchTask]:
    """Return the tasks that earlier runs set aside, of these lists (None: of all)."""
    for stream, progress in progress_by_stream.items():
        for owed in progress.deferred:
            if list_ids is None or owed.list_id in list_ids:
                task = FetchTask(
                    stream,
                    owed.list_id,
                    owed.start,
                    owed.end,
                    msg_id=owed.msg_id,
                    resume_at=owed.written,
                    is_owed=True,
                )
                yield from task.split()


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
        """Return the windows of messages in the walk's order, to be fetched ahead."""
        for list_id in self.list_ids:
            yield from self._windows(list_id)

    def steps(self) -> Steps:
        """Yield all that is to be asked and handed on, in order."""
        for list_id in self.list_ids:
            yield from self._messages(list_id)
            for progress in self._pending(list_id):
                if progress.stream.is_by_list:
                    yield from self._of_list(progress, list_id)
            yield ListFinished(list_id)

    def _pending(self, list_id: int) -> list[StreamProgress]:
        """Return the streams that have yet to walk a list."""
        return [
            progress
            for stream, progress in self._progress.items()
            if stream is not LISTS and list_id not in progress.active_range.finished_lists
        ]

    def _checkpoint(self, progress: StreamProgress, list_id: int) -> Checkpoint | None:
        """Return where the last run stopped, if that is in this list."""
        checkpoint = progress.active_range.checkpoint
        return checkpoint if checkpoint and checkpoint.list_id == list_id else None

    # Messages, by windows of `interval_days`.

    def _windows(self, list_id: int) -> Iterator[FetchTask]:
        """Return the windows in which a stream has yet to be asked something."""
        pending = [
            progress
            for progress in self._pending(list_id)
            if progress.stream is MESSAGES or progress.stream.is_by_message
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
        owed, seen = self._owed_messages(list_id), set[int]()
        last: frozenset[int] = frozenset()
        first_start = None
        for window in self._windows(list_id):
            first_start = first_start or window.start
            fetched = yield Need.NEXT_PARENT
            messages = _in_order(fetched, last)
            last = frozenset(row.record.MsgID for row in fetched.page.parents)
            seen |= last & owed
            yield from self._of_window(fetched, messages)
        yield from self._unseen(list_id, seen)
        if first_start == self._config.start_date:
            yield MessagesListed(list_id, frozenset(seen), frozenset(owed - seen))

    def _owed_messages(self, list_id: int) -> set[int]:
        """Return the messages of a list of which an earlier run set something aside."""
        return {
            owed.msg_id
            for progress in self._progress_before.values()
            for owed in progress.deferred
            if owed.list_id == list_id and owed.msg_id is not None
        }

    def _unseen(self, list_id: int, seen: set[int]) -> Iterator[Step]:
        """Yield what a message that was owed, and is not shown now, owes of this range."""
        for progress in self._pending(list_id):
            start, end = progress.window_start(list_id), progress.active_range.end
            for owed in self._progress_before[progress.stream].deferred:
                is_unseen = owed.msg_id is not None and owed.msg_id not in seen
                if owed.list_id == list_id and is_unseen and owed.end < end:
                    yield TaskSkipped(
                        FetchTask(
                            progress.stream,
                            list_id,
                            start,
                            end,
                            msg_id=owed.msg_id,
                            moves_checkpoint=False,
                        )
                    )

    def _of_window(self, fetched: PageFetched, messages: list[Message]) -> Steps:
        window = fetched.task
        pending = self._pending(window.list_id)
        yield WindowStarted(window, tuple(message.msg_id for message in messages))
        for progress in pending:
            if progress.stream is MESSAGES and not self._is_done(window, progress):
                page = fetched.page.with_parents(tuple(message.row for message in messages))
                yield fetched._replace(page=page)
                yield TaskFinished(window)
        for message in messages:
            for progress in pending:
                if progress.stream.is_by_message:
                    yield from self._of_message(progress, window.list_id, message)

    def _of_message(
        self, progress: StreamProgress, list_id: int, message: Message
    ) -> Iterator[Step]:
        """Yield the task that a stream owes of a message, unless it was emitted before."""
        stream, start = progress.stream, progress.window_start(list_id)
        checkpoint = self._checkpoint(progress, list_id)
        resume_at = None
        if checkpoint and checkpoint.date and message.is_in_order:
            reached = checkpoint.date, checkpoint.msg_id or 0
            if message.order < reached or (message.order == reached and not checkpoint.written):
                return
            if message.order == reached:
                resume_at = checkpoint.written
        if message.send_date and self._is_too_old(message.send_date, progress, list_id):
            return
        # The counts are to date, so they say little about a range that starts later.
        is_whole = not stream.has_date_range or not message.send_date or start <= message.send_date
        task = FetchTask(
            stream,
            list_id,
            start,
            progress.active_range.end,
            msg_id=message.msg_id,
            send_date=message.send_date,
            expected_rows=getattr(message.row.record, stream.count_column)
            if stream.count_column and is_whole
            else None,
            resume_at=resume_at,
            moves_checkpoint=message.is_in_order,
        )
        is_owed = OwedPart(list_id, message.msg_id) in progress.deferred_parts
        yield TaskSkipped(task) if is_owed else task

    def _is_too_old(self, sent: datetime, progress: StreamProgress, list_id: int) -> bool:
        """Tell whether a message was sent too long ago to be asked for a stream's rows."""
        if not progress.stream.has_date_range:
            return sent < progress.window_start(list_id)
        days, bookmark = self._config.activity_window_days, progress.bookmark_of(list_id)
        return bool(days and bookmark and bookmark - sent > timedelta(days=days))

    # What is asked by list, in windows.

    def _of_list(self, progress: StreamProgress, list_id: int) -> Iterator[Step]:
        start, end = progress.window_start(list_id), progress.active_range.end
        checkpoint = self._checkpoint(progress, list_id)
        resume_at = None
        if checkpoint and checkpoint.date:
            if checkpoint.written is None and checkpoint.date >= end:
                return
            start, resume_at = checkpoint.date, checkpoint.written
        task = FetchTask(progress.stream, list_id, start, end, resume_at=resume_at)
        if OwedPart(list_id, None) in progress.deferred_parts:
            yield TaskSkipped(task)
        else:
            yield from task.split()


def _in_order(fetched: PageFetched, known: frozenset[int]) -> list[Message]:
    """Return a window's messages in the walk's order, without those of the window before.

    Windows share their bounds; a message seen in two is taken once.
    """
    window, messages = fetched.task, {}
    for row in fetched.page.parents:
        msg_id, text = row.record.MsgID, row.record.SendDate
        send_date = parse_instant(text) if text else None
        is_in_order = send_date is not None and window.start <= send_date <= window.end
        if msg_id not in known:
            messages[msg_id] = Message(msg_id, send_date, is_in_order, row)
    return sorted(messages.values(), key=lambda message: message.order)
