"""The DAGs in examples/airflow, run by Airflow into a real database, one task for each list."""

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from fake_listrak import Ask, ListrakService, Reply, redirect
from tests.integration.account import SECONDS, START, assert_stored, grow, hard_account
from tests.integration.environments import EXAMPLES, environment, tap_environment
from tests.integration.targets import MeltanoPostgres, Postgres
from tests.support.accounts import list_ids
from tests.support.runs import is_page, pages, starts
from tests.support.tap import PASSWORD, USERNAME

# For airflow_local_settings.py, which may change tasks: no test is to wait five minutes.
RETRY_SOON = """
from datetime import timedelta
def task_policy(task):
    task.retry_delay = timedelta(seconds=1)
"""


@dataclass
class Airflow:
    """An Airflow of a test's own, set up as the DAG's docstring says."""

    service: ListrakService
    database: Postgres
    folder: Path

    @property
    def tasks(self) -> list[str]:
        """The tasks of the DAG: one for the lists, and one for each of them."""
        return ["lists", *map(str, list_ids(self.service.account))]

    def command(self, *arguments: str, password: str = PASSWORD) -> None:
        """Run a command of Airflow's to its end, whatever that is; its output goes to `log`."""
        there = self.database
        target = {"host": there.host, "port": there.port, "schema": there.database}
        target |= {"login": there.user, "password": there.password}
        # One call at a time keeps them in order.
        options = {"start_date": START, "wsdl_url": self.service.url, "concurrency": 1}
        listrak = {"login": USERNAME, "password": password, "extra": options}
        given = {
            "AIRFLOW_HOME": self.folder / "airflow",
            "AIRFLOW__CORE__DAGS_FOLDER": self.folder / "dags",
            "AIRFLOW__CORE__LOAD_EXAMPLES": False,
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": False,
            "AIRFLOW_CONN_LISTRAK": json.dumps({"conn_type": "generic", **listrak}),
            "AIRFLOW_CONN_LISTRAK_POSTGRES": json.dumps({"conn_type": "postgres", **target}),
            "AIRFLOW_VAR_LISTRAK_HOME": self.folder / "home",
            "AIRFLOW_VAR_LISTRAK_KEPT": self.folder / "kept",
        }
        command = [str(environment("airflow") / "airflow"), *arguments]
        env = {**os.environ, **{name: str(value) for name, value in given.items()}}
        with (self.folder / "log").open("a", encoding="utf-8") as log:
            subprocess.run(command, env=env, stdout=log, stderr=log, check=False, timeout=SECONDS)

    def run(self, *dag: str, **given: str) -> dict[str, tuple[str, int]]:
        """Run a DAG once; return how each task ended, and at which try: those of lists by ListID.

        It is Airflow's own loop that runs the tasks, one by one, and retries them.
        """
        self.service.asked.clear()
        self.command("dags", "test", *dag, **given)
        print((self.folder / "log").read_text("utf-8")[-20_000:])
        with closing(sqlite3.connect(self.folder / "airflow/airflow.db")) as known:
            found = known.execute(
                "SELECT coalesce(rendered_map_index, task_id), state, try_number FROM task_instance"
                " WHERE run_id = (SELECT run_id FROM dag_run ORDER BY id DESC LIMIT 1)"
            )
            return {name: (state, number) for name, state, number in found}


@pytest.fixture
def airflow(tmp_path: Path, folder: Path, postgres: Postgres) -> Iterator[Airflow]:
    """An Airflow with the DAG, and an account."""
    for each in ("airflow/config", "dags", "home"):
        (tmp_path / each).mkdir(parents=True)
    (tmp_path / "airflow/config/airflow_local_settings.py").write_text(RETRY_SOON, "utf-8")
    shutil.copy(EXAMPLES / "airflow/listrak.py", tmp_path / "dags")
    shutil.copy(EXAMPLES / "sync.sh", tmp_path / "home")
    (tmp_path / "home/tap").symlink_to(tap_environment().parent)
    (tmp_path / "home/target").symlink_to(environment(MeltanoPostgres.package).parent)
    with ListrakService(hard_account(), USERNAME, PASSWORD) as service:
        airflow = Airflow(service, MeltanoPostgres(folder, postgres).postgres, tmp_path)
        airflow.command("db", "migrate")
        yield airflow


def test_tasks_of_lists_give_what_one_run_gives_and_the_next_what_is_new(airflow: Airflow) -> None:
    account = airflow.service.account
    assert airflow.run("listrak") == dict.fromkeys(airflow.tasks, ("success", 1))
    assert_stored(airflow.database, airflow.service.account)
    for ListID in list_ids(account):
        state = json.loads((airflow.folder / f"kept/{ListID}/state.json").read_text("utf-8"))
        assert state["bookmarks"]["message_opens"]["covers"][0]["list_ids"] == [ListID]
    grow(account)
    assert airflow.run("listrak") == dict.fromkeys(airflow.tasks, ("success", 1))
    assert_stored(airflow.database, airflow.service.account)
    assert min(starts(airflow.service.asked)) > START
    written = (airflow.folder / "log", *(airflow.folder / "airflow").rglob("*"))
    for content in (file.read_bytes() for file in written if file.is_file()):
        assert PASSWORD.encode() not in content
        assert airflow.database.password.encode() not in content


def test_a_list_whose_sync_breaks_off_resumes_where_it_stopped_if_retried(airflow: Airflow) -> None:
    account, number = airflow.service.account, count(1)
    broken = list_ids(account)[1]
    messages = {str(each["MsgID"]) for each in account.messages(broken)}

    def is_its(ask: Ask) -> bool:
        return is_page(ask) and ask.arguments.get("MsgID") in messages

    def break_off(ask: Ask) -> Reply | None:
        return redirect("http://127.0.0.1:9/") if is_its(ask) and next(number) == 25 else None

    airflow.service.rules.append(break_off)
    ended = dict.fromkeys(airflow.tasks, ("success", 1)) | {str(broken): ("success", 2)}
    assert airflow.run("listrak") == ended
    asked = pages(filter(is_its, airflow.service.asked))
    # The page that failed, and the one before it.
    assert set(asked[:25]) & set(asked[25:]) <= set(asked[23:25])
    assert_stored(airflow.database, account)


def test_a_backfill_of_each_quarter_of_each_list_gives_what_one_run_gives(airflow: Airflow) -> None:
    dates = json.dumps({"since": "2025-01-01", "until": "2026-01-10"})
    ended = airflow.run("listrak_backfill", "--conf", dates)
    firsts = ("2025-01-01", "2025-04-01", "2025-07-01", "2025-10-01", "2026-01-01")
    loads = [f"{list_id} {first}" for list_id in airflow.tasks[1:] for first in firsts]
    assert ended == dict.fromkeys(["lists", "quarters", *loads], ("success", 1))
    assert_stored(airflow.database, airflow.service.account)
    assert not (airflow.folder / "kept").exists()  # no state


def test_a_refusal_is_not_retried(airflow: Airflow) -> None:
    assert airflow.run("listrak", password="wrong")["lists"] == ("failed", 1)
    assert airflow.service.failed_logins == 1
