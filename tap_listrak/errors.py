"""The exceptions that end a run, each with its exit code.

::

    TapError
    ├── UsageError      a mistake in command line, config, catalog or state; nothing was requested
    ├── OutputError     stdout is closed or full
    ├── Interrupted     SIGTERM or SIGINT
    └── ListrakError    a call to Listrak failed: see listrak/faults.py
"""

from __future__ import annotations

# Exit codes.
FAILED = 1
MISTAKE = 2
REFUSED = 3
STDOUT_CLOSED = 4


class TapError(Exception):
    """Base of all errors that end a run. The text is the one line that the user sees."""

    exit_code = FAILED


class UsageError(TapError):
    """A mistake in the command line, the config, the catalog or the state."""

    exit_code = MISTAKE


class OutputError(TapError):
    """Stdout is closed (the target exited) or full (no space on the disk)."""

    exit_code = STDOUT_CLOSED


class Interrupted(TapError):
    """A signal stopped the run."""

    def __init__(self, signum: int, name: str, next_step: str) -> None:
        super().__init__(f"Stopped by {name}. {next_step}")
        self.exit_code = 128 + signum
