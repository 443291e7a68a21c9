"""What a run tells while it goes on and when it ends: metrics, progress, a table."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable

from singer import metrics

from tap_listrak.client import Client
from tap_listrak.records import Oddities
from tap_listrak.state import State
from tap_listrak.streams import STREAMS, Stream

LOGGER = logging.getLogger(__name__)

SECONDS_BETWEEN_COUNTS = 60.0
# Somebody who looks on wants to see it move; a log that is kept wants to stay short.
SECONDS_BETWEEN_LINES = 10.0 if sys.stderr and sys.stderr.isatty() else 60.0

SECONDS_OF_SILENCE = 5.0


class Report:
    """Counts what is emitted and logs it from time to time; times are monotonic, in seconds."""

    def __init__(self, client: Client, selected: Iterable[Stream], now: float) -> None:
        self._client = client
        self.rows: dict[Stream, int] = dict.fromkeys(selected, 0)
        self._counted = dict(self.rows)
        self._keyless: dict[Stream, int] = {}
        self._unknown: set[tuple[Stream, str]] = set()
        self._started = self._last_count = self._last_line = self._last_reply = now
        self._lists = self._lists_done = 0
        self._messages: dict[int, int] = {}
        self._where = "waiting for Listrak"
        self._share = 0.0

    def lists(self, count: int) -> None:
        """Note how many lists this run walks."""
        self._lists = count

    def messages(self, MsgIDs: tuple[int, ...]) -> None:
        """Note the messages of the list that comes next, in the walk's order."""
        self._messages = {MsgID: number for number, MsgID in enumerate(MsgIDs, 1)}

    def at(self, stream: Stream, ListID: int, MsgID: int | None) -> None:
        """Note what is being emitted."""
        self._where = f"{stream.name} of list {ListID}"
        number, of = self._messages.get(MsgID or 0), len(self._messages)
        if number:
            self._where += f", message {number:,} of {of:,}"
            self._share = number / of

    def list_done(self) -> None:
        """Note that a list was walked to its end."""
        self._lists_done += 1
        self._messages, self._share = {}, 0.0

    def wrote(self, stream: Stream, rows: int, oddities: Oddities) -> None:
        """Count rows that were emitted, and warn once of a field that the schema lacks."""
        self.rows[stream] += rows
        self._keyless[stream] = self._keyless.get(stream, 0) + oddities.keyless
        for field in sorted(oddities.unknown):
            if (stream, field) not in self._unknown:
                self._unknown.add((stream, field))
                LOGGER.warning(
                    "%s: a field that the schema lacks is left out: %s.", stream.name, field
                )

    def tick(self, now: float, *, waited: bool) -> None:
        """Log what is due; `waited` when nothing has come since the last time."""
        if not waited:
            self._last_reply = now
        if now - self._last_count >= SECONDS_BETWEEN_COUNTS:
            self._last_count = now
            self._log_counts()
        if now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            LOGGER.info("%s", self._line(now - self._started, now - self._last_reply))

    def _line(self, seconds: float, silent: float) -> str:
        """Tell of a run so many seconds old, to which Listrak has not replied for so many."""
        rows = sum(self.rows.values())
        line = f"{self._where} (list {min(self._lists_done + 1, self._lists)} of {self._lists}): "
        line += f"{rows:,} rows so far, {rows / seconds:,.0f} a second"
        done = (self._lists_done + self._share) / self._lists if self._lists else 0.0
        if done:
            minutes = seconds * (1 - done) / done / 60
            line += (
                f", about {minutes / 60:.1f} h left"
                if minutes > 90
                else (f", about {minutes:.0f} min left")
            )
        if silent >= SECONDS_OF_SILENCE:
            line += f"; no reply for {silent:.0f} s"
        return line + "."

    def _log_counts(self) -> None:
        for stream, rows in self.rows.items():
            value, tags = rows - self._counted[stream], {"endpoint": stream.name}
            metrics.log(LOGGER, metrics.Point("counter", metrics.Metric.record_count, value, tags))
            self._counted[stream] = rows

    def close(self, state: State) -> None:
        """Close the log: what was left out, and a table of the streams."""
        self._log_counts()
        for stream, count in self._keyless.items():
            if count:
                LOGGER.warning("%s: %d rows without their key are left out.", stream.name, count)
        line = "%-20s %12s %8s %8s %9s %10s"
        LOGGER.info(line, "stream", "rows", "calls", "retries", "seconds", "set aside")
        for stream in STREAMS:
            calls = self._client.calls[stream]
            if calls or stream in self.rows:
                LOGGER.info(
                    line,
                    stream.name,
                    f"{self.rows.get(stream, 0):,}",
                    f"{calls:,}",
                    f"{self._client.retries[stream]:,}",
                    f"{self._client.seconds[stream]:,.1f}",
                    len(state[stream].set_aside),
                )
