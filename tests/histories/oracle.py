"""What a run must have emitted, worked out from the account, the config and the faults alone.

Of a state, it reads only bookmarks, which must not move back, how many parts are set aside, and
under which options contacts took turns.
"""

import copy
from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from tests.histories.account import EVENT_STREAMS, MESSAGE_STREAMS, AccountRow
from tests.histories.rules import FEW_PARTS, Ended, Failed, MirrorRules, Tables, check
from tests.histories.scenes import ZONES_APART, World
from tests.histories.states import StateValue, entry_of, turns_of

MARGIN: Final = timedelta(seconds=2)
"""Whether a row at the bounds of a range belongs to it is not said."""
SHORTEST_LOOKBACK: Final = timedelta(days=1)
CLOCK_BEHIND: Final = timedelta(hours=6)
"""How far the clock of a run is behind at most."""
MAX_RUNS_TO_GET_PAST: Final = 3
"""In as many runs every good part arrives, however many others are bad."""


class Oracle:
    """Checks each run, and holds what the target has stored.

    turns_since: the end of the run since which contacts take the same turns; None: of the next.
    """

    def __init__(self, world: World) -> None:
        self.tables = Tables()
        self.mirror = MirrorRules(world)
        self.turns_since: datetime | None = None
        self._world = world
        self._latest_end: datetime | None = None
        self._not_always_recent: set[AccountRow] = set()
        self._missed: Counter[AccountRow] = Counter()
        self._changed_at: dict[AccountRow, datetime] = {}

    def begin_run(self, given: StateValue | None) -> None:
        """Take note of what this run does not request."""
        self.mirror.left_now.clear()
        world, account = self._world, self._world.account
        absent, days = account.absent, world.config["recent_days"]
        if "subscribed_contacts" in world.selected and world.turns != turns_of(given):
            self.turns_since = None
        self.turns_since = self.turns_since or world.end
        for row in account.all_rows():
            if row.changed_in == world.run:
                self.tables.rows[row.stream].pop(row.key, None)
                self._changed_at[row] = world.end
            # The reply of messages lacks it, which is no failure: what came meanwhile may be lost.
            if row.msg_id in absent and row.stream != "messages":
                row.excused |= row.key not in self.tables.rows[row.stream]
            if row.stream in EVENT_STREAMS and days is not None:
                recent = (world.end - timedelta(days=days) + ZONES_APART).replace(tzinfo=None)
                if row.msg_id not in account.undated and self._sent(row) < recent:
                    self._not_always_recent.add(row)

    def end_run(self, ended: Ended) -> None:
        """Check what came of a run. Raises Failed."""
        tables, world = copy.deepcopy(self.tables), self._world
        deleted = tables.apply(ended.run.messages)
        check(world, ended, self._check_rows(ended, tables))
        self.mirror.check(ended, tables, deleted, self._is_new_range())
        self._latest_end = max(world.end, self._latest_end or world.end)

    def _sent(self, row: AccountRow) -> datetime:
        assert row.msg_id is not None
        return self._world.account.messages_by_id[row.msg_id].wall

    def _is_new_range(self) -> bool:
        """Return whether a run ends later than all before it, whose bookmarks may be its own."""
        return self._latest_end is None or self._world.end > self._latest_end

    def _is_due(self, row: AccountRow) -> bool:
        """Return whether a run must give a row that is not stored yet, faults aside."""
        world, account = self._world, self._world.account
        if row.excused or row.list_id not in world.lists or not account.shows(row):
            return False
        if row.stream in world.config["mirror"] and not self._is_new_range():
            return False
        start, end = world.start, world.end_wall - MARGIN
        if row.stream == "lists":
            return True
        if row.stream == "messages" or row.stream in MESSAGE_STREAMS:
            with_tests = world.config["include_test_messages"]
            is_in_time = row.msg_id in account.undated or start <= self._sent(row) < end
            if not is_in_time or (row.msg_id in account.tests and not with_tests):
                return False
            if row.stream == "messages":
                return True
        if not (self._is_new_range() and start <= row.wall < end):
            return False
        turn, is_in_turns = timedelta(days=world.config["older_every_days"]), world.turns[0]
        if row in self._changed_at:
            # Its window is requested in turn, and on no other day.
            since = max(self._changed_at[row], self.turns_since or world.end)
            is_over = since + turn + timedelta(days=1) + CLOCK_BEHIND < world.end
            return is_in_turns is not None and is_over
        if row not in self._not_always_recent or is_in_turns is None:
            return True
        return row.wall < end - turn - SHORTEST_LOOKBACK - ZONES_APART

    def _check_rows(self, ended: Ended, tables: Tables) -> list[AccountRow]:
        """Check that what is due has been emitted; return what is missing for its faults."""
        world = self._world
        lost, excused = [], []
        for stream in () if ended.run.code and world.may_end_early else world.selected:
            is_slow = world.bad_parts(stream) > FEW_PARTS
            for row in world.account.rows_of[stream]:
                if row.key in tables.rows[stream] or not self._is_due(row):
                    self._missed.pop(row, None)
                elif any(each.excuses(row) for each in world.faults):
                    excused.append(row)
                else:
                    self._missed[row] += ended.is_kept_whole
                    if not is_slow or self._missed[row] >= MAX_RUNS_TO_GET_PAST:
                        lost.append(row)
        if lost:
            lines = [f"{len(lost)} rows are missing up to {world.end_wall}:", *map(str, lost[:10])]
            for stream in sorted({row.stream for row in lost}):
                lines += [f"given: {stream} {entry_of(ended.given, stream)}"]
                lines += [f"last: {stream} {entry_of(ended.last_state, stream)}"]
            raise Failed("loss", "\n      ".join(lines))
        return excused
