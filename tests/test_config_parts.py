"""The config may come in parts, from several files and the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fake_listrak import Ask, Reply
from tests.support.tap import PASSWORD, USERNAME, Run, Tap

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


def discover(*configs: str, **variables: str) -> Run:
    """Discover in a process, with just these configs and these variables of the tap's."""
    given = {name: value for name, value in os.environ.items() if "LISTRAK" not in name}
    command = [sys.executable, "-m", "tap_listrak", "--discover"]
    for config in configs:
        command += ["--config", config]
    ended = subprocess.run(
        command, env={**given, **variables}, capture_output=True, text=True, check=False
    )
    return Run(ended.returncode, ended.stdout, ended.stderr)


def test_later_configs_win_key_by_key(tap: Tap, agents: list[str]) -> None:
    first = write(tap, "1.json", {**tap.config, "user_agent": "first", "concurrency": "many"})
    second = write(tap, "2.json", {"user_agent": "second", "concurrency": 2})
    assert discover(first, second).code == 0
    assert set(agents) == {"second"}
    assert discover(second, first).code == 2


def test_the_secrets_may_stand_in_the_environment_alone(tap: Tap) -> None:
    path = write(tap, "config.json", settings(tap, "username", "password"))
    run = discover(path, "ENV", **SECRETS)
    assert run.code == 0
    assert {(ask.username, ask.password) for ask in tap.service.asked} == {(USERNAME, PASSWORD)}
    assert PASSWORD not in run.err
    # Without being asked to, the tap does not look there.
    assert discover(path, **SECRETS).code == 2


def test_the_environment_may_be_all_there_is(tap: Tap, agents: list[str]) -> None:
    first, *_ = sorted(int(str(row["ListID"])) for row in tap.service.account.lists())
    given = settings(tap, list_ids=f"[{first}]", concurrency="2", user_agent="from a variable")
    run = discover("ENV", **{f"TAP_LISTRAK_{key.upper()}": value for key, value in given.items()})
    assert run.code == 0
    assert set(agents) == {"from a variable"}


@pytest.mark.parametrize(
    ("order", "agent"), [(("file", "ENV"), "from ENV"), (("ENV", "file"), "from a file")]
)
def test_the_environment_has_its_place_among_the_configs(
    tap: Tap, agents: list[str], order: tuple[str, ...], agent: str
) -> None:
    path = write(tap, "config.json", settings(tap, user_agent="from a file"))
    configs = [path if each == "file" else each for each in order]
    assert discover(*configs, TAP_LISTRAK_USER_AGENT="from ENV").code == 0
    assert set(agents) == {agent}


def test_an_empty_variable_is_no_value(tap: Tap, agents: list[str]) -> None:
    path = write(tap, "config.json", settings(tap, user_agent="from a file"))
    assert discover(path, "ENV", TAP_LISTRAK_USER_AGENT="", TAP_LISTRAK_PASSWORD="").code == 0
    assert set(agents) == {"from a file"}


def test_variables_that_are_no_keys_are_named_without_their_values_save_those_of_the_log(
    tap: Tap,
) -> None:
    path = write(tap, "config.json", tap.config)
    run = discover(
        path,
        "ENV",
        TAP_LISTRAK_LIST_ID="a secret",
        TAP_LISTRAK_Password="a secret",
        TAP_LISTRAK_LOGLEVEL="INFO",
        TAP_LISTRAK_LOG_FORMAT="text",
    )
    assert run.code == 0
    assert "not this tap's, ignored: TAP_LISTRAK_LIST_ID, TAP_LISTRAK_Password.\n" in run.err
    assert "a secret" not in run.err


@pytest.mark.parametrize("key", ["password", "concurrency"])
def test_a_wrong_value_is_refused_with_its_key_and_its_variable(tap: Tap, key: str) -> None:
    path = write(tap, "config.json", tap.config)
    variable = f"TAP_LISTRAK_{key.upper()}"
    run = discover(path, "ENV", **{variable: "hunter2\n"})
    assert run.code == 2
    (line,) = run.err.splitlines()
    assert f"`{key}`" in line
    assert f"the variable {variable} holds something else" in line
    assert "hunter2" not in line
    assert tap.service.connections == 0


def test_a_wrong_value_is_refused_with_its_key_and_the_file_that_won(tap: Tap) -> None:
    sound = write(tap, "sound.json", tap.config)
    wrong = write(tap, "wrong.json", {"concurrency": 0})
    run = discover(sound, wrong)
    assert run.code == 2
    (line,) = run.err.splitlines()
    assert "`concurrency`" in line
    assert f"the file {wrong} holds something else" in line


def test_a_key_that_is_nowhere_is_named_with_its_variable(tap: Tap) -> None:
    path = write(tap, "config.json", settings(tap, "password"))
    run = discover(path, "ENV")
    assert run.code == 2
    (line,) = run.err.splitlines()
    assert "lacks `password`" in line
    assert "TAP_LISTRAK_PASSWORD" in line


def test_of_several_files_the_one_without_an_object_is_named(tap: Tap, tmp_path: Path) -> None:
    sound, other = write(tap, "config.json", tap.config), tmp_path / "other.json"
    other.write_text("[]", "utf-8")
    run = discover(sound, str(other))
    assert run.code == 2
    (line,) = run.err.splitlines()
    assert str(other) in line
