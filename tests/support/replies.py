"""Replies whose rows a test writes out as XML."""

from __future__ import annotations

from fake_listrak import OPERATIONS, Reply, raw
from tap_listrak.streams import BY_NAME

EMAIL = "<EmailAddress>ana@example.com</EmailAddress>"
NIL = 'xsi:nil="true"'


def body(operation: str, result: str) -> bytes:
    """A reply of the operation with this XML in the place of its Result."""
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soap:Body>'
        f'<{operation}Response xmlns="http://webservices.listrak.com/v31/">{result}'
        f"</{operation}Response></soap:Body></soap:Envelope>"
    ).encode()


def rows_of(stream: str, *rows: str) -> Reply:
    """A reply with these rows, each the XML within the row element."""
    each = BY_NAME[stream]
    xml = "".join(f"<{each.row}>{row}</{each.row}>" for row in rows)
    result = f"{each.operation}Result"
    exception = f"<WSException {NIL} />" if OPERATIONS[each.operation].takes_exception else ""
    return raw(body(each.operation, f"<{result}>{xml}</{result}>{exception}"))
