"""Random histories: runs of the tap against an account that changes, with kills and faults.

Each follows from its seed. A history fails if a row is lost (see owed_rows.py), or a run breaks a
rule that holds for all runs. Play them from a shell; every one that fails is told with its seed:

    python -m tests.support.histories --count 100
    python -m tests.support.histories --seconds 3600 --processes 2
    python -m tests.support.histories --seed 17
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import functools
import gc
import importlib
import itertools
import json
import multiprocessing
import os
import random
import re
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, ClassVar, Final
from zoneinfo import ZoneInfo

from fake_listrak import OPERATIONS, Ask, ListrakService, Reply, fault, html, raw, with_exception
from tests.support.owed_rows import BOOKMARK_KEYS, HOURS_LATE, Attempt, OwedRows, read_claim
from tests.support.recorded_account import (
    KEPT_COLUMNS,
    MESSAGE_STREAMS,
    OPERATION_OF,
    RecordedAccount,
    RecordedRow,
)
from tests.support.state_keeping import TARGETS, MergeFailed, StateBackend, Stored
from tests.support.tap import PASSWORD, USERNAME, Run, Tap, selecting, workers_ended

UTC: Final = timezone.utc
START_DATES: Final = (datetime(2026, 1, 10), datetime(2026, 1, 20), datetime(2026, 2, 1))
FIRST_ROWS: Final = datetime(2026, 1, 4)
FIRST_RUN: Final = datetime(2026, 2, 12, 9)
ZONES: Final = ("UTC", "America/New_York", "Asia/Tokyo")
EXIT_CODES: Final = (0, 1, 3)
"""Done; failed; refused. The command line, the config and the state are never wrong here."""
RUNS_IN_THE_END: Final = 3
"""Some resume an older range, and what a stream of them lacked then comes in the next."""
TRICKY_TEXTS: Final = (
    "a},{",
    '"},{"',
    '{"type":"STATE","value":{}},{',
    "back\\slash\\",
    "}\u2028{ \u00e9 \U0001f600",
    "]}",
)
_DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

FaultOf = Callable[[Ask], Reply]


class Failed(Exception):
    """A history showed a defect; the kind is a word, the text says what."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@dataclasses.dataclass
class Told:
    """What became of one history."""

    seed: int
    failure: str | None
    kind: str | None
    account: str
    counts: Counter[str]
    command: str


# Faults


def _cut(ask: Ask) -> Reply:
    honest = ask.honest()
    return dataclasses.replace(honest, cut=len(honest.body) // 2)


def _half_a_body(ask: Ask) -> Reply:
    return raw(ask.honest().body[: len(ask.honest().body) // 2])


def _exception(ask: Ask, text: str, *, rows: bool) -> Reply:
    if ask.honest().status != 200 or not OPERATIONS[ask.operation].takes_exception:
        return fault(f"{ask.operation}(): {text}")
    return with_exception(ask, text, rows=rows)


def _unreadable(ask: Ask) -> Reply:
    """Spoil a value that is not of type text; of a reply without one, nothing."""
    honest = ask.honest()
    spoilt = re.sub(
        rb"<(BounceCount|AdditionDate|RemovalDate|OpenCount)>[^<]*<", rb"<\1>soon<", honest.body
    )
    return dataclasses.replace(honest, body=spoilt)


def _repeated(ask: Ask) -> Reply:
    arguments = {**ask.arguments, "Page": "1"} if "Page" in ask.arguments else ask.arguments
    return dataclasses.replace(ask, arguments=arguments).honest()


FAULTS: Final[Mapping[str, FaultOf]] = {
    "404": lambda ask: html(404),
    "502": lambda ask: html(502),
    "400": lambda ask: html(400),
    "410": lambda ask: html(410),
    "408": lambda ask: html(408),
    "code": lambda ask: fault(f"{ask.operation}(): [Report] [InvalidMessage] No such message"),
    "fault": lambda ask: fault("Server was too busy"),
    "reset": lambda ask: Reply(reset=True),
    "cut": _cut,
    "half a body": _half_a_body,
    "exception": functools.partial(_exception, text="The report is not ready", rows=False),
    "exception with rows": functools.partial(_exception, text="Out of time", rows=True),
    "exception with code": functools.partial(
        _exception, text="[Report] [InvalidMessage] No such message", rows=False
    ),
    "unreadable": _unreadable,
    "repeated": _repeated,
    "page for people": lambda ask: raw(b"<html>Down for maintenance</html>", 200, "text/html"),
    "logon": lambda ask: fault(f"{ask.operation}(): [Logon] [SystemUnavailable] Not now"),
}


@dataclasses.dataclass
class Fault:
    """One thing that goes wrong: what, where, for how many tries of a call and how many runs."""

    name: str
    operation: str | None
    of: int | None
    since_page: int
    one_in: int
    tries: int
    runs_left: int
    salt: int

    def strikes(self, ask: Ask, attempt: int) -> bool:
        """Whether it hits this try of a call; that depends on nothing but the call."""
        if attempt > self.tries or self.operation not in (None, ask.operation):
            return False
        if self.of is not None and str(self.of) not in (
            ask.arguments.get("MsgID"),
            ask.arguments.get("ListID"),
        ):
            return False
        if int(ask.arguments.get("Page", "1")) < self.since_page:
            return False
        call = f"{self.salt} {ask.operation} {sorted(ask.arguments.items())}"
        return random.Random(call).randrange(self.one_in) == 0  # a str seed is the same anywhere

    def __str__(self) -> str:
        where = f"{self.operation or 'any call'} of {self.of or 'anything'}"
        tries = "each try" if self.tries > 10 else f"{self.tries} tries"
        return (
            f"{self.name} for {where}, page {self.since_page} and on, one call in {self.one_in}, "
            f"{tries}, {self.runs_left} runs"
        )


class Faults:
    """The faults of a run, as a rule of the service."""

    def __init__(self) -> None:
        self.now: list[Fault] = []
        self.struck: Counter[str] = Counter()
        self._attempts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def begin_run(self) -> None:
        """Count tries anew."""
        self._attempts.clear()
        self.struck.clear()

    def end_run(self) -> None:
        """Let faults pass whose runs are over."""
        for each in self.now:
            each.runs_left -= 1
        self.now = [each for each in self.now if each.runs_left > 0]

    def __call__(self, ask: Ask) -> Reply | None:
        if ask.operation == "WSDL":
            return None
        with self._lock:
            call = f"{ask.operation} {sorted(ask.arguments.items())}"
            self._attempts[call] += 1
            attempt = self._attempts[call]
        for each in self.now:
            if each.strikes(ask, attempt):
                with self._lock:
                    self.struck[each.name] += 1
                return FAULTS[each.name](ask)
        return None


# One history


class History:
    """An account, a config and a state that go through the runs that follow from a seed.

    first_run: when the first run is; what the account holds before then is dated FIRST_ROWS and on.
    least_runs, most_runs: how many there are before those in the end.
    command: the module that plays such histories from a shell.
    """

    first_run: ClassVar = FIRST_RUN
    least_runs: ClassVar = 3
    most_runs: ClassVar = 8
    command: ClassVar = "tests.support.histories"

    def __init__(self, seed: int, folder: Path, ignored: frozenset[str] = frozenset()) -> None:
        self.seed = seed
        self.told: list[str] = []
        self.counts: Counter[str] = Counter()
        self._folder = folder
        self._ignored = ignored
        rng = self._rng = random.Random(seed)
        self._account = RecordedAccount(
            page_size=rng.randint(1, 4),
            bounds=rng.choice(("inclusive", "exclusive", "start")),
            event_dates=rng.choice(("iso", "us")),
            empty=rng.choice(("absent", "empty", "nil", "mixed")),
        )
        self._owed = self._make_oracle()
        self._faults = Faults()
        self._backend = StateBackend()
        self._has_tricky_texts = rng.random() < 0.15
        self._has_twins = rng.random() < 0.2
        self._target = rng.choice((*TARGETS, "any"))
        self._merges = rng.choice((False, False, True))
        self._clock = self.first_run
        self._runs = 0
        self._numbers = itertools.count(1)
        self._victims: list[int] = []
        self._unseen_since: dict[int, datetime] = {}
        self._config: dict[str, Any] = {
            "start_date": f"{rng.choice(START_DATES):%Y-%m-%dT%H:%M:%SZ}",
            "concurrency": rng.choice((1, 4)),
            "interval_days": rng.choice((10, 30, 365)),
        }
        self._selected = self._choose_streams() if rng.random() < 0.3 else list(KEPT_COLUMNS)
        for _ in range(rng.randint(1, 3)):
            self._add_list(FIRST_ROWS, self.first_run)

    def play(self) -> None:
        """Play it to its end. Raises Failed."""
        with contextlib.ExitStack() as stack:
            service = stack.enter_context(
                ListrakService(
                    self._account, username=USERNAME, password=PASSWORD, record=False, wsdl="nine"
                )
            )
            service.rules.append(self._faults)
            self._tap = Tap(service, self._folder)
            for number in range(self._rng.randint(self.least_runs, self.most_runs)):
                if number:
                    self._pass_time()
                self._choose_faults()
                self._run_once()
            self._heal()
            self._run_to_the_end()
        self._check_the_end()

    def _make_oracle(self) -> OwedRows:
        return OwedRows(self._account)

    def _run_to_the_end(self) -> None:
        """Run until all that is owed has been asked for, nothing standing in the way."""
        for _ in range(RUNS_IN_THE_END):
            self._clock += timedelta(hours=30)
            self._run_once(is_last=True)

    def _tell(self, text: str) -> None:
        self.told.append(text)

    # The account

    def _moment(self, since: datetime, until: datetime) -> datetime:
        """A wall between two, on no full minute, as bounds are, and not near a start_date."""
        while True:
            minutes = int((until - since) / timedelta(minutes=1))
            moment = since.replace(second=0, microsecond=0)
            moment += timedelta(minutes=self._rng.randint(0, max(0, minutes - 1)))
            moment = moment.replace(second=self._rng.randint(1, 58))
            if all(abs(moment - each) > timedelta(hours=16) for each in START_DATES):
                return moment

    def _text(self, text: str) -> str:
        if self._has_tricky_texts and self._rng.random() < 0.15:
            return text + self._rng.choice(TRICKY_TEXTS)
        return text

    def _add(
        self, stream: str, list_id: int, msg_id: int | None, wire: Any, wall: datetime
    ) -> None:
        twins = 2 if self._has_twins and stream in MESSAGE_STREAMS[1:] else 1
        order = self._rng.random()
        for _ in range(twins if self._rng.random() < 0.3 else 1):
            self._account.record(stream, list_id, msg_id, wire, wall, self._runs, order)

    def _add_list(self, since: datetime, until: datetime) -> None:
        rng = self._rng
        list_id = rng.choice([each for each in range(100, 130) if each not in self._lists()])
        name = self._text(f"List {list_id}")
        self._add("lists", list_id, None, {"ListID": str(list_id), "ListName": name}, since)
        for _ in range(rng.randint(0, 8)):
            self._add_contact(list_id, self._moment(since, until))
        for _ in range(rng.randint(0, 4)):
            self._add_message(list_id, self._moment(since, until), until)
        self._tell(f"  + list {list_id}")

    def _add_contact(self, list_id: int, wall: datetime) -> None:
        number = next(self._numbers)
        email = self._text(f"c{number}@example.com")
        wire = {
            "ContactID": f"id{number}",
            "EmailAddress": email,
            "AdditionDate": "",
            "AdditionMethod": self._rng.choice(("Import", self._text("Form"), None)),
        }
        self._add("subscribed_contacts", list_id, None, wire, wall)

    def _add_message(self, list_id: int, wall: datetime, until: datetime) -> None:
        msg_id = self._rng.randint(1000, 9999)
        while msg_id in self._account.messages_by_id:
            msg_id = self._rng.randint(1000, 9999)
        wire = {
            "ListID": str(list_id),
            "MsgID": str(msg_id),
            "Subject": self._text(f"Subject {msg_id}"),
            "SendDate": "",
        }
        self._add("messages", list_id, msg_id, wire, wall)
        if self._rng.random() < 0.2:
            self._account.tests.add(msg_id)
        is_victim = len(self._victims) < 2
        if is_victim:
            self._victims.append(msg_id)
        for _ in range(self._rng.randint(0, 8 if is_victim else 4)):
            email = self._text(f"s{next(self._numbers)}@example.com")
            self._add("message_sends", list_id, msg_id, {"EmailAddress": email}, wall)
        for stream in MESSAGE_STREAMS[1:]:
            for _ in range(self._rng.choice((0, 4, 8) if is_victim else (0, 1, 1, 2, 3, 5))):
                if until - wall > timedelta(minutes=10):
                    self._add_event(stream, msg_id, self._moment(wall, until))

    def _add_event(self, stream: str, msg_id: int, wall: datetime) -> None:
        message = self._account.messages_by_id[msg_id]
        number = next(self._numbers)
        wire: dict[str, Any] = {
            "ContactID": f"id{number}",
            "EmailAddress": self._text(f"e{number}@example.com"),
        }
        if stream == "message_clicks":
            wire["LinkUrl"] = self._rng.choice(
                ("https://example.com/?a=b&c", self._text("x"), None)
            )
            wire["LinkDescription"] = self._rng.choice((None, "", self._text("Shop")))
        elif stream == "message_bounces":
            wire["BounceReason"] = self._text("Hard")
            wire["BounceDetail"] = self._rng.choice((self._text("550 unknown"), ""))
            wire["BounceCount"] = str(number % 4)
        elif stream == "message_unsubs":
            wire["RemovalMethod"] = self._rng.choice(("Link", self._text("Complaint"), None))
        self._add(stream, message.list_id, msg_id, wire, wall)

    def _unwanted(self) -> set[int]:
        start = self._config["start_date"]
        early = {
            msg_id
            for msg_id, row in self._account.messages_by_id.items()
            if f"{row.wall:%Y-%m-%dT%H:%M:%SZ}" < start
        }
        with_tests = self._config.get("include_test_messages", True)
        return early if with_tests else early | self._account.tests

    def _lists(self) -> set[int]:
        return set(self._account.lists_by_id)

    # What happens between two runs

    def _pass_time(self) -> None:
        rng, account = self._rng, self._account
        before = self._clock
        self._clock += self._time_to_next_run()
        late = before - timedelta(hours=HOURS_LATE) + timedelta(minutes=5)
        since = late if rng.random() < 0.5 else before
        self._tell(f"Until {self._clock:%m-%d %H:%M}, rows come dated {since:%m-%d %H:%M} and on:")
        # Rows of old messages, of new ones, and of new lists.
        for _ in range(rng.randint(0, 2)):
            list_id = rng.choice(sorted(self._lists()))
            self._add_message(list_id, self._moment(since, self._clock), self._clock)
        for _ in range(rng.randint(0, 8)):
            if account.messages_by_id:
                known = sorted(account.messages_by_id)
                msg_id = rng.choice(self._victims if rng.random() < 0.5 else known)
                sent = account.messages_by_id[msg_id].wall
                moment = self._moment(max(since, sent), self._clock)
                stream = rng.choice(MESSAGE_STREAMS[1:])
                self._add_event(stream, msg_id, moment)
        for _ in range(rng.randint(0, 3)):
            list_id = rng.choice(sorted(self._lists()))
            self._add_contact(list_id, self._moment(since, self._clock))
        if rng.random() < 0.1:
            self._add_list(FIRST_ROWS, self._clock)
        if rng.random() < 0.2:
            contacts = [
                row for row in account.recorded["subscribed_contacts"] if row not in account.gone
            ]
            for row in rng.sample(contacts, min(len(contacts), 2)):
                account.take_away(row)
        self._change_what_is_seen()
        self._change_config()

    def _time_to_next_run(self) -> timedelta:
        step = timedelta(minutes=self._rng.choice((7, 5 * 60, 24 * 60, 48 * 60)))
        return step * self._rng.randint(1, 3)

    def _change_what_is_seen(self) -> None:
        rng, account = self._rng, self._account
        for list_id in sorted(self._lists()):
            if list_id in account.revoked:
                if rng.random() < 0.5 or self._is_long_unseen(list_id):
                    account.revoked.discard(list_id)
                    self._tell(f"  list {list_id} is granted again")
            elif rng.random() < 0.08 and len(account.visible_lists()) > 1:
                account.revoked.add(list_id)
                self._unseen_since[list_id] = self._clock
                self._tell(f"  list {list_id} is revoked")
        for msg_id in sorted(account.messages_by_id):
            chance = 0.15 if msg_id in self._victims else 0.03
            for name, hidden in (("denied", account.hidden), ("not listed", account.unlisted)):
                if msg_id in hidden:
                    if rng.random() < 0.6 or self._is_long_unseen(msg_id):
                        hidden.discard(msg_id)
                        self._tell(f"  message {msg_id} is no longer {name}")
                elif rng.random() < chance:
                    hidden.add(msg_id)
                    self._unseen_since.setdefault(msg_id, self._clock)
                    self._tell(f"  message {msg_id} is {name}")
        if rng.random() < 0.3:
            account.page_size = rng.randint(1, 4)
            self._tell(f"  the page size is {account.page_size}")
        for number in self._unseen_since.keys() - (
            account.revoked | account.hidden | account.unlisted
        ):
            del self._unseen_since[number]
        account.changed()

    def _is_long_unseen(self, number: int) -> bool:
        """Whether a list or message was away for so long that the tap may soon forget it."""
        return self._clock - self._unseen_since[number] > timedelta(days=15)

    def _change_config(self) -> None:
        rng = self._rng
        if rng.random() < 0.3:
            self._selected = self._choose_streams()
        for _ in range(rng.choice((0, 0, 1, 2))):
            key, value = rng.choice(
                (
                    ("start_date", f"{rng.choice(START_DATES):%Y-%m-%dT%H:%M:%SZ}"),
                    ("timezone", rng.choice(ZONES)),
                    ("list_ids", self._choose_lists()),
                    ("list_ids", self._choose_lists()),
                    ("include_test_messages", rng.random() < 0.5),
                    ("interval_days", rng.choice((10, 30, 365))),
                    ("keep_every_event", rng.random() < 0.5),
                    ("concurrency", rng.choice((1, 4))),
                    ("lookback_days", rng.choice((1, 2, 3))),
                )
            )
            self._config[key] = value

    def _choose_streams(self) -> list[str]:
        chosen = [each for each in KEPT_COLUMNS if self._rng.random() < 0.6]
        return chosen or [self._rng.choice(list(BOOKMARK_KEYS))]

    def _choose_lists(self) -> list[int] | None:
        if self._rng.random() < 0.4:
            return None
        known = sorted(self._lists())
        return self._rng.sample(known, self._rng.randint(1, len(known)))

    def _choose_faults(self) -> None:
        rng = self._rng
        for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
            name = rng.choice(list(FAULTS))
            kind = rng.random()
            operation: str | None = None
            of, one_in = None, 1
            tries = rng.choice((1, 3, 99, 99))
            by_message = [each for each in MESSAGE_STREAMS if each in self._selected]
            if kind < 0.7 and self._account.messages_by_id and by_message:
                known = sorted(self._account.messages_by_id)
                of = rng.choice(self._victims if rng.random() < 0.6 else known)
                operation = OPERATION_OF[rng.choice(by_message)]
            elif kind < 0.8:
                of, operation = (
                    rng.choice(sorted(self._lists())),
                    OPERATION_OF["subscribed_contacts"],
                )
            elif kind < 0.95:
                one_in, tries = rng.choice((3, 10, 30)), rng.choice((1, 2, 4, 99))
            else:
                operation = OPERATION_OF[rng.choice(("lists", "messages"))]
            if name == "logon" and rng.random() < 0.8:
                name = "404"
            if name == "repeated":
                # Once only, it would be as good as honest.
                one_in, tries = 1, 99
            page, runs = rng.choice((1, 1, 1, 2, 3)), rng.choice((1, 1, 2, 4))
            self._faults.now.append(
                Fault(name, operation, of, page, one_in, tries, runs, rng.randrange(10**9))
            )

    def _heal(self) -> None:
        self._tell("All is seen, nothing fails, everything is selected.")
        self._faults.now.clear()
        for hidden in (self._account.revoked, self._account.hidden, self._account.unlisted):
            hidden.clear()
        self._account.changed()
        # Most defaults; an earlier start_date or more messages would mend what was lost.
        kept = ("start_date", "include_test_messages") if self._rng.random() < 0.7 else ()
        self._config = {
            "start_date": f"{START_DATES[0]:%Y-%m-%dT%H:%M:%SZ}",
            **{key: self._config[key] for key in kept if key in self._config},
        }
        self._selected = list(KEPT_COLUMNS)

    # A run

    def _run_once(self, *, is_last: bool = False) -> None:
        rng, account = self._rng, self._account
        is_refresh = self._merges and not is_last and rng.random() < 0.2
        known = self._backend.state
        given = None if is_refresh else known
        asked_for = self._config.get("list_ids")
        lists = frozenset(account.visible_lists())
        attempt = Attempt(
            self._clock.replace(tzinfo=UTC),
            datetime.fromisoformat(self._config["start_date"].replace("Z", "+00:00")),
            ZoneInfo(self._config.get("timezone", "UTC")),
            lists if asked_for is None else lists & set(asked_for),
            self._config.get("include_test_messages", True),
            frozenset(self._selected),
            account.shown_messages(),
            self._config.get("recent_days"),
            self._config.get("older_every_days"),
        )
        self._owed.begin_run(attempt)
        self._faults.begin_run()
        config = json.dumps({k: v for k, v in self._config.items() if k != "start_date"})
        self._tell(
            f"Run {self._runs} at {self._clock:%m-%d %H:%M} from "
            f"{self._config['start_date'][:10]}, {config}, {len(self._selected)} streams: "
            f"{', '.join(self._selected)}"
            f"{', without a state (full refresh)' if is_refresh else ''}"
        )
        for each in self._faults.now:
            self._tell(f"    fault: {each}")
        catalog = selecting(copy.deepcopy(_catalog(self._tap)), *self._selected)
        (self._folder / "state.json").unlink(missing_ok=True)
        with workers_ended():
            run = self._tap.run(
                config=self._config, catalog=catalog, state=given, clock=lambda: attempt.clock
            )
        gc.unfreeze()  # the tap freezes what it finds, which here is what other runs left
        run = self._received(run)
        self._runs += 1
        messages = self._check_run(run, given, is_last=is_last)
        self._end_run(run, messages, given, known, is_last=is_last)
        self._faults.end_run()

    def _received(self, run: Run) -> Run:
        """What reaches the target of what a run printed."""
        return run

    def _end_run(
        self,
        run: Run,
        messages: list[dict[str, Any]],
        given: dict[str, Any] | None,
        known: dict[str, Any] | None,
        *,
        is_last: bool,
    ) -> None:
        # Of its own, since how many lines a failing run writes may depend on its threads' turns.
        rng = random.Random(f"{self.seed} {self._runs}")
        lines = len(messages)
        is_killed = not is_last and rng.random() < 0.5
        if is_killed:
            lines = rng.randint(0, lines)
        name = self._target if self._target != "any" else rng.choice(list(TARGETS))
        if is_last:
            records = [each for each in messages if each["type"] == "RECORD"]
            stored = Stored(run.states, records, has_all=True)
            name = "last"
        else:
            stored = TARGETS[name](messages[:lines], rng)
        is_merged = self._merges and not is_last and rng.random() < 0.7
        way = f"{name}{', merged' if is_merged else ''}"
        self._owed.store(stored.records)
        try:
            if is_merged:
                printed = [each for each in stored.printed[:-1] if rng.random() < 0.5]
                self._backend.merge(printed + stored.printed[-1:])
            else:
                self._backend.replace(stored.printed)
            kept = self._backend.state
        except MergeFailed as failed:
            self._fail("merge", str(failed))
            self._backend.replace(stored.printed)
            kept = self._backend.state
        all_records = sum(each["type"] == "RECORD" for each in messages)
        self._tell(
            f"    exit {run.code}, {len(messages)} lines, {all_records} records"
            f"{f', killed behind line {lines}' if is_killed else ''}, kept by {way}: "
            f"{len(stored.records)} records, {len(stored.printed)} states; struck by "
            f"{dict(self._faults.struck) or 'nothing'}"
        )
        claims = [read_claim(given, each) for each in KEPT_COLUMNS]
        self.counts.update(
            {
                "runs": 1,
                f"runs{' in the end' if is_last else ''}, kept by {way}": 1,
                f"runs killed, kept by {way}": is_killed,
                "runs given an offset": any(each.offset_end for each in claims),
                "runs given something set aside": any(each.debts for each in claims),
                "runs that failed": run.code != 0,
                "records": len(stored.records),
                "calls struck by a fault": self._faults.struck.total(),
            }
        )
        is_complete = run.code == 0 and not is_killed and stored.has_all and not is_merged
        lost = self._owed.end_run(given, known, kept, is_complete=is_complete)
        if lost:
            self._fail("loss", self._describe(lost, given, kept))

    def _describe(self, lost: list[RecordedRow], *states: Mapping[str, Any] | None) -> str:
        lines = [f"{len(lost)} rows are lost, claimed by the state that is kept:"]
        for row in lost[:10]:
            lines.append(
                f"      {row.stream} of list {row.list_id}, message {row.msg_id}, dated "
                f"{row.wall:%m-%d %H:%M:%S}, there since run {row.arrived}: {row.identity}"
            )
        for stream in sorted({row.stream for row in lost}):
            for name, state in zip(("given", "kept"), states):
                entry = ((state or {}).get("bookmarks") or {}).get(stream)
                lines.append(f"      {name}: {stream} {json.dumps(entry)}")
        for name, state in zip(("given", "kept"), states):
            others = {k: v for k, v in (state or {}).items() if k != "bookmarks"}
            lines.append(f"      {name}, beside bookmarks: {json.dumps(others)}")
        return "\n".join(lines)

    def _fail(self, kind: str, text: str) -> None:
        if kind in self._ignored:
            self.counts[f"ignored: {kind}"] += 1
        else:
            raise Failed(kind, text)

    # What holds for every run

    def _check_run(
        self, run: Run, given: dict[str, Any] | None, *, is_last: bool
    ) -> list[dict[str, Any]]:
        if run.code not in ((0,) if is_last else EXIT_CODES):
            self._fail("exit", f"exit code {run.code}\n{run.err}")
        if "Traceback" in run.err or "defect" in run.err:
            self._fail("defect", run.err)
        messages: list[dict[str, Any]] = []
        schemas: dict[str, dict[str, Any]] = {}
        if run.out and not run.out.endswith("\n"):
            self._fail("lines", f"the last line is not whole: {run.out[-200:]!r}")
        for line in run.out.split("\n")[:-1]:
            try:
                message = json.loads(line)
            except ValueError:
                self._fail("lines", f"not JSON: {line[:500]!r}")
                continue
            kind = message.get("type")
            if kind == "SCHEMA":
                schemas[message["stream"]] = message
            elif kind == "RECORD":
                wrong = _breaks(message, schemas)
                if wrong:
                    self._fail("schema", f"{wrong}: {line[:500]}")
            elif kind not in ("STATE", "ACTIVATE_VERSION"):
                self._fail("lines", f"of no known type: {line[:500]}")
            messages.append(message)
        self._check_first_state(messages, given)
        return messages

    def _check_first_state(
        self, messages: list[dict[str, Any]], given: dict[str, Any] | None
    ) -> None:
        kinds = [each["type"] for each in messages]
        if "RECORD" not in kinds:
            return
        before = [each for each in messages[: kinds.index("RECORD")] if each["type"] == "STATE"]
        if not before:
            self._fail("first-state", "no STATE stands before the first RECORD")
            return
        if "bookmarks" not in before[0]["value"]:
            self._fail("first-state", f"it has no bookmarks: {before[0]}")
        for stream in BOOKMARK_KEYS:
            old, new = read_claim(given, stream), read_claim(before[0]["value"], stream)
            is_wider = (
                new.bookmark != old.bookmark
                or (old.lists is not None and not (new.lists or frozenset()) <= old.lists)
                or not new.offset_lists <= old.offset_lists
                or not set(old.debts) <= set(new.debts)
            )
            if is_wider:
                self._fail(
                    "first-state", f"it claims what was not given: {stream} {old} became {new}"
                )

    def _check_the_end(self) -> None:
        lost = self._owed.lost_in_the_end()
        state = self._backend.state
        if lost:
            self._fail("loss in the end", self._describe(lost, None, state))
        for stream in BOOKMARK_KEYS:
            claim = read_claim(state, stream)
            is_whole = claim.bookmark == self._clock.replace(tzinfo=UTC) and not claim.offset_end
            # What was owed of a message may be so until the config wants that message again.
            debts = [debt for debt in claim.debts if debt.msg_id not in self._unwanted()]
            if debts or not is_whole or not self._lists() <= (claim.lists or set()):
                self._fail("unfinished", f"{stream}: {claim}")
        rows = sum(len(each) for each in self._account.recorded.values())
        self.counts.update({"histories": 1, "rows": rows})
        self.counts["rows owed"] += sum(len(each) for each in self._owed.bound.values())


def _breaks(message: dict[str, Any], schemas: dict[str, dict[str, Any]]) -> str | None:
    """What of its SCHEMA a RECORD breaks, as far as that is checked quickly."""
    schema = schemas.get(message["stream"])
    if schema is None:
        return "a RECORD before its SCHEMA"
    record, properties = message["record"], schema["schema"]["properties"]
    for name in schema["key_properties"]:
        if record.get(name) is None:
            return f"no {name}, which is of the key"
    types = {
        "null": type(None),
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "array": list,
        "object": dict,
    }
    for name, value in record.items():
        if name not in properties:
            return f"{name} is not in the SCHEMA"
        allowed = properties[name]["type"]
        allowed = [allowed] if isinstance(allowed, str) else allowed
        if not any(isinstance(value, types[each]) for each in allowed):  # type: ignore[arg-type] # a type or several
            return f"{name} is not of type {allowed}"
        is_date = properties[name].get("format") == "date-time" and value is not None
        if is_date and not _DATE_TIME.fullmatch(value):
            return f"{name} is no date-time"
    return None


_CATALOGS: list[dict[str, Any]] = []


def _catalog(tap: Tap) -> dict[str, Any]:
    """What discovery prints, asked for once: it is read for selection only."""
    if not _CATALOGS:
        rules, tap.service.rules[:] = list(tap.service.rules), []
        _CATALOGS.append(tap.discover())
        tap.service.rules[:] = rules
    return _CATALOGS[0]


# Many histories


@contextlib.contextmanager
def state_behind_every_page() -> Iterator[None]:
    """Let the tap write a STATE whenever it has something new to say."""
    found = None
    for name in ("tap_listrak.sync.runner", "tap_listrak.sync"):
        with contextlib.suppress(ImportError):
            module = importlib.import_module(name)
            if found is None and hasattr(module, "SECONDS_BETWEEN_STATES"):
                found = module
    assert found, "no module of the tap has SECONDS_BETWEEN_STATES"
    seconds = vars(found)["SECONDS_BETWEEN_STATES"]
    vars(found)["SECONDS_BETWEEN_STATES"] = 0.0
    os.environ["TAP_LISTRAK_LOGLEVEL"] = "WARNING"
    try:
        yield
    finally:
        vars(found)["SECONDS_BETWEEN_STATES"] = seconds
        del os.environ["TAP_LISTRAK_LOGLEVEL"]


MakeHistory = Callable[[int, Path, frozenset[str]], History]


def play(
    seed: int, ignored: frozenset[str] = frozenset(), make_history: MakeHistory = History
) -> Told:
    """Play the history of a seed, and tell what became of it."""
    with tempfile.TemporaryDirectory() as folder, state_behind_every_page():
        history = make_history(seed, Path(folder), ignored)
        failure = kind = None
        try:
            history.play()
        except Failed as failed:
            failure, kind = str(failed), failed.kind
        except Exception:
            failure, kind = traceback.format_exc(), "bug"
    account = "\n".join(history.told)
    return Told(seed, failure, kind, account, history.counts, history.command)


def play_many(
    seeds: Iterable[int],
    processes: int = 1,
    ignored: frozenset[str] = frozenset(),
    make_history: MakeHistory = History,
) -> Iterator[Told]:
    """Play histories, so many at once, each process taking a few at a time."""
    play_one = functools.partial(play, ignored=ignored, make_history=make_history)
    if processes == 1:
        yield from map(play_one, seeds)
        return
    rest = iter(seeds)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        # A pool takes all seeds that there are at once, and there may be no end of them.
        while batch := list(itertools.islice(rest, 10 * processes)):
            yield from pool.imap_unordered(play_one, batch)


def describe(told: Told) -> str:
    """Tell of a history that failed, and how to play it again."""
    return (
        f"History {told.seed} failed.\n{told.account}\n{told.failure}\n"
        f"Again: python -m {told.command} --seed {told.seed}"
    )


def summary(counts: Counter[str]) -> str:
    """What was played, as lines."""
    return "\n".join(f"{counts[name]:>9,} {name}" for name in sorted(counts) if counts[name])


def main(description: str | None = __doc__, make_history: MakeHistory = History) -> int:
    """Play what the command line says; the exit code is 1 if one failed."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, help="play this one alone, and tell of it in any case")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--count", type=int, default=50, help="how many")
    parser.add_argument("--seconds", type=float, help="as many as take so long, instead")
    parser.add_argument("--processes", type=int, default=1, help="at once")
    parser.add_argument("--ignore", default="", help="kinds of failures, separated by commas")
    parser.add_argument("--brief", action="store_true", help="tell of a failure in one line")
    parser.add_argument("--stop", action="store_true", help="stop at the first failure")
    options = parser.parse_args()
    ignored = frozenset(options.ignore.split(",")) - {""}
    if options.seed is not None:
        told = play(options.seed, ignored, make_history)
        print(describe(told) if told.failure else told.account)
        return int(told.failure is not None)
    until = time.monotonic() + (options.seconds or 0)

    def seeds() -> Iterator[int]:
        for number in itertools.count():
            is_over = time.monotonic() >= until if options.seconds else number >= options.count
            if is_over:
                return
            yield options.first + number

    counts, failed = Counter[str](), 0
    for told in play_many(seeds(), options.processes, ignored, make_history):
        counts.update(told.counts)
        if told.failure:
            failed += 1
            counts[f"histories that failed: {told.kind}"] += 1
            line = f"{told.seed}: {told.failure.splitlines()[0][:160]}"
            print(line if options.brief else describe(told), flush=True)
            if options.stop:
                break
    print(summary(counts))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
