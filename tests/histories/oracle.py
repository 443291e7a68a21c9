"""What a run must have emitted, worked out from the account, the config and the faults alone.

Of a state it reads the bookmarks, which must not move back, and how many parts are set aside.
"""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

from tests.histories.account import (
    EVENT_STREAMS,
    MESSAGE_STREAMS,
    REPLICATION_KEYS,
    STREAMS,
    AccountRow,
    Key,
    MadeUpAccount,
    key_of,
)
from tests.histories.faults import Fault, Outage

LATE: Final = timedelta(hours=5)
"""How long after its date a row arrives at most."""
MARGIN: Final = timedelta(seconds=2)
"""Whether a row at the bounds of a range belongs to it is not said."""
ZONES_APART: Final = timedelta(hours=15)
SHORTEST_LOOKBACK: Final = timedelta(days=1)
MAX_CALLS_OF_A_DEAD_STREAM: Final = 150
MORE_RETRIES: Final = 20
FEW_PARTS: Final = 5
"""As many bad parts of a stream delay nothing else, wherever they are."""
MAX_RUNS_TO_GET_PAST: Final = 3
SHORT_OUTAGE: Final = 120.0

StateValue = Mapping[str, Any]
Message = Mapping[str, Any]


class Failed(Exception):
    """A history shows a defect; `kind` is a word for it."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@dataclass(frozen=True)
class RunFacts:
    """One run, as far as what it owes depends on it.

    end: when it began, by the clock that its ranges must end by. recent_days: None where no
    message waits for its turn. mirrored: the streams that are given whole.
    """

    number: int
    end: datetime
    start_date: datetime
    zone: tzinfo
    lists: frozenset[int]
    with_tests: bool
    selected: frozenset[str]
    recent_days: int | None
    older_every_days: int
    mirrored: frozenset[str]
    message_window: timedelta
    faults: tuple[Fault, ...]
    outage: Outage | None
    given: StateValue | None

    def wall(self, moment: datetime) -> datetime:
        """Return the wall time of an instant in the zone of the config."""
        return moment.astimezone(self.zone).replace(tzinfo=None)


@dataclass(frozen=True)
class Ended:
    """What came of a run: its messages in order, exit code and log.

    calls, answered: by stream, how many calls there were, and how many no fault struck.
    """

    messages: list[dict[str, Any]]
    code: int
    log: str
    calls: Mapping[str, int]
    answered: Mapping[str, int]
    is_kept_whole: bool

    @property
    def states(self) -> list[StateValue]:
        """The values of the STATEs, in order."""
        return [each["value"] for each in self.messages if each["type"] == "STATE"]


def bookmark_of(state: StateValue | None, stream: str) -> datetime | None:
    """Return a stream's bookmark."""
    entry = ((state or {}).get("bookmarks") or {}).get(stream) or {}
    text = entry.get(REPLICATION_KEYS[stream])
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))


def set_aside_count(state: StateValue | None, stream: str) -> int:
    """Return how many parts of a stream are set aside."""
    entry = ((state or {}).get("bookmarks") or {}).get(stream) or {}
    return len(entry.get("set_aside") or ())


@dataclass
class Tables:
    """What a target holds: by stream, the version that each key was last written with."""

    rows: dict[str, dict[Key, int | None]] = field(default_factory=lambda: defaultdict(dict))

    def apply(self, messages: Iterable[Message]) -> list[tuple[str, Key, int]]:
        """Store RECORDs and obey ACTIVATE_VERSIONs; return what these deleted, by version."""
        deleted = []
        for each in messages:
            if each["type"] == "RECORD":
                key = key_of(each["stream"], each["record"])
                self.rows[each["stream"]][key] = each.get("version")
            elif each["type"] == "ACTIVATE_VERSION":
                stream, version = each["stream"], each["version"]
                kept = {k: v for k, v in self.rows[stream].items() if v == version}
                gone = self.rows[stream].keys() - kept.keys()
                deleted += [(stream, key, version) for key in gone]
                self.rows[stream] = kept
        return deleted


@dataclass
class Oracle:
    """Checks each run, and holds what the target has stored.

    is_frozen: nothing changes that a dead stream's calls depend on.
    """

    account: MadeUpAccount
    is_frozen: bool = False
    tables: Tables = field(default_factory=Tables)
    dead_calls: list[int] = field(default_factory=list)
    _latest_end: datetime | None = None
    _not_always_recent: set[AccountRow] = field(default_factory=set)
    _versions: dict[tuple[str, int], int] = field(default_factory=dict)
    _missed: Counter[AccountRow] = field(default_factory=Counter)
    _left_now: set[AccountRow] = field(default_factory=set)

    def begin_run(self, run: RunFacts) -> None:
        """Take note of what this run does not request."""
        self._left_now.clear()
        for msg_id in self.account.absent:
            # The reply of messages lacks it, which is no failure: what came meanwhile may be lost.
            for row in self.account.rows_of_message(msg_id):
                if row.stream != "messages" and row.key not in self.tables.rows[row.stream]:
                    row.excused = True
        for stream in EVENT_STREAMS if run.recent_days is not None else ():
            for row in self.account.rows_of[stream]:
                if not self._is_recent(row, run):
                    self._not_always_recent.add(row)

    def end_run(self, run: RunFacts, ended: Ended) -> None:
        """Check what came of a run. Raises Failed."""
        tables = copy.deepcopy(self.tables)
        deleted = tables.apply(ended.messages)
        self._check_exit(run, ended)
        self._check_bookmarks(run, ended)
        missing = self._check_rows(run, ended, tables)
        self._check_set_aside(run, ended, missing)
        self._check_dead_streams(run, ended)
        self._check_mirror(run, ended, tables, deleted)
        self._latest_end = max(run.end, self._latest_end or run.end)

    # What must be there

    def _sent(self, row: AccountRow) -> datetime:
        assert row.msg_id is not None
        return self.account.messages_by_id[row.msg_id].wall

    def _is_recent(self, row: AccountRow, run: RunFacts) -> bool:
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
            is_wanted = run.with_tests or row.msg_id not in self.account.tests
            if not (start <= self._sent(row) < end and is_wanted):
                return False
            if row.stream == "messages":
                return True
        if not (self._is_new_range(run) and start <= row.wall < end):
            return False
        if row.stream not in EVENT_STREAMS or run.recent_days is None:
            return True
        if row not in self._not_always_recent:
            return True
        turn = timedelta(days=run.older_every_days)
        return row.wall < end - turn - SHORTEST_LOOKBACK - ZONES_APART

    def _excused(self, row: AccountRow, run: RunFacts) -> bool:
        return any(each.excuses(row, self.account, run.message_window) for each in run.faults)

    def _bad_parts(self, stream: str, run: RunFacts) -> int:
        faults = [each for each in run.faults if each.is_lasting and each.stream == stream]
        return sum(1000 if each.ids is None else len(each.ids) for each in faults)

    def _can_be_set_aside(self, fault: Fault, run: RunFacts, ended: Ended) -> bool:
        """Return whether all that a fault strikes must pass, or be set aside."""
        if not fault.is_lasting:
            return True
        is_of_messages = fault.stream in MESSAGE_STREAMS
        are_few = is_of_messages and self._bad_parts(fault.stream or "", run) <= FEW_PARTS
        return are_few and bool(ended.answered.get(fault.stream or ""))

    def _may_end_early(self, run: RunFacts) -> bool:
        """Return whether something goes wrong that is no one stream's."""
        is_long = run.outage is not None and run.outage.seconds > SHORT_OUTAGE
        is_the_runs = any(each.is_lasting and each.stream in (None, "lists") for each in run.faults)
        return is_long or is_the_runs

    def _check_rows(self, run: RunFacts, ended: Ended, tables: Tables) -> list[AccountRow]:
        """Check that what is due has been emitted; return what is missing for its faults."""
        if ended.code != 0 and self._may_end_early(run):
            return []
        lost, excused = [], []
        for stream in run.selected:
            is_slow = self._bad_parts(stream, run) > FEW_PARTS
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
            for name, state in (("given", run.given), ("last", (ended.states or [None])[-1])):
                entry = ((state or {}).get("bookmarks") or {}).get(stream)
                lines.append(f"      {name}: {stream} {entry}")
        return "\n".join(lines)

    # What holds besides

    def _check_exit(self, run: RunFacts, ended: Ended) -> None:
        if ended.code not in (0, 1, 3) or "Traceback" in ended.log or "defect" in ended.log:
            raise Failed("exit", f"exit code {ended.code}\n{ended.log}")
        criticals = [line for line in ended.log.splitlines() if line.startswith("CRITICAL")]
        if bool(criticals) != bool(ended.code):
            raise Failed("exit", f"exit code {ended.code}, with {criticals}")
        may_fail = self._may_end_early(run) or any(
            not self._can_be_set_aside(each, run, ended) for each in run.faults
        )
        if ended.code and not may_fail:
            raise Failed(
                "exit", f"exit code {ended.code} where nothing stops a stream: {criticals}"
            )
        for each in run.faults:
            # What cannot be had must not pass for done.
            is_struck = each.is_dead_stream and ended.calls.get(each.stream or "", 0)
            if is_struck and not ended.code and "WARNING" not in ended.log:
                raise Failed("exit", f"exit code 0 and no WARNING with {each}")

    def _check_set_aside(self, run: RunFacts, ended: Ended, missing: list[AccountRow]) -> None:
        last = (ended.states or [run.given])[-1]
        if ended.code == 0 and missing:
            if "WARNING" not in ended.log:
                raise Failed("exit", f"exit code 0, no WARNING, and no {missing[0]}")
            for stream in {row.stream for row in missing} & REPLICATION_KEYS.keys():
                if not set_aside_count(last, stream):
                    raise Failed("exit", f"exit code 0 with nothing of {stream} set aside")
        # The part in progress is requested though its message is absent, and refused.
        may_fail = self.account.absent or any(each.is_lasting for each in run.faults)
        for stream in REPLICATION_KEYS:
            before, after = set_aside_count(run.given, stream), set_aside_count(last, stream)
            if after > before and not may_fail:
                raise Failed("set-aside", f"{after - before} parts of {stream}, and none is bad")

    def _check_dead_streams(self, run: RunFacts, ended: Ended) -> None:
        last = (ended.states or [run.given])[-1]
        is_listing_messages = not any(each.stream == "messages" for each in run.faults)
        for each in run.faults:
            if not (each.is_dead_stream and each.stream in REPLICATION_KEYS):
                continue
            calls = ended.calls.get(each.stream, 0)
            if calls > MAX_CALLS_OF_A_DEAD_STREAM:
                raise Failed("dead", f"{calls} calls of {each.stream}, which is dead")
            before = set_aside_count(run.given, each.stream)
            after = set_aside_count(last, each.stream)
            if is_listing_messages and after > before:
                raise Failed("dead", f"{each.stream} has {after} parts set aside, {before} before")
            if self.is_frozen:
                self.dead_calls.append(calls)
                # The second night has two passes. How many retries there are depends on threads.
                if calls > max(self.dead_calls[:2]) + MORE_RETRIES:
                    raise Failed("dead", f"calls of {each.stream} by night: {self.dead_calls}")

    def _check_bookmarks(self, run: RunFacts, ended: Ended) -> None:
        kinds = [each["type"] for each in ended.messages]
        first_record = kinds.index("RECORD") if "RECORD" in kinds else len(kinds)
        if "RECORD" in kinds and "STATE" not in kinds[:first_record]:
            raise Failed("first-state", "no STATE comes before the first RECORD")
        for stream, name in REPLICATION_KEYS.items():
            latest = bookmark_of(run.given, stream)
            for place, state in enumerate(ended.states):
                found = bookmark_of(state, stream)
                if latest and (found is None or found < latest):
                    raise Failed("bookmark", f"{name} moves from {latest} back to {found}")
                if place == 0 and first_record < len(kinds) and found != latest:
                    raise Failed("first-state", f"{name} is {found}, given was {latest}")
                latest = found

    def _check_mirror(
        self, run: RunFacts, ended: Ended, tables: Tables, deleted: list[tuple[str, Key, int]]
    ) -> None:
        for each in ended.messages:
            if each["type"] == "RECORD" and "version" in each:
                self._versions.setdefault((each["stream"], each["version"]), run.number)
        activated = {
            each["stream"]: each["version"]
            for each in ended.messages
            if each["type"] == "ACTIVATE_VERSION"
        }
        if wrong := activated.keys() - run.mirrored:
            raise Failed("mirror", f"a version of {wrong} is activated, which is not mirrored")
        rows = {
            (row.stream, row.key): row for name in STREAMS for row in self.account.rows_of[name]
        }
        for stream, key, version in deleted:
            row = rows[stream, key]
            begun = self._versions.get((stream, version), run.number)
            if self._is_in(row, run) and row.shown_since <= begun:
                raise Failed("mirror", f"{row} is deleted, and was there throughout")
        for stream in run.mirrored & run.selected:
            version = activated.get(stream)
            if version is None:
                is_bad = any(each.is_lasting or each.longest for each in run.faults)
                if self._is_new_range(run) and ended.code == 0 and not is_bad:
                    raise Failed("mirror", f"no version of {stream} is activated")
            elif self._versions.get((stream, version), run.number) == run.number:
                shown = [row for row in self.account.rows_of[stream] if self._is_in(row, run)]
                held = tables.rows[stream].keys()
                # Who left in this run may have been given before; who came back, after its window.
                extra = held - {row.key for row in (*shown, *self._left_now)}
                lacking = {row.key for row in shown if not row.excused} - held
                if extra or lacking:
                    raise Failed("mirror", f"{stream}: {extra} too much, {lacking} missing")

    def _is_in(self, row: AccountRow, run: RunFacts) -> bool:
        """Return whether a row belongs to what a mirror of this run holds."""
        if not self.account.shows(row) or row.list_id not in run.lists:
            return False
        if row.msg_id in self.account.tests and not run.with_tests:
            return False
        is_dated = row.stream != "lists"
        start, end = run.wall(run.start_date), run.wall(run.end)
        return not is_dated or start <= row.wall < end

    def leaves_now(self, row: AccountRow) -> None:
        """Take note that a contact leaves during a run."""
        self._left_now.add(row)
