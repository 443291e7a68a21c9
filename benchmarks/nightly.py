"""What a night costs on an account of many old messages: calls and CPU, night by night.

1,000 messages over three years, a quarter of which go on having events. Each night the tap, a
process of its own whose clock is made up, gets the state of the night before, from an account that
shows events and counts up to that night. Calls are compared with the least possible: the pages of
the messages and streams that have something new since the night before, each with the empty page
that ends it, and the calls for lists and messages. The calls for the messages of a turn are
subtracted first.

Lateness is that of events of messages older than `recent_days`: the share that came in the run of
the night after they happened. Bounces have no count, so they come in turn.

The state of the first night says that all was synced a day before, without the options. So with
them that night requests every message; it is not counted. Without them every night does, so one
night is measured. With them the nights are more than `older_every_days`, so that the events of the
first of them have all had their turn, and one that has not come is missing.

The account's MsgIDs are consecutive, so that equally many messages are due each night. If all IDs
shared a factor with `older_every_days`, some nights would request more than others.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.clocked import COUNTS, ClockedAccount
from benchmarks.processes import PASSWORD, USERNAME, Cost, measure, scaled, selecting
from benchmarks.table import Line
from fake_listrak import Account, ListrakService
from fake_listrak.clock import DAY as MICROSECONDS_A_DAY
from fake_listrak.clock import Range, instant
from tap_listrak.config import OPTIONS
from tap_listrak.streams import BY_NAME, PUBLISHED, Per

START, FIRST_NIGHT = datetime(2023, 1, 1), datetime(2026, 1, 1, 2)
LISTS, PAGE_SIZE, INTERVAL_DAYS = 10, 1000, 365
DAY, LOOKBACK = timedelta(days=1), timedelta(days=1)
RARE = 90  # the older_every_days whose targets are checked
NIGHTS_AFTER_TURNS = 10
EVENTS = [each for each in PUBLISHED if each.can_rotate and each.per is Per.MESSAGE]
# With a clock that does not move, given in place of the first argument.
RUN = """
import datetime, sys
from tap_listrak.cli import main
now = datetime.datetime.fromisoformat(sys.argv[1])
sys.exit(main(sys.argv[2:], clock=lambda: now))
"""


@dataclass(frozen=True)
class Case:
    """A config, and for how many nights it is measured, after those that only prepare them."""

    name: str
    options: Mapping[str, int]
    nights: int
    nights_before: int = 1

    @property
    def days_late(self) -> int:
        """How many days an event may wait for its turn."""
        return self.options.get("older_every_days", 0)

    @property
    def is_known(self) -> bool:
        """Whether this version of the tap has the options."""
        return self.options.keys() <= OPTIONS.keys()


@dataclass
class Nights:
    """What the nights of a case took; the first night of each (stream, MsgID, email, date)."""

    costs: list[Cost] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    rows: dict[tuple[str, ...], int] = field(default_factory=dict)


@dataclass
class Expected:
    """What the account says of the nights: least calls, rows missing, and events by stream.

    Events are those of old messages: `old` all, `in_time` those that came the night after.
    """

    least: list[int]
    missing: int
    old: Counter[str]
    in_time: Counter[str]

    def share(self, *operations: str) -> float:
        """Return the share that came the night after; 1 if there is nothing."""
        names = [each.name for each in EVENTS if each.operation in operations]
        old = sum(self.old[name] for name in names)
        return sum(self.in_time[name] for name in names) / old if old else 1.0


def lines(folder: Path, *, quick: bool, share: float) -> Iterator[Line]:
    """Measure, and give the table's lines."""
    messages = max(LISTS, scaled(200 if quick else 1_000, share))
    cases = [Case("every message every night", {}, 1, nights_before=0)]
    for recent, every in ((30, 7), (30, 30), (3, RARE)):
        options = {"recent_days": recent, "older_every_days": every}
        nights = scaled(every + NIGHTS_AFTER_TURNS, share)
        cases.append(Case(f"recent {recent}, older every {every}", options, nights))
    for case in cases:
        if not case.is_known:
            yield Line(f"{case.name}: this version of the tap has no such options", 0, "")
            continue
        shape: dict[str, Any] = {
            "lists": LISTS,
            "messages": messages // LISTS,
            "message_step": 1,
            "conversations": 0,
            "contacts": 0,
            "sends": 300,
            "page_size": PAGE_SIZE,
            "start": START,
            "end": FIRST_NIGHT + (case.nights + 3) * DAY,
        }
        account = ClockedAccount(**shape)
        with ListrakService(account, USERNAME, PASSWORD, record=False) as service:
            taken = _nights(case, service, account, folder)
        yield from _told(case, messages, taken, account)


def _nights(case: Case, service: ListrakService, account: ClockedAccount, folder: Path) -> Nights:
    taken = Nights()
    ListIDs = sorted(int(str(row["ListID"])) for row in account.lists())
    before = f"{FIRST_NIGHT - DAY:%Y-%m-%dT%H:%M:%SZ}"
    covers = {"start_date": f"{START:%Y-%m-%dT%H:%M:%SZ}", "end": before, "list_ids": ListIDs}
    state: Any = {
        "bookmarks": {
            each.name: {each.replication_key: before, "covers": [covers]} for each in EVENTS
        }
    }
    for night in range(case.nights_before + case.nights):
        now = FIRST_NIGHT + night * DAY
        account.now = instant(now)
        account.version += 1
        made = service.calls.total()
        out = folder / "night.jsonl"
        with out.open("wb") as printed:
            command = _command(case, service.url, folder, state, now)
            cost = measure(command, printed.fileno())
        state = _read(out, taken.rows, night)
        if night >= case.nights_before:
            taken.costs.append(cost)
            taken.calls.append(service.calls.total() - made)
    return taken


def _command(case: Case, url: str, folder: Path, state: Any, now: datetime) -> list[str]:
    config = {
        "username": USERNAME,
        "password": PASSWORD,
        "start_date": f"{START:%Y-%m-%d}",
        "wsdl_url": url,
        "interval_days": INTERVAL_DAYS,
        **case.options,
    }
    files = {
        "config": config,
        "catalog": selecting([each.name for each in EVENTS]),
        "state": state,
    }
    command = [sys.executable, "-c", RUN, f"{now.isoformat()}+00:00"]
    for name, value in files.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(value), "utf-8")
        command += [f"--{name}", str(path)]
    return command


def _read(out: Path, rows: dict[tuple[str, ...], int], night: int) -> Any:
    """Note which rows came first in a night's output; return its last STATE."""
    state = None
    with out.open("rb") as lines:
        for line in lines:
            message = json.loads(line)
            if message["type"] == "STATE":
                state = message["value"]
            elif message["type"] == "RECORD":
                rows.setdefault(_row(message["stream"], message["record"]), night)
    return state


def _row(stream: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    """What tells a row from others; dates in two forms are alike up to their second."""
    date = str(row[str(BY_NAME[stream].replication_key)])[:19]
    return stream, str(row["MsgID"]), str(row["EmailAddress"]), date


def _told(case: Case, messages: int, taken: Nights, account: ClockedAccount) -> Iterator[Line]:
    found = _expected(case, account, taken)
    at = f"{case.name}, {messages:,} messages, {len(EVENTS)} streams, {case.nights} nights"
    mean = statistics.mean(taken.calls)
    yield Line(
        f"calls a message a night: {at}",
        mean / messages,
        f"{mean:,.0f} calls a night",
    )
    yield Line(
        "the worst night's calls to the mean",
        max(taken.calls) / mean,
        f"{max(taken.calls):,} / {mean:,.0f}",
    )
    is_rare = case.days_late == RARE
    turns = messages * len(EVENTS) / case.days_late if case.days_late else 0
    least = statistics.mean(found.least)
    yield Line(
        "calls less those of turns, to the least possible",
        (mean - turns) / least,
        f"({mean:,.0f} - {turns:,.0f}) / {least:,.0f}",
        most=2 if is_rare else None,
    )
    yield Line(
        "old messages' events in the night after, of streams with a count",
        found.share(*COUNTS.values()),
        f"{found.share(*(each.operation for each in EVENTS)):.3f} of all streams; of each: "
        + ", ".join(f"{each.name[8:]} {found.share(each.operation):.2f}" for each in EVENTS),
        least=0.95 if is_rare else None,
    )
    yield Line(
        "CPU a night, whole process",
        statistics.mean(cost.cpu for cost in taken.costs),
        f"worst {max(cost.cpu for cost in taken.costs):.1f} s",
        unit=" s",
    )
    yield Line("rows missing", found.missing, f"{len(taken.rows):,} came", most=0)


def _expected(case: Case, account: ClockedAccount, taken: Nights) -> Expected:
    """Work out from the account what the nights should have brought, and what they did.

    A row is missing if it is older than the lookback, and than its message may wait for its turn.
    """
    nights = range(case.nights_before, case.nights_before + case.nights)
    last = FIRST_NIGHT + nights[-1] * DAY
    recent = timedelta(days=case.options.get("recent_days", 0)) // DAY * MICROSECONDS_A_DAY
    new = Range(instant(FIRST_NIGHT - DAY), instant(last))
    windows = math.ceil((last - START) / timedelta(days=INTERVAL_DAYS))
    calls: Counter[int] = Counter(dict.fromkeys(nights, 1 + LISTS * windows))
    found = Expected([], 0, Counter(), Counter())
    for MsgID, sent in _messages(account):
        days_late = 0 if sent >= new.end - recent else case.days_late
        due = instant(last - LOOKBACK - timedelta(days=days_late))
        for stream in EVENTS:
            rows: Counter[int] = Counter()
            for row in account.select(stream.operation, MsgID, new)[:]:
                moment = account.zone.read(str(row[str(stream.replication_key)]))
                assert moment is not None
                night = (moment - new.start) // MICROSECONDS_A_DAY
                rows[night] += 1
                came = taken.rows.get(_row(stream.name, {**row, "MsgID": MsgID}))
                found.missing += moment < due and came is None
                at = instant(FIRST_NIGHT + night * DAY)
                if night >= nights[0] and sent < at - recent:
                    found.old[stream.name] += 1
                    found.in_time[stream.name] += came == night
            for night, count in rows.items():
                calls[night] += math.ceil(count / PAGE_SIZE) + 1
    found.least = [calls[night] for night in nights]
    return found


def _messages(account: Account) -> Iterator[tuple[int, int]]:
    """Give the MsgID and send date of each message."""
    for listed in account.lists():
        for message in account.messages(int(str(listed["ListID"]))):
            sent = account.zone.read(str(message["SendDate"]))
            assert sent is not None
            yield int(str(message["MsgID"])), sent
