"""A reply's bytes, read into row elements or turned into the exception that they mean.

Here, and only here, a SOAP fault, a filled WSException, HTML in place of XML and hostile XML are
met; whatever leaves this module is rows.
"""

from __future__ import annotations

import re

from lxml import etree

from tap_listrak import errors
from tap_listrak.streams import Stream

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


def strip_forbidden(body: bytes) -> tuple[bytes, int]:
    """Remove the references that XML 1.0 forbids and .NET writes all the same, such as ``&#x1;``.

    Returns the body and how many were removed.
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


def parse(body: bytes) -> etree._Element:
    """Parse XML strictly: no DTD, no entities, nothing fetched, libxml2's limits of size and depth.

    Raises ListrakError (the rows "not xml" and "doctype" of the table of faults).
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
    except (etree.LxmlError, ValueError) as raised:
        # ValueError: an encoding that is declared but unknown.
        raise errors.error("not xml", str(raised)) from raised
    if root.getroottree().docinfo.doctype:  # type: ignore[union-attr] # a gap in lxml-stubs
        raise errors.error("doctype")
    return root


def rows(body: bytes, status: int, retry_after: float, stream: Stream) -> etree._Element:
    """Give the element whose children are the rows of a reply; of an empty page it has none.

    A page is empty only where Listrak said so: an operation's response whose Result is absent, nil
    or empty. Raises ListrakError for all else.
    """
    try:
        root = parse(body)
    except errors.ListrakError as raised:
        if status == 200:
            if looks_like_html(body):
                raise errors.error("not soap", "HTML") from raised
            raise
        raise errors.from_status(status, "", retry_after) from raised
    content = root.find(f"{_SOAP}Body") if root.tag == f"{_SOAP}Envelope" else None
    first = content[0] if content is not None and len(content) else None
    if first is not None and first.tag == f"{_SOAP}Fault":
        said = errors.from_text(first.findtext("faultstring") or "", "fault")
        if isinstance(said, errors.Lasting) or status == 200:
            raise said
        raise errors.from_status(status, first.findtext("faultstring") or "", retry_after)
    is_response = first is not None and first.tag == f"{LISTRAK}{stream.operation}Response"
    reported = _exception(first) if first is not None and is_response else None
    if reported is not None and (status == 200 or isinstance(reported, errors.Lasting)):
        raise reported
    if status != 200:
        raise errors.from_status(status, str(reported or ""), retry_after)
    if first is None or not is_response or content is None or len(content) != 1:
        raise errors.error("not soap", f"no {stream.operation}Response but {_name(root, first)}")
    results = first.findall(f"{LISTRAK}{stream.operation}Result")
    result = results[0] if results else etree.Element("absent")
    for more in results[1:]:
        result.extend(list(more))
    if len(result) != len(result.findall(LISTRAK + stream.row)):
        raise errors.error("not soap", f"other elements among the {stream.row} elements")
    if not len(result) and _HAS_TEXT(first):
        # A page is empty only where Listrak said so.
        raise errors.error("not soap", f"no {stream.row} where something stands")
    return result


def _exception(response: etree._Element) -> errors.ListrakError | None:
    """Read a filled WSException, which Listrak puts behind an empty Result and status 200."""
    for exception in response.findall(f"{LISTRAK}WSException"):
        said = " ".join(" ".join(map(str, exception.itertext())).split())
        if said:
            description = exception.findtext(f"{LISTRAK}Description") or said
            return errors.from_text(description, "exception")
    return None


def looks_like_html(body: bytes) -> bool:
    """Tell a page for people from a reply."""
    start = body[:1000].lower()
    return b"<html" in start or b"<!doctype html" in start


def _name(root: etree._Element, first: etree._Element | None) -> str:
    return str(etree.QName(first if first is not None else root).localname)
