"""Load the files of target-jsonl into a DuckDB file: one table per stream, one row per key.

    python load.py catalog.json output listrak.duckdb

Pass the catalog that the tap ran with: it has each table's columns, types and key. target-jsonl
appends, so the last row of each key is kept. All tables are rebuilt, and replaced together. A line
that is not one whole record, as after a full disk, gets a WARNING; whole records in it are loaded.
Needs the package duckdb.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
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
    """Create a table for each selected stream of the catalog, even if it has no rows."""
    database.execute("SET preserve_insertion_order = true")
    streams = [stream for stream in catalog["streams"] if _is_selected(stream)]
    with tempfile.TemporaryDirectory() as mended:
        # Before the transaction, which an error would abort.
        files = [_whole(stream, folder, Path(mended), database) for stream in streams]
        database.execute("BEGIN")
        for stream, file in zip(streams, files):
            _load_table(stream, file, database)
        database.execute("COMMIT")


def _whole(
    stream: dict[str, Any], folder: Path, mended: Path, database: duckdb.DuckDBPyConnection
) -> Path:
    """Return a stream's file or, if a line of it is damaged, a copy of the whole records."""
    file = folder / f"{stream['stream']}.jsonl"
    if not file.exists() or _is_whole(file, database):
        return file
    copy = mended / file.name
    with file.open("rb") as lines, copy.open("w", encoding="utf-8") as records:
        for number, line in enumerate(lines, 1):
            # Text cut within a character is not UTF-8; a whole record is.
            text = line.decode("utf-8", "replace").strip()
            found = list(_records(text, stream["key_properties"]))
            records.writelines(f"{record}\n" for record in found)
            if text and found != [text]:
                print(
                    f"WARNING {file}, line {number}: not one whole record;"
                    f" loaded {len(found)}, skipped {len(text) - sum(map(len, found))} characters",
                    file=sys.stderr,
                )
    return copy


def _is_whole(file: Path, database: duckdb.DuckDBPyConnection) -> bool:
    objects = "read_json_objects($file, format = 'newline_delimited')"
    others = f"SELECT count(*) FROM {objects} WHERE json_type(json) <> 'OBJECT'"  # noqa: S608 # no input
    try:
        return database.execute(others, {"file": str(file)}).fetchone() == (0,)
    except duckdb.InvalidInputException:
        return False


def _records(text: str, key: list[str]) -> Iterator[str]:
    """Yield the records in a line, unchanged: the objects that have the key."""
    place = text.find("{")
    while place >= 0:
        try:
            value, end = json.JSONDecoder().raw_decode(text, place)
            if all(name in value for name in key):
                yield text[place:end]
        except (ValueError, RecursionError):
            end = place + 1
        place = text.find("{", end)


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
    """Load the files named on the command line."""
    if len(sys.argv) != 4:
        sys.exit("usage: load.py CATALOG FOLDER DATABASE")
    catalog, folder, path = map(Path, sys.argv[1:])
    try:
        content = json.loads(catalog.read_text("utf-8"))
        with duckdb.connect(str(path)) as database:
            load(content, folder, database)
    except ValueError as error:
        sys.exit(f"load.py: {catalog} is not JSON: {error}")
    except (OSError, duckdb.Error) as error:
        sys.exit(f"load.py: {error}")


if __name__ == "__main__":
    main()
