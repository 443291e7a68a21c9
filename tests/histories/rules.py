"""What holds for every run, whatever is due: exit codes, bookmarks, what is set aside, mirrors."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.histories.account import MESSAGE_STREAMS, REPLICATION_KEYS, AccountRow, Key, key_of
from tests.histories.faults import Fault
from tests.histories.scenes import World
from tests.histories.states import StateValue, entry_of, set_aside_count
from tests.support.tap import Run

FEW_PARTS: Final = 5
"""As many bad parts of a stream stop nothing and delay nothing, wherever they are."""


class Failed(Exception):
    """A history shows a defect; `kind` is a word for it."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@dataclass(frozen=True)
class Ended:
    """What came of a run, and the state that it was given.

    answered: by stream, how many calls no fault struck.
    """

    run: Run
    given: StateValue | None
    answered: Mapping[str, int]
    is_kept_whole: bool

    @property
    def last_state(self) -> StateValue | None:
        """The value of the last STATE, or what was given where there is none."""
        return self.run.states[-1] if self.run.states else self.given


@dataclass
class Tables:
    """What a target holds: by stream, the version that each key was last written with."""

    rows: dict[str, dict[Key, int | None]] = field(default_factory=lambda: defaultdict(dict))

    def apply(self, messages: Iterable[Mapping[str, Any]]) -> list[tuple[str, Key, int]]:
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


def check(world: World, ended: Ended, missing: Collection[AccountRow]) -> None:
    """Check a run that lacks some rows for its faults. Raises Failed."""
    _check_exit(world, ended)
    _check_bookmarks(ended)
    _check_missing(ended, missing)


def _check_exit(world: World, ended: Ended) -> None:
    """Check the exit code, which is 0 only where all is emitted or set aside."""
    code, log, criticals = ended.run.code, ended.run.err, ended.run.lines("CRITICAL")
    if code not in (0, 1, 3) or "Traceback" in log or "defect" in log:
        raise Failed("exit", f"exit code {code}\n{log}")
    if bool(criticals) != bool(code):
        raise Failed("exit", f"exit code {code}, with {criticals}")
    may_fail = world.may_end_early or any(
        not _must_be_set_aside(each, world, ended) for each in world.faults
    )
    # The part in progress is requested though its message is absent, and refused.
    is_absent = bool(world.account.absent)
    if code and not (may_fail or is_absent):
        raise Failed("exit", f"exit code {code} where nothing stops a stream: {criticals}")
    for stream in REPLICATION_KEYS:
        is_bad = is_absent or any(each.is_lasting for each in world.faults)
        before = set_aside_count(ended.given, stream)
        if not is_bad and set_aside_count(ended.last_state, stream) > before:
            raise Failed("set-aside", f"parts of {stream} are set aside, and none is bad")


def _must_be_set_aside(fault: Fault, world: World, ended: Ended) -> bool:
    """Return whether all that a fault strikes must come, or be set aside."""
    if not fault.is_lasting:
        return True
    stream = fault.stream or ""
    are_few = stream in MESSAGE_STREAMS and world.bad_parts(stream) <= FEW_PARTS
    return are_few and bool(ended.answered.get(stream))


def _check_missing(ended: Ended, missing: Collection[AccountRow]) -> None:
    """Check that what a run may lack for its faults does not pass for done."""
    if ended.run.code or not missing:
        return
    if not ended.run.warnings():
        raise Failed("exit", f"exit code 0, no WARNING, and {len(missing)} rows missing")
    for stream in {row.stream for row in missing} & REPLICATION_KEYS.keys():
        if not set_aside_count(ended.last_state, stream):
            raise Failed("exit", f"exit code 0, rows of {stream} missing, and nothing set aside")


def _check_bookmarks(ended: Ended) -> None:
    """Check that bookmarks never move back, and that the first STATE claims nothing new."""
    kinds = [each["type"] for each in ended.run.messages]
    has_records = "RECORD" in kinds
    if has_records and "STATE" not in kinds[: kinds.index("RECORD")]:
        raise Failed("first-state", "no STATE comes before the first RECORD")
    for stream, name in REPLICATION_KEYS.items():
        given, *found = (
            entry_of(state, stream).get(name) or "" for state in (ended.given, *ended.run.states)
        )
        if found != sorted(found) or (found and found[0] < given):
            raise Failed("bookmark", f"{name} of {stream} moves back: {given}, {found}")
        if has_records and found[0] != given:
            raise Failed("first-state", f"{name} of {stream} is {found[0]}, given was {given}")


@dataclass
class MirrorRules:
    """What holds for mirrored streams. left_now: contacts who left during this run."""

    world: World
    left_now: set[AccountRow] = field(default_factory=set)
    _begun_in: dict[tuple[str, int], int] = field(default_factory=dict)

    def check(
        self, ended: Ended, tables: Tables, deleted: list[tuple[str, Key, int]], is_new_range: bool
    ) -> None:
        """Check what a run activated, and what a target that obeys deleted."""
        world, run = self.world, ended.run
        for each in run.of_type("RECORD"):
            if "version" in each:
                self._begun_in.setdefault((each["stream"], each["version"]), world.run)
        activated = {each["stream"]: each["version"] for each in run.of_type("ACTIVATE_VERSION")}
        mirrored = {*world.config["mirror"]}
        if wrong := activated.keys() - mirrored:
            raise Failed("mirror", f"a version of {wrong} is activated, which is not mirrored")
        rows = {(row.stream, row.key): row for row in world.account.all_rows()}
        for stream, key, version in deleted:
            begun = self._begun_in.get((stream, version), world.run)
            if self._holds(rows[stream, key]) and rows[stream, key].shown_since <= begun:
                raise Failed("mirror", f"{key} of {stream} is deleted, and was there throughout")
        is_bad = any(each.is_lasting or each.longest for each in world.faults)
        for stream in mirrored & {*world.selected}:
            if stream not in activated:
                if is_new_range and run.code == 0 and not is_bad:
                    raise Failed("mirror", f"no version of {stream} is activated")
            elif self._begun_in.get((stream, activated[stream]), world.run) == world.run:
                self._check_whole(stream, tables)

    def _check_whole(self, stream: str, tables: Tables) -> None:
        """Check that a stream whose version began in this run is what Listrak shows."""
        shown = [row for row in self.world.account.rows_of[stream] if self._holds(row)]
        held = tables.rows[stream].keys()
        extra = held - {row.key for row in (*shown, *self.left_now)}
        lacking = {row.key for row in shown if row.shown_since < self.world.run} - held
        if extra or lacking:
            raise Failed("mirror", f"{stream}: {extra} too much, {lacking} missing")

    def _holds(self, row: AccountRow) -> bool:
        """Return whether a row belongs to what a mirror of this run holds."""
        world = self.world
        if not world.account.shows(row) or row.list_id not in world.lists:
            return False
        if row.msg_id in world.account.tests and not world.config["include_test_messages"]:
            return False
        is_undated = row.stream == "lists" or row.msg_id in world.account.undated
        return is_undated or world.start <= row.wall < world.end_wall
