"""What is done about a failure: set its part aside and go on, or end the run.

An error says by itself whether it may be retried or deferred (listrak/faults.py); the client
retries. What is decided here tells a bad message from a broken service.
"""

from __future__ import annotations

from collections import Counter
from typing import TypeGuard

from tap_listrak.listrak.faults import ListrakError, Scope
from tap_listrak.streams import Stream
from tap_listrak.sync.tasks import FetchTask, Part

# So many parts of one stream in a row, none of which succeeds, show a broken service.
MAX_FAILED_IN_A_ROW = 5
# More parts set aside in one run, or in all, are not a few bad messages.
MAX_DEFERRED_IN_A_RUN = 100
MAX_DEFERRED = 1000


def ends_every_task(error: BaseException) -> bool:
    """Tell whether all that is asked would fail with this error, so that the run ends at once."""
    return not (isinstance(error, ListrakError) and error.scope is Scope.PART)


def can_defer(error: BaseException, task: FetchTask) -> TypeGuard[ListrakError]:
    """Tell whether the run can set this task aside for this error, and go on."""
    return task.can_be_deferred and not ends_every_task(error)


class FailurePolicy:
    """Counts what a run sets aside, and tells when that ends it.

    What an earlier run set aside says nothing new about the service when it fails again.
    """

    def __init__(self) -> None:
        self._failed_in_a_row: Counter[Stream] = Counter()
        self._deferred: set[Part] = set()
        self._succeeded: set[Stream] = set()
        self._last_errors: dict[Stream, ListrakError] = {}
        self._last_error: ListrakError | None = None

    def succeeded(self, task: FetchTask) -> None:
        """Count a task of which all pages came, if with it its part is whole."""
        if task.ends_part and not task.is_owed:
            self._succeeded.add(task.stream)
            self._failed_in_a_row[task.stream] = 0

    def failed(self, task: FetchTask, error: ListrakError, deferred: int) -> ListrakError | None:
        """Count a task that was set aside; return the error that ends the run, if it is to end.

        `deferred` is how many parts are set aside now, in all streams.
        """
        stream = task.stream
        self._last_error = error
        if task.is_owed:
            return None
        self._deferred.add(task.part)
        self._failed_in_a_row[stream] += 1
        self._last_errors[stream] = error
        if self._failed_in_a_row[stream] >= MAX_FAILED_IN_A_ROW:
            return error.prefixed(
                f"{MAX_FAILED_IN_A_ROW} of {stream.name} in a row failed, the last with: "
            )
        if len(self._deferred) > MAX_DEFERRED_IN_A_RUN:
            return error.prefixed(
                f"More than {MAX_DEFERRED_IN_A_RUN} were set aside in this run, the last with: "
            )
        return self.error_of_too_many(deferred)

    def error_of_too_many(self, deferred: int) -> ListrakError | None:
        """Return the error that ends the run if too many parts are set aside in all.

        What earlier runs set aside is asked for as a whole before it counts, so that what Listrak
        answers again is had.
        """
        if deferred > MAX_DEFERRED and self._last_error:
            return self._last_error.prefixed(
                f"More than {MAX_DEFERRED:,} are set aside, the last with: "
            )
        return None

    def error_at_the_end(self) -> ListrakError | None:
        """Return the error that ends a complete run: of a stream of which nothing succeeded."""
        for stream, error in self._last_errors.items():
            if stream not in self._succeeded:
                return error.prefixed(f"Nothing of {stream.name} came whole, the last with: ")
        return None
