"""Rows of any form that Listrak may send become the records that they mean."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from fake_listrak import OPERATIONS, Ask, Reply, raw
from tap_listrak.streams import BY_NAME
from tests.support.accounts import now, small
from tests.support.faults import FAULTS
from tests.support.published import ALL_COLUMNS, ALL_KEYS
from tests.support.records import assert_valid
from tests.support.replies import EMAIL, NIL, body, rows_of
from tests.support.runs import set_aside
from tests.support.tap import MakeTap, Run, Tap, catalog_of

Answer = Callable[..., Run]


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap for one list with one message and one conversation, of which nothing happened yet."""
    nothing = dict.fromkeys(("contacts", "conversation_sends", "removals", "hygiene", "imports"), 0)
    account = small(lists=1, messages=0, conversations=1, **nothing)
    account.add_message(int(str(account.lists()[0]["ListID"])), 42, datetime(2026, 6, 30))
    return make_tap(account, {"start_date": "2026-06-29"})


@pytest.fixture
def answer(tap: Tap) -> Answer:
    """Sync a stream from a service whose first page of it is this reply."""

    def run(stream: str, *rows: str, reply: Reply | None = None) -> Run:
        given = reply or rows_of(stream, *rows)

        def answer_first_page(ask: Ask) -> Reply | None:
            mine = ask.operation == BY_NAME[stream].operation
            return given if mine and ask.arguments.get("Page", "1") == "1" else None

        tap.service.rules.append(answer_first_page)
        return tap.run(clock=now, catalog=catalog_of(stream))

    return run


def test_elements_are_read_by_name_wherever_they_stand(answer: Answer) -> None:
    run = answer(
        "message_clicks",
        f"<LinkUrl>https://a/</LinkUrl><ClickDate>then</ClickDate>{EMAIL}"
        "<ContactID>c</ContactID><LinkDescription>here</LinkDescription>",
        f"<ContactID>c</ContactID>{EMAIL}<LinkDescription>here</LinkDescription>"
        "<ClickDate>then</ClickDate><LinkUrl>https://a/</LinkUrl>",
    )
    expected = {
        "ClickDate": "then",
        "ContactID": "c",
        "EmailAddress": "ana@example.com",
        "LinkDescription": "here",
        "LinkUrl": "https://a/",
        "MsgID": 42,
    }
    assert run.code == 0
    assert run.records("message_clicks") == [expected, expected]


@pytest.mark.parametrize(
    "element",
    [
        "",
        f"<LinkUrl {NIL} />",
        f"<LinkUrl {NIL}></LinkUrl>",
        "<LinkUrl />",
        "<LinkUrl></LinkUrl>",
        "<LinkUrl><![CDATA[]]></LinkUrl>",
    ],
)
def test_absent_nil_and_empty_elements_are_null(element: str, answer: Answer) -> None:
    run = answer("message_clicks", f"{EMAIL}{element}")
    assert run.records("message_clicks") == [
        {
            **dict.fromkeys(ALL_COLUMNS["message_clicks"]),
            "EmailAddress": "ana@example.com",
            "MsgID": 42,
        }
    ]
    assert_valid(run)


def test_a_nil_element_of_any_type_is_null(answer: Answer) -> None:
    nils = "".join(f"<{column} {NIL} />" for column in ALL_COLUMNS["messages"] if column != "MsgID")
    run = answer("messages", f"<MsgID>42</MsgID>{nils}")
    (record,) = run.records("messages")
    assert {column for column, value in record.items() if value is not None} == {"MsgID", "ListID"}
    assert_valid(run)


def test_a_field_that_the_schema_lacks_is_left_out_with_one_warning(
    make_tap: MakeTap, answer: Answer
) -> None:
    account = small()
    for row in account.lists():
        for message in account.messages(int(str(row["ListID"]))):
            for email in ("ana@example.com", "bo@example.com"):
                account.add_event(
                    "ReportRangeMessageContactOpen",
                    int(str(message["MsgID"])),
                    email,
                    datetime(2026, 6, 30),
                    Device="phone",
                    Browser="secret-browser",
                )
    run = make_tap(account, {"start_date": "2026-04-01"}).run(clock=now)
    assert run.code == 0
    device, browser = sorted(run.lines("WARNING"), key=lambda line: "Browser" in line)
    assert "message_opens" in device
    assert "Device" in device
    assert "Browser" in browser
    assert "secret-browser" not in run.err
    opens = run.records("message_opens")
    assert {frozenset(record) for record in opens} == {frozenset(ALL_COLUMNS["message_opens"])}
    assert "bo@example.com" in {record["EmailAddress"] for record in opens}


def test_an_unknown_element_with_children_is_left_out(answer: Answer) -> None:
    run = answer("message_opens", f"{EMAIL}<Geo><OpenDate>no</OpenDate></Geo>")
    assert [each["OpenDate"] for each in run.records("message_opens")] == [None]
    assert len(run.lines("WARNING")) == 1


@pytest.mark.parametrize("space", ['xmlns="urn:other"', 'xmlns=""'])
def test_a_field_in_another_namespace_is_that_field(space: str, answer: Answer) -> None:
    run = answer("message_opens", f"{EMAIL}<OpenDate {space}>then</OpenDate>", EMAIL)
    assert [each["OpenDate"] for each in run.records("message_opens")] == ["then", None]
    assert not run.lines("WARNING")


def test_an_object_in_another_namespace_is_that_object(answer: Answer) -> None:
    vmta = '<Vmta xmlns="urn:other"><VmtaID>7</VmtaID></Vmta>'
    run = answer("lists", f"<ListID>1</ListID>{vmta}")
    assert [each["Vmta"]["VmtaID"] for each in run.records("lists")] == [7]


def test_an_element_that_stands_there_again_without_a_value_changes_nothing(
    answer: Answer,
) -> None:
    run = answer("message_opens", f"<EmailAddress />{EMAIL}<EmailAddress {NIL} />")
    assert [each["EmailAddress"] for each in run.records("message_opens")] == ["ana@example.com"]


@pytest.mark.parametrize("domains", ["text", "string"])
def test_tracking_domains_come_as_repeated_text_or_as_children(
    domains: str, answer: Answer, tap: Tap
) -> None:
    ListID = str(tap.service.account.lists()[0]["ListID"])
    texts = ("a.example.com", "b.example.com?x=1&amp;y=&lt;2&gt;")
    if domains == "text":
        xml = "".join(f"<GoogleTrackingDomains>{text}</GoogleTrackingDomains>" for text in texts)
    else:
        inner = "".join(f"<string>{text}</string>" for text in texts)
        xml = f"<GoogleTrackingDomains>{inner}</GoogleTrackingDomains>"
    (record,) = answer("lists", f"<ListID>{ListID}</ListID>{xml}").records("lists")
    assert record["GoogleTrackingDomains"] == ["a.example.com", "b.example.com?x=1&y=<2>"]


@pytest.mark.parametrize(
    ("xml", "value"),
    [
        ("", None),
        (f"<Vmta {NIL} />", None),
        ("<Vmta><VmtaID>7</VmtaID></Vmta>", {"VmtaID": 7, "Description": None}),
        (
            "<Vmta><Description>A &amp; B</Description><VmtaID>7</VmtaID></Vmta>",
            {"VmtaID": 7, "Description": "A & B"},
        ),
    ],
)
def test_vmta_is_an_object_or_null(
    xml: str, value: dict[str, Any] | None, answer: Answer, tap: Tap
) -> None:
    ListID = str(tap.service.account.lists()[0]["ListID"])
    run = answer("lists", f"<ListID>{ListID}</ListID>{xml}")
    assert [each["Vmta"] for each in run.records("lists")] == [value]
    assert_valid(run)


def must_be_there(stream: str, column: str) -> bool:
    return BY_NAME[stream].is_published or ALL_COLUMNS[stream][column] != "string"


@pytest.mark.parametrize(
    ("stream", "keyless"),
    [
        *((stream, "") for stream in ("lists", "message_clicks", "conversation_opens")),
        ("message_bounces", f"<{{0}} {NIL} />"),
        ("message_unsubs", "<{0} />"),
    ],
)
def test_rows_without_their_key_are_left_out_and_counted_in_one_warning(
    stream: str, keyless: str, answer: Answer
) -> None:
    # An absent date of the key is filled, and the parent's key is known.
    key = [
        column
        for column in ALL_KEYS[stream]
        if column != BY_NAME[stream].supplied_key and ALL_COLUMNS[stream][column] != "date-time"
    ]
    needed = [column for column in key if must_be_there(stream, column)]
    fields = {column: f"<{column}>42</{column}>" for column in key}
    keyed = "".join(fields.values())
    # Where no column of the key is needed, a row that lacks all of them has none.
    without = keyed.replace(fields[needed[-1]], keyless.format(needed[-1])) if needed else ""
    run = answer(stream, without, keyed, without)
    assert run.code == 0
    assert len(run.records(stream)) == 1
    (warning,) = run.lines("WARNING")
    assert stream in warning
    assert re.search(r"\b2\b", warning)


def test_a_page_without_any_key_is_damaged(make_tap: MakeTap) -> None:
    account = small(lists=1, messages=0, contacts=0, page_size=2)
    ListID = int(str(account.lists()[0]["ListID"]))
    for number in range(2):
        account.add_contact(ListID, f"{number}@example.com", datetime(2026, 6, 30), ContactID=...)
    account.add_contact(ListID, "keyed@example.com", datetime(2026, 6, 30))
    run = make_tap(account, {"start_date": "2026-06-29"}).run(clock=now)
    assert run.records("subscribed_contacts") == []
    assert run.code == 1
    assert FAULTS["incomplete"].message in run.lines("CRITICAL")[0]


# Dates.


def test_the_dates_of_unsubscribes_are_strings_in_utc(answer: Answer) -> None:
    run = answer(
        "message_unsubs",
        f"{EMAIL}<AdditionDate>0001-01-01T00:00:00</AdditionDate>"
        "<RemovalDate>2026-06-30T01:02:03-04:00</RemovalDate>",
    )
    (record,) = run.records("message_unsubs")
    assert record["AdditionDate"] is None
    assert record["RemovalDate"] == "2026-06-30T05:02:03Z"


@pytest.mark.parametrize(
    "text", ["2026-06-30T01:02:03", "6/30/2026 1:02:03 AM", "30.06.2026", " yesterday ", "0"]
)
def test_the_dates_of_events_pass_through_as_sent(text: str, answer: Answer) -> None:
    run = answer("message_opens", f"{EMAIL}<OpenDate>{text}</OpenDate>")
    assert [each["OpenDate"] for each in run.records("message_opens")] == [text]


# Texts.


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("a &amp; b &lt;c&gt; &quot;d&quot; &apos;e&apos;", "a & b <c> \"d\" 'e'"),
        ("été 夏 \U0001f389", "été 夏 \U0001f389"),
        ("&#233;&#x590f;&#128512;&#x1F600;", "é夏\U0001f600\U0001f600"),
        ("a&#x9;b&#xA;c&#xD;d&#13;&#10;e", "a\tb\nc\rd\r\ne"),
        ("a\tb\nc", "a\tb\nc"),
        ("  padded  ", "  padded  "),
        ("<![CDATA[a & <b>]]> c", "a & <b> c"),
        ("a<!-- left out -->b", "ab"),
        ("]]&gt; &amp;amp; &lt;!-- --&gt;", "]]> &amp; <!-- -->"),
        ("\ufffd\ue000\u2028\x85", "\ufffd\ue000\u2028\x85"),
        ("\\ \\n \\u0041 /", "\\ \\n \\u0041 /"),
    ],
)
def test_a_text_arrives_as_it_was_sent(xml: str, text: str, answer: Answer) -> None:
    run = answer("messages", f"<MsgID>42</MsgID><Subject>{xml}</Subject>")
    assert [each["Subject"] for each in run.records("messages")] == [text]
    assert not run.lines("WARNING")


def test_references_that_xml_forbids_are_removed_with_one_warning(answer: Answer) -> None:
    run = answer(
        "messages",
        "<MsgID>42</MsgID><Subject>a&#x1;b&#0;c&#x1F;d&#xFFFF;e&#55357;f&#x110000;g&#9;h</Subject>",
    )
    assert run.code == 0
    assert [each["Subject"] for each in run.records("messages")] == ["abcdefg\th"]
    assert len(run.lines("WARNING")) == 1


def test_raw_control_characters_are_removed_with_one_warning(answer: Answer) -> None:
    text = "a\x01b\0c\x1f\td<![CDATA[\x0be]]>"
    run = answer("messages", f"<MsgID>42</MsgID><Subject>{text}</Subject>")
    assert run.code == 0
    assert [each["Subject"] for each in run.records("messages")] == ["abc\tde"]
    assert len(run.lines("WARNING")) == 1


@pytest.mark.parametrize(
    ("before", "after"), [(b"\r\n", b"\0"), (b"\xef\xbb\xbf\r\n", b""), (b"", b"\r\n\0\0 \n")]
)
@pytest.mark.parametrize("what", ["rows", "WSDL"])
def test_what_is_around_the_xml_costs_nothing(
    before: bytes, after: bytes, what: str, tap: Tap
) -> None:
    def surrounds(ask: Ask) -> Reply | None:
        if (ask.operation == "WSDL") is (what == "WSDL"):
            return replace(ask.honest(), body=before + ask.honest().body + after)
        return None

    tap.service.rules.append(surrounds)
    run = tap.run(clock=now)
    assert run.code == 0
    assert len(run.records("messages")) == 1
    assert not run.lines("WARNING")


def test_a_reference_in_a_cdata_section_is_only_text(answer: Answer) -> None:
    run = answer("messages", "<MsgID>42</MsgID><Subject><![CDATA[&#x1;]]></Subject>")
    assert [each["Subject"] for each in run.records("messages")] == ["&#x1;"]


# Replies.


@pytest.mark.parametrize("result", ["", "<{0}Result />", "<{0}Result " + NIL + " />"])
@pytest.mark.parametrize("stream", ["messages", "message_sends", "message_opens"])
def test_an_absent_empty_or_nil_result_is_an_empty_page(
    stream: str, result: str, answer: Answer, tap: Tap
) -> None:
    tap.service.account.add_event("ReportMessageContactSent", 42, "ana@example.com")
    operation = BY_NAME[stream].operation
    exception = f"<WSException {NIL} />" if OPERATIONS[operation].takes_exception else ""
    run = answer(stream, reply=raw(body(operation, result.format(operation) + exception)))
    assert run.code == 0
    assert run.records(stream) == []
    assert not run.lines("WARNING")


@pytest.mark.parametrize("exception", ["", "<WSException />", '<WSException xsi:nil="false" />'])
@pytest.mark.parametrize("result", ["", "<{0}Result />", "<{0}Result " + NIL + " />"])
@pytest.mark.parametrize("stream", ["messages", "complaints"])
def test_an_empty_reply_without_the_nil_wsexception_of_the_wsdl_is_damaged(
    stream: str, result: str, exception: str, answer: Answer, tap: Tap
) -> None:
    operation = BY_NAME[stream].operation
    run = answer(stream, reply=raw(body(operation, result.format(operation) + exception)))
    assert run.code == 1
    assert FAULTS["incomplete"].message in run.err
    assert len(tap.waits) == 4


def in_members(body: bytes, size: int) -> bytes:
    """A body as gzip of several members, with an empty one and padding at the end."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(map(gzip.compress, [*parts, b""])) + b"\0" * 8


@pytest.mark.parametrize(("size", "name"), [(7, "gzip"), (1000, "x-gzip"), (2**20, "GZIP")])
def test_gzip_of_several_members_is_read_whole(size: int, name: str, tap: Tap) -> None:
    def packed(ask: Ask) -> Reply:
        assert ask.headers["accept-encoding"] == "gzip"
        honest = ask.honest()
        body = in_members(honest.body, size if ask.operation != "WSDL" else 2**16)
        return replace(honest, body=body, headers={"Content-Encoding": name})

    tap.service.rules.append(packed)
    run = tap.run(clock=now)
    assert run.code == 0
    assert len(run.records("messages")) == 1
    assert not run.lines("WARNING")


@pytest.mark.parametrize("name", ["deflate", "br", "gzip, gzip"])
def test_a_reply_packed_in_another_way_is_damaged(name: str, answer: Answer, tap: Tap) -> None:
    run = answer("lists", reply=Reply(b"x", headers={"Content-Encoding": name}))
    assert FAULTS["cut short"].message in run.lines("CRITICAL")[0]
    assert len(tap.waits) == 4


def test_a_row_that_is_nil_lacks_its_key(answer: Answer) -> None:
    operation = "ReportRangeMessageContactOpen"
    rows = f"<WSContactOpen {NIL} /><WSContactOpen>{EMAIL}</WSContactOpen>"
    reply = raw(body(operation, f"<{operation}Result>{rows}</{operation}Result>"))
    run = answer("message_opens", reply=reply)
    assert len(run.records("message_opens")) == 1
    (warning,) = run.lines("WARNING")
    assert "1 rows without their key" in warning


def test_a_page_of_nil_rows_alone_is_damaged(tap: Tap, answer: Answer) -> None:
    operation = "ReportRangeMessageContactOpen"
    reply = raw(body(operation, f"<{operation}Result><WSContactOpen {NIL} /></{operation}Result>"))
    run = answer("message_opens", reply=reply)
    assert run.code == 1
    assert FAULTS["incomplete"].message in run.err
    assert len(tap.waits) == 4


def test_a_reply_with_spaces_and_prefixes_is_read_like_any_other(answer: Answer) -> None:
    xml = """<?xml version="1.0"?>
    <s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"
        xmlns:l="http://webservices.listrak.com/v31/">
      <s:Header><l:Trace>1</l:Trace></s:Header>
      <s:Body>
        <l:ReportRangeMessageContactOpenResponse>
          <l:ReportRangeMessageContactOpenResult>
            <l:WSContactOpen>
              <l:EmailAddress>ana@example.com</l:EmailAddress>
              <l:OpenDate>then</l:OpenDate>
            </l:WSContactOpen>
          </l:ReportRangeMessageContactOpenResult>
        </l:ReportRangeMessageContactOpenResponse>
      </s:Body>
    </s:Envelope>"""
    run = answer("message_opens", reply=raw(xml.strip().encode()))
    assert [(each["EmailAddress"], each["OpenDate"]) for each in run.records("message_opens")] == [
        ("ana@example.com", "then")
    ]


def test_a_reply_in_utf_16_is_read_by_its_declaration(answer: Answer) -> None:
    text = rows_of("message_opens", f"{EMAIL}<OpenDate>été</OpenDate>").body.decode()
    reply = raw(text.replace("utf-8", "utf-16").encode("utf-16"))
    run = answer("message_opens", reply=reply)
    assert [each["OpenDate"] for each in run.records("message_opens")] == ["été"]


# What cannot be read.


@pytest.mark.parametrize(
    ("stream", "row", "field"),
    [
        ("message_bounces", f"{EMAIL}<BounceCount>many-robot</BounceCount>", "BounceCount"),
        ("message_bounces", f"{EMAIL}<BounceCount>1.0</BounceCount>", "BounceCount"),
        ("message_bounces", f"{EMAIL}<BounceCount>{2**63}</BounceCount>", "BounceCount"),
        ("message_unsubs", f"{EMAIL}<RemovalDate>robot</RemovalDate>", "RemovalDate"),
        ("message_unsubs", f"{EMAIL}<RemovalDate>2026-06-31T00:00:00</RemovalDate>", "RemovalDate"),
        ("message_opens", f"{EMAIL}<EmailAddress>robot@example.com</EmailAddress>", "EmailAddress"),
        ("message_opens", f"{EMAIL}<OpenDate><robot>1</robot></OpenDate>", "OpenDate"),
    ],
)
def test_a_value_that_cannot_be_read_sets_its_message_aside_and_names_the_field(
    stream: str, row: str, field: str, make_tap: MakeTap
) -> None:
    account = small(lists=1)
    tap = make_tap(account, {"start_date": "2026-04-01"})
    odd = str(account.messages(int(str(account.lists()[0]["ListID"])))[0]["MsgID"])

    def spoil(ask: Ask) -> Reply | None:
        mine = ask.operation == BY_NAME[stream].operation and ask.arguments["MsgID"] == odd
        return rows_of(stream, row) if mine else None

    tap.service.rules.append(spoil)
    run = tap.run(clock=now)
    assert run.code == 0
    (warning,) = run.lines("WARNING")
    assert field in warning
    assert "robot" not in run.err
    assert int(odd) not in {each["MsgID"] for each in run.records(stream)}
    (owed,) = set_aside(run)
    assert (owed["stream"], owed["parent_id"]) == (stream, int(odd))


@pytest.mark.parametrize(
    ("date", "held"),
    [
        ("9999-12-31T23:59:59", "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:59.9999999-01:00", "9999-12-31T23:59:59.999999Z"),
        ("0001-01-01T00:30:00+01:00", "0001-01-01T00:00:00Z"),
    ],
)
def test_a_date_beyond_the_calendar_is_held_at_its_first_or_last_instant(
    date: str, held: str, make_tap: MakeTap
) -> None:
    account = small(lists=1)
    config = {"start_date": "2026-04-01", "timezone": "America/New_York"}
    tap = make_tap(account, config)
    odd = int(str(account.messages(int(str(account.lists()[0]["ListID"])))[0]["MsgID"]))
    account.add_event(
        "ReportRangeMessageContactRemoval",
        odd,
        "ana@example.com",
        "soon",
        AdditionDate=date,
        RemovalDate="2026-06-01T00:00:00",
    )
    run = tap.run(clock=now)
    assert run.code == 0
    assert run.lines("WARNING") == []
    assert set_aside(run) == []
    (record,) = [
        each
        for each in run.records("message_unsubs")
        if (each["MsgID"], each["EmailAddress"]) == (odd, "ana@example.com")
    ]
    assert record["AdditionDate"] == held
    assert record["RemovalDate"] == "2026-06-01T04:00:00Z"
