"""The exceptions, by what the caller does about them, and the one table of faults.

::

    TapError              ends the run: one CRITICAL line, the class's exit code
    ├── UsageError        command line, config, catalog or state are wrong: nothing was asked
    ├── OutputError       stdout is gone or full
    ├── Interrupted       SIGTERM or SIGINT
    └── ListrakError      what Listrak answered, or that it did not
        ├── Passing       may heal: asked again; then set aside, or the run ends
        ├── Unreadable    a value that is not of its type: set aside, or the run ends
        └── Lasting       asking again cannot help: the run ends at once
            └── Refused   Listrak does not let this user, or this address, in
                └── NoAccess    it does, but not to this operation
"""

from __future__ import annotations

import re
from typing import NamedTuple

import requests
from urllib3.exceptions import LocationValueError, ReadTimeoutError


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
        super().__init__(f"Stopped by {name}. The last STATE, if there is one, is where to go on.")
        self.exit_code = 128 + signum


class ListrakError(TapError):
    """A call that did not give what was asked for; `fault` is its row in FAULTS."""

    fault: Fault

    def __init__(self, text: str, *, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Passing(ListrakError):
    """May be gone when asked again; `retry_after` is the least wait in seconds."""


class Unreadable(ListrakError):
    """A value in a reply cannot be read as its column's type."""


class Lasting(ListrakError):
    """Would be the same however often it is asked."""


class Refused(Lasting):
    """Listrak's own refusal of the user or the address."""

    exit_code = 3


class NoAccess(Refused):
    """A refusal of one operation; discovery leaves its stream out."""


class Fault(NamedTuple):
    """One row of the table: what was seen, what is done about it, what the user is told."""

    seen: str
    error: type[ListrakError]
    told: str


# Codes and forms are those that Listrak's clients have met; see README.md, Troubleshooting.
FAULTS: dict[str, Fault] = {
    "InvalidLogonAttempt": Fault(
        "a fault [Logon] [InvalidLogonAttempt]",
        Refused,
        "Listrak refused the user name or password. Check `username` and `password` in the config.",
    ),
    "LoginAttemptsExceeded": Fault(
        "a fault [Logon] [LoginAttemptsExceeded]",
        Refused,
        "Listrak has locked this user after too many failed logins. Unlock it, or wait, and check "
        "`username` and `password` in the config before the next run.",
    ),
    "ProhibitedIPAddress": Fault(
        "a fault [Logon] [ProhibitedIPAddress]",
        Refused,
        "Listrak does not accept calls from this machine's IP address. Add it in Listrak under "
        "Manage, Accounts, SOAP API IP Authorization.",
    ),
    "logon": Fault(
        "any other fault of the form [Logon] [Code]",
        Refused,
        "Listrak did not let the user in. Check in Listrak that the user is active and has the "
        "permission API Access.",
    ),
    "code": Fault(
        "any other fault or WSException of the form [Area] [Code]",
        NoAccess,
        "Listrak refused the request. Check that the user has the permissions Analytics Access "
        "and API Access and is granted the lists.",
    ),
    "unreadable request": Fault(
        "a fault 'Server was unable to read request'",
        Lasting,
        "Listrak could not read the tap's request. Check that `wsdl_url` is the v31 service; "
        "if it is, please report this.",
    ),
    "exception": Fault(
        "a WSException without a code",
        Passing,
        "Listrak reported an error inside its reply.",
    ),
    "fault": Fault(
        "a SOAP fault without a code",
        Passing,
        "Listrak answered with a fault.",
    ),
    "401": Fault(
        "HTTP status 401 or 403",
        NoAccess,
        "Access was refused on the way to Listrak. Check `wsdl_url`, the proxy, and that Listrak "
        "accepts this machine's IP address.",
    ),
    "4xx": Fault(
        "any other HTTP status 4xx",
        Lasting,
        "The address does not accept the tap's requests. Check `wsdl_url` in the config.",
    ),
    "redirect": Fault(
        "a redirect",
        Lasting,
        "The address sends the tap elsewhere, and the credentials go only to the host of "
        "`wsdl_url`. Set `wsdl_url` to the final address if you trust it.",
    ),
    "404": Fault(
        "HTTP status 404",
        Passing,
        "Listrak did not find the page. It does so for some messages; if it does so for every "
        "call, check `wsdl_url` in the config.",
    ),
    "429": Fault(
        "HTTP status 408 or 429",
        Passing,
        "Listrak asked for fewer calls. Run fewer taps against the account at once.",
    ),
    "5xx": Fault(
        "HTTP status 5xx without a code",
        Passing,
        "Listrak is not working at the moment. Run again later; the STATE shows where to go on.",
    ),
    "not soap": Fault(
        "HTML, or other XML, in place of a SOAP reply",
        Passing,
        "The answer is not a reply of Listrak's. Check `wsdl_url` and any proxy on the way.",
    ),
    "not xml": Fault(
        "a body that does not parse as XML",
        Passing,
        "The reply was damaged on the way.",
    ),
    "doctype": Fault(
        "a DTD in a reply",
        Lasting,
        "The reply holds a document type, which no reply of Listrak's does. Check `wsdl_url` and "
        "any proxy on the way.",
    ),
    "too large": Fault(
        "a reply beyond the size limit",
        Passing,
        "The reply is larger than any honest one. A smaller `interval_days` may help.",
    ),
    "repeated page": Fault(
        "a page that came before, or more pages than any honest message has",
        Passing,
        "Listrak gave a page twice, or pages without end, so its paging cannot be trusted.",
    ),
    "value": Fault(
        "a value that is not of its column's type",
        Unreadable,
        "A value cannot be read as its column's type.",
    ),
    "timeout": Fault(
        "no whole reply in time",
        Passing,
        "Listrak did not answer in time. Raise `request_timeout`, or make `interval_days` smaller.",
    ),
    "tls": Fault(
        "a TLS failure",
        Lasting,
        "No trusted TLS connection could be made. Check `wsdl_url`, this machine's clock and "
        "certificates, and whether a proxy replaces certificates (REQUESTS_CA_BUNDLE).",
    ),
    "proxy": Fault(
        "a proxy failure",
        Passing,
        "The proxy could not be used. Check HTTPS_PROXY and NO_PROXY.",
    ),
    "cut short": Fault(
        "a body that ends early or cannot be unpacked",
        Passing,
        "The connection broke in the middle of a reply.",
    ),
    "connection": Fault(
        "a connection that fails or breaks",
        Passing,
        "Listrak cannot be reached. Check `wsdl_url`, the network and the firewall.",
    ),
    "address": Fault(
        "an address that cannot be used",
        Lasting,
        "The address cannot be used. Check `wsdl_url` in the config.",
    ),
    "contract": Fault(
        "a WSDL that lacks the operations, or none at all",
        Lasting,
        "The address does not describe Listrak's integration service. Check `wsdl_url`.",
    ),
}

# The first class that fits decides, so the narrower stand before the wider.
_EXCEPTIONS: tuple[tuple[type[BaseException], str], ...] = (
    (requests.exceptions.SSLError, "tls"),
    (requests.exceptions.ProxyError, "proxy"),
    (requests.exceptions.Timeout, "timeout"),
    (requests.exceptions.ChunkedEncodingError, "cut short"),
    (requests.exceptions.ContentDecodingError, "cut short"),
    (requests.exceptions.ConnectionError, "connection"),
    (requests.exceptions.InvalidSchema, "address"),
    (requests.exceptions.InvalidURL, "address"),
    (requests.exceptions.MissingSchema, "address"),
    (requests.exceptions.RequestException, "connection"),
    (LocationValueError, "address"),
    (UnicodeError, "address"),
)

# How urllib3 names its connections in front of a reason.
_OBJECT = re.compile(r"<[^>]* object at 0x[0-9a-f]+>:?\s*|\w+Connection(?:Pool)?\(.*?\):\s*")
_CODE = re.compile(r"\[(\w[\w ]*)\]\s*\[(\w+)\]")
_UNREADABLE_REQUEST = "Server was unable to read request"


def error(key: str, detail: str = "", *, retry_after: float = 0.0) -> ListrakError:
    """Make the exception for a row of FAULTS; `detail` is what was seen."""
    fault = FAULTS[key]
    detail = detail.strip()
    told = f"{fault.told} ({detail})" if detail else fault.told
    made = fault.error(told, retry_after=retry_after)
    made.fault = fault
    return made


def from_text(text: str, otherwise: str) -> ListrakError:
    """Read a faultstring or a WSException; without a code it is the row `otherwise`.

    The shape ``Op(): [Area] [Code] text`` is what clients of the live service recorded.
    """
    code = _CODE.search(text)
    if code:
        other = "logon" if code[1] == "Logon" else "code"
        return error(code[2] if code[2] in FAULTS else other, text)
    if _UNREADABLE_REQUEST in text:
        return error("unreadable request", text)
    return error(otherwise, text)


def from_status(status: int, detail: str, retry_after: float) -> ListrakError:
    """Read an HTTP status that came without a SOAP fault that says more."""
    if status in (401, 403):
        key = "401"
    elif status == 404:
        key = "404"
    elif status in (408, 429):
        key = "429"
    elif 300 <= status < 400:
        key = "redirect"
    elif 400 <= status < 500:
        key = "4xx"
    elif status >= 500:
        key = "5xx"
    else:
        key = "not soap"
    return error(key, f"HTTP {status}{', ' if detail else ''}{detail}", retry_after=retry_after)


def from_exception(raised: BaseException) -> ListrakError:
    """Read an exception of requests' (or of what lies below it) that came in place of a reply."""
    # requests calls a timeout within a body a ConnectionError.
    if raised.args and isinstance(raised.args[0], ReadTimeoutError):
        return error("timeout", _cause(raised))
    for kind, key in _EXCEPTIONS:
        if isinstance(raised, kind):
            return error(key, _cause(raised))
    return error("connection", _cause(raised))


def _cause(raised: BaseException) -> str:
    """Name the innermost reason, without the addresses of objects that urllib3 prints."""
    reason: object = raised
    while isinstance(reason, BaseException):
        inner = getattr(reason, "reason", None) or (reason.args[0] if reason.args else None)
        if not isinstance(inner, BaseException):
            break
        reason = inner
    return f"{type(reason).__name__}: {_OBJECT.sub('', str(reason))}"
