"""Log counters, progress and the closing table of a run."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from singer import metrics

from tap_listrak.listrak.records import RowIssues
from tap_listrak.logs import plural
from tap_listrak.metrics import CallMetrics, log_metric
from tap_listrak.streams import STREAMS, Stream
from tap_listrak.sync.parts import Part
from tap_listrak.sync.state import StreamState

LOGGER = logging.getLogger(__name__)

SECONDS_BETWEEN_COUNTS = 60.0
# Log progress more often on a terminal.
SECONDS_BETWEEN_LINES = 10.0 if sys.stderr and sys.stderr.isatty() else 60.0
# Mention a reply that is slower than this.
SECONDS_OF_SILENCE = 5.0


class Report:
    """Count and log what is emitted. `now` is monotonic, in seconds."""

    def __init__(
        self, calls: CallMetrics, selected: Iterable[Stream], start_date: datetime, now: float
    ) -> None:
        """Estimate the progress from `start_date`."""
        self._calls = calls
        self._start_date = start_date
        self._records: dict[Stream, int] = dict.fromkeys(selected, 0)
        self._logged_records = dict(self._records)
        self._rows_without_key: Counter[Stream] = Counter()
        self._unknown_fields: set[tuple[Stream, str]] = set()
        self._started = self._last_count = self._last_line = self._last_reply = now
        self._pass_started = now
        self._lists = self._lists_finished = 0
        self._position = "waiting for Listrak"
        self._share = 0.0

    def begin_pass(self, lists: int, now: float) -> None:
        """Start a pass over `lists` lists."""
        self._lists, self._lists_finished, self._share = lists, 0, 0.0
        self._pass_started = now

    def set_position(self, part: Part) -> None:
        """Record which part is being emitted."""
        where = "the account" if part.list_id is None else f"list {part.list_id}"
        self._position = f"{part.stream.name} of {where}"
        if part.progress and part.window:
            number, count = part.progress
            self._position += f", message {number:,} of {count:,} sent since {part.window:%Y-%m-%d}"
            # Assumes equal windows: good enough for an estimate.
            whole = max((part.end - self._start_date).total_seconds(), 1.0)
            before = (part.window - self._start_date).total_seconds() / whole
            self._share = before + (1 - before) * number / count

    def list_finished(self) -> None:
        """Record that the walk of a list is complete."""
        self._lists_finished += 1
        self._share = 0.0

    def count_records(self, stream: Stream, count: int, issues: RowIssues) -> None:
        """Count emitted records; warn once of each field that the schema lacks."""
        self._records[stream] += count
        self._rows_without_key[stream] += issues.rows_without_key
        for field in sorted(issues.unknown_fields):
            if (stream, field) not in self._unknown_fields:
                self._unknown_fields.add((stream, field))
                LOGGER.warning("%s: ignored unknown field %s.", stream.name, field)

    def tick(self, now: float, *, is_idle: bool) -> None:
        """Log progress if due. `is_idle`: nothing arrived since the last call."""
        if not is_idle:
            self._last_reply = now
        if now - self._last_count >= SECONDS_BETWEEN_COUNTS:
            self._last_count = now
            self._log_counts()
        if now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            LOGGER.info("%s", self._line(now))

    def _line(self, now: float) -> str:
        """Return the progress line."""
        records, silent = sum(self._records.values()), now - self._last_reply
        line = self._position
        if self._lists:
            line += f" (list {min(self._lists_finished + 1, self._lists)} of {self._lists})"
        line += (
            f": {plural(records, 'row')} so far, {records / (now - self._started):,.0f} a second"
        )
        done = (self._lists_finished + self._share) / self._lists if self._lists else 0.0
        minutes = (now - self._pass_started) * (1 - done) / done / 60 if done else 0.0
        if minutes > 90:
            line += f", about {minutes / 60:.1f} h left"
        elif minutes >= 1:
            line += f", about {minutes:.0f} min left"
        elif done:
            line += ", less than a minute left"
        if silent >= SECONDS_OF_SILENCE:
            line += f"; no reply for {silent:.0f} s"
        return line + "."

    def _log_counts(self) -> None:
        for stream, records in self._records.items():
            value, tags = records - self._logged_records[stream], {"endpoint": stream.name}
            log_metric(logging.INFO, "counter", metrics.Metric.record_count, value, tags)
            self._logged_records[stream] = records

    def close(self, states: Mapping[Stream, StreamState], not_due: int, now: float) -> None:
        """Log the summary. `not_due`: messages that rotation skipped in this run."""
        if not sum(self._records.values()) and not self._lists:
            return  # nothing was synced
        self._log_counts()
        for stream, count in self._rows_without_key.items():
            if count:
                LOGGER.warning("%s: skipped %s without a key.", stream.name, plural(count, "row"))
        if not_due:
            LOGGER.info(
                "%s not due in this run (older_every_days).", plural(not_due, "older message")
            )
        totals = {
            stream.name: {
                "rows": self._records.get(stream, 0),
                "calls": self._calls.calls[stream],
                "retries": self._calls.retries[stream],
                "seconds": round(self._calls.seconds[stream], 1),
                "set aside": len(states[stream].snapshot.set_aside),
                "stopped": int(states[stream].stopped_by is not None),
            }
            for stream in STREAMS
            if self._calls.calls[stream] or stream in self._records
        }
        rows, seconds = sum(self._records.values()), now - self._started
        duration = f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"
        LOGGER.info("%s in %s.", plural(rows, "row"), duration)
        LOGGER.info("Totals", extra={"totals": totals})
