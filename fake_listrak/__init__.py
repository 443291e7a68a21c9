"""A stand-in for Listrak's SOAP service, over real HTTP: for tests, the demo and benchmarks.

An `Account` is rows as on the wire, in lists by operation and parent (a list, message,
conversation, or the account). A generator fills them from a seed when they are first requested;
`add_…`, `hide_…` and `fill` change them. `ListrakService` serves an account by the v31 contract,
`listrak_v31_full.wsdl`, or its nine published operations alone; `Rule`s make it fail.

Each module imports only modules above it: contract (operations, from the WSDL), clock (times on
the wire), rows (one made-up row), generator (an account from a seed), account (its tables, and
changes of them), wire (SOAP), connections (HTTP), server.
"""

from fake_listrak.account import Account as Account
from fake_listrak.contract import FURTHER_OPERATIONS as FURTHER_OPERATIONS
from fake_listrak.contract import OPERATIONS as OPERATIONS
from fake_listrak.contract import PUBLISHED_OPERATIONS as PUBLISHED_OPERATIONS
from fake_listrak.contract import Operation as Operation
from fake_listrak.contract import Row as Row
from fake_listrak.server import ListrakService as ListrakService
from fake_listrak.server import Rule as Rule
from fake_listrak.wire import Ask as Ask
from fake_listrak.wire import Reply as Reply
from fake_listrak.wire import fault as fault
from fake_listrak.wire import html as html
from fake_listrak.wire import raw as raw
from fake_listrak.wire import redirect as redirect
from fake_listrak.wire import with_exception as with_exception
