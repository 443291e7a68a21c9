"""The config takes what its options say, from files and the environment, and refuses the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import pytz

from fake_listrak import Ask, Reply
from tap_listrak import __version__
from tap_listrak.config import LISTRAK_WSDL, OPTIONS, Config, parse_config
from tests.support.accounts import NOW, now, serving, small
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

WRONG: dict[str, list[Any]] = {
    **{key: [None, "", 5, True, [SECRET], {"a": SECRET}] for key in REQUIRED},
    "wsdl_url": [
        5,
        ["https://example.com"],
        "example.com/service.asmx",
        "//example.com/service.asmx",
        "https://",
        "https:///service.asmx",
        "https://:443/service.asmx",
        "https://example.com:port/",
        "https://example.com:99999/",
        "https://[::1/",
        "http://example.com/",
        "http://webservices.listrak.com/v31/IntegrationService.asmx?wsdl",
        "http://10.0.0.1/",
        "http://0.0.0.0/",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
        "http://127.0.0.1@example.com/",
        "ftp://127.0.0.1/",
        "file:///etc/hosts",
        f"https://robot:{SECRET}@example.com/",
        f"https://:{SECRET}@example.com/",
        f"http://robot:{SECRET}@127.0.0.1/",
        "https://@example.com/",
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
}
WRONG["username"] += [f"{SECRET}\n", f"{SECRET}\x00"]
WRONG["password"] += [f"{SECRET}\n", f"{SECRET}\x00"]
WRONG["start_date"] += [
    "2026-07-01T12:00:01Z",
    "2026-07-01T14:00:01+02:00",
    "2999-01-01",
    "1989-12-31T23:59:59Z",
    "0225-01-01",
    "01/02/2025",
    "yesterday",
    "2025-13-01",
    "2025-02-30",
    "2025-01-01T25:00:00",
    "\ud800",
]
for key in ("backfill_from", "backfill_to"):
    WRONG[key] = [value for value in WRONG["start_date"] if value not in (None, "")]
MISTAKES = [(key, value) for key, values in WRONG.items() for value in values]


def name_of(value: Any) -> str:
    """A test's name for a value: short, and in ASCII."""
    return ascii(value)[:40]


@pytest.fixture(scope="module")
def silent_tap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tap]:
    """A tap whose service is never asked, for all mistakes."""
    with serving(small(), tmp_path_factory.mktemp("config"), password=SECRET) as tap:
        yield tap


@pytest.mark.parametrize(("key", "value"), MISTAKES, ids=name_of)
def test_a_mistake_is_refused_in_one_line_that_names_its_key_before_any_request(
    key: str, value: Any, silent_tap: Tap
) -> None:
    run = silent_tap.run(config={key: value}, clock=now)
    assert run.code == 2
    assert run.out == ""
    (line,) = run.err.splitlines()
    assert line.startswith("CRITICAL ")
    assert f"`{key}`" in line
    assert "must be" in line
    assert SECRET not in run.err
    assert silent_tap.service.connections == 0


def test_discovery_refuses_a_mistake_in_the_same_way(tap: Tap) -> None:
    run = tap.run("--discover", config={"concurrency": "many"})
    assert run.code == 2
    assert tap.service.connections == 0
    assert run.err == (
        f"CRITICAL Invalid `concurrency` in {tap.folder}/config.json: must be 1 to 32.\n"
    )


def read(**given: Any) -> Config:
    return parse_config({**REQUIRED, **given}, NOW)


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


@pytest.mark.parametrize("nothing", [None, ""])
@pytest.mark.parametrize("key", sorted(OPTIONS.keys() - REQUIRED.keys()))
def test_an_optional_key_that_is_null_or_empty_takes_its_default(key: str, nothing: Any) -> None:
    assert read(**{key: nothing}) == read()


def test_values_may_come_as_strings() -> None:
    assert read(
        interval_days="30",
        request_timeout=" 60 ",
        timezone=" America/New_York ",
        start_date=" 2025-06-01 ",
    ) == read(
        interval_days=30,
        request_timeout=60,
        timezone="America/New_York",
        start_date="2025-06-01",
    )


@pytest.mark.parametrize("meant", [True, False])
def test_true_and_false_have_several_spellings(meant: bool) -> None:
    word = str(meant)
    for given in (meant, int(meant), str(int(meant)), word, word.lower(), f" {word.upper()} "):
        assert read(include_test_messages=given).include_test_messages is meant


@pytest.mark.parametrize("ids", [[1, 2], ["1", "2"], [2, 1, 1], "1,2", " 1 , 2 ", "1,2,", "[1, 2]"])
def test_list_ids_come_as_an_array_or_separated_by_commas(ids: Any) -> None:
    assert read(list_ids=ids).list_ids == frozenset((1, 2))


@pytest.mark.parametrize(
    "names", [["a.*", "!a.b"], "a.*,!a.b", " a.* , !a.b ", '["a.*", "!a.b"]', "[a.*, !a.b]"]
)
def test_names_come_as_an_array_or_separated_by_commas(names: Any) -> None:
    assert read(select=names).select == ("a.*", "!a.b")
    assert read(mirror="messages, lists,lists").mirror == {"lists", "messages"}


def test_a_mirror_of_some_lists_alone_is_refused(tap: Tap) -> None:
    run = tap.run(config={"mirror": "lists", "list_ids": [1]})
    assert run.code == 2
    (line,) = run.lines("CRITICAL")
    assert "`mirror`" in line
    assert "`list_ids`" in line
    assert tap.service.connections == 0


@pytest.mark.parametrize(("key", "bounds"), NUMBERS.items())
def test_numbers_reach_from_their_least_to_their_most(key: str, bounds: tuple[int, int]) -> None:
    assert tuple(getattr(read(**{key: value}), key) for value in bounds) == bounds


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2025-03-04", datetime(2025, 3, 4)),
        ("2025-03-04T05:06:07", datetime(2025, 3, 4, 5, 6, 7)),
        ("2025-03-04T05:06:07Z", datetime(2025, 3, 4, 5, 6, 7)),
        ("2025-03-04T05:06:07.000000Z", datetime(2025, 3, 4, 5, 6, 7)),
        ("2025-03-04T05:06:07+02:00", datetime(2025, 3, 4, 3, 6, 7)),
        ("2025-03-04 05:06:07-0500", datetime(2025, 3, 4, 10, 6, 7)),
        ("2026-07-01T12:00:00Z", datetime(2026, 7, 1, 12)),
        ("1990-01-01T00:00:00Z", datetime(1990, 1, 1)),
    ],
)
def test_start_date_is_a_date_or_date_time_in_utc_unless_it_says_otherwise(
    text: str, instant: datetime
) -> None:
    assert read(start_date=text).start_date == instant.replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "url",
    [
        "https://proxy.example.com/listrak?wsdl",
        "HTTPS://proxy.example.com/listrak?wsdl",
        "https://10.0.0.1:8443/",
        "http://localhost:8080/service?wsdl",
        "http://LOCALHOST/",
        "http://127.0.0.1:1/",
        "http://127.8.9.10/",
        "http://[::1]:8080/",
    ],
)
def test_https_goes_anywhere_and_http_to_this_machine_alone(url: str) -> None:
    assert read(wsdl_url=url).wsdl_url.lower() == url.lower()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("list_id", "5", "Ignored the unknown key `list_id` in {}. The nearest key is `list_ids`."),
        ("colour", None, "Ignored the unknown key `colour` in {}."),
        (
            "passwort",
            "other",
            "Ignored the unknown key `passwort` in {}. The nearest key is `password`.",
        ),
        # What may be a secret in the wrong place is not repeated.
        (PASSWORD, "password", "Ignored an unknown key in {}."),
        ("hunter", "password", "Ignored an unknown key in {}."),
        ("Pas5word", "", "Ignored an unknown key in {}. The nearest key is `password`."),
        (PASSWORD.split()[0], "5", "Ignored an unknown key in {}."),
        ("two\nlines", 5, "Ignored an unknown key in {}."),
    ],
)
def test_an_unknown_key_is_warned_of_with_the_nearest_key_but_no_secret(
    key: str, value: object, said: str, tap: Tap
) -> None:
    run = tap.run("--discover", config={key: value})
    assert run.code == 0
    (warning,) = run.lines("WARNING")
    assert warning == "WARNING " + said.format(tap.folder / "config.json")


def test_no_secret_is_in_the_words_for_a_config() -> None:
    assert SECRET not in repr(read())
    assert "robot" not in repr(read())


def test_the_sample_config_is_a_sound_one() -> None:
    sample = json.loads(Path(__file__).parents[1].joinpath("sample_config.json").read_text("utf-8"))
    config = parse_config(sample, NOW)
    assert config.wsdl_url == LISTRAK_WSDL
    assert set(sample) <= set(OPTIONS)


def test_the_service_is_called_at_the_address_of_the_wsdl_without_its_query(tap: Tap) -> None:
    paths = []

    def note(ask: Ask) -> Reply | None:
        paths.append((ask.operation, ask.path))
        return None

    tap.service.rules.append(note)
    tap.run("--discover", config={"wsdl_url": f" {tap.service.url}#part "})
    assert paths[:2] == [
        ("WSDL", "/v31/IntegrationService.asmx?wsdl"),
        ("GetContactListCollection", "/v31/IntegrationService.asmx"),
    ]


@pytest.mark.parametrize("given", [None, "nightly sync (data@example.com)"])
def test_the_service_sees_the_user_agent(given: str | None, tap: Tap) -> None:
    agents = set()

    def note(ask: Ask) -> Reply | None:
        agents.add(ask.headers["user-agent"])
        return None

    tap.service.rules.append(note)
    assert tap.run("--discover", config={"user_agent": given}).code == 0
    assert agents == {given or f"tap-listrak/{__version__}"}


def test_the_service_sees_the_user_name_and_password_as_they_are(tap: Tap) -> None:
    tap.run("--discover")
    assert {(ask.username, ask.password) for ask in tap.service.asked} == {(USERNAME, PASSWORD)}


@pytest.mark.parametrize("as_text", [False, True])
def test_only_the_lists_of_list_ids_are_synced(as_text: bool, make_tap: MakeTap) -> None:
    account = small(lists=3)
    first, second, third = sorted(int(str(row["ListID"])) for row in account.lists())
    wanted: Any = f"{first}, {third}" if as_text else [first, str(third)]
    tap = make_tap(account, {"start_date": "2026-04-01", "list_ids": wanted})
    run = tap.run(clock=now)
    assert run.code == 0
    assert not run.lines("WARNING")
    for stream in ("lists", "messages", "subscribed_contacts"):
        assert {record["ListID"] for record in run.records(stream)} == {first, third}
    assert str(second) not in {ask.arguments.get("ListID") for ask in tap.service.asked}


def test_a_list_that_is_not_there_is_warned_of(make_tap: MakeTap) -> None:
    account = small()
    known = int(str(account.lists()[0]["ListID"]))
    tap = make_tap(account, {"start_date": "2026-04-01", "list_ids": [known, 4711, 4712]})
    run = tap.run(clock=now)
    (warning,) = run.lines("WARNING")
    assert "4711" in warning
    assert "4712" in warning
    assert [record["ListID"] for record in run.records("lists")] == [known]
    found = tap.run("--discover", config={"list_ids": [4711, 4712]})
    assert (run.code, found.code) == (0, 0)
    assert found.lines("WARNING") == [warning]


def test_a_choice_of_lists_none_of_which_is_there_is_an_error(tap: Tap) -> None:
    run = tap.run(config={"list_ids": "4711"})
    assert run.code not in (0, 2)
    assert not run.of_type("RECORD")
    (line,) = run.lines("CRITICAL")
    assert "list_ids" in line


def test_strings_reach_the_requests_as_what_they_mean(make_tap: MakeTap) -> None:
    config = {
        "start_date": "2026-05-01T02:00:00+02:00",
        "interval_days": "40",
        "include_test_messages": "false",
        "timezone": "America/New_York",
    }
    tap = make_tap(small(lists=1), config)
    assert tap.run(clock=now).code == 0
    windows = sorted(
        tuple(ask.arguments[name] for name in ("StartDate", "EndDate", "IncludeTestMessages"))
        for ask in tap.service.asked
        if ask.operation == "ReportListMessageActivity"
    )
    assert windows == [
        ("2026-04-30T19:59:59", "2026-06-09T20:00:00", "false"),
        ("2026-06-09T19:59:59", "2026-07-01T08:00:00", "false"),
    ]


@pytest.mark.parametrize("count", ["1", "3"])
def test_concurrency_is_the_most_connections_there_are(count: str, make_tap: MakeTap) -> None:
    tap = make_tap(small(), {"start_date": "2026-04-01", "concurrency": count}, latency=0.002)
    assert tap.run(clock=now).code == 0
    assert 1 <= tap.service.connections <= int(count)


# In parts, from files and the environment.

SECRETS = {"TAP_LISTRAK_USERNAME": USERNAME, "TAP_LISTRAK_PASSWORD": PASSWORD}


@pytest.fixture
def agents(tap: Tap) -> list[str]:
    """The user agents that the service has seen: an option that tells where it came from."""
    seen: list[str] = []

    def note(ask: Ask) -> Reply | None:
        seen.append(ask.headers["user-agent"])
        return None

    tap.service.rules.append(note)
    return seen


def write(tap: Tap, name: str, content: dict[str, Any]) -> str:
    path = tap.folder / name
    path.write_text(json.dumps(content), "utf-8")
    return str(path)


def settings(tap: Tap, *left_out: str, **others: Any) -> dict[str, Any]:
    return {key: value for key, value in tap.config.items() if key not in left_out} | others


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


def test_later_configs_win_key_by_key(tap: Tap, agents: list[str], discover: Discover) -> None:
    first = write(tap, "1.json", {**tap.config, "user_agent": "first", "concurrency": "many"})
    second = write(tap, "2.json", {"user_agent": "second", "concurrency": 2})
    assert discover(first, second).code == 0
    assert set(agents) == {"second"}
    assert discover(second, first).code == 2


def test_the_secrets_may_be_in_the_environment_alone(tap: Tap, discover: Discover) -> None:
    path = write(tap, "config.json", settings(tap, "username", "password"))
    run = discover(path, "ENV", **SECRETS)
    assert run.code == 0
    assert {(ask.username, ask.password) for ask in tap.service.asked} == {(USERNAME, PASSWORD)}
    assert PASSWORD not in run.err
    # Without being asked to, the tap does not look there.
    assert discover(path, **SECRETS).code == 2


def test_the_environment_may_be_all_there_is(
    tap: Tap, agents: list[str], discover: Discover
) -> None:
    first, *_ = sorted(int(str(row["ListID"])) for row in tap.service.account.lists())
    given = settings(tap, list_ids=f"[{first}]", concurrency="2", user_agent="from a variable")
    run = discover("ENV", **{f"TAP_LISTRAK_{key.upper()}": value for key, value in given.items()})
    assert run.code == 0
    assert set(agents) == {"from a variable"}


@pytest.mark.parametrize(
    ("order", "agent"), [(("file", "ENV"), "from ENV"), (("ENV", "file"), "from a file")]
)
def test_the_environment_has_its_place_among_the_configs(
    tap: Tap, agents: list[str], order: tuple[str, ...], agent: str, discover: Discover
) -> None:
    path = write(tap, "config.json", settings(tap, user_agent="from a file"))
    configs = [path if each == "file" else each for each in order]
    assert discover(*configs, TAP_LISTRAK_USER_AGENT="from ENV").code == 0
    assert set(agents) == {agent}


def test_an_empty_variable_is_no_value(tap: Tap, agents: list[str], discover: Discover) -> None:
    path = write(tap, "config.json", settings(tap, user_agent="from a file"))
    assert discover(path, "ENV", TAP_LISTRAK_USER_AGENT="", TAP_LISTRAK_PASSWORD="").code == 0
    assert set(agents) == {"from a file"}


def test_unknown_variables_are_named_without_their_values(tap: Tap, discover: Discover) -> None:
    path = write(tap, "config.json", tap.config)
    run = discover(
        path,
        "ENV",
        TAP_LISTRAK_LIST_ID="a secret",
        TAP_LISTRAK_Password="a secret",
        TAP_LISTRAK__SELECT='["*.*"]',  # of Meltano
        TAP_LISTRAK_LOGLEVEL="INFO",
        TAP_LISTRAK_LOG_FORMAT="text",
    )
    assert run.code == 0
    assert run.lines("WARNING") == [
        "WARNING Ignored the unknown key `TAP_LISTRAK_LIST_ID` in ENV. The nearest key is "
        "`list_ids`.",
        "WARNING Ignored an unknown key in ENV. The nearest key is `password`.",
    ]


@pytest.mark.parametrize("key", ["password", "concurrency"])
def test_a_wrong_value_is_refused_with_its_key_and_its_variable(
    tap: Tap, key: str, discover: Discover
) -> None:
    path = write(tap, "config.json", tap.config)
    variable = f"TAP_LISTRAK_{key.upper()}"
    run = discover(path, "ENV", **{variable: "hunter2\n"})
    assert run.code == 2
    assert run.err.startswith(f"CRITICAL Invalid `{key}` in {variable}: must be ")
    assert "hunter2" not in run.err
    assert tap.service.connections == 0


def test_a_wrong_value_is_refused_with_the_file_that_overrides(
    tap: Tap, discover: Discover
) -> None:
    sound = write(tap, "sound.json", tap.config)
    wrong = write(tap, "wrong.json", {"concurrency": 0})
    run = discover(sound, wrong)
    assert run.err == f"CRITICAL Invalid `concurrency` in {wrong}: must be 1 to 32.\n"


def test_a_key_that_is_nowhere_is_named_with_its_variable(tap: Tap, discover: Discover) -> None:
    for key in REQUIRED:
        run = discover(write(tap, "config.json", settings(tap, key)), "ENV")
        assert run.code == 2
        (line,) = run.err.splitlines()
        assert line.startswith(f"CRITICAL Missing `{key}`: ")
        assert f"set TAP_LISTRAK_{key.upper()}" in line


@pytest.mark.parametrize("text", ["[]", "null", "5", '"text"'])
def test_of_several_files_the_one_without_an_object_is_named(
    tap: Tap, text: str, discover: Discover
) -> None:
    sound, other = write(tap, "config.json", tap.config), tap.folder / "other.json"
    other.write_text(text, "utf-8")
    run = discover(sound, str(other))
    assert run.code == 2
    assert run.err == f"CRITICAL Invalid config file {other}: must be a JSON object; see --help.\n"
