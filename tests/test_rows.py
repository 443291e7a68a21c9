"""Rows of any form that Listrak may send become the records that they mean."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

import pytest

from tap_listrak.streams import BY_NAME
from tests.support.accounts import NOW, list_ids, small
from tests.support.published import ALL_COLUMNS
from tests.support.records import assert_valid
from tests.support.replies import EMAIL, NIL, rows_of
from tests.support.tap import MakeTap, Run, Tap, catalog_of

Answer = Callable[..., Run]


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap for one list with two messages and one conversation, of which nothing happened yet."""
    nothing = dict.fromkeys(("contacts", "conversation_sends", "removals", "hygiene", "imports"), 0)
    account = small(lists=1, messages=0, conversations=1, **nothing)
    for number in (42, 43):
        account.add_message(list_ids(account)[0], number, datetime(2026, 6, 30))
    return make_tap(account, {"start_date": "2026-06-29"})


@pytest.fixture
def answer(tap: Tap) -> Answer:
    """Sync a stream from a service whose first page for each message or list has these rows."""

    def run(stream: str, *rows: str) -> Run:
        first = rows_of(stream, *rows)
        tap.answer(
            BY_NAME[stream].operation,
            lambda ask: first if ask.arguments.get("Page", "1") == "1" else None,
        )
        return tap.run(clock=NOW, catalog=catalog_of(stream))

    return run


DOMAINS = ["a.example.com", "b.example.com?x=1&y=<2>"]
REPEATED, NESTED = (
    "".join(f"<{name}>{escape(domain)}</{name}>" for domain in DOMAINS)
    for name in ("GoogleTrackingDomains", "string")
)
OTHER_SPACE = 'xmlns="urn:other"'
# Events' dates pass through as sent, and those of unsubscribes are in UTC.
DATES = ("2026-06-30T01:02:03", "6/30/2026 1:02:03 AM", "30.06.2026", " soon ", "0")
TEXTS = {
    "a &amp; b &lt;c&gt; &quot;d&quot; &apos;e&apos;": "a & b <c> \"d\" 'e'",
    "été 夏 \U0001f389 &#233;&#x590f;&#128512;": "été 夏 \U0001f389 é夏\U0001f600",
    "a\tb\nc&#x9;d&#xA;e&#xD;f&#13;&#10;g": "a\tb\nc\td\ne\rf\r\ng",
    "  padded  ": "  padded  ",
    "<![CDATA[a & <b> &#x1;]]> c<!-- left out -->d": "a & <b> &#x1; cd",
    "]]&gt; &amp;amp; &lt;!-- --&gt;": "]]> &amp; <!-- -->",
    "\ufffd\ue000\u2028\x85 \\ \\n \\u0041 /": "\ufffd\ue000\u2028\x85 \\ \\n \\u0041 /",
}
# By the stream and column, elements with the value that each holds.
ELEMENTS: dict[tuple[str, str], dict[str, Any]] = {
    ("message_clicks", "LinkUrl"): dict.fromkeys(
        ["", f"<LinkUrl {NIL} />", "<LinkUrl></LinkUrl>", "<LinkUrl><![CDATA[]]></LinkUrl>"]
    ),
    ("message_opens", "OpenDate"): {
        **{f"<OpenDate>{text}</OpenDate>": text for text in DATES},
        f"<OpenDate {OTHER_SPACE}>then</OpenDate>": "then",
        '<OpenDate xmlns="">then</OpenDate>': "then",
        # Again without a value, which changes nothing.
        f"<OpenDate>then</OpenDate><OpenDate /><OpenDate {NIL} />": "then",
    },
    ("message_unsubs", "RemovalDate"): {
        "<RemovalDate>2026-06-30T01:02:03-04:00</RemovalDate>": "2026-06-30T05:02:03Z"
    },
    ("lists", "GoogleTrackingDomains"): {
        REPEATED: DOMAINS,
        f"<GoogleTrackingDomains>{NESTED}</GoogleTrackingDomains>": DOMAINS,
    },
    ("lists", "Vmta"): {
        **dict.fromkeys(["", f"<Vmta {NIL} />"]),
        "<Vmta><VmtaID>7</VmtaID></Vmta>": {"VmtaID": 7, "Description": None},
        f"<Vmta {OTHER_SPACE}><Description>A &amp; B</Description><VmtaID>7</VmtaID></Vmta>": {
            "VmtaID": 7,
            "Description": "A & B",
        },
    },
    ("messages", "Subject"): {f"<Subject>{xml}</Subject>": text for xml, text in TEXTS.items()},
}
KEY = {"lists": "<ListID>1</ListID>", "messages": "<MsgID>42</MsgID>"}


@pytest.mark.parametrize(
    ("stream", "column", "xml", "value"),
    [(*place, *pair) for place, pairs in ELEMENTS.items() for pair in pairs.items()],
)
def test_an_element_becomes_the_value_that_it_holds(
    stream: str, column: str, xml: str, value: Any, answer: Answer
) -> None:
    run = answer(stream, KEY.get(stream, EMAIL) + xml)
    assert run.code == 0
    assert run.records(stream)[0][column] == value
    assert not run.warnings()
    assert_valid(run)


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("a&#x1;b&#0;c&#x1F;d&#xFFFF;e&#55357;f&#x110000;g&#9;h", "abcdefg\th"),
        ("a\x01b\0c\x1f\td<![CDATA[\x0be]]>", "abc\tde"),
    ],
    ids=["references", "raw"],
)
def test_forbidden_characters_go_with_one_warning(xml: str, text: str, answer: Answer) -> None:
    run = answer("message_opens", f"{EMAIL}<OpenDate>{xml}</OpenDate>")
    assert [each["OpenDate"] for each in run.records("message_opens")] == [text, text]
    assert len(run.warnings()) == 1


def test_a_field_that_the_schema_lacks_is_left_out_with_one_warning(answer: Answer) -> None:
    odd = "<Device>phone</Device><Browser>secret</Browser><Geo><OpenDate>no</OpenDate></Geo>"
    run = answer("message_opens", f"{EMAIL}{odd}", f"{EMAIL}{odd}")
    assert run.code == 0
    warnings = sorted(run.warnings("message_opens"))
    assert warnings == run.warnings()
    for name, line in zip(("Browser", "Device", "Geo"), warnings, strict=True):
        assert name in line
    assert "secret" not in run.err
    empty = dict.fromkeys(ALL_COLUMNS["message_opens"], None)
    assert run.records("message_opens") == [
        {**empty, "MsgID": number, "EmailAddress": "ana@example.com"} for number in (42, 42, 43, 43)
    ]


@pytest.mark.parametrize(
    ("stream", "keyless", "keyed"),
    [
        ("lists", "<ListName>x</ListName>", "<ListID>42</ListID>"),
        ("message_clicks", "<LinkUrl>x</LinkUrl>", EMAIL),
        ("message_bounces", f"<EmailAddress {NIL} />", EMAIL),
        ("message_unsubs", "<EmailAddress />", EMAIL),
        ("message_opens", "", EMAIL),
        ("conversation_opens", EMAIL, f"<MsgID>42</MsgID>{EMAIL}"),
    ],
)
def test_rows_without_their_key_are_left_out_and_counted_in_one_warning(
    stream: str, keyless: str, keyed: str, answer: Answer
) -> None:
    run = answer(stream, keyless, keyed, keyless)
    assert run.code == 0
    rows = run.records(stream)
    assert rows
    (warning,) = run.warnings()
    assert stream in warning
    assert f"{2 * len(rows)} rows without a key" in warning
