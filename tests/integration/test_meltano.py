"""The repository's meltano.yml, unchanged, is a project that Meltano installs and runs."""

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from fake_listrak import OPERATIONS, Account, ListrakService, fault
from fake_listrak.contract import MESSAGE_OPERATIONS
from tap_listrak import __version__
from tap_listrak.config import OPTIONS
from tap_listrak.streams import BY_NAME, PUBLISHED
from tests.integration.environments import ROOT, environment
from tests.integration.postgres import Postgres
from tests.integration.rows import account_of_2025
from tests.support.accounts import list_ids
from tests.support.records import keys_held

# What environments and YAML could garble.
PASSWORD = "correct $HOME & <battery> \"$$\" 'é'"
Keys = dict[str, Counter[tuple[Any, ...]]]
ADDED = ("name", "capabilities", "settings", "settings_group_validation")
NEW = 9_000_001  # the MsgID of a message that comes later


@dataclass
class Project:
    """A Meltano project whose state and output are this test's own, with an account to sync."""

    folder: Path
    own: Path
    account: Account
    service: ListrakService
    postgres: Postgres

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run meltano with these arguments, and with settings of the tap beside the usual ones."""
        given = {
            "username": self.service.username,
            "password": PASSWORD,
            "start_date": "2025-01-01",
            "wsdl_url": self.service.url,
            **settings,
        }
        there = asdict(self.postgres)
        env = {
            **os.environ,
            **{f"TAP_LISTRAK_{name.upper()}": value for name, value in given.items()},
            "TARGET_JSONL_DESTINATION_PATH": str(self.own / "output"),
            **{f"TARGET_POSTGRES_{key.upper()}": str(value) for key, value in there.items()},
            "MELTANO_DATABASE_URI": f"sqlite:///{self.own}/meltano.db",
        }
        command = [str(environment("meltano") / "meltano"), *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=300
        )

    def output_of(self, *arguments: str, **settings: str) -> str:
        """Run meltano, which must succeed, and give what it printed."""
        ended = self.run(*arguments, **settings)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def records(self, *flags: str, **settings: str) -> dict[str, list[dict[str, Any]]]:
        """Sync into files of JSON lines, and give what came in this run, by table."""
        shutil.rmtree(self.own / "output", ignore_errors=True)
        self.output_of("run", *flags, "tap-listrak", "target-jsonl", **settings)
        return {
            path.stem: [json.loads(line) for line in path.open(encoding="utf-8")]
            for path in (self.own / "output").iterdir()
        }

    def rows(self) -> Keys:
        """The key of each row in the database, by table."""
        return {
            stream.name: Counter(
                tuple(row[column] for column in stream.key_properties)
                for row in self.postgres.rows(f"SELECT * FROM listrak.{stream.name}")
            )
            for stream in PUBLISHED
        }

    def grow(self) -> None:
        """Have something new happen: a message, a contact, and events of old and new messages."""
        ListID, *_ = list_ids(self.account)
        old = int(str(self.account.messages(ListID)[0]["MsgID"]))
        just_now = datetime.now(timezone.utc) - timedelta(minutes=1)
        self.account.add_message(ListID, NEW, just_now)
        self.account.add_contact(ListID, "new@example.com", just_now)
        for name in MESSAGE_OPERATIONS:
            # Sends have no date: one of an old message would never be requested.
            for MsgID in (old, NEW) if OPERATIONS[name].date else (NEW,):
                self.account.add_event(name, MsgID, "new@example.com", just_now)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout in which `meltano install` has run."""
    folder = tmp_path_factory.mktemp("meltano")
    for name in ("meltano.yml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "tap_listrak", folder / "tap_listrak")
    meltano = environment("meltano") / "meltano"
    subprocess.run([meltano, "install"], cwd=folder, check=True)
    return folder


@pytest.fixture
def project(installed: Path, tmp_path: Path, postgres: Postgres) -> Iterator[Project]:
    shutil.copy(ROOT / "meltano.yml", installed)
    account = account_of_2025(lists=2, messages=4, contacts=25, sends=15)
    with ListrakService(account, password=PASSWORD) as service:
        yield Project(installed, tmp_path, account, service, postgres)


def keys(records: dict[str, list[dict[str, Any]]]) -> Keys:
    return {
        name: Counter(tuple(row[column] for column in BY_NAME[name].key_properties) for row in rows)
        for name, rows in records.items()
    }


def test_meltano_adds_the_tap_by_the_definition_for_the_hub(tmp_path: Path) -> None:
    (tmp_path / "meltano.yml").write_text("send_anonymous_usage_stats: false\n", "utf-8")
    definition = ROOT / "hub/tap-listrak.yml"
    subprocess.run(
        [
            *(environment("meltano") / "meltano", "add", "--no-install"),
            *("--plugin-type", "extractor", "--from-ref", definition, "tap-listrak"),
        ],
        cwd=tmp_path,
        check=True,
        timeout=300,
    )
    project = yaml.safe_load((tmp_path / "meltano.yml").read_text("utf-8"))
    (added,) = project["plugins"]["extractors"]
    described = yaml.safe_load(definition.read_text("utf-8"))
    assert {key: added[key] for key in ADDED} == {key: described[key] for key in ADDED}


def test_meltano_passes_flags_and_the_log_level_to_the_tap(project: Project) -> None:
    invoke = ("invoke", "tap-listrak")
    assert project.output_of(*invoke, "--version") == f"tap-listrak {__version__}\n"
    about = json.loads(project.output_of(*invoke, "--about", "--format=json"))
    assert list(about["settings"]["properties"]) == list(OPTIONS)
    told = project.run(*invoke, "--discover")
    assert [each["stream"] for each in json.loads(told.stdout)["streams"]] == list(BY_NAME)
    assert "Logged in to Listrak" in told.stderr
    told = project.run(*invoke, "--discover", loglevel="WARNING")
    assert "Logged in to Listrak" not in told.stderr


def test_meltano_finds_the_configuration_valid(project: Project) -> None:
    assert "Plugin configuration is valid" in project.output_of("config", "test", "tap-listrak")


def test_the_test_of_the_tap_requests_each_selected_stream(project: Project) -> None:
    ended = project.run("invoke", "tap-listrak", "--test")
    assert (ended.returncode, ended.stdout) == (0, "")
    # Until Meltano has discovered it passes no catalog, and each stream is requested.
    found = re.search(r"All (\d+) streams succeeded", ended.stderr)
    assert found
    assert int(found[1]) in (len(PUBLISHED), len(BY_NAME))


def test_settings_reach_the_tap_as_what_they_are(project: Project) -> None:
    *_, ListID = list_ids(project.account)
    MsgIDs = {int(str(row["MsgID"])) for row in project.account.messages(ListID)}
    project.account.add_message(ListID, NEW, datetime(2025, 6, 1), test=True)
    came = project.records(list_ids=f"[{ListID}]", include_test_messages="false", concurrency="2")
    assert {row["ListID"] for row in came["lists"]} == {ListID}
    assert {row["MsgID"] for row in came["messages"]} == MsgIDs


def test_each_line_has_its_own_level_and_fields_in_meltano_s_log(project: Project) -> None:
    ListID, *_ = list_ids(project.account)
    bad = str(project.account.messages(ListID)[0]["MsgID"])
    refusal = fault("Op(): [Message] [Damaged] No data")
    opens = BY_NAME["message_opens"].operation
    project.service.rules.append(
        lambda ask: refusal if (ask.operation, ask.arguments.get("MsgID")) == (opens, bad) else None
    )
    ended = project.run("--log-format=json", "run", "tap-listrak", "target-jsonl")
    assert ended.returncode == 0
    lines = [json.loads(line) for line in ended.stderr.rstrip("\n").split("\n")]
    of_tap = [line for line in lines if line.get("name") == "tap-listrak"]
    warnings = [line["event"] for line in of_tap if line["level"] == "warning"]
    assert any("set aside" in event.lower() and bad in event for event in warnings)
    assert {line["plugin_logger"].split(".")[0] for line in of_tap} == {"tap_listrak"}
    counts = [line["metric_info"] for line in of_tap if "metric_info" in line]
    assert {count["metric"] for count in counts} >= {"record_count"}


def test_a_second_run_brings_what_is_new_and_a_full_refresh_everything(project: Project) -> None:
    before = keys_held(project.account)
    assert keys(project.records()) == before
    project.grow()
    held = keys_held(project.account)
    assert keys(project.records()) == {
        name: rows if name in ("lists", "messages") else rows - before[name]
        for name, rows in held.items()
    }
    state_id = "dev:tap-listrak-to-target-jsonl"
    assert project.output_of("state", "list").split() == [state_id]
    state = json.loads(project.output_of("state", "get", state_id))["singer_state"]
    assert state["bookmarks"].keys() == {each.name for each in PUBLISHED if each.replication_key}
    assert keys(project.records("--full-refresh")) == held


def test_a_database_holds_the_account_after_two_runs(project: Project) -> None:
    project.output_of("run", "tap-listrak", "target-postgres")
    project.grow()
    project.output_of("run", "tap-listrak", "target-postgres")
    held = keys_held(project.account)
    assert project.rows() == {name: Counter(set(rows)) for name, rows in held.items()}


def test_nothing_comes_but_what_is_selected(project: Project) -> None:
    select = ("select", "tap-listrak")
    project.output_of(*select, "--clear")
    project.output_of(*select, "message_clicks", "*")
    project.output_of(*select, "--exclude", "message_clicks", "LinkDescription")
    came = project.records()
    assert keys(came) == {"message_clicks": keys_held(project.account)["message_clicks"]}
    columns = {column for row in came["message_clicks"] for column in row}
    assert columns == {"MsgID", "EmailAddress", "ContactID", "ClickDate", "LinkUrl"}


def test_a_wrong_password_fails_the_run_once_and_is_shown_nowhere(project: Project) -> None:
    ended = project.run(
        "--log-level=debug", "run", "tap-listrak", "target-jsonl", password="wrong-one"
    )
    assert ended.returncode == 1
    assert "Listrak refused the user name or password" in ended.stderr
    assert project.service.failed_logins == 1
    assert "wrong-one" not in ended.stdout + ended.stderr
    kept = [*project.own.rglob("*"), *project.folder.glob(".meltano/run/**/*")]
    assert not [path for path in kept if path.is_file() and b"wrong-one" in path.read_bytes()]
