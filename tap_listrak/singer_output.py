"""Write Singer messages in whole lines, with singer-python's keys. The only writer of stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, BinaryIO

import msgspec

from tap_listrak.errors import OutputError
from tap_listrak.streams import Table

# Bytes of records to write between checks for interruption.
CHUNK = 2**16


class SingerOutput:
    """Write Singer messages, and flush after every call.

    Call `between_rows` between lines while writing the records of a page. It may raise to end the
    run there.
    """

    def __init__(self, stdout: BinaryIO, between_rows: Callable[[], None] = lambda: None) -> None:
        self._stdout = stdout
        self._between_rows = between_rows

    def write_schema(self, table: Table, columns: Iterable[str]) -> None:
        """Write the SCHEMA of a stream with these columns."""
        chosen = {column: table.schema["properties"][column] for column in columns}
        self._write_message(
            {
                "type": "SCHEMA",
                "stream": table.stream.name,
                "schema": {**table.schema, "properties": chosen},
                "key_properties": list(table.key_properties),
            }
        )

    def write_records(
        self, stream: str, lines: bytes, received_at: datetime, version: int | None
    ) -> None:
        """Write a RECORD for each line of a reply's records (see records.encode_lines).

        `version` is set for mirrored streams.
        """
        if not lines:
            return
        head = b'{"type":"RECORD","stream":"%b","record":' % stream.encode()
        tail = b',"time_extracted":"%b"}\n' % f"{received_at:%Y-%m-%dT%H:%M:%S.%fZ}".encode()
        if version is not None:
            tail = b',"version":%d%b' % (version, tail)
        start = 0
        while start < len(lines):
            end = lines.find(b"\n", start + CHUNK) + 1 or len(lines)
            self._between_rows()
            self.write(head, lines[start : end - 1].replace(b"\n", tail + head), tail)
            start = end

    def write_activate_version(self, stream: str, version: int) -> None:
        """Write an ACTIVATE_VERSION, which tells the target to delete rows of other versions."""
        self._write_message({"type": "ACTIVATE_VERSION", "stream": stream, "version": version})

    def write_state(self, value: dict[str, Any]) -> None:
        """Write a STATE."""
        self._write_message({"type": "STATE", "value": value})

    def _write_message(self, message: dict[str, Any]) -> None:
        self.write(msgspec.json.encode(message) + b"\n")

    def write(self, *pieces: bytes) -> None:
        """Write all pieces, and flush. Raises OutputError."""
        try:
            for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    # With PYTHONUNBUFFERED stdout is raw, and may write only a part.
                    rest = rest[self._stdout.write(rest) :]
            self._stdout.flush()
        except (OSError, ValueError) as exc:
            raise OutputError(
                "Cannot write to stdout: the target has ended, or the disk is full "
                f"({getattr(exc, 'strerror', None) or exc})."
            ) from exc
