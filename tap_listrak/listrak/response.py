"""A reply's bytes, read into row elements or turned into the error that they mean.

Here, and only here, a SOAP fault, a filled WSException, HTML in place of XML and hostile XML are
met; whatever leaves this module is rows.
"""

from __future__ import annotations

import hashlib
import re

from lxml import etree

from tap_listrak.listrak.faults import (
    Condition,
    ListrakError,
    error_from_status,
    error_from_text,
    make_error,
)
from tap_listrak.listrak.transport import HttpReply

LISTRAK = "{http://webservices.listrak.com/v31/}"
_SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"
_HAS_TEXT = etree.XPath("boolean(normalize-space(string(.)))")

# A CDATA section or a comment, in which a reference is only text, or a character reference.
_REFERENCE = re.compile(
    rb"<!\[CDATA\[.*?\]\]>|<!--.*?-->|&#(?:x([0-9A-Fa-f]+)|([0-9]+));", re.DOTALL
)
# What may be forbidden: below 32 and not tab, LF or CR; a surrogate; or beyond FFFD.
_FORBIDDEN = re.compile(
    rb"&#(?:x0*(?:[0-8BCEFbcef]|1[0-9A-Fa-f]|[Dd][89A-Fa-f][0-9A-Fa-f]{2}|[Ff]{3}[EFef]"
    rb"|[0-9A-Fa-f]{5,})|0*(?:[0-8]|1[124-9]|2[0-9]|3[01]|[0-9]{5,}));"
)


def remove_forbidden_references(body: bytes) -> tuple[bytes, int]:
    """Remove the references that XML 1.0 forbids and .NET writes all the same, such as ``&#x1;``.

    Return the body and how many were removed.
    """
    if not _FORBIDDEN.search(body):
        return body, 0
    removed = 0

    def keep(found: re.Match[bytes]) -> bytes:
        nonlocal removed
        if found[1] is None and found[2] is None:
            return found[0]
        # The slices keep int() from the thousands of digits that a hostile reply may hold.
        point = int(found[1][-9:], 16) if found[1] is not None else int(found[2][-9:])
        if point in (0x9, 0xA, 0xD) or 0x20 <= point <= 0xD7FF or 0xE000 <= point <= 0xFFFD:
            return found[0]
        if 0x10000 <= point <= 0x10FFFF:
            return found[0]
        removed += 1
        return b""

    return _REFERENCE.sub(keep, body), removed


def parse_xml(body: bytes) -> etree._Element:
    """Parse XML strictly: no DTD, no entities, nothing fetched, libxml2's limits of size and depth.

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
        root = etree.fromstring(body, parser)
    except (etree.LxmlError, ValueError) as exc:
        # ValueError: an encoding that is declared but unknown.
        raise make_error(Condition.NOT_XML, str(exc)) from exc
    if root.getroottree().docinfo.doctype:  # type: ignore[union-attr] # a gap in lxml-stubs
        raise make_error(Condition.DOCTYPE)
    return root


def parse_rows(reply: HttpReply, operation: str, row: str) -> etree._Element:
    """Return the element whose children are the `row` elements of a reply; of an empty page, none.

    A page is empty only where Listrak said so: an operation's response whose Result is absent, nil
    or empty. Raises ListrakError for all else.
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
    # A code says more than a status does; a text without one says less.
    if reported is not None and (reply.status == 200 or not reported.is_retryable):
        raise reported
    if reply.status != 200:
        raise error_from_status(reply.status, str(reported or ""), reply.retry_after)
    if first is None or not is_response or body is None or len(body) != 1:
        raise make_error(Condition.NOT_SOAP, f"no {operation}Response but {_name(root, first)}")
    return _result(first, operation, row)


def _result(response: etree._Element, operation: str, row: str) -> etree._Element:
    results = response.findall(f"{LISTRAK}{operation}Result")
    result = results[0] if results else etree.Element("absent")
    for more in results[1:]:
        result.extend(list(more))
    if len(result) != len(result.findall(LISTRAK + row)):
        raise make_error(Condition.NOT_SOAP, f"other elements among the {row} elements")
    if not len(result) and _HAS_TEXT(response):
        # A page is empty only where Listrak said so.
        raise make_error(Condition.NOT_SOAP, f"no {row} where something stands")
    return result


def _reported_error(element: etree._Element, *, is_response: bool) -> ListrakError | None:
    """Return the error of a SOAP fault, or of a filled WSException.

    Listrak puts a WSException behind an empty Result and status 200.
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
    """Return what tells the rows of a reply from those of another: a digest of the Result's bytes.

    What stands around the Result may change from call to call, and says nothing about the rows.
    """
    name = f"{operation}Result".encode()
    start = body.find(name)  # found in no UTF-16, say, where the whole body will do
    rows = body[start : body.rfind(name)] if start >= 0 else body
    return hashlib.sha256(rows).hexdigest()[:16]


def looks_like_html(body: bytes) -> bool:
    """Tell a page for people from a reply."""
    start = body[:1000].lower()
    return b"<html" in start or b"<!doctype html" in start


def _name(root: etree._Element, first: etree._Element | None) -> str:
    return str(etree.QName(first if first is not None else root).localname)
