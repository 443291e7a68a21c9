"""Define the errors of a call, and the tables that map faults to them.

::

    ListrakError                          retried  scope
    ├── TransientError                    yes      part      a retry may succeed
    ├── InvalidValueError                 no       part      a value is not of its column's type
    ├── RejectedRequestError              no       part      Listrak rejects this request
    │   └── PermissionDeniedError         no       part      the user may not make it
    ├── InvalidRequestError               no       stream    Listrak rejects this kind of request
    └── PermanentError                    no       run       every request would fail
        ├── AuthenticationError           no       run       Listrak refuses the user or address
        ├── MissingOperationError         no       run       the WSDL lacks a stream's operation
        └── UnreachableError              yes      run       cannot connect to the service

Listrak's codes and the tap's own conditions are separate tables, so that Listrak's text cannot
select a condition. Clients of the live service reported the codes.
docs/troubleshooting.md lists both tables.
"""

from __future__ import annotations

from enum import Enum, unique
from typing import NamedTuple

from tap_listrak.errors import REFUSED, TapError


class Scope(Enum):
    """How much an error affects: one part, its stream, or the run."""

    PART = "part"
    STREAM = "stream"
    RUN = "run"


class ListrakError(TapError):
    """A call failed.

    `fault` is its row in the tables. `retry_after` is the minimum number of seconds before a retry,
    0 if Listrak sent none. `is_answer` means that the service works, and only this part failed.
    """

    is_retryable = False
    is_answer = False
    scope = Scope.PART

    def __init__(self, text: str, fault: Fault, *, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.fault = fault
        self.retry_after = retry_after

    @property
    def is_refusal(self) -> bool:
        """Whether Listrak or a proxy refused the user."""
        return self.exit_code == REFUSED

    @property
    def is_too_long(self) -> bool:
        """Whether the reply took too long or was too large, so a shorter window may succeed."""
        return self.fault in (Condition.TIMEOUT.value, Condition.TOO_LARGE.value)

    @property
    def is_of_pages(self) -> bool:
        """Whether the pages are unreliable, so a retry must begin at the first."""
        return self.fault in (Condition.REPEATED_PAGE.value, Condition.SHIFTED_PAGES.value)

    def prefixed(self, prefix: str) -> ListrakError:
        """Return the same error with `prefix` before its text."""
        return type(self)(f"{prefix}{self}", self.fault, retry_after=self.retry_after)


class TransientError(ListrakError):
    """A retry may succeed."""

    is_retryable = True


class InvalidValueError(ListrakError):
    """A value in a reply cannot be read as its column's type."""

    is_answer = True


class RejectedRequestError(ListrakError):
    """Listrak rejects this request permanently."""


class PermissionDeniedError(RejectedRequestError):
    """The user may not make this request; discovery omits its stream."""

    exit_code = REFUSED


class InvalidRequestError(ListrakError):
    """Listrak rejects the form of the request, so the whole stream fails."""

    scope = Scope.STREAM


class PermanentError(ListrakError):
    """Every request would fail."""

    scope = Scope.RUN


class AuthenticationError(PermanentError):
    """Listrak refuses the user or this machine's IP address."""

    exit_code = REFUSED


class MissingOperationError(PermanentError):
    """The service's WSDL lacks the operation of a stream; discovery omits the stream."""


class UnreachableError(PermanentError):
    """Cannot connect; the run ends if that persists."""

    is_retryable = True


class Fault(NamedTuple):
    """The error class and the user's message of a code or condition."""

    error: type[ListrakError]
    message: str

    def to_error(self, detail: str = "", *, retry_after: float = 0.0) -> ListrakError:
        """Return the error, with `detail` in parentheses."""
        detail = detail.strip()
        text = f"{self.message} ({detail})" if detail else self.message
        return self.error(text, self, retry_after=retry_after)


CODES: dict[str, Fault] = {
    "InvalidLogonAttempt": Fault(
        AuthenticationError,
        "Listrak refused the user name or password. Check `username` and `password` in the config.",
    ),
    "LoginAttemptsExceeded": Fault(
        AuthenticationError,
        "Listrak has locked this user after too many failed logins. Unlock it, or wait, and check "
        "`username` and `password` in the config before the next run.",
    ),
    "ProhibitedIPAddress": Fault(
        AuthenticationError,
        "Listrak does not accept calls from this machine's IP address. Add it in Listrak under "
        "Manage, Accounts, SOAP API IP Authorization.",
    ),
}


@unique
class Condition(Enum):
    """The faults that the tap detects itself."""

    # Any other [Logon] code.
    LOGON = Fault(
        AuthenticationError,
        "Listrak rejected the login. Check in Listrak that the user is active and has the "
        "permission API Access.",
    )
    # Any other code.
    CODE = Fault(
        PermissionDeniedError,
        "Listrak refused the request. If it refuses all requests, check that the user has the "
        "permissions Analytics Access and API Access and is granted the lists.",
    )
    UNREADABLE_REQUEST = Fault(
        InvalidRequestError,
        "Listrak could not read the tap's request. Check that `wsdl_url` is the v31 service; if "
        "it is, please report this.",
    )
    ARGUMENTS = Fault(
        InvalidRequestError,
        "The service's operation has different arguments than Listrak's. Check `wsdl_url`.",
    )
    # Without a code.
    EXCEPTION = Fault(TransientError, "Listrak reported an error inside its reply.")
    FAULT = Fault(TransientError, "Listrak returned a SOAP fault.")
    FORBIDDEN = Fault(
        PermissionDeniedError,
        "HTTP access was denied. Check `wsdl_url`, the proxy, and that Listrak accepts this "
        "machine's IP address.",
    )
    REJECTED = Fault(
        RejectedRequestError,
        "The server rejected this request. If it rejects all requests, check `wsdl_url` in the "
        "config.",
    )
    REDIRECT = Fault(
        PermanentError,
        "The server sent a redirect, and the tap sends credentials only to the host of "
        "`wsdl_url`. Set `wsdl_url` to the final address if you trust it.",
    )
    NOT_FOUND = Fault(
        TransientError,
        "Listrak returned 404 Not Found. This happens for some messages; if it happens for every "
        "call, check `wsdl_url` in the config.",
    )
    THROTTLED = Fault(
        TransientError,
        "Listrak is limiting the call rate. Run fewer taps against the account at once.",
    )
    SERVER_ERROR = Fault(
        TransientError,
        "Listrak is temporarily unavailable. Run again later, with the last STATE.",
    )
    NOT_SOAP = Fault(
        TransientError,
        "The reply is not a SOAP reply from Listrak. Check `wsdl_url` and any proxy.",
    )
    NOT_XML = Fault(TransientError, "The reply is not well-formed XML.")
    # No row has its key, or an empty reply lacks the WSException that the WSDL names.
    INCOMPLETE = Fault(
        TransientError,
        "The reply is incomplete, so it is not treated as empty.",
    )
    DOCTYPE = Fault(
        RejectedRequestError,
        "The reply contains a DTD, which Listrak never sends. Check `wsdl_url` and any proxy.",
    )
    TOO_LARGE = Fault(
        TransientError,
        "The reply is larger than the tap accepts. A smaller `interval_days` may help.",
    )
    REPEATED_PAGE = Fault(
        RejectedRequestError,
        "Listrak returned the same page repeatedly, so its pages are unreliable.",
    )
    SHIFTED_PAGES = Fault(
        RejectedRequestError,
        "The pages changed during each reading, as they do when contacts unsubscribe meanwhile. "
        "Run at a quieter time.",
    )
    INVALID_VALUE = Fault(InvalidValueError, "A value cannot be read as its column's type.")
    TIMEOUT = Fault(
        TransientError,
        "Listrak did not reply in time. Increase `request_timeout` or decrease `interval_days`.",
    )
    UNTRUSTED = Fault(
        PermanentError,
        "The server's certificate is not trusted. Check `wsdl_url`, this machine's clock and "
        "certificates, and whether a proxy replaces certificates (REQUESTS_CA_BUNDLE).",
    )
    CA_BUNDLE = Fault(
        PermanentError, "The CA bundle cannot be used. Check REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE."
    )
    TLS = Fault(TransientError, "The TLS connection broke.")
    PROXY_SETTING = Fault(
        PermanentError,
        "The proxy cannot be used. Check the form of HTTPS_PROXY, its user and password, and "
        "NO_PROXY.",
    )
    PROXY = Fault(
        UnreachableError,
        "Cannot connect through the proxy. Check HTTPS_PROXY and NO_PROXY.",
    )
    CUT_SHORT = Fault(TransientError, "The connection broke in the middle of a reply.")
    CONNECTION = Fault(TransientError, "The connection to Listrak broke.")
    # Refused, no route, unknown host, or connection timeout.
    UNREACHABLE = Fault(
        UnreachableError,
        "Cannot connect to Listrak. Check `wsdl_url`, the network and the firewall.",
    )
    ADDRESS = Fault(PermanentError, "The address is invalid. Check `wsdl_url` in the config.")
    CONTRACT = Fault(
        PermanentError,
        "The address does not describe Listrak's integration service. Check `wsdl_url`.",
    )
    NO_OPERATION = Fault(
        MissingOperationError,
        "The service does not have this stream. Deselect it in the catalog, or check `wsdl_url`.",
    )


FAULTS: tuple[Fault, ...] = (*CODES.values(), *(each.value for each in Condition))


def make_error(condition: Condition, detail: str = "", *, retry_after: float = 0.0) -> ListrakError:
    """Return the error of a condition, with `detail` in parentheses."""
    return condition.value.to_error(detail, retry_after=retry_after)
