"""What a run tells while it goes on and when it ends: metrics, progress, a table."""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from singer import metrics

from tap_listrak.listrak.records import RowIssues
from tap_listrak.streams import STREAMS, Stream
from tap_listrak.sync.tasks import FetchTask, WindowStarted

LOGGER = logging.getLogger(__name__)

SECONDS_BETWEEN_COUNTS = 60.0
# A terminal shows movement; a log that is kept stays short.
SECONDS_BETWEEN_LINES = 10.0 if sys.stderr and sys.stderr.isatty() else 60.0
# A reply that takes longer is mentioned.
SECONDS_OF_SILENCE = 5.0


class CallMetrics:
    """Counts and logs calls, from any thread, with singer's metric http_request_duration."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls: Counter[Stream] = Counter()
        self.retries: Counter[Stream] = Counter()
        self.seconds: defaultdict[Stream, float] = defaultdict(float)

    def call_finished(self, stream: Stream, seconds: float, *, succeeded: bool) -> None:
        """Count a call, and log how long it took."""
        with self._lock:
            self.calls[stream] += 1
            self.seconds[stream] += seconds
        status = metrics.Status.succeeded if succeeded else metrics.Status.failed
        tags = {"endpoint": stream.name, "status": status}
        timer = metrics.Point("timer", metrics.Metric.http_request_duration, seconds, tags)
        metrics.log(LOGGER, timer)

    def call_retried(self, stream: Stream) -> None:
        """Count a call that will be made again."""
        with self._lock:
            self.retries[stream] += 1


class Report:
    """Counts what is emitted and logs it from time to time; `now` is monotonic, in seconds."""

    def __init__(
        self,
        calls: CallMetrics,
        selected: Iterable[Stream],
        start_date: datetime,
        end: datetime,
        now: float,
    ) -> None:
        """Begin at `now`; the walk of a list goes from `start_date` to `end`."""
        self._calls = calls
        self._start_date = start_date
        self._end = end
        self._records: dict[Stream, int] = dict.fromkeys(selected, 0)
        self._logged_records = dict(self._records)
        self._rows_without_key: Counter[Stream] = Counter()
        self._unknown_fields: set[tuple[Stream, str]] = set()
        self._started = self._last_count = self._last_line = self._last_reply = now
        self._lists = self._lists_finished = 0
        self._window: FetchTask | None = None
        self._numbers: dict[int, int] = {}
        self._waiting = 0
        self._position = "waiting for Listrak"
        self._share = 0.0

    def set_lists(self, count: int) -> None:
        """Note how many lists this run walks."""
        self._lists = count

    def set_window(self, started: WindowStarted) -> None:
        """Note the messages that come next, in the walk's order."""
        self._window = started.window
        self._numbers = {msg_id: number for number, msg_id in enumerate(started.msg_ids, 1)}
        self._waiting += started.waiting

    def set_position(self, task: FetchTask) -> None:
        """Note what is being emitted."""
        where = "the account" if task.list_id is None else f"list {task.list_id}"
        self._position = f"{task.stream.name} of {where}"
        number, count = self._numbers.get(task.parent_id or 0), len(self._numbers)
        if number and self._window:
            self._position += f", message {number:,} of {count:,}"
            if self._window.end < self._end:
                self._position += f" sent until {self._window.end:%Y-%m-%d}"
            whole = self._end - self._start_date
            before = self._window.start - self._start_date
            length = self._window.end - self._window.start
            self._share = (before + length * (number / count)) / whole if whole else 0.0

    def list_finished(self) -> None:
        """Note that a list was walked to its end."""
        self._lists_finished += 1
        self._window, self._numbers, self._share = None, {}, 0.0

    def count_records(self, stream: Stream, count: int, issues: RowIssues) -> None:
        """Count records that were emitted, and warn once of a field that the schema lacks."""
        self._records[stream] += count
        self._rows_without_key[stream] += issues.rows_without_key
        for field in sorted(issues.unknown_fields):
            if (stream, field) not in self._unknown_fields:
                self._unknown_fields.add((stream, field))
                LOGGER.warning(
                    "%s: a field that the schema lacks is left out: %s.", stream.name, field
                )

    def tick(self, now: float, *, is_waiting: bool) -> None:
        """Log what is due; `is_waiting` when nothing has come since the last time."""
        if not is_waiting:
            self._last_reply = now
        if now - self._last_count >= SECONDS_BETWEEN_COUNTS:
            self._last_count = now
            self._log_counts()
        if now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            LOGGER.info("%s", self._line(now - self._started, now - self._last_reply))

    def _line(self, seconds: float, silent: float) -> str:
        """Describe a run so many seconds old, to which Listrak has not replied for so many."""
        records = sum(self._records.values())
        line = self._position
        if self._lists:
            line += f" (list {min(self._lists_finished + 1, self._lists)} of {self._lists})"
        line += f": {records:,} rows so far, {records / seconds:,.0f} a second"
        done = (self._lists_finished + self._share) / self._lists if self._lists else 0.0
        if done:
            minutes = seconds * (1 - done) / done / 60
            line += (
                f", about {minutes / 60:.1f} h left"
                if minutes > 90
                else f", about {minutes:.0f} min left"
            )
        if silent >= SECONDS_OF_SILENCE:
            line += f"; no reply for {silent:.0f} s"
        return line + "."

    def _log_counts(self) -> None:
        for stream, records in self._records.items():
            value, tags = records - self._logged_records[stream], {"endpoint": stream.name}
            metrics.log(LOGGER, metrics.Point("counter", metrics.Metric.record_count, value, tags))
            self._logged_records[stream] = records

    def close(self, deferred: Mapping[Stream, int]) -> None:
        """Log what was left out, and a table of streams; `deferred` counts what is set aside."""
        self._log_counts()
        for stream, count in self._rows_without_key.items():
            if count:
                LOGGER.warning("%s: %d rows without their key are left out.", stream.name, count)
        if self._waiting:
            LOGGER.info(
                "%s messages wait for their turn (older_every_days): in this run, not all streams "
                "asked for what is new of them.",
                f"{self._waiting:,}",
            )
        line = "%-23s %12s %8s %8s %9s %10s"
        LOGGER.info(line, "stream", "rows", "calls", "retries", "seconds", "set aside")
        for stream in STREAMS:
            calls = self._calls.calls[stream]
            if calls or stream in self._records:
                LOGGER.info(
                    line,
                    stream.name,
                    f"{self._records.get(stream, 0):,}",
                    f"{calls:,}",
                    f"{self._calls.retries[stream]:,}",
                    f"{self._calls.seconds[stream]:,.1f}",
                    deferred[stream],
                )
