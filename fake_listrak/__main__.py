"""Run the service on its own: `python -m fake_listrak`.

Print the address of the WSDL as the only line on stdout, and serve until SIGTERM or SIGINT.
GET /asked returns the number of calls by operation, GET /rows the number of rows by table.
"""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Final

from fake_listrak.account import Account
from fake_listrak.generator import Shape
from fake_listrak.server import CREDENTIALS, ListrakService

_SERVICE: Final = ("port", "username", "password", "latency", "wsdl")


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
    add("--wsdl", choices=("full", "nine"), default="full", help="operations that there are")
    for each in fields(Shape):
        if each.metadata:
            option = f"--{each.name.replace('_', '-')}"
            add(option, type=int, default=each.default, help=each.metadata["help"])
    add("--page-size", type=int, default=100, help="rows on a page")
    for name, meaning in (("start", "first date, UTC"), ("end", "last date, UTC")):
        add(f"--{name}", type=datetime.fromisoformat, default=getattr(Shape, name), help=meaning)
    add("--timezone", default="UTC", help="zone of the times on the wire")
    add("--offsets", action="store_true", help="give xs:dateTime values an offset")
    add("--event-dates", choices=("iso", "us"), default="iso", help="form of the event dates")
    add("--count", nargs=2, action="append", default=[], metavar=("OPERATION", "N"),
        help="exact rows of each message or conversation; may be repeated")  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; return the exit code 0."""
    parser = _arguments()
    options = vars(parser.parse_args(arguments))
    service_options = {name: options.pop(name) for name in _SERVICE}
    try:
        counts = {operation: int(number) for operation, number in options.pop("count")}
        account = Account(**options, counts=counts)
    except (ValueError, KeyError) as error:
        parser.error(str(error))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ListrakService(account, record=False, **service_options) as service:
        print(service.url, flush=True)
        stop.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
