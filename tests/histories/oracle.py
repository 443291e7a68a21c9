"""What a run must have emitted, worked out from the account, the config and the faults alone.

Of a state, the bookmarks are read, which must not move back, how many parts are set aside, and
under which options contacts took turns.
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
from tests.histories.states import turns_of

LATE: Final = timedelta(hours=5)
"""How long after its date a row arrives at most."""
MARGIN: Final = timedelta(seconds=2)
"""Whether a row at the bounds of a range belongs to it is not said."""
ZONES_APART: Final = timedelta(hours=15)
CLOCK_BEHIND: Final = timedelta(hours=6)
"""How far the clock of a run is behind at most."""
SHORTEST_LOOKBACK: Final = timedelta(days=1)
MAX_RUNS_TO_GET_PAST: Final = 3
"""In as many runs every good part arrives, however many others are bad."""


@dataclass
class Oracle:
    """Checks each run, and holds what the target has stored.

    dead_calls: calls of a dead stream by night, where nothing changes that they depend on.
    turns_since: the end of the last run that was given a state of other turns of contacts; None
        where the next is, whatever its state says.
    """

    account: MadeUpAccount
    dead_calls: list[int] | None = None
    tables: Tables = field(default_factory=Tables)
    turns_since: datetime | None = None
    _latest_end: datetime | None = None
    _not_always_recent: set[AccountRow] = field(default_factory=set)
    _missed: Counter[AccountRow] = field(default_factory=Counter)
    _changed_at: dict[AccountRow, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mirror = MirrorRules(self.account)

    def begin_run(self, run: RunFacts) -> None:
        """Take note of what this run does not request."""
        self.mirror.left_now.clear()
        for msg_id in self.account.absent:
            # The reply of messages lacks it, which is no failure: what came meanwhile may be lost.
            for row in self.account.rows_of_message(msg_id):
                if row.stream != "messages" and row.key not in self.tables.rows[row.stream]:
                    row.excused = True
        if "subscribed_contacts" in run.selected and run.turns != turns_of(run.given):
            self.turns_since = None
        self.turns_since = self.turns_since or run.end
        for row in self.account.rows_of["subscribed_contacts"]:
            if row.changed_in == run.number:
                self.tables.rows[row.stream].pop(row.key, None)
                self._changed_at[row] = run.end
        for stream in EVENT_STREAMS if run.recent_days is not None else ():
            for row in self.account.rows_of[stream]:
                if not self._is_recent(row, run):
                    self._not_always_recent.add(row)

    def end_run(self, run: RunFacts, ended: Ended) -> None:
        """Check what came of a run. Raises Failed."""
        tables = copy.deepcopy(self.tables)
        deleted = tables.apply(ended.messages)
        check_exit(run, ended, self.account)
        check_bookmarks(run, ended)
        check_missing(run, ended, self._check_rows(run, ended, tables))
        check_dead_streams(run, ended, self.dead_calls)
        is_new_range = self._is_new_range(run)
        self.mirror.check(run, ended, tables, deleted, is_new_range=is_new_range)
        self._latest_end = max(run.end, self._latest_end or run.end)

    # What must be there

    def _sent(self, row: AccountRow) -> datetime:
        assert row.msg_id is not None
        return self.account.messages_by_id[row.msg_id].wall

    def _is_recent(self, row: AccountRow, run: RunFacts) -> bool:
        if row.msg_id in self.account.undated:
            return True
        days = timedelta(days=run.recent_days or 0)
        return self._sent(row) >= (run.end - days + ZONES_APART).replace(tzinfo=None)

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
        if row in self._changed_at:
            return self._has_been_due(row, run)
        if row.stream not in EVENT_STREAMS or run.recent_days is None:
            return True
        if row not in self._not_always_recent:
            return True
        turn = timedelta(days=run.older_every_days)
        return row.wall < end - turn - SHORTEST_LOOKBACK - ZONES_APART

    def _has_been_due(self, row: AccountRow, run: RunFacts) -> bool:
        """Return whether the window of a contact who changed has been due since then."""
        assert self.turns_since
        since = max(self._changed_at[row], self.turns_since)
        turn = timedelta(days=run.older_every_days + 1)
        return run.recent_days is not None and since + turn + CLOCK_BEHIND < run.end

    def _excused(self, row: AccountRow, run: RunFacts) -> bool:
        return any(each.excuses(row, self.account, run.message_window) for each in run.faults)

    def _check_rows(self, run: RunFacts, ended: Ended, tables: Tables) -> list[AccountRow]:
        """Check that what is due has been emitted; return what is missing for its faults."""
        if ended.code != 0 and run.may_end_early:
            return []
        lost, excused = [], []
        for stream in run.selected:
            is_slow = run.bad_parts(stream) > FEW_PARTS
            for row in self.account.rows_of[stream]:
                if row.key in tables.rows[stream] or not self.is_due(row, run):
                    self._missed.pop(row, None)
                elif self._excused(row, run):
                    excused.append(row)
                else:
                    self._missed[row] += ended.is_kept_whole
                    if not is_slow or self._missed[row] >= MAX_RUNS_TO_GET_PAST:
                        lost.append(row)
        if lost:
            raise Failed("loss", self._describe(lost, run, ended))
        return excused

    def _describe(self, lost: list[AccountRow], run: RunFacts, ended: Ended) -> str:
        lines = [f"{len(lost)} rows are missing up to {run.wall(run.end):%m-%d %H:%M:%S}:"]
        for row in lost[:10]:
            sent = f" (sent {self._sent(row):%m-%d %H:%M})" if row.msg_id else ""
            lines.append(
                f"      {row.stream} of list {row.list_id}, message {row.msg_id}{sent}, dated "
                f"{row.wall:%m-%d %H:%M:%S}, there since run {row.arrived}: {row.key}"
            )
        for stream in sorted({row.stream for row in lost}):
            for name, state in (("given", run.given), ("last", ended.last_state(None))):
                entry = ((state or {}).get("bookmarks") or {}).get(stream)
                lines.append(f"      {name}: {stream} {entry}")
        return "\n".join(lines)
