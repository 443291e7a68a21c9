"""The targets: how each is told where to write, and how what it wrote is read back."""

import ast
import csv
import json
import re
import subprocess
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import duckdb

from tests.integration.environments import EXAMPLES, environment
from tests.integration.pipe import Piped, pipe
from tests.integration.postgres import Postgres
from tests.integration.rows import Columns, Keeps, Tables, comparable
from tests.support.tap import Tap

Stored = dict[str, Any]
"""A row as it was read back."""


class Target(ABC):
    """A target that writes into a folder of its own, or a schema of that name."""

    package: ClassVar[str]
    program: ClassVar[str]
    upserts: ClassVar[bool] = False
    """Whether it keeps one row a key; if not, it appends."""
    keeps: ClassVar[Keeps] = {}
    """What it keeps values as, by type, where that is less than what it was sent."""
    variables: ClassVar[Mapping[str, str]] = {}
    """What its process finds in the environment, over what is there already."""

    def __init__(self, folder: Path, postgres: Postgres, **options: Any) -> None:
        self.folder = folder
        self.options = options
        # In lower case, as a database finds what is not quoted.
        self.schema = folder.name.replace("-", "_").lower()
        self.postgres = postgres

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Give the target's config."""

    @abstractmethod
    def rows(self, table: str, columns: Mapping[str, str]) -> Iterable[Stored]:
        """Read a table of these columns."""

    def command(self) -> list[str]:
        """Install the target if need be, and write its config; give the command line of a run."""
        path = self.folder / "target.json"
        path.write_text(json.dumps({**self.config(), **self.options}), "utf-8")
        return [str(environment(self.package) / self.program), "--config", str(path)]

    def sync(self, tap: Tap, *flags: str, state: Any = None, between: str = "cat") -> Piped:
        """Run the tap into the target."""
        arguments = tap.arguments(*flags, state=state)
        return pipe(arguments, self.command(), self.folder, self.variables, between)

    def column(self, name: str) -> str:
        """Return the target's name of a column."""
        return name

    def tables(self, columns: Columns) -> Tables:
        """Read every table, in the form in which it compares with what is due."""
        return {
            table: Counter(
                comparable(self._named(row, kinds), kinds, self.keeps)
                for row in self.rows(table, kinds)
            )
            for table, kinds in columns.items()
        }

    def _named(self, row: Stored, columns: Iterable[str]) -> Stored:
        record = {column: row.pop(self.column(column)) for column in columns}
        if not all(added.startswith("_sdc_") for added in row):
            raise ValueError(f"columns that nobody sent: {', '.join(row)}")
        return record


class JSONLines(Target):
    """Appends to a file for each table."""

    package = program = "target-jsonl"

    def config(self) -> dict[str, Any]:
        return {"destination_path": str(self.folder), "do_timestamp_file": False}

    def rows(self, table: str, columns: Mapping[str, str]) -> Iterable[Stored]:
        return _from_json((self.folder / f"{table}.jsonl").read_text("utf-8"))


class Database(Target):
    """A target that makes tables of typed columns."""

    upserts = True
    types: ClassVar[Mapping[str, str]]
    """By type in the JSON schema, the type of a column."""

    @abstractmethod
    def ask(self, query: str) -> Iterable[Stored]:
        """Give the rows of a query."""

    def rows(self, table: str, columns: Mapping[str, str]) -> Iterable[Stored]:
        return self.ask(f"SELECT * FROM {self.schema}.{table}")

    def assert_types(self, columns: Columns) -> None:
        """Each column is of the type that its schema asks for."""
        for table, kinds in columns.items():
            rows = self.ask(
                "SELECT column_name, data_type FROM information_schema.columns"
                f" WHERE table_schema = '{self.schema}' AND table_name = '{table}'"
            )
            types = {row["column_name"]: row["data_type"] for row in rows}
            assert {name: types[self.column(name)] for name in kinds} == {
                name: self.types[kind] for name, kind in kinds.items()
            }


class DuckDB(Database):
    """Makes tables in a file. Names of columns are in lower case."""

    package = program = "target-duckdb"
    keeps: ClassVar = {"number": float}
    types: ClassVar = {
        "integer": "HUGEINT",
        "number": "DOUBLE",
        "boolean": "BOOLEAN",
        "string": "VARCHAR",
        "date-time": "TIMESTAMP",
        "array": "JSON",
        "object": "JSON",
    }

    @property
    def file(self) -> Path:
        return self.folder / "listrak.duckdb"

    def config(self) -> dict[str, Any]:
        return {
            "path": str(self.file),
            "default_target_schema": self.schema,
            "add_metadata_columns": True,
        }

    def column(self, name: str) -> str:
        return name.lower()

    def rows(self, table: str, columns: Mapping[str, str]) -> Iterable[Stored]:
        texts = [self.column(name) for name, kind in columns.items() if self.types[kind] == "JSON"]
        for row in super().rows(table, columns):
            yield row | {name: row[name] and json.loads(row[name]) for name in texts}

    def ask(self, query: str) -> Iterable[Stored]:
        return list(json.loads(json.dumps(duckdb_rows(self.file, query), default=str)))


class DuckDBOfFiles(DuckDB):
    """Tables that examples/duckdb makes of the files of target-jsonl. Names of columns stay."""

    package = program = "target-jsonl"
    types: ClassVar = {**DuckDB.types, "integer": "BIGINT"}
    config, column = JSONLines.config, JSONLines.column

    def __init__(self, folder: Path, postgres: Postgres, **options: Any) -> None:
        super().__init__(folder, postgres, **options)
        self.schema = "main"

    def sync(self, *arguments: Any, **given: Any) -> Piped:
        """Run the tap into the target, and load the files under the schemas that it emitted."""
        piped = super().sync(*arguments, **given)
        selected = {"metadata": [{"breadcrumb": [], "metadata": {"selected": True}}]}
        schemas = [each | selected for each in piped.of_type("SCHEMA")]
        catalog = self.folder / "catalog.json"
        catalog.write_text(json.dumps({"streams": schemas}), "utf-8")
        script = str(EXAMPLES / "duckdb/load.py")
        subprocess.run([sys.executable, script, catalog, self.folder, self.file], check=True)
        return piped


class _Postgres(Database):
    def __init__(self, folder: Path, postgres: Postgres, **options: Any) -> None:
        super().__init__(folder, postgres, **options)
        # A database of its own and, as databases may be, not in UTC.
        postgres.run(f"CREATE DATABASE {self.schema}")
        postgres.run(f"ALTER DATABASE {self.schema} SET timezone TO 'America/New_York'")
        self.postgres = replace(postgres, database=self.schema)

    def config(self) -> dict[str, Any]:
        there = self.postgres
        return {
            **{name: getattr(there, name) for name in ("host", "port", "user", "password")},
            # Two names of one option: each target takes its own, and ignores the other's.
            "database": there.database,
            "dbname": there.database,
            "default_target_schema": self.schema,
        }

    def ask(self, query: str) -> Iterable[Stored]:
        return self.postgres.rows(query)


class MeltanoPostgres(_Postgres):
    """Keeps names and decimals as they are."""

    package = "meltanolabs-target-postgres"
    program = "target-postgres"
    # It stores a time as the session's zone has it, and does not say which that was.
    variables: ClassVar = {"PGTZ": "UTC"}
    types: ClassVar = {
        "integer": "bigint",
        "number": "numeric",
        "boolean": "boolean",
        "string": "text",
        "date-time": "timestamp without time zone",
        "array": "ARRAY",
        "object": "jsonb",
    }


class PipelinewisePostgres(_Postgres):
    """Makes integers numeric, and decimals floats. Names of columns are in lower case."""

    package = "pipelinewise-target-postgres"
    program = "target-postgres"
    # Ends of lines and tabs come out as JSON writes them, with a backslash.
    keeps: ClassVar = {
        "number": float,
        "string": lambda text: re.sub("[\t\n\r]", lambda found: repr(found[0])[1:-1], text),
    }
    types: ClassVar = {
        "integer": "numeric",
        "number": "double precision",
        "boolean": "boolean",
        "string": "character varying",
        "date-time": "timestamp without time zone",
        "array": "jsonb",
        "object": "jsonb",
    }

    def column(self, name: str) -> str:
        return name.lower()


class CSV(Target):
    """Writes a file for each table and run."""

    package = "meltanolabs-target-csv"
    program = "target-csv"
    # Python's forms, and nothing for null.
    texts: ClassVar[Mapping[str, Callable[[str], Any]]] = {
        "integer": int,
        "number": Decimal,
        "boolean": {"True": True, "False": False}.__getitem__,
        "array": ast.literal_eval,
        "object": ast.literal_eval,
    }

    def config(self) -> dict[str, Any]:
        # A file for each run: in one that is there already, the rows would be lost.
        return {
            "destination_path": str(self.folder),
            "file_naming_scheme": "{stream_name}-{timestamp}.csv",
            "timestamp_format": "%Y%m%dT%H%M%S%f",
        }

    def rows(self, table: str, columns: Mapping[str, str]) -> Iterable[Stored]:
        for path in self.folder.glob(f"{table}-*.csv"):
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    yield {
                        column: self.texts.get(columns[column], str)(text) if text else None
                        for column, text in row.items()
                    }


class Stitch(Target):
    """Validates what it is given and, in place of sending it to Stitch, files it away."""

    package = program = "target-stitch"

    def config(self) -> dict[str, Any]:
        return {}

    def command(self) -> list[str]:
        runs = len(list(self.folder.glob("requests-*")))
        file = str(self.folder / f"requests-{runs}.jsonl")
        return [str(environment(self.package) / self.program), "--dry-run", "--output-file", file]

    def rows(self, table: str, columns: Mapping[str, str]) -> Iterable[Stored]:
        for request in self.requests(table):
            for message in request["messages"]:
                if message["action"] == "upsert":
                    yield message["data"]

    def requests(self, table: str) -> Iterator[dict[str, Any]]:
        """Give what would have been sent of a table, in order."""
        for path in sorted(self.folder.glob("requests-*")):
            for request in _from_json(path.read_text("utf-8")):
                if request["table_name"] == table:
                    yield request


def duckdb_rows(file: Path, query: str) -> list[Stored]:
    """Return the rows of a query of a DuckDB file."""
    with duckdb.connect(str(file), read_only=True) as database:
        found = database.sql(query)
        return [dict(zip(found.columns, row)) for row in found.fetchall()]


def _from_json(lines: str) -> Iterator[Stored]:
    return (json.loads(line, parse_float=Decimal) for line in lines.split("\n")[:-1])
