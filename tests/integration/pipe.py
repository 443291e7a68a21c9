"""The tap, from its wheel, piped into a target as a shell does it."""

import json
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.environments import tap_environment


@dataclass(frozen=True)
class Piped:
    """The tap's messages and log, and what the target printed."""

    emitted: list[dict[str, Any]]
    log: str
    printed: str

    @property
    def state(self) -> Any:
        """The last state that the target printed."""
        return json.loads(self.printed.rstrip("\n").split("\n")[-1])

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.emitted if message["type"] == kind]


def tap_command(arguments: Sequence[str]) -> list[str]:
    """Return the command line of the installed tap."""
    return [str(tap_environment() / "tap-listrak"), *arguments]


def pipe(
    tap: Sequence[str],
    target: Sequence[str],
    folder: Path,
    variables: Mapping[str, str] | None = None,
    between: str = "cat",
) -> Piped:
    """Run the tap with these arguments, and a target, in this folder.

    What the tap prints passes through `between`. Raises RuntimeError with the logs if one fails.
    """
    stages = (
        f"{shlex.join(tap_command(tap))} 2> tap.log",
        f"{between} | tee emitted.jsonl",
        f"{shlex.join(target)} 2> target.log",
    )
    run = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", " | ".join(stages)],
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
