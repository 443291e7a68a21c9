"""examples/sync.sh in folders as examples/README.md has them, with a service and a target."""

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

from fake_listrak import Ask, ListrakService, Reply, redirect
from tests.support.published import KEYS
from tests.support.records import keys_held
from tests.support.runs import is_page, pages
from tests.support.tap import PASSWORD, USERNAME

SECONDS = 300  # more than anything here takes on a busy machine

Keys = dict[str, Counter[tuple[Any, ...]]]
Process = subprocess.Popen[str]


@dataclass
class Sync:
    """The folders as examples/README.md has them, with target-jsonl for a target."""

    service: ListrakService
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.configs, self.kept = self.folder / "etc/main", self.folder / "lib/main"

    @property
    def state(self) -> dict[str, Any]:
        """What the next run resumes from."""
        state: dict[str, Any] = json.loads((self.kept / "state.json").read_text("utf-8"))
        return state

    @property
    def is_unfinished(self) -> bool:
        """Whether a run that was cut off left the state."""
        return any(each.get("unfinished") for each in self.state["bookmarks"].values())

    def write(self, name: str, **content: Any) -> None:
        (self.configs / name).write_text(json.dumps(content), "utf-8")

    def configure(self, **changes: Any) -> None:
        """Write the tap's config; one call at a time, so that it is known what was requested."""
        config = {
            "username": USERNAME,
            "password": PASSWORD,
            "start_date": "2025-01-01",
            "wsdl_url": self.service.url,
            "concurrency": 1,
        }
        self.write("config.json", **{**config, **changes})

    def program(self, name: str, text: str) -> None:
        """Put a program where it is found before others of that name."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        path.chmod(0o700)
        self.environment["PATH"] = f"{path.parent}:{os.environ['PATH']}"

    def use(self, target: str) -> None:
        """Use this program as the target."""
        self.program("a-target", target)
        self.environment["TARGET"] = str(self.folder / "bin/a-target")

    def start(self) -> Process:
        # A shell cannot trap a signal that is ignored when it starts, as SIGHUP is under nohup.
        command = ("/usr/bin/env", "--default-signal=HUP", self.folder / "opt/sync.sh")
        return subprocess.Popen(
            [*command, self.configs, self.kept],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment},
            start_new_session=True,
        )

    def run(self) -> int:
        return finish(self.start())

    def assert_resumes(self) -> None:
        """The next run gives the rest, and requests at most what came last again."""
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
    """Wait for the end, show the log where a test fails, and return the exit code."""
    _, log = process.communicate(timeout=SECONDS)
    print(log)
    return process.returncode


def once_at_page(
    number: int, which: Callable[[Ask], bool] = is_page
) -> Callable[[Ask], Reply | None]:
    """Return a rule by which the n-th of these calls fails, so that the run ends, and no more."""
    seen = count(1)
    return lambda ask: (
        redirect("http://127.0.0.1:9/") if which(ask) and next(seen) == number else None
    )


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
