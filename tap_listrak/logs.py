"""Logging to stderr, with the secrets taken out of every line."""

from __future__ import annotations

import html
import json
import logging
import os
import re
import sys
from datetime import datetime
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from tap_listrak.config import FORMAT_VARIABLE, LEVEL_VARIABLE
from tap_listrak.dates import UTC

LOGGER = logging.getLogger("tap_listrak")

MAX_LINE_LENGTH = 1000
# How singer.metrics.log writes a metric, whose JSON is the argument.
_METRIC = "METRIC: %s"


class SecretsHidden(logging.Formatter):
    """singer-python's format, with the secrets taken out of whatever anybody logs."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(message)s")
        self._secrets: re.Pattern[str] | None = None

    def hide(self, *secrets: str) -> None:
        """Take these out of every line from now on, also as XML, URLs or Python write them."""
        writers = (str, escape, html.escape, quote, lambda text: repr(text)[1:-1])
        forms = {write(secret) for secret in secrets for write in writers}
        # A short secret is hidden as a word only, or it would turn up in half of all words.
        patterns = [
            re.escape(form) if len(form) > 4 else rf"(?<!\w){re.escape(form)}(?!\w)"
            for form in sorted(forms, key=len, reverse=True)
        ]
        self._secrets = re.compile("|".join(patterns))

    def format(self, record: logging.LogRecord) -> str:
        """Return one line for an event, but for the lines of a traceback."""
        text = self._without_secrets(super().format(record))
        return text if record.exc_info else _one_line(text)

    def _without_secrets(self, text: str) -> str:
        return self._secrets.sub("***", text) if self._secrets else text


class JsonLines(SecretsHidden):
    """One JSON object a line; a metric's parts and a traceback are fields of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line for an event."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        texts = {"logger": record.name, "message": record.getMessage()}
        fields: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            **{name: _one_line(self._without_secrets(text)) for name, text in texts.items()},
        }
        if record.msg == _METRIC and isinstance(record.args, tuple):
            fields.update(self._metric(str(record.args[0])))
        if record.exc_info:
            fields["traceback"] = self._without_secrets(self.formatException(record.exc_info))
        return json.dumps(fields)

    def _metric(self, text: str) -> dict[str, Any]:
        """Return the fields of a metric, from its JSON."""
        point: dict[str, Any] = json.loads(text)
        point["tags"] = {
            name: self._without_secrets(str(value)) for name, value in point["tags"].items()
        }
        return point


def _one_line(text: str) -> str:
    # What others said may be long; this cuts only what holds no secrets any more.
    line = " ".join(text.splitlines())
    return line if len(line) <= MAX_LINE_LENGTH else f"{line[:MAX_LINE_LENGTH]}…"


def set_up_logging() -> SecretsHidden:
    """Log to stderr, at the level and in the format that the environment names."""
    name = os.environ.get(LEVEL_VARIABLE) or os.environ.get("LOGLEVEL") or "INFO"
    level = logging.getLevelName(name.strip().upper())
    known = isinstance(level, int)
    # Under some daemons there is no stderr; a null one keeps the run from failing for its log.
    handler = logging.StreamHandler(sys.stderr) if sys.stderr else logging.NullHandler()
    formats = {"text": SecretsHidden, "json": JsonLines}
    wanted = (os.environ.get(FORMAT_VARIABLE) or "text").strip().lower()
    formatter = formats.get(wanted, SecretsHidden)()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level if known else logging.INFO, force=True)
    logging.captureWarnings(True)
    # It logs every type of the WSDL at each start.
    logging.getLogger("zeep").setLevel(logging.INFO)
    if not known:
        LOGGER.warning("LOGLEVEL takes DEBUG, INFO, WARNING, ERROR or CRITICAL; this run has INFO.")
    if wanted not in formats:
        LOGGER.warning("TAP_LISTRAK_LOG_FORMAT takes text or json; this run has text.")
    return formatter
