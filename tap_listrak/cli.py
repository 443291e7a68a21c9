"""The command line: arguments, discover or sync, one line on failure, the exit code."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import re
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from xml.sax.saxutils import escape

from tap_listrak import catalog, discovery, state
from tap_listrak import config as configuration
from tap_listrak.about import about
from tap_listrak.arguments import parse
from tap_listrak.client import Client
from tap_listrak.dates import UTC
from tap_listrak.errors import Interrupted, OutputError, TapError, UsageError
from tap_listrak.output import Output
from tap_listrak.pipeline import Workers
from tap_listrak.sync import Sync

LOGGER = logging.getLogger("tap_listrak")

# A signal that finds stdout blocked (a target that reads no more) ends the run after so long.
SECONDS_TO_END = 1.0

LONGEST_LINE = 1000


def _load(path: str, what: str) -> object:
    """Read a JSON file. Raises UsageError that names it, never what it holds."""
    try:
        text = Path(path).read_text("utf-8-sig")
        if what == "state" and not text.strip():
            LOGGER.warning("The state file %s is empty: the sync starts at start_date.", path)
            return {}
        return json.loads(text)
    except OSError as wrong:
        raise UsageError(f"The {what} file {path} cannot be read: {wrong.strerror}.") from wrong
    except UnicodeDecodeError as wrong:
        raise UsageError(f"The {what} file {path} is not text in UTF-8.") from wrong
    except RecursionError as wrong:
        raise UsageError(f"The {what} file {path} is nested too deeply.") from wrong
    except json.JSONDecodeError as wrong:
        raise UsageError(
            f"The {what} file {path} is not JSON: {wrong.msg} (line {wrong.lineno}, column "
            f"{wrong.colno})."
        ) from None  # its text is the file, secrets and all
    except ValueError:
        raise UsageError(f"The {what} file {path} holds a number that is too long.") from None


class _SecretsHidden(logging.Formatter):
    """singer-python's format, with the secrets taken out of whatever anybody logs."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(message)s")
        self._secrets: re.Pattern[str] | None = None

    def hide(self, *secrets: str) -> None:
        """Take these out of every line from now on, also as XML or Python would write them."""
        forms = {form for each in secrets for form in (each, escape(each), repr(each)[1:-1])}
        # A short secret is hidden as a word only, or it would turn up in half of all words.
        patterns = [
            re.escape(form) if len(form) > 4 else rf"(?<!\w){re.escape(form)}(?!\w)"
            for form in sorted(forms, key=len, reverse=True)
        ]
        self._secrets = re.compile("|".join(patterns))

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if self._secrets:
            text = self._secrets.sub("***", text)
        if record.exc_info:
            return text
        # One line an event, and what others said may be long; cut only what holds no secrets.
        line = " ".join(text.splitlines())
        return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"


def _set_up_logging() -> _SecretsHidden:
    """Log to stderr as singer-python does, at the level that the environment names."""
    name = os.environ.get("TAP_LISTRAK_LOGLEVEL") or os.environ.get("LOGLEVEL") or "INFO"
    level = logging.getLevelName(name.strip().upper())
    known = isinstance(level, int)
    # Under some daemons there is no stderr; a null one keeps the run from failing for its log.
    handler = logging.StreamHandler(sys.stderr) if sys.stderr else logging.NullHandler()
    formatter = _SecretsHidden()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level if known else logging.INFO, force=True)
    logging.captureWarnings(True)
    # Line upon line on every type of the WSDL, at each start.
    logging.getLogger("zeep").setLevel(logging.INFO)
    if not known:
        LOGGER.warning("LOGLEVEL takes DEBUG, INFO, WARNING, ERROR or CRITICAL; this run has INFO.")
    return formatter


def _end_on_signals(workers: Workers) -> None:
    """Make SIGTERM and SIGINT end the run soon, and in time even where stdout is blocked."""

    def give_up(signum: int, frame: FrameType | None) -> NoReturn:
        os._exit(code)

    code = 1

    def end(signum: int, frame: FrameType | None) -> None:
        nonlocal code
        reason = Interrupted(signum, signal.Signals(signum).name)
        code = reason.exit_code
        signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, SECONDS_TO_END)
        workers.interrupt(reason)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, end)


def _run(
    arguments: Namespace,
    log: _SecretsHidden,
    sleep: Callable[[float], None],
    clock: Callable[[], datetime],
) -> None:
    if arguments.about:
        _print(about())
        return
    now = clock().replace(microsecond=0)
    config = configuration.parse(_load(arguments.config, "config"), now)
    log.hide(config.username, config.password)
    selected_by = arguments.catalog or arguments.properties
    if arguments.discover:
        workers, client = Workers(1), Client(config, sleep, clock)
        _end_on_signals(workers)
        check = workers.submit(lambda: discovery.readable_streams(config, client, now))
        readable = workers.result(check)
        _print(catalog.discover(readable, config))
        return
    selection = (
        catalog.select(_load(selected_by, "catalog"), config)
        if selected_by
        else catalog.everything(config)
    )
    raw = _load(arguments.state, "state") if arguments.state else {}
    known = state.parse(raw, now, timedelta(days=config.lookback_days))
    if not selection:
        LOGGER.warning(
            'The catalog selects no stream, so nothing is synced. Set "selected": true in the '
            "metadata of the streams you want, at the breadcrumb []."
        )
        return
    workers = Workers(config.concurrency)
    _end_on_signals(workers)
    client, output = Client(config, sleep, clock), _output()
    Sync(config, selection, known, client, output, workers, now).run()


def _output() -> Output:
    if sys.stdout is None:
        raise OutputError("Stdout is closed, so there is nowhere to write to.")
    out = sys.stdout.buffer
    with contextlib.suppress(OSError):  # what tests put in its place has no descriptor
        os.set_blocking(out.fileno(), True)
    return Output(out)


def _print(found: dict[str, Any]) -> None:
    _output().write(json.dumps(found, indent=2).encode() + b"\n")


def main(
    argv: Sequence[str] | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Run the tap; give the exit code, one of EXIT_CODES."""
    arguments = parse(argv)
    log = _set_up_logging()
    # What was imported stays, so that the garbage collector need not look at it again and again.
    gc.freeze()
    try:
        _run(arguments, log, sleep, clock)
    except TapError as failed:
        LOGGER.debug("Where it failed:", exc_info=True)
        LOGGER.critical("%s", failed)
        if isinstance(failed, OutputError):
            _close_stdout()
        return failed.exit_code
    except Exception as bug:
        LOGGER.debug("Where it failed:", exc_info=True)
        LOGGER.critical(
            "The tap has a defect (%s). Please report it with the log of a run at "
            "TAP_LISTRAK_LOGLEVEL=DEBUG. The last STATE, if there is one, is where to go on.",
            type(bug).__name__,
        )
        return 1
    return 0


def _close_stdout() -> None:
    """Keep the interpreter from writing to a stdout that is gone when it ends."""
    with contextlib.suppress(OSError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
