"""However a run ends: soon, with whole lines, a last STATE to go on from, and no traceback."""

import json
import os
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


def answer_from(
    tap: Tap, first: int, reply: Reply, which: Callable[[Ask], bool] = is_page
) -> threading.Event:
    """Give this reply from the n-th such call on; return the sign that it was given."""
    seen, given = count(1), threading.Event()

    def rule(ask: Ask) -> Reply | None:
        if not which(ask) or next(seen) < first:
            return None
        given.set()
        return reply

    tap.service.rules.append(rule)
    return given


def start_program(tap: Tap, program: str, *flags: str) -> Process:
    """Start a program that calls the tap's entry point, as a process of its own."""
    command = [sys.executable, "-c", program, *tap.arguments(*flags)]
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


@pytest.mark.parametrize(
    ("reply", "number", "code"),
    [(HANGS, TERM, 143), (HANGS, INT, 130), (Reply(b"", 503, {"Retry-After": "200"}), TERM, 143)],
    ids=["hangs, TERM", "hangs, INT", "retry"],
)
def test_a_signal_ends_a_run_that_waits_for_a_reply_or_a_retry(
    make_tap: MakeTap, reply: Reply, number: signal.Signals, code: int
) -> None:
    tap = tiny_tap(make_tap, 8)
    waits = answer_from(tap, 20, reply)
    process = tap.start()
    assert process.stdout
    assert waits.wait(SECONDS)
    # Past the buffers, in which `communicate` would not find what is read too early.
    before = b""
    while not (b'"RECORD","stream":"message_sends"' in before and before.endswith(b"\n")):
        more = os.read(process.stdout.fileno(), 65536)
        assert more, "The run has ended without it."
        before += more
    run = end(process, number)
    run = Run(run.code, before.decode() + run.out, run.err)
    assert_ended_well(run, code)
    assert number.name in run.lines("CRITICAL")[0]
    assert_goes_on(tap, run)


# The kernel hands a signal to any thread that takes it, or to the main thread just before it waits:
# either way the wait itself is not woken.
ELSEWHERE = """
import signal, sys, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
from tap_listrak import cli
code = cli.main(sys.argv[1:])
print("alarm", signal.getitimer(signal.ITIMER_REAL), file=sys.stderr)
sys.exit(code)
"""


def test_a_signal_that_does_not_wake_the_main_thread_ends_the_run(make_tap: MakeTap) -> None:
    tap = tiny_tap(make_tap)
    hanging = answer_from(tap, 20, HANGS)
    process = start_program(tap, ELSEWHERE)
    assert hanging.wait(SECONDS)
    time.sleep(0.1)
    run = end(process, TERM)
    assert_ended_well(run, 143)
    assert "alarm (0.0, 0.0)" in run.err


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


FOR_TARGET = """
import sys
from tap_listrak import cli, signals
signals.SECONDS_FOR_TARGET = {seconds}
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("seconds", "signals"), [(10_000, 2), (0.5, 1)])
def test_a_second_signal_or_some_time_ends_a_run_whose_stdout_nobody_reads(
    make_tap: MakeTap, seconds: float, signals: int
) -> None:
    process = start_program(make_tap(), FOR_TARGET.format(seconds=seconds))
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
OFF_MAIN_THREAD = """
import sys, threading
from tap_listrak.cli import main
codes = []
thread = threading.Thread(target=lambda: codes.append(main(sys.argv[1:])))
thread.start()
thread.join()
sys.exit(codes[0])
"""
WITHOUT_SIGALRM = """
import signal, sys
del signal.SIGALRM, signal.setitimer, signal.ITIMER_REAL
from tap_listrak.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("flags", [(), ("--test",)], ids=str)
@pytest.mark.parametrize("program", [OFF_MAIN_THREAD, WITHOUT_SIGALRM], ids=["thread", "system"])
def test_the_tap_runs_where_it_cannot_handle_signals(
    make_tap: MakeTap, program: str, flags: tuple[str, ...]
) -> None:
    run = end(start_program(tiny_tap(make_tap), program, *flags))
    assert (run.code, bool(run.out)) == (0, not flags), run.err


@pytest.mark.parametrize(
    ("flags", "operation"),
    [
        ((), "WSDL"),
        ((), "GetContactListCollection"),
        ((), "ReportListMessageActivity"),
        (("--discover",), "WSDL"),
        (("--discover",), "ReportMessageContactSent"),
    ],
)
def test_a_signal_ends_a_sync_or_discovery_whose_first_calls_hang(
    tap: Tap, flags: tuple[str, ...], operation: str
) -> None:
    state = {"bookmarks": {"message_opens": {"OpenDate": "2026-06-01T00:00:00Z"}}}
    hanging = answer_from(tap, 1, HANGS, lambda ask: ask.operation == operation)
    process = tap.start(*flags, state=None if flags else state)
    assert hanging.wait(SECONDS), f"{operation} is not requested"
    run = end(process, TERM)
    assert_ended_well(run, 143, began=not flags)
    assert flags or run.entry()["OpenDate"] == "2026-06-01T00:00:00Z"


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
