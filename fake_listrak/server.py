"""The SOAP service over an account: correct replies, and rules that change them."""

from __future__ import annotations

import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

from fake_listrak.account import ACCOUNT, Account
from fake_listrak.clock import Range
from fake_listrak.connections import Connections
from fake_listrak.contract import ID_OF, OPERATIONS, PUBLISHED_OPERATIONS, read_wsdl
from fake_listrak.wire import (
    BAD_ARGUMENT,
    EMPTY_RESULTS,
    Ask,
    Reply,
    Request,
    fault,
    html,
    raw,
    read_call,
    write_reply,
)

Rule: TypeAlias = Callable[[Ask], Reply | None]

PATH: Final = "/v31/IntegrationService.asmx"
CREDENTIALS: Final = ("robot@example.com", "secret-password")
"""Default user name and password."""

_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


class ListrakService(Connections):
    """Listrak's SOAP service over an account, on a port of 127.0.0.1, as a context manager.

    latency: seconds before each answer to a SOAP call. port: 0 for any free one. tls: speak https.
    record: keep `asked` and attempts; without, memory does not grow with the calls.
    wsdl: serve and answer all operations ("full"), or those of the published tables ("nine").

    `asked` holds the SOAP calls in order of arrival, `calls` counts them by operation,
    `wsdl_requests` counts the requests for the WSDL, `failed_logins` calls with wrong credentials.

    `rules` are tried in order for each call and for the WSDL (operation "WSDL"); the first that
    returns a Reply decides, and without one the answer is honest.
    """

    def __init__(
        self,
        account: Account,
        username: str = CREDENTIALS[0],
        password: str = CREDENTIALS[1],
        latency: float = 0.0,
        *,
        port: int = 0,
        record: bool = True,
        wsdl: Literal["full", "nine"] = "full",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(self._answer_to, port, tls)
        self.account = account
        self.username = username
        self.password = password
        self.latency = latency
        self.rules: list[Rule] = []
        self.asked: list[Ask] = []
        self.calls: Counter[str] = Counter()
        self.wsdl_requests = 0
        self.failed_logins = 0
        self._record = record
        self._attempts: Counter[object] = Counter()
        self._wsdl = read_wsdl(wsdl)
        self._known = frozenset(PUBLISHED_OPERATIONS if wsdl == "nine" else OPERATIONS)
        self._counting = threading.Lock()
        self._cached = lru_cache(512)(self._reply)

    def __enter__(self) -> ListrakService:
        self.accept_again()
        return self

    @property
    def url(self) -> str:
        """The address of the WSDL once the service is entered."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self._address[1]}{PATH}?wsdl"

    def _answer_to(self, request: Request) -> Reply:
        """Return the reply to a request."""
        path, _, query = request.path.partition("?")
        is_service = path.lower() == PATH.lower()
        if request.method == "POST" and is_service:
            ask = read_call(request, self._known, self.honest)
            reply = ask if isinstance(ask, Reply) else self._decide(ask)
            return replace(reply, delay=reply.delay + self.latency)
        if request.method != "GET":
            return html(405)
        if path in ("/asked", "/rows"):
            called = {**dict.fromkeys(OPERATIONS, 0), **self.calls, "WSDL": self.wsdl_requests}
            counts = called if path == "/asked" else row_counts(self.account)
            return raw(json.dumps(counts).encode(), content_type="application/json")
        if not is_service or query.lower() != "wsdl":
            return html(404)
        return self._decide(Ask("WSDL", {}, "", "", request.headers, request.path, self.honest))

    def _decide(self, ask: Ask) -> Reply:
        """Return what the first rule that has a reply, or the contract, gives."""
        with self._counting:
            ask = self._numbered(ask)
        for rule in list(self.rules):
            reply = rule(ask)
            if reply is not None:
                return reply
        return ask.honest()

    def _numbered(self, ask: Ask) -> Ask:
        if ask.operation == "WSDL":
            self.wsdl_requests += 1
            return replace(ask, number=self.wsdl_requests, attempt=self.wsdl_requests)
        self.calls[ask.operation] += 1
        key = (ask.operation, *sorted(ask.arguments.items()))
        ask = replace(ask, number=self.calls.total(), attempt=self._attempts[key] + 1)
        if self._record:
            self._attempts[key] = ask.attempt
            self.asked.append(ask)
        return ask

    def honest(self, ask: Ask) -> Reply:
        """Return the correct reply, after checking credentials and arguments."""
        if ask.operation == "WSDL":
            return Reply(self._wsdl)
        if (ask.username, ask.password) != (self.username, self.password):
            with self._counting:
                self.failed_logins += 1
            code = "[InvalidLogonAttempt] Invalid Credentials Provided"
            return fault(f"{ask.operation}(): [Logon] {code}")
        arguments = tuple(sorted(ask.arguments.items()))
        return self._cached(self.account.version, ask.operation, arguments)

    def _reply(self, version: int, operation: str, texts: tuple[tuple[str, str], ...]) -> Reply:
        """Return the reply to a call with valid credentials; `version` is the account's."""
        given = dict(texts)
        try:
            arguments = {
                name: self._value(of_type, given.get(name, "").strip())
                for name, of_type in OPERATIONS[operation].arguments.items()
            }
        except (KeyError, ValueError, OverflowError):
            return fault(BAD_ARGUMENT, code="Client")
        if objection := self._objection(arguments):
            return fault(f"{operation}(): {objection}")
        # A repeated request has the same reply.
        numbers = sum(value for value in arguments.values() if type(value) is int)
        empty = EMPTY_RESULTS[sum(f"{operation}{numbers}".encode()) % len(EMPTY_RESULTS)]
        return Reply(write_reply(operation, self._rows(operation, arguments), empty))

    def _value(self, of_type: str, text: str) -> Any:
        """Return an argument by its type; a date as a wall. Raises KeyError or ValueError."""
        if of_type == "boolean":
            return _BOOLEANS[text]
        if of_type == "dateTime":
            return self.account.zone.read_iso(text)
        numbers = [int(number) for number in text.split(",")]
        return numbers if of_type == "ArrayOfInt" else numbers[0]

    def _objection(self, arguments: dict[str, Any]) -> str | None:
        """Return the fault's text for an invalid call, else None."""
        MsgIDs = arguments.get("MsgIDs", [])
        if self.account.unknown_messages == "missing":
            MsgIDs = []
        for kind, name in ID_OF.items():
            needed = [arguments[name]] if name in arguments else MsgIDs if kind == "message" else []
            if not all(self.account.has(kind, ID) for ID in needed):
                area = kind.title()
                return f"[{area}] [Invalid{name}] The {area} does not exist or is not yours"
        return "[Page] [InvalidPage] The first Page is 1" if arguments.get("Page", 1) < 1 else None

    def _rows(self, operation: str, arguments: dict[str, Any]) -> list[Any]:
        account, kind = self.account, OPERATIONS[operation]
        chosen = None
        if "StartDate" in arguments:
            chosen = Range(
                arguments["StartDate"] + (account.bounds == "exclusive"),
                arguments["EndDate"] + (account.bounds == "inclusive"),
            )
        if "MsgIDs" in arguments:
            return account.analytics(arguments["MsgIDs"])
        ID = arguments.get(ID_OF.get(kind.asked_by, ""), ACCOUNT)
        every = [arguments.get(name, True) for name in ("IncludeTestMessages", "IncludeTerminated")]
        rows = account.select(operation, ID, chosen, all(every))
        if "Page" not in arguments:
            return rows[:]
        end = arguments["Page"] * account.page_size
        return rows[end - account.page_size : end]


def row_counts(account: Account) -> dict[str, dict[str, int]]:
    """Return the number of rows by table: in `total`, and `distinct` by the table's key."""
    lists = [int(str(row["ListID"])) for row in account.lists()]
    parents: dict[str, list[int | None]] = {
        "account": [None],
        "list": [*lists],
        "message": [int(str(row["MsgID"])) for ID in lists for row in account.messages(ID)],
        "conversation": [each for ID in lists for each in account.conversation_ids(ID)],
    }
    counts = {}
    for name, operation in OPERATIONS.items():
        keys = [
            (parent, *(row.get(column) or "" for column in operation.key))
            for parent in parents[operation.asked_by]
            for row in account.rows(name, parent)
        ]
        counts[operation.table] = {"total": len(keys), "distinct": len({*keys})}
    return counts
