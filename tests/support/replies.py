"""Build replies from rows that a test writes as XML."""

from dataclasses import replace

from fake_listrak import OPERATIONS, Ask, Reply, raw
from tap_listrak.streams import BY_NAME
from tests.support.tap import Tap

EMAIL = "<EmailAddress>ana@example.com</EmailAddress>"
NIL = 'xsi:nil="true"'


def body(operation: str, result: str) -> bytes:
    """Return a reply of the operation with this XML as its Result."""
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


def add_message_without_date(tap: Tap, MsgID: int, sent: str = "2026-06-01T11:22:33") -> None:
    """Add a message to the first list whose SendDate .NET never set, as Listrak may show it."""
    account = tap.service.account
    account.add_message(min(int(str(row["ListID"])) for row in account.lists()), MsgID, sent)

    def unset(ask: Ask) -> Reply | None:
        if ask.operation != "ReportListMessageActivity":
            return None
        honest = ask.honest()
        return replace(honest, body=honest.body.replace(sent.encode(), b"0001-01-01T00:00:00"))

    tap.service.rules.append(unset)
