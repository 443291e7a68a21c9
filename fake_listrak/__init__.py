"""A stand-in for Listrak's SOAP service, over real HTTP: for tests, the demo and benchmarks.

An `Account` is rows as on the wire, in lists by operation and parent (a list, message,
conversation, or the account). A generator fills them from a seed when they are first requested;
`add_…`, `hide_…` and `fill` change them. `ListrakService` serves an account by the v31 contract,
`listrak_v31_full.wsdl`, or its nine published operations alone; `Rule`s make it fail.

Each module imports only modules above it: contract (operations, from the WSDL), clock (times on
the wire), rows (one made-up row), generator (an account from a seed), tables (what a call returns),
account (changes of the tables), wire (SOAP), connections (HTTP), server.
"""

from fake_listrak.account import Account
from fake_listrak.contract import (
    FURTHER_OPERATIONS,
    OPERATIONS,
    PUBLISHED_OPERATIONS,
    Operation,
    Row,
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
    "fault",
    "html",
    "raw",
    "redirect",
    "with_exception",
]
