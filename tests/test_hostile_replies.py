"""Replies that no honest service sends: no hang, no traceback, no bad row, and none lost."""

import gzip
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fake_listrak import Ask, Reply, raw
from tap_listrak.streams import BY_NAME
from tests.support.accounts import serving
from tests.support.faults import FAULTS, START, tiny_account
from tests.support.records import all_rows, assert_valid
from tests.support.replies import EMAIL, NIL, body, rows_of
from tests.support.runs import rows
from tests.support.tap import Run, Tap, catalog_of

Change = Callable[[bytes], bytes]

STREAM = "message_clicks"
ROW, OPERATION = BY_NAME[STREAM].row, BY_NAME[STREAM].operation
HELD = Counter(stream for stream, _, _ in all_rows(tiny_account()))


@pytest.fixture(scope="module")
def tap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tap]:
    """One tap and service for all examples."""
    with serving(tiny_account(), tmp_path_factory.mktemp("hostile"), start_date=START) as tap:
        yield tap


def sync(tap: Tap, change: Change, stream: str = STREAM) -> Run:
    """Sync a stream while its second pages, or its replies without pages, are changed."""
    tap.heal()
    tap.change(stream, change, **({"Page": 2} if BY_NAME[stream].paged else {}))
    return tap.night(catalog=catalog_of(stream))


# Bytes.

share = st.floats(0, 1)


@settings(derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(BY_NAME)), share, st.sampled_from([0, 1]) | share, st.binary())
def test_a_reply_of_other_bytes_costs_no_row_in_silence(
    tap: Tap, stream: str, start: float, length: float, by: bytes
) -> None:
    def change(body: bytes) -> bytes:
        first = int(len(body) * start)
        return body[:first] + by + body[first + int(len(body) * length) :]

    run = sync(tap, change, stream)
    assert "Traceback" not in run.err
    assert "has a defect" not in run.err
    assert_valid(run)
    assert len(run.lines("CRITICAL")) == bool(run.code)
    if len(run.records(stream)) < HELD[stream]:
        named = [each for each in run.err.splitlines() if re.search(rf"\b{stream}\b", each)]
        reasons = "CRITICAL", "Set aside", "Skipped in this run", "without a key"
        assert any(reason in line for line in named for reason in reasons)


@pytest.mark.parametrize(
    ("before", "after", "size", "name"),
    [
        (b"\r\n", b"\0", 1000, "gzip"),
        (b"\xef\xbb\xbf\r\n", b"", 2**16, "x-gzip"),
        (b"", b"\r\n\0\0 \n", 2**20, "GZIP"),
    ],
)
def test_bytes_around_xml_and_members_of_gzip_cost_nothing(
    tap: Tap, before: bytes, after: bytes, size: int, name: str
) -> None:
    def packed(ask: Ask) -> Reply:
        assert ask.headers["accept-encoding"] == "gzip"
        whole = before + ask.honest().body + after
        parts = [whole[start : start + size] for start in range(0, len(whole), size)]
        # An empty member and padding at the end.
        body = b"".join(map(gzip.compress, [*parts, b""])) + b"\0" * 8
        return replace(ask.honest(), body=body, headers={"Content-Encoding": name})

    tap.heal()
    tap.service.rules.append(packed)
    run = tap.night()
    assert run.code == 0
    assert tap.missing(run) == {}
    assert not run.warnings()


# Elements.


def sub(pattern: str, by: str) -> Change:
    """Replace in the reply; Op and Row are the names of the operation and of its rows."""

    def change(body: bytes) -> bytes:
        old, new = (each.replace("Op", OPERATION).replace("Row", ROW) for each in (pattern, by))
        text, count = re.subn(old, new, body.decode(), flags=re.DOTALL)
        assert count
        return text.encode()

    return change


def in_rows(xml: str) -> Change:
    return sub("<Row>", f"<Row>{xml}")


def before_rows(xml: str) -> Change:
    return sub("<OpResult>", f"<OpResult>{xml}")


def response(xml: str) -> Change:
    """The whole response is this XML."""
    return sub("<OpResult>.*</OpResponse>", f"{xml}</OpResponse>")


def encoded(declared: str, real: str) -> Change:
    return lambda body: body.decode().replace('"utf-8"', f'"{declared}"', 1).encode(real)


HARMLESS: dict[str, Change] = {
    "fields in another namespace": sub(r"<(\w+)>([^<]+)</\1>", r'<\1 xmlns="urn:other">\2</\1>'),
    "an empty double": in_rows("<EmailAddress/><ClickDate/>"),
    "comments": in_rows("<!-- <EmailAddress>x</EmailAddress> -->"),
    "instructions": in_rows("<?php echo 1; ?>"),
    "attributes": sub("<Row>", '<Row a="b" xmlns:q="urn:q" q:c="d">'),
    "blanks": sub("<Row>", "\n\t <Row>\r\n"),
    "prefixes": lambda body: re.sub(
        rb"<(/?)(\w+)(?=[ />])", rb"<\1v:\2", body.replace(b' xmlns="', b' xmlns:v="')
    ),
    "two Results": sub("(</Row>)(<Row>)", r"\1</OpResult><OpResult>\2"),
    "a header": sub("<soap:Body>", "<soap:Header><a/></soap:Header><soap:Body>"),
    "a true mark of UTF-8": encoded("utf-8", "utf-8-sig"),
    "true UTF-16": encoded("utf-16", "utf-16"),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_only_odd_changes_no_row(tap: Tap, name: str) -> None:
    run = sync(tap, HARMLESS[name])
    assert run.code == 0
    assert not run.warnings()
    tap.heal()
    assert rows(run) == rows(tap.night(catalog=catalog_of(STREAM)))


EMPTY_RESPONSE = '<OpResponse xmlns="http://webservices.listrak.com/v31/"/>'
HARMFUL: dict[str, dict[str, Change]] = {
    "not xml": {
        "deep elements": in_rows("<a>" * 5000 + "</a>" * 5000),
        "an unknown entity": in_rows("<Unheard>&nbsp;</Unheard>"),
        "an unbound prefix": in_rows("<q:a/>"),
        "two envelopes": sub("(<soap:Envelope.*)", r"\1\1"),
        "false UTF-16": encoded("utf-16", "utf-8"),
        "no known encoding": encoded("no-such-one", "utf-8"),
    },
    "not soap": {
        "foreign rows": before_rows('<Other xmlns="urn:other">x</Other>'),
        "other rows only": sub("<(/?)Row>", r"<\1WSOther>"),
        "rows in another namespace": sub("<Row>", '<Row xmlns="urn:other">'),
        "a Result in another namespace": sub("<OpResult>", '<OpResult xmlns="urn:other">'),
        "rows without a Result": sub("</?OpResult>", ""),
        "rows in one element": sub("<OpResult>(.*)</OpResult>", r"<OpResult><a>\1</a></OpResult>"),
        "rows as text": response("<OpResult>&lt;Row&gt;&lt;/Row&gt;</OpResult>"),
        "rows after the response": sub("(<OpResponse.*</OpResponse>)", rf"{EMPTY_RESPONSE}\1"),
        "no Body": sub("<(/?)soap:Body>", r"<\1soap:Other>"),
        "SOAP of 2003": sub("http://schemas.xmlsoap.org/soap/envelope/", "urn:2003"),
    },
    "incomplete": {
        "rows without fields": sub("<Row>.*?</Row>", "<Row/>"),
        "nil rows": sub("<Row>.*?</Row>", f"<Row {NIL}/>"),
        "renamed fields": sub(r"<(\w+)>([^<]+)</\1>", r"<X\1>\2</X\1>"),
    },
    "invalid value": {
        "a double": in_rows("<LinkUrl>1</LinkUrl>"),
        "elements in a field": sub("<LinkUrl>", "<LinkUrl><b>1</b>"),
    },
    "exception": {
        "a WSException of text": response("<OpResult/><WSException>It broke.</WSException>"),
        "a WSException that is nested": response(
            "<WSException><a><b>It broke.</b></a></WSException>"
        ),
    },
}


@pytest.mark.parametrize(
    ("row", "name"), [(row, name) for row, names in HARMFUL.items() for name in names]
)
def test_what_is_no_page_is_not_taken_for_empty(tap: Tap, row: str, name: str) -> None:
    run = sync(tap, HARMFUL[row][name])
    assert run.code == 0
    assert {each["stream"] for each in run.set_aside} == {STREAM}
    assert run.warnings(FAULTS[row].message)


# Whole replies.

NO_RESULTS = ["", "<{0}Result />", f"<{{0}}Result {NIL} />"]
NO_EXCEPTIONS = ["", "<WSException />", '<WSException xsi:nil="false" />']


def of(stream: str, xml: str) -> Reply:
    """A reply of this XML; {0} is the name of the operation."""
    operation = BY_NAME[stream].operation
    return raw(body(operation, xml.format(operation)))


def sync_reply(tap: Tap, stream: str, reply: Reply) -> Run:
    """Sync a stream from a service that replies this to each of its calls."""
    tap.heal()
    tap.answer(BY_NAME[stream].operation, reply)
    tap.waits.clear()
    return tap.night(catalog=catalog_of(stream))


@pytest.mark.parametrize("result", NO_RESULTS)
@pytest.mark.parametrize(
    ("stream", "exception"), [("messages", f"<WSException {NIL} />"), ("message_opens", "")]
)
def test_no_result_is_an_empty_page(tap: Tap, stream: str, exception: str, result: str) -> None:
    run = sync_reply(tap, stream, of(stream, result + exception))
    assert run.code == 0
    assert run.records(stream) == []
    assert not run.warnings()


@pytest.mark.parametrize(
    ("stream", "reply", "row"),
    [
        *(
            ("messages", of("messages", result + exception), "incomplete")
            for result in NO_RESULTS
            for exception in NO_EXCEPTIONS
        ),
        ("complaints", of("complaints", ""), "incomplete"),
        ("subscribed_contacts", rows_of("subscribed_contacts", EMAIL, EMAIL), "incomplete"),
        *(
            ("lists", Reply(b"x", headers={"Content-Encoding": packing}), "cut short")
            for packing in ("deflate", "br", "gzip, gzip")
        ),
    ],
)
def test_a_damaged_reply_is_retried_and_not_taken_for_an_empty_page(
    tap: Tap, stream: str, reply: Reply, row: str
) -> None:
    run = sync_reply(tap, stream, reply)
    assert run.code == 1
    assert run.records(stream) == []
    assert FAULTS[row].message in run.lines("CRITICAL")[0]
    assert len(tap.waits) >= 4


@pytest.mark.parametrize(
    ("stream", "field"),
    [
        *(("lists", "ListID"), ("lists", "CreateDate"), ("messages", "MsgID")),
        *(
            ("messages", "SendDate"),
            ("messages", "OpenPercent"),
            ("message_bounces", "BounceCount"),
        ),
        *(("message_unsubs", "RemovalDate"), ("subscribed_contacts", "AdditionDate")),
    ],
)
def test_an_unreadable_value_is_named_not_shown(tap: Tap, stream: str, field: str) -> None:
    odd = f"<{field}>odd-value<".encode()
    run = sync(tap, lambda body: re.sub(rf"<{field}>[^<]*<".encode(), odd, body, count=1), stream)
    told = [line for line in run.err.splitlines() if FAULTS["invalid value"].message in line]
    assert told
    assert all(f"{stream}, " in line and f"field {field}:" in line for line in told)
    assert "odd-value" not in run.err + run.out
    assert len(run.lines("CRITICAL")) == run.code
