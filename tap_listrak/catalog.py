"""The catalog: what discovery prints, and what a catalog that comes back has selected."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from tap_listrak.errors import UsageError
from tap_listrak.streams import BY_NAME, PUBLISHED, STREAMS, Stream, Table

Tables = Mapping[Stream, Table]

LOGGER = logging.getLogger(__name__)

# By stream, the columns that were selected, in the schema's order; a stream that was not selected
# has no entry.
Selection = dict[Stream, tuple[str, ...]]


def build_catalog(tables: Iterable[Table]) -> dict[str, Any]:
    """Return the Singer catalog of these tables."""
    return {"streams": [_entry(table) for table in tables]}


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
    for column in table.columns:
        field: dict[str, Any] = (
            {"inclusion": "automatic"}
            if column in key
            else {"inclusion": "available", "selected-by-default": True}
        )
        metadata.append({"breadcrumb": ["properties", column], "metadata": field})
    return {
        "tap_stream_id": stream.name,
        "stream": stream.name,
        "schema": table.schema,
        "key_properties": list(key),
        "metadata": metadata,
    }


def select_published(tables: Tables) -> Selection:
    """Select the published streams with every column: what a run without a catalog syncs."""
    return {stream: tables[stream].columns for stream in PUBLISHED}


def select(catalog: object, tables: Tables) -> Selection:
    """Read which streams and columns a catalog selects. Raises UsageError where it is no catalog.

    Schemas and keys are the tap's own, whatever the catalog holds. A stream whose inclusion is
    automatic is selected (the published tap's catalogs mark lists and messages so).
    """
    entries = catalog.get("streams") if isinstance(catalog, Mapping) else None
    if not isinstance(entries, list):
        raise UsageError('The catalog must be an object with a "streams" array; see --discover.')
    selected: dict[str, Any] = {}
    seen: set[str] = set()
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise UsageError("The catalog's streams must be objects; see --discover.")
        name = entry.get("tap_stream_id") or entry.get("stream")
        if not isinstance(name, str):
            raise UsageError("The catalog's streams must have a tap_stream_id; see --discover.")
        if name not in BY_NAME:
            LOGGER.warning("The catalog's stream %s is not one of this tap's: ignored.", name)
            continue
        if name in seen:
            raise UsageError(f"The catalog has the stream {name} twice.")
        seen.add(name)
        metadata = _metadata(name, entry)
        columns = tables[BY_NAME[name]].columns
        for breadcrumb in metadata:
            if breadcrumb[1:2] and breadcrumb[1] not in columns:
                LOGGER.warning(
                    "The catalog's %s has no column %s: its metadata is ignored.",
                    name,
                    breadcrumb[1],
                )
        if _is_selected(name, metadata.get((), {}), default=False):
            selected[name] = metadata
    return {
        stream: tuple(
            column
            for column in tables[stream].columns
            if column in tables[stream].key_properties
            or _is_selected(
                f"{stream.name}.{column}",
                selected[stream.name].get(("properties", column), {}),
                default=True,
            )
        )
        for stream in STREAMS
        if stream.name in selected
    }


def _metadata(name: str, entry: Mapping[str, Any]) -> dict[tuple[str, ...], Mapping[str, Any]]:
    """Index an entry's metadata by breadcrumb, over the `selected` that old catalogs keep in it."""
    found: dict[tuple[str, ...], Mapping[str, Any]] = {}
    schema = entry.get("schema") or {}
    if isinstance(schema, Mapping):
        found[()] = {"selected": entry.get("selected", schema.get("selected"))}
        columns = schema.get("properties") or {}
        for column, facts in columns.items() if isinstance(columns, Mapping) else ():
            if isinstance(facts, Mapping):
                found["properties", column] = {
                    "selected": facts.get("selected"),
                    "inclusion": facts.get("inclusion"),
                }
    metadata = entry.get("metadata") or []
    try:
        for item in metadata:
            if not isinstance(item["breadcrumb"], (list, tuple)):
                raise TypeError
            breadcrumb = tuple(item["breadcrumb"])
            found[breadcrumb] = {**found.get(breadcrumb, {}), **item["metadata"]}
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
