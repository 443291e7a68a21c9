"""The dbt models of examples/dbt in a test's own database."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from tests.integration.environments import environment
from tests.integration.examples import EXAMPLES
from tests.integration.targets import DuckDBOfFiles, MeltanoPostgres

Row = dict[str, Any]


@dataclass
class Models:
    """A database of the tap's tables, and the models that are built in it."""

    target: DuckDBOfFiles | MeltanoPostgres
    timezone: str = "UTC"
    totals_severity: str = "error"

    def execute(self, statements: str) -> None:
        """Run statements in the schema of the tap's tables."""
        if isinstance(self.target, MeltanoPostgres):
            schema = self.target.schema
            there = f"CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path TO {schema};"
            self.target.postgres.run(there + statements)
        else:
            with duckdb.connect(str(self.target.database)) as database:
                database.execute(statements)

    def build(self, *flags: str) -> str:
        """Build and test everything; give what dbt said. Raises CalledProcessError with that."""
        there, folder = self.target.postgres, self.target.folder
        is_duckdb = isinstance(self.target, DuckDBOfFiles)
        variables = {
            "LISTRAK_DUCKDB": str(folder / "listrak.duckdb"),
            "PGHOST": there.host,
            "PGPORT": str(there.port),
            "PGUSER": there.user,
            "PGPASSWORD": there.password,
            "PGDATABASE": there.database,
        }
        given = {
            "totals_severity": self.totals_severity,
            "listrak_timezone": self.timezone,
            "listrak_schema": "main" if is_duckdb else self.target.schema,
        }
        project = str(EXAMPLES / "dbt")
        command = [
            *(str(environment("dbt") / "dbt"), "--no-use-colors", "build"),
            *("--project-dir", project, "--profiles-dir", project),
            *("--target", "duckdb" if is_duckdb else "postgres"),
            *("--target-path", str(folder / "dbt"), "--log-path", str(folder / "dbt")),
            *("--vars", json.dumps(given), *flags),
        ]
        ended = subprocess.run(
            command, env=os.environ | variables, capture_output=True, text=True, timeout=300
        )
        assert ended.returncode == 0, ended.stdout[-6000:]
        return ended.stdout

    def rows(self, model: str) -> list[Row]:
        """Give the rows of a model."""
        if isinstance(self.target, MeltanoPostgres):
            return self.target.postgres.rows(f"SELECT * FROM listrak_models.{model}")
        return rows_of(self.target.folder / "listrak.duckdb", model)


def rows_of(database: Path, model: str) -> list[Row]:
    with duckdb.connect(str(database), read_only=True) as connection:
        found = connection.sql(f"SELECT * FROM {model}")
        return [dict(zip(found.columns, row)) for row in found.fetchall()]


def instant(value: Any) -> datetime | None:
    """Give a timestamp as either database returns it."""
    if value is None or isinstance(value, datetime):
        return value
    return datetime.fromisoformat(fraction(value))


def fraction(text: str) -> str:
    """Pad a fraction: Python 3.10 reads those of three or six digits only."""
    return text.ljust(26, "0") if "." in text else text
