"""The exceptions that end a run, each with its exit code; its text is the line that the user sees.

::

    TapError
    ├── UsageError      command line, config, catalog or state are wrong; nothing was asked
    ├── OutputError     stdout is gone or full
    ├── Interrupted     SIGTERM or SIGINT
    └── ListrakError    a call to Listrak failed: see listrak/faults.py
"""

from __future__ import annotations


class TapError(Exception):
    """Whatever ends a run; its text is the one line that the user sees."""

    exit_code = 1


class UsageError(TapError):
    """A mistake in the command line, the config, the catalog or the state."""

    exit_code = 2


class OutputError(TapError):
    """Stdout was closed (the target is gone) or cannot take more (a full disk)."""

    exit_code = 4


class Interrupted(TapError):
    """A signal asked the run to end."""

    def __init__(self, signum: int, name: str) -> None:
        super().__init__(f"Stopped by {name}. Resume from the last STATE, if there is one.")
        self.exit_code = 128 + signum
