"""Run a second local service, which the tap must not call."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading


class Listener:
    """A second service that must get no calls: record what arrives, and optionally answer."""

    def __init__(self, answer: bytes = b"", context: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._context = context
        self.connections = 0
        self.received = b""

    def __enter__(self) -> Listener:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                with contextlib.suppress(OSError):
                    self._meet(connection)

    def _meet(self, plain: socket.socket) -> None:
        plain.settimeout(5)
        secure = self._context and self._context.wrap_socket(plain, server_side=True)
        with secure or plain as connection:
            self.received += connection.recv(65536)
            connection.sendall(self._answer)
