"""Run a second local service, which the tap must not call."""

from __future__ import annotations

import contextlib
import socket
import threading


class Listener:
    """A second service: count its connections, and answer whatever arrives with these bytes."""

    def __init__(self, answer: bytes = b"") -> None:
        self._answer = answer
        self.connections = 0

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
                with contextlib.suppress(OSError), connection:
                    connection.settimeout(5)
                    connection.recv(65536)
                    connection.sendall(self._answer)
