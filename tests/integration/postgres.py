"""A database of a PostgreSQL server on loopback."""

import json
import subprocess
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class Postgres:
    """Where the server listens, and as whom to log in; one database to begin with."""

    port: int
    host: str = "127.0.0.1"
    user: str = "tester"
    password: str = "not-needed-here"
    database: str = "postgres"

    def run(self, statement: str) -> str:
        """Run a statement; return what it prints."""
        url = f"postgresql://{self.user}@{self.host}:{self.port}/{self.database}"
        command = ["psql", url, "--no-psqlrc", "-qAtc", statement]
        return subprocess.check_output(command, encoding="utf-8")

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a query, their numbers with the digits that are stored."""
        as_json = f"SELECT coalesce(json_agg(found), '[]') FROM ({query}) AS found"
        rows: list[dict[str, Any]] = json.loads(self.run(as_json), parse_float=Decimal)
        return rows
