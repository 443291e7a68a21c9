"""One run: what is emitted, and the state that moves behind it, never ahead."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

from tap_listrak import __version__
from tap_listrak.catalog import Selection
from tap_listrak.client import Client
from tap_listrak.config import Config
from tap_listrak.dates import format_instant
from tap_listrak.errors import OutputError, TapError
from tap_listrak.output import Output
from tap_listrak.parts import Part
from tap_listrak.pipeline import Ended, Page, Read, Workers, in_order
from tap_listrak.report import Report
from tap_listrak.state import Place, Progress, SetAside, State
from tap_listrak.streams import LISTS, Stream
from tap_listrak.walk import Parents, Walk, Walked, fetch_lists

LOGGER = logging.getLogger(__name__)

MOST_SET_ASIDE = 5
SECONDS_BETWEEN_STATES = 1.0


class Sync:
    """Everything selected, from the state's bookmarks to the run's end."""

    def __init__(
        self,
        config: Config,
        selection: Selection,
        state: State,
        client: Client,
        output: Output,
        workers: Workers,
        now: datetime,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._selection = selection
        self._state = state
        self._client = client
        self._output = output
        self._workers = workers
        self._now = now
        self._monotonic = monotonic
        # The streams that have something to do, once it is known that there are lists.
        self._active: dict[Stream, Progress] = {}
        self._failed: set[tuple[Stream, int, int | None]] = set()
        self._given_up: set[tuple[Stream, int, int | None, bool]] = set()
        self._succeeded: set[Stream] = set()
        self._report = Report(client, selection, monotonic())
        self._last_state, self._state_is_old = float("-inf"), False

    def run(self) -> None:
        """Emit everything. Raises TapError; then a last STATE stands behind what was emitted."""
        try:
            lists = fetch_lists(self._config, self._client, self._workers, self._selection)
            walk = self._begin()
            for stream, columns in self._selection.items():
                schema = stream.schema(self._config)
                chosen = {name: schema["properties"][name] for name in columns}
                key = stream.key(self._config)
                self._output.schema(stream, {**schema, "properties": chosen}, key)
            self._emit_all(walk, lists)
        except OutputError:
            raise
        except BaseException:
            # A state that knows nothing must not take the place of one that is kept somewhere.
            if any(self._state.as_dict().values()):
                self._write_state()
            raise
        finally:
            self._report.close(self._state)
        silent = {stream for stream, _, _ in self._failed} - self._succeeded
        if silent:
            names = ", ".join(sorted(stream.name for stream in silent))
            raise TapError(f"Not one call succeeded for {names}; see the warnings above.")

    def _begin(self) -> Walk:
        """Take up the range of each stream: one that was left unfinished, or a new one."""
        self._state.forget_finished()
        unfinished_end = self._state.unfinished_end(self._selection)
        end = unfinished_end or self._now
        for stream in self._selection:
            progress = self._state[stream]
            if progress.begin(self._config, end, resuming=unfinished_end is not None):
                self._active[stream] = progress
        LOGGER.info(
            "tap-listrak %s at %s: %d streams, up to %s%s.",
            __version__,
            urlsplit(self._config.wsdl_url).hostname,
            len(self._active),
            format_instant(end),
            ", where an earlier run was to end" if unfinished_end else "",
        )
        return Walk(self._config, self._client, self._workers, self._selection, self._active, end)

    def _emit_all(self, walk: Walk, lists: Parents) -> None:
        self._report.lists(len(walk.to_walk(lists)))
        for outcome in in_order(walk.items(lists), walk.ask, self._workers):
            self._state_is_old |= outcome is not None
            if isinstance(outcome, Read):
                self._emit(outcome)
            elif isinstance(outcome, Ended):
                self._end(outcome)
            elif isinstance(outcome, Parents):
                self._emit_parents(outcome)
            elif isinstance(outcome, Walked):
                self._end_list(outcome)
            self._tick(waited=outcome is None)
        for progress in self._active.values():
            progress.complete()
        self._write_state()

    # What is emitted, and how far that goes.

    def _emit_parents(self, parents: Parents) -> None:
        self._succeeded.add(parents.stream)
        progress = self._active.get(parents.stream)
        if progress and not parents.ListIDs <= progress.range.done:
            self._write(parents.stream, parents.page)
            progress.range.done |= parents.ListIDs
        if parents.stream is not LISTS:
            self._report.messages(parents.keys)
            self._forget_vanished(parents)

    def _forget_vanished(self, messages: Parents) -> None:
        known = set(messages.keys)
        for progress in self._active.values():
            for owed in list(progress.set_aside):
                gone = owed.MsgID is not None and owed.MsgID not in known
                if gone and owed.ListID in messages.ListIDs:
                    LOGGER.warning("Message %s, which was set aside, is gone.", owed.MsgID)
                    progress.set_aside.remove(owed)
                    self._failed.discard((progress.stream, owed.ListID, owed.MsgID))

    def _emit(self, read: Read) -> None:
        part = read.part
        if _group(part) in self._given_up:
            return
        self._succeeded.add(part.stream)
        self._write(part.stream, read.page)
        self._report.at(part.stream, part.ListID, part.MsgID)
        if part.owed:
            part.owed.start, part.owed.page = part.start, read.number
        else:
            self._state[part.stream].range.place = _place(part, read.number)

    def _end(self, ended: Ended) -> None:
        part, failure = ended.part, ended.failure
        if _group(part) in self._given_up:
            return
        if failure is None:
            self._succeeded.add(part.stream)
            self._end_part(part)
        else:
            self._set_aside(part, failure)

    def _end_part(self, part: Part) -> None:
        progress = self._state[part.stream]
        if not part.owed:
            progress.range.place = _place(part, None)
        elif part.end < part.owed.end:
            part.owed.start, part.owed.page = part.end, 1
        elif part.owed in progress.set_aside:
            progress.set_aside.remove(part.owed)

    def _set_aside(self, part: Part, failure: BaseException) -> None:
        """Remember what a part, and the windows behind it, still owe; the sixth ends the run."""
        self._failed.add((part.stream, part.ListID, part.MsgID))
        if len(self._failed) > MOST_SET_ASIDE or not part.may_fail_with(failure):
            raise failure
        LOGGER.warning("Set aside, to be asked for first in the next run: %s", failure)
        self._given_up.add(_group(part))
        if part.owed:
            return
        progress = self._state[part.stream]
        place, end = progress.range.place, progress.range.end
        # The place is within this part only if a page of it was written.
        within = place is not None and place == _place(part, place.page or 0)
        page = place.page if place and within else part.page
        progress.fail(SetAside(part.ListID, part.MsgID, part.start, end, page or 1))
        progress.range.place = _place(replace(part, end=end), None)

    def _end_list(self, walked: Walked) -> None:
        for progress in self._active.values():
            progress.range.done.add(walked.ListID)
            progress.range.place = None
        self._report.list_done()
        self._write_state()

    def _write(self, stream: Stream, page: Page) -> None:
        self._output.records(stream, page.records, page.came)
        self._report.wrote(stream, page.count, page.oddities)

    def _tick(self, *, waited: bool) -> None:
        now = self._monotonic()
        emitted = any(self._report.rows.values())
        if self._state_is_old and emitted and now - self._last_state >= SECONDS_BETWEEN_STATES:
            self._write_state()
        self._report.tick(now, waited=waited)

    def _write_state(self) -> None:
        self._last_state, self._state_is_old = self._monotonic(), False
        self._output.state(self._state.as_dict())


def _group(part: Part) -> tuple[Stream, int, int | None, bool]:
    """What is given up together: all windows of a list, but not what was owed before."""
    return part.stream, part.ListID, part.MsgID, part.owed is not None


def _place(part: Part, page: int | None) -> Place:
    """Where the walk stands behind a page of a part, or with None behind its end."""
    if part.MsgID is not None:
        return Place(part.ListID, part.SendDate, part.MsgID, page)
    return Place(part.ListID, part.end if page is None else part.start, None, page)
