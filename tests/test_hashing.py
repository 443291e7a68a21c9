"""With email_hash_key, no email address of a contact comes in the clear."""

import functools
import json
import re
from collections.abc import Callable
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
from tests.support.accounts import LATER, NOW, serving, small
from tests.support.records import all_rows
from tests.support.runs import CLICK, OPEN

KEY = "the key of the hashes"
START = "2026-04-01"
ROOT = Path(__file__).parent.parent
LINKED = "ana.lopez@example.com"
SHOWN: dict[str, Any] = {}
(_snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/hashing.md").read_text(), re.DOTALL)
exec(_snippet, SHOWN)  # noqa: S102 -- the page's Python is what the hashes must agree with


def hmac_of(address: str) -> str:
    """The hash of an address, as docs/hashing.md computes it."""
    return str(SHOWN["email_hash"](address, KEY))


def fully_decoded(text: str) -> str:
    """A text in one case, unquoted until that changes nothing."""
    while (decoded := unquote(text)) != text:
        text = decoded
    return text.casefold()


def linked(ask: Ask) -> Reply:
    """Put an address into the query of every link that was clicked."""
    reply, link = ask.honest(), f"<LinkUrl>https://example.com/a?e={quote(quote(LINKED))}"
    return replace(reply, body=re.sub(rb"<LinkUrl>[^<]*", link.encode(), reply.body))


@pytest.mark.parametrize("key", ["email_hashkey", "TAP_LISTRAK_EMAIL_HASH_KEYS", "emai1_hash_key"])
def test_a_misspelt_hash_key_is_refused_so_no_address_is_emitted(key: str, tmp_path: Path) -> None:
    with serving(small(), tmp_path, start_date=START, **{key: KEY}) as tap:
        run = tap.selecting_all().run()
        assert not tap.service.asked
    (line,) = run.lines("CRITICAL")
    assert line.endswith("The nearest key is `email_hash_key`.")
    assert (run.code, run.out) == (2, "")


def test_a_sync_shows_hashes_not_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    account = small()
    config = {"email_hash_key": KEY, "keep_every_event": True}
    with serving(account, tmp_path, start_date=START, **config) as tap:
        tap.answer(CLICK, linked)
        run = tap.selecting_all().run(clock=NOW)
    assert run.code == 0
    assert "DEBUG" in run.err
    texts = (json.dumps(each, ensure_ascii=False) for each in run.messages)
    shown = fully_decoded("\n".join([*texts, run.out, run.err]))
    assert KEY not in shown
    expected: dict[str, set[str]] = {}
    for stream, _, row in all_rows(account):
        for column in ADDRESS_COLUMNS & row.keys():
            if address := str(row[column] or ""):
                assert address.casefold() not in shown
                expected.setdefault(stream, set()).add(hmac_of(address))
    assert LINKED not in shown
    assert f"?e={hmac_of(LINKED)}" in shown
    for stream in BY_NAME:
        records = run.records(stream)
        hashes = {each[name] for each in records for name in ADDRESS_COLUMNS if each.get(name)}
        assert hashes == expected.get(stream, set())


def test_a_change_of_the_key_gives_a_warning_for_each_stream_it_concerns(tmp_path: Path) -> None:
    concerned = {each.name for each in STREAMS if each.holds_addresses and each.replication_key}
    with serving(small(lists=1, messages=1), tmp_path, start_date=START) as tap:
        tap.selecting_all()
        states = {
            key: tap.run(clock=NOW, config={"email_hash_key": key}).state for key in (None, KEY)
        }
        for first, second in ((None, KEY), (KEY, f"{KEY} 2"), (KEY, None), (KEY, KEY)):
            config = {"email_hash_key": second}
            run = tap.run(clock=LATER, state=states[first], config=config)
            told = " ".join(run.warnings("email_hash_key has changed"))
            named = {each for each in BY_NAME if re.search(rf"\b{each}\b", told)}
            assert named == (concerned if first != second else set())
            assert KEY not in run.err


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("answer", [lambda _, text: fault(text), with_exception])
def test_addresses_in_a_message_of_listrak_are_masked_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, log_format: str
) -> None:
    monkeypatch.setenv("TAP_LISTRAK_LOGLEVEL", "DEBUG")
    monkeypatch.setenv("TAP_LISTRAK_LOG_FORMAT", log_format)
    text = f"No row of <{LINKED}>, {LINKED.upper()}, {quote(LINKED)}, {quote(quote(LINKED))}."
    with serving(small(), tmp_path, username="example") as tap:
        tap.service.username = "example"
        tap.answer(OPEN, lambda ask: answer(ask, text))
        run = tap.run(clock=NOW)
    assert run.code == 1
    assert "No row of <***>, ***, ***, ***" in run.err
    assert LINKED not in fully_decoded(run.err)


# Columns whose names suggest a contact's address or a link, but hold the account's own settings.
NOT_OF_CONTACTS = {
    *("DomainAliasEmail", "DomainAliasLink", "EnableBrowserLink", "EnableRemovalLink"),
    *("FromEmail", "ShowEmailList", "InvalidEmailCount"),
}


def test_a_stream_with_addresses_links_or_details_is_marked() -> None:
    for stream in STREAMS:
        path = ROOT / f"tap_listrak/schemas/{stream.name}.json"
        columns = json.loads(path.read_text("utf-8"))["properties"].keys() - NOT_OF_CONTACTS
        found = {name for name in columns if re.search("mail|link|detail|url", name, re.IGNORECASE)}
        assert stream.holds_addresses == bool(found), stream
        assert {name for name in columns if "mail" in name.lower()} <= ADDRESS_COLUMNS, stream


local_parts = some.from_regex(r"[a-zA-Z0-9éßø][a-zA-Z0-9._+'!$=^~é-]*", fullmatch=True)
domains = some.sampled_from(
    [
        *("example.com", "MAIL.example.co.uk", "bücher.example", "пример.рф", "नमस्ते.भारत"),
        *("bu\u0308cher.example", "[192.168.0.1]", "[IPv6:2001:db8::1]"),
    ]
)
quoted = some.sampled_from(['"a b"', '"a@b,c"', r'"a\"b"'])
addresses = some.builds("{}@{}".format, local_parts | quoted, domains)


def escaped(text: str) -> str:
    """Percent-encode every character, also those that need no encoding."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


def written(address: str, writers: list[Callable[[str], str]]) -> str:
    """Return an address as several programs wrote it, one after the other."""
    return functools.reduce(lambda text, write: write(text), writers, address)


writers = some.lists(some.sampled_from([str.upper, quote, escaped]), max_size=4)
# `{}` is where the address comes.
TEXTS = [
    *("{}", " {}\n", "<{}>", "mailto:{}?subject=hi", "https://example.org/u/{}/off"),
    *("https://example.org/?e={}&b=50%25", "https://example.org/?u=a%3Fe%3D{}%26b%3D1"),
    *("550 5.1.1 <{}>: user unknown", "a;{},b", "'{}'", "(To: {})", "r=5@{} x"),
]


@given(addresses, writers, some.sampled_from(TEXTS))
@example("o'brien@example.com", [quote, quote, quote], "https://example.org/?e={}&b=50%25")
def test_an_address_in_a_text_is_not_decoded(
    address: str, writers: list[Callable[[str], str]], text: str
) -> None:
    address = written(address, writers)
    plain = fully_decoded(address)
    for replace_addresses in (hash_addresses(KEY), mask_addresses):
        replaced = fully_decoded(replace_addresses(text.replace("{}", address)))
        assert plain not in replaced
        assert plain.rpartition("@")[2] not in replaced


@given(some.builds("ana.{}@{}".format, some.text("abcXYZ019._+-"), domains), writers)
def test_the_hash_in_a_link_is_that_of_the_column(
    address: str, writers: list[Callable[[str], str]]
) -> None:
    link = hash_addresses(KEY)(f"https://example.org/?e={written(address, writers)}&b=1")
    assert link == f"https://example.org/?e={hash_address(KEY)(address)}&b=1"
    assert hash_address(KEY)(f" {address.upper()}\n") == hmac_of(address)
    assert hash_address(KEY)(" \n") == " \n", "no address"
