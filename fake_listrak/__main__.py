"""Run the service on its own: `python -m fake_listrak`.

Print the address of the WSDL as the only line on stdout, and serve until SIGTERM or SIGINT.
GET /asked returns the number of calls by operation, GET /rows the number of rows by table.
"""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Sequence
from datetime import datetime

from fake_listrak.account import Account
from fake_listrak.server import CREDENTIALS, ListrakService


def _count(text: str) -> tuple[str, int]:
    operation, _, number = text.partition("=")
    if not number.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not OPERATION=N")
    return operation, int(number)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fake_listrak",
        description="Listrak's SOAP service on loopback, over a seeded account.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="port of 127.0.0.1, 0 for any free one")
    add("--username", default=CREDENTIALS[0], help="user name taken")
    add("--password", default=CREDENTIALS[1], help="password taken")
    add("--latency", type=float, default=0.0, help="seconds before each answer")
    add("--seed", type=int, default=1, help="what every row follows from")
    add("--lists", type=int, default=3, help="contact lists")
    add("--messages", type=int, default=20, help="messages of each list")
    add("--contacts", type=int, default=200, help="subscribed contacts of each list")
    add("--sends", type=int, default=300, help="recipients of a message, about")
    add("--conversations", type=int, default=3, help="conversations of each list")
    add("--conversation-sends", type=int, default=300,
        help="rows of what a conversation sent, about")  # fmt: skip
    add("--campaigns", type=int, default=3, help="campaigns of each list")
    add("--transactional", type=int, default=2, help="transactional messages of each list")
    add("--removals", type=int, default=60, help="unsubscribes of each list")
    add("--hygiene", type=int, default=30, help="corrected addresses of each list")
    add("--imports", type=int, default=20, help="imports of each list")
    add("--complaints", type=int, default=40, help="complaints of the account")
    add("--unknown-messages", choices=("refused", "missing"), default="refused",
        help="what analytics of a message get that cannot be seen")  # fmt: skip
    add("--message-step", type=int, default=3, help="how far MsgIDs lie apart")
    add("--wsdl", choices=("full", "nine"), default="full", help="operations that there are")
    add("--page-size", type=int, default=100, help="rows on a page")
    add("--start", type=datetime.fromisoformat, default="2025-01-01", help="first date, UTC")
    add("--end", type=datetime.fromisoformat, default="2026-06-30", help="last date, UTC")
    add("--timezone", default="UTC", help="zone of the times on the wire")
    add("--offsets", action="store_true", help="give xs:dateTime values an offset")
    add("--event-dates", choices=("iso", "us"), default="iso", help="form of the event dates")
    add("--domains", choices=("text", "string"), default="text", help="form of the domains")
    add("--bounds", choices=("inclusive", "exclusive", "start"), default="inclusive",
        help="how StartDate and EndDate are compared")  # fmt: skip
    add("--empty", choices=("absent", "empty", "nil", "mixed"), default="mixed",
        help="form of an empty page")  # fmt: skip
    add("--count", type=_count, action="append", default=[], metavar="OPERATION=N",
        help="exact rows of each message or conversation; may be repeated")  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; return the exit code 0."""
    parser = _arguments()
    options = parser.parse_args(arguments)
    service_options = ("port", "username", "password", "latency", "wsdl", "count")
    shape = {name: value for name, value in vars(options).items() if name not in service_options}
    try:
        account = Account(**shape, counts=dict(options.count))
    except (ValueError, KeyError) as error:
        parser.error(str(error))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    service = ListrakService(
        account,
        options.username,
        options.password,
        options.latency,
        port=options.port,
        record=False,
        wsdl=options.wsdl,
    )
    with service:
        print(service.url, flush=True)
        stop.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
