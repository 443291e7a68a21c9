"""Logging to stderr, with the secrets taken out of every line."""

from __future__ import annotations

import html
import logging
import os
import re
import sys
from urllib.parse import quote
from xml.sax.saxutils import escape

LOGGER = logging.getLogger("tap_listrak")

MAX_LINE_LENGTH = 1000


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
        text = super().format(record)
        if self._secrets:
            text = self._secrets.sub("***", text)
        if record.exc_info:
            return text
        # One line an event, and what others said may be long; cut only what holds no secrets.
        line = " ".join(text.splitlines())
        return line if len(line) <= MAX_LINE_LENGTH else f"{line[:MAX_LINE_LENGTH]}…"


def set_up_logging() -> SecretsHidden:
    """Log to stderr as singer-python does, at the level that the environment names."""
    name = os.environ.get("TAP_LISTRAK_LOGLEVEL") or os.environ.get("LOGLEVEL") or "INFO"
    level = logging.getLevelName(name.strip().upper())
    known = isinstance(level, int)
    # Under some daemons there is no stderr; a null one keeps the run from failing for its log.
    handler = logging.StreamHandler(sys.stderr) if sys.stderr else logging.NullHandler()
    formatter = SecretsHidden()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level if known else logging.INFO, force=True)
    logging.captureWarnings(True)
    # It logs every type of the WSDL at each start.
    logging.getLogger("zeep").setLevel(logging.INFO)
    if not known:
        LOGGER.warning("LOGLEVEL takes DEBUG, INFO, WARNING, ERROR or CRITICAL; this run has INFO.")
    return formatter
