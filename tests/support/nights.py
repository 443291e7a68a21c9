"""Run the tap night after night on an account with parts that fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from fake_listrak import Account, Ask, Reply, fault, html
from tap_listrak.streams import BY_NAME
from tests.support.accounts import list_ids
from tests.support.faults import NOW, START, tiny_account
from tests.support.tap import MakeTap, Run, Tap, catalog_of, keys_emitted, keys_held, workers_ended

NOT_FOUND = html(404)
REFUSED = fault("Op(): [Message] [Locked] It is locked")
Which = Callable[[Ask], bool]


def tap_for(
    make_tap: MakeTap, *streams: str, account: Account | None = None, **config: object
) -> Tap:
    """Return a tap for the tiny account (or another) with these streams, by default the nine."""
    tap = make_tap(account or tiny_account(), {"start_date": START, "concurrency": 1, **config})
    tap.catalog = catalog_of(*streams) if streams else None
    return tap


def night(tap: Tap, number: int = 0, after: Run | None = None, **given: Any) -> Run:
    """Run the tap `number` nights after the first; the service then holds only this run's calls."""
    tap.service.asked.clear()
    given.setdefault("state", after and after.state)
    with workers_ended():
        return tap.run(clock=lambda: NOW + timedelta(days=number), **given)


def instant(number: int = 0) -> str:
    """Return the time of a night, in the format of the state."""
    return f"{NOW + timedelta(days=number):%Y-%m-%dT%H:%M:%SZ}"


def fail_calls(tap: Tap, which: Which, reply: Reply = NOT_FOUND) -> None:
    """From now on, answer these calls with a fault."""
    tap.service.rules.append(lambda ask: reply if which(ask) else None)


def of_stream(stream: str, **arguments: object) -> Which:
    """Whether a call is a stream's and has these arguments (one value, or one of several)."""
    wanted = {
        name: set(map(str, value if isinstance(value, list) else [value]))
        for name, value in arguments.items()
    }
    return lambda ask: (
        ask.operation == BY_NAME[stream].operation
        and all(ask.arguments.get(name) in values for name, values in wanted.items())
    )


def fail(tap: Tap, stream: str, reply: Reply = NOT_FOUND, **arguments: object) -> None:
    """Answer a stream's calls that have these arguments with a fault, from now on."""
    fail_calls(tap, of_stream(stream, **arguments), reply)


def change(tap: Tap, stream: str, by: Callable[[bytes], bytes], **arguments: object) -> None:
    """Change the replies to a stream's calls that have these arguments, from now on."""
    which = of_stream(stream, **arguments)

    def rule(ask: Ask) -> Reply | None:
        honest = ask.honest() if which(ask) else None
        return honest and replace(honest, body=by(honest.body))

    tap.service.rules.append(rule)


def heal(tap: Tap) -> None:
    """Answer all calls as usual again."""
    tap.service.rules.clear()


def calls(tap: Tap, stream: str, **arguments: object) -> list[Ask]:
    """The last run's calls for a stream that have these arguments."""
    return list(filter(of_stream(stream, **arguments), tap.service.asked))


def first_list(tap: Tap) -> int:
    """The first list of the tap's account."""
    return list_ids(tap.service.account)[0]


def msg_ids(tap: Tap) -> list[int]:
    """Return the messages in walk order, if each list has one window."""
    account = tap.service.account
    return [
        each
        for list_id in list_ids(account)
        for each in sorted(int(str(row["MsgID"])) for row in account.messages(list_id))
    ]


def missing(tap: Tap, *runs: Run) -> dict[str, int]:
    """Return the number of rows that these runs did not emit, by synced stream."""
    emitted = keys_emitted(*runs)
    held = keys_held(tap.service.account, [BY_NAME[name] for name in emitted])
    lost = {name: (held[name] - emitted[name]).total() for name in emitted}
    return {name: count for name, count in lost.items() if count}
