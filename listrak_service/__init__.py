"""A Listrak SOAP service on loopback, answering from a seeded account.

It speaks the v31 contract in `listrak_v31.wsdl` over real HTTP, for tests (in a thread of the
test, scripted with faults), demonstrations and benchmarks (`python -m listrak_service`).

The modules, each using only those above it:

    contract   the nine operations: arguments, row elements, dates     (data)
    clock      zones, wire forms of times, rows spread over a span     (pure)
    account    rows by number, changes between runs                    (no I/O)
    wire       SOAP requests read, replies and faults written          (pure)
    server     HTTP, logon, scripted faults
"""

from listrak_service.account import Account
from listrak_service.contract import OPERATIONS, Operation, Row, Value
from listrak_service.server import ListrakService, Rule
from listrak_service.wire import Ask, Reply, fault, html, raw, redirect, with_exception

__all__ = [
    "OPERATIONS",
    "Account",
    "Ask",
    "ListrakService",
    "Operation",
    "Reply",
    "Row",
    "Rule",
    "Value",
    "fault",
    "html",
    "raw",
    "redirect",
    "with_exception",
]
