"""What holds for every run, whatever is due: exit codes, bookmarks, what is set aside, mirrors."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from tests.histories.account import (
    MESSAGE_STREAMS,
    REPLICATION_KEYS,
    AccountRow,
    Key,
    MadeUpAccount,
)
from tests.histories.facts import Ended, Failed, RunFacts, Tables, bookmark_of, set_aside_count
from tests.histories.faults import Fault

FEW_PARTS: Final = 5
"""As many bad parts of a stream stop nothing and delay nothing, wherever they are."""
MAX_CALLS_OF_A_DEAD_STREAM: Final = 150


def check_exit(run: RunFacts, ended: Ended, account: MadeUpAccount) -> None:
    """Check the exit code, which is 0 only where all is emitted or set aside."""
    code, log, criticals = ended.run.code, ended.run.err, ended.run.lines("CRITICAL")
    if code not in (0, 1, 3) or "Traceback" in log or "defect" in log:
        raise Failed("exit", f"exit code {code}\n{log}")
    if bool(criticals) != bool(code):
        raise Failed("exit", f"exit code {code}, with {criticals}")
    may_fail = run.may_end_early or any(not _is_set_aside(each, run, ended) for each in run.faults)
    # The part in progress is requested though its message is absent, and refused.
    if code and not (may_fail or account.absent):
        raise Failed("exit", f"exit code {code} where nothing stops a stream: {criticals}")
    if account.absent or any(each.is_lasting for each in run.faults):
        return
    for stream in REPLICATION_KEYS:
        before = set_aside_count(run.given, stream)
        if set_aside_count(ended.last_state(run.given), stream) > before:
            raise Failed("set-aside", f"parts of {stream} are set aside, and none is bad")


def _is_set_aside(fault: Fault, run: RunFacts, ended: Ended) -> bool:
    """Return whether all that a fault strikes must come, or be set aside."""
    if not fault.is_lasting:
        return True
    stream = fault.stream or ""
    are_few = stream in MESSAGE_STREAMS and run.bad_parts(stream) <= FEW_PARTS
    return are_few and bool(ended.answered.get(stream))


def check_missing(run: RunFacts, ended: Ended, missing: Collection[AccountRow]) -> None:
    """Check that what a run may lack for its faults does not pass for done."""
    if ended.run.code or not missing:
        return
    if not ended.run.warnings():
        raise Failed("exit", f"exit code 0, no WARNING, and {len(missing)} rows missing")
    for stream in {row.stream for row in missing} & REPLICATION_KEYS.keys():
        if not set_aside_count(ended.last_state(run.given), stream):
            raise Failed("exit", f"exit code 0, rows of {stream} missing, and nothing set aside")


def check_dead_streams(run: RunFacts, ended: Ended) -> None:
    """Check what a dead stream costs, and that what it owes does not grow."""
    dead = {each.stream for each in run.faults if each.is_dead_stream}
    for stream in dead & REPLICATION_KEYS.keys():
        if (calls := ended.calls.get(stream, 0)) > MAX_CALLS_OF_A_DEAD_STREAM:
            raise Failed("dead", f"{calls} calls of {stream}, which is dead")
        before = set_aside_count(run.given, stream)
        after = set_aside_count(ended.last_state(run.given), stream)
        if after > before and not any(each.stream == "messages" for each in run.faults):
            raise Failed("dead", f"{stream} has {after} parts set aside, {before} before")


def check_bookmarks(run: RunFacts, ended: Ended) -> None:
    """Check that bookmarks never move back, and that the first STATE claims nothing new."""
    kinds = [each["type"] for each in ended.run.messages]
    has_records = "RECORD" in kinds
    if has_records and "STATE" not in kinds[: kinds.index("RECORD")]:
        raise Failed("first-state", "no STATE comes before the first RECORD")
    for stream, name in REPLICATION_KEYS.items():
        latest = bookmark_of(run.given, stream)
        for place, state in enumerate(ended.run.states):
            found = bookmark_of(state, stream)
            if latest and (found is None or found < latest):
                raise Failed("bookmark", f"{name} moves from {latest} back to {found}")
            if place == 0 and has_records and found != latest:
                raise Failed("first-state", f"{name} is {found}, given was {latest}")
            latest = found


@dataclass
class MirrorRules:
    """What holds for mirrored streams. left_now: contacts who left during this run."""

    account: MadeUpAccount
    left_now: set[AccountRow] = field(default_factory=set)
    _begun_in: dict[tuple[str, int], int] = field(default_factory=dict)

    def check(
        self,
        run: RunFacts,
        ended: Ended,
        tables: Tables,
        deleted: list[tuple[str, Key, int]],
        *,
        is_new_range: bool,
    ) -> None:
        """Check what a run activated, and what a target that obeys deleted."""
        for each in ended.run.of_type("RECORD"):
            if "version" in each:
                self._begun_in.setdefault((each["stream"], each["version"]), run.number)
        activated = {
            each["stream"]: each["version"] for each in ended.run.of_type("ACTIVATE_VERSION")
        }
        if wrong := activated.keys() - run.mirrored:
            raise Failed("mirror", f"a version of {wrong} is activated, which is not mirrored")
        rows = {(row.stream, row.key): row for row in self.account.all_rows()}
        for stream, key, version in deleted:
            begun = self._begun_in.get((stream, version), run.number)
            if self._holds(rows[stream, key], run) and rows[stream, key].shown_since <= begun:
                raise Failed("mirror", f"{key} of {stream} is deleted, and was there throughout")
        is_bad = any(each.is_lasting or each.longest for each in run.faults)
        for stream in run.mirrored & run.selected:
            if stream not in activated:
                if is_new_range and ended.run.code == 0 and not is_bad:
                    raise Failed("mirror", f"no version of {stream} is activated")
            elif self._begun_in.get((stream, activated[stream]), run.number) == run.number:
                self._check_whole(stream, run, tables)

    def _check_whole(self, stream: str, run: RunFacts, tables: Tables) -> None:
        """Check that a stream whose version began in this run is what Listrak shows."""
        shown = [row for row in self.account.rows_of[stream] if self._holds(row, run)]
        held = tables.rows[stream].keys()
        extra = held - {row.key for row in (*shown, *self.left_now)}
        lacking = {row.key for row in shown if row.shown_since < run.number} - held
        if extra or lacking:
            raise Failed("mirror", f"{stream}: {extra} too much, {lacking} missing")

    def _holds(self, row: AccountRow, run: RunFacts) -> bool:
        """Return whether a row belongs to what a mirror of this run holds."""
        if not self.account.shows(row) or row.list_id not in run.lists:
            return False
        if row.msg_id in self.account.tests and not run.with_tests:
            return False
        start, end = run.wall(run.start_date), run.wall(run.end)
        is_undated = row.stream == "lists" or row.msg_id in self.account.undated
        return is_undated or start <= row.wall < end
