"""What goes wrong in a history: faults of the service, at the wire."""

import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from fake_listrak import OPERATIONS, Ask, ListrakService, Reply, fault, html, raw
from tests.histories.account import MESSAGE_STREAMS, OPERATION_OF, AccountRow, MadeUpAccount

CONTACT_WINDOW: Final = timedelta(days=31)
"""Longer than any window in which contacts are requested."""
MAX_REPLY_BYTES: Final = 192 * 1024
"""What the tap is told to take as the largest reply, so that one too large costs little."""


def _changed(ask: Ask, change: Callable[[bytes], bytes]) -> Reply:
    honest = ask.honest()
    return replace(honest, body=change(honest.body))


def _unreadable(body: bytes) -> bytes:
    """Spoil a value that is not of type text; a reply without one stays as it is."""
    return re.sub(rb"<(BounceCount|AdditionDate|RemovalDate|OpenCount)>[^<]*<", rb"<\1>soon<", body)


RETRIED: Final[dict[str, Callable[[Ask], Reply]]] = {
    "502": lambda ask: html(502),
    "reset": lambda ask: Reply(reset=True),
    "half a body": lambda ask: _changed(ask, lambda body: body[: len(body) // 2]),
    "page for people": lambda ask: raw(b"<html>Down for maintenance</html>", 200, "text/html"),
}
NOT_RETRIED: Final[dict[str, Callable[[Ask], Reply]]] = {
    "refused": lambda ask: fault(f"{ask.operation}(): [Report] [InvalidMessage] Not for you"),
    "400": lambda ask: html(400),
}
REPLIES: Final[dict[str, Callable[[Ask], Reply]]] = {
    **RETRIED,
    **NOT_RETRIED,
    "unreadable": lambda ask: _changed(ask, _unreadable),
    "repeated": lambda ask: replace(ask, arguments={**ask.arguments, "Page": "1"}).honest(),
    "too large": lambda ask: _changed(ask, lambda body: body + b" " * MAX_REPLY_BYTES),
    "unable to read": lambda ask: fault("Server was unable to read request. ---> Wrong"),
    "logon": lambda ask: fault(f"{ask.operation}(): [Logon] [SystemUnavailable] Not now"),
}


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

    def strikes(self, ask: Ask, attempt: int) -> bool:
        """Return whether this try of a call is struck."""
        if attempt > self.tries or (self.stream and OPERATION_OF[self.stream] != ask.operation):
            return False
        arguments = ask.arguments
        ID = int(arguments.get("MsgID") or arguments.get("ListID") or 0)
        if self.ids is not None and ID not in self.ids:
            return False
        if int(arguments.get("Page", "1")) < self.since_page:
            return False
        if self.poison or self.longest:
            bounds = (datetime.fromisoformat(arguments[each]) for each in ("StartDate", "EndDate"))
            start, end = bounds
            if self.poison and not start <= self.poison <= end:
                return False
            if self.longest and end - start <= self.longest:
                return False
        call = f"{self.salt} {ask.operation} {sorted(arguments.items())}"
        return self.one_in == 1 or random.Random(call).randrange(self.one_in) == 0

    def excuses(self, row: AccountRow) -> bool:
        """Return whether a run under this fault may lack a row."""
        if not self.is_lasting or self.stream is None:
            return self.how == "logon"
        if self.stream == "lists":
            return True
        if self.stream == "messages":
            is_struck = row.stream in MESSAGE_STREAMS and self.how != "unreadable"
            is_struck |= row.stream == "messages"
            return is_struck and (self.ids is None or row.list_id in self.ids)
        is_near = self.poison is None or abs(row.wall - self.poison) <= CONTACT_WINDOW
        ID = row.list_id if row.msg_id is None else row.msg_id
        return row.stream == self.stream and is_near and (self.ids is None or ID in self.ids)


def draw_blip(rng: random.Random) -> Fault:
    """Draw a fault that retries or shorter windows get past."""
    if rng.random() < 0.25:
        stream = rng.choice(("messages", "subscribed_contacts"))
        return Fault("too large", stream, 1, longest=timedelta(days=rng.choice((2, 5, 20))))
    # Rare enough that hardly ever six calls of a stream fail in a row, which ends the retries.
    tries, one_in = rng.choice(((1, 20), (2, 50)))
    how, nights, salt = rng.choice([*RETRIED]), rng.choice((1, 3)), rng.randrange(10**9)
    return Fault(how, None, nights, tries=tries, one_in=one_in, salt=salt)


def draw_lasting(
    rng: random.Random, account: MadeUpAccount, selected: Sequence[str], poison: datetime
) -> Fault:
    """Draw a fault of a stream, or of parts of it, that nothing gets past while it is there.

    poison: a wall time of which the window may be bad, where it is of a list.
    """
    kind, stream, nights = rng.random(), rng.choice(selected), rng.choice((1, 1, 2, 4, 99))
    how = rng.choice((*RETRIED, *NOT_RETRIED))
    if kind < 0.25:
        if stream == "lists":
            return Fault(rng.choice((*RETRIED, "refused", "logon")), stream, 1)
        return Fault(rng.choice((how, how, how, "unable to read")), stream, nights)
    how, page = rng.choice((how, how, "unreadable")), rng.choice((1, 1, 1, 2))
    messages = sorted(account.messages_by_id)
    if kind > 0.4 and stream in MESSAGE_STREAMS and messages:
        ids = rng.sample(messages, min(len(messages), rng.choice((1, 1, 2, 3))))
        how = rng.choice((how, how, how, "repeated"))
        return Fault(how, stream, nights, frozenset(ids), since_page=page)
    ids, bad = [rng.choice(account.list_ids)], rng.choice((None, poison))
    if kind < 0.4:
        return Fault(how, "messages", nights, frozenset(ids), bad)
    return Fault(how, "subscribed_contacts", nights, frozenset(ids), bad, since_page=page)


class Outage(NamedTuple):
    """The service refuses connections after some calls of a run, for some seconds."""

    after_calls: int
    seconds: int


class Wire:
    """The faults of one run, as a rule of the service; and the made-up clock that it sleeps by.

    event: happens after a number of calls. calls, answered: how many calls of each stream there
    were, and how many no fault struck.
    """

    def __init__(
        self,
        service: ListrakService,
        clock: datetime,
        faults: Collection[Fault],
        outage: Outage | None,
        event: tuple[int, Callable[[], None]] | None,
    ) -> None:
        self.calls: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.clock = clock
        self._service = service
        self._faults = faults
        self._outage = outage
        self._refuses_until: datetime | None = None
        self._event = event
        self._attempts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        """Let the made-up clock pass."""
        with self._lock:
            self.clock += timedelta(seconds=seconds)
            if self._refuses_until and self.clock >= self._refuses_until:
                self.end_outage()

    def end_outage(self) -> None:
        """Accept connections again, if they are refused."""
        if self._refuses_until:
            self._service.accept_again()
        self._refuses_until = None

    def __call__(self, ask: Ask) -> Reply | None:
        """Answer a call as the faults have it; None where they let it be."""
        if ask.operation == "WSDL":
            return None
        stream = OPERATIONS[ask.operation].table
        call = f"{ask.operation} {sorted(ask.arguments.items())}"
        with self._lock:
            self.calls[stream] += 1
            self._attempts[call] += 1
            if self._event and self.calls.total() == self._event[0]:
                self._event[1]()
            if self._outage and self.calls.total() == self._outage.after_calls:
                self._refuses_until = self.clock + timedelta(seconds=self._outage.seconds)
                self._service.refuse_connections()
                return Reply(reset=True)
            struck = (each for each in self._faults if each.strikes(ask, self._attempts[call]))
            found = next(struck, None)
            self.answered[stream] += found is None
        return REPLIES[found.how](ask) if found else None
