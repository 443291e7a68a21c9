"""However a run ends: soon, with whole lines, a last STATE to go on from, and no traceback."""

import json
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fake_listrak import Ask, Reply, fault
from tap_listrak.listrak.client import ListrakClient
from tap_listrak.listrak.records import RecordReader
from tap_listrak.singer_output import SingerOutput
from tap_listrak.sync.state import StreamState
from tap_listrak.sync.walk import Walk
from tests.support.faults import LOGON
from tests.support.runs import is_page, rows, tiny_tap
from tests.support.tap import MakeTap, Process, Run, Tap

TERM, INT = signal.SIGTERM, signal.SIGINT
# For what ends by itself. A reply that hangs does so for five minutes.
SECONDS = 60
HANGS = Reply(hang=True)
GIVEN = {"bookmarks": {"message_opens": {"OpenDate": "2026-02-01T00:00:00Z"}}}


def is_of(operation: str) -> Callable[[Ask], bool]:
    return lambda ask: ask.operation == operation


CALL = "sys.exit(cli.main(sys.argv[1:]))"
# The kernel hands a signal to any thread that takes it, or to the main thread just before it waits:
# either way the wait itself is not woken.
TAKEN_BY_A_THREAD = """
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
"""


def start(tap: Tap, before: str, *flags: str, last: str = CALL, state: Any = None) -> Process:
    """Start a program that runs this code before the tap's, and perhaps another last line."""
    program = f"import signal, sys, threading\n{before}\nfrom tap_listrak import cli\n{last}"
    command = [sys.executable, "-c", program, *tap.arguments(*flags, state=state)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process: Process, *signals: signal.Signals) -> Run:
    """Send signals; the process has to end, although a reply hangs or a wait is long."""
    for each in signals:
        process.send_signal(each)
    try:
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    return Run(process.returncode, out, err)


def assert_ended_well(run: Run, code: int, *, began: bool = True) -> None:
    """Whole lines, the last a STATE if anything began; one CRITICAL line and no traceback."""
    assert run.code == code, run.err[-500:]
    assert run.out.endswith("\n") == began
    assert not began or run.messages[-1]["type"] == "STATE"
    assert len(run.lines("CRITICAL")) == 1
    assert "Traceback" not in run.err


def assert_goes_on(tap: Tap, ended: Run) -> None:
    """The last STATE claims what was emitted before it and nothing else."""
    tap.heal()
    rest = tap.run(state=ended.state)
    assert rest.code == 0
    assert rows(ended, rest).keys() == rows(tap.run()).keys()


# What is given this reply, from which such call on; what the program does before; the signal.
@pytest.mark.parametrize(
    ("flags", "which", "first", "reply", "before", "number"),
    [
        ((), is_page, 20, HANGS, "", TERM),
        ((), is_page, 20, HANGS, "", INT),
        ((), is_page, 20, HANGS, TAKEN_BY_A_THREAD, TERM),
        ((), is_page, 20, Reply(b"", 503, {"Retry-After": "200"}), "", TERM),
        ((), is_of("WSDL"), 1, HANGS, "", TERM),
        ((), is_of("GetContactListCollection"), 1, HANGS, "", TERM),
        (("--discover",), is_of("WSDL"), 1, HANGS, "", TERM),
        (("--discover",), is_of("ReportMessageContactSent"), 1, HANGS, "", INT),
    ],
)
def test_a_signal_ends_whatever_waits_for_a_reply_or_a_retry(
    make_tap: MakeTap,
    flags: tuple[str, ...],
    which: Callable[[Ask], bool],
    first: int,
    reply: Reply,
    before: str,
    number: signal.Signals,
) -> None:
    tap = tiny_tap(make_tap, 8)
    seen, waits = count(1), threading.Event()

    def rule(ask: Ask) -> Reply | None:
        if not which(ask) or next(seen) < first:
            return None
        waits.set()
        return reply

    tap.service.rules.append(rule)
    process = start(tap, before, *flags, state=None if flags else GIVEN)
    assert waits.wait(SECONDS)
    time.sleep(0.1)
    run = end(process, number)
    assert_ended_well(run, 128 + number, began=not flags)
    assert number.name in run.lines("CRITICAL")[0]
    if not flags:
        assert_goes_on(tap, run)


@pytest.mark.parametrize(
    ("signals", "code", "unbuffered"),
    # Ctrl-C reaches the whole process group, and a script forwards it.
    [([TERM], 143, ""), ([INT, TERM], 130, "1")],
    ids=str,
)
def test_a_signal_while_nobody_reads_stdout_leaves_whole_lines_once_the_target_reads_on(
    make_tap: MakeTap, signals: list[signal.Signals], code: int, unbuffered: str
) -> None:
    tap = make_tap()
    process = tap.start(env={"PYTHONUNBUFFERED": unbuffered})
    with Path(f"/proc/{process.pid}/fd/1").open("wb") as pipe:
        while select.select([], [pipe], [], 0)[1]:
            assert process.poll() is None
            time.sleep(0.05)
    for each in signals:
        process.send_signal(each)
    time.sleep(2.5)  # of a target that is busy
    run = end(process)
    assert_ended_well(run, code)
    assert_goes_on(tap, run)


@pytest.mark.parametrize(("seconds", "signals"), [(10_000, 2), (0.5, 1)])
def test_a_second_signal_or_some_time_ends_a_run_whose_stdout_nobody_reads(
    make_tap: MakeTap, seconds: float, signals: int
) -> None:
    limit = f"from tap_listrak import signals; signals.SECONDS_FOR_TARGET = {seconds}"
    process = start(make_tap(), limit)
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline()
    for _ in range(signals):
        process.send_signal(TERM)
        time.sleep(1.5)  # sooner, one would repeat the other
    assert process.wait(timeout=SECONDS) == 143
    # communicate() would leave out what readline() has buffered.
    whole, _, _ = process.stdout.read().rpartition("\n")
    assert all(json.loads(line)["type"] for line in whole.split("\n"))
    assert "Traceback" not in process.stderr.read()


# As a library in another program, or on a system without SIGALRM.
IN_A_THREAD = """
codes = []
thread = threading.Thread(target=lambda: codes.append(cli.main(sys.argv[1:])))
thread.start()
thread.join()
sys.exit(codes[0])
"""
WITHOUT_SIGALRM = "del signal.SIGALRM, signal.setitimer, signal.ITIMER_REAL"


@pytest.mark.parametrize("flags", [(), ("--test",)], ids=str)
@pytest.mark.parametrize(
    ("before", "last"), [("", IN_A_THREAD), (WITHOUT_SIGALRM, CALL)], ids=["thread", "system"]
)
def test_the_tap_runs_where_it_cannot_handle_signals(
    make_tap: MakeTap, before: str, last: str, flags: tuple[str, ...]
) -> None:
    run = end(start(tiny_tap(make_tap), before, *flags, last=last))
    assert (run.code, bool(run.out)) == (0, not flags), run.err


@pytest.mark.parametrize(("flags", "lines"), [((), 0), ((), 300), (("--discover",), 0)])
def test_a_gone_reader_ends_the_run_quietly(tap: Tap, flags: tuple[str, ...], lines: int) -> None:
    process = tap.start(*flags)
    assert process.stdout
    assert process.stderr
    for _ in range(lines):
        assert json.loads(process.stdout.readline())
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(SECONDS) == 4
    assert "Traceback" not in err
    assert "Exception" not in err
    assert err.count("CRITICAL") == 1


@pytest.mark.parametrize(
    ("owner", "name", "first", "raised"),
    [
        (RecordReader, "read", 20, MemoryError),
        (ListrakClient, "fetch", 20, RuntimeError),
        (ListrakClient, "fetch", 1, RuntimeError),
        (Walk, "_of_parents", 2, RuntimeError),
        (StreamState, "range_finished", 3, MemoryError),
        (SingerOutput, "write_records", 10, RuntimeError),
    ],
)
def test_an_exception_anywhere_ends_the_run_with_a_state_and_one_line(
    make_tap: MakeTap, owner: type, name: str, first: int, raised: type[Exception]
) -> None:
    tap = tiny_tap(make_tap, 8)
    honest, calls = getattr(owner, name), count(1)

    def broken(*args: Any, **kwargs: Any) -> Any:
        if next(calls) >= first:
            raise raised("secret of a row")
        return honest(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, name, broken)
        run = tap.run()
    began = (name, first) != ("fetch", 1)
    assert_ended_well(run, 1, began=began)
    assert raised.__name__ in run.lines("CRITICAL")[0]
    assert "secret" not in run.err
    if began:
        assert_goes_on(tap, run)


def test_the_end_of_a_run_does_not_wait_for_replies_under_way(make_tap: MakeTap) -> None:
    tap = tiny_tap(make_tap, 8)
    first = tap.msg_ids()[0]
    tap.fail("message_opens", fault(LOGON), MsgID=first)
    tap.fail_calls(lambda ask: ask.arguments.get("MsgID", str(first)) != str(first), HANGS)
    assert_ended_well(end(tap.start()), 3)
