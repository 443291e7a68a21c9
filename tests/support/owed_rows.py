"""What the tap owes, worked out from the account, the configs and the STATEs alone.

A stream's entry in a state claims rows: those of the lists that it covers, dated before its
bookmark. What a run was bound to give, so that its entry may claim it, follows from the state that
it was given, and from what could be seen in that run and in the runs that began the same range:

- Of a list that the given entry covers, rows dated within the shortest lookback before its bookmark
  and later; of any other list, rows since start_date.
- Rows of messages that stood in the replies of all these runs, and rows that were there when the
  range began: what came or showed up in between may have been passed already.
- Where these runs differ in start_date or timezone, the narrower range.

What is left of it after what the entry says it has set aside must be in the warehouse. So must all
that is claimed and lies so far before the bookmark that it cannot have come late, of messages that
could always be seen. Rows that arrive late do so within HOURS_LATE, and none is dated near a
start_date, so that no time zone in use makes a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, Final

from tests.support.recorded_account import (
    MESSAGE_STREAMS,
    Identity,
    RecordedAccount,
    RecordedRow,
    identity,
)

BOOKMARK_KEYS: Final = {
    "message_sends": "SendDate",
    "message_opens": "OpenDate",
    "message_clicks": "ClickDate",
    "message_reads": "ReadDate",
    "message_bounces": "BounceDate",
    "message_unsubs": "RemovalDate",
    "subscribed_contacts": "AdditionDate",
}
SHORTEST_LOOKBACK: Final = timedelta(days=1)
HOURS_LATE: Final = 12
"""How late a row arrives at most: less than the shortest lookback by more than zones differ."""
ZONE_SLACK: Final = timedelta(hours=15)
"""More than the time zones in use are apart."""


@dataclass(frozen=True)
class Attempt:
    """One run, as far as what it owes depends on it.

    lists: those that could be seen and that its config asks for.
    shown: messages that their lists' replies held, where the lists could be seen.
    recent_days, older_every_days: the options of that name, where older messages wait.
    """

    clock: datetime
    start_date: datetime
    zone: tzinfo
    lists: frozenset[int]
    with_tests: bool
    selected: frozenset[str]
    shown: frozenset[int]
    recent_days: int | None = None
    older_every_days: int | None = None


@dataclass(frozen=True)
class Debt:
    """What an entry says it has set aside."""

    list_id: int
    msg_id: int | None
    start: datetime
    end: datetime

    def holds(self, row: RecordedRow) -> bool:
        """Whether a row is among what is owed."""
        if (row.list_id, row.msg_id) != (self.list_id, self.msg_id):
            return False
        if row.stream == "message_sends":
            return True
        moment = row.wall.replace(tzinfo=timezone.utc)
        return self.start - ZONE_SLACK <= moment <= self.end + ZONE_SLACK


@dataclass(frozen=True)
class Claim:
    """What a state says of one stream; `lists` None: of every list."""

    bookmark: datetime | None = None
    lists: frozenset[int] | None = None
    start_date: datetime | None = None
    with_tests: bool = True
    offset_end: datetime | None = None
    offset_lists: frozenset[int] = frozenset()
    debts: tuple[Debt, ...] = ()

    def covers(self, list_id: int, attempt: Attempt) -> bool:
        """Whether the bookmark speaks for a list, for what a run's config asks."""
        if self.bookmark is None:
            return False
        if self.start_date and attempt.start_date < self.start_date:
            return False
        if attempt.with_tests and not self.with_tests:
            return False
        return self.lists is None or list_id in self.lists


def read_claim(state: Mapping[str, Any] | None, stream: str) -> Claim:
    """What a state claims of one stream, in today's form or that of version 1.0.0."""
    state = state or {}
    entry = (state.get("bookmarks") or {}).get(stream) or {}
    key = BOOKMARK_KEYS.get(stream)
    covers = (entry["covers"] if "covers" in entry else state.get("covers")) or {}
    offset = entry.get("offset") or {}
    owed = entry["set_aside"] if "set_aside" in entry else state.get("set_aside")
    debts = tuple(
        Debt(each["ListID"], each.get("MsgID"), _instant(each["start"]), _instant(each["end"]))
        for each in owed or []
        if each.get("stream", stream) == stream
    )
    bookmark = _optional(entry.get(key)) if key else None
    offset_end = _optional(offset.get("end"))
    if bookmark and offset_end and offset_end <= bookmark:
        offset_end = None  # an older state's, which a merge has kept
    return Claim(
        bookmark,
        frozenset(covers["ListIDs"]) if covers.get("start_date") else None,
        _optional(covers.get("start_date")),
        covers.get("include_test_messages") in (None, True),
        offset_end,
        frozenset(offset.get("ListIDs") or ()) if offset_end else frozenset(),
        debts,
    )


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _optional(text: str | None) -> datetime | None:
    return None if text is None else _instant(text)


@dataclass
class OwedRows:
    """The rows that the tap was bound to give so far, and those that are stored."""

    account: RecordedAccount
    attempts: list[Attempt] = field(default_factory=list)
    stored: dict[str, set[Identity]] = field(default_factory=dict)
    bound: dict[str, set[RecordedRow]] = field(default_factory=dict)
    ever_hidden: set[int] = field(default_factory=set)
    once_set_aside: set[RecordedRow] = field(default_factory=set)

    def begin_run(self, attempt: Attempt) -> None:
        """Note what a run can see."""
        self.attempts.append(attempt)
        self.ever_hidden |= self.account.messages_by_id.keys() - attempt.shown

    def store(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Store the rows of RECORDs."""
        for each in records:
            stored = self.stored.setdefault(each["stream"], set())
            stored.add(identity(each["stream"], each["record"]))

    def end_run(
        self,
        given: Mapping[str, Any] | None,
        known: Mapping[str, Any] | None,
        kept: Mapping[str, Any] | None,
        *,
        is_complete: bool,
    ) -> list[RecordedRow]:
        """Return the rows that `kept` claims, that a run owed since `given`, and that are lost.

        known: what was kept before; the run was not given it if it was to begin anew.
        is_complete: the run succeeded, and its last STATE is what is kept.
        """
        attempt = self.attempts[-1]
        for stream in BOOKMARK_KEYS:
            if given != known and read_claim(kept, stream) != read_claim(known, stream):
                # What was set aside before is unknown to a run that begins anew.
                bound = self.bound.get(stream, set())
                self.bound[stream] = {row for row in bound if self._is_stored(row)}
        for stream in attempt.selected:
            if stream in BOOKMARK_KEYS:
                before, after = read_claim(given, stream), read_claim(kept, stream)
                if after.bookmark and after.bookmark != read_claim(known, stream).bookmark:
                    self._bind(stream, before, after)
            elif is_complete:
                self._bind_parents(stream, given)
        return [
            row
            for stream in self.account.recorded
            for rows in [self.bound.get(stream, set())]
            for claim in [read_claim(kept, stream)]
            for row in rows | self._claimed(stream, claim)
            if not self._is_stored(row) and not self._is_still_owed(row, claim)
        ]

    def _claimed(self, stream: str, claim: Claim) -> set[RecordedRow]:
        """Return rows that a claim speaks for, whatever was given and asked before."""
        if not claim.bookmark:
            return set()
        end = claim.bookmark.replace(tzinfo=None) - timedelta(hours=HOURS_LATE) - ZONE_SLACK
        return {row for row in self._in_scope(stream, claim) if row.wall < end}

    def _in_scope(self, stream: str, claim: Claim) -> Iterator[RecordedRow]:
        """Return the rows that a claim's bookmark speaks for, of messages that were always seen."""
        if not (claim.start_date and claim.lists):
            return
        start = claim.start_date.replace(tzinfo=None)
        unseen = self.ever_hidden | (set() if claim.with_tests else self.account.tests)
        for row in self.account.recorded[stream]:
            is_since_start = start <= row.wall and start <= self._sent(row)
            if is_since_start and row.list_id in claim.lists and row.msg_id not in unseen:
                yield row

    def _sent(self, row: RecordedRow) -> datetime:
        """When the message of a row was sent; of another row, its own date."""
        message = self.account.messages_by_id.get(row.msg_id or 0)
        return message.wall if message else row.wall

    def _is_still_owed(self, row: RecordedRow, claim: Claim) -> bool:
        """Whether a row that is not stored is set aside, or was and will be in the next range.

        What was set aside under one time zone and asked for under another has another end.
        """
        if any(debt.holds(row) for debt in claim.debts):
            self.once_set_aside.add(row)
            return True
        if row not in self.once_set_aside or claim.bookmark is None:
            return False
        start = claim.bookmark - SHORTEST_LOOKBACK + ZONE_SLACK
        return row.wall.replace(tzinfo=timezone.utc) >= start

    def lost_in_the_end(self) -> list[RecordedRow]:
        """Return the rows that are lost, after complete runs of everything without any fault.

        Rows of a message that was hidden in some run count only if another run owed them.
        """
        last = self.attempts[-1]
        start = last.start_date.replace(tzinfo=None)
        unwanted = set() if last.with_tests else self.account.tests
        return [
            row
            for stream, rows in self.account.recorded.items()
            for row in rows
            if (stream == "lists" or start <= self._sent(row))
            and row.msg_id not in unwanted
            and (row.msg_id not in self.ever_hidden or row in self.bound.get(stream, ()))
            and not self._is_stored(row)
        ]

    def _is_stored(self, row: RecordedRow) -> bool:
        is_there = row.identity in self.stored.get(row.stream, ())
        return is_there or row in self.account.gone

    def _since(self, end: datetime | None) -> tuple[int, list[Attempt]]:
        """Return the number of the run that began the range which ends so, and all runs since."""
        numbers = [number for number, each in enumerate(self.attempts) if end and each.clock >= end]
        first = numbers[0] if numbers else len(self.attempts) - 1
        return first, self.attempts[first:]

    def _bind(self, stream: str, before: Claim, after: Claim) -> None:
        first, attempts = self._since(before.offset_end)
        assert after.bookmark
        bound = self.bound.setdefault(stream, set())
        from_start = max(wall_of(each.start_date, each.zone) for each in attempts)
        from_bookmark = from_start
        if before.bookmark:
            starts = (wall_of(before.bookmark - SHORTEST_LOOKBACK, each.zone) for each in attempts)
            from_bookmark = max(from_start, *starts)
        end = min(wall_of(after.bookmark, each.zone) for each in attempts)
        last = attempts[-1]
        lists = last.lists if after.lists is None else last.lists & after.lists
        # What was set aside and still is owes this range as well, be it shown or not.
        still_owed = {(each.list_id, each.msg_id) for each in before.debts}
        still_owed &= {(each.list_id, each.msg_id) for each in after.debts}
        for row in self.account.recorded[stream]:
            if row.list_id not in lists or row.arrived > first:
                continue
            start = from_bookmark if before.covers(row.list_id, last) else from_start
            is_asked = stream not in MESSAGE_STREAMS or (
                self._is_wanted(row, from_start, end, attempts)
                and ((row.list_id, row.msg_id) in still_owed or self._is_shown(row, attempts))
            )
            if is_asked and start <= row.wall < end:
                bound.add(row)

    def _bind_parents(self, stream: str, given: Mapping[str, Any] | None) -> None:
        attempt = self.attempts[-1]
        bound = self.bound.setdefault(stream, set())
        if stream == "lists":
            bound.update(self.account.lists_by_id[list_id] for list_id in attempt.lists)
            return
        # Whose range the run finishes: at least up to the earliest end, it gives all messages.
        ends = [read_claim(given, each).offset_end for each in attempt.selected]
        until = min((each for each in ends if each), default=attempt.clock)
        first, attempts = self._since(until)
        start = max(wall_of(each.start_date, each.zone) for each in attempts)
        end = min(wall_of(until, each.zone) for each in attempts)
        for row in self.account.recorded["messages"]:
            is_listed = row.list_id in attempt.lists and row.arrived <= first
            is_wanted = self._is_wanted(row, start, end, attempts)
            if is_listed and is_wanted and self._is_shown(row, attempts):
                bound.add(row)

    def _is_wanted(
        self, row: RecordedRow, start: datetime, end: datetime, attempts: list[Attempt]
    ) -> bool:
        """Whether all these runs want a row's message, sent within this range."""
        is_test = row.msg_id in self.account.tests
        are_tests_wanted = all(each.with_tests for each in attempts)
        return start <= self._sent(row) < end and (are_tests_wanted or not is_test)

    def _is_shown(self, row: RecordedRow, attempts: list[Attempt]) -> bool:
        """Whether all these runs could see a row's message."""
        return all(row.msg_id in each.shown for each in attempts)


def wall_of(moment: datetime, zone: tzinfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)
