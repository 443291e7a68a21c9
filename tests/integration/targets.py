"""The targets: how each is configured and run, and how the rows that it stored are read."""

import ast
import csv
import json
import os
import re
import shlex
import subprocess
import sys
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import ciso8601
import duckdb

from tests.integration.environments import EXAMPLES, environment, tap_environment
from tests.support.records import exactly, frozen
from tests.support.tap import Run, Tap

Row = dict[str, Any]


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

    def rows(self, query: str) -> list[Row]:
        """Return the rows of a query, their numbers with the digits that are stored."""
        as_json = f"SELECT coalesce(json_agg(found), '[]') FROM ({query}) AS found"
        rows: list[Row] = json.loads(self.run(as_json), parse_float=Decimal)
        return rows


def instant(value: Any) -> datetime:
    """Return a date-time in any form; one without an offset is in UTC."""
    moment: datetime = value if isinstance(value, datetime) else ciso8601.parse_datetime(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def nested(value: Any) -> Any:
    return frozen(json.loads(value) if isinstance(value, str) else value)


def literal(value: Any) -> Any:
    return frozen(ast.literal_eval(str(value)))


Keeps = Mapping[str, Callable[[Any], Any]]
"""By type in the JSON schema, what converts a value to the form in which it is compared."""
COMPARABLE: Keeps = {
    "integer": int,
    "number": Decimal,
    "boolean": bool,
    "string": str,
    "date-time": instant,
    "array": nested,
    "object": nested,
}


class Target(ABC):
    """A target that writes into a folder of its own, or a schema of that name."""

    package: ClassVar[str]
    program: ClassVar[str]
    upserts: ClassVar[bool] = False
    """Whether it keeps one row a key; if not, it appends."""
    keeps: ClassVar[Keeps] = COMPARABLE
    """The forms of what it keeps, which may be less than what it was sent."""
    variables: ClassVar[Mapping[str, str]] = {}
    """Variables that its process needs."""
    state: Any = None
    """The last state that it printed."""

    def __init__(self, folder: Path, postgres: Postgres, **options: Any) -> None:
        self.folder, self.postgres, self.options = folder, postgres, options
        # In lower case, as a database finds what is not quoted.
        self.schema = re.sub(r"\W", "_", folder.name).lower()

    def config(self) -> Row:
        """Return the target's config."""
        return {}

    @abstractmethod
    def rows(self, table: str) -> Iterable[Row]:
        """Read a table."""

    def command(self) -> list[str]:
        """Install the target if need be, and write its config; return the command line of a run."""
        path = self.folder / "target.json"
        path.write_text(json.dumps({**self.config(), **self.options}), "utf-8")
        return [str(environment(self.package) / self.program), "--config", str(path)]

    def sync(self, tap: Tap, between: str = "cat") -> Run:
        """Pipe the tap, as it is installed, through `between` into the target, from its state."""
        command = [str(tap_environment() / "tap-listrak"), *tap.arguments(state=self.state)]
        stages = (
            f"{shlex.join(command)} 2> tap.log",
            f"{between} | tee emitted.jsonl",
            f"{shlex.join(self.command())} 2> target.log",
        )
        ended = subprocess.run(
            ["bash", "-o", "pipefail", "-c", " | ".join(stages)],
            cwd=self.folder,
            env={**os.environ, **self.variables},
            stdout=subprocess.PIPE,
            encoding="utf-8",
            timeout=300,
        )
        files = ("emitted.jsonl", "tap.log", "target.log")
        emitted, *logs = ((self.folder / name).read_bytes().decode() for name in files)
        assert ended.returncode == 0, logs
        self.state = json.loads(ended.stdout.rstrip("\n").split("\n")[-1])
        return Run(0, emitted, logs[0])

    def assert_holds(self, *runs: Run) -> None:
        """Each row that these runs emitted is stored; if the target upserts, a key's last."""
        schemas: dict[str, Row] = {}
        due: dict[str, Row] = defaultdict(dict)
        for each in chain(*map(exactly, runs)):
            if each["type"] == "SCHEMA":
                schemas[each["stream"]] = each
            elif each["type"] == "RECORD":
                record, rows = each["record"], due[each["stream"]]
                key = [record[name] for name in schemas[each["stream"]]["key_properties"]]
                place = str(key if self.upserts else len(rows))
                rows[place] = self.cells(record, schemas[each["stream"]])
        for table, schema in schemas.items():
            stored = Counter(self.cells(row, schema) for row in self.rows(table))
            assert stored == Counter(due[table].values()), table

    def cells(self, row: Row, schema: Row) -> tuple[Any, ...]:
        """Return a row, sent or stored, in the one form in which the two compare."""
        # Targets write names in either case, and add columns of their own.
        values = {name.lower(): value for name, value in row.items()}
        cells = []
        for name, facts in schema["schema"]["properties"].items():
            kind = facts.get("format", next(kind for kind in self.keeps if kind in facts["type"]))
            value = values.pop(name.lower())
            cells.append(None if value is None else self.keeps[kind](value))
        assert all(name.startswith("_sdc_") for name in values)
        return tuple(cells)


class JSONLines(Target):
    """Appends to a file for each table."""

    package = program = "target-jsonl"

    def config(self) -> Row:
        return {"destination_path": str(self.folder), "do_timestamp_file": False}

    def rows(self, table: str) -> Iterable[Row]:
        return from_json(self.folder / f"{table}.jsonl")


class CSV(Target):
    """Writes a file for each table and run, values in Python's forms, and nothing for null."""

    package = "meltanolabs-target-csv"
    program = "target-csv"
    keeps: ClassVar[Keeps] = {**COMPARABLE, "boolean": str, "array": literal, "object": literal}

    def config(self) -> Row:
        # A file for each run: in one that is there already, the rows would be lost.
        return {
            "destination_path": str(self.folder),
            "file_naming_scheme": "{stream_name}-{timestamp}.csv",
            "timestamp_format": "%Y%m%dT%H%M%S%f",
        }

    def rows(self, table: str) -> Iterable[Row]:
        for path in self.folder.glob(f"{table}-*.csv"):
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    yield {name: text or None for name, text in row.items()}


class Stitch(Target):
    """Validates what it is given and, in place of sending it to Stitch, files it away."""

    package = program = "target-stitch"

    def command(self) -> list[str]:
        program, *_ = super().command()
        runs = len([*self.folder.glob("requests-*")])
        return [program, "--dry-run", "--output-file", f"{self.folder}/requests-{runs}.jsonl"]

    def rows(self, table: str) -> Iterable[Row]:
        return (each["data"] for each in self.messages(table) if each["action"] == "upsert")

    def messages(self, table: str) -> list[Row]:
        """Return what would have been sent of a table, in order."""
        requests = chain(*map(from_json, sorted(self.folder.glob("requests-*"))))
        return [row for each in requests if each["table_name"] == table for row in each["messages"]]


class DuckDB(Target):
    """Makes tables in a file, and keeps decimals as floats."""

    package = program = "target-duckdb"
    upserts = True
    keeps: ClassVar[Keeps] = {**COMPARABLE, "number": float}

    @property
    def file(self) -> Path:
        return self.folder / "listrak.duckdb"

    def config(self) -> Row:
        schema = {"default_target_schema": self.schema}
        return {"path": str(self.file), "add_metadata_columns": True, **schema}

    def rows(self, table: str) -> Iterable[Row]:
        return self.ask(f"SELECT * FROM {self.schema}.{table}")

    def ask(self, query: str) -> list[Row]:
        return duckdb_rows(self.file, query)


class DuckDBOfFiles(DuckDB):
    """Tables that examples/duckdb makes of the files of target-jsonl."""

    package = program = "target-jsonl"
    config = JSONLines.config

    def __init__(self, folder: Path, postgres: Postgres, **options: Any) -> None:
        super().__init__(folder, postgres, **options)
        self.schema = "main"

    def sync(self, tap: Tap, between: str = "cat") -> Run:
        """Run the tap into the target, and load the files under the schemas that it emitted."""
        run = super().sync(tap, between)
        selected = {"metadata": [{"breadcrumb": [], "metadata": {"selected": True}}]}
        schemas = [each | selected for each in run.of_type("SCHEMA")]
        catalog = self.folder / "catalog.json"
        catalog.write_text(json.dumps({"streams": schemas}), "utf-8")
        script = str(EXAMPLES / "duckdb/load.py")
        subprocess.run([sys.executable, script, catalog, self.folder, self.file], check=True)
        return run


class Snowflake(DuckDB):
    """Makes tables in Snowflake, of which this is an emulator on DuckDB."""

    package = "snowflake"
    program = "python"

    def config(self) -> Row:
        names = ("account", "user", "password", "warehouse")
        return {**dict.fromkeys(names, "any"), "database": "WAREHOUSE", "schema": self.schema}

    def command(self) -> list[str]:
        python, *arguments = super().command()
        emulator = Path(__file__).with_name("snowflake_emulator.py")
        return [python, str(emulator), str(self.folder), *arguments]

    @property
    def file(self) -> Path:
        return self.folder / "WAREHOUSE.db"


class MeltanoPostgres(Target):
    """Keeps decimals as they are. Rows that it marked as deleted are not read."""

    package = "meltanolabs-target-postgres"
    program = "target-postgres"
    upserts = True
    # It stores a time as the session's zone has it, and does not say which that was.
    variables: ClassVar[Mapping[str, str]] = {"PGTZ": "UTC"}

    def __init__(self, folder: Path, postgres: Postgres, **options: Any) -> None:
        super().__init__(folder, postgres, **options)
        # A database of its own and, as databases may be, not in UTC.
        postgres.run(f"CREATE DATABASE {self.schema}")
        postgres.run(f"ALTER DATABASE {self.schema} SET timezone TO 'America/New_York'")
        self.postgres = replace(postgres, database=self.schema)

    def config(self) -> Row:
        # Two names of one option: each target takes its own, and ignores the other's.
        there = {**asdict(self.postgres), "dbname": self.postgres.database}
        return {**there, "default_target_schema": self.schema, "add_metadata_columns": True}

    def rows(self, table: str) -> Iterable[Row]:
        return self.ask(f"SELECT * FROM {self.schema}.{table} WHERE _sdc_deleted_at IS NULL")

    def ask(self, query: str) -> list[Row]:
        return self.postgres.rows(query)


class PipelinewisePostgres(MeltanoPostgres):
    """Keeps decimals as floats."""

    package = "pipelinewise-target-postgres"
    variables: ClassVar[Mapping[str, str]] = {}
    # Ends of lines and tabs come out as JSON writes them, with a backslash.
    keeps: ClassVar[Keeps] = {
        **DuckDB.keeps,
        "string": lambda text: re.sub("[\t\n\r]", lambda found: repr(found[0])[1:-1], text),
    }


def duckdb_rows(file: Path, query: str) -> list[Row]:
    """Return the rows of a query of a DuckDB file."""
    with duckdb.connect(str(file), read_only=True) as database:
        found = database.sql(query)
        return [dict(zip(found.columns, row)) for row in found.fetchall()]


def from_json(file: Path) -> Iterator[Row]:
    lines = file.read_text("utf-8").split("\n")[:-1]
    return (json.loads(line, parse_float=Decimal) for line in lines)
