"""A Listrak SOAP service on loopback, answering from a seeded account.

It speaks the v31 contract in `listrak_v31_full.wsdl` (or of its nine published tables alone, in
`listrak_v31.wsdl`) over real HTTP, for tests (in a thread of the test, scripted with faults),
demonstrations and benchmarks (`python -m fake_listrak`).

The modules, each using only those above it:

    contract       the operations served: arguments, row elements, dates   (data)
    clock          zones, wire forms of times, rows spread over a span     (pure)
    seeded         numbers, texts and addresses of a seed; rows by number  (pure)
    published      the nine published tables                               (no I/O)
    further        further tables of lists, messages and the account       (no I/O)
    conversations  conversations and their tables                          (no I/O)
    account        all tables together, changes between runs               (no I/O)
    wire           SOAP requests read, replies and faults written          (pure)
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
