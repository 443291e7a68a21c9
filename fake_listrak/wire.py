"""Read SOAP requests, and write replies and faults as ASP.NET does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http.client import responses
from typing import Final
from xml.sax import saxutils

from lxml import etree

from fake_listrak.contract import NAMESPACE, OPERATIONS, Row

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
_BAD_XML: Final = "Server was unable to read request. ---> There is an error in the XML document."
BAD_ARGUMENT: Final = f"{_BAD_XML} ---> Input string was not in a correct format."

EMPTY_RESULTS: Final = ("", "<{0} />", '<{0} xsi:nil="true" />')
"""The Result of a page without rows: absent, empty, or nil."""
_NIL_EXCEPTION: Final = '<WSException xsi:nil="true" />'
_PREFIX: Final = f"{{{NAMESPACE}}}"


@dataclass(frozen=True)
class Request:
    """One HTTP request; names of headers in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool


@dataclass(frozen=True)
class Reply:
    """One HTTP reply, honest or not.

    headers: added to the usual ones or put in their place; None leaves one out. Without
        Content-Length the end of the connection ends the body.
    delay: seconds before the reply starts.
    pace: bytes per second of the body, and of the header too with pace_headers; 0: all at once.
    cut: close the connection after this many bytes of the body, regardless of Content-Length.
    below_tls: with cut, bytes written after those past TLS: a record that is corrupt.
    reset: the connection is reset, without an answer.
    hang: no answer until the service closes or the client goes.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str | None] = field(default_factory=dict)
    delay: float = 0.0
    pace: float = 0.0
    pace_headers: bool = False
    cut: int | None = None
    below_tls: bytes = b""
    reset: bool = False
    hang: bool = False


@dataclass(frozen=True)
class Ask:
    """One call as it came in.

    operation: its name; "WSDL" for the contract.
    arguments: text on the wire by name, the numbers of an array joined by commas.
    headers: HTTP headers, names in lower case.
    path: the request target with its query.
    answer: `honest` of the service.
    number: place among the SOAP calls (or among the WSDL requests), from 1.
    attempt: number of this call with these arguments, from 1.
    """

    operation: str
    arguments: Mapping[str, str]
    username: str
    password: str = field(repr=False)
    headers: Mapping[str, str]
    path: str
    answer: Callable[[Ask], Reply] = field(repr=False, compare=False)
    number: int = 1
    attempt: int = 1

    def honest(self) -> Reply:
        """Return the reply that this call gets when no rule decides."""
        return self.answer(self)


def read_call(
    request: Request, known: Collection[str], answer: Callable[[Ask], Reply]
) -> Ask | Reply:
    """Return the call that a request makes, or a fault if it is none of those known."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        root = etree.fromstring(request.body, parser)
    except etree.XMLSyntaxError as error:
        return fault(f"{_BAD_XML} ---> {error}", code="Client")
    call = root.find(f"{{{SOAP}}}Body/*")
    name = "" if call is None else str(call.tag).removeprefix(_PREFIX)
    action = request.headers.get("soapaction", "").strip('"')
    if call is None or name not in known or action != NAMESPACE + name:
        return fault(f"Server did not recognize the operation {name}, {action}.", code="Client")
    arguments = {
        str(child.tag).removeprefix(_PREFIX): (
            ",".join(item.text or "" for item in child) if len(child) else child.text or ""
        )
        for child in call.iterchildren(f"{_PREFIX}*")
        if child.tag != f"{_PREFIX}WSException"
    }
    user = f".//{_PREFIX}WSUser/{_PREFIX}"
    username, password = (root.findtext(f"{user}{key}", "") for key in ("UserName", "Password"))
    return Ask(name, arguments, username, password, request.headers, request.path, answer)


def escape(text: str) -> str:
    """Return the text of an element. CR is a reference, or a parser would make it LF."""
    return saxutils.escape(text, {"\r": "&#xD;"})


def write_reply(operation: str, rows: Iterable[Row] = (), empty: str = EMPTY_RESULTS[1]) -> bytes:
    """Return a reply of an operation; `empty` is its Result without rows."""
    kind, result = OPERATIONS[operation], f"{operation}Result"
    parts: list[str] = []
    add = parts.append
    for row in rows:
        add(f"<{kind.row}>")
        for name, value in row.items():
            if isinstance(value, str):
                add(f"<{name}>{escape(value)}</{name}>" if value else f"<{name} />")
            elif value is None:
                add(f'<{name} xsi:nil="true" />')
            elif isinstance(value, dict):
                inner = (f"<{key}>{escape(text)}</{key}>" for key, text in value.items())
                add(f"<{name}>{''.join(inner)}</{name}>")
            else:
                parts += (f"<{name}>{escape(text)}</{name}>" for text in value)
        add(f"</{kind.row}>")
    content = f"<{result}>{''.join(parts)}</{result}>" if parts else empty.format(result)
    content += _NIL_EXCEPTION if kind.takes_exception else ""
    return _envelope(f'<{operation}Response xmlns="{NAMESPACE}">{content}</{operation}Response>')


def _envelope(content: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="{SOAP}" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
        f"<soap:Body>{content}</soap:Body></soap:Envelope>"
    ).encode()


# Replies for rules


def raw(body: bytes, status: int = 200, content_type: str = "text/xml; charset=utf-8") -> Reply:
    """Return any bytes as the body."""
    return Reply(body, status, {"Content-Type": content_type})


def fault(text: str, status: int = 500, *, code: str = "Server") -> Reply:
    """Return a SOAP fault with `text` as its faultstring; `code` is Server or Client."""
    content = f"<faultcode>soap:{code}</faultcode><faultstring>{escape(text)}</faultstring>"
    return Reply(_envelope(f"<soap:Fault>{content}<detail /></soap:Fault>"), status)


def html(status: int) -> Reply:
    """Return an error page as IIS shows it."""
    title = "File or directory not found." if status == 404 else responses[status]
    page = (
        f"<!DOCTYPE html>\r\n<html><head><title>{status} - {title}</title></head>\r\n<body>"
        f"<h1>Server Error</h1>\r\n<h2>{status} - {title}</h2></body></html>\r\n"
    )
    return Reply(page.encode(), status, {"Content-Type": "text/html"})


def redirect(url: str, status: int = 302) -> Reply:
    """Return a redirect to another address."""
    page = f'<html><body><h2>Object moved to <a href="{escape(url)}">here</a>.</h2></body></html>'
    headers = {"Content-Type": "text/html; charset=utf-8", "Location": url}
    return Reply(page.encode(), status, headers)


def with_exception(ask: Ask, description: str, rows: bool = False) -> Reply:
    """Return a reply of status 200 whose WSException is filled, with or without the due rows."""
    exception = (
        f"<WSException><SoapMethod>{ask.operation}</SoapMethod>"
        "<DateTime>2026-01-02T03:04:05.67</DateTime>"
        f"<Description>{escape(description)}</Description></WSException>"
    )
    reply = ask.honest() if rows else Reply(write_reply(ask.operation))
    body = reply.body.decode().replace(_NIL_EXCEPTION, "")
    end = f"</{ask.operation}Response>"
    return replace(reply, body=body.replace(end, exception + end).encode())
