"""Load the files of target-jsonl into a DuckDB file: a table a stream, and in it a row a key.

    python load.py catalog.json output listrak.duckdb

The catalog is the one that the tap was run with: it has each table's columns, types and key.
target-jsonl appends, so of the rows that have the same key the last one is kept. All tables are
made anew, and take the place of the old ones at once. Needs the package duckdb.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import duckdb

TYPES = {
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "string": "VARCHAR",
    "date-time": "TIMESTAMP",  # in UTC, as the rows are
    "array": "JSON",
    "object": "JSON",
}


def load(catalog: dict[str, Any], folder: Path, database: duckdb.DuckDBPyConnection) -> None:
    """Make a table of each stream that the catalog selects, also where no row of it came."""
    database.execute("SET preserve_insertion_order = true")
    database.execute("BEGIN")
    for stream in catalog["streams"]:
        if _is_selected(stream):
            _load_table(stream, folder / f"{stream['stream']}.jsonl", database)
    database.execute("COMMIT")


def _load_table(stream: dict[str, Any], file: Path, database: duckdb.DuckDBPyConnection) -> None:
    table = _quoted(stream["stream"])
    types = {name: _type(schema) for name, schema in stream["schema"]["properties"].items()}
    columns = ", ".join(f"{_quoted(name)} {kind}" for name, kind in types.items())
    database.execute(f"CREATE OR REPLACE TABLE {table} ({columns})")
    if not file.exists():
        return
    key = ", ".join(map(_quoted, stream["key_properties"]))
    names = ", ".join(map(_quoted, types))
    database.execute(
        f"INSERT INTO {table} ({names}) SELECT {names} FROM ("  # noqa: S608 # names are quoted
        "    SELECT *, row_number() OVER () AS line"
        "    FROM read_json($file, format = 'newline_delimited', columns = $types)"
        f") QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY line DESC) = 1",
        {"file": str(file), "types": types},
    )


def _is_selected(stream: dict[str, Any]) -> bool:
    (of_stream,) = (each for each in stream["metadata"] if not each["breadcrumb"])
    facts = of_stream["metadata"]
    return bool(facts.get("selected", facts.get("inclusion") == "automatic"))


def _type(schema: dict[str, Any]) -> str:
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    (kind,) = (each for each in types if each != "null")
    return TYPES[schema.get("format", kind)]


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def main() -> None:
    """Load what the command line names."""
    if len(sys.argv) != 4:
        sys.exit("usage: load.py CATALOG FOLDER DATABASE")
    catalog, folder, path = map(Path, sys.argv[1:])
    with duckdb.connect(str(path)) as database:
        load(json.loads(catalog.read_text("utf-8")), folder, database)


if __name__ == "__main__":
    main()
