"""Log to stderr, with secrets and email addresses masked.

A record with `extra={"totals": {row: {column: number}}}` is logged as a table in text, and as a
field in JSON.
"""

from __future__ import annotations

import html
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from tap_listrak.addresses import mask_addresses
from tap_listrak.config import FORMAT_VARIABLE, LEVEL_VARIABLE
from tap_listrak.dates import UTC

LOGGER = logging.getLogger("tap_listrak")

MAX_LINE_LENGTH = 1000
# The message of singer.metrics.log; its argument is the metric's JSON.
_METRIC = "METRIC: %s"
# Replaces a secret until addresses are masked. It has only word characters, so an address that
# contains a secret is still matched.
_PLACEHOLDER = "_hidden_"


class MaskingFormatter(logging.Formatter):
    """Write lines in singer-python's format, and mask secrets and addresses in them."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(message)s")
        self._secrets: re.Pattern[str] | None = None

    def hide(self, *secrets: str) -> None:
        """Mask these values in every line, plain or escaped for XML, URLs or Python."""
        writers = (str, escape, html.escape, quote, lambda text: repr(text)[1:-1])
        forms = {write(secret) for secret in secrets for write in writers}
        # Mask a short secret only as a whole word: many words may contain it.
        patterns = [
            re.escape(form) if len(form) > 4 else rf"(?<!\w){re.escape(form)}(?!\w)"
            for form in sorted(forms, key=len, reverse=True)
        ]
        self._secrets = re.compile("|".join(patterns))

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; several for a traceback or a table."""
        if _is_metric(record):
            # Metrics contain no secrets, and masking could break their JSON.
            return super().format(record)
        if totals := getattr(record, "totals", None):
            return "\n".join(f"{record.levelname} {line}" for line in _table(totals))
        text = self._mask(super().format(record))
        return text if record.exc_info else _one_line(text)

    def _mask(self, text: str) -> str:
        without_secrets = self._secrets.sub(_PLACEHOLDER, text) if self._secrets else text
        return mask_addresses(without_secrets).replace(_PLACEHOLDER, "***")


class JsonLines(MaskingFormatter):
    """Write one JSON object per line, in the format of the Meltano SDK."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        text = record.getMessage()
        fields: dict[str, Any] = {
            "ts": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "message": text if _is_metric(record) else _one_line(self._mask(text)),
            "logger_name": record.name,
            "app_name": "tap-listrak",
            "pid": record.process,
            "thread_name": record.threadName,
            "extra": {},
        }
        if _is_metric(record) and isinstance(record.args, tuple):
            fields["extra"]["metric_info"] = json.loads(str(record.args[0]))
        if totals := getattr(record, "totals", None):
            fields["extra"]["totals"] = totals
        if record.exc_info and record.exc_info[1]:
            fields["exception"] = self._exception(record.exc_info[1])
        return json.dumps(fields)

    def _exception(self, exc: BaseException) -> dict[str, Any]:
        frames = traceback.extract_tb(exc.__traceback__)
        found: dict[str, Any] = {
            "type": type(exc).__name__,
            "module": type(exc).__module__,
            "message": _one_line(self._mask(str(exc))),
            "traceback": [
                {
                    "filename": frame.filename,
                    "function": frame.name,
                    "lineno": frame.lineno,
                    "line": self._mask(frame.line or ""),
                }
                for frame in frames
            ],
        }
        cause = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
        return {**found, "cause": self._exception(cause)} if cause else found


def _is_metric(record: logging.LogRecord) -> bool:
    return record.msg == _METRIC


def _table(totals: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Yield the lines of an aligned table."""
    columns = list(dict.fromkeys(column for row in totals.values() for column in row))
    yield f"{'stream':<24}" + "".join(f"{column:>11}" for column in columns)
    for name, row in totals.items():
        yield f"{name:<24}" + "".join(f"{row.get(column, 0):>11,}" for column in columns)


def _one_line(text: str) -> str:
    # Truncate after masking.
    line = " ".join(text.splitlines())
    return line if len(line) <= MAX_LINE_LENGTH else f"{line[:MAX_LINE_LENGTH]}…"


def plural(count: int, noun: str) -> str:
    """Return a count and its noun, such as `1 row` or `2,500 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def set_up_logging() -> MaskingFormatter:
    """Log to stderr, with the level and format set in the environment."""
    name = os.environ.get(LEVEL_VARIABLE) or os.environ.get("LOGLEVEL") or "INFO"
    level = logging.getLevelName(name.strip().upper())
    known = isinstance(level, int)
    # Some daemons have no stderr, and logging must not end the run.
    handler = logging.StreamHandler(sys.stderr) if sys.stderr else logging.NullHandler()
    formats = {"text": MaskingFormatter, "json": JsonLines}
    wanted = (os.environ.get(FORMAT_VARIABLE) or "text").strip().lower()
    formatter = formats.get(wanted, MaskingFormatter)()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level if known else logging.INFO, force=True)
    logging.captureWarnings(True)
    # At DEBUG, zeep logs every type of the WSDL.
    logging.getLogger("zeep").setLevel(logging.INFO)
    if not known:
        LOGGER.warning(
            "Invalid LOGLEVEL: must be DEBUG, INFO, WARNING, ERROR or CRITICAL; INFO is used."
        )
    if wanted not in formats:
        LOGGER.warning("Invalid TAP_LISTRAK_LOG_FORMAT: must be text or json; text is used.")
    return formatter
