"""Answers with faults, and a tiny account in which each operation can meet one."""

import gzip
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from fake_listrak import OPERATIONS, Account, Ask, Reply, fault, html, raw, redirect, with_exception
from fake_listrak.contract import CONVERSATION_OPERATIONS, ID_OF, MESSAGE_OPERATIONS, PASSALONGS
from tap_listrak.listrak.faults import CODES, Condition, Fault
from tests.support.replies import rows_of
from tests.support.tap import FIRST_NIGHT

Answer = Callable[[Ask], Reply]

NOW = FIRST_NIGHT
START = "2026-06-10T00:00:00Z"
LOGON = "[Logon] [InvalidLogonAttempt] Invalid Credentials Provided"
UNREADABLE = "Server was unable to read request. ---> There is an error in the XML document."


def tiny_account(messages: int = 2) -> Account:
    """Two lists of two messages (or more) and two conversations.

    What is paged has pages of 2, 2 and 1 rows; links alone have more of them.
    """
    return Account(
        lists=2,
        messages=messages,
        contacts=5,
        page_size=2,
        start=datetime(2026, 6, 10),
        end=datetime(2026, 6, 30),
        counts=dict.fromkeys((*MESSAGE_OPERATIONS, PASSALONGS, *CONVERSATION_OPERATIONS), 5),
        conversations=2,
        removals=5,
        hygiene=5,
        imports=5,
        complaints=5,
    )


def part_of(ask: Ask) -> str:
    """Return the IDs that a call is for, separated by commas; "" is the account."""
    names = ("MsgID", "ConversationID", "MsgIDs", "ListID")
    return next((ask.arguments[name] for name in names if name in ask.arguments), "")


def changed(ask: Ask, pattern: str, by: str) -> Reply:
    """Return the usual reply, with the first match of a pattern replaced."""
    honest = ask.honest()
    return replace(honest, body=re.sub(pattern.encode(), by.encode(), honest.body, count=1))


def cut_body(ask: Ask) -> Reply:
    return replace(ask.honest(), cut=len(ask.honest().body) // 2)


def half(body: bytes) -> bytes:
    return body[: len(body) // 2]


def cut_gzip(ask: Ask) -> Reply:
    return Reply(half(gzip.compress(ask.honest().body)), headers={"Content-Encoding": "gzip"})


def of_another_operation(ask: Ask) -> Reply:
    honest = ask.honest()
    return replace(honest, body=honest.body.replace(ask.operation.encode(), b"GetOtherCollection"))


def wrong_value(ask: Ask) -> Reply:
    """Return a reply with an invalid value in the key of the first row, or of an added one."""
    kind = OPERATIONS[ask.operation]
    column = next(name for name in kind.key if name != ID_OF.get(kind.asked_by))
    odd = f"<{column}><b>x</b></{column}>"
    if f"<{kind.row}>".encode() not in ask.honest().body:
        return rows_of(kind.table, odd)
    return changed(ask, f"<{column}>.*?</{column}>", odd)


# Both tables of faults: Listrak's codes, and conditions by their names.
FAULTS: dict[str, Fault] = {
    **CODES,
    **{each.name.lower().replace("_", " "): each.value for each in Condition},
}

# Replies to a call, and the row of FAULTS for each.
ANSWERS: dict[str, tuple[str, Answer]] = {
    "404 HTML": ("not found", lambda ask: html(404)),
    "408": ("throttled", lambda ask: html(408)),
    "429": ("throttled", lambda ask: html(429)),
    "500 HTML": ("server error", lambda ask: html(500)),
    "502 HTML": ("server error", lambda ask: html(502)),
    "503": ("server error", lambda ask: raw(b"", 503)),
    "401": ("forbidden", lambda ask: html(401)),
    "403": ("forbidden", lambda ask: html(403)),
    "400": ("rejected", lambda ask: html(400)),
    "redirect": ("redirect", lambda ask: redirect("http://127.0.0.1:9/")),
    "reset": ("connection", lambda ask: Reply(reset=True)),
    "cut body": ("cut short", cut_body),
    "truncated XML": (
        "not xml",
        lambda ask: replace(ask.honest(), body=half(ask.honest().body)),
    ),
    "HTML with 200": ("not soap", lambda ask: html(200)),
    "empty body": ("not xml", lambda ask: raw(b"")),
    "WSException": ("exception", lambda ask: with_exception(ask, "It broke.")),
    "WSException and rows": ("exception", lambda ask: with_exception(ask, "It broke.", rows=True)),
    "WSException with code": ("code", lambda ask: with_exception(ask, "[User] [Denied] No.")),
    "WSException with code at 500": (
        "code",
        lambda ask: replace(with_exception(ask, "[User] [Denied] No."), status=500),
    ),
    "fault at 500": ("server error", lambda ask: fault("It broke.")),
    "fault at 200": ("fault", lambda ask: fault("It broke.", 200)),
    "fault with code": ("code", lambda ask: fault(f"{ask.operation}(): [User] [Denied] No.")),
    "fault with code at 200": ("code", lambda ask: fault("Op(): [User] [Denied] No.", 200)),
    "fault with code at 404": ("code", lambda ask: fault("Op(): [User] [Denied] No.", 404)),
    "unreadable request": ("unreadable request", lambda ask: fault(UNREADABLE)),
    "wrong gzip": (
        "cut short",
        lambda ask: replace(ask.honest(), headers={"Content-Encoding": "gzip"}),
    ),
    "cut gzip": ("cut short", cut_gzip),
    "other operation": ("not soap", of_another_operation),
    "unreadable value": ("invalid value", wrong_value),
}
