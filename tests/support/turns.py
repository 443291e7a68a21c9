"""Random histories of runs in which older messages wait for their turn, and what is owed then.

The options are `recent_days` and `older_every_days`. Runs come hourly, daily, weekly, around
midnight and after a month's pause; the options come, change and go; messages are sent, shown
without a SendDate, and moved to another. All else that happens is what happens in histories.py.

What must be in the warehouse after a run that was complete follows from the account, the options
and the run's end alone, whichever messages the tap chose to ask for. See histories.py for how
histories are played:

    python -m tests.support.turns --seconds 3600 --processes 2
    python -m tests.support.turns --seed 17
"""

from __future__ import annotations

import copy
import functools
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

from tests.support.histories import START_DATES, UTC, History, main
from tests.support.owed_rows import (
    BOOKMARK_KEYS,
    HOURS_LATE,
    SHORTEST_LOOKBACK,
    ZONE_SLACK,
    Attempt,
    Claim,
    OwedRows,
    read_claim,
    wall_of,
)
from tests.support.recorded_account import MESSAGE_STREAMS, RecordedRow
from tests.support.tap import Run

IN_TURNS: Final = MESSAGE_STREAMS[1:]
"""The streams whose older messages wait; sends are asked as ever."""
OPTIONS: Final = ("recent_days", "older_every_days")
DEFAULT_DAYS: Final = 7
"""What `older_every_days` is where it is not given."""
LONG_PAUSE: Final = timedelta(days=10)


@dataclass
class OwedInTurns(OwedRows):
    """What is owed where older messages wait.

    moved: messages whose SendDate was another before.
    late_bookmarks: bookmarks that stood further back after a complete run than they may.
    complete_runs: how many were complete in which messages could wait.
    """

    moved: set[int] = field(default_factory=set)
    late_bookmarks: list[str] = field(default_factory=list)
    complete_runs: int = 0

    def end_run(
        self,
        given: Mapping[str, Any] | None,
        known: Mapping[str, Any] | None,
        kept: Mapping[str, Any] | None,
        *,
        is_complete: bool,
    ) -> list[RecordedRow]:
        """See OwedRows. After a complete run, also what it promised whatever the state says."""
        lost = super().end_run(given, known, kept, is_complete=is_complete)
        self.complete_runs += is_complete and bool(self.attempts[-1].recent_days)
        for stream in IN_TURNS if is_complete else ():
            if stream in self.attempts[-1].selected:
                lost += self._broken_promises(stream, given, read_claim(kept, stream), lost)
        return self._without_moved_sends(lost)

    def lost_in_the_end(self) -> list[RecordedRow]:
        """See OwedRows."""
        return self._without_moved_sends(super().lost_in_the_end())

    def _without_moved_sends(self, rows: list[RecordedRow]) -> list[RecordedRow]:
        """Leave out sends of moved messages: they are asked by SendDate, and may be passed by."""
        return [
            row for row in rows if row.stream != "message_sends" or row.msg_id not in self.moved
        ]

    def _bind(self, stream: str, before: Claim, after: Claim) -> None:
        _, attempts = self._since(before.offset_end)
        # Where messages wait, a run need not give what could be seen as it began.
        if stream not in IN_TURNS or not any(each.recent_days for each in attempts):
            super()._bind(stream, before, after)

    def _broken_promises(
        self, stream: str, given: Mapping[str, Any] | None, claim: Claim, lost: list[RecordedRow]
    ) -> list[RecordedRow]:
        end = self._end(stream, given)
        first, attempts = self._since(end)
        # A range keeps the options that it began with, unless it began anew under others.
        waiting = [each for each in attempts if each.recent_days]
        days = max((each.older_every_days or DEFAULT_DAYS for each in waiting), default=0)
        oldest = end - timedelta(days=days)
        if claim.bookmark is None or claim.bookmark < oldest:
            self.late_bookmarks.append(f"{stream}: {claim.bookmark} after a run up to {end}")
        recent_days = min((each.recent_days or 0 for each in waiting), default=0)
        recent_since = (end - timedelta(days=recent_days) + ZONE_SLACK).replace(tzinfo=None)
        until = min(wall_of(end, each.zone) for each in attempts)
        older_until = (oldest - SHORTEST_LOOKBACK).replace(tzinfo=None)

        def is_promised(row: RecordedRow) -> bool:
            is_undated = row.msg_id in self.account.undated
            is_recent = row.msg_id not in self.moved and (
                is_undated or self._sent(row) >= recent_since
            )
            return row.wall < (until if is_recent and waiting else older_until)

        return [
            row
            for row in self._in_scope(stream, claim)
            if row.arrived <= first
            and row.list_id in attempts[-1].lists
            and is_promised(row)
            and not self._is_stored(row)
            and not self._is_still_owed(row, claim)
            and row not in lost
        ]

    def _end(self, stream: str, given: Mapping[str, Any] | None) -> datetime:
        """Return the end of a stream's range in the last run, or an earlier moment."""
        last = self.attempts[-1]
        ends = [read_claim(given, each).offset_end for each in last.selected]
        return read_claim(given, stream).offset_end or min(filter(None, ends), default=last.clock)


# What a tap may get wrong


WrongTap = Callable[[Attempt, "OwedInTurns", dict[str, Any]], bool]
"""Whether a RECORD is kept from the target: given the run, what is owed, and the RECORD."""


def _is_old(attempt: Attempt, owed: OwedInTurns, record: Mapping[str, Any]) -> bool:
    sent = owed.account.messages_by_id[record["MsgID"]].wall.replace(tzinfo=UTC)
    days = attempt.recent_days
    return days is not None and sent < attempt.clock - timedelta(days=days)


def _never_asks_old(attempt: Attempt, owed: OwedInTurns, record: dict[str, Any]) -> bool:
    return _is_old(attempt, owed, record)


def _forgets_a_class(attempt: Attempt, owed: OwedInTurns, record: dict[str, Any]) -> bool:
    return _is_old(attempt, owed, record) and record["MsgID"] % 3 == 0


def _passes_on_old(attempt: Attempt, owed: OwedInTurns, record: dict[str, Any]) -> bool:
    """Let old messages wait, though the bookmark passes on."""
    day = attempt.clock.toordinal()
    return _is_old(attempt, owed, record) and (record["MsgID"] - day) % 2 == 0


def _lets_recent_wait(attempt: Attempt, owed: OwedInTurns, record: dict[str, Any]) -> bool:
    is_recent = attempt.recent_days is not None and not _is_old(attempt, owed, record)
    return is_recent and attempt.clock.toordinal() % 2 == 0


def _waits_without_options(attempt: Attempt, owed: OwedInTurns, record: dict[str, Any]) -> bool:
    once = next((each for each in reversed(owed.attempts) if each.recent_days), None)
    is_old = once is not None and _is_old(
        replace(attempt, recent_days=once.recent_days), owed, record
    )
    return attempt.recent_days is None and is_old


WRONG_TAPS: Final[Mapping[str, WrongTap]] = {
    "old messages are never asked": _never_asks_old,
    "some old messages are never asked": _forgets_a_class,
    "old messages wait though the bookmark passes on": _passes_on_old,
    "recent messages wait, too": _lets_recent_wait,
    "old messages still wait once the options are gone": _waits_without_options,
}


# The histories


class TurnsHistory(History):
    """A history in which older messages wait for their turn; `wrong` names one of WRONG_TAPS."""

    first_run: ClassVar = datetime(2026, 4, 1, 9)
    least_runs: ClassVar = 5
    most_runs: ClassVar = 12
    command: ClassVar = "tests.support.turns"

    def __init__(
        self,
        seed: int,
        folder: Path,
        ignored: frozenset[str] = frozenset(),
        wrong: str | None = None,
    ) -> None:
        super().__init__(seed, folder, ignored)
        self._wrong = WRONG_TAPS[wrong] if wrong else None
        self._last_clock = self._clock
        for list_id in sorted(self._lists()):
            for _ in range(self._rng.randint(1, 5)):
                sent = self._moment(START_DATES[0], self._clock)
                self._add_message(list_id, sent, self._clock)
        if self._rng.random() < 0.85:
            self._choose_options()

    def _make_oracle(self) -> OwedRows:
        self._in_turns = OwedInTurns(self._account)
        return self._in_turns

    def _choose_options(self) -> None:
        self._config["recent_days"] = self._rng.choice((1, 3, 10, 40, None))
        self._config["older_every_days"] = self._rng.choice((2, 3, 4, 7, None))

    # Between two runs

    def _time_to_next_run(self) -> timedelta:
        rng = self._rng
        kind = rng.choice(("hours", "hours", "day", "day", "midnight", "week", "days", "month"))
        some_minutes = timedelta(minutes=rng.randint(-30, 30))
        if kind == "hours":
            return timedelta(hours=rng.randint(1, 3))
        if kind == "midnight":
            midnight = datetime(self._clock.year, self._clock.month, self._clock.day)
            return max(
                midnight + timedelta(days=1) + some_minutes - self._clock, timedelta(minutes=7)
            )
        days = {"day": 1, "week": 7, "days": rng.randint(2, 5), "month": rng.randint(28, 45)}
        return timedelta(days=days[kind]) + some_minutes

    def _pass_time(self) -> None:
        before = self._last_clock = self._clock
        self._move_messages()
        super()._pass_time()
        self._add_events(before)

    def _add_events(self, before: datetime) -> None:
        """Add events of any messages since the run before, some of them dated before it."""
        late = before - timedelta(hours=HOURS_LATE) + timedelta(minutes=5)
        for _ in range(self._rng.randint(2, 16)):
            msg_id = self._rng.choice(sorted(self._account.messages_by_id))
            sent = self._account.messages_by_id[msg_id].wall
            moment = self._moment(max(self._rng.choice((before, late)), sent), self._clock)
            self._add_event(self._rng.choice(IN_TURNS), msg_id, moment)

    def _move_messages(self) -> None:
        """Give messages another SendDate, or none, where no run has stopped among them.

        Each stays behind the last start_date, and is not so new that a time zone would hide it.
        """
        rng, account = self._rng, self._account
        state = self._backend.state
        if any(read_claim(state, each).offset_end for each in (*BOOKMARK_KEYS, "messages")):
            return
        since, until = START_DATES[-1], self._clock - ZONE_SLACK
        for msg_id, message in sorted(account.messages_by_id.items()):
            if not since < message.wall < until or rng.random() > 0.05:
                continue
            self._in_turns.moved.add(msg_id)
            if rng.random() < 0.3:
                account.undated ^= {msg_id}
                account.changed()
                is_undated = msg_id in account.undated
                self._tell(f"  message {msg_id} has {'no' if is_undated else 'a'} SendDate")
            else:
                account.move_message(msg_id, self._moment(since, until))
                self._tell(f"  message {msg_id} was sent {account.messages_by_id[msg_id].wall}")

    def _change_what_is_seen(self) -> None:
        # Less than elsewhere: of a message that was hidden once, little can be asked for.
        is_long = any(self._is_long_unseen(number) for number in self._unseen_since)
        if is_long or self._clock - self._last_clock > LONG_PAUSE:
            self._show_everything()
        elif self._rng.random() < 0.3:
            super()._change_what_is_seen()

    def _show_everything(self) -> None:
        """Show all there is, before the tap gives up what it was not shown for so long."""
        for hidden in (self._account.revoked, self._account.hidden, self._account.unlisted):
            hidden.clear()
        self._unseen_since.clear()
        self._account.changed()
        self._tell("  all is seen")

    def _change_config(self) -> None:
        # What begins a range anew asks all messages, so that none waits.
        if self._rng.random() < 0.5:
            super()._change_config()
        if self._rng.random() < 0.2:
            self._choose_options()

    def _choose_faults(self) -> None:
        if self._rng.random() < 0.6:
            super()._choose_faults()

    # The end

    def _heal(self) -> None:
        options = {name: self._config.get(name) for name in OPTIONS}
        super()._heal()
        if self._rng.random() < 0.5:
            self._config.update(options)

    def _run_to_the_end(self) -> None:
        """Run with the options for a while, if they are on; then without, which gives the rest."""
        rng = self._rng
        for _ in range(rng.randint(2, 4) if self._config.get("recent_days") else 0):
            before = self._clock
            self._clock += self._time_to_next_run()
            self._add_events(before)
            self._run_once(is_last=True)
        for name in OPTIONS:
            self._config.pop(name, None)
        if rng.random() < 0.3:
            self._forget_turns()
        super()._run_to_the_end()

    def _forget_turns(self) -> None:
        """Leave the state what a version of the tap without the options would read of it."""
        state = copy.deepcopy(self._backend.state) or {}
        for entry in state.get("bookmarks", {}).values():
            entry.pop("turns", None)
        self._backend.replace([state] if state else [])
        self._tell("The state is read without its turns.")

    # A run

    def _received(self, run: Run) -> Run:
        if self._wrong is None:
            return run
        attempt, lines = self._owed.attempts[-1], []
        for line in run.out.split("\n")[:-1]:
            message = json.loads(line)
            is_event = message["type"] == "RECORD" and message["stream"] in IN_TURNS
            if not (is_event and self._wrong(attempt, self._in_turns, message["record"])):
                lines.append(f"{line}\n")
        return replace(run, out="".join(lines))

    def _end_run(self, *args: Any, **kwargs: Any) -> None:
        super()._end_run(*args, **kwargs)
        self.counts["runs in which messages may wait"] += bool(self._config.get("recent_days"))
        if self._in_turns.late_bookmarks:
            self._fail("late bookmark", "; ".join(self._in_turns.late_bookmarks))

    def _check_the_end(self) -> None:
        super()._check_the_end()
        complete = self._in_turns.complete_runs
        self.counts["complete runs in which messages may wait"] += complete


def wrong(name: str) -> Callable[[int, Path, frozenset[str]], History]:
    """Return what makes histories of one of WRONG_TAPS."""
    return functools.partial(TurnsHistory, wrong=name)


if __name__ == "__main__":
    sys.exit(main(__doc__, TurnsHistory))
