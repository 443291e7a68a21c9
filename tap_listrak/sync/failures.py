"""What a run does about a part that fails: hold it, set it aside, or stop its stream. Pure.

An error says by itself what fails with it and whether it may be retried (listrak/faults); the
client retries. A part that fails is held until another of its stream is answered, which shows that
the service works and the part does not. Then it is set aside. A stream of which too much fails is
stopped, so that the next run resumes it before the first part that is held.
"""

from __future__ import annotations

from tap_listrak.errors import FAILED, REFUSED, TapError
from tap_listrak.listrak.faults import ListrakError, Scope
from tap_listrak.streams import Stream

# More parts that fail in one run, or are set aside in all, are not a few bad messages.
MAX_FAILED_IN_A_RUN = 100
MAX_SET_ASIDE = 1000
# As many, at the end of a range, may be bad messages; more may be a service that fails.
MAX_HELD_AT_THE_END = 5


def can_set_aside_at_the_end(held: int, *, was_answered: bool) -> bool:
    """Return whether the parts held at the end of a range are set aside."""
    return was_answered and held <= MAX_HELD_AT_THE_END


def reason_to_stop(error: ListrakError, failed: int, set_aside: int) -> ListrakError | None:
    """Return the error that stops a stream after a failure, if it is to stop.

    `failed` counts the parts of its walk that failed in this run.
    """
    if error.scope is not Scope.PART:
        return error
    if failed > MAX_FAILED_IN_A_RUN:
        return error.prefixed(f"more than {MAX_FAILED_IN_A_RUN} parts failed, the last with: ")
    if set_aside > MAX_SET_ASIDE:
        return error.prefixed(f"more than {MAX_SET_ASIDE:,} parts are set aside, the last with: ")
    return None


def error_of_stopped(stopped: dict[Stream, ListrakError]) -> TapError | None:
    """Return the error that ends a run of which these streams were stopped."""
    if not stopped:
        return None
    reasons = " ".join(f"{stream.name}: {error}" for stream, error in stopped.items())
    error = TapError(
        f"Stopped {len(stopped)} of the streams; everything else was synced. The next run resumes "
        "them where they stopped. If the oldest messages are the cause, a later start_date leaves "
        f"them out. {reasons}"
    )
    error.exit_code = REFUSED if all(each.is_refusal for each in stopped.values()) else FAILED
    return error
