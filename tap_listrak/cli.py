"""The command line: arguments, discover, test or sync, one line on failure, the exit code."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import logging
import os
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tap_listrak.about import format_about
from tap_listrak.arguments import parse_arguments
from tap_listrak.catalog import Selection, Tables, build_catalog, select, select_published
from tap_listrak.config import (
    ENVIRONMENT,
    Config,
    merge_configs,
    parse_config,
    read_environment,
)
from tap_listrak.dates import UTC
from tap_listrak.discovery import find_readable_streams
from tap_listrak.errors import Interrupted, OutputError, TapError, UsageError
from tap_listrak.listrak.client import ListrakClient
from tap_listrak.logs import SecretsHidden, set_up_logging
from tap_listrak.probe import Probe, observing_readers
from tap_listrak.singer_output import SingerOutput
from tap_listrak.streams import resolve_tables
from tap_listrak.sync.readers import build_readers
from tap_listrak.sync.report import CallMetrics, Report
from tap_listrak.sync.runner import Runner
from tap_listrak.sync.state_file import parse_state
from tap_listrak.sync.workers import Workers

LOGGER = logging.getLogger("tap_listrak")

# The name of the setting in glibc's malloc.h.
_M_ARENA_MAX = -8
# A signal that finds stdout blocked (a target that reads no more) ends the run after so long.
SECONDS_TO_END = 1.0


def _load(path: str, what: str) -> object:
    """Read a JSON file. Raises UsageError that names it, never what it holds."""
    try:
        text = Path(path).read_text("utf-8-sig")
        if what == "state" and not text.strip():
            LOGGER.warning("The state file %s is empty: the sync starts at start_date.", path)
            return {}
        return json.loads(text)
    except OSError as exc:
        raise UsageError(f"The {what} file {path} cannot be read: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"The {what} file {path} is not text in UTF-8.") from exc
    except RecursionError as exc:
        raise UsageError(f"The {what} file {path} is nested too deeply.") from exc
    except json.JSONDecodeError as exc:
        raise UsageError(
            f"The {what} file {path} is not JSON: {exc.msg} (line {exc.lineno}, column "
            f"{exc.colno})."
        ) from None  # its text is the file, secrets and all
    except ValueError:
        raise UsageError(f"The {what} file {path} holds a number that is too long.") from None


def _read_config(names: Sequence[str], now: datetime) -> Config:
    """Read the configs of these names, which are files or the environment."""
    values, sources = merge_configs(
        (name, read_environment(os.environ) if name == ENVIRONMENT else _load(name, "config"))
        for name in names
    )
    return parse_config(values, now, sources)


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

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, end)


def _run(
    arguments: Namespace,
    log: SecretsHidden,
    sleep: Callable[[float], None],
    clock: Callable[[], datetime],
) -> None:
    if arguments.about:
        _print(format_about(arguments.format))
        return
    now = clock().replace(microsecond=0)
    config = _read_config(arguments.config, now)
    log.hide(config.username, config.password)
    if arguments.discover:
        _discover(config, sleep, clock, now)
    elif arguments.test:
        _test(arguments, config, sleep, clock, now)
    else:
        _sync(arguments, config, sleep, clock, now)


def _discover(
    config: Config, sleep: Callable[[float], None], clock: Callable[[], datetime], now: datetime
) -> None:
    tables = resolve_tables(config)
    keys = {stream: table.key_properties for stream, table in tables.items()}
    readers = build_readers(tables, keys, config.timezone)
    client = ListrakClient(config, readers, CallMetrics(), sleep, clock)
    workers = Workers(1)
    _end_on_signals(workers)
    check = workers.submit(lambda: find_readable_streams(config, client, now))
    catalog = build_catalog(tables[stream] for stream in workers.result(check))
    _print(json.dumps(catalog, indent=2))


def _test(
    arguments: Namespace,
    config: Config,
    sleep: Callable[[float], None],
    clock: Callable[[], datetime],
    now: datetime,
) -> None:
    tables = resolve_tables(config)
    selection = _select(arguments, tables)
    if not selection:
        return
    calls = CallMetrics()
    readers = observing_readers(tables, selection, config.timezone)
    probe = Probe(config, ListrakClient(config, readers, calls, sleep, clock), readers, calls)
    workers = Workers(1)
    _end_on_signals(workers)
    workers.result(workers.submit(lambda: probe.run(selection, now)))


def _select(arguments: Namespace, tables: Tables) -> Selection:
    """Read what the catalog selects; without one, the published streams. Warn if it is nothing."""
    catalog = arguments.catalog or arguments.properties
    selection = select(_load(catalog, "catalog"), tables) if catalog else select_published(tables)
    if not selection:
        LOGGER.warning(
            'The catalog selects no stream, so nothing is synced. Set "selected": true in the '
            "metadata of the streams you want, at the breadcrumb []."
        )
    return selection


def _sync(
    arguments: Namespace,
    config: Config,
    sleep: Callable[[float], None],
    clock: Callable[[], datetime],
    now: datetime,
) -> None:
    tables = resolve_tables(config)
    selection = _select(arguments, tables)
    raw_state = _load(arguments.state, "state") if arguments.state else {}
    state = parse_state(raw_state, now, timedelta(days=config.lookback_days))
    if not selection:
        return
    workers = Workers(config.concurrency)
    _end_on_signals(workers)
    calls = CallMetrics()
    readers = build_readers(tables, selection, config.timezone)
    # Those selected first: what the service lacks is named by what the user can deselect.
    required = (*selection, *readers)
    client = ListrakClient(config, readers, calls, sleep, clock, required=required)
    report = Report(calls, selection, config.start_date, now, time.monotonic())
    runner = Runner(config, tables, selection, state, client, _output(), workers, report, now)
    runner.run()


def _output() -> SingerOutput:
    if sys.stdout is None:
        raise OutputError("Stdout is closed, so there is nowhere to write to.")
    stdout = sys.stdout.buffer
    with contextlib.suppress(OSError):  # what tests put in its place has no descriptor
        os.set_blocking(stdout.fileno(), True)
    return SingerOutput(stdout)


def _print(text: str) -> None:
    _output().write(text.encode() + b"\n")


def _share_memory_of_threads() -> None:
    """Let all threads take memory from one arena, where the C library is glibc.

    Else each worker keeps what it needed for the largest reply that it has read, though one reply
    is read at a time: twice the peak.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def main(
    argv: Sequence[str] | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Run the tap; give the exit code, one of EXIT_CODES."""
    arguments = parse_arguments(argv)
    log = set_up_logging()
    # What was imported stays, so that the garbage collector need not look at it again and again.
    gc.freeze()
    _share_memory_of_threads()
    try:
        _run(arguments, log, sleep, clock)
    except TapError as exc:
        LOGGER.debug("Where it failed:", exc_info=True)
        LOGGER.critical("%s", exc)
        if isinstance(exc, OutputError):
            _close_stdout()
        return exc.exit_code
    except Exception as exc:
        LOGGER.debug("Where it failed:", exc_info=True)
        LOGGER.critical(
            "The tap has a defect (%s). Please report it with the log of a run at "
            "TAP_LISTRAK_LOGLEVEL=DEBUG. The last STATE, if there is one, is where to go on.",
            type(exc).__name__,
        )
        return 1
    finally:
        # Nothing is left to write, and an ending interpreter has no handler for the alarm any more.
        signal.setitimer(signal.ITIMER_REAL, 0)
    return 0


def _close_stdout() -> None:
    """Keep the interpreter from writing to a stdout that is gone when it ends."""
    with contextlib.suppress(OSError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
