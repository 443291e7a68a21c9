"""Run a sync in two passes: write pages as they arrive, and update the state."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from urllib.parse import urlsplit

from tap_listrak import __version__
from tap_listrak.catalog import Selection
from tap_listrak.config import Config
from tap_listrak.dates import format_instant
from tap_listrak.errors import OutputError
from tap_listrak.listrak.client import ListrakClient
from tap_listrak.listrak.faults import ListrakError
from tap_listrak.listrak.pages import Page
from tap_listrak.logs import plural
from tap_listrak.singer_output import SingerOutput
from tap_listrak.streams import LISTS, Per, Stream, Table
from tap_listrak.sync.entry import SetAside
from tap_listrak.sync.failures import error_of_backfill, error_of_stopped
from tap_listrak.sync.fetch import Fetcher
from tap_listrak.sync.parts import (
    ListFinished,
    PageFetched,
    Part,
    PartFinished,
    Section,
    name_parent,
)
from tap_listrak.sync.plan import (
    adapt_entry,
    choose_lists,
    config_changes,
    continued_range,
    describe_range,
    end_of_run,
    next_range,
    pin_covers,
)
from tap_listrak.sync.report import Report
from tap_listrak.sync.state import StreamState, with_same_windows
from tap_listrak.sync.state_file import write_state
from tap_listrak.sync.walk import lists_to_walk, set_aside_parts, walk
from tap_listrak.workers import Workers

LOGGER = logging.getLogger(__name__)

SECONDS_BETWEEN_STATES = 1.0


class Runner:
    """Emit everything selected: finish the ranges of earlier runs, then sync up to now."""

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
        self._loaded, self._states = state
        self._client = client
        self._output = output
        self._workers = workers
        self._report = report
        self._now = now
        self._monotonic = monotonic
        self._stopped: dict[Stream, ListrakError] = {}
        self._failed: Counter[Stream] = Counter()
        self._retried: tuple[Part, ...] = ()
        self._not_due = 0
        self._missing: list[ListrakError] = []  # errors of a backfill's failed parts
        self._has_begun = any(each.has_entry for each in self._states.values())
        self._last_state_at = float("-inf")
        self._state_is_due = False

    def run(self) -> None:
        """Emit everything. Raises TapError, after a last STATE."""
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
            for states in with_same_windows([s for s in self._active() if s.entry.unfinished]):
                self._walk(states, list_ids)
            self._end_ranges(self._active())
            self._write_state()
        except OutputError:
            raise
        except BaseException:
            # Do not overwrite the user's state with an empty one.
            if self._has_begun:
                self._write_state()
            raise
        finally:
            self._report.close(self._states, self._not_due, self._monotonic())
        error = error_of_stopped(self._stopped)
        if self._config.backfill_from:
            error = error_of_backfill(self._stopped, self._missing)
        if error:
            raise error

    def _active(self) -> list[StreamState]:
        """Return the states of the streams that are selected and not stopped."""
        return [self._states[stream] for stream in self._selection if stream not in self._stopped]

    # Start.

    @property
    def _lists_part(self) -> Part:
        return Part(LISTS, None, self._config.start_date, self._now)

    def _fetch_lists(self) -> Page:
        future = self._workers.submit(lambda: self._fetch(self._lists_part, 1))
        while not future.done():
            self._workers.wait()
            self._tick(is_idle=True)
        return future.result()

    def _begin(self, list_ids: tuple[int, ...], end: datetime) -> None:
        """Adapt the entries to this run; write the SCHEMAs and a first STATE."""
        changes: dict[str, list[str]] = {}
        for stream, state in self._states.items():
            state.entry = pin_covers(stream, state.entry, self._config, list_ids)
        for stream, columns in self._selection.items():
            self._output.write_schema(self._tables[stream], columns)
            state = self._states[stream]
            for change in config_changes(self._tables[stream], state.entry, self._config):
                changes.setdefault(change, []).append(stream.name)
            state.entry = adapt_entry(stream, state.entry, self._config, list_ids, end)
        for change, names in changes.items():
            LOGGER.warning("%s (streams: %s).", change, ", ".join(names))
        self._write_state()
        self._has_begun = True
        self._last_state_at = float("-inf")  # write a STATE right after the first page
        LOGGER.info(
            "tap-listrak %s: syncing %s of %s from %s, %s.",
            __version__,
            plural(len(self._selection), "stream"),
            plural(len(list_ids), "list"),
            urlsplit(self._config.wsdl_url).hostname,
            describe_range(self._config, end),
        )

    def _retry_set_aside(self, shown: frozenset[int], end: datetime) -> None:
        """Retry what earlier runs set aside; record lists that Listrak no longer returns."""
        entries = {state.stream: state.entry for state in self._active()}
        self._retried = tuple(set_aside_parts(entries, self._config, end))
        self._process(iter([Section(None, lambda _: iter(self._retried))]))
        for state in self._active():
            self._warn_gone(state, state.lists_shown(shown, self._config, self._now))
            state.retries_finished()
            self._stop_if_due(state)

    # Passes.

    def _finish_ranges(self, list_ids: tuple[int, ...], end: datetime) -> None:
        """Finish ranges that earlier runs left unfinished."""
        unfinished = [state for state in self._active() if state.entry.unfinished]
        if unfinished:
            streams = plural(len(unfinished), "stream")
            LOGGER.info("Resuming %s where an earlier run stopped.", streams)
        for states in with_same_windows(unfinished):
            self._walk(states, list_ids)
            for state in states:
                if state.stream in self._stopped:
                    continue
                self._warn_set_aside(state, state.set_aside_at_end())
                finished = state.entry.current
                state.range_finished()
                if finished.version:
                    state.begin(continued_range(finished, max(end, finished.end)))

    def _begin_ranges(self, end: datetime) -> None:
        """Begin a range up to now for each stream."""
        for state in self._active():
            if state.entry.unfinished:
                continue
            last_end = state.entry.last_end
            if end < self._now and last_end and last_end > end:
                LOGGER.warning(
                    "Skipped %s: it was requested up to %s, later than Listrak's clock.",
                    state.stream.name,
                    format_instant(last_end),
                )
                continue
            new = next_range(state.stream, state.entry, self._config, end)
            if new:
                state.begin(new)

    def _walk(self, states: list[StreamState], list_ids: tuple[int, ...]) -> None:
        """Walk the lists for streams that share the same windows."""
        entries = {state.stream: state.entry for state in states}
        self._not_due = 0
        self._report.begin_pass(len(lists_to_walk(entries, list_ids)), self._monotonic())
        sections = walk(self._config, entries, list_ids, self._stopped, self._retried)
        self._process(sections, states)

    def _end_ranges(self, states: list[StreamState]) -> None:
        for state in states:
            self._warn_set_aside(state, state.set_aside_at_end())
            state.stop_if_held()
            self._stop_if_due(state)
            if state.entry.unfinished and not state.stopped_by:
                self._activate_version(state)
                state.range_finished()

    def _write_lists(self, lists: Page, list_ids: tuple[int, ...]) -> None:
        state = self._states[LISTS]
        if LISTS not in self._selection or not state.entry.unfinished:
            return
        part = self._lists_part
        if lists.record_error is None:
            rows = {parent.record.ListID: parent for parent in lists.parents}
            page = lists.with_parents(tuple(rows[list_id] for list_id in list_ids))
            self._handle(PageFetched(part, 1, page))
        self._handle(PartFinished(part, lists.record_error))
        self._tick(is_idle=False)

    # Outcomes.

    def _fetch(self, part: Part, page: int) -> Page:
        return self._client.fetch(part.request(self._config, page))

    def _process(self, sections: Iterator[Section], states: Iterable[StreamState] = ()) -> None:
        fetcher = Fetcher(self._fetch, self._workers, sections, self._stopped, self._failed)
        for outcome in fetcher.outcomes():
            if isinstance(outcome, ListFinished):
                self._list_finished(outcome, states)
            elif outcome is not None:
                self._handle(outcome)
            self._tick(is_idle=outcome is None)

    def _handle(self, outcome: PageFetched | PartFinished) -> None:
        part, state = outcome.part, self._states[outcome.part.stream]
        if state.stopped_by:
            return
        error = outcome.error if isinstance(outcome, PartFinished) else None
        if error is None or error.is_answer:
            self._warn_set_aside(state, state.service_works())
        if isinstance(outcome, PageFetched):
            self._write_page(state, outcome)
        elif error is None:
            (state.retry_finished if part.is_retry else state.part_finished)(part)
        elif part.is_retry:
            LOGGER.warning("Still set aside; the next run retries it first: %s", error)
            state.retry_failed(part, error, self._now)
        else:
            state.part_failed(part, error, self._now)
            if self._config.backfill_from and not state.stopped_by:
                self._missing.append(error)
                LOGGER.warning("The backfill lacks %s %s: %s", part.stream.name, part, error)
        self._state_is_due = True
        self._stop_if_due(state)

    def _write_page(self, state: StreamState, fetched: PageFetched) -> None:
        part, number, page = fetched
        current = state.entry.unfinished
        version = current.version if current else None
        self._output.write_records(part.stream.name, page.lines, page.received_at, version)
        self._report.count_records(part.stream, page.record_count, page.issues)
        self._report.set_position(part)
        (state.retry_written if part.is_retry else state.page_written)(part, number, page.digest)
        if page.issues.rows_without_key and current:
            state.rows_left_out()

    def _warn_set_aside(self, state: StreamState, errors: list[ListrakError]) -> None:
        for error in errors:
            if state.stream.replication_key:
                LOGGER.warning("Set aside; the next run retries it first: %s", error)
            else:
                LOGGER.warning("Skipped in this run; the next run requests it again: %s", error)

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
            state.list_finished(finished.list_id, finished.counts.get(state.stream, ()))
        self._not_due += finished.not_due
        self._report.list_finished()
        self._write_state()

    def _warn_gone(self, state: StreamState, gone: list[SetAside]) -> None:
        for aside in gone:
            where = f"list {aside.list_id}"
            if aside.parent_id is not None:
                where = f"{name_parent(state.stream, aside.parent_id)} in {where}"
            LOGGER.warning(
                "Gave up on %s of %s, which was set aside: Listrak has not returned it since %s.",
                state.stream.name,
                where,
                aside.absent_since and format_instant(aside.absent_since),
            )

    # Output.

    def _activate_version(self, state: StreamState) -> None:
        """Write ACTIVATE_VERSION for a mirrored stream if no row is missing.

        Set-aside parts that Listrak no longer returns do not count as missing.
        """
        current = state.entry.current
        if current.version is None:
            return
        if state.is_complete and not current.left_out:
            self._output.write_activate_version(state.stream.name, current.version)
            state.version_activated()
        else:
            LOGGER.warning(
                "%s: some rows are missing, so deletions wait for a complete run.",
                state.stream.name,
            )

    def _tick(self, *, is_idle: bool) -> None:
        now = self._monotonic()
        if self._state_is_due and now - self._last_state_at >= SECONDS_BETWEEN_STATES:
            self._write_state()
        self._report.tick(now, is_idle=is_idle)

    def _write_state(self) -> None:
        self._last_state_at, self._state_is_due = self._monotonic(), False
        self._output.write_state(write_state(self._loaded, self._states))
