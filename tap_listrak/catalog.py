"""Build the catalog, and read the selection from a catalog or from the patterns in `select`."""

from __future__ import annotations

import dataclasses
import difflib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from tap_listrak.errors import UsageError
from tap_listrak.streams import BY_NAME, STREAMS, Stream, Table

Tables = Mapping[Stream, Table]
# A column's name and, within an object, the name of its part: ("Vmta", "Description").
Path = tuple[str, ...]

LOGGER = logging.getLogger(__name__)

# The selected columns by selected stream, in schema order.
Selection = dict[Stream, tuple[str, ...]]


def build_catalog(tables: Iterable[Table], patterns: Sequence[str] = ()) -> dict[str, Any]:
    """Return the Singer catalog of these tables, with `selected` set by the patterns."""
    entries = [_entry(table) for table in tables]
    for entry in entries if patterns else ():
        _mark(entry, patterns)
    return {"streams": entries}


def _entry(table: Table) -> dict[str, Any]:
    stream, key = table.stream, table.key_properties
    of_stream: dict[str, Any] = {
        "table-key-properties": list(key),
        "forced-replication-method": "FULL_TABLE",
        "inclusion": "available",
    }
    if stream.parent:
        of_stream["parent-tap-stream-id"] = stream.parent.name
    metadata: list[dict[str, Any]] = [{"breadcrumb": [], "metadata": of_stream}]
    for path in _paths(table.schema):
        field: dict[str, Any] = (
            {"inclusion": "automatic"}
            if path[0] in key
            else {"inclusion": "available", "selected-by-default": True}
        )
        metadata.append({"breadcrumb": _breadcrumb(path), "metadata": field})
    return {
        "tap_stream_id": stream.name,
        "stream": stream.name,
        "schema": table.schema,
        "key_properties": list(key),
        "metadata": metadata,
    }


def _breadcrumb(path: Path) -> list[str]:
    return [word for name in path for word in ("properties", name)]


def _paths(schema: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the path of each column, each object followed by its parts."""
    for name, column in schema.get("properties", {}).items():
        yield (name,)
        for path in _paths(column):
            yield (name, *path)


# Patterns, with Meltano's meaning: `messages`, `message_*.*`, `lists.Vmta.*`, `!lists.FromName`.


def check_patterns(patterns: Sequence[str], tables: Tables) -> None:
    """Raise UsageError with the nearest name if a pattern matches nothing."""
    for pattern in patterns:
        stream_pattern, column_pattern = _split(pattern.removeprefix("!"))
        streams = [stream for stream in tables if fnmatchcase(stream.name, stream_pattern)]
        names = [
            f"{stream.name}.{'.'.join(path)}"
            for stream in streams
            for path in _paths(tables[stream].schema)
        ]
        if not any(fnmatchcase(name.split(".", 1)[1], column_pattern) for name in names):
            wanted = f"{stream_pattern}.{column_pattern}" if streams else stream_pattern
            by_lower = {name.lower(): name for name in names or BY_NAME}
            near = difflib.get_close_matches(wanted.lower(), by_lower, 1, cutoff=0)
            raise UsageError(
                f"Invalid `select` in the config: {pattern} matches no stream or column. The "
                f"nearest name is {by_lower[near[0]]}."
            )


def _split(pattern: str) -> tuple[str, str]:
    stream, _, column = pattern.partition(".")
    return stream, column or "*"


def _mark(entry: dict[str, Any], patterns: Sequence[str]) -> None:
    """Set `selected` in an entry. Exclusions override inclusions."""
    rules = [(_split(each.removeprefix("!")), each.startswith("!")) for each in patterns]
    matching = [
        (column, excludes)
        for (stream, column), excludes in rules
        if fnmatchcase(entry["tap_stream_id"], stream)
    ]
    metadata = {tuple(each["breadcrumb"][1::2]): each["metadata"] for each in entry["metadata"]}
    included = _matched(metadata, (column for column, excludes in matching if not excludes))
    excluded = _matched(metadata, (column for column, excludes in matching if excludes))
    metadata[()]["selected"] = bool(included) and ("*", True) not in matching
    for path, facts in metadata.items():
        if facts["inclusion"] == "automatic" or not path:
            continue
        upwards = {path[:length] for length in range(1, len(path) + 1)}
        has_included_part = any(each[: len(path)] == path for each in included)
        is_included = has_included_part or not upwards.isdisjoint(included)
        facts["selected"] = is_included and upwards.isdisjoint(excluded)


def _matched(paths: Iterable[Path], patterns: Iterable[str]) -> set[Path]:
    wanted = list(patterns)
    return {
        path
        for path in paths
        if path and any(fnmatchcase(".".join(path), pattern) for pattern in wanted)
    }


# Reading a catalog.


def select(catalog: object, tables: Tables) -> tuple[Selection, Tables]:
    """Return a catalog's selection, and the tables without unselected parts of objects.

    Raises UsageError for an invalid catalog. Its schemas and keys are ignored. A stream with
    automatic inclusion is selected, because the published tap's catalogs mark lists and messages
    this way.
    """
    entries = catalog.get("streams") if isinstance(catalog, Mapping) else None
    if not isinstance(entries, list):
        raise UsageError('The catalog must be an object with a "streams" array; see --discover.')
    found: dict[str, tuple[tuple[str, ...], Table]] = {}
    seen: set[str] = set()
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise UsageError("The catalog's streams must be objects; see --discover.")
        name = entry.get("tap_stream_id") or entry.get("stream")
        if not isinstance(name, str):
            raise UsageError("The catalog's streams must have a tap_stream_id; see --discover.")
        if name not in BY_NAME:
            LOGGER.warning("Ignored the catalog's stream %s: this tap has no such stream.", name)
            continue
        if name in seen:
            raise UsageError(f"The catalog has the stream {name} twice.")
        seen.add(name)
        metadata, table = _metadata(name, entry), tables[BY_NAME[name]]
        _warn_of_unknown_columns(name, metadata, table)
        if _is_selected(name, metadata.get((), {}), default=False):
            _warn_of_alias(name, entry)
            found[name] = _select_columns(table, metadata)
    selection = {stream: found[stream.name][0] for stream in STREAMS if stream.name in found}
    narrowed = {stream: found[stream.name][1] for stream in selection}
    return selection, {**tables, **narrowed}


def _select_columns(
    table: Table, metadata: Mapping[Path, Mapping[str, Any]]
) -> tuple[tuple[str, ...], Table]:
    """Return the selected columns, and the table without unselected parts of objects."""

    def is_selected(path: Path) -> bool:
        name = ".".join((table.stream.name, *path))
        return _is_selected(name, metadata.get(path, {}), default=True)

    columns = {
        column: schema
        if column in table.key_properties
        else _narrow(schema, (column,), is_selected)
        for column, schema in table.schema["properties"].items()
    }
    selected = {column: schema for column, schema in columns.items() if schema is not None}
    properties = {**table.schema["properties"], **selected}
    narrowed = dataclasses.replace(table, schema={**table.schema, "properties": properties})
    return tuple(selected), narrowed


def _narrow(
    schema: dict[str, Any], path: Path, is_selected: Callable[[Path], bool]
) -> dict[str, Any] | None:
    """Return a column's schema with its selected parts; None if nothing is selected."""
    if not is_selected(path):
        return None
    if "properties" not in schema:
        return schema
    parts = {
        name: narrowed
        for name, part in schema["properties"].items()
        if (narrowed := _narrow(part, (*path, name), is_selected)) is not None
    }
    if not parts:
        LOGGER.info("Column %s is not selected, because none of its parts is.", ".".join(path))
    return {**schema, "properties": parts} if parts else None


def _warn_of_unknown_columns(name: str, paths: Iterable[Path], table: Table) -> None:
    known = {(), *_paths(table.schema)}
    for path in paths:
        if path not in known:
            _warn_of_unknown_column(name, path)


def _warn_of_unknown_column(name: str, path: Iterable[str]) -> None:
    column = ".".join(path)
    LOGGER.warning("Ignored metadata in the catalog: %s has no column %s.", name, column)


def _warn_of_alias(name: str, entry: Mapping[str, Any]) -> None:
    for alias in (entry.get("stream"), entry.get("stream_alias")):
        if alias not in (None, name):
            LOGGER.warning(
                "The catalog renames %s to %s, but aliases are not supported: its messages keep "
                "the name %s. Rename the table in the target.",
                *(name, alias, name),
            )


def _metadata(name: str, entry: Mapping[str, Any]) -> dict[Path, Mapping[str, Any]]:
    """Return an entry's metadata by path, or `selected` from its schema (old catalogs)."""
    found: dict[Path, Mapping[str, Any]] = {}
    schema = entry.get("schema") or {}
    if isinstance(schema, Mapping):
        found[()] = {"selected": entry.get("selected", schema.get("selected"))}
        columns = schema.get("properties") or {}
        for column, facts in columns.items() if isinstance(columns, Mapping) else ():
            if isinstance(facts, Mapping):
                found[column,] = {
                    "selected": facts.get("selected"),
                    "inclusion": facts.get("inclusion"),
                }
    metadata = entry.get("metadata") or []
    try:
        for item in metadata:
            if not isinstance(item["breadcrumb"], (list, tuple)):
                raise TypeError
            breadcrumb, path = list(item["breadcrumb"]), tuple(item["breadcrumb"][1::2])
            if breadcrumb == _breadcrumb(path):
                found[path] = {**found.get(path, {}), **item["metadata"]}
            else:
                _warn_of_unknown_column(name, breadcrumb)
    except (TypeError, KeyError, AttributeError) as exc:
        raise UsageError(
            f"The catalog's metadata of {name} must be an array of objects with a breadcrumb and "
            "metadata; see --discover."
        ) from exc
    return found


def _is_selected(name: str, facts: Mapping[str, Any], *, default: bool) -> bool:
    inclusion = facts.get("inclusion")
    if inclusion in ("automatic", "unsupported"):
        return bool(inclusion == "automatic")
    selected = facts.get("selected")
    if selected is None:
        selected = facts.get("selected-by-default", default)
    if not isinstance(selected, bool):
        raise UsageError(f"In the catalog, `selected` of {name} must be true or false.")
    return selected
