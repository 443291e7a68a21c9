"""Whatever stdout and stderr are, no line is lost or broken without a word."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tap_listrak.streams import STREAMS
from tests.support.records import keys_held
from tests.support.tap import MakeTap, Tap


def start(tap: Tap, *flags: str, python: str = "", **given: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, *python.split(), "-m", "tap_listrak", *tap.arguments(), *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **{**pipes, **given})


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap whose output is far more than a pipe holds."""
    shape = {"lists": 1, "messages": 3, "contacts": 0, "sends": 1000, "page_size": 700}
    return make_tap(**shape).selecting_all()


def assert_whole(tap: Tap, out: bytes) -> None:
    messages = [json.loads(line) for line in out.split(b"\n")[:-1]]
    # Listrak keeps imports for 30 days, and these runs have the real clock.
    emitted = [each.get("stream") for each in messages if each["type"] == "RECORD"]
    held = keys_held(tap.service.account, [each for each in STREAMS if each.name != "imports"])
    assert len(emitted) - emitted.count("imports") == sum(each.total() for each in held.values())


@pytest.mark.parametrize("python", ["", "-u"], ids=["buffered", "unbuffered"])
def test_a_stdout_that_does_not_block_is_waited_for(tap: Tap, python: str) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = start(tap, python=python, stdout=writing, stderr=subprocess.DEVNULL)
    os.close(writing)
    time.sleep(0.5)
    with open(reading, "rb") as pipe:
        out = pipe.read()
    assert process.wait(60) == 0
    assert_whole(tap, out)


def test_without_a_stderr_a_run_is_as_any_other(tap: Tap) -> None:
    process = start(tap, stderr=None, preexec_fn=lambda: os.close(2))
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert_whole(tap, out)


@pytest.mark.parametrize("flags", [(), ("--about",)], ids=str)
@pytest.mark.parametrize("stdout", ["closed", "full"])
def test_a_broken_stdout_is_told_in_one_line(tap: Tap, flags: tuple[str, ...], stdout: str) -> None:
    with Path("/dev/full").open("wb") as full:
        closed: dict[str, Any] = {"stdout": None, "preexec_fn": lambda: os.close(1)}
        process = start(tap, *flags, **(closed if stdout == "closed" else {"stdout": full}))
        _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert err.count(b"CRITICAL") == 1
    assert stdout == "closed" or b"No space left" in err
    assert b"Traceback" not in err


def test_a_signal_while_the_tap_is_being_imported_gives_no_traceback(tap: Tap) -> None:
    process = start(tap, python="-X importtime", stdout=subprocess.DEVNULL)
    assert process.stderr
    next(line for line in process.stderr if b"requests" in line)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert b"Traceback" not in err
