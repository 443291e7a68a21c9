"""Listrak to PostgreSQL in Airflow. Copy this file to your DAGs folder.

The DAG `listrak` syncs each list in its own task, every day. `listrak_backfill`, triggered by hand,
loads each quarter of each list in its own task, from parameter `since` to parameter `until`. It
keeps no state, and does not change that of `listrak`.

In Airflow it reads:

- the connection `listrak`, of type Generic: login and password, and as extra the rest of the tap's
  config, at least {"start_date": "2025-01-01T00:00:00Z"};
- the connection `listrak_postgres`: host, port, login, password, and the database as schema; the
  rows go into the schema `listrak` of that database;
- the variable `listrak_home`, else /opt/listrak: a folder on each worker with sync.sh, with tap and
  target in the environments `tap` and `target`, and with catalog.json; without a catalog, the nine
  published streams are synced;
- the variable `listrak_kept`, else /var/lib/listrak: a folder that all workers share and may write
  to, for the state file of each list.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from airflow.sdk import Connection, Param, Variable, dag, task
from airflow.sdk.exceptions import AirflowFailException

AT_ONCE = 2  # tasks; in each, the tap makes up to `concurrency` calls at once
NOT_WORTH_A_RETRY = {2: "there is a mistake in config, catalog or state", 3: "Listrak refuses"}
ONLY_LISTS = {
    "tap_stream_id": "lists",
    "metadata": [{"breadcrumb": [], "metadata": {"selected": True}}],
}


@dag(schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1)
def listrak() -> None:
    """Find the lists, then sync each with its own config and state."""

    # A retry resumes from the last state that the target printed, which sync.sh keeps.
    @task(
        retries=3,
        max_active_tis_per_dag=AT_ONCE,
        map_index_template="{{ task.op_kwargs['list_id'] }}",
    )
    def sync(list_id: int) -> None:
        kept = Path(Variable.get("listrak_kept", "/var/lib/listrak"), str(list_id))
        run_sync(kept, list_ids=[list_id])

    sync.expand(list_id=lists())


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={
        "since": Param("2025-01-01", type="string", format="date"),
        "until": Param("2026-01-01", type="string", format="date"),
    },
)
def listrak_backfill() -> None:
    """Find the lists, then load each quarter of each."""

    @task
    def quarters(params: dict[str, str]) -> list[list[str]]:
        return quarters_of(params["since"], params["until"])

    # A retry loads the quarter again; repeated rows have the same keys.
    @task(
        retries=3,
        max_active_tis_per_dag=AT_ONCE,
        map_index_template="{{ task.op_kwargs['list_id'] }} {{ task.op_kwargs['quarter'][0] }}",
    )
    def load(list_id: int, quarter: list[str]) -> None:
        since, until = quarter
        with TemporaryDirectory() as kept:
            run_sync(Path(kept), list_ids=[list_id], backfill_from=since, backfill_to=until)

    load.expand(list_id=lists(), quarter=quarters())


@task(retries=3)
def lists() -> list[int]:
    """Return the ListIDs of all lists."""
    with TemporaryDirectory() as folder:
        config, catalog = Path(folder, "config.json"), Path(folder, "catalog.json")
        write(config, Connection.get("listrak").extra_dejson)
        write(catalog, {"streams": [ONLY_LISTS]})
        tap = home() / "tap/bin/tap-listrak"
        command = (tap, "--config", "ENV", "--config", config, "--catalog", catalog)
        # Split only at "\n": str.splitlines also splits at characters that a name may contain.
        lines = run(*command).rstrip("\n").split("\n")
    messages = map(json.loads, lines)
    return [each["record"]["ListID"] for each in messages if each["type"] == "RECORD"]


def quarters_of(since: str, until: str) -> list[list[str]]:
    """Split a range of dates into quarters of the year: pairs of a first date and an end."""
    last, year = date.fromisoformat(until), date.fromisoformat(since).year
    firsts = [
        date(each, month, 1) for each in range(year, last.year + 1) for month in (1, 4, 7, 10)
    ]
    bounds = [since, *(str(each) for each in firsts if since < str(each) < until), until]
    return [list(pair) for pair in pairwise(bounds)]


def run_sync(kept: Path, **options: Any) -> None:
    """Run sync.sh with the connection's config and these options; its state is in `kept`."""
    with TemporaryDirectory() as folder:
        config = {**Connection.get("listrak").extra_dejson, **options}
        write(Path(folder, "config.json"), config)
        write(Path(folder, "target.json"), target_config())
        if (catalog := home() / "catalog.json").exists():
            shutil.copy(catalog, folder)
        run(home() / "sync.sh", folder, kept)


def home() -> Path:
    """Return the folder of tap, target and sync.sh."""
    return Path(Variable.get("listrak_home", "/opt/listrak"))


def secrets() -> dict[str, str]:
    """Return the tap's secrets as variables, which its config file lacks."""
    user = Connection.get("listrak")
    return {"TAP_LISTRAK_USERNAME": user.login, "TAP_LISTRAK_PASSWORD": user.password}


def target_config() -> dict[str, Any]:
    """Return the config of target-postgres."""
    database = Connection.get("listrak_postgres")
    return {
        "host": database.host,
        "port": database.port or 5432,
        "user": database.login,
        "password": database.password,
        "database": database.schema,
        "default_target_schema": "listrak",
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON that only the owner can read."""
    path.touch(0o600)
    path.write_text(json.dumps(content), "utf-8")


def run(*command: str | Path) -> str:
    """Run a command, with its log in the task's log; return what it printed.

    Raises AirflowFailException where a retry would fail the same way.
    """
    log, pipe = logging.getLogger("airflow.task"), subprocess.PIPE
    with (
        TemporaryFile("w+", encoding="utf-8", newline="\n") as out,
        subprocess.Popen(
            command,
            stdout=out,
            stderr=pipe,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **secrets()},
        ) as process,
    ):
        try:
            for line in process.stderr or ():
                if " METRIC: " not in line:  # one for each call
                    log.info("%s", line.rstrip())
        except BaseException:
            process.terminate()  # Airflow ends the task, and the sync ends in good order
            process.communicate()
            raise
        code = process.wait()
        if code in NOT_WORTH_A_RETRY:
            raise AirflowFailException(f"Exit code {code}: {NOT_WORTH_A_RETRY[code]}.")
        if code:
            raise RuntimeError(f"Exit code {code}: see the log above.")
        out.seek(0)
        return out.read()


listrak()
listrak_backfill()
