"""One run: two passes, in which pages are written as they come and the state follows them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from tap_listrak import __version__
from tap_listrak.catalog import Selection
from tap_listrak.config import Config
from tap_listrak.dates import format_instant
from tap_listrak.errors import OutputError
from tap_listrak.listrak.client import ListrakClient
from tap_listrak.listrak.faults import ListrakError
from tap_listrak.listrak.pages import Page
from tap_listrak.singer_output import SingerOutput
from tap_listrak.streams import LISTS, Per, Stream, Table
from tap_listrak.sync.entry import SetAside
from tap_listrak.sync.failures import error_of_stopped
from tap_listrak.sync.fetch import Fetcher
from tap_listrak.sync.parts import (
    ListFinished,
    Outcome,
    PageFetched,
    Part,
    PartFinished,
    Section,
)
from tap_listrak.sync.plan import (
    changes_since,
    choose_lists,
    continued_range,
    end_of_run,
    fit_entry,
    next_range,
    pin_covers,
)
from tap_listrak.sync.report import Report
from tap_listrak.sync.state import Held, StreamState
from tap_listrak.sync.state_file import write_state
from tap_listrak.sync.walk import lists_to_walk, set_aside_parts, walk
from tap_listrak.workers import Workers

LOGGER = logging.getLogger(__name__)

SECONDS_BETWEEN_STATES = 1.0


class Runner:
    """Emits everything selected: what earlier runs left, then all streams up to now."""

    def __init__(
        self,
        config: Config,
        tables: Mapping[Stream, Table],
        selection: Selection,
        state: tuple[bytes, dict[Stream, StreamState]],
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
        self._given, self._states = state
        self._client = client
        self._output = output
        self._workers = workers
        self._report = report
        self._now = now
        self._monotonic = monotonic
        self._stopped: dict[Stream, ListrakError] = {}
        self._retried: tuple[Part, ...] = ()
        self._waiting = 0
        self._has_begun = any(each.is_known for each in self._states.values())
        self._last_state_at = float("-inf")
        self._state_is_due = False

    def run(self) -> None:
        """Emit everything. Raises TapError, after a last STATE of what was emitted."""
        try:
            lists = self._fetch_lists()
            shown = frozenset(parent.record.ListID for parent in lists.parents)
            list_ids = choose_lists(shown, self._config.list_ids)
            end = end_of_run(self._now, self._client.clock_offset)
            self._begin(list_ids, end)
            self._retry_set_aside(shown, end)
            self._finish_ranges(list_ids, end)
            self._begin_ranges(end)
            self._write_lists(lists, list_ids)
            self._walk([state for state in self._active() if state.entry.unfinished], list_ids)
            self._end_ranges(self._active())
            self._write_state()
        except OutputError:
            raise
        except BaseException:
            # A state that says nothing must not replace one that the user keeps.
            if self._has_begun:
                self._write_state()
            raise
        finally:
            self._report.close(self._states, self._waiting, self._monotonic())
        error = error_of_stopped(self._stopped)
        if error:
            raise error

    def _active(self) -> list[StreamState]:
        """Return the states of the streams that are selected and not stopped."""
        return [self._states[stream] for stream in self._selection if stream not in self._stopped]

    # The beginning.

    def _fetch_lists(self) -> Page:
        part = Part(LISTS, None, self._config.start_date, self._now)
        for outcome in self._outcomes(iter([Section(None, lambda _: iter([part]))])):
            if isinstance(outcome, PageFetched):
                return outcome.page
            if isinstance(outcome, PartFinished) and outcome.error:
                raise outcome.error
            self._tick(is_waiting=outcome is None)
        raise AssertionError("a part gives a page or an error")

    def _begin(self, list_ids: tuple[int, ...], end: datetime) -> None:
        """Fit the entries to this run, and write what comes before the first RECORD."""
        changes: dict[str, list[str]] = {}
        for stream, state in self._states.items():
            state.entry = pin_covers(stream, state.entry, self._config, list_ids)
        for stream, columns in self._selection.items():
            self._output.write_schema(self._tables[stream], columns)
            state = self._states[stream]
            for change in changes_since(stream, state.entry, self._config):
                changes.setdefault(change, []).append(stream.name)
            state.entry = fit_entry(stream, state.entry, self._config, list_ids, end)
        for change, names in changes.items():
            LOGGER.warning("%s. Of: %s.", change, ", ".join(names))
        self._write_state()
        self._has_begun = True
        self._last_state_at = float("-inf")  # the first page is worth a STATE at once
        LOGGER.info(
            "tap-listrak %s at %s: %d streams of %d lists, up to %s.",
            __version__,
            urlsplit(self._config.wsdl_url).hostname,
            len(self._selection),
            len(list_ids),
            format_instant(end),
        )

    def _retry_set_aside(self, shown: frozenset[int], end: datetime) -> None:
        """Request what earlier runs set aside; note the lists that Listrak lacks."""
        entries = {state.stream: state.entry for state in self._active()}
        self._retried = tuple(set_aside_parts(entries, self._config, end))
        self._handle_all(iter([Section(None, lambda _: iter(self._retried))]))
        for state in self._active():
            self._warn_gone(state, state.lists_shown(shown, self._config, self._now))
            state.retries_ended()
            self._stop_if_due(state)

    # The passes.

    def _finish_ranges(self, list_ids: tuple[int, ...], end: datetime) -> None:
        """Finish what earlier runs left unfinished, each range to its own end."""
        begun = [state for state in self._active() if state.entry.unfinished]
        if begun:
            LOGGER.info("Resuming %d streams where an earlier run stopped.", len(begun))
        alike_by_windows: dict[tuple[Any, ...], list[StreamState]] = {}
        for state in begun:
            active = state.entry.active
            key = (active.end, active.start_date, active.interval_days or 0)
            alike_by_windows.setdefault(key, []).append(state)
        for key in sorted(alike_by_windows):
            alike = alike_by_windows[key]
            self._walk(alike, list_ids)
            for state in alike:
                if state.stream in self._stopped:
                    continue
                self._warn_set_aside(state.range_ends())
                finished = state.entry.active
                state.range_finished()
                if finished.version:
                    state.begin(continued_range(finished, max(end, finished.end)))

    def _begin_ranges(self, end: datetime) -> None:
        """Begin the ranges up to now of all streams."""
        for state in self._active():
            if state.entry.unfinished:
                continue
            last_end = state.entry.last_end
            if end < self._now and last_end and last_end > end:
                LOGGER.warning(
                    "%s was requested up to %s, later than Listrak's clock: left alone.",
                    state.stream.name,
                    format_instant(last_end),
                )
                continue
            new = next_range(state.stream, state.entry, self._config, end)
            if new:
                state.begin(new)

    def _walk(self, states: list[StreamState], list_ids: tuple[int, ...]) -> None:
        """Walk the lists for streams whose ranges have the same windows."""
        entries = {state.stream: state.entry for state in states}
        self._waiting = 0
        self._report.begin_pass(len(lists_to_walk(entries, list_ids)), self._monotonic())
        sections = walk(self._config, entries, list_ids, self._stopped, self._retried)
        self._handle_all(sections, states)

    def _end_ranges(self, states: list[StreamState]) -> None:
        for state in states:
            self._warn_set_aside(state.range_ends())
            state.run_ends()
            self._stop_if_due(state)
            if state.entry.unfinished and not state.stopped_by:
                self._activate_version(state)
                state.range_finished()

    def _write_lists(self, lists: Page, list_ids: tuple[int, ...]) -> None:
        state = self._states[LISTS]
        if LISTS not in self._selection or not state.entry.unfinished:
            return
        part = Part(LISTS, None, self._config.start_date, self._now)
        if lists.record_error is None:
            rows = {parent.record.ListID: parent for parent in lists.parents}
            page = lists.with_parents(tuple(rows[list_id] for list_id in list_ids))
            self._handle(PageFetched(part, 1, page))
        self._handle(PartFinished(part, lists.record_error))
        self._tick(is_waiting=False)

    # What comes, in its order.

    def _outcomes(self, sections: Iterator[Section]) -> Iterator[Outcome | None]:
        return Fetcher(self._fetch, self._workers, sections, self._stopped).outcomes()

    def _fetch(self, part: Part, page: int) -> Page:
        return self._client.fetch(part.request(self._config, page))

    def _handle_all(self, sections: Iterator[Section], states: Iterable[StreamState] = ()) -> None:
        for outcome in self._outcomes(sections):
            if isinstance(outcome, ListFinished):
                self._list_finished(outcome, states)
            elif outcome is not None:
                self._handle(outcome)
            self._tick(is_waiting=outcome is None)

    def _handle(self, outcome: PageFetched | PartFinished) -> None:
        state = self._states[outcome.part.stream]
        if state.stopped_by:
            return
        if isinstance(outcome, PageFetched):
            self._warn_set_aside(state.answered(outcome.part))
            self._write_page(state, outcome)
        elif outcome.error is None:
            self._warn_set_aside(state.answered(outcome.part))
            state.part_finished(outcome.part)
        else:
            self._part_failed(state, outcome.part, outcome.error)
        self._state_is_due = True
        self._stop_if_due(state)

    def _write_page(self, state: StreamState, fetched: PageFetched) -> None:
        part, number, page = fetched
        active = state.entry.unfinished
        version = active.version if active else None
        self._output.write_records(part.stream.name, page.lines, page.received_at, version)
        self._report.count_records(part.stream, page.record_count, page.issues)
        self._report.set_position(part)
        state.page_written(part, number, page.digest)
        if page.issues.rows_without_key and active:
            state.rows_left_out()

    def _part_failed(self, state: StreamState, part: Part, error: ListrakError) -> None:
        if error.is_answer:
            self._warn_set_aside(state.answered(part))
        if part.is_retry:
            LOGGER.warning("Still set aside; the next run retries it first: %s", error)
        state.part_failed(part, error, self._now)

    def _warn_set_aside(self, held: list[Held]) -> None:
        for each in held:
            if each.part.stream.replication_key:
                LOGGER.warning("Set aside; the next run retries it first: %s", each.error)
            else:
                LOGGER.warning("Left out of this run; the next requests it again: %s", each.error)

    def _stop_if_due(self, state: StreamState) -> None:
        if state.stopped_by and state.stream not in self._stopped:
            self._stopped[state.stream] = state.stopped_by
            LOGGER.error("Stopped %s: %s", state.stream.name, state.stopped_by)

    def _list_finished(self, finished: ListFinished, states: Iterable[StreamState]) -> None:
        for state in states:
            if state.stream in self._stopped or state.stream.per is Per.ACCOUNT:
                continue
            parents = finished.parents.get(state.stream.parent) if state.stream.parent else None
            if parents is not None:
                gone = state.parents_shown(finished.list_id, parents, self._now)
                self._warn_gone(state, gone)
            state.list_finished(finished.list_id)
        self._waiting += finished.waiting
        self._report.list_finished()
        self._write_state()

    def _warn_gone(self, state: StreamState, gone: list[SetAside]) -> None:
        for owed in gone:
            LOGGER.warning(
                "%s of %s, which was set aside, is given up: Listrak has neither shown it nor "
                "answered for it since %s.",
                state.stream.name,
                f"list {owed.list_id}" if owed.parent_id is None else f"message {owed.parent_id}",
                owed.absent_since and format_instant(owed.absent_since),
            )

    # What is written.

    def _activate_version(self, state: StreamState) -> None:
        """Let the target delete what a mirrored stream does not hold any more, if all of it came.

        What Listrak does not show any more is no part of it, even if it was set aside.
        """
        active = state.entry.active
        if active.version is None:
            return
        if state.is_complete and not active.left_out:
            self._output.write_activate_version(state.stream.name, active.version)
            state.version_activated()
        else:
            LOGGER.warning(
                "%s: a part of it is missing, so deletions wait until all of it has come.",
                state.stream.name,
            )

    def _tick(self, *, is_waiting: bool) -> None:
        now = self._monotonic()
        if self._state_is_due and now - self._last_state_at >= SECONDS_BETWEEN_STATES:
            self._write_state()
        self._report.tick(now, is_waiting=is_waiting)

    def _write_state(self) -> None:
        self._last_state_at, self._state_is_due = self._monotonic(), False
        self._output.write_state(write_state(self._given, self._states))
