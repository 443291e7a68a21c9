"""Parse a reply into row elements, or raise its error.

Only this module handles SOAP faults, WSExceptions, HTML and malformed XML.
"""

from __future__ import annotations

import hashlib
import re

from lxml import etree

from tap_listrak.listrak.classify import error_from_status, error_from_text
from tap_listrak.listrak.faults import Condition, ListrakError, make_error
from tap_listrak.listrak.transport import HttpReply

LISTRAK = "{http://webservices.listrak.com/v31/}"
_SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_HAS_TEXT = etree.XPath("boolean(normalize-space(string(.)))")

# A CDATA section or comment (left unchanged), or a character reference.
_REFERENCE = re.compile(
    rb"<!\[CDATA\[.*?\]\]>|<!--.*?-->|&#(?:x([0-9A-Fa-f]+)|([0-9]+));", re.DOTALL
)
# Control characters except tab, LF and CR.
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r")


def remove_forbidden_characters(body: bytes) -> bytes:
    """Remove the characters that XML 1.0 forbids but .NET writes.

    They occur as references, such as ``&#x1;``, or raw, such as a vertical tab.
    """

    def keep(found: re.Match[bytes]) -> bytes:
        if found[1] is None and found[2] is None:
            return found[0]
        # Limit the digits for int(): a hostile reply may contain thousands.
        point = int(found[1][-9:], 16) if found[1] is not None else int(found[2][-9:])
        if point in (0x9, 0xA, 0xD) or 0x20 <= point <= 0xD7FF or 0xE000 <= point <= 0xFFFD:
            return found[0]
        return found[0] if 0x10000 <= point <= 0x10FFFF else b""

    if not _is_wide(body):
        body = body.translate(None, _CONTROLS)
    return _REFERENCE.sub(keep, body)


def strip_around(body: bytes) -> bytes:
    """Remove the byte order mark, white space and NULs before and after the XML."""
    return body if _is_wide(body) else body.lstrip(b"\xef\xbb\xbf \t\r\n").rstrip(b"\0 \t\r\n")


def _is_wide(body: bytes) -> bool:
    """Return whether a body is in UTF-16 or UTF-32, where bytes are not characters."""
    return body[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in body[:4]


def parse_xml(body: bytes) -> etree._Element:
    """Parse XML strictly: no DTD, entities or network, within libxml2's limits of size and depth.

    Raises ListrakError (the conditions NOT_XML and DOCTYPE).
    """
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(strip_around(body), parser)
    except (etree.LxmlError, ValueError) as exc:
        # ValueError: an encoding that is declared but unknown.
        raise make_error(Condition.NOT_XML, str(exc)) from exc
    if root.getroottree().docinfo.doctype:  # type: ignore[union-attr] # a gap in lxml-stubs
        raise make_error(Condition.DOCTYPE)
    return root


def parse_rows(reply: HttpReply, operation: str, row: str) -> etree._Element:
    """Return the element that contains the `row` elements of a reply.

    It has no children only if the response has an absent, nil or empty Result, which is an empty
    page. Raises ListrakError for anything else.
    """
    try:
        root = parse_xml(reply.body)
    except ListrakError as exc:
        if reply.status == 200:
            if looks_like_html(reply.body):
                raise make_error(Condition.NOT_SOAP, "HTML") from exc
            raise
        raise error_from_status(reply.status, "", reply.retry_after) from exc
    body = root.find(f"{_SOAP}Body") if root.tag == f"{_SOAP}Envelope" else None
    first = body[0] if body is not None and len(body) else None
    is_response = first is not None and first.tag == f"{LISTRAK}{operation}Response"
    reported = _reported_error(first, is_response=is_response) if first is not None else None
    # A code takes precedence over the HTTP status; a message without a code does not.
    if reported is not None and (reply.status == 200 or not reported.is_retryable):
        raise reported
    if reply.status != 200:
        raise error_from_status(reply.status, str(reported or ""), reply.retry_after)
    if first is None or not is_response or body is None or len(body) != 1:
        raise make_error(
            Condition.NOT_SOAP, f"expected {operation}Response, got {_name(root, first)}"
        )
    return _result(first, operation, row)


def _result(response: etree._Element, operation: str, row: str) -> etree._Element:
    results = response.findall(f"{LISTRAK}{operation}Result")
    result = results[0] if results else etree.Element("absent")
    for more in results[1:]:
        result.extend(list(more))
    if len(result) != len(result.findall(LISTRAK + row)):
        raise make_error(Condition.NOT_SOAP, f"other elements than {row}")
    if not len(result) and _HAS_TEXT(response):
        raise make_error(Condition.NOT_SOAP, f"text instead of {row} elements")
    return result


def check_nil_exception(reply: HttpReply, operation: str) -> None:
    """Raise ListrakError if a reply without rows lacks the nil WSException: it is incomplete."""
    exception = parse_xml(reply.body).find(f".//{LISTRAK}{operation}Response/{LISTRAK}WSException")
    if exception is None or exception.get(_NIL, "").strip() not in ("true", "1"):
        raise make_error(Condition.INCOMPLETE, f"no rows and no nil WSException in {operation}")


def _reported_error(element: etree._Element, *, is_response: bool) -> ListrakError | None:
    """Return the error of a SOAP fault or a non-empty WSException, else None.

    Listrak sends a WSException after an empty Result, with status 200.
    """
    if element.tag == f"{_SOAP}Fault":
        return error_from_text(element.findtext("faultstring") or "", Condition.FAULT)
    for exception in element.findall(f"{LISTRAK}WSException") if is_response else ():
        text = " ".join(" ".join(map(str, exception.itertext())).split())
        if text:
            description = exception.findtext(f"{LISTRAK}Description") or text
            return error_from_text(description, Condition.EXCEPTION)
    return None


def digest_rows(body: bytes, operation: str) -> str:
    """Return a digest of the Result's bytes; the rest of a reply varies between calls."""
    name = f"{operation}Result".encode()
    start = body.find(name)  # -1 in UTF-16: use the whole body
    rows = body[start : body.rfind(name)] if start >= 0 else body
    return hashlib.sha256(rows).hexdigest()[:16]


def looks_like_html(body: bytes) -> bool:
    """Return whether a body is an HTML page."""
    start = body[:1000].lower()
    return b"<html" in start or b"<!doctype html" in start


def _name(root: etree._Element, first: etree._Element | None) -> str:
    return str(etree.QName(first if first is not None else root).localname)
