"""What can go wrong in a call: the exceptions, and the tables that say which fault raises which.

::

    ListrakError                          retried  fails with it
    ├── TransientError                    yes      the part     may succeed on another try
    ├── InvalidValueError                 no       the part     a value is not of its column's type
    ├── RejectedRequestError              no       the part     this request is not answered
    │   └── PermissionDeniedError         no       the part     Listrak refuses it to this user
    ├── InvalidRequestError               no       the stream   Listrak takes no such request
    └── PermanentError                    no       the run      no request would be answered
        ├── AuthenticationError           no       the run      Listrak refuses the user or address
        ├── MissingOperationError         no       the run      the WSDL lacks a stream's operation
        └── UnreachableError              yes      the run      no connection to the service

There are two tables, since a code is text from outside: it is looked up among Listrak's codes
alone. The codes and forms are those that clients of the live service have met;
docs/troubleshooting.md lists both tables.
"""

from __future__ import annotations

import gzip
import re
import ssl
import zlib
from enum import Enum
from typing import NamedTuple

import requests
import urllib3.exceptions

from tap_listrak.errors import TapError

REFUSED = 3


class Scope(Enum):
    """What fails with an error: one message or window, all of its stream, or the run."""

    PART = "part"
    STREAM = "stream"
    RUN = "run"


class ListrakError(TapError):
    """A call failed.

    `fault` is its row in the tables of faults; `retry_after` the least wait in seconds before the
    next try, where Listrak named one. `is_answer` says that the service did answer, although the
    part failed.
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
        """Whether Listrak, or a server before it, refused the user."""
        return self.exit_code == REFUSED

    @property
    def is_too_long(self) -> bool:
        """Whether the reply was too long or too large, so that a shorter window may succeed."""
        return self.fault in (Condition.TIMEOUT.value, Condition.TOO_LARGE.value)

    def prefixed(self, prefix: str) -> ListrakError:
        """Return the same error with `prefix` before its text."""
        return type(self)(f"{prefix}{self}", self.fault, retry_after=self.retry_after)


class TransientError(ListrakError):
    """The call may succeed on another try."""

    is_retryable = True


class InvalidValueError(ListrakError):
    """A value in a reply cannot be read as its column's type."""

    is_answer = True


class RejectedRequestError(ListrakError):
    """Listrak rejects this request, however often it is made."""


class PermissionDeniedError(RejectedRequestError):
    """Listrak refuses this request to this user; discovery leaves its stream out."""

    exit_code = REFUSED


class InvalidRequestError(ListrakError):
    """Listrak does not take requests of this form, so no part of the stream can be had."""

    scope = Scope.STREAM


class PermanentError(ListrakError):
    """No request would be answered."""

    scope = Scope.RUN


class AuthenticationError(PermanentError):
    """Listrak refuses the user, or the address that the call comes from."""

    exit_code = REFUSED


class MissingOperationError(PermanentError):
    """The service's WSDL lacks the operation of a stream; discovery leaves it out."""


class UnreachableError(PermanentError):
    """No connection could be made; the run ends if that stays so."""

    is_retryable = True


class Fault(NamedTuple):
    """The error of a code or condition, and what the user is told."""

    error: type[ListrakError]
    message: str


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


class Condition(Enum):
    """What the tap itself concludes from a reply, or from its absence."""

    # Any other [Logon] code.
    LOGON = Fault(
        AuthenticationError,
        "Listrak did not let the user in. Check in Listrak that the user is active and has the "
        "permission API Access.",
    )
    # Any other code.
    CODE = Fault(
        PermissionDeniedError,
        "Listrak refused the request. If it refuses every one, check that the user has the "
        "permissions Analytics Access and API Access and is granted the lists.",
    )
    UNREADABLE_REQUEST = Fault(
        InvalidRequestError,
        "Listrak could not read the tap's request. Check that `wsdl_url` is the v31 service; if "
        "it is, please report this.",
    )
    ARGUMENTS = Fault(
        InvalidRequestError,
        "The service's operation takes other arguments than Listrak's. Check `wsdl_url`.",
    )
    # Neither has a code.
    EXCEPTION = Fault(TransientError, "Listrak reported an error inside its reply.")
    FAULT = Fault(TransientError, "Listrak answered with a fault.")
    FORBIDDEN = Fault(
        PermissionDeniedError,
        "Access was refused on the way to Listrak. Check `wsdl_url`, the proxy, and that Listrak "
        "accepts this machine's IP address.",
    )
    REJECTED = Fault(
        RejectedRequestError,
        "The address does not accept this request. If it accepts none, check `wsdl_url` in the "
        "config.",
    )
    REDIRECT = Fault(
        PermanentError,
        "The address redirects the tap, and the credentials go only to the host of `wsdl_url`. "
        "Set `wsdl_url` to the final address if you trust it.",
    )
    NOT_FOUND = Fault(
        TransientError,
        "Listrak did not find the page. This happens for some messages; if it happens for every "
        "call, check `wsdl_url` in the config.",
    )
    THROTTLED = Fault(
        TransientError, "Listrak asked for fewer calls. Run fewer taps against the account at once."
    )
    SERVER_ERROR = Fault(
        TransientError,
        "Listrak is not working at the moment. Run again later, with the last STATE.",
    )
    NOT_SOAP = Fault(
        TransientError,
        "The answer is not a SOAP reply of Listrak. Check `wsdl_url` and any proxy on the way.",
    )
    NOT_XML = Fault(TransientError, "The reply was damaged on the way.")
    # No row has its key, or an empty reply lacks the WSException that the WSDL names.
    INCOMPLETE = Fault(
        TransientError,
        "The reply lacks what every reply of Listrak has, so it does not count as empty.",
    )
    DOCTYPE = Fault(
        RejectedRequestError,
        "The reply has a document type, which no reply of Listrak has. Check `wsdl_url` and any "
        "proxy on the way.",
    )
    TOO_LARGE = Fault(
        TransientError,
        "The reply is larger than the tap accepts. A smaller `interval_days` may help.",
    )
    REPEATED_PAGE = Fault(
        RejectedRequestError,
        "Listrak returned the same page again and again, so the pages cannot be trusted.",
    )
    SHIFTED_PAGES = Fault(
        RejectedRequestError,
        "Rows moved from page to page each time the pages were read, as they do when contacts "
        "leave meanwhile. Run at a quieter time.",
    )
    INVALID_VALUE = Fault(InvalidValueError, "A value cannot be read as its column's type.")
    TIMEOUT = Fault(
        TransientError,
        "Listrak did not answer in time. Raise `request_timeout`, or make `interval_days` smaller.",
    )
    UNTRUSTED = Fault(
        PermanentError,
        "The server's certificate cannot be trusted. Check `wsdl_url`, this machine's clock and "
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
        "There is no connection through the proxy. Check HTTPS_PROXY and NO_PROXY.",
    )
    CUT_SHORT = Fault(TransientError, "The connection broke in the middle of a reply.")
    CONNECTION = Fault(TransientError, "The connection to Listrak broke.")
    # Refused, no route, no such host, or no answer to the connection in time.
    UNREACHABLE = Fault(
        UnreachableError,
        "Listrak cannot be reached. Check `wsdl_url`, the network and the firewall.",
    )
    ADDRESS = Fault(PermanentError, "The address cannot be used. Check `wsdl_url` in the config.")
    CONTRACT = Fault(
        PermanentError,
        "The address does not describe Listrak's integration service. Check `wsdl_url`.",
    )
    NO_OPERATION = Fault(
        MissingOperationError,
        "The service does not have this stream. Leave it out of the catalog, or check `wsdl_url`.",
    )


FAULTS: tuple[Fault, ...] = (*CODES.values(), *(each.value for each in Condition))

_STATUSES = {
    **dict.fromkeys((401, 403), Condition.FORBIDDEN),
    404: Condition.NOT_FOUND,
    **dict.fromkeys((408, 429), Condition.THROTTLED),
}
_STATUS_CLASSES = {3: Condition.REDIRECT, 4: Condition.REJECTED, 5: Condition.SERVER_ERROR}

# The first class that fits decides, so the narrower stand before the wider.
_EXCEPTIONS: tuple[tuple[type[BaseException], Condition], ...] = (
    (requests.exceptions.ProxyError, Condition.PROXY),
    (requests.exceptions.InvalidProxyURL, Condition.PROXY_SETTING),
    (requests.exceptions.SSLError, Condition.TLS),
    (urllib3.exceptions.SSLError, Condition.TLS),
    (urllib3.exceptions.TimeoutError, Condition.TIMEOUT),
    (urllib3.exceptions.ProtocolError, Condition.CUT_SHORT),
    (gzip.BadGzipFile, Condition.CUT_SHORT),
    (EOFError, Condition.CUT_SHORT),
    (zlib.error, Condition.CUT_SHORT),
    (requests.exceptions.ConnectTimeout, Condition.UNREACHABLE),
    (requests.exceptions.Timeout, Condition.TIMEOUT),
    (requests.exceptions.ChunkedEncodingError, Condition.CUT_SHORT),
    (requests.exceptions.ContentDecodingError, Condition.CUT_SHORT),
    (requests.exceptions.ConnectionError, Condition.CONNECTION),
    (requests.exceptions.InvalidSchema, Condition.ADDRESS),
    (requests.exceptions.InvalidURL, Condition.ADDRESS),
    (requests.exceptions.MissingSchema, Condition.ADDRESS),
    (requests.exceptions.RequestException, Condition.CONNECTION),
    (urllib3.exceptions.LocationValueError, Condition.ADDRESS),
    (UnicodeError, Condition.ADDRESS),
)

# How urllib3 names its connections before a reason.
_OBJECT = re.compile(r"<[^>]* object at 0x[0-9a-f]+>:?\s*|\w+Connection(?:Pool)?\(.*?\):\s*")
# How http.client reports what a proxy answered to CONNECT.
_TUNNEL_STATUS = re.compile(r"Tunnel connection failed: ([0-9]{3})")
# Where clients of the live service saw a code: `Op(): [Area] [Code] text`, or without `Op():`.
# ASP.NET may put the class of its exception before it.
_START = r"\s*(?:[\w.]+Exception\s*:\s*)?(?:\w+\(\)\s*:\s*)?"
_CODE = re.compile(_START + r"\[(\w[\w ]*)\]\s*\[(\w+)\]")
_INVALID_CREDENTIALS = re.compile(_START + "Invalid Credentials Provided")
_UNREADABLE_REQUEST = "Server was unable to read request"


def make_error(condition: Condition, detail: str = "", *, retry_after: float = 0.0) -> ListrakError:
    """Return the error of a condition; `detail` is what was seen."""
    return _make(condition.value, detail, retry_after)


def _make(fault: Fault, detail: str, retry_after: float = 0.0) -> ListrakError:
    detail = detail.strip()
    text = f"{fault.message} ({detail})" if detail else fault.message
    return fault.error(text, fault, retry_after=retry_after)


def error_from_text(text: str, otherwise: Condition) -> ListrakError:
    """Return the error that a faultstring or a WSException means; without a code, `otherwise`.

    A code counts only where Listrak puts it, at the start of the text or, where ASP.NET wrapped it,
    after the last arrow: a text that quotes brackets elsewhere is no refusal.
    """
    for place in (text, text.rpartition("--->")[2]):
        found = _CODE.match(place)
        if found:
            area, code = found.groups()
            other = Condition.LOGON if area == "Logon" else Condition.CODE
            return _make(CODES.get(code, other.value), text)
        if _INVALID_CREDENTIALS.match(place):
            return _make(CODES["InvalidLogonAttempt"], text)
    if text.lstrip().startswith(_UNREADABLE_REQUEST):
        return make_error(Condition.UNREADABLE_REQUEST, text)
    return make_error(otherwise, text)


def error_from_status(status: int, detail: str, retry_after: float) -> ListrakError:
    """Return the error of an HTTP status that came without a SOAP fault that says more."""
    condition = _STATUSES.get(status) or _STATUS_CLASSES.get(status // 100, Condition.NOT_SOAP)
    detail = f"HTTP {status}{', ' if detail else ''}{detail}"
    return make_error(condition, detail, retry_after=retry_after)


def error_from_exception(exc: BaseException) -> ListrakError:
    """Return the error of an exception of requests' (or below it) that came in place of a reply."""
    reason = _innermost_reason(exc)
    fitting = (condition for kind, condition in _EXCEPTIONS if isinstance(exc, kind))
    condition = next(fitting, Condition.CONNECTION)
    is_untrusted = isinstance(reason, ssl.SSLCertVerificationError)
    if condition in (Condition.PROXY, Condition.PROXY_SETTING):
        # The reason's text may hold the proxy's address; of its own answer the status is enough.
        status = _TUNNEL_STATUS.search(str(reason))
        is_refused = status is not None and status[1].startswith("4")
        detail = f"HTTP {status[1]}" if status else type(reason).__name__
        is_permanent = is_untrusted or is_refused
        return make_error(Condition.PROXY_SETTING if is_permanent else condition, detail)
    if is_untrusted:
        condition = Condition.UNTRUSTED
    elif isinstance(reason, urllib3.exceptions.NewConnectionError):
        condition = Condition.UNREACHABLE
    return make_error(condition, f"{type(reason).__name__}: {_OBJECT.sub('', str(reason))}")


def _innermost_reason(exc: BaseException) -> BaseException:
    """Return the innermost reason that an exception holds."""
    while True:
        inner = getattr(exc, "reason", None) or (exc.args[0] if exc.args else None)
        if not isinstance(inner, BaseException):
            return exc
        exc = inner
