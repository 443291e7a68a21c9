"""The config takes what its options say, from files and the environment, and refuses the rest."""

import json
import os
from typing import Any
from unittest.mock import patch

import pytest
import pytz

from tap_listrak import __version__
from tap_listrak.config import EARLIEST_START, LISTRAK_WSDL, OPTIONS, Config, parse_config
from tap_listrak.errors import UsageError
from tests.support.accounts import NOW, list_ids, small
from tests.support.tap import PASSWORD, MakeTap, Run, Tap, call

SECRET = "hunter2"
REQUIRED = {"username": "robot", "password": SECRET, "start_date": "2025-01-01"}
NUMBERS = {
    key: (option.schema["minimum"], option.schema["maximum"])
    for key, option in OPTIONS.items()
    if option.schema["type"] == "integer"
}
BOOLEANS = [key for key, option in OPTIONS.items() if option.schema["type"] == "boolean"]
NO_DATES = [
    *("2026-07-01T12:00:01Z", "2026-07-01T14:00:01+02:00", "1989-12-31T23:59:59Z", "0225-01-01"),
    *("01/02/2025", "yesterday", "2025-02-30", "2025-01-01T25:00:00", "\ud800"),
]
NO_NUMBERS = ["x", "0x10", "\u0661", " ", "9" * 5000]
WRONG: dict[str, list[Any]] = {
    **{key: ["", f"{SECRET}\n", f"{SECRET}\x00"] for key in ("username", "password")},
    # https goes anywhere, and http to this machine alone.
    "wsdl_url": [
        *("x.org/service", "//x.org/", "ftp://127.0.0.1/", "file:///etc/hosts", "https://x.org /"),
        *("https://", "https:///service", "https://:443/service", "https://[::1/"),
        *("https://x.org:port/", "https://x.org:99999/", "http://127.0.0.1@x.org/"),
        *("http://10.0.0.1/", "http://0.0.0.0/", "http://localhost.x.org/", "https://@x.org/"),
        *("http://127.0.0.1.x.org/", LISTRAK_WSDL.replace("https", "http")),
        *(f"https://:{SECRET}@x.org/", f"http://robot:{SECRET}@127.0.0.1/"),
    ],
    **{
        key: [least - 1, most + 1, 1.5, str(least - 1), str(most + 1), "1.5", *NO_NUMBERS]
        for key, (least, most) in NUMBERS.items()
    },
    "timezone": ["Mars/Olympus", "America", "é", "../UTC", "UTC+1", " "],
    "list_ids": [
        *([], 1.5, 0, -1, 2**31, [[]], [None], [True], [1.5], [0], [1, -2], [2**31], [""]),
        *(",", "1,x", "1;2", "0", "1,-2", "1.5", *NO_NUMBERS),
    ],
    "mirror": ["message_opens", "lists;messages", ["campaigns"], [[]]],
    "select": [[], [""], ",", "[]"],
    **{key: [2, -1, 1.0, "yes", "on", "2", " "] for key in BOOLEANS},
    "user_agent": ["two\nlines", "a\rb", "é", "\x00"],
    "email_hash_key": ["fifteen letters", "sixteen letters\n"],
    **dict.fromkeys(("start_date", "backfill_from", "backfill_to"), NO_DATES),
}
MISTAKES = [
    *((key, value) for key, values in WRONG.items() for value in values),
    *((key, {"a": SECRET}) for key in OPTIONS),
    *((key, True) for key in OPTIONS if key not in BOOLEANS),
    *((key, 5) for key in OPTIONS if key not in (*NUMBERS, "list_ids")),
]
ADDRESSES = [
    *("https://proxy.example.com/listrak?wsdl", "https://10.0.0.1:8443/", "http://LOCALHOST/"),
    *("http://localhost:8080/service?wsdl", "http://127.8.9.10/", "http://[::1]:8080/"),
]
LISTS = [[1, 2], ["1", "2"], [2, 1, 1], "1,2", " 1 , 2 ", "1,2,", "[1, 2]"]
PATTERNS = [["a.*", "!a.b"], "a.*,!a.b", " a.* , !a.b ", '["a.*", "!a.b"]', "[a.*, !a.b]"]
MEANT: list[tuple[str, list[Any], Any]] = [
    *((key, [each, f" {each} "], each) for key, bounds in NUMBERS.items() for each in bounds),
    *((key, [True, 1, "1", "True", "true", " TRUE "], True) for key in BOOLEANS),
    *((key, [False, 0, "0", "False", "false", " FALSE "], False) for key in BOOLEANS),
    *(("wsdl_url", [each, f" {each} "], each) for each in ADDRESSES),
    ("wsdl_url", ["HTTPS://example.com/"], "https://example.com/"),
    # A date is in UTC unless it says otherwise.
    ("start_date", ["2026-07-01T14:00+02:00", " 2026-07-01 12:00 "], NOW),
    ("start_date", ["1990-01-01", "1990-01-01T00:00:00Z"], EARLIEST_START),
    ("timezone", ["America/Denver", " America/Denver "], pytz.timezone("America/Denver")),
    ("list_ids", LISTS, frozenset((1, 2))),
    ("select", PATTERNS, ("a.*", "!a.b")),
    ("mirror", ["messages, messages", ["messages"], '["messages"]'], frozenset(("messages",))),
]


def read(**given: Any) -> Config:
    return parse_config({**REQUIRED, **given}, NOW)


@pytest.mark.parametrize(("key", "value"), MISTAKES, ids=lambda value: ascii(value)[:40])
def test_a_mistake_is_refused_by_its_key_in_one_line(key: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"^[^\n]*`{key}`[^\n]* must be [^\n]*$") as refused:
        read(**{key: value})
    assert SECRET not in str(refused.value)
    assert "letters" not in str(refused.value)


@pytest.mark.parametrize(("key", "spellings", "meant"), MEANT, ids=lambda value: ascii(value)[:40])
def test_a_value_is_read_as_what_it_means(key: str, spellings: list[Any], meant: Any) -> None:
    for given in spellings:
        value = getattr(read(**{key: given}), key)
        assert (type(value), value) == (type(meant), meant)


@pytest.mark.parametrize("key", sorted(OPTIONS.keys() - REQUIRED.keys()))
def test_an_optional_key_that_is_null_or_empty_takes_its_default(key: str) -> None:
    assert read(**{key: None}) == read(**{key: ""}) == read()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("list_id", "5", "the unknown key `list_id` in {}. The nearest key is `list_ids`."),
        ("colour", None, "the unknown key `colour` in {}."),
        # What may be a secret in the wrong place is not repeated.
        (PASSWORD, "password", "an unknown key in {}."),
        ("Pas5word", "", "an unknown key in {}. The nearest key is `password`."),
        (PASSWORD.split()[0], "5", "an unknown key in {}."),
        ("two\nlines", 5, "an unknown key in {}."),
    ],
)
def test_unknown_keys_are_named_but_no_secret(key: str, value: object, said: str, tap: Tap) -> None:
    run = tap.run("--discover", config={key: value})
    assert run.code == 0
    assert run.warnings() == [f"WARNING Ignored {said.format(tap.folder / 'config.json')}"]


@pytest.mark.parametrize("agent", [None, "nightly sync (data@example.com)"])
def test_calls_are_without_the_query_and_with_the_user_agent(agent: str | None, tap: Tap) -> None:
    tap.run("--discover", config={"wsdl_url": f"{tap.service.url}#part", "user_agent": agent})
    assert {ask.path for ask in tap.service.asked} == {"/v31/IntegrationService.asmx"}
    agents = {ask.headers["user-agent"] for ask in tap.service.asked}
    assert agents == {agent or f"tap-listrak/{__version__}"}


def test_lists_in_list_ids_alone_are_synced_and_one_not_there_is_named(make_tap: MakeTap) -> None:
    account = small(lists=3)
    first, second, third = list_ids(account)
    tap = make_tap(account, {"start_date": "2026-04-01", "list_ids": [first, str(third), 4711]})
    run = tap.run(clock=NOW)
    found = tap.run("--discover")
    assert (run.code, found.code) == (0, 0)
    assert len(run.warnings("4711")) == 1
    assert found.warnings() == run.warnings()
    for stream in ("lists", "messages", "subscribed_contacts"):
        assert {record["ListID"] for record in run.records(stream)} == {first, third}
    assert str(second) not in {ask.arguments.get("ListID") for ask in tap.service.asked}
    run = tap.run(config={"list_ids": "4711"})
    assert (run.code, run.of_type("RECORD")) == (1, [])
    assert "list_ids" in run.lines("CRITICAL")[0]


@pytest.mark.parametrize("count", [1, 3])
def test_concurrency_is_the_most_connections_there_are(count: int, make_tap: MakeTap) -> None:
    tap = make_tap(small(), {"start_date": "2026-04-01", "concurrency": count}, latency=0.002)
    assert tap.run(clock=NOW).code == 0
    assert 1 <= tap.service.connections <= count


# From files and the environment. The user agent shows where an option came from.


def write(tap: Tap, name: str, content: object) -> str:
    path = tap.folder / f"{name}.json"
    path.write_text(json.dumps(content), "utf-8")
    return str(path)


def variables(config: dict[str, Any]) -> dict[str, str]:
    """The variables that hold a config."""
    return {f"TAP_LISTRAK_{key.upper()}": str(value) for key, value in config.items()}


def discover(*configs: str, **environment: str) -> Run:
    """Discover with just these configs, and with these variables."""
    with patch.dict(os.environ, environment):
        return call("--discover", *(word for each in configs for word in ("--config", each)))


@pytest.mark.parametrize(
    ("order", "given", "agent"),
    [
        ("whole part", {}, "of a part"),
        ("whole ENV", {"user_agent": "of ENV"}, "of ENV"),
        ("ENV whole", {"user_agent": "of ENV"}, "of a file"),
        ("whole ENV", {"user_agent": "", "password": ""}, "of a file"),
    ],
    ids=str,
)
def test_later_configs_win_key_by_key_and_empty_variables_are_ignored(
    tap: Tap, order: str, given: dict[str, str], agent: str
) -> None:
    whole = write(tap, "whole", {**tap.config, "user_agent": "of a file"})
    part = write(tap, "part", {"user_agent": "of a part", "concurrency": 2})
    paths = {"whole": whole, "part": part, "ENV": "ENV"}
    assert discover(*map(paths.__getitem__, order.split()), **variables(given)).code == 0
    assert {ask.headers["user-agent"] for ask in tap.service.asked} == {agent}


def test_the_secrets_may_be_in_the_environment_alone(tap: Tap) -> None:
    secrets = variables({key: tap.config.pop(key) for key in ("username", "password")})
    path = write(tap, "other", tap.config)
    run = discover(path, "ENV", **secrets)
    assert run.code == 0
    assert PASSWORD not in run.err
    # Without ENV, the tap does not look there.
    assert discover(path, **secrets).code == 2


def test_unknown_variables_are_named_without_their_values(tap: Tap) -> None:
    unknown = dict.fromkeys(("TAP_LISTRAK_LIST_ID", "TAP_LISTRAK_Password"), "a secret")
    others = {"TAP_LISTRAK__SELECT": "of Meltano", "TAP_LISTRAK_LOG_FORMAT": "text"}
    run = discover(write(tap, "whole", tap.config), "ENV", **unknown, **others)
    assert run.code == 0
    assert run.warnings() == [
        "WARNING Ignored the unknown key `TAP_LISTRAK_LIST_ID` in ENV. The nearest key is "
        "`list_ids`.",
        "WARNING Ignored an unknown key in ENV. The nearest key is `password`.",
    ]


@pytest.mark.parametrize("key", ["password", "concurrency"])
def test_a_wrong_value_is_refused_with_its_key_and_the_file_or_variable_it_is_from(
    tap: Tap, key: str
) -> None:
    wrong = {key: f"{SECRET}\n"}
    whole, part = write(tap, "whole", tap.config), write(tap, "part", wrong)
    of_file, of_variable = discover(whole, part), discover(whole, "ENV", **variables(wrong))
    for run, place in ((of_file, part), (of_variable, f"TAP_LISTRAK_{key.upper()}")):
        assert tap.refusal(run).startswith(f"CRITICAL Invalid `{key}` in {place}: must be ")
        assert SECRET not in run.err


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_named_with_its_variable(tap: Tap, key: str) -> None:
    del tap.config[key]
    line = tap.refusal(discover(write(tap, "whole", tap.config), "ENV"))
    assert line.startswith(f"CRITICAL Missing `{key}`: ")
    assert f"set TAP_LISTRAK_{key.upper()}" in line


@pytest.mark.parametrize("content", [[], None, 5, "text"])
def test_the_file_without_an_object_is_named(tap: Tap, content: Any) -> None:
    other = write(tap, "other", content)
    line = tap.refusal(discover(write(tap, "whole", tap.config), other))
    assert line == f"CRITICAL Invalid config file {other}: must be a JSON object; see --help."
