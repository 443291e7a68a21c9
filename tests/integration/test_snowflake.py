"""The SQL of target-snowflake on an emulator, fakesnow: it loads what Listrak has, cell by cell."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from tests.integration.environments import environment
from tests.integration.postgres import Postgres
from tests.integration.rows import EVERY_EVENT, START, TYPED, due_of, grow, hard_account
from tests.integration.targets import Stored, Target, duckdb_rows
from tests.support.accounts import serving
from tests.support.published import COLUMNS

EMULATOR = Path(__file__).parent / "snowflake_emulator.py"


class Snowflake(Target):
    """Makes tables with columns in capitals. Decimals become doubles."""

    keeps: ClassVar = {"number": float}

    def config(self) -> dict[str, Any]:
        return {
            "account": "emulated",
            "user": "tester",
            "password": "not-needed-here",
            "database": "WAREHOUSE",
            "schema": self.schema,
            "warehouse": "small",
        }

    def command(self) -> list[str]:
        path = self.folder / "target.json"
        path.write_text(json.dumps(self.config()), "utf-8")
        python = str(environment("snowflake") / "python")
        return [python, str(EMULATOR), str(self.folder), "--config", str(path)]

    def column(self, name: str) -> str:
        return name.upper()

    def rows(self, table: str, columns: Mapping[str, str]) -> Iterable[Stored]:
        query = f"SELECT * FROM {self.schema.upper()}.{table.upper()}"
        for found in duckdb_rows(self.folder / "WAREHOUSE.db", query):
            row = json.loads(json.dumps(found, default=str))
            for name, kind in columns.items():
                if kind in ("array", "object") and row[name.upper()] is not None:
                    row[name.upper()] = json.loads(row[name.upper()])
            yield {name: value for name, value in row.items() if not name.startswith("_SDC_")}


def test_every_row_and_cell_arrives_and_a_second_sync_adds_what_is_new(tmp_path: Path) -> None:
    columns = {table: TYPED[table] for table in COLUMNS}
    target, account = Snowflake(tmp_path, Postgres(0)), hard_account()
    state: Any = None
    with serving(account, tmp_path, start_date=START, **EVERY_EVENT) as tap:
        for _ in range(2):
            state = target.sync(tap, state=state).state
            assert target.tables(columns) == due_of(account, columns, target.keeps)
            grow(account)
