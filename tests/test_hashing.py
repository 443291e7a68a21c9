"""With email_hash_key, no email address of a contact comes in the clear."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import string
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from fake_listrak import Ask, Reply, fault, with_exception
from tap_listrak.addresses import hash_address, hash_addresses, mask_addresses
from tap_listrak.streams import ADDRESS_COLUMNS, BY_NAME, STREAMS
from tests.support.accounts import later, now, serving, small
from tests.support.records import all_rows
from tests.support.runs import CLICK, OPEN, warnings
from tests.support.tap import Run

KEY = "the key of the hashes"
HASHING: dict[str, Any] = {"start_date": "2026-04-01", "email_hash_key": KEY}
HASHING_STREAMS = {stream.name for stream in STREAMS if stream.holds_addresses}
HAS_CHANGED = "email_hash_key has changed"
PAGE = Path(__file__).parent.parent / "docs/hashing.md"
LINKED = "ana.lopez@example.com"


def hmac_of(address: str) -> str:
    """The hash of an address, as docs/hashing.md has it."""
    return hmac.new(KEY.encode(), address.strip().lower().encode(), hashlib.sha256).hexdigest()


def fully_decoded(text: str) -> str:
    """A text in one case, unquoted until that changes nothing."""
    while (decoded := unquote(text)) != text:
        text = decoded
    return text.casefold()


def linked(ask: Ask) -> Reply | None:
    """Put an address into the query of every link that was clicked."""
    if ask.operation != CLICK:
        return None
    reply = ask.honest()
    link = f"<LinkUrl>https://example.com/a?e={quote(quote(LINKED, safe=''))}".encode()
    return replace(reply, body=re.sub(rb"<LinkUrl>[^<]*", link, reply.body))


# A sync of all streams.


@pytest.mark.parametrize("every_event", [False, True])
def test_a_sync_shows_no_address_and_the_same_hash_in_all_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_event: bool
) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    account = small()
    with serving(account, tmp_path, **HASHING, keep_every_event=every_event) as tap:
        tap.service.rules.append(linked)
        run = tap.selecting_all().run(clock=now)
    assert run.code == 0
    assert "DEBUG" in run.err
    shown = fully_decoded("\n".join([*json_texts(run), run.out, run.err]))
    assert KEY not in shown
    expected: dict[str, set[str]] = {}
    for stream, _, row in all_rows(account):
        for column in ADDRESS_COLUMNS & row.keys():
            if address := str(row[column] or ""):
                assert address.casefold() not in shown
                expected.setdefault(stream, set()).add(hmac_of(address))
    assert LINKED not in shown
    assert f"https://example.com/a?e={hmac_of(LINKED)}" in shown
    emitted = {name: hashes_in(run, name) for name in BY_NAME}
    assert expected == {name: hashes for name, hashes in emitted.items() if hashes}


def json_texts(run: Run) -> list[str]:
    """Every record's text without JSON's escapes."""
    return [json.dumps(each["record"], ensure_ascii=False) for each in run.of_type("RECORD")]


def hashes_in(run: Run, stream: str) -> set[str]:
    """What the address columns of a stream hold."""
    records = run.records(stream)
    return {each[column] for each in records for column in ADDRESS_COLUMNS if each.get(column)}


def test_a_change_of_the_key_gives_a_warning_for_each_stream_that_it_concerns(
    tmp_path: Path,
) -> None:
    with serving(small(), tmp_path, start_date="2026-04-01") as tap:
        tap.selecting_all()
        hashing, other = {"email_hash_key": KEY}, {"email_hash_key": f"{KEY} 2"}
        hashed, plain = tap.run(clock=now, config=hashing), tap.run(clock=now)
        for before, config in ((hashed, hashing), (plain, {})):
            assert not warnings(tap.run(clock=later, state=before.state, config=config), "email_")
        for before, config in ((plain, hashing), (hashed, other), (hashed, {})):
            run = tap.run(clock=later, state=before.state, config=config)
            told = " ".join(warnings(run, HAS_CHANGED))
            dated = {name for name in HASHING_STREAMS if BY_NAME[name].replication_key}
            assert {name for name in BY_NAME if re.search(rf"\b{name}\b", told)} == dated
            assert KEY not in run.err


def test_a_short_key_is_refused_by_name_without_its_value(tmp_path: Path) -> None:
    with serving(small(), tmp_path, email_hash_key="fifteen letters") as tap:
        run = tap.run(clock=now)
    assert run.code == 2
    assert "Invalid `email_hash_key`" in run.err
    assert "fifteen" not in run.err
    assert not tap.service.asked


@pytest.mark.parametrize("text", [LINKED, LINKED.upper(), quote(LINKED), quote(quote(LINKED))])
@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("answer", [lambda _, told: fault(told), with_exception])
def test_an_address_in_a_message_of_listrak_is_masked_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, log_format: str, text: str
) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    monkeypatch.setenv("TAP_LISTRAK_LOG_FORMAT", log_format)
    told = f"No row of <{text}>"
    with serving(small(), tmp_path) as tap:
        tap.service.rules.append(lambda ask: answer(ask, told) if ask.operation == OPEN else None)
        run = tap.run(clock=now)
    assert run.code != 0
    assert "No row of <***>" in run.err
    assert LINKED not in fully_decoded(run.err)


# Streams.

# Columns whose names suggest a contact's address or a link, but hold the account's own settings.
NOT_OF_CONTACTS = {
    *("DomainAliasEmail", "DomainAliasLink", "EnableBrowserLink", "EnableRemovalLink"),
    *("FromEmail", "ShowEmailList", "InvalidEmailCount"),
}


@pytest.mark.parametrize("stream", STREAMS, ids=repr)
def test_a_stream_with_addresses_links_or_details_is_marked_as_holding_addresses(
    stream: Any,
) -> None:
    path = Path(__file__).parent.parent / f"tap_listrak/schemas/{stream.name}.json"
    columns = json.loads(path.read_text("utf-8"))["properties"].keys() - NOT_OF_CONTACTS
    found = {name for name in columns if re.search("mail|link|detail|url", name, re.IGNORECASE)}
    assert stream.holds_addresses == bool(found)
    assert {name for name in columns if "mail" in name.lower()} <= ADDRESS_COLUMNS


# Addresses in texts.

letters = some.sampled_from(string.ascii_letters + string.digits + "éßø")
atoms = some.text(some.sampled_from(string.ascii_letters + string.digits + "._+-'!$=^~é"))
quoted = some.sampled_from(['"a b"', '"ana@home"', '"a,b"'])
domains = some.sampled_from(
    ["example.com", "MAIL.example.co.uk", "bücher.example", "xn--bcher-kva.example", "пример.рф"]
)
addresses = some.builds(
    "{}@{}".format, some.builds("{}{}".format, letters, atoms) | quoted, domains
)
WRITERS = [str, str.upper, quote, lambda text: quote(quote(text, safe=""), safe="")]
writers = some.lists(some.sampled_from(WRITERS), max_size=3)
# `{}` is where the address comes.
TEXTS = [
    *("{}", " {}\n", "<{}>", "mailto:{}?subject=hi", "https://example.org/u/{}/off"),
    *("https://example.org/?e={}&b=50%25", "https://example.org/?u=a%3Fe%3D{}%26b%3D1"),
    *("550 5.1.1 <{}>: user unknown", "a;{},b", "'{}'", "(To: {})", "r=5@{} x"),
]


@given(addresses, writers, some.sampled_from(TEXTS), some.sampled_from(TEXTS))
@example("o'brien@example.com", [quote, quote, quote], "https://example.org/?e={}&b=50%25", "{}")
def test_an_address_in_a_text_is_not_recovered_by_decoding(
    address: str, encode: list[Any], text: str, around: str
) -> None:
    for write in encode:
        address = write(address)
    given_text = around.replace("{}", text.replace("{}", address))
    plain = fully_decoded(address)
    for replaced in (hash_addresses(KEY)(given_text), mask_addresses(given_text)):
        assert plain not in fully_decoded(replaced)
        assert plain.rpartition("@")[2] not in fully_decoded(replaced)


@given(some.builds("ana.{}@{}".format, some.text("abcXYZ019._+-"), domains), writers)
def test_the_hash_of_an_address_in_a_link_is_that_of_the_column(
    address: str, encode: list[Any]
) -> None:
    written = address
    for write in encode:
        written = write(written)
    link = hash_addresses(KEY)(f"https://example.org/?e={written}&b=1")
    assert link == f"https://example.org/?e={hash_address(KEY)(address)}&b=1"
    assert hash_address(KEY)(f" {address.upper()}\n") == hmac_of(address)
