"""Run the service on its own: `python -m fake_listrak`.

Print the address of the WSDL as the only line on stdout, and serve until SIGTERM or SIGINT.
GET /asked returns the number of calls by operation, GET /rows the number of rows by table.
"""

from __future__ import annotations

import argparse
import signal
import threading
from dataclasses import fields
from datetime import datetime

from fake_listrak.account import Account
from fake_listrak.generator import Shape
from fake_listrak.server import CREDENTIALS, ListrakService


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fake_listrak",
        description="Serve a fake Listrak SOAP service on 127.0.0.1, with a made-up account. "
        "Print the address of its WSDL, and run until SIGTERM or SIGINT.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="port to listen on; 0 for any free port")
    add("--username", default=CREDENTIALS[0], help="user name to accept")
    add("--password", default=CREDENTIALS[1], help="password to accept")
    add("--latency", type=float, default=0.0, help="seconds to wait before each reply")
    add("--wsdl", choices=("full", "nine"), default="full",
        help="serve all operations, or only those of the nine published tables")  # fmt: skip
    add("--page-size", type=int, default=100, help="number of rows on each page")
    for each in fields(Shape):
        if each.metadata:
            name = f"--{each.name.replace('_', '-')}"
            add(name, type=int, default=each.default, help=each.metadata["help"])
    for name, which in (("start", "earliest"), ("end", "latest")):
        meaning = f"{which} date of all rows, in UTC"
        add(f"--{name}", type=datetime.fromisoformat, default=getattr(Shape, name), help=meaning)
    add("--timezone", default="UTC", help="time zone of dates and times")
    add("--offsets", action="store_true", help="write dates and times with their UTC offset")
    add("--event-dates", choices=("iso", "us"), default="iso",
        help="format of event dates: 2026-01-31T13:05:00 or 1/31/2026 1:05:00 PM")  # fmt: skip
    add("--count", nargs=2, action="append", default=[], metavar=("OPERATION", "N"),
        help="return exactly N rows per message or conversation from this operation, such as "
        "ReportRangeMessageContactOpen; may be repeated")  # fmt: skip
    return parser


def main() -> None:
    """Serve until a signal."""
    parser = _arguments()
    options = vars(parser.parse_args())
    names = ("port", "username", "password", "latency", "wsdl")
    service_options = {name: options.pop(name) for name in names}
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


if __name__ == "__main__":
    main()
