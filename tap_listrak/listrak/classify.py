"""Map replies and exceptions to the errors of a call."""

from __future__ import annotations

import gzip
import re
import ssl
import zlib

import requests
import urllib3.exceptions

from tap_listrak.listrak.faults import CODES, Condition, ListrakError, make_error

_STATUSES = {
    **dict.fromkeys((401, 403), Condition.FORBIDDEN),
    404: Condition.NOT_FOUND,
    **dict.fromkeys((408, 429), Condition.THROTTLED),
}
_STATUS_CLASSES = {3: Condition.REDIRECT, 4: Condition.REJECTED, 5: Condition.SERVER_ERROR}

# The first match counts, so subclasses come before their base classes.
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

# The prefix that urllib3 puts before the reason of an error.
_OBJECT = re.compile(r"<[^>]* object at 0x[0-9a-f]+>:?\s*|\w+Connection(?:Pool)?\(.*?\):\s*")
# http.client's message for a rejected CONNECT.
_TUNNEL_STATUS = re.compile(r"Tunnel connection failed: ([0-9]{3})")
# The format of codes: `Op(): [Area] [Code] text`, or without `Op():`. ASP.NET may prefix the class
# of its exception.
_START = r"\s*(?:[\w.]+Exception\s*:\s*)?(?:\w+\(\)\s*:\s*)?"
_CODE = re.compile(_START + r"\[(\w[\w ]*)\]\s*\[(\w+)\]")
_INVALID_CREDENTIALS = re.compile(_START + "Invalid Credentials Provided")
_UNREADABLE_REQUEST = "Server was unable to read request"


def error_from_text(text: str, otherwise: Condition) -> ListrakError:
    """Return the error of a faultstring or WSException; `otherwise` if it has no code.

    Match a code only at the start of the text or, if ASP.NET wrapped it, after the last `--->`:
    brackets elsewhere are not a code.
    """
    for place in (text, text.rpartition("--->")[2]):
        found = _CODE.match(place)
        if found:
            area, code = found.groups()
            other = Condition.LOGON if area == "Logon" else Condition.CODE
            return CODES.get(code, other.value).to_error(text)
        if _INVALID_CREDENTIALS.match(place):
            return CODES["InvalidLogonAttempt"].to_error(text)
    if text.lstrip().startswith(_UNREADABLE_REQUEST):
        return make_error(Condition.UNREADABLE_REQUEST, text)
    return make_error(otherwise, text)


def error_from_status(status: int, detail: str, retry_after: float) -> ListrakError:
    """Return the error of an HTTP status without a usable SOAP fault."""
    condition = _STATUSES.get(status) or _STATUS_CLASSES.get(status // 100, Condition.NOT_SOAP)
    detail = f"HTTP {status}{', ' if detail else ''}{detail}"
    return make_error(condition, detail, retry_after=retry_after)


def error_from_exception(exc: BaseException) -> ListrakError:
    """Return the error of an exception from requests or a library that it uses."""
    reason = _innermost_reason(exc)
    fitting = (condition for kind, condition in _EXCEPTIONS if isinstance(exc, kind))
    condition = next(fitting, Condition.CONNECTION)
    is_untrusted = isinstance(reason, ssl.SSLCertVerificationError)
    if condition in (Condition.PROXY, Condition.PROXY_SETTING):
        # Log no text of the reason: it may contain the proxy's address.
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
    """Return the innermost exception that another wraps."""
    while True:
        inner = getattr(exc, "reason", None) or (exc.args[0] if exc.args else None)
        if not isinstance(inner, BaseException):
            return exc
        exc = inner
