"""One run: pages are written as they come in their turn, and the state moves behind them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from urllib.parse import urlsplit

from tap_listrak import __version__
from tap_listrak.catalog import Selection
from tap_listrak.config import Config
from tap_listrak.dates import format_instant
from tap_listrak.errors import OutputError
from tap_listrak.listrak.client import ListrakClient, Page
from tap_listrak.listrak.faults import ListrakError
from tap_listrak.singer_output import SingerOutput
from tap_listrak.streams import LISTS, Stream, Table
from tap_listrak.sync.failures import FailurePolicy, can_defer
from tap_listrak.sync.fetcher import Fetcher
from tap_listrak.sync.lists import choose_lists
from tap_listrak.sync.ranges import WARNINGS, plan_range
from tap_listrak.sync.report import Report
from tap_listrak.sync.state import OwedPart, StreamProgress, StreamState
from tap_listrak.sync.state_file import SyncState
from tap_listrak.sync.tasks import (
    FetchTask,
    ListFinished,
    Outcome,
    PageFetched,
    ParentsListed,
    Steps,
    TaskFinished,
    TaskSkipped,
    WindowStarted,
)
from tap_listrak.sync.walk import Walk, owed_tasks
from tap_listrak.sync.workers import Workers

LOGGER = logging.getLogger(__name__)

SECONDS_BETWEEN_STATES = 1.0


class Runner:
    """Emits everything selected, from the state's bookmarks to the run's end."""

    def __init__(
        self,
        config: Config,
        tables: Mapping[Stream, Table],
        selection: Selection,
        state: SyncState,
        client: ListrakClient,
        output: SingerOutput,
        workers: Workers,
        report: Report,
        now: datetime,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._tables = tables
        self._selection = selection
        self._state = state
        self._client = client
        self._output = output
        self._workers = workers
        self._report = report
        self._now = now
        self._monotonic = monotonic
        self._policy = FailurePolicy()
        # The streams that have something to do, once it is known that there are lists.
        self._active: dict[Stream, StreamState] = {}
        self._last_state_at = float("-inf")
        self._state_is_due = False

    def run(self) -> None:
        """Emit everything. Raises TapError; then a last STATE stands behind what was emitted."""
        try:
            lists = self._fetch_lists()
            shown = frozenset(parent.record.ListID for parent in lists.parents)
            list_ids = choose_lists(shown, self._config.list_ids)
            end = self._begin(frozenset(list_ids))
            self._write_lists(lists, list_ids)
            before = self._snapshots()
            self._retry_deferred(frozenset(list_ids), shown)
            walk = Walk(self._config, self._snapshots(), before, list_ids, end)
            self._report.set_lists(len(walk.list_ids))
            self._handle_all(walk.steps(), walk.upcoming())
            for state in self._active.values():
                self._activate_version(state)
                state.range_finished()
            self._write_state()
        except OutputError:
            raise
        except BaseException:
            # A state that knows nothing must not take the place of one that is kept somewhere.
            if self._state.is_known:
                self._write_state()
            raise
        finally:
            self._report.close(self._state.deferred_counts())
        self._raise_if(self._policy.error_at_the_end())

    def _snapshots(self) -> dict[Stream, StreamProgress]:
        return {stream: state.progress for stream, state in self._active.items()}

    def _deferred_count(self) -> int:
        return sum(self._state.deferred_counts().values())

    def _raise_if(self, error: ListrakError | None) -> None:
        if error:
            raise error

    # Lists, by which all else is asked.

    def _fetch_lists(self) -> Page:
        task = FetchTask(LISTS, None, self._config.start_date, self._now, moves_checkpoint=False)
        for outcome in self._outcomes(_steps([task])):
            if isinstance(outcome, PageFetched):
                return outcome.page
            if isinstance(outcome, TaskFinished) and outcome.error:
                raise outcome.error
            self._tick(is_waiting=outcome is None)
        raise AssertionError("a task gives a page or an error")

    def _write_lists(self, lists: Page, list_ids: tuple[int, ...]) -> None:
        state = self._active.get(LISTS)
        if state and not state.progress.active_range.finished_lists.issuperset(list_ids):
            rows = {parent.record.ListID: parent for parent in lists.parents}
            self._write(LISTS, lists.with_parents(tuple(rows[list_id] for list_id in list_ids)))
            state.lists_finished(frozenset(list_ids))
            self._tick(is_waiting=False)

    # The beginning.

    def _begin(self, list_ids: frozenset[int]) -> datetime:
        """Plan the range of each stream, and write what stands before the first RECORD.

        Return the run's end: that of a range that was left unfinished, or now.
        """
        for state in self._state.streams.values():
            state.scope_pinned(list_ids, self._config.start_date)
        self._state.drop_outdated_ranges(self._config.start_date)
        for stream, columns in self._selection.items():
            self._output.write_schema(self._tables[stream], columns)
        self._write_state()
        self._last_state_at = float("-inf")  # the first page is worth a STATE at once
        unfinished_end = self._state.unfinished_end(self._selection)
        end = unfinished_end or self._now
        for stream in self._selection:
            state = self._state.streams[stream]
            is_resuming = unfinished_end is not None
            plan = plan_range(state.progress, self._config, end, is_resuming=is_resuming)
            if plan.reason in WARNINGS:
                LOGGER.warning(WARNINGS[plan.reason], stream.name)
            if plan.range:
                state.range_planned(plan.range, plan.scope)
                self._active[stream] = state
        LOGGER.info(
            "tap-listrak %s at %s: %d streams, up to %s%s.",
            __version__,
            urlsplit(self._config.wsdl_url).hostname,
            len(self._active),
            format_instant(end),
            ", where an earlier run was to end" if unfinished_end else "",
        )
        return end

    def _retry_deferred(self, chosen: frozenset[int], shown: frozenset[int]) -> None:
        """Ask for what earlier runs set aside; a list that `list_ids` leaves out keeps its own."""
        only_lists = None if self._config.list_ids is None else chosen
        interval_days = self._config.interval_days
        self._handle_all(_steps(owed_tasks(self._snapshots(), only_lists, interval_days)))
        self._raise_if(self._policy.error_of_too_many(self._deferred_count()))
        for state in self._active.values():
            parts = state.progress.deferred_parts
            is_shown = {part: part.list_id is None or part.list_id in shown for part in parts}
            # Of a message in a list that is shown, the list of its messages will tell.
            present = {part for part in parts if is_shown[part] and part.parent_id is None}
            absent = {part for part in parts if not is_shown[part]}
            self._parts_seen(state, present, absent)

    # What comes, in its turn.

    def _outcomes(
        self, steps: Steps, upcoming: Iterable[FetchTask] = ()
    ) -> Iterator[Outcome | None]:
        self._fetcher = Fetcher(self._fetch, self._workers, steps, iter(upcoming))
        return self._fetcher.outcomes()

    def _fetch(self, task: FetchTask, page: int) -> Page:
        return self._client.fetch(task.request(self._config, page))

    def _handle_all(self, steps: Steps, upcoming: Iterable[FetchTask] = ()) -> None:
        for outcome in self._outcomes(steps, upcoming):
            if outcome is not None:
                self._handle(outcome)
                self._state_is_due = True
            self._tick(is_waiting=outcome is None)

    def _handle(self, outcome: Outcome) -> None:
        if isinstance(outcome, PageFetched):
            self._page_fetched(outcome)
        elif isinstance(outcome, TaskFinished):
            if outcome.error is None:
                self._policy.succeeded(outcome.task)
                self._state.streams[outcome.task.stream].task_finished(outcome.task)
            else:
                self._task_failed(outcome.task, outcome.error)
        elif isinstance(outcome, TaskSkipped):
            self._active[outcome.task.stream].task_skipped(outcome.task)
        elif isinstance(outcome, WindowStarted):
            self._report.set_window(outcome)
        elif isinstance(outcome, ParentsListed):
            self._parents_listed(outcome)
        else:
            self._list_finished(outcome)

    def _page_fetched(self, fetched: PageFetched) -> None:
        task, number, page = fetched
        self._write(task.stream, page)
        self._report.set_position(task)
        self._state.streams[task.stream].page_written(task, number, page.digest)

    def _task_failed(self, task: FetchTask, error: BaseException) -> None:
        """Set a task's part aside and go on, or end the run; of a batch, ask for both halves."""
        if not can_defer(error, task):
            raise error
        if task.batch:
            LOGGER.warning("Asked again in two halves: %s", error)
            self._fetcher.insert(task.halves())
            return
        LOGGER.warning("Set aside, to be asked for first in the next run: %s", error)
        self._fetcher.abandon(task.part)
        self._state.streams[task.stream].task_deferred(task, self._now)
        self._raise_if(self._policy.failed(task, error, self._deferred_count()))

    def _parents_listed(self, listed: ParentsListed) -> None:
        present = {OwedPart(listed.list_id, each) for each in listed.shown}
        absent = {OwedPart(listed.list_id, each) for each in listed.absent}
        for stream, state in self._active.items():
            if stream.parent is listed.stream:
                self._parts_seen(state, present, absent)

    def _list_finished(self, finished: ListFinished) -> None:
        for stream, state in self._active.items():
            if not stream.is_by_account:
                state.lists_finished(frozenset([finished.list_id]))
        self._report.list_finished()
        self._write_state()

    def _parts_seen(
        self, state: StreamState, present: set[OwedPart], absent: set[OwedPart]
    ) -> None:
        for owed in state.parts_seen(present, absent, self._now):
            LOGGER.warning(
                "%s of %s, which was set aside, is given up: Listrak has neither shown nor "
                "answered for it since %s.",
                state.progress.stream.name,
                _name_part(state.progress.stream, owed.part),
                owed.absent_since and format_instant(owed.absent_since),
            )

    # What is written.

    def _write(self, stream: Stream, page: Page) -> None:
        version = self._active[stream].progress.active_range.version
        self._output.write_records(stream.name, page.lines, page.received_at, version)
        self._report.count_records(stream, page.record_count, page.issues)
        self._state_is_due = True

    def _activate_version(self, state: StreamState) -> None:
        """Let the target delete what a mirrored stream does not hold any more, if all of it came.

        What Listrak does not show any more is no part of it, even if it was set aside.
        """
        progress = state.progress
        version = progress.active_range.version
        if version is None:
            return
        missing = [owed for owed in progress.deferred if owed.absent_since is None]
        if missing:
            LOGGER.warning(
                "%s: a part of it is set aside, so deletions wait until all of it has come.",
                progress.stream.name,
            )
        else:
            self._output.write_activate_version(progress.stream.name, version)
            state.version_activated()

    def _tick(self, *, is_waiting: bool) -> None:
        now = self._monotonic()
        if self._state_is_due and now - self._last_state_at >= SECONDS_BETWEEN_STATES:
            self._write_state()
        self._report.tick(now, is_waiting=is_waiting)

    def _write_state(self) -> None:
        self._last_state_at, self._state_is_due = self._monotonic(), False
        self._output.write_state(self._state.as_dict())


def _name_part(stream: Stream, part: OwedPart) -> str:
    if part.parent_id is None:
        return "the account" if part.list_id is None else f"list {part.list_id}"
    return f"{'conversation' if stream.is_by_conversation else 'message'} {part.parent_id}"


def _steps(tasks: Iterable[FetchTask]) -> Steps:
    yield from tasks
