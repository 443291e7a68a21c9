"""The command line: discover, test or sync, one line on failure, the exit code."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import logging
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tap_listrak.about import format_about
from tap_listrak.arguments import parse_arguments
from tap_listrak.catalog import Selection, Tables, build_catalog, check_patterns, select
from tap_listrak.config import Config, parse_config
from tap_listrak.dates import UTC
from tap_listrak.discovery import find_readable_streams
from tap_listrak.errors import OutputError, TapError
from tap_listrak.files import load, read_configs
from tap_listrak.listrak.client import ListrakClient
from tap_listrak.logs import SecretsHidden, set_up_logging
from tap_listrak.metrics import CallMetrics
from tap_listrak.probe import Probe, observing_readers
from tap_listrak.readers import build_readers
from tap_listrak.signals import cancel_alarm, end_on_signals
from tap_listrak.singer_output import SingerOutput
from tap_listrak.streams import PUBLISHED, resolve_tables
from tap_listrak.sync.report import Report
from tap_listrak.sync.run import Runner
from tap_listrak.sync.state_file import read_state
from tap_listrak.workers import Workers

LOGGER = logging.getLogger("tap_listrak")

# The name of the setting in glibc's malloc.h.
_M_ARENA_MAX = -8


@dataclass(frozen=True)
class _Invocation:
    """What all three ways of running start from; `now` is in whole seconds."""

    arguments: Namespace
    config: Config
    tables: Tables
    now: datetime
    sleep: Callable[[float], None]
    clock: Callable[[], datetime]


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
    values, sources = read_configs(arguments.config, os.environ)
    config = parse_config(values, now, sources)
    log.hide(config.username, config.password)
    tables = resolve_tables(config)
    check_patterns(config.select or (), tables)
    given = _Invocation(arguments, config, tables, now, sleep, clock)
    if arguments.discover:
        _discover(given)
    elif arguments.test:
        _test(given)
    else:
        _sync(given)


def _discover(given: _Invocation) -> None:
    config, tables = given.config, given.tables
    keys = {stream: table.key_properties for stream, table in tables.items()}
    readers = build_readers(tables, keys, config)
    client = ListrakClient(config, readers, CallMetrics(), given.sleep, given.clock)
    workers = Workers(1)
    end_on_signals(workers.interrupt)
    check = workers.submit(lambda: find_readable_streams(config, client, given.now))
    readable = workers.result(check)
    catalog = build_catalog((tables[stream] for stream in readable), config.select or ())
    _print(json.dumps(catalog, indent=2))


def _test(given: _Invocation) -> None:
    selection, tables = _select(given, default=("*",))
    if not selection:
        return
    config, calls = given.config, CallMetrics()
    readers = observing_readers(tables, selection, config)
    client = ListrakClient(config, readers, calls, given.sleep, given.clock)
    has_catalog = given.arguments.catalog or given.arguments.properties
    skips_missing = not (has_catalog or config.select)
    probe = Probe(config, client, readers, calls, skips_missing=skips_missing)
    workers = Workers(1)
    end_on_signals(workers.interrupt)
    workers.result(workers.submit(lambda: probe.run(selection, given.now)))


def _sync(given: _Invocation) -> None:
    arguments, config, now = given.arguments, given.config, given.now
    selection, tables = _select(given, default=[stream.name for stream in PUBLISHED])
    raw_state = load(arguments.state, "state") if arguments.state else {}
    state = read_state(raw_state, now, timedelta(days=config.lookback_days))
    if not selection:
        return
    workers = Workers(config.concurrency)
    end_on_signals(workers.interrupt)
    calls = CallMetrics()
    readers = build_readers(tables, selection, config)
    # Those selected first: what the service lacks is named by what the user can deselect.
    required = (*selection, *readers)
    client = ListrakClient(config, readers, calls, given.sleep, given.clock, required=required)
    report = Report(calls, selection, config.start_date, time.monotonic())
    output = _output(workers.raise_if_interrupted)
    Runner(config, tables, selection, state, client, output, workers, report, now).run()


def _select(given: _Invocation, default: Sequence[str]) -> tuple[Selection, Tables]:
    """Return what the catalog selects, else `select` in the config, else the default patterns."""
    path = given.arguments.catalog or given.arguments.properties
    patterns = given.config.select or default
    catalog = load(path, "catalog") if path else build_catalog(given.tables.values(), patterns)
    selection, tables = select(catalog, given.tables)
    if not selection and path:
        LOGGER.warning(
            'The catalog selects no stream, so nothing is synced. Set "selected": true in the '
            "metadata of the streams you want, at the breadcrumb []."
        )
    elif not selection:
        LOGGER.warning(
            "`select` in the config selects no stream, so nothing is synced. Add a pattern of the "
            "streams you want, such as messages.*"
        )
    return selection, tables


def _output(between_rows: Callable[[], None] = lambda: None) -> SingerOutput:
    if sys.stdout is None:
        raise OutputError("Stdout is closed, so there is nowhere to write to.")
    stdout = sys.stdout.buffer
    with contextlib.suppress(OSError):  # what tests put in its place has no descriptor
        os.set_blocking(stdout.fileno(), True)
    return SingerOutput(stdout, between_rows)


def _print(text: str) -> None:
    _output().write(text.encode() + b"\n")


def _share_memory_of_threads() -> None:
    """Let all threads take memory from one arena, where the C library is glibc.

    Otherwise each worker keeps what it needed for the largest reply that it has read, though one
    reply is read at a time: 64.6 MiB for one message of 400 pages at concurrency 8, not 55.8.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def main(
    argv: Sequence[str] | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Run the tap, and return its exit code, one of EXIT_CODES."""
    arguments = parse_arguments(argv)
    log = set_up_logging()
    # What was imported stays, so the garbage collector need not visit it again and again: 9 to 14 %
    # of the CPU of a sync of 250,000 opens.
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
            "TAP_LISTRAK_LOGLEVEL=DEBUG. Resume from the last STATE, if there is one.",
            type(exc).__name__,
        )
        return 1
    finally:
        cancel_alarm()
    return 0


def _close_stdout() -> None:
    """Keep the interpreter from writing to a stdout that is gone when it ends."""
    with contextlib.suppress(OSError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
