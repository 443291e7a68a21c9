"""What goes wrong in a history: faults of the service, at the wire."""

import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from fake_listrak import OPERATIONS, Ask, ListrakService, Reply, fault, html, raw, with_exception
from tests.histories.account import MESSAGE_STREAMS, OPERATION_OF, AccountRow, MadeUpAccount

CONTACT_WINDOW: Final = timedelta(days=31)
"""Longer than any window in which contacts are requested."""
MAX_REPLY_BYTES: Final = 48 * 1024
"""What the tap is told to take as the largest reply, so that one too large costs little."""


def _cut(ask: Ask) -> Reply:
    honest = ask.honest()
    return replace(honest, cut=len(honest.body) // 2)


def _exception(ask: Ask, text: str) -> Reply:
    if not OPERATIONS[ask.operation].takes_exception:
        return fault(f"{ask.operation}(): {text}")
    return with_exception(ask, text)


def _unreadable(ask: Ask) -> Reply:
    """Spoil a value that is not of type text; a reply without one stays as it is."""
    honest = ask.honest()
    names = rb"<(BounceCount|AdditionDate|RemovalDate|OpenCount)>[^<]*<"
    return replace(honest, body=re.sub(names, rb"<\1>soon<", honest.body))


def _repeated(ask: Ask) -> Reply:
    return replace(ask, arguments={**ask.arguments, "Page": "1"}).honest()


def _too_large(ask: Ask) -> Reply:
    honest = ask.honest()
    return replace(honest, body=honest.body + b" " * MAX_REPLY_BYTES)


REPLIES: Final[dict[str, Callable[[Ask], Reply]]] = {
    "refused": lambda ask: fault(f"{ask.operation}(): [Report] [InvalidMessage] Not for you"),
    "exception with a code": lambda ask: _exception(ask, "[Report] [InvalidMessage] Not for you"),
    "400": lambda ask: html(400),
    "410": lambda ask: html(410),
    "404": lambda ask: html(404),
    "502": lambda ask: html(502),
    "500": lambda ask: fault("Server was too busy"),
    "exception": lambda ask: _exception(ask, "The report is not ready"),
    "reset": lambda ask: Reply(reset=True),
    "cut": _cut,
    "half a body": lambda ask: raw(ask.honest().body[: len(ask.honest().body) // 2]),
    "page for people": lambda ask: raw(b"<html>Down for maintenance</html>", 200, "text/html"),
    "unreadable": _unreadable,
    "repeated": _repeated,
    "too large": _too_large,
    "unable to read": lambda ask: fault("Server was unable to read request. ---> Wrong"),
    "logon": lambda ask: fault(f"{ask.operation}(): [Logon] [SystemUnavailable] Not now"),
}
RETRIED: Final = (
    "404", "502", "500", "exception", "reset", "cut", "half a body", "page for people"
)  # fmt: skip
NOT_RETRIED: Final = ("refused", "exception with a code", "400", "410")
REFUSED: Final = ("refused", "exception with a code")


@dataclass
class Fault:
    """What goes wrong with some calls, for some tries of each and some nights.

    stream, ids: whose calls are struck: of this stream, with one of these ListIDs or MsgIDs; None
        means any.
    poison: only windows that hold this wall time are struck. longest: only windows longer than
        this are.
    tries: how many tries of each call fail. one_in: only one call in this number is struck, which
        depends on the call and `salt` alone.
    """

    kind: str
    how: str
    stream: str | None
    nights: int
    ids: frozenset[int] | None = None
    poison: datetime | None = None
    longest: timedelta | None = None
    since_page: int = 1
    tries: int = 99
    one_in: int = 1
    salt: int = 0

    @property
    def is_lasting(self) -> bool:
        """Return whether no retry and no shorter window gets past it."""
        return self.tries > 5 and self.longest is None

    @property
    def is_dead_stream(self) -> bool:
        """Return whether no call of its stream is answered."""
        is_whole = self.ids is None and self.poison is None and self.since_page == 1
        return self.is_lasting and is_whole and self.stream is not None

    def strikes(self, ask: Ask, attempt: int) -> bool:
        """Return whether this try of a call is struck."""
        if attempt > self.tries or (self.stream and OPERATION_OF[self.stream] != ask.operation):
            return False
        arguments = ask.arguments
        ID = arguments.get("MsgID") or arguments.get("ListID") or "0"
        if self.ids is not None and int(ID) not in self.ids:
            return False
        if int(arguments.get("Page", "1")) < self.since_page:
            return False
        if self.poison or self.longest:
            start, end = (
                datetime.fromisoformat(arguments[each]).replace(tzinfo=None)
                for each in ("StartDate", "EndDate")
            )
            if self.poison and not start <= self.poison <= end:
                return False
            if self.longest and end - start <= self.longest:
                return False
        call = f"{self.salt} {ask.operation} {sorted(arguments.items())}"
        return self.one_in == 1 or random.Random(call).randrange(self.one_in) == 0

    def excuses(self, row: AccountRow, account: MadeUpAccount, message_window: timedelta) -> bool:
        """Return whether a run under this fault may lack a row.

        message_window: the longest window in which messages were requested.
        """
        if not self.is_lasting or self.stream is None:
            return self.how == "logon"
        if self.stream == "lists":
            return True
        ID = row.list_id if row.msg_id is None else row.msg_id
        wall, window, is_struck = row.wall, CONTACT_WINDOW, row.stream == self.stream
        if self.stream == "messages":
            is_struck |= row.stream in MESSAGE_STREAMS and self.how != "unreadable"
            ID, window = row.list_id, message_window
            wall = account.messages_by_id[row.msg_id].wall if row.msg_id else wall
        is_near = self.poison is None or abs(wall - self.poison) <= window
        return is_struck and is_near and (self.ids is None or ID in self.ids)

    def __str__(self) -> str:
        parts = [self.how, self.stream or "any stream", f"{self.nights} nights"]
        parts += [f"of {sorted(self.ids)[:6]}"] if self.ids else []
        parts += [f"windows with {self.poison}"] * bool(self.poison)
        parts += [f"windows over {self.longest}"] * bool(self.longest)
        parts += [f"from page {self.since_page}"] * (self.since_page > 1)
        parts += [f"{self.tries} tries of one call in {self.one_in}"] * (self.tries < 99)
        return f"{self.kind}: {', '.join(parts)}"


def draw_blip(rng: random.Random) -> Fault:
    """Draw a fault that retries or shorter windows get past."""
    if rng.random() < 0.25:
        stream = rng.choice(("messages", "subscribed_contacts"))
        longest = timedelta(days=rng.choice((2, 5, 20)))
        return Fault("window too long", "too large", stream, 1, longest=longest)
    # Rare enough that hardly ever six calls of a stream fail in a row, which ends the retries.
    tries, one_in = rng.choice(((1, 20), (2, 50)))
    how, nights, salt = rng.choice(RETRIED), rng.choice((1, 3)), rng.randrange(10**9)
    return Fault("blip", how, None, nights, tries=tries, one_in=one_in, salt=salt)


def draw_lasting(
    rng: random.Random, account: MadeUpAccount, selected: Sequence[str], poison: datetime
) -> Fault:
    """Draw a fault of a stream, or of parts of it, that nothing gets past while it is there.

    poison: a wall time of which the window may be bad, where it is of a list.
    """
    kind, stream, nights = rng.random(), rng.choice(selected), rng.choice((1, 1, 2, 4, 99))
    how = rng.choice((*RETRIED, *NOT_RETRIED))
    if kind < 0.25:
        how = rng.choice((how, how, how, "unable to read"))
        if stream == "lists":
            how, nights = rng.choice((*RETRIED, *REFUSED, "logon")), 1
        return Fault("dead stream", how, stream, nights)
    how, page = rng.choice((how, how, "unreadable")), rng.choice((1, 1, 1, 2))
    messages = sorted(account.messages_by_id)
    if kind > 0.4 and stream in MESSAGE_STREAMS and messages:
        ids = rng.sample(messages, min(len(messages), rng.choice((1, 1, 2, 3))))
        if rng.random() < 0.2:  # the newest
            ids = [max(messages, key=lambda each: account.messages_by_id[each].wall)]
        how = rng.choice((how, how, how, "repeated"))
        return Fault("bad part", how, stream, nights, frozenset(ids), since_page=page)
    ids = [rng.choice(sorted(account.lists_by_id))]
    bad = rng.choice((None, poison))
    if kind < 0.4:
        return Fault("bad window of messages", how, "messages", nights, frozenset(ids), bad)
    kind_of, stream = "bad window of contacts", "subscribed_contacts"
    return Fault(kind_of, how, stream, nights, frozenset(ids), bad, since_page=page)


@dataclass
class Outage:
    """The service refuses connections after some calls of a run, for some seconds."""

    after_calls: int
    seconds: float

    def __str__(self) -> str:
        return f"outage of {self.seconds:.0f} s after {self.after_calls} calls"


class Wire:
    """The faults of a run, as a rule of the service; and the made-up clock that a run sleeps by.

    calls, answered: how many calls of each stream there were in this run, and how many no fault
    struck. struck: how many each fault did.
    """

    def __init__(self, service: ListrakService) -> None:
        self.calls: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self.clock = datetime(2026, 1, 1)
        self._service = service
        self._faults: list[Fault] = []
        self._outage: Outage | None = None
        self._refused_at: datetime | None = None
        self._after_calls: tuple[int, Callable[[], None]] | None = None
        self._attempts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def begin_run(
        self,
        clock: datetime,
        faults: Iterable[Fault],
        outage: Outage | None,
        after_calls: tuple[int, Callable[[], None]] | None,
    ) -> None:
        """Set what happens in a run; `after_calls` is what happens after a number of calls."""
        for counter in (self._attempts, self.struck, self.answered, self.calls):
            counter.clear()
        self.clock = clock
        # The first that strikes decides, and a dead stream answers nothing.
        self._faults = sorted(faults, key=lambda each: not each.is_dead_stream)
        self._outage, self._after_calls = outage, after_calls

    def end_run(self) -> None:
        """End an outage that has lasted longer than the run."""
        if self._refused_at:
            self._service.accept_again()
        self._refused_at = None

    def sleep(self, seconds: float) -> None:
        """Let the made-up clock pass."""
        with self._lock:
            self.clock += timedelta(seconds=seconds)
            seconds = self._outage.seconds if self._outage else 0.0
            if self._refused_at and self.clock >= self._refused_at + timedelta(seconds=seconds):
                self._service.accept_again()
                self._refused_at = None

    def __call__(self, ask: Ask) -> Reply | None:
        """Answer a call as the faults have it; None where they let it be."""
        if ask.operation == "WSDL":
            return None
        stream = OPERATIONS[ask.operation].table
        with self._lock:
            self.calls[stream] += 1
            total = self.calls.total()
            call = f"{ask.operation} {sorted(ask.arguments.items())}"
            self._attempts[call] += 1
            attempt = self._attempts[call]
            if self._after_calls and total == self._after_calls[0]:
                self._after_calls[1]()
            if self._outage and total == self._outage.after_calls:
                self._refused_at = self.clock
                self._service.refuse_connections()
                return Reply(reset=True)
        for each in self._faults:
            if each.strikes(ask, attempt):
                with self._lock:
                    self.struck[f"{each.kind}: {each.how}"] += 1
                return REPLIES[each.how](ask)
        with self._lock:
            self.answered[stream] += 1
        return None
