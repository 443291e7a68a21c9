"""Count and log calls as Singer metrics, from any thread."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter, defaultdict

from singer import metrics

from tap_listrak.streams import Stream

LOGGER = logging.getLogger(__name__)


class CallMetrics:
    """Count calls by stream, and log their durations as singer's http_request_duration."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls: Counter[Stream] = Counter()
        self.retries: Counter[Stream] = Counter()
        self.seconds: defaultdict[Stream, float] = defaultdict(float)

    def call_finished(self, stream: Stream, seconds: float, *, succeeded: bool) -> None:
        """Count a call, and log its duration in seconds."""
        with self._lock:
            self.calls[stream] += 1
            self.seconds[stream] += seconds
        status = metrics.Status.succeeded if succeeded else metrics.Status.failed
        tags = {"endpoint": stream.name, "status": status}
        log_metric(logging.DEBUG, "timer", metrics.Metric.http_request_duration, seconds, tags)

    def call_retried(self, stream: Stream) -> None:
        """Count a retry."""
        with self._lock:
            self.retries[stream] += 1


def log_metric(level: int, kind: str, metric: str, value: float, tags: dict[str, str]) -> None:
    """Log a metric in singer's format at a level; singer.metrics.log always uses INFO."""
    point = {"type": kind, "metric": metric, "value": value, "tags": tags}
    LOGGER.log(level, "METRIC: %s", json.dumps(point))
