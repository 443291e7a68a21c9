"""The HTTP service: one thread per connection, correct replies, and rules that change them.

Plain sockets, because a rule may cut, trickle or reset what a reply consists of, and because a
reply must leave in one send: a header sent on its own costs 40 ms of delayed acknowledgement.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import threading
import time
import traceback
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from types import TracebackType
from typing import Final, Literal, TypeAlias

from fake_listrak.account import Account
from fake_listrak.clock import Range
from fake_listrak.contract import (
    ID_OF,
    NAMESPACE,
    OPERATIONS,
    PUBLISHED_OPERATIONS,
    Operation,
    Row,
    read_wsdl,
)
from fake_listrak.tables import ACCOUNT
from fake_listrak.wire import (
    UNREADABLE,
    Ask,
    BadRequest,
    Reply,
    fault,
    html,
    read_call,
    write_reply,
    write_rows,
)

Rule: TypeAlias = Callable[[Ask], Reply | None]

PATH: Final = "/v31/IntegrationService.asmx"
CREDENTIALS: Final = ("robot@example.com", "secret-password")
"""Default user name and password."""
LOGINS: Final = 5
"""Failed logins in a row that lock the account."""

_HEADER_LIMIT: Final = 64 * 1024
_BODY_LIMIT: Final = 16 * 1024 * 1024
_MOST_MESSAGES: Final = 2500
"""Maximum MsgIDs of one call for analytics."""
_INT: Final = re.compile(r"[+-]?\d+", re.ASCII)
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class _Request:
    """One HTTP request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool


@dataclass
class _Arguments:
    """The arguments of a call by their types."""

    numbers: dict[str, int] = field(default_factory=dict)
    walls: dict[str, int] = field(default_factory=dict)
    flags: dict[str, bool] = field(default_factory=dict)
    MsgIDs: list[int] = field(default_factory=list)


class ListrakService:
    """Listrak's SOAP service over an account, on a port of 127.0.0.1, as a context manager.

    username, password: the valid credentials; five failed logins in a row lock the account.
    latency: seconds before each answer to a SOAP call.
    port: 0 for any free one.
    record: keep `asked` and attempts; without, memory does not grow with the calls.
    cache_bytes: maximum size of the replies cached for repeated calls.
    wsdl: "full" serves the contract of all operations; "nine" serves and answers only the
        operations of the published tables.
    tls: with this context the service speaks https.

    `url` is the address of the WSDL once the service is entered. `asked` holds the SOAP calls in
    order of arrival, `calls` counts them by operation, `wsdl_requests` the requests for the WSDL
    and `connections` all TCP connections. `failed_logins` counts wrong credentials.

    `handshakes` holds what the next connections receive instead of a handshake before they are
    closed; None means a real handshake.

    `date` returns the Date header, None to omit it. While `refuse_connections` holds,
    up to `accept_again`, there is no listener and every connection is gone.

    `rules` are asked in order for each call and for the WSDL (operation "WSDL"); the first that
    returns a Reply decides, and without one the answer is honest. A rule that raises is answered
    with status 500 and its traceback goes to stderr.
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
        cache_bytes: int = 128 * 1024 * 1024,
        wsdl: Literal["full", "nine"] = "full",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.account = account
        self.username = username
        self.password = password
        self.latency = latency
        self.rules: list[Rule] = []
        self.handshakes: list[bytes | None] = []
        self.date: Callable[[], str | None] = lambda: formatdate(usegmt=True)
        self.asked: list[Ask] = []
        self.calls: Counter[str] = Counter()
        self.wsdl_requests = 0
        self.failed_logins = 0
        self.connections = 0
        self.url = ""
        self._port = port
        self._tls = tls
        self._record = record
        self._attempts: Counter[tuple[str, ...]] = Counter()
        self._failed_in_a_row = 0
        self._wsdl = read_wsdl(wsdl)
        self._known = frozenset(PUBLISHED_OPERATIONS if wsdl == "nine" else OPERATIONS)
        self._cache: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._cache_free = cache_bytes
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._refusing = threading.Event()
        self._open: dict[socket.socket, threading.Thread] = {}

    def __enter__(self) -> ListrakService:
        self._listen(self._port)
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{self._address[1]}{PATH}?wsdl"
        return self

    def _listen(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self._address = self._listener.getsockname()
        self._accepting = threading.Thread(target=self._accept, name="listrak", daemon=True)
        self._accepting.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and close every connection, with or without a reply."""
        if self._closing.is_set():
            return
        self._closing.set()
        threads = self._hang_up()
        deadline = time.monotonic() + 1
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def refuse_connections(self) -> None:
        """Close the port and end every connection, up to `accept_again`."""
        self._refusing.set()
        self._hang_up()

    def accept_again(self) -> None:
        """Listen again at the same address."""
        self._refusing.clear()
        self._listen(self._address[1])

    def _hang_up(self) -> list[threading.Thread]:
        """Close the port and end every connection; return the threads that served them."""
        # Closing a listener does not wake its accept everywhere; a connection does.
        with suppress(OSError):
            socket.create_connection(self._address, timeout=1).close()
        self._accepting.join(1)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            return list(self._open.values())

    # Answers

    def honest(self, ask: Ask) -> Reply:
        """The correct reply, after checking credentials and arguments."""
        if ask.operation == "WSDL":
            return Reply(self._wsdl)
        refusal = self._refusal(ask)
        if refusal is not None:
            return fault(f"{ask.operation}(): [Logon] {refusal}", soap12=ask.soap12)
        operation = OPERATIONS[ask.operation]
        key = (self.account.version, ask.operation, ask.soap12, *sorted(ask.arguments.items()))
        with self._lock:
            body = self._cache.get(key)
            if body is not None:
                self._cache.move_to_end(key)
        if body is None:
            answer = self._answer(operation, ask)
            if isinstance(answer, Reply):
                return answer
            body = answer
            self._keep(key, body)
        kind = "application/soap+xml" if ask.soap12 else "text/xml"
        return Reply(body, 200, {"Content-Type": f"{kind}; charset=utf-8"})

    def _refusal(self, ask: Ask) -> str | None:
        with self._lock:
            if self._failed_in_a_row >= LOGINS:
                self.failed_logins += 1
                return "[LoginAttemptsExceeded] Login Attempts Exceeded"
            if (ask.username, ask.password) == (self.username, self.password):
                self._failed_in_a_row = 0
                return None
            self._failed_in_a_row += 1
            self.failed_logins += 1
            return "[InvalidLogonAttempt] Invalid Credentials Provided"

    def _answer(self, operation: Operation, ask: Ask) -> bytes | Reply:
        """The body of a good reply, or a fault."""
        arguments = self._read_arguments(operation, ask)
        if arguments is None:
            return fault(UNREADABLE, code="Client", soap12=ask.soap12)
        objection = self._objection(arguments)
        if objection is not None:
            return fault(f"{operation.name}(): {objection}", soap12=ask.soap12)
        empty = self.account.empty
        if empty == "mixed":
            # Depends on the request, so that a repeated request has the same reply.
            text = operation.name + "".join(map(str, arguments.numbers.values()))
            empty = "absent" if sum(text.encode()) % 2 else "empty"
        rows = self._rows(operation, arguments)
        return write_reply(
            operation.name,
            write_rows(operation.row, rows, self.account.domains),
            empty,
            ask.soap12,
        )

    def _read_arguments(self, operation: Operation, ask: Ask) -> _Arguments | None:
        """The typed arguments; None if one is invalid."""
        read = _Arguments()
        for name, kind in operation.arguments.items():
            text = ask.arguments.get(name, "").strip()
            wall = self.account.zone.read_iso(text) if kind == "dateTime" else None
            integers = _integers(text) if kind in ("int", "ints") else None
            if integers is not None and kind == "ints":
                read.MsgIDs = integers
            elif integers is not None and len(integers) == 1:
                read.numbers[name] = integers[0]
            elif wall is not None:
                read.walls[name] = wall
            elif kind == "boolean" and text in _BOOLEANS:
                read.flags[name] = _BOOLEANS[text]
            else:
                return None
        return read

    def _objection(self, arguments: _Arguments) -> str | None:
        """The fault's text for an invalid call, else None."""
        account, numbers, MsgIDs = self.account, arguments.numbers, arguments.MsgIDs
        if "ListID" in numbers and not account.has_list(numbers["ListID"]):
            return "[List] [InvalidListID] The List does not exist or is not yours"
        if len(MsgIDs) > _MOST_MESSAGES:
            return f"[Message] [TooManyMsgIDs] At most {_MOST_MESSAGES} MsgIDs are taken"
        needed = MsgIDs if account.unknown_messages == "refused" else []
        if "MsgID" in numbers:
            needed = [numbers["MsgID"]]
        if not all(map(account.has_message, needed)):
            return "[Message] [InvalidMsgID] The Message does not exist or is not yours"
        if "ConversationID" in numbers and not account.has_conversation(numbers["ConversationID"]):
            return (
                "[Conversation] [InvalidConversationID] The Conversation does not exist or is not "
                "yours"
            )
        if numbers.get("Page", 1) < 1:
            return "[Page] [InvalidPage] The first Page is 1"
        return None

    def _rows(self, operation: Operation, arguments: _Arguments) -> list[Row]:
        """The rows of a good reply."""
        account, numbers, walls = self.account, arguments.numbers, arguments.walls
        chosen = None
        if walls:
            chosen = Range(
                walls["StartDate"],
                walls["EndDate"],
                account.bounds != "exclusive",
                account.bounds == "inclusive",
            )
        if operation.table == "lists":
            return account.lists()
        if "MsgIDs" in operation.arguments:
            return account.analytics(arguments.MsgIDs)
        ID = numbers.get(ID_OF.get(operation.asked_by, ""), ACCOUNT)
        if "Page" in numbers:
            return account.page(operation.name, ID, chosen, numbers["Page"])
        return account.whole(operation.name, ID, chosen, all(arguments.flags.values()))

    def _keep(self, key: tuple[object, ...], body: bytes) -> None:
        with self._lock:
            if key in self._cache:
                return
            self._cache[key] = body
            self._cache_free -= len(body)
            while self._cache_free < 0 and self._cache:
                self._cache_free += len(self._cache.popitem(last=False)[1])

    # HTTP

    def _accept(self) -> None:
        while not (self._closing.is_set() or self._refusing.is_set()):
            try:
                connection, _ = self._listener.accept()
            except OSError:
                continue
            with self._lock:
                if self._closing.is_set() or self._refusing.is_set():
                    connection.close()
                    return
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._open[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection, one after the other."""
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                connection = self._secure(connection, self._tls)
            rest = b""
            alive = True
            while alive:
                request, rest = _receive(connection, rest)
                alive = request is not None and self._respond(connection, request)
        except OSError:
            pass  # The client went, or the service closes.
        finally:
            with self._lock:
                del self._open[connection]
            connection.close()

    def _secure(self, plain: socket.socket, tls: ssl.SSLContext) -> socket.socket:
        """The connection, which its first read secures; OSError where `handshakes` breaks it."""
        with self._lock:
            broken = self.handshakes.pop(0) if self.handshakes else None
        if broken is not None:
            plain.recv(65536)
            plain.sendall(broken)
            raise OSError("no handshake")
        secure = tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open[secure] = self._open.pop(plain)
        return secure

    def _respond(self, connection: socket.socket, request: _Request) -> bool:
        """Answer one request; whether the connection goes on."""
        try:
            reply, wait = self._reply(request)
        except Exception:
            traceback.print_exc()
            reply, wait = html(500), 0.0
        if not self._wait(connection, wait + reply.delay):
            return False
        if reply.hang:
            while connection.recv(65536):
                pass
            return False
        if reply.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        headers: dict[str, str | None] = {
            "cache-control": "private, max-age=0",
            "content-type": "text/xml; charset=utf-8",
            "server": "Microsoft-IIS/8.5",
            "x-aspnet-version": "4.0.30319",
            "date": self.date(),
            "content-length": str(len(reply.body)),
        }
        headers.update((name.lower(), value) for name, value in reply.headers.items())
        alive = request.keep_alive and reply.cut is None and headers["content-length"] is not None
        if not alive:
            headers.setdefault("connection", "close")
        head = _head(reply.status, headers)
        body = reply.body if reply.cut is None else reply.body[: reply.cut]
        if reply.pace is None:
            connection.sendall(head + body)
            if reply.below_tls:
                socket.socket.sendall(connection, reply.below_tls)
            return alive
        if reply.pace_headers:
            body = head + body
        else:
            connection.sendall(head)
        step = max(1, int(reply.pace / 50))
        for start in range(0, len(body), step):
            connection.sendall(body[start : start + step])
            if not self._wait(connection, step / reply.pace):
                return False
        return alive

    def _reply(self, request: _Request) -> tuple[Reply, float]:
        """What to answer, and after how many seconds."""
        path, _, query = request.path.partition("?")
        if request.method == "GET" and path in ("/asked", "/rows"):
            with self._lock:
                asked = {name: self.calls[name] for name in OPERATIONS}
                asked["WSDL"] = self.wsdl_requests
            content = asked if path == "/asked" else self.account.row_counts()
            return Reply(json.dumps(content).encode(), 200, {"Content-Type": "application/json"}), 0
        if path.lower() != PATH.lower():
            return html(404), 0
        if request.method == "GET" and query.lower() == "wsdl":
            with self._lock:
                self.wsdl_requests += 1
                number = self.wsdl_requests
            ask = Ask(
                "WSDL", {}, "", "", request.headers, request.path, number, number, self.honest
            )
            return self._decide(ask), 0
        if request.method == "GET":
            return html(404), 0
        if request.method != "POST":
            return html(405), 0
        return self._decide_call(request), self.latency

    def _decide_call(self, request: _Request) -> Reply:
        soap12 = request.headers.get("content-type", "").startswith("application/soap+xml")
        try:
            call = read_call(request.body, self._known)
        except BadRequest as error:
            return fault(str(error), code="Client", soap12=soap12)
        action = request.headers.get("soapaction", "")
        if not soap12 and action.strip('"') != NAMESPACE + call.operation:
            text = f"Server did not recognize the value of HTTP Header SOAPAction: {action}."
            return fault(text, code="Client")
        with self._lock:
            self.calls[call.operation] += 1
            number, attempt = self.calls.total(), 1
            if self._record:
                key = (call.operation, *map("=".join, sorted(call.arguments.items())))
                self._attempts[key] += 1
                attempt = self._attempts[key]
            ask = Ask(
                call.operation,
                call.arguments,
                call.username,
                call.password,
                request.headers,
                request.path,
                number,
                attempt,
                self.honest,
            )
            if self._record:
                self.asked.append(ask)
        return self._decide(ask)

    def _decide(self, ask: Ask) -> Reply:
        for rule in list(self.rules):
            reply = rule(ask)
            if reply is not None:
                return reply
        return ask.honest()

    def _wait(self, connection: socket.socket, seconds: float) -> bool:
        """Wait, as long as the client is there and the service is not closing."""
        if seconds <= 0:
            return True
        until = time.monotonic() + seconds
        connection.settimeout(seconds)
        try:
            # Nothing is due from the client: to hear from it, or from close(), ends the wait.
            # A TLS socket does not peek by itself.
            if not socket.socket.recv(connection, 1, socket.MSG_PEEK):
                return False
        except TimeoutError:
            return True
        finally:
            connection.settimeout(None)
        return not self._closing.wait(max(0.0, until - time.monotonic()))


def _integers(text: str) -> list[int] | None:
    """The xs:ints of a text that commas separate, none of an empty one; None if one is wrong."""
    parts = text.split(",") if text else []
    if not all(map(_INT.fullmatch, parts)):
        return None
    numbers = list(map(int, parts))
    return numbers if all(-(2**31) <= number < 2**31 for number in numbers) else None


def _receive(connection: socket.socket, data: bytes) -> tuple[_Request | None, bytes]:
    """The next request and the bytes after it; None when the client has gone or talks no HTTP."""
    while (end := data.find(b"\r\n\r\n")) < 0:
        part = connection.recv(65536)
        if not part or len(data) > _HEADER_LIMIT:
            return None, b""
        data += part
    first, *lines = data[:end].decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        return None, b""
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > _BODY_LIMIT or "transfer-encoding" in headers:
        return None, b""
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    start, stop = end + 4, end + 4 + int(length)
    while len(data) < stop:
        part = connection.recv(65536)
        if not part:
            return None, b""
        data += part
    keep_alive = words[2] == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return _Request(words[0], words[1], headers, data[start:stop], keep_alive), data[stop:]


def _head(status: int, headers: Mapping[str, str | None]) -> bytes:
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Unknown"
    lines = [f"HTTP/1.1 {status} {reason}"]
    lines += (f"{name.title()}: {value}" for name, value in headers.items() if value is not None)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
