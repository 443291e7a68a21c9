"""Replies that no honest service sends: no hang, no traceback, no bad row, and none lost."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fake_listrak import OPERATIONS, Ask, ListrakService, Reply
from tap_listrak.streams import PARENTS, PUBLISHED, STREAMS
from tests.support.faults import FAULTS, NOW, START, tiny_account
from tests.support.in_process import workers_ended
from tests.support.published import ALL_COLUMNS
from tests.support.records import all_rows, assert_valid
from tests.support.tap import PASSWORD, USERNAME, Run, Tap, catalog_of

Change = Callable[[bytes, str], bytes]

NAME = {stream.operation: stream.name for stream in STREAMS}
HELD = Counter(stream for stream, _, _ in all_rows(tiny_account()))
# Values that cannot be read in these end the run, as nothing below them can be known.
OF_PARENTS = {stream.operation for stream in PARENTS}
# One stream of each kind of request, besides the published ones.
ASKED = [stream.operation for stream in PUBLISHED] + [
    *("GetCampaignCollection", "GetMessageAnalyticsInformation", "ReportMessageLinkClick"),
    *("ReportListConversationActivity", "ReportConversationContactOpen"),
    "ReportAdminContactFeedbackLoop",
]
CLICKED = "ReportRangeMessageContactClick"
TYPED = {
    "GetContactListCollection": ["ListID", "CreateDate"],
    "ReportListMessageActivity": ["MsgID", "SendDate", "OpenCount", "OpenPercent", "OrderTotal"],
    "ReportRangeMessageContactBounces": ["BounceCount"],
    "ReportRangeMessageContactRemoval": ["RemovalDate", "AdditionDate"],
    "ReportRangeSubscribedContacts": ["AdditionDate"],
    "ReportRangeListContactHygiene": ["HygieneDate"],
    "ReportListImportHistory": ["ImportFileID", "StartDate", "FileSize"],
    "GetCampaignCollection": ["CampaignID"],
    "GetMessageAnalyticsInformation": ["MsgID", "SendDate"],
    "ReportListConversationActivity": ["ConversationID", "PublishedDate", "OpenRate"],
    "ReportConversationContactOpen": ["MsgID", "OpenDate"],
    "ReportAdminContactFeedbackLoop": ["ListID", "AbuseDate"],
}

fuzz = settings(
    derandomize=True,
    deadline=None,
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "20")),
    suppress_health_check=list(HealthCheck),
)


class Bench:
    """One service and one tap for all examples."""

    def __init__(self, service: ListrakService, folder: Path) -> None:
        self.service = service
        self._tap = Tap(service, folder, {"start_date": START, "request_timeout": 20})

    def run(
        self, operation: str, change: Change, page: str | None = "2"
    ) -> tuple[Run, list[bytes]]:
        """Sync its stream while an operation's replies are changed; of a paged one, of one page."""
        sent: list[bytes] = []

        def rule(ask: Ask) -> Reply | None:
            if ask.operation != operation or ask.arguments.get("Page", page) != page:
                return None
            honest = ask.honest()
            sent.append(change(honest.body, operation))
            return replace(honest, body=sent[-1])

        below = ("messages", "message_opens", "conversation_opens")
        streams = dict.fromkeys((NAME[operation], *(below if operation in OF_PARENTS else ())))
        catalog = catalog_of(*streams)
        self.service.rules[:] = [rule]
        with workers_ended():
            run = self._tap.run(clock=NOW, catalog=catalog)
        self.service.rules.clear()
        assert sent
        check(run)
        return run, sent


def check(run: Run) -> None:
    """Assert what is true of every run, whatever the service sends."""
    assert "Traceback" not in run.err
    assert "has a defect" not in run.err
    assert all(len(json.dumps(state)) < 10_000 for state in run.states)
    assert_valid(run)
    keys = {each["stream"]: each["key_properties"] for each in run.of_type("SCHEMA")}
    for message in run.of_type("RECORD"):
        assert all(message["record"][key] is not None for key in keys[message["stream"]])
    missing = missing_rows(run)
    if run.code == 0:
        owed = Counter(each["stream"] for each in run.set_aside)
        skipped = {
            line.split(": ")[1].split(",")[0]
            for line in run.warnings()
            if "Skipped in this run" in line
        }
        assert set(missing) <= set(owed) | skipped | keyless(run)
        assert len([line for line in run.warnings() if "Set aside" in line]) == owed.total()
    else:
        assert len(run.lines("CRITICAL")) == 1


def missing_rows(run: Run) -> list[str]:
    emitted = Counter(each["stream"] for each in run.of_type("RECORD"))
    synced = [each["stream"] for each in run.of_type("SCHEMA")]
    return [stream for stream in synced if emitted[stream] < HELD[stream]]


def keyless(run: Run) -> set[str]:
    """The streams that a WARNING says have rows without their key."""
    lines = [line for line in run.warnings() if "without a key" in line]
    return {stream.name for stream in STREAMS for line in lines if f" {stream.name}:" in line}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    service = ListrakService(tiny_account(), username=USERNAME, password=PASSWORD)
    with service:
        yield Bench(service, tmp_path_factory.mktemp("hostile"))


# Bytes.


SHARES = st.floats(0, 0.999)


@fuzz
@given(st.sampled_from(sorted(OPERATIONS)), SHARES)
def test_a_truncated_reply(bench: Bench, operation: str, share: float) -> None:
    bench.run(operation, lambda body, _: body[: int(len(body) * share)])


@fuzz
@given(st.sampled_from(sorted(OPERATIONS)), st.lists(SHARES, min_size=1, max_size=3),
       st.binary(max_size=3))  # fmt: skip
def test_a_reply_with_other_bytes(
    bench: Bench, operation: str, places: list[float], by: bytes
) -> None:
    """Rows of parents may get other keys; requests for their children are then refused."""

    def change(body: bytes, _: str) -> bytes:
        for share in places:
            place = int(len(body) * share)
            body = body[:place] + by + body[place + 1 :]
        return body

    bench.run(operation, change)


@fuzz
@given(operation=st.sampled_from(sorted(OPERATIONS)), body=st.binary(max_size=200))
def test_a_reply_of_any_bytes(bench: Bench, operation: str, body: bytes) -> None:
    run, _ = bench.run(operation, lambda honest, _: body)
    assert run.code != 0 or run.set_aside or "Skipped in this run" in run.err


def declared(encoding: str, real: str) -> Change:
    def change(body: bytes, operation: str) -> bytes:
        text = body.decode().replace('encoding="utf-8"', f'encoding="{encoding}"')
        return text.encode(real, "xmlcharrefreplace")

    return change


@pytest.mark.parametrize(
    ("encoding", "real", "is_read"),
    [
        *(("utf-8", "utf-8-sig", True), ("utf-16", "utf-16", True), ("utf-16", "utf-8", False)),
        *(("us-ascii", "cp037", False), ("no-such-one", "utf-8", False)),
    ],
)
def test_a_true_encoding_is_read(bench: Bench, encoding: str, real: str, is_read: bool) -> None:
    run, _ = bench.run("ReportRangeMessageContactBounces", declared(encoding, real))
    assert (run.code, bool(missing_rows(run))) == (0, not is_read)


# Elements. A change of a row is made in each row of the reply.


def into_rows(inside: str) -> Change:
    def change(body: bytes, operation: str) -> bytes:
        opening = f"<{OPERATIONS[operation].row}>".encode()
        return body.replace(opening, opening + inside.encode())

    return change


def around_rows(before: str, after: str) -> Change:
    def change(body: bytes, operation: str) -> bytes:
        result = f"{operation}Result"
        return body.replace(f"<{result}>".encode(), f"<{result}>{before}".encode()).replace(
            f"</{result}>".encode(), f"{after}</{result}>".encode()
        )

    return change


def of_response(pattern: str, by: str) -> Change:
    """Replace in the reply; `Op` and `Row` are replaced by the operation's names."""

    def change(body: bytes, operation: str) -> bytes:
        names = {"Op": operation, "Row": OPERATIONS[operation].row}
        old, new = pattern, by
        for name, real in names.items():
            old, new = old.replace(name, real), new.replace(name, real)
        assert re.search(old, body.decode(), re.DOTALL)
        return re.sub(old, new, body.decode(), flags=re.DOTALL).encode()

    return change


HARMLESS: dict[str, Change] = {
    "an unknown element": into_rows("<Unheard>of</Unheard>"),
    "an unknown element with elements": into_rows("<Unheard><Of>x</Of><Of/></Unheard>"),
    "a foreign element": into_rows('<Unheard xmlns="urn:other">x</Unheard>'),
    "fields in another namespace": of_response(
        r"<(\w+)>([^<]+)</\1>", r'<\1 xmlns="urn:other">\2</\1>'
    ),
    "control characters": into_rows("<Unheard>\0\x01\x1f</Unheard>"),
    "an empty double": into_rows("<EmailAddress/><ListID/><MsgID/>"),
    "comments": into_rows("<!-- <EmailAddress>x</EmailAddress> -->"),
    "instructions": into_rows("<?php echo 1; ?>"),
    "attributes": of_response("<Row>", '<Row a="b" xmlns:q="urn:q" q:c="d">'),
    "blanks": of_response("<Row>", "\n\t <Row>\r\n"),
    "CDATA": of_response("<EmailAddress>(.*?)</", r"<EmailAddress><![CDATA[\1]]></"),
    "prefixes": lambda body, _: re.sub(
        rb"<(/?)(\w+)(?=[ />])", rb"<\1v:\2", body.replace(b' xmlns="', b' xmlns:v="')
    ),
    "forbidden references": of_response("<EmailAddress>", "<EmailAddress>&#x1;&#0;&#xFFFF;"),
    "two Results": of_response("(</Row>)(<Row>)", r"\1</OpResult><OpResult>\2"),
    "a header": of_response("<soap:Body>", "<soap:Header><a/></soap:Header><soap:Body>"),
}


@pytest.mark.parametrize(
    "operation",
    [pytest.param(each, marks=() if each == CLICKED else pytest.mark.long) for each in ASKED],
)
@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_only_odd_costs_no_row(bench: Bench, name: str, operation: str) -> None:
    if (
        name in ("CDATA", "forbidden references")
        and "EmailAddress" not in ALL_COLUMNS[NAME[operation]]
    ):
        return
    run, _ = bench.run(operation, HARMLESS[name])
    assert run.code == 0
    assert not missing_rows(run)
    assert run.set_aside == []


HARMFUL: dict[str, Change] = {
    "deep elements": into_rows("<a>" * 5000 + "</a>" * 5000),
    "a huge text": around_rows(f"<Row>{'x' * 10_500_000}</Row>", ""),
    "a doubled key": into_rows(
        "<EmailAddress>a</EmailAddress><ContactID>1</ContactID><ListID>1</ListID><MsgID>1</MsgID>"
        "<EmailAddress>b</EmailAddress><ContactID>2</ContactID><ListID>2</ListID><MsgID>2</MsgID>"
    ),
    "rows without fields": of_response("<Row>.*?</Row>", "<Row/>"),
    "renamed fields": of_response(r"<(\w+)>([^<]+)</\1>", r"<X\1>\2</X\1>"),
    "an unknown entity": into_rows("<Unheard>&nbsp;</Unheard>"),
    "an unbound prefix": into_rows("<q:a/>"),
    "foreign rows": around_rows('<Other xmlns="urn:other">x</Other>', ""),
    "rows of others": around_rows("<WSOther><EmailAddress>x</EmailAddress></WSOther>", ""),
    "other rows only": of_response("<(/?)Row>", r"<\1WSOther>"),
    "rows in another namespace": of_response("<Row>", '<Row xmlns="urn:other">'),
    "a Result in another namespace": of_response("<OpResult>", '<OpResult xmlns="urn:other">'),
    "a Result without namespace": of_response("<OpResult>", '<OpResult xmlns="">'),
    "a Result by another name": of_response("<(/?)OpResult>", r"<\1Result>"),
    "rows without a Result": of_response("</?OpResult>", ""),
    "rows as text": of_response(
        "<OpResult>.*</OpResult>", "<OpResult>&lt;Row&gt;...&lt;/Row&gt;</OpResult>"
    ),
    "rows after the response": of_response(
        "(<OpResponse.*</OpResponse>)",
        r'<OpResponse xmlns="http://webservices.listrak.com/v31/"/>\1',
    ),
    "a nil Result with rows that are wrapped": around_rows("<Rows>", "</Rows>"),
    "two envelopes": of_response(r"(<soap:Envelope.*)", r"\1\1"),
    "a Body too few": of_response("<(/?)soap:Body>", r"<\1soap:Other>"),
    "SOAP of 2003": of_response(
        "http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"
    ),
    "a WSException of text": of_response(
        "<OpResult>.*</OpResponse>", "<OpResult/><WSException>It broke.</WSException></OpResponse>"
    ),
    "a WSException that is nested": of_response(
        "<OpResult>.*</OpResponse>",
        "<WSException><Inner><Description>It broke.</Description></Inner></WSException>"
        "</OpResponse>",
    ),
    "a fault after the response": of_response(
        "<OpResult>.*</OpResponse>",
        "</OpResponse><soap:Fault><faultstring>It broke.</faultstring></soap:Fault>",
    ),
}


@pytest.mark.parametrize(
    "operation",
    [
        "ReportRangeMessageContactRemoval",
        pytest.param("GetContactListCollection", marks=pytest.mark.long),
        pytest.param("ReportListMessageActivity", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("name", HARMFUL)
def test_what_is_no_page_is_not_taken_for_empty(bench: Bench, name: str, operation: str) -> None:
    run, _ = bench.run(operation, HARMFUL[name])
    assert run.code != 0 or run.set_aside or "Skipped in this run" in run.err


# Values.

WRONG_VALUES = [
    *("twelve", "1.5.1", "1e", "0x10", "١٢", "99999999999999999999999", "1" * 5000, "--1"),
    *("<b>1</b>", "2026-13-01T00:00:00", "2026-02-30T00:00:00", "2026-06-15T25:00:00"),
    *("2026-06-15T00:00:00+99:99", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:01+14:00"),
    *("-0001-01-01T00:00:00", "12026-01-01T00:00:00", "6/15/2026 1:00:00 AM", "2026-06-15"),
    "\U0001f600",
]


@fuzz
@given(
    place=st.sampled_from([(op, field) for op, fields in TYPED.items() for field in fields]),
    value=st.sampled_from(WRONG_VALUES)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
    | st.from_regex(r"[-+]?[0-9]{0,25}(\.[0-9]{0,25})?([eE][-+]?[0-9]{1,6})?", fullmatch=True)
    | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[0-9.Z+:-]{0,8}"),
)
def test_any_value_in_a_typed_field(bench: Bench, place: tuple[str, str], value: str) -> None:
    operation, field = place
    if field in ("MsgID", "ListID") and re.fullmatch(r"\s*[-+]?[0-9]*\s*", value):
        return  # then it is another message's or list's, or nobody's
    if not value.startswith("<"):
        value = re.sub(r"[&<>\ufffe\uffff]", "", value)

    def change(body: bytes, _: str) -> bytes:
        pattern = rf"<{field}>[^<]*<".encode()
        return re.sub(pattern, lambda found: f"<{field}>{value}<".encode(), body, count=1)

    bench.run(operation, change)


@pytest.mark.parametrize(
    ("operation", "field", "value"),
    [
        *((op, field, "odd-value") for op, fields in TYPED.items() for field in fields),
        (CLICKED, "ClickDate", "<b>odd-value</b>"),
        (CLICKED, "EmailAddress", "a</EmailAddress><EmailAddress>odd-value"),
    ],
)
def test_unreadable_values_are_named_not_shown(
    bench: Bench, operation: str, field: str, value: str
) -> None:
    by = f"<{field}>{value}<".encode()
    run, _ = bench.run(
        operation, lambda body, _: re.sub(rf"<{field}>[^<]*<".encode(), by, body, count=1)
    )
    told = [line for line in run.err.splitlines() if FAULTS["invalid value"].message in line]
    assert told
    for line in told:
        assert NAME[operation] in line
        assert field in line
        assert "odd-value" not in line
    assert run.code in (0, 1)
    assert len(run.lines("CRITICAL")) == run.code
