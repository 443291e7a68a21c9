"""What can go wrong in a call: Listrak's own codes, and conditions met on the way.

Two tables, since a code is text from outside: it is looked up among Listrak's codes alone. Codes
and forms are those that clients of the live service have met; docs/troubleshooting.md shows both.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

import requests
from urllib3.exceptions import LocationValueError, ReadTimeoutError

from tap_listrak.listrak.errors import (
    AuthenticationError,
    InvalidValueError,
    ListrakError,
    MissingOperationError,
    PermanentError,
    PermissionDeniedError,
    RejectedRequestError,
    TransientError,
)


class Fault(NamedTuple):
    """What was seen, the error that it becomes, and what the user is told."""

    description: str
    error: type[ListrakError]
    message: str


class Condition(Enum):
    """What the tap itself makes out of a reply, or of its absence."""

    LOGON = "logon"
    CODE = "code"
    UNREADABLE_REQUEST = "unreadable request"
    EXCEPTION = "exception"
    FAULT = "fault"
    FORBIDDEN = "401"
    REJECTED = "4xx"
    REDIRECT = "redirect"
    NOT_FOUND = "404"
    THROTTLED = "429"
    SERVER_ERROR = "5xx"
    NOT_SOAP = "not soap"
    NOT_XML = "not xml"
    DOCTYPE = "doctype"
    TOO_LARGE = "too large"
    REPEATED_PAGE = "repeated page"
    INVALID_VALUE = "value"
    TIMEOUT = "timeout"
    TLS = "tls"
    PROXY = "proxy"
    CUT_SHORT = "cut short"
    CONNECTION = "connection"
    ADDRESS = "address"
    CONTRACT = "contract"
    NO_OPERATION = "no operation"


CODES: dict[str, Fault] = {
    "InvalidLogonAttempt": Fault(
        "a fault [Logon] [InvalidLogonAttempt]",
        AuthenticationError,
        "Listrak refused the user name or password. Check `username` and `password` in the config.",
    ),
    "LoginAttemptsExceeded": Fault(
        "a fault [Logon] [LoginAttemptsExceeded]",
        AuthenticationError,
        "Listrak has locked this user after too many failed logins. Unlock it, or wait, and check "
        "`username` and `password` in the config before the next run.",
    ),
    "ProhibitedIPAddress": Fault(
        "a fault [Logon] [ProhibitedIPAddress]",
        AuthenticationError,
        "Listrak does not accept calls from this machine's IP address. Add it in Listrak under "
        "Manage, Accounts, SOAP API IP Authorization.",
    ),
}

CONDITIONS: dict[Condition, Fault] = {
    Condition.LOGON: Fault(
        "any other fault of the form [Logon] [Code]",
        AuthenticationError,
        "Listrak did not let the user in. Check in Listrak that the user is active and has the "
        "permission API Access.",
    ),
    Condition.CODE: Fault(
        "any other fault or WSException of the form [Area] [Code]",
        PermissionDeniedError,
        "Listrak refused the request. If it refuses every one, check that the user has the "
        "permissions Analytics Access and API Access and is granted the lists.",
    ),
    Condition.UNREADABLE_REQUEST: Fault(
        "a fault 'Server was unable to read request'",
        PermanentError,
        "Listrak could not read the tap's request. Check that `wsdl_url` is the v31 service; "
        "if it is, please report this.",
    ),
    Condition.EXCEPTION: Fault(
        "a WSException without a code",
        TransientError,
        "Listrak reported an error inside its reply.",
    ),
    Condition.FAULT: Fault(
        "a SOAP fault without a code",
        TransientError,
        "Listrak answered with a fault.",
    ),
    Condition.FORBIDDEN: Fault(
        "HTTP status 401 or 403",
        PermissionDeniedError,
        "Access was refused on the way to Listrak. Check `wsdl_url`, the proxy, and that Listrak "
        "accepts this machine's IP address.",
    ),
    Condition.REJECTED: Fault(
        "any other HTTP status 4xx",
        RejectedRequestError,
        "The address does not accept this request. If it accepts none, check `wsdl_url` in the "
        "config.",
    ),
    Condition.REDIRECT: Fault(
        "a redirect",
        PermanentError,
        "The address sends the tap elsewhere, and the credentials go only to the host of "
        "`wsdl_url`. Set `wsdl_url` to the final address if you trust it.",
    ),
    Condition.NOT_FOUND: Fault(
        "HTTP status 404",
        TransientError,
        "Listrak did not find the page. It does so for some messages; if it does so for every "
        "call, check `wsdl_url` in the config.",
    ),
    Condition.THROTTLED: Fault(
        "HTTP status 408 or 429",
        TransientError,
        "Listrak asked for fewer calls. Run fewer taps against the account at once.",
    ),
    Condition.SERVER_ERROR: Fault(
        "HTTP status 5xx without a code",
        TransientError,
        "Listrak is not working at the moment. Run again later; the STATE shows where to go on.",
    ),
    Condition.NOT_SOAP: Fault(
        "HTML, or other XML, in place of a SOAP reply",
        TransientError,
        "The answer is not a reply of Listrak's. Check `wsdl_url` and any proxy on the way.",
    ),
    Condition.NOT_XML: Fault(
        "a body that does not parse as XML",
        TransientError,
        "The reply was damaged on the way.",
    ),
    Condition.DOCTYPE: Fault(
        "a DTD in a reply",
        RejectedRequestError,
        "The reply holds a document type, which no reply of Listrak's does. Check `wsdl_url` and "
        "any proxy on the way.",
    ),
    Condition.TOO_LARGE: Fault(
        "a reply beyond the size limit",
        TransientError,
        "The reply is larger than any honest one. A smaller `interval_days` may help.",
    ),
    Condition.REPEATED_PAGE: Fault(
        "the same pages three times in a row, or more pages than any message has",
        RejectedRequestError,
        "Listrak gave the same page again and again, so its paging cannot be trusted here.",
    ),
    Condition.INVALID_VALUE: Fault(
        "a value that is not of its column's type",
        InvalidValueError,
        "A value cannot be read as its column's type.",
    ),
    Condition.TIMEOUT: Fault(
        "no whole reply in time",
        TransientError,
        "Listrak did not answer in time. Raise `request_timeout`, or make `interval_days` smaller.",
    ),
    Condition.TLS: Fault(
        "a TLS failure",
        PermanentError,
        "No trusted TLS connection could be made. Check `wsdl_url`, this machine's clock and "
        "certificates, and whether a proxy replaces certificates (REQUESTS_CA_BUNDLE).",
    ),
    Condition.PROXY: Fault(
        "a proxy failure",
        TransientError,
        "The proxy could not be used. Check HTTPS_PROXY and NO_PROXY.",
    ),
    Condition.CUT_SHORT: Fault(
        "a body that ends early or cannot be unpacked",
        TransientError,
        "The connection broke in the middle of a reply.",
    ),
    Condition.CONNECTION: Fault(
        "a connection that fails or breaks",
        TransientError,
        "Listrak cannot be reached. Check `wsdl_url`, the network and the firewall.",
    ),
    Condition.ADDRESS: Fault(
        "an address that cannot be used",
        PermanentError,
        "The address cannot be used. Check `wsdl_url` in the config.",
    ),
    Condition.CONTRACT: Fault(
        "a WSDL that lacks the operations, or none at all",
        PermanentError,
        "The address does not describe Listrak's integration service. Check `wsdl_url`.",
    ),
    Condition.NO_OPERATION: Fault(
        "a WSDL that lacks the operation of a stream beyond the published ones",
        MissingOperationError,
        "The service cannot give this stream. Leave it out of the catalog, or check `wsdl_url`.",
    ),
}

FAULTS: tuple[Fault, ...] = (*CODES.values(), *CONDITIONS.values())

# The first class that fits decides, so the narrower stand before the wider.
_EXCEPTIONS: tuple[tuple[type[BaseException], Condition], ...] = (
    (requests.exceptions.SSLError, Condition.TLS),
    (requests.exceptions.ProxyError, Condition.PROXY),
    (requests.exceptions.Timeout, Condition.TIMEOUT),
    (requests.exceptions.ChunkedEncodingError, Condition.CUT_SHORT),
    (requests.exceptions.ContentDecodingError, Condition.CUT_SHORT),
    (requests.exceptions.ConnectionError, Condition.CONNECTION),
    (requests.exceptions.InvalidSchema, Condition.ADDRESS),
    (requests.exceptions.InvalidURL, Condition.ADDRESS),
    (requests.exceptions.MissingSchema, Condition.ADDRESS),
    (requests.exceptions.RequestException, Condition.CONNECTION),
    (LocationValueError, Condition.ADDRESS),
    (UnicodeError, Condition.ADDRESS),
)

# How urllib3 names its connections in front of a reason.
_OBJECT = re.compile(r"<[^>]* object at 0x[0-9a-f]+>:?\s*|\w+Connection(?:Pool)?\(.*?\):\s*")
# Where clients of the live service saw a code: `Op(): [Area] [Code] text`, or without `Op():`.
_CODE = re.compile(r"\s*(?:\w+\(\)\s*:\s*)?\[(\w[\w ]*)\]\s*\[(\w+)\]")
_UNREADABLE_REQUEST = "Server was unable to read request"


def make_error(condition: Condition, detail: str = "", *, retry_after: float = 0.0) -> ListrakError:
    """Return the error of a condition; `detail` is what was seen."""
    return _make(CONDITIONS[condition], detail, retry_after)


def _make(fault: Fault, detail: str, retry_after: float = 0.0) -> ListrakError:
    detail = detail.strip()
    text = f"{fault.message} ({detail})" if detail else fault.message
    return fault.error(text, fault, retry_after=retry_after)


def error_from_text(text: str, otherwise: Condition) -> ListrakError:
    """Return the error that a faultstring or a WSException means; without a code, `otherwise`.

    A code counts only where Listrak puts it, at the start of the text: a text that quotes brackets
    further on is no refusal.
    """
    found = _CODE.match(text)
    if found:
        area, code = found.groups()
        other = Condition.LOGON if area == "Logon" else Condition.CODE
        return _make(CODES.get(code, CONDITIONS[other]), text)
    if text.lstrip().startswith(_UNREADABLE_REQUEST):
        return make_error(Condition.UNREADABLE_REQUEST, text)
    return make_error(otherwise, text)


def error_from_status(status: int, detail: str, retry_after: float) -> ListrakError:
    """Return the error of an HTTP status that came without a SOAP fault that says more."""
    if status in (401, 403):
        condition = Condition.FORBIDDEN
    elif status == 404:
        condition = Condition.NOT_FOUND
    elif status in (408, 429):
        condition = Condition.THROTTLED
    elif 300 <= status < 400:
        condition = Condition.REDIRECT
    elif 400 <= status < 500:
        condition = Condition.REJECTED
    elif status >= 500:
        condition = Condition.SERVER_ERROR
    else:
        condition = Condition.NOT_SOAP
    detail = f"HTTP {status}{', ' if detail else ''}{detail}"
    return make_error(condition, detail, retry_after=retry_after)


def error_from_exception(exc: BaseException) -> ListrakError:
    """Return the error of an exception of requests' (or below it) that came in place of a reply."""
    # requests calls a timeout within a body a ConnectionError.
    if exc.args and isinstance(exc.args[0], ReadTimeoutError):
        return make_error(Condition.TIMEOUT, _innermost_reason(exc))
    for kind, condition in _EXCEPTIONS:
        if isinstance(exc, kind):
            return make_error(condition, _innermost_reason(exc))
    return make_error(Condition.CONNECTION, _innermost_reason(exc))


def _innermost_reason(exc: BaseException) -> str:
    """Name the innermost reason, without the addresses of objects that urllib3 prints."""
    reason: object = exc
    while isinstance(reason, BaseException):
        inner = getattr(reason, "reason", None) or (reason.args[0] if reason.args else None)
        if not isinstance(inner, BaseException):
            break
        reason = inner
    return f"{type(reason).__name__}: {_OBJECT.sub('', str(reason))}"
