"""examples/sync.sh in folders as examples/README.md has them, with a service and a target."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fake_listrak import Ask, ListrakService
from tests.support.published import KEYS
from tests.support.runs import is_finished, is_page, pages
from tests.support.tap import PASSWORD, USERNAME, keys_held

SECONDS = 60  # more than anything here takes

Keys = dict[str, Counter[tuple[Any, ...]]]
Process = subprocess.Popen[str]


@dataclass
class Sync:
    """The folders as examples/README.md has them, with target-jsonl for a target."""

    service: ListrakService
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def configs(self) -> Path:
        return self.folder / "etc/main"

    @property
    def kept(self) -> Path:
        return self.folder / "lib/main"

    @property
    def state_file(self) -> Path:
        return self.kept / "state.json"

    @property
    def state(self) -> dict[str, Any]:
        """What the next run goes on from."""
        state: dict[str, Any] = json.loads(self.state_file.read_text("utf-8"))
        return state

    def write(self, name: str, **content: Any) -> None:
        (self.configs / name).write_text(json.dumps(content), "utf-8")

    def configure(self, **changes: Any) -> None:
        """Write the tap's config; one call at a time, so that it is known what was asked."""
        config = {
            "username": USERNAME,
            "password": PASSWORD,
            "start_date": "2025-01-01",
            "wsdl_url": self.service.url,
            "concurrency": 1,
        }
        self.write("config.json", **{**config, **changes})

    def use(self, target: str) -> None:
        """Put this program in the place of the target."""
        program = self.folder / "a-target"
        program.write_text(target, "utf-8")
        program.chmod(0o700)
        self.environment["TARGET"] = str(program)

    def program(self, name: str, content: str) -> None:
        """Put a program into the PATH, before all others."""
        path = self.folder / "bin" / name
        path.parent.mkdir()
        path.write_text(content, "utf-8")
        path.chmod(0o700)
        self.environment["PATH"] = f"{path.parent}:{os.environ['PATH']}"

    def start(self) -> Process:
        """Start sync.sh in a process group of its own."""
        # A shell cannot trap a signal that is ignored when it starts, as SIGHUP is under nohup.
        return subprocess.Popen(
            [
                "/usr/bin/env",
                "--default-signal=HUP",
                self.folder / "opt/sync.sh",
                self.configs,
                self.kept,
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment},
            start_new_session=True,
        )

    def run(self) -> int:
        """Run sync.sh to its end; give its exit code, and show its log where a test fails."""
        return finish(self.start())

    def assert_goes_on(self) -> None:
        """A run more gives the rest, and asks again for what came last at most."""
        before = pages(self.service.asked)
        assert self.run() == 0
        asked = pages(self.service.asked)[len(before) :]
        # The page that did not come, and the one before it.
        assert set(asked) & set(before) <= set(before[-2:])
        self.assert_complete()

    def stored(self) -> Keys:
        """By table, the key of each row that the target wrote, with how often it did."""
        stored: Keys = {table: Counter() for table in keys_held(self.service.account)}
        for file in (self.folder / "rows").glob("*.jsonl"):
            for line in file.open(encoding="utf-8"):
                row = json.loads(line)
                stored[file.stem][tuple(row[column] for column in KEYS[file.stem])] += 1
        return stored

    def assert_complete(self) -> None:
        """Every row that the account holds is stored, at least once."""
        held = keys_held(self.service.account)
        assert {table: set(keys) for table, keys in self.stored().items()} == {
            table: set(keys) for table, keys in held.items()
        }


def finish(process: Process) -> int:
    """Wait for the end; give the exit code."""
    _, log = process.communicate(timeout=SECONDS)
    print(log)
    return process.returncode


def is_unfinished(state: dict[str, Any]) -> bool:
    """Whether a run that was cut off left this state."""
    return not is_finished(state)


@dataclass
class Pause:
    """A rule that lets nothing through from the n-th page on, until it is released."""

    at: int
    reached: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    seen: Iterator[int] = field(default_factory=lambda: count(1))

    def __call__(self, ask: Ask) -> None:
        if is_page(ask) and next(self.seen) >= self.at:
            self.reached.set()
            self.over.wait(SECONDS)


def until(true: Callable[[], bool]) -> None:
    """Wait until it is; fail if it does not become so."""
    for _ in range(SECONDS * 20):
        if true():
            return
        time.sleep(0.05)
    pytest.fail("It did not come about.")
