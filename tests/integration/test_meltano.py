"""The repository's meltano.yml, unchanged, is a project that Meltano installs and runs."""

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from fake_listrak import ListrakService
from tap_listrak.streams import BY_NAME
from tests.integration.account import account_of_2025, assert_stored, grow, key_of, next_keys
from tests.integration.environments import NO_SOURCE, ROOT, environment
from tests.integration.targets import Postgres
from tests.support.accounts import list_ids
from tests.support.records import Keys, keys_held

# What environments and YAML could garble.
PASSWORD = "correct $HOME & <battery> \"$$\" 'é'"


@dataclass
class Project:
    """A Meltano project whose state and output are this test's own, with an account to sync."""

    folder: Path
    own: Path
    service: ListrakService
    postgres: Postgres

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run meltano, which must succeed, with settings of the tap beside the usual ones."""
        login = {"username": self.service.username, "password": PASSWORD}
        given = {**login, "start_date": "2025-01-01", "wsdl_url": self.service.url, **settings}
        variables = {f"TAP_LISTRAK_{name.upper()}": value for name, value in given.items()}
        for name, value in asdict(self.postgres).items():
            variables[f"TARGET_POSTGRES_{name.upper()}"] = str(value)
        variables["TARGET_JSONL_DESTINATION_PATH"] = str(self.own / "output")
        variables["MELTANO_DATABASE_URI"] = f"sqlite:///{self.own}/meltano.db"
        ended = subprocess.run(
            [str(environment("meltano") / "meltano"), "--log-format=json", *arguments],
            cwd=self.folder,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended

    def sync(self, *flags: str, **settings: str) -> tuple[dict[str, list[dict[str, Any]]], str]:
        """Sync into files of JSON lines; return what came in this run, by table, and the log."""
        shutil.rmtree(self.own / "output", ignore_errors=True)
        log = self.run("run", *flags, "tap-listrak", "target-jsonl", **settings).stderr
        files = (self.own / "output").iterdir()
        return {path.stem: [*map(json.loads, path.open(encoding="utf-8"))] for path in files}, log

    def keys(self) -> Keys:
        """Sync, and return the keys of what came in this run."""
        came = self.sync()[0].items()
        return {table: Counter(key_of(table, row) for row in rows) for table, rows in came}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout in which `meltano install` has run."""
    folder = tmp_path_factory.mktemp("meltano")
    ignored = shutil.ignore_patterns(*NO_SOURCE)
    shutil.copytree(ROOT, folder, ignore=ignored, dirs_exist_ok=True)
    subprocess.run([environment("meltano") / "meltano", "install"], cwd=folder, check=True)
    return folder


@pytest.fixture
def project(installed: Path, tmp_path: Path, postgres: Postgres) -> Iterator[Project]:
    shutil.copy(ROOT / "meltano.yml", installed)
    account = account_of_2025(lists=2, messages=4, contacts=25, sends=15)
    with ListrakService(account, password=PASSWORD) as service:
        yield Project(installed, tmp_path, service, postgres)


def test_meltano_passes_flags_and_the_log_level_to_the_tap(project: Project) -> None:
    invoke = ("invoke", "tap-listrak")
    ended = project.run(*invoke, "--test")
    assert ended.stdout == ""
    assert "streams succeeded" in ended.stderr
    assert '"plugin_logger": "tap_listrak' in ended.stderr
    ended = project.run(*invoke, "--discover", loglevel="WARNING")
    assert [each["stream"] for each in json.loads(ended.stdout)["streams"]] == list(BY_NAME)
    assert '"plugin_logger": "tap_listrak' not in ended.stderr


def test_settings_and_the_selection_reach_the_tap_and_its_levels_the_log(project: Project) -> None:
    account = project.service.account
    *_, ListID = list_ids(account)
    MsgIDs = {int(str(row["MsgID"])) for row in account.messages(ListID)}
    account.add_message(ListID, 9_000_001, "2025-06-01T00:00:00", test=True)
    settings = {"list_ids": f"[{ListID}, 7]", "include_test_messages": "false", "concurrency": "2"}
    came, log = project.sync(**settings)
    assert {row["ListID"] for row in came["lists"]} == {ListID}
    assert {row["MsgID"] for row in came["messages"]} == MsgIDs
    lines = [json.loads(line) for line in log.rstrip("\n").split("\n")]
    of_tap = [line for line in lines if line.get("name") == "tap-listrak"]
    (warning,) = {line["event"] for line in of_tap if line["level"] == "warning"}
    assert "list_ids" in warning
    assert {line["plugin_logger"].split(".")[0] for line in of_tap} == {"tap_listrak"}
    assert any(line.get("metric_info", {}).get("metric") == "record_count" for line in of_tap)
    select = ("select", "tap-listrak")
    project.run(*select, "--clear")
    project.run(*select, "message_clicks", "*")
    project.run(*select, "--exclude", "message_clicks", "LinkDescription")
    came, _ = project.sync("--full-refresh", **settings)
    assert came.keys() == {"message_clicks"}
    columns = {column for row in came["message_clicks"] for column in row}
    assert columns == {"MsgID", "EmailAddress", "ContactID", "ClickDate", "LinkUrl"}


def test_a_second_run_brings_what_is_new_and_a_database_holds_everything(project: Project) -> None:
    account = project.service.account
    before = keys_held(account)
    assert project.keys() == before
    grow(account)
    assert project.keys() == next_keys(account, before)
    project.run("run", "tap-listrak", "target-postgres")
    assert_stored(project.postgres, account)
