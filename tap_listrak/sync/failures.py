"""Decide when a stream is stopped, or its failed parts are set aside. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tap_listrak.errors import FAILED, REFUSED, TapError
from tap_listrak.listrak.faults import ListrakError, Scope
from tap_listrak.logs import plural
from tap_listrak.streams import Stream

# Above these limits, the cause is the service, not single messages.
MAX_FAILED_IN_A_RUN = 100
MAX_SET_ASIDE = 1000
# Maximum number of held parts that are set aside when a range ends.
MAX_HELD_AT_THE_END = 5


def can_set_aside_at_the_end(held: int, *, was_answered: bool) -> bool:
    """Return whether the parts held at the end of a range are set aside."""
    return was_answered and held <= MAX_HELD_AT_THE_END


def reason_to_stop(error: ListrakError, failed: int, set_aside: int) -> ListrakError | None:
    """Return the error that stops the stream after a failure, or None.

    `failed` counts the parts of the stream that failed in this run, without retries.
    """
    if error.scope is not Scope.PART:
        return error
    if failed > MAX_FAILED_IN_A_RUN:
        return error.prefixed(f"more than {MAX_FAILED_IN_A_RUN} parts failed; last error: ")
    if set_aside > MAX_SET_ASIDE:
        return error.prefixed(f"more than {MAX_SET_ASIDE:,} parts are set aside; last error: ")
    return None


def error_of_stopped(stopped: dict[Stream, ListrakError]) -> TapError | None:
    """Return the run's error if streams were stopped."""
    if not stopped:
        return None
    reasons = " ".join(f"{stream.name}: {error}" for stream, error in stopped.items())
    result = TapError(
        f"Stopped {len(stopped)} of the streams; everything else was synced. The next run resumes "
        "them where they stopped. If the oldest messages are the cause, set a later start_date to "
        f"skip them. {reasons}"
    )
    result.exit_code = _exit_code(stopped.values())
    return result


def error_of_backfill(
    stopped: dict[Stream, ListrakError], missing: list[ListrakError]
) -> TapError | None:
    """Return the error of a backfill if streams were stopped, or other parts are `missing`."""
    if not stopped and not missing:
        return None
    reasons = "".join(f" Stopped {stream.name}: {error}" for stream, error in stopped.items())
    result = TapError(
        f"The backfill is incomplete: {plural(len(missing), 'part')} failed, and "
        f"{plural(len(stopped), 'stream')} stopped. Everything else was emitted. "
        f"Run the backfill again.{reasons}"
    )
    result.exit_code = _exit_code([*stopped.values(), *missing])
    return result


def _exit_code(errors: Iterable[ListrakError]) -> int:
    return REFUSED if all(each.is_refusal for each in errors) else FAILED
