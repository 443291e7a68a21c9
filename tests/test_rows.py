"""Rows of any form that Listrak may send become the records that they mean."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from fake_listrak import OPERATIONS, Ask, Reply, raw
from tap_listrak.streams import BY_NAME
from tests.support.accounts import NOW, list_ids, message_ids, small
from tests.support.faults import FAULTS
from tests.support.published import ALL_COLUMNS
from tests.support.records import assert_valid
from tests.support.replies import EMAIL, NIL, body, rows_of
from tests.support.runs import OPEN
from tests.support.tap import MakeTap, Run, Tap, catalog_of

Answer = Callable[..., Run]


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap for one list with one message and one conversation, of which nothing happened yet."""
    nothing = dict.fromkeys(("contacts", "conversation_sends", "removals", "hygiene", "imports"), 0)
    account = small(lists=1, messages=0, conversations=1, **nothing)
    account.add_message(list_ids(account)[0], 42, datetime(2026, 6, 30))
    return make_tap(account, {"start_date": "2026-06-29"})


@pytest.fixture
def answer(tap: Tap) -> Answer:
    """Sync a stream from a service whose first page of it is this reply."""

    def run(stream: str, *rows: str, reply: Reply | None = None) -> Run:
        first = reply or rows_of(stream, *rows)
        tap.answer(
            BY_NAME[stream].operation,
            lambda ask: first if ask.arguments.get("Page", "1") == "1" else None,
        )
        return tap.run(clock=NOW, catalog=catalog_of(stream))

    return run


# Elements.

OTHER_SPACE = 'xmlns="urn:other"'
ODD_DOMAINS = ("a.example.com", "b.example.com?x=1&amp;y=&lt;2&gt;")
DOMAINS = ["a.example.com", "b.example.com?x=1&y=<2>"]
ELEMENTS: list[tuple[str, str, list[str], Any]] = [
    (
        "message_clicks",
        "LinkUrl",
        [
            *("", f"<LinkUrl {NIL} />", f"<LinkUrl {NIL}></LinkUrl>", "<LinkUrl />"),
            *("<LinkUrl></LinkUrl>", "<LinkUrl><![CDATA[]]></LinkUrl>"),
        ],
        None,
    ),
    (
        "message_opens",
        "OpenDate",
        [
            *(f"<OpenDate {OTHER_SPACE}>then</OpenDate>", '<OpenDate xmlns="">then</OpenDate>'),
            # Again without a value, which changes nothing.
            f"<OpenDate>then</OpenDate><OpenDate /><OpenDate {NIL} />",
        ],
        "then",
    ),
    # The dates of events pass through as sent, and those of unsubscribes are in UTC.
    *(
        ("message_opens", "OpenDate", [f"<OpenDate>{text}</OpenDate>"], text)
        for text in ("2026-06-30T01:02:03", "6/30/2026 1:02:03 AM", "30.06.2026", " soon ", "0")
    ),
    (
        "message_unsubs",
        "RemovalDate",
        ["<RemovalDate>2026-06-30T01:02:03-04:00</RemovalDate>"],
        "2026-06-30T05:02:03Z",
    ),
    (
        "lists",
        "GoogleTrackingDomains",
        [
            "".join(
                f"<GoogleTrackingDomains>{each}</GoogleTrackingDomains>" for each in ODD_DOMAINS
            ),
            "<GoogleTrackingDomains>"
            + "".join(f"<string>{each}</string>" for each in ODD_DOMAINS)
            + "</GoogleTrackingDomains>",
        ],
        DOMAINS,
    ),
    ("lists", "Vmta", ["", f"<Vmta {NIL} />"], None),
    (
        "lists",
        "Vmta",
        ["<Vmta><VmtaID>7</VmtaID></Vmta>", f"<Vmta {OTHER_SPACE}><VmtaID>7</VmtaID></Vmta>"],
        {"VmtaID": 7, "Description": None},
    ),
    (
        "lists",
        "Vmta",
        ["<Vmta><Description>A &amp; B</Description><VmtaID>7</VmtaID></Vmta>"],
        {"VmtaID": 7, "Description": "A & B"},
    ),
]
TEXTS = {
    "a &amp; b &lt;c&gt; &quot;d&quot; &apos;e&apos;": "a & b <c> \"d\" 'e'",
    "été 夏 \U0001f389": "été 夏 \U0001f389",
    "&#233;&#x590f;&#128512;&#x1F600;": "é夏\U0001f600\U0001f600",
    "a&#x9;b&#xA;c&#xD;d&#13;&#10;e": "a\tb\nc\rd\r\ne",
    "a\tb\nc": "a\tb\nc",
    "  padded  ": "  padded  ",
    "<![CDATA[a & <b>]]> c": "a & <b> c",
    "<![CDATA[&#x1;]]>": "&#x1;",
    "a<!-- left out -->b": "ab",
    "]]&gt; &amp;amp; &lt;!-- --&gt;": "]]> &amp; <!-- -->",
    "\ufffd\ue000\u2028\x85": "\ufffd\ue000\u2028\x85",
    "\\ \\n \\u0041 /": "\\ \\n \\u0041 /",
}
KEY = {"lists": "<ListID>1</ListID>", "messages": "<MsgID>42</MsgID>"}


@pytest.mark.parametrize(
    ("stream", "column", "xml", "value"),
    [
        *((stream, column, xml, value) for stream, column, xmls, value in ELEMENTS for xml in xmls),
        *(
            ("messages", "Subject", f"<Subject>{xml}</Subject>", text)
            for xml, text in TEXTS.items()
        ),
    ],
)
def test_an_element_becomes_the_value_that_it_holds(
    stream: str, column: str, xml: str, value: Any, answer: Answer
) -> None:
    run = answer(stream, KEY.get(stream, EMAIL) + xml)
    assert run.code == 0
    assert [record[column] for record in run.records(stream)] == [value]
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
    run = answer("messages", f"<MsgID>42</MsgID><Subject>{xml}</Subject>")
    assert run.code == 0
    assert [each["Subject"] for each in run.records("messages")] == [text]
    assert len(run.warnings()) == 1


def test_a_field_that_the_schema_lacks_is_left_out_with_one_warning(make_tap: MakeTap) -> None:
    tap = make_tap(small(), {"start_date": "2026-04-01"})
    fields = (
        "<Device>phone</Device><Browser>secret-browser</Browser><Geo><OpenDate>no</OpenDate></Geo>"
    )
    row = f"{EMAIL}{fields}"
    tap.answer(
        OPEN,
        lambda ask: rows_of("message_opens", row, row) if ask.arguments["Page"] == "1" else None,
    )
    run = tap.run(clock=NOW)
    assert run.code == 0
    warnings = sorted(run.warnings())
    assert all("message_opens" in line for line in warnings)
    for name, line in zip(("Browser", "Device", "Geo"), warnings, strict=True):
        assert name in line
    assert "secret-browser" not in run.err
    opens = run.records("message_opens")
    assert {record["MsgID"] for record in opens} == message_ids(tap.service.account)
    assert {frozenset(record) for record in opens} == {frozenset(ALL_COLUMNS["message_opens"])}
    dates = {each["OpenDate"] for each in opens if each["EmailAddress"] == "ana@example.com"}
    assert dates == {None}


# Rows.


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
    name = BY_NAME[stream].row
    xml = rows_of(stream, keyless, keyed, keyless).body.decode()
    run = answer(stream, reply=raw(xml.replace(f"<{name}></{name}>", f"<{name} {NIL} />").encode()))
    assert run.code == 0
    assert len(run.records(stream)) == 1
    (warning,) = run.warnings()
    assert stream in warning
    assert "2 rows without a key" in warning


# Replies.

NO_RESULTS = ("", "<{0}Result />", "<{0}Result " + NIL + " />")


@pytest.mark.parametrize("result", NO_RESULTS)
@pytest.mark.parametrize("stream", ["messages", "message_sends", "message_opens"])
def test_no_result_is_an_empty_page(stream: str, result: str, answer: Answer, tap: Tap) -> None:
    tap.service.account.add_event("ReportMessageContactSent", 42, "ana@example.com")
    operation = BY_NAME[stream].operation
    exception = f"<WSException {NIL} />" if OPERATIONS[operation].takes_exception else ""
    run = answer(stream, reply=raw(body(operation, result.format(operation) + exception)))
    assert run.code == 0
    assert run.records(stream) == []
    assert not run.warnings()


def without_exception(result: str, exception: str) -> Reply:
    """An empty reply for messages without the nil WSException of the WSDL."""
    operation = BY_NAME["messages"].operation
    return raw(body(operation, result.format(operation) + exception))


def of_nil_rows() -> Reply:
    rows = rows_of("message_opens", "").body
    return raw(rows.replace(b"<WSContactOpen>", f"<WSContactOpen {NIL}>".encode()))


@pytest.mark.parametrize(
    ("stream", "reply", "fault"),
    [
        *(
            ("messages", without_exception(result, exception), "incomplete")
            for result in NO_RESULTS
            for exception in ("", "<WSException />", '<WSException xsi:nil="false" />')
        ),
        ("complaints", raw(body(BY_NAME["complaints"].operation, "")), "incomplete"),
        ("message_opens", of_nil_rows(), "incomplete"),
        ("subscribed_contacts", rows_of("subscribed_contacts", EMAIL, EMAIL), "incomplete"),
        *(
            ("lists", Reply(b"x", headers={"Content-Encoding": packing}), "cut short")
            for packing in ("deflate", "br", "gzip, gzip")
        ),
    ],
)
def test_a_damaged_reply_is_retried_and_not_taken_for_an_empty_page(
    stream: str, reply: Reply, fault: str, answer: Answer, tap: Tap
) -> None:
    run = answer(stream, reply=reply)
    assert run.code == 1
    assert run.records(stream) == []
    assert FAULTS[fault].message in run.lines("CRITICAL")[0]
    assert len(tap.waits) == 4


def assert_read(tap: Tap, rule: Callable[[Ask], Reply | None]) -> None:
    """The one message comes from replies that this rule changes, and nothing is warned of."""
    tap.service.rules.append(rule)
    run = tap.run(clock=NOW)
    assert run.code == 0
    assert len(run.records("messages")) == 1
    assert not run.warnings()


@pytest.mark.parametrize(
    ("before", "after"), [(b"\r\n", b"\0"), (b"\xef\xbb\xbf\r\n", b""), (b"", b"\r\n\0\0 \n")]
)
@pytest.mark.parametrize("what", ["rows", "WSDL"])
def test_bytes_around_xml_cost_nothing(before: bytes, after: bytes, what: str, tap: Tap) -> None:
    def surrounds(ask: Ask) -> Reply | None:
        if (ask.operation == "WSDL") is (what == "WSDL"):
            return replace(ask.honest(), body=before + ask.honest().body + after)
        return None

    assert_read(tap, surrounds)


@pytest.mark.parametrize(("size", "name"), [(7, "gzip"), (1000, "x-gzip"), (2**20, "GZIP")])
def test_gzip_of_several_members_is_read_whole(size: int, name: str, tap: Tap) -> None:
    def packed(ask: Ask) -> Reply:
        assert ask.headers["accept-encoding"] == "gzip"
        whole = ask.honest().body
        step = size if ask.operation != "WSDL" else 2**16
        parts = [whole[start : start + step] for start in range(0, len(whole), step)]
        # An empty member and padding at the end.
        body = b"".join(map(gzip.compress, [*parts, b""])) + b"\0" * 8
        return replace(ask.honest(), body=body, headers={"Content-Encoding": name})

    assert_read(tap, packed)
