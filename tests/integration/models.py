"""The dbt models of examples/dbt in a test's own database."""

import json
import os
import subprocess
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from tests.integration.environments import EXAMPLES, environment
from tests.integration.targets import DuckDBOfFiles, MeltanoPostgres, duckdb_rows

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
            with duckdb.connect(str(self.target.file)) as database:
                database.execute(statements)

    def build(self, *flags: str) -> None:
        """Build and test everything. Raises AssertionError with what dbt said if it fails."""
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

    def rows(self, model: str) -> list[Row]:
        """Return the rows of a model."""
        if isinstance(self.target, MeltanoPostgres):
            return self.target.postgres.rows(f"SELECT * FROM listrak_models.{model}")
        return duckdb_rows(self.target.file, f"SELECT * FROM {model}")


def instant(value: Any) -> datetime | None:
    """Return a timestamp as either database returns it."""
    if value is None or isinstance(value, datetime):
        return value
    return datetime.fromisoformat(fraction(value))


def fraction(text: str) -> str:
    """Pad a fraction: Python 3.10 reads those of three or six digits only."""
    return text.ljust(26, "0") if "." in text else text
