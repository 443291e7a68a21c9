"""HTTP on plain sockets, one thread per connection, so that replies may be cut, slow or reset.

A reply must leave in one send: a header sent on its own costs 40 ms of delayed acknowledgement.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from http.client import HTTPException, parse_headers, responses
from typing import BinaryIO

from fake_listrak.wire import Reply, Request


class Connections:
    """A port of 127.0.0.1 that answers requests, as a context manager. See ListrakService.

    date: returns the Date header, None to omit it.
    handshakes: what the next connections receive instead of a handshake before they are closed;
        None means a real handshake.
    connections: the number of TCP connections.
    """

    def __init__(
        self, answer: Callable[[Request], Reply], port: int, tls: ssl.SSLContext | None
    ) -> None:
        self.handshakes: list[bytes | None] = []
        self.date: Callable[[], str | None] = lambda: formatdate(usegmt=True)
        self.connections = 0
        self._answer = answer
        self._address = ("127.0.0.1", port)
        self._tls = tls
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._open: dict[socket.socket, threading.Thread] = {}

    def __exit__(self, *_: object) -> None:
        self.refuse_connections()
        with self._lock:
            threads = [*self._open.values()]
        deadline = time.monotonic() + 1
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def refuse_connections(self) -> None:
        """Close the port and end every connection, with or without a reply."""
        self._closed.set()
        # Closing a listener does not wake its accept everywhere; a connection does.
        with suppress(OSError):
            socket.create_connection(self._address, timeout=1).close()
        self._accepting.join(1)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def accept_again(self) -> None:
        """Listen, each time at the same address."""
        self._closed.clear()
        self._listener = socket.create_server(self._address, backlog=128)
        self._address = self._listener.getsockname()
        self._accepting = threading.Thread(target=self._accept, name="listrak", daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                continue
            with self._lock:
                if self._closed.is_set():
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
            with connection.makefile("rb") as stream:
                while (request := _receive(stream)) and self._respond(connection, request):
                    pass
        except OSError:
            pass  # The client went, or the service closes.
        finally:
            with self._lock:
                del self._open[connection]
            connection.close()

    def _secure(self, plain: socket.socket, tls: ssl.SSLContext) -> socket.socket:
        """Return the connection, which its first read secures, or break the handshake."""
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

    def _respond(self, connection: socket.socket, request: Request) -> bool:
        """Answer one request; return whether the connection goes on."""
        try:
            reply = self._answer(request)
        except Exception:
            traceback.print_exc()
            reply = Reply(status=500)
        if not self._wait(connection, reply.delay):
            return False
        if reply.hang:
            self._wait(connection, 3600)
            return False
        if reply.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        return self._send(connection, reply, request.keep_alive)

    def _send(self, connection: socket.socket, reply: Reply, keep_alive: bool) -> bool:
        """Send a reply; return whether the connection goes on."""
        headers: dict[str, str | None] = {
            "cache-control": "private, max-age=0",
            "content-type": "text/xml; charset=utf-8",
            "server": "Microsoft-IIS/8.5",
            "x-aspnet-version": "4.0.30319",
            "date": self.date(),
            "content-length": str(len(reply.body)),
            **{name.lower(): value for name, value in reply.headers.items()},
        }
        alive = keep_alive and reply.cut is None and headers["content-length"] is not None
        if not alive:
            headers.setdefault("connection", "close")
        sent = (f"{name.title()}: {value}" for name, value in headers.items() if value is not None)
        first = f"HTTP/1.1 {reply.status} {responses.get(reply.status, 'Unknown')}"
        head = "\r\n".join([first, *sent, "", ""]).encode("latin-1")
        data = head + reply.body[: reply.cut]
        at_once = len(data) if not reply.pace else 0 if reply.pace_headers else len(head)
        connection.sendall(data[:at_once])
        if reply.below_tls:
            socket.socket.sendall(connection, reply.below_tls)
        step = max(1, int(reply.pace / 50))
        for start in range(at_once, len(data), step):
            connection.sendall(data[start : start + step])
            if not self._wait(connection, step / reply.pace):
                return False
        return alive

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
        return not self._closed.wait(max(0.0, until - time.monotonic()))


def _receive(stream: BinaryIO) -> Request | None:
    """Return the next request; None when the client has gone or sends something else."""
    try:
        method, path, version = stream.readline().decode("latin-1").split()
        if not version.startswith("HTTP/"):
            return None  # as the start of TLS may look
        headers = {name.lower(): value for name, value in parse_headers(stream).items()}
        length = int(headers.get("content-length", "0"))
    except (ValueError, HTTPException):
        return None
    body = stream.read(length)
    keep_alive = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return Request(method, path, headers, body, keep_alive) if len(body) == length else None
