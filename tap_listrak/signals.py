"""Stop the run on SIGTERM and SIGINT, even if stdout is blocked."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from tap_listrak.errors import Interrupted

# Seconds to wait for a blocked target to read the last lines and STATE after the first signal.
SECONDS_FOR_TARGET = 20.0
# The same after a second signal.
SECONDS_AFTER_SECOND_SIGNAL = 1.0
# Ignore a second signal within this time: Ctrl-C reaches the whole process group, and a script
# that handles it, such as sync.sh, also forwards it.
SECONDS_OF_ONE_STOP = 1.0

RESUME = "Resume from the last STATE, if there is one."

LOGGER = logging.getLogger(__name__)


def end_on_signals(interrupt: Callable[[Interrupted], None], next_step: str = RESUME) -> None:
    """Call `interrupt` at the first signal; end the process if stdout stays blocked after it.

    `next_step` is its advice to the user. Off the main thread, and on systems without
    SIGALRM, keep the default signal handlers.
    """
    if not _can_handle_signals():
        return
    code: int | None = None
    stopped_at = 0.0

    def give_up(signum: int, frame: FrameType | None) -> NoReturn:
        LOGGER.critical("Stopped by a signal while the target did not read.")
        os._exit(code or 1)

    def end(signum: int, frame: FrameType | None) -> None:
        nonlocal code, stopped_at
        if code is not None:
            if time.monotonic() - stopped_at > SECONDS_OF_ONE_STOP:
                signal.setitimer(signal.ITIMER_REAL, SECONDS_AFTER_SECOND_SIGNAL)
            return
        stopped_at = time.monotonic()
        reason = Interrupted(signum, signal.Signals(signum).name, next_step)
        code = reason.exit_code
        signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, SECONDS_FOR_TARGET)
        interrupt(reason)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, end)


def cancel_alarm() -> None:
    """Cancel the alarm before the interpreter exits, which removes its handler."""
    if _can_handle_signals():
        signal.setitimer(signal.ITIMER_REAL, 0)


def _can_handle_signals() -> bool:
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and hasattr(signal, "SIGALRM")
