"""The DAGs in examples/airflow, run by Airflow into a real database, one task for each list."""

import json
import os
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from fake_listrak import Ask, ListrakService
from tests.integration.environments import EXAMPLES, environment, tap_environment
from tests.integration.postgres import Postgres
from tests.integration.rows import START, due_of, grow, hard_account, keys
from tests.integration.sync import once_at_page
from tests.integration.targets import MeltanoPostgres
from tests.support.accounts import list_ids
from tests.support.published import COLUMNS, KEYS
from tests.support.records import keys_held
from tests.support.runs import pages
from tests.support.tap import PASSWORD, USERNAME

COME_WHOLE = {"lists", "messages"}
SECONDS = 300  # more than anything here takes
# For airflow_local_settings.py, which may change tasks: no test is to wait five minutes.
RETRY_SOON = """\
from datetime import timedelta

def task_policy(task):
    task.retry_delay = timedelta(seconds=1)
"""


@dataclass
class Airflow:
    """An Airflow of a test's own, set up as the DAG's docstring says."""

    service: ListrakService
    target: MeltanoPostgres
    folder: Path

    def __post_init__(self) -> None:
        self.kept = self.folder / "kept"

    @property
    def tasks(self) -> list[str]:
        """The tasks of the DAG: one for the lists, and one for each of them."""
        return ["lists", *map(str, list_ids(self.service.account))]

    @property
    def options(self) -> dict[str, Any]:
        """What the tap's config holds beside the login: one call at a time keeps them in order."""
        return {"start_date": START, "wsdl_url": self.service.url, "concurrency": 1}

    def command(self, *arguments: str, password: str = PASSWORD) -> None:
        """Run a command of Airflow's to its end, whatever that is; its output goes to `log`."""
        database = self.target.postgres
        listrak = {"conn_type": "generic", "login": USERNAME, "password": password}
        listrak_postgres = {
            "conn_type": "postgres",
            "host": database.host,
            "port": database.port,
            "login": database.user,
            "password": database.password,
            "schema": database.database,
        }
        given = {
            "AIRFLOW_HOME": self.folder / "airflow",
            "AIRFLOW__CORE__DAGS_FOLDER": self.folder / "dags",
            "AIRFLOW__CORE__LOAD_EXAMPLES": False,
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": False,
            "AIRFLOW_CONN_LISTRAK": json.dumps({**listrak, "extra": self.options}),
            "AIRFLOW_CONN_LISTRAK_POSTGRES": json.dumps(listrak_postgres),
            "AIRFLOW_VAR_LISTRAK_HOME": self.folder / "home",
            "AIRFLOW_VAR_LISTRAK_KEPT": self.kept,
        }
        with (self.folder / "log").open("a", encoding="utf-8") as log:
            subprocess.run(
                [environment("airflow") / "airflow", *arguments],
                env={**os.environ, **{name: str(value) for name, value in given.items()}},
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=SECONDS,
            )

    def run(
        self, dag: str = "listrak", *more: str, password: str = PASSWORD
    ) -> dict[str, tuple[str, int]]:
        """Run a DAG once; give how each task ended, and at which try: those of lists by ListID.

        It is Airflow's own loop that runs the tasks, one by one, and tries them again.
        """
        self.command("dags", "test", dag, *more, password=password)
        print((self.folder / "log").read_text("utf-8")[-20_000:])
        with closing(sqlite3.connect(self.folder / "airflow/airflow.db")) as known:
            found = known.execute(
                "SELECT coalesce(rendered_map_index, task_id), state, try_number FROM task_instance"
                " WHERE run_id = (SELECT run_id FROM dag_run ORDER BY id DESC LIMIT 1)"
            )
            return {name: (state, number) for name, state, number in found}

    def run_unsplit(self, schema: str) -> None:
        """Sync all lists in one run of the tap, into another schema."""
        configs = self.folder / "unsplit"
        configs.mkdir()
        config = {"username": USERNAME, "password": PASSWORD, **self.options}
        target = {**self.target.config(), "default_target_schema": schema}
        for name, content in (("config", config), ("target", target)):
            (configs / f"{name}.json").write_text(json.dumps(content), "utf-8")
        sync = self.folder / "home/sync.sh"
        subprocess.run([sync, configs, configs / "kept"], check=True, timeout=SECONDS)

    def assert_complete(self, schema: str) -> None:
        """The tables hold the account's rows, one for each key, and nothing else."""
        self.target.schema = schema
        due = due_of(self.service.account, COLUMNS, {})
        for table, rows in self.target.tables(COLUMNS).items():
            assert rows <= due[table]
            assert keys(rows, KEYS[table]) == Counter(set(keys(due[table], KEYS[table])))

    def came_since(self, moment: datetime) -> dict[str, set[tuple[Any, ...]]]:
        """By table, the keys of the rows that the tasks have stored since then."""
        columns = {table: ", ".join(f'"{name}"' for name in key) for table, key in KEYS.items()}
        where = f"_sdc_received_at >= '{moment:%Y-%m-%d %H:%M:%S.%f}'"
        return {
            table: {
                tuple(row.values())
                for row in self.target.ask(f"SELECT {key} FROM listrak.{table} WHERE {where}")
            }
            for table, key in columns.items()
        }


@pytest.fixture
def airflow(tmp_path: Path, postgres: Postgres) -> Iterator[Airflow]:
    """An Airflow with the DAG, and an account."""
    for each in ("airflow/config", "dags", "home"):
        (tmp_path / each).mkdir(parents=True)
    (tmp_path / "airflow/config/airflow_local_settings.py").write_text(RETRY_SOON, "utf-8")
    shutil.copy(EXAMPLES / "airflow/listrak.py", tmp_path / "dags")
    shutil.copy(EXAMPLES / "sync.sh", tmp_path / "home")
    (tmp_path / "home/tap").symlink_to(tap_environment().parent)
    (tmp_path / "home/target").symlink_to(environment(MeltanoPostgres.package).parent)
    with ListrakService(hard_account(), USERNAME, PASSWORD) as service:
        airflow = Airflow(service, MeltanoPostgres(tmp_path, postgres), tmp_path)
        airflow.command("db", "migrate")
        yield airflow


def test_tasks_of_lists_give_what_one_run_gives_and_the_next_what_is_new(airflow: Airflow) -> None:
    account = airflow.service.account
    assert airflow.run() == dict.fromkeys(airflow.tasks, ("success", 1))
    airflow.assert_complete("listrak")
    airflow.run_unsplit("unsplit")
    airflow.assert_complete("unsplit")
    for ListID in list_ids(account):
        state = json.loads((airflow.kept / str(ListID) / "state.json").read_text("utf-8"))
        assert state["bookmarks"]["message_opens"]["covers"][0]["list_ids"] == [ListID]

    before, began = keys_held(account), datetime.now(timezone.utc)
    grow(account)
    assert airflow.run() == dict.fromkeys(airflow.tasks, ("success", 1))
    airflow.assert_complete("listrak")
    assert airflow.came_since(began) == {
        table: set(held if table in COME_WHOLE else held - before[table])
        for table, held in keys_held(account).items()
    }
    for file in (airflow.folder / "log", *(airflow.folder / "airflow").rglob("*")):
        content = file.read_bytes() if file.is_file() else b""
        for password in (PASSWORD, airflow.target.postgres.password):
            assert password.encode() not in content, file


def test_a_list_whose_sync_breaks_off_resumes_where_it_stopped_if_retried(airflow: Airflow) -> None:
    broken = list_ids(airflow.service.account)[1]
    messages = {str(each["MsgID"]) for each in airflow.service.account.messages(broken)}

    def is_its(ask: Ask) -> bool:
        return ask.arguments.get("MsgID") in messages

    airflow.service.rules.append(once_at_page(25, is_its))
    ended = dict.fromkeys(airflow.tasks, ("success", 1)) | {str(broken): ("success", 2)}
    assert airflow.run() == ended
    asked = pages(filter(is_its, airflow.service.asked))
    # The page that failed, and the one before it.
    assert set(asked[:25]) & set(asked[25:]) <= set(asked[23:25])
    airflow.assert_complete("listrak")


def test_a_backfill_of_each_quarter_of_each_list_gives_what_one_run_gives(airflow: Airflow) -> None:
    dates = json.dumps({"since": "2025-01-01", "until": "2026-01-10"})
    ended = airflow.run("listrak_backfill", "--conf", dates)
    firsts = ("2025-01-01", "2025-04-01", "2025-07-01", "2025-10-01", "2026-01-01")
    loads = [f"{list_id} {first}" for list_id in airflow.tasks[1:] for first in firsts]
    assert ended == dict.fromkeys(["lists", "quarters", *loads], ("success", 1))
    airflow.assert_complete("listrak")
    assert not airflow.kept.exists()  # no state


def test_a_refusal_is_not_retried(airflow: Airflow) -> None:
    assert airflow.run(password="wrong")["lists"] == ("failed", 1)
    assert airflow.service.failed_logins == 1
