"""The tap, from its wheel, piped into a target as a shell does it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Piped:
    """What the two ends of a pipe printed."""

    emitted: list[dict[str, Any]]
    """The tap's messages."""
    log: str
    """The tap's log."""
    printed: str
    """What the target printed."""

    @property
    def state(self) -> Any:
        """The last state that the target printed, to go on from."""
        return json.loads(self.printed.rstrip("\n").split("\n")[-1])

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """The tap's messages of one type."""
        return [message for message in self.emitted if message["type"] == kind]


def pipe(
    tap: Sequence[str],
    target: Sequence[str],
    folder: Path,
    variables: Mapping[str, str] | None = None,
) -> Piped:
    """Run a tap and a target in this folder. Raises RuntimeError with their logs if one fails."""
    stages = (
        f"{shlex.join(tap)} 2> tap.log",
        "tee emitted.jsonl",
        f"{shlex.join(target)} 2> target.log",
    )
    shell = ["/bin/bash", "-o", "pipefail", "-c", " | ".join(stages)]
    run = subprocess.run(
        shell,
        cwd=folder,
        env={**os.environ, **(variables or {})},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        timeout=300,
    )
    log = (folder / "tap.log").read_text("utf-8")
    if run.returncode:
        raise RuntimeError(log + (folder / "target.log").read_text("utf-8"))
    emitted = (folder / "emitted.jsonl").read_text("utf-8").split("\n")[:-1]
    return Piped([json.loads(line) for line in emitted], log, run.stdout)
