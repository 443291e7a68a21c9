"""The config takes what its options say, from files and the environment, and refuses the rest."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
import pytz

from fake_listrak import Ask, Reply
from tap_listrak import __version__
from tap_listrak.config import OPTIONS, Config, parse_config
from tests.support.accounts import NOW, list_ids, serving, small
from tests.support.tap import PASSWORD, USERNAME, Call, MakeTap, Run, Tap

Discover = Callable[..., Run]
SECRET = "hunter2"
REQUIRED = {"username": "robot", "password": SECRET, "start_date": "2025-01-01"}
TOO_MANY_DIGITS = "9" * 5000

NUMBERS = {
    "interval_days": (1, 3650),
    "request_timeout": (1, 3600),
    "concurrency": (1, 32),
    "lookback_days": (1, 365),
    "activity_window_days": (1, 3650),
    "recent_days": (1, 3650),
    "older_every_days": (2, 90),
}
BOOLEANS = ["include_test_messages", "keep_every_event", "typed_event_dates"]
NO_DATES = [
    *("2026-07-01T12:00:01Z", "2026-07-01T14:00:01+02:00", "2999-01-01"),
    *("1989-12-31T23:59:59Z", "0225-01-01", "01/02/2025", "yesterday", "2025-13-01"),
    *("2025-02-30", "2025-01-01T25:00:00", "\ud800"),
]

WRONG: dict[str, list[Any]] = {
    **{key: [None, "", 5, True, [SECRET], {"a": SECRET}] for key in REQUIRED},
    "wsdl_url": [
        *(5, ["https://example.com"], "example.com/service.asmx", "//example.com/service.asmx"),
        *("https://", "https:///service.asmx", "https://:443/service.asmx", "https://[::1/"),
        *("https://example.com:port/", "https://example.com:99999/", "http://example.com/"),
        "http://webservices.listrak.com/v31/IntegrationService.asmx?wsdl",
        *("http://10.0.0.1/", "http://0.0.0.0/", "http://localhost.example.com/"),
        *("http://127.0.0.1.example.com/", "http://127.0.0.1@example.com/", "ftp://127.0.0.1/"),
        *("file:///etc/hosts", f"https://robot:{SECRET}@example.com/", "https://@example.com/"),
        *(f"https://:{SECRET}@example.com/", f"http://robot:{SECRET}@127.0.0.1/"),
    ],
    **{
        key: [
            *(least - 1, -1, most + 1, 10**30, 1.5, True, [1], {}),
            *(str(least - 1), "-1", str(most + 1), "1.5", "x", "0x10", "\u0661", " "),
            TOO_MANY_DIGITS,
        ]
        for key, (least, most) in NUMBERS.items()
    },
    "timezone": [5, True, ["UTC"], {}, "Mars/Olympus", "America", "é", "../UTC", "UTC+1", " "],
    "list_ids": [
        *([], {}, True, 1.5, 0, -1, 2**31),
        *([[]], [None], [True], [1.5], [0], [1, -2], [2**31], ["x"], [""]),
        *(",", " ", "x", "1,x", "1;2", "0", "1,-2", "1.5", TOO_MANY_DIGITS),
    ],
    "mirror": [5, True, {}, "message_opens", "lists;messages", ["campaigns"], [5], [[]]],
    "select": [5, True, {}, [], [5], [""], ",", "[]"],
    **{key: [2, -1, 1.0, [], {}, "yes", "on", "2", " "] for key in BOOLEANS},
    "user_agent": [5, True, [], {}, "two\nlines", "a\rb", "é", "\x00"],
    "email_hash_key": [5, True, [], {}, "fifteen letters", "sixteen letters\n"],
    **{key: [5, True, [SECRET], *NO_DATES] for key in ("backfill_from", "backfill_to")},
}
WRONG["username"] += [f"{SECRET}\n", f"{SECRET}\x00"]
WRONG["password"] += [f"{SECRET}\n", f"{SECRET}\x00"]
WRONG["start_date"] += NO_DATES
# The service's address, in which https goes anywhere and http to this machine alone.
ADDRESSES = [
    *("https://proxy.example.com/listrak?wsdl", "https://10.0.0.1:8443/", "http://LOCALHOST/"),
    *("http://localhost:8080/service?wsdl", "http://127.8.9.10/", "http://[::1]:8080/"),
]
MEANT: list[tuple[str, list[Any], Any]] = [
    *((key, [each, f" {each} "], each) for key, bounds in NUMBERS.items() for each in bounds),
    *((key, [True, 1, "1", "True", "true", " TRUE "], True) for key in BOOLEANS),
    *((key, [False, 0, "0", "False", "false", " FALSE "], False) for key in BOOLEANS),
    ("timezone", ["America/New_York", " America/New_York "], pytz.timezone("America/New_York")),
    (
        "list_ids",
        [[1, 2], ["1", "2"], [2, 1, 1], "1,2", " 1 , 2 ", "1,2,", "[1, 2]"],
        frozenset((1, 2)),
    ),
    (
        "select",
        [["a.*", "!a.b"], "a.*,!a.b", " a.* , !a.b ", '["a.*", "!a.b"]', "[a.*, !a.b]"],
        ("a.*", "!a.b"),
    ),
    ("mirror", ["messages, lists,lists", ["lists", "messages"]], frozenset(("lists", "messages"))),
    *(("wsdl_url", [each, f" {each} "], each) for each in ADDRESSES),
    ("wsdl_url", ["HTTPS://example.com/"], "https://example.com/"),
]
# A start_date is in UTC unless it says otherwise.
DATES = {
    " 2025-03-04 ": datetime(2025, 3, 4),
    "2025-03-04T05:06:07": datetime(2025, 3, 4, 5, 6, 7),
    "2025-03-04T05:06:07Z": datetime(2025, 3, 4, 5, 6, 7),
    "2025-03-04T05:06:07.000000Z": datetime(2025, 3, 4, 5, 6, 7),
    "2025-03-04T05:06:07+02:00": datetime(2025, 3, 4, 3, 6, 7),
    "2025-03-04 05:06:07-0500": datetime(2025, 3, 4, 10, 6, 7),
    "2026-07-01T12:00:00Z": datetime(2026, 7, 1, 12),
    "1990-01-01T00:00:00Z": datetime(1990, 1, 1),
}
MEANT += [("start_date", [text], at.replace(tzinfo=timezone.utc)) for text, at in DATES.items()]


def name_of(value: Any) -> str:
    """A test's name for a value: short, in ASCII, and the same in each process."""
    return ascii(sorted(value) if isinstance(value, frozenset) else value)[:40]


def read(**given: Any) -> Config:
    return parse_config({**REQUIRED, **given}, NOW)


@pytest.fixture(scope="module")
def silent_tap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tap]:
    """A tap whose service is never asked, for all mistakes."""
    with serving(small(), tmp_path_factory.mktemp("config"), password=SECRET) as tap:
        yield tap


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, values in WRONG.items() for value in values],
    ids=name_of,
)
def test_a_mistake_is_refused_by_its_key_in_one_line(key: str, value: Any, silent_tap: Tap) -> None:
    line = silent_tap.refusal(silent_tap.run(config={key: value}, clock=NOW))
    assert f"`{key}`" in line
    assert "must be" in line
    assert SECRET not in line
    assert "letters" not in line


@pytest.mark.parametrize(("key", "spellings", "meant"), MEANT, ids=name_of)
def test_a_value_is_read_as_what_it_means(key: str, spellings: list[Any], meant: Any) -> None:
    for given in spellings:
        value = getattr(read(**{key: given}), key)
        assert (type(value), value) == (type(meant), meant)


def test_the_defaults_are_as_documented() -> None:
    assert read() == Config(
        username="robot",
        password=SECRET,
        start_date=datetime(2025, 1, 1, tzinfo=timezone.utc),
        wsdl_url="https://webservices.listrak.com/v31/IntegrationService.asmx?wsdl",
        interval_days=365,
        request_timeout=300,
        concurrency=4,
        timezone=pytz.utc,
        lookback_days=1,
        list_ids=None,
        include_test_messages=True,
        activity_window_days=None,
        recent_days=None,
        older_every_days=7,
        mirror=frozenset(),
        keep_every_event=False,
        typed_event_dates=False,
        backfill_from=None,
        backfill_to=None,
        select=None,
        user_agent=f"tap-listrak/{__version__}",
    )


@pytest.mark.parametrize("key", sorted(OPTIONS.keys() - REQUIRED.keys()))
def test_an_optional_key_that_is_null_or_empty_takes_its_default(key: str) -> None:
    assert read(**{key: None}) == read(**{key: ""}) == read()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("list_id", "5", "the unknown key `list_id` in {}. The nearest key is `list_ids`."),
        ("colour", None, "the unknown key `colour` in {}."),
        ("passwort", "other", "the unknown key `passwort` in {}. The nearest key is `password`."),
        # What may be a secret in the wrong place is not repeated.
        (PASSWORD, "password", "an unknown key in {}."),
        ("hunter", "password", "an unknown key in {}."),
        ("Pas5word", "", "an unknown key in {}. The nearest key is `password`."),
        (PASSWORD.split()[0], "5", "an unknown key in {}."),
        ("two\nlines", 5, "an unknown key in {}."),
    ],
)
def test_unknown_keys_are_named_but_no_secret(key: str, value: object, said: str, tap: Tap) -> None:
    run = tap.run("--discover", config={key: value})
    assert run.code == 0
    assert run.warnings() == [f"WARNING Ignored {said.format(tap.folder / 'config.json')}"]


# What the service is asked.


@pytest.mark.parametrize("agent", [None, "nightly sync (data@example.com)"])
def test_calls_are_without_the_query_and_with_the_user_agent(agent: str | None, tap: Tap) -> None:
    seen = []

    def note(ask: Ask) -> Reply | None:
        seen.append((ask.operation, ask.path, ask.headers["user-agent"]))
        return None

    tap.service.rules.append(note)
    tap.run("--discover", config={"wsdl_url": f"{tap.service.url}#part", "user_agent": agent})
    shown = agent or f"tap-listrak/{__version__}"
    assert seen[:2] == [
        ("WSDL", "/v31/IntegrationService.asmx?wsdl", shown),
        ("GetContactListCollection", "/v31/IntegrationService.asmx", shown),
    ]
    assert {each[2] for each in seen} == {shown}


def test_lists_in_list_ids_alone_are_synced_and_one_not_there_is_named(make_tap: MakeTap) -> None:
    account = small(lists=3)
    first, second, third = list_ids(account)
    chosen = [first, str(third), 4711, 4712]
    tap = make_tap(account, {"start_date": "2026-04-01", "list_ids": chosen})
    run = tap.run(clock=NOW)
    (warning,) = run.warnings()
    assert "4711" in warning
    assert "4712" in warning
    for stream in ("lists", "messages", "subscribed_contacts"):
        assert {record["ListID"] for record in run.records(stream)} == {first, third}
    assert str(second) not in {ask.arguments.get("ListID") for ask in tap.service.asked}
    found = tap.run("--discover", config={"list_ids": [4711, 4712]})
    assert (run.code, found.code) == (0, 0)
    assert found.warnings() == [warning]


def test_a_choice_of_lists_none_of_which_is_there_is_an_error(tap: Tap) -> None:
    run = tap.run(config={"list_ids": "4711"})
    assert run.code == 1
    assert not run.of_type("RECORD")
    (line,) = run.lines("CRITICAL")
    assert "list_ids" in line


@pytest.mark.parametrize("count", [1, 3])
def test_concurrency_is_the_most_connections_there_are(count: int, make_tap: MakeTap) -> None:
    tap = make_tap(small(), {"start_date": "2026-04-01", "concurrency": count}, latency=0.002)
    assert tap.run(clock=NOW).code == 0
    assert 1 <= tap.service.connections <= count


# In parts, from files and the environment. The user agent shows where an option came from.

SECRETS = {"TAP_LISTRAK_USERNAME": USERNAME, "TAP_LISTRAK_PASSWORD": PASSWORD}


def agents(tap: Tap) -> set[str]:
    """The user agents that the service has seen."""
    return {ask.headers["user-agent"] for ask in tap.service.asked}


def write(tap: Tap, name: str, *left_out: str, **content: Any) -> str:
    """Write the tap's own config, or what its name says, with these keys changed or left out."""
    config = tap.config if name == "whole" else {}
    path = tap.folder / f"{name}.json"
    kept = {key: value for key, value in config.items() if key not in left_out}
    path.write_text(json.dumps(kept | content), "utf-8")
    return str(path)


@pytest.fixture
def discover(call: Call, monkeypatch: pytest.MonkeyPatch) -> Discover:
    """Discover with just these configs and these variables of the tap's."""
    for name in [name for name in os.environ if "LISTRAK" in name]:
        monkeypatch.delenv(name)

    def run(*configs: str, **variables: str) -> Run:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            return call("--discover", *(word for each in configs for word in ("--config", each)))

    return run


@pytest.mark.parametrize(
    ("order", "agent"),
    [
        (("whole", "part"), "of a part"),
        (("whole", "ENV"), "of ENV"),
        (("ENV", "whole"), "of a file"),
    ],
)
def test_later_configs_win_key_by_key(
    tap: Tap, order: tuple[str, str], agent: str, discover: Discover
) -> None:
    paths = {
        "whole": write(tap, "whole", user_agent="of a file"),
        "part": write(tap, "part", user_agent="of a part", concurrency=2),
        "ENV": "ENV",
    }
    assert discover(*map(paths.get, order), TAP_LISTRAK_USER_AGENT="of ENV").code == 0
    assert agents(tap) == {agent}


def test_the_secrets_may_be_in_the_environment_alone(tap: Tap, discover: Discover) -> None:
    path = write(tap, "whole", "username", "password")
    run = discover(path, "ENV", **SECRETS)
    assert run.code == 0
    assert PASSWORD not in run.err
    # Without being asked to, the tap does not look there.
    assert discover(path, **SECRETS).code == 2


def test_the_environment_may_be_all_there_is(tap: Tap, discover: Discover) -> None:
    first, *_ = tap.list_ids
    given = {**tap.config, "list_ids": f"[{first}]", "concurrency": "2", "user_agent": "variable"}
    run = discover("ENV", **{f"TAP_LISTRAK_{key.upper()}": value for key, value in given.items()})
    assert run.code == 0
    assert agents(tap) == {"variable"}


def test_an_empty_variable_is_no_value(tap: Tap, discover: Discover) -> None:
    path = write(tap, "whole", user_agent="of a file")
    assert discover(path, "ENV", TAP_LISTRAK_USER_AGENT="", TAP_LISTRAK_PASSWORD="").code == 0
    assert agents(tap) == {"of a file"}


def test_unknown_variables_are_named_without_their_values(tap: Tap, discover: Discover) -> None:
    run = discover(
        write(tap, "whole"),
        "ENV",
        TAP_LISTRAK_LIST_ID="a secret",
        TAP_LISTRAK_Password="a secret",
        TAP_LISTRAK__SELECT='["*.*"]',  # of Meltano
        TAP_LISTRAK_LOGLEVEL="INFO",
        TAP_LISTRAK_LOG_FORMAT="text",
    )
    assert run.code == 0
    assert run.warnings() == [
        "WARNING Ignored the unknown key `TAP_LISTRAK_LIST_ID` in ENV. The nearest key is "
        "`list_ids`.",
        "WARNING Ignored an unknown key in ENV. The nearest key is `password`.",
    ]


@pytest.mark.parametrize("key", ["password", "concurrency"])
@pytest.mark.parametrize("source", ["file", "variable"])
def test_a_wrong_value_is_refused_with_its_key_and_the_file_or_variable_it_is_from(
    tap: Tap, key: str, source: str, discover: Discover
) -> None:
    variable = f"TAP_LISTRAK_{key.upper()}"
    part = write(tap, "part", **{key: f"{SECRET}\n"})
    variables = {} if source == "file" else {variable: f"{SECRET}\n"}
    run = discover(write(tap, "whole"), part if source == "file" else "ENV", **variables)
    place = part if source == "file" else variable
    assert tap.refusal(run).startswith(f"CRITICAL Invalid `{key}` in {place}: must be ")
    assert SECRET not in run.err


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_named_with_its_variable(tap: Tap, key: str, discover: Discover) -> None:
    line = tap.refusal(discover(write(tap, "whole", key), "ENV"))
    assert line.startswith(f"CRITICAL Missing `{key}`: ")
    assert f"set TAP_LISTRAK_{key.upper()}" in line


@pytest.mark.parametrize("text", ["[]", "null", "5", '"text"'])
def test_the_file_without_an_object_is_named(tap: Tap, text: str, discover: Discover) -> None:
    other = tap.folder / "other.json"
    other.write_text(text, "utf-8")
    line = tap.refusal(discover(write(tap, "whole"), str(other)))
    assert line == f"CRITICAL Invalid config file {other}: must be a JSON object; see --help."
