"""What a run must have emitted, worked out from the account, the config and the faults alone.

Of a state, only the bookmarks, which must not move back, and the number of parts set aside are read.
"""

import copy
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from tests.histories.account import EVENT_STREAMS, MESSAGE_STREAMS, AccountRow, MadeUpAccount
from tests.histories.facts import Ended, Failed, RunFacts, Tables
from tests.histories.rules import (
    FEW_PARTS,
    MirrorRules,
    check_bookmarks,
    check_dead_streams,
    check_exit,
    check_missing,
)

MARGIN: Final = timedelta(seconds=2)
"""Whether a row at the bounds of a range belongs to it is not said."""
ZONES_APART: Final = timedelta(hours=15)
SHORTEST_LOOKBACK: Final = timedelta(days=1)
MAX_RUNS_TO_GET_PAST: Final = 3
"""In as many runs every good part arrives, however many others are bad."""


@dataclass
class Oracle:
    """Checks each run, and holds what the target has stored."""

    account: MadeUpAccount
    tables: Tables = field(default_factory=Tables)
    _latest_end: datetime | None = None
    _not_always_recent: set[AccountRow] = field(default_factory=set)
    _missed: Counter[AccountRow] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.mirror = MirrorRules(self.account)

    def begin_run(self, run: RunFacts) -> None:
        """Take note of what this run does not request."""
        self.mirror.left_now.clear()
        absent = self.account.absent
        for row in self.account.all_rows():
            # The reply of messages lacks it, which is no failure: what came meanwhile may be lost.
            if row.msg_id in absent and row.stream != "messages":
                row.excused |= row.key not in self.tables.rows[row.stream]
            if row.stream in EVENT_STREAMS and run.recent_days is not None:
                days = timedelta(days=run.recent_days)
                recent = (run.end - days + ZONES_APART).replace(tzinfo=None)
                if row.msg_id not in self.account.undated and self._sent(row) < recent:
                    self._not_always_recent.add(row)

    def end_run(self, run: RunFacts, ended: Ended) -> None:
        """Check what came of a run. Raises Failed."""
        tables = copy.deepcopy(self.tables)
        deleted = tables.apply(ended.run.messages)
        check_exit(run, ended, self.account)
        check_bookmarks(run, ended)
        check_missing(run, ended, self._check_rows(run, ended, tables))
        check_dead_streams(run, ended)
        is_new_range = self._is_new_range(run)
        self.mirror.check(run, ended, tables, deleted, is_new_range=is_new_range)
        self._latest_end = max(run.end, self._latest_end or run.end)

    # What must be there

    def _sent(self, row: AccountRow) -> datetime:
        assert row.msg_id is not None
        return self.account.messages_by_id[row.msg_id].wall

    def _is_new_range(self, run: RunFacts) -> bool:
        """Return whether a run ends later than all before it, whose bookmarks may be its own."""
        return self._latest_end is None or run.end > self._latest_end

    def is_due(self, row: AccountRow, run: RunFacts) -> bool:
        """Return whether a run must give a row that is not stored yet, faults aside."""
        if row.stream not in run.selected or row.excused or row.list_id not in run.lists:
            return False
        if not self.account.shows(row):
            return False
        if row.stream in run.mirrored and not self._is_new_range(run):
            return False
        start, end = run.wall(run.start_date), run.wall(run.end) - MARGIN
        if row.stream == "lists":
            return True
        if row.stream == "messages" or row.stream in MESSAGE_STREAMS:
            is_in_time = row.msg_id in self.account.undated or start <= self._sent(row) < end
            if not is_in_time or (row.msg_id in self.account.tests and not run.with_tests):
                return False
            if row.stream == "messages":
                return True
        if not (self._is_new_range(run) and start <= row.wall < end):
            return False
        if row not in self._not_always_recent or run.recent_days is None:
            return True
        turn = timedelta(days=run.older_every_days)
        return row.wall < end - turn - SHORTEST_LOOKBACK - ZONES_APART

    def _check_rows(self, run: RunFacts, ended: Ended, tables: Tables) -> list[AccountRow]:
        """Check that what is due has been emitted; return what is missing for its faults."""
        if ended.run.code != 0 and run.may_end_early:
            return []
        lost, excused = [], []
        for stream in run.selected:
            is_slow = run.bad_parts(stream) > FEW_PARTS
            for row in self.account.rows_of[stream]:
                if row.key in tables.rows[stream] or not self.is_due(row, run):
                    self._missed.pop(row, None)
                elif any(
                    each.excuses(row, self.account, run.message_window) for each in run.faults
                ):
                    excused.append(row)
                else:
                    self._missed[row] += ended.is_kept_whole
                    if not is_slow or self._missed[row] >= MAX_RUNS_TO_GET_PAST:
                        lost.append(row)
        if lost:
            raise Failed("loss", self._describe(lost, run, ended))
        return excused

    def _describe(self, lost: list[AccountRow], run: RunFacts, ended: Ended) -> str:
        end = f"{run.wall(run.end):%m-%d %H:%M:%S}"
        lines = [f"{len(lost)} rows are missing up to {end}:", *map(str, lost[:10])]
        for stream in sorted({row.stream for row in lost}):
            for name, state in (("given", run.given), ("last", ended.last_state(None))):
                entry = ((state or {}).get("bookmarks") or {}).get(stream)
                lines.append(f"{name}: {stream} {entry}")
        return "\n      ".join(lines)
