"""What a call to Listrak raises, by what its caller may do.

::

    ListrakError                          retry?   defer?
    ├── TransientError                    yes      yes      may succeed when asked again
    ├── InvalidValueError                 no       yes      a value is not of its column's type
    ├── RejectedRequestError              no       yes      this request is not answered
    │   └── PermissionDeniedError         no       yes      Listrak refuses it to this user
    └── PermanentError                    no       no       no request would be answered
        ├── AuthenticationError           no       no       Listrak refuses the user, or the address
        └── MissingOperationError         no       no       the service cannot give this stream

To retry is to ask again; to defer is to set aside one message's or list's rows, and go on with the
others. An error that allows neither ends the run at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_listrak.errors import TapError

if TYPE_CHECKING:
    from tap_listrak.listrak.faults import Fault


class ListrakError(TapError):
    """A call that did not give what was asked for.

    `fault` is its row in the tables of faults; `retry_after` the least wait in seconds before the
    next try, where Listrak named one.
    """

    is_retryable = False
    is_deferrable = False

    def __init__(self, text: str, fault: Fault, *, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.fault = fault
        self.retry_after = retry_after

    def prefixed(self, prefix: str) -> ListrakError:
        """Return the same error with `prefix` in front of its text."""
        return type(self)(f"{prefix}{self}", self.fault, retry_after=self.retry_after)


class TransientError(ListrakError):
    """May be gone when asked again."""

    is_retryable = True
    is_deferrable = True


class InvalidValueError(ListrakError):
    """A value in a reply cannot be read as its column's type."""

    is_deferrable = True


class RejectedRequestError(ListrakError):
    """Listrak rejects this request, however often it is asked."""

    is_deferrable = True


class PermissionDeniedError(RejectedRequestError):
    """A refusal of this request to this user; discovery leaves its stream out."""

    exit_code = 3


class PermanentError(ListrakError):
    """No request would be answered, however often it is asked."""


class AuthenticationError(PermanentError):
    """Listrak refuses the user, or the address that the call comes from."""

    exit_code = 3


class MissingOperationError(PermanentError):
    """The service's WSDL lacks the operation of a stream; discovery leaves it out."""
