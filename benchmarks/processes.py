"""Run processes and measure their cost: the service, the tap, and what is compared with it.

CPU and peak memory are those of the child as the kernel counts them (`os.wait4`): the whole
process from exec to exit, interpreter and imports included. Linux lets a child's peak begin at its
parent's, so this process keeps small: it holds no pages and no output.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from fake_listrak import Account
from tap_listrak.streams import PUBLISHED, Per

USERNAME, PASSWORD = "bench@example.com", "a password"
# Every account lies in this year, and every run requests just this year: see `Tap.command`.
START, END = "2025-01-01T00:00:00", "2026-01-01T00:00:00"

_TIME_EXTRACTED = re.compile(rb',"time_extracted":"[^"]*"}$')


@dataclass(frozen=True)
class Cost:
    """The cost of one process: CPU and wall seconds, and its peak memory in MiB."""

    cpu: float
    wall: float
    peak: float


def measure(command: Sequence[str], stdout: int) -> Cost:
    """Run a command to its end. Raises RuntimeError with its log if it fails.

    `stdout` is a file descriptor, or subprocess.PIPE for a pipe that is read as fast as it fills.
    """
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=log, bufsize=0
        )
        if child.stdout is not None:
            while os.read(child.stdout.fileno(), 2**16):
                pass
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            log.seek(0)
            end = log.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}:\n{end}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


def measure_until(command: Sequence[str], records: int) -> Cost:
    """Run a command until it has printed that number of RECORDs, and kill it. Raises RuntimeError.

    What lies in the pipe as it is killed has cost something, too: a few thousand lines at most.
    """
    started = time.monotonic()
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    count = 0
    for line in child.stdout:
        count += line.startswith(b'{"type":"RECORD"')
        if count == records:
            break
    wall = time.monotonic() - started
    child.kill()
    child.stdout.close()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if count < records:
        raise RuntimeError(f"{' '.join(command)} printed {count} RECORDs, not {records}.")
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


def digest(path: Path) -> str:
    """Hash Singer messages without STATE and time_extracted, which may differ between runs."""
    seen = hashlib.sha256()
    with path.open("rb") as lines:
        for line in lines:
            if not line.startswith(b'{"type":"STATE"'):
                seen.update(_TIME_EXTRACTED.sub(b"}", line.rstrip(b"\n")) + b"\n")
    return seen.hexdigest()


class Service:
    """`python -m fake_listrak` over an account of these arguments, as a context manager."""

    def __init__(self, latency: float = 0.0, **shape: Any) -> None:
        self.account = Account(**shape)
        self._command = [sys.executable, "-m", "fake_listrak", "--latency", str(latency)]
        self._command += ["--username", USERNAME, "--password", PASSWORD]
        self._command += ["--start", START, "--end", END]
        for name, value in shape.items():
            if name == "counts":
                for operation, count in value.items():
                    self._command += ["--count", operation, str(count)]
            else:
                self._command += [f"--{name.replace('_', '-')}", str(value)]

    def __enter__(self) -> Service:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    @property
    def calls(self) -> Counter[str]:
        """Return how often each operation has been called."""
        address = self.url.partition("/v31/")[0] + "/asked"
        with urllib.request.urlopen(address) as answer:  # noqa: S310 - the service's own address
            return Counter(json.load(answer))


@dataclass
class Tap:
    """The tap, pointed at a service, with some streams selected; its files lie in `folder`.

    is_first: whether it is given no state.
    """

    service: Service
    folder: Path
    streams: Sequence[str]
    config: dict[str, Any] = field(default_factory=dict)
    is_first: bool = False

    def command(self, *flags: str, **config: Any) -> list[str]:
        """Write the files and give the command line.

        The state is that of a run cut off before its first row, whose end is fixed: so all runs
        request the same windows, which the service answers from its cache after the first time.
        """
        offset = {"start_date": f"{START}Z", "start": f"{START}Z", "end": f"{END}Z", "ListIDs": []}
        files = {
            "config": {
                "username": USERNAME,
                "password": PASSWORD,
                "start_date": f"{START}Z",
                "wsdl_url": self.service.url,
                **self.config,
                **config,
            },
            "catalog": selecting(self.streams),
            "state": {"bookmarks": {name: {"offset": offset} for name in self.streams}},
        }
        if self.is_first:
            del files["state"]
        command = [sys.executable, "-m", "tap_listrak", *flags]
        # Several runs may go on at once, each with its own files.
        own = Path(tempfile.mkdtemp(dir=self.folder))
        for name, value in files.items():
            path = own / f"{name}.json"
            path.write_text(json.dumps(value), "utf-8")
            command += [f"--{name}", str(path)]
        return command


def scaled(rows: int, share: float) -> int:
    """Return this share of a number of rows or of runs, at least one."""
    return max(1, round(rows * share))


def rows_of_messages(rows: int) -> dict[str, int]:
    """Return `counts` that give each message this number of rows of each published stream."""
    return {each.operation: rows for each in PUBLISHED if each.per is Per.MESSAGE}


def selecting(streams: Sequence[str]) -> dict[str, Any]:
    """Make a catalog with these streams selected, and no others."""
    selected = {"breadcrumb": [], "metadata": {"selected": True}}
    return {
        "streams": [
            {"tap_stream_id": name, "stream": name, "schema": {}, "metadata": [selected]}
            for name in streams
        ]
    }


def best(times: int, *measured: Callable[[], Cost]) -> list[Cost]:
    """Measure each in turn, A B C A B C; return the least CPU, wall time and peak of each."""
    rounds = [[each() for each in measured] for _ in range(times)]
    return [
        Cost(min(c.cpu for c in of), min(c.wall for c in of), min(c.peak for c in of))
        for of in zip(*rounds, strict=True)
    ]
