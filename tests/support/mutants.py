"""Do the histories notice a defect? They are played on copies of the tap with one line changed.

python -m tests.support.mutants [--count 150] [name ...]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutant:
    """A defect: in a file of the tap, a text that occurs there once becomes another.

    name: what goes wrong.
    histories: the module whose histories are to notice it.
    """

    name: str
    file: str
    old: str
    new: str
    histories: str = "tests.support.histories"

    def apply(self, folder: Path) -> None:
        """Change the copy of the tap in a folder. Raises ValueError unless it is there once."""
        path = folder / "tap_listrak" / self.file
        text = path.read_text("utf-8")
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {text.count(self.old)} times in {self.file}: {self.old}"
            )
        path.write_text(text.replace(self.old, self.new), "utf-8")


MUTANTS: Final = (
    Mutant(
        "a list granted later counts as covered",
        "sync/state.py",
        "is_covered = self.scope is None or list_id is None or list_id in self.scope.list_ids",
        "is_covered = True",
    ),
    Mutant(
        "a list that was not seen stays covered",
        "sync/state.py",
        "progress.start_date, progress.finished_lists, progress.include_test_messages\n",
        "progress.start_date, progress.finished_lists | (self._progress.scope.list_ids"
        " if self._progress.scope else frozenset()), progress.include_test_messages\n",
    ),
    Mutant(
        "what fails is not set aside",
        "sync/state.py",
        "        self._defer(task, written, now)\n",
        "        self._pass(task, self._progress.active_range.end)\n",
    ),
    Mutant(
        "only the failed window of a list's contacts is set aside",
        "sync/state.py",
        "start, end = task.start, self._progress.active_range.end",
        "start, end = task.start, task.end",
    ),
    Mutant(
        "the first window that comes pays the debt of a list",
        "sync/state.py",
        "if task.end < owed.end:",
        "if False:",
    ),
    Mutant(
        "a debt that fails again does not grow",
        "sync/state.py",
        "        self._defer(task, None, None)\n",
        "        self._pass(task, task.end)\n",
    ),
    Mutant(
        "a debt is dropped when a reply lacks its message",
        "sync/state.py",
        "(dropped if seen.is_gone(now) else kept).append(seen)",
        "dropped.append(seen)",
    ),
    Mutant(
        "a debt does not grow while its message is not shown",
        "sync/walk.py",
        "                yield from self._unseen(progress, list_id, shown)\n",
        "                pass\n",
    ),
    Mutant(
        "what is set aside is not written",
        "sync/state_json.py",
        "[_set_aside(stream, deferred) for deferred in progress.deferred]",
        "[]",
    ),
    Mutant(
        "an offset is null where there is none",
        "sync/state_json.py",
        'entry["offset"] = _offset(stream, progress.range)\n',
        'entry["offset"] = progress.range and _offset(stream, progress.range)\n',
    ),
    Mutant(
        "a part goes on behind a page that is another one now",
        "sync/paging.py",
        "return is_resumed and resume_at is not None and page.digest != resume_at.digest",
        "return False",
    ),
    Mutant(
        "a part of which a page is written counts as finished",
        "sync/walk.py",
        "(parent.order == reached and not checkpoint.written)",
        "parent.order == reached",
    ),
    Mutant(
        "a page that comes twice is taken for endless paging",
        "sync/paging.py",
        "MAX_REPEATS = 3",
        "MAX_REPEATS = 2",
    ),
    Mutant(
        "a window of messages that has begun counts as finished",
        "sync/walk.py",
        "return window.end <= checkpoint.date",
        "return window.start <= checkpoint.date",
    ),
    Mutant(
        "an unfinished range keeps the start_date that it began with",
        "sync/ranges.py",
        "start_date=max(unfinished.start_date, whole.start_date)",
        "start_date=unfinished.start_date",
    ),
    Mutant(
        "an unfinished range counts test messages in that it did not ask for",
        "sync/ranges.py",
        "include_test_messages=unfinished.include_test_messages and whole.include_test_messages",
        "include_test_messages=unfinished.include_test_messages",
    ),
    Mutant(
        "test messages that are wanted again are not made up for",
        "sync/ranges.py",
        "elif known and with_tests and not known.include_test_messages:",
        "elif False:",
    ),
    Mutant(
        "an earlier start_date is not made up for",
        "sync/ranges.py",
        "if known and start_date < known.start_date:",
        "if False:",
    ),
    Mutant(
        "there is no lookback",
        "sync/ranges.py",
        "max(min(bookmark, end), start_date + lookback) - lookback",
        "max(min(bookmark, end), start_date)",
    ),
    Mutant(
        "no STATE stands before the first RECORD",
        "sync/runner.py",
        "            self._output.write_schema(self._tables[stream], columns)\n"
        "        self._write_state()\n",
        "            self._output.write_schema(self._tables[stream], columns)\n",
    ),
    *(
        Mutant(*mutant, "tests.support.turns")
        for mutant in (
            (
                "messages of a class that is overdue wait for its day",
                "sync/turns.py",
                "if end - bookmark >= every * _DAY:",
                "if False:",
            ),
            (
                "a class is asked from the recent messages' bookmark",
                "sync/turns.py",
                "return self.classes[number]",
                "return self.recent",
            ),
            (
                "classes that wait count as asked",
                "sync/turns.py",
                "max(end, bookmark) if self._is_due(number, end) else bookmark\n",
                "max(end, bookmark)\n",
            ),
            (
                "recent messages wait",
                "sync/turns.py",
                "is_recent = send_date is None or end - send_date <= recent",
                "is_recent = send_date is None",
            ),
            (
                "the bookmark speaks for recent messages alone",
                "sync/state.py",
                "reached = turns.oldest if turns else progress.end",
                "reached = progress.end",
            ),
            (
                "a change of the turns' options lets messages wait",
                "sync/ranges.py",
                "if not progress.turns or progress.turns.options != whole.turn_options:",
                "if not progress.turns:",
            ),
        )
    ),
)


def play(mutant: Mutant, count: int) -> str | None:
    """Play up to so many histories on a mutant; give what the first one that fails says, if any."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for package in ("tap_listrak", "fake_listrak", "tests"):
            ignored = shutil.ignore_patterns("__pycache__", "integration", "test_*.py")
            shutil.copytree(ROOT / package, folder / package, ignore=ignored)
        mutant.apply(folder)
        command = [sys.executable, "-m", mutant.histories]
        command += ["--count", str(count), "--stop", "--brief"]
        played = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
    lines = played.stdout.splitlines()
    if played.returncode not in (0, 1) or not lines:
        raise RuntimeError(played.stderr[-2000:])
    return lines[0] if played.returncode else None


def main() -> int:
    """Play what the command line names; the exit code is 1 if a mutant goes unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=150, help="histories for each")
    parser.add_argument("names", nargs="*", help="words in the names of mutants")
    options = parser.parse_args()
    unnoticed = 0
    for mutant in MUTANTS:
        if options.names and not any(word in mutant.name for word in options.names):
            continue
        failure = play(mutant, options.count)
        unnoticed += failure is None
        print(f"{mutant.name}: {failure or 'UNNOTICED'}", flush=True)
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
