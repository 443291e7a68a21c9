"""A fake Listrak SOAP service on loopback, with a generated account.

It serves the v31 contract of `listrak_v31_full.wsdl` (or of `listrak_v31.wsdl`, which has only the
operations of the nine published tables) over real HTTP: for tests (in a thread, with scripted
faults), demonstrations and benchmarks (`python -m fake_listrak`).

The modules, each of which imports only modules above it:

    contract       the operations served: arguments, row elements, dates   (data)
    clock          zones, wire forms of times, rows spread over a span     (pure)
    seeded         seeded numbers, texts and addresses; rows by number     (pure)
    published      the nine published tables                               (no I/O)
    further        further tables of lists, messages and the account       (no I/O)
    conversations  conversations and their tables                          (no I/O)
    account        all tables together, changes between runs               (no I/O)
    wire           reads SOAP requests, writes replies and faults          (pure)
    server         HTTP, logon, scripted faults
"""

from fake_listrak.account import Account
from fake_listrak.contract import (
    FURTHER_OPERATIONS,
    OPERATIONS,
    PUBLISHED_OPERATIONS,
    Operation,
    Row,
    Value,
)
from fake_listrak.server import ListrakService, Rule
from fake_listrak.wire import Ask, Reply, fault, html, raw, redirect, with_exception

__all__ = [
    "FURTHER_OPERATIONS",
    "OPERATIONS",
    "PUBLISHED_OPERATIONS",
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
