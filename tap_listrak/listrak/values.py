"""The text of a reply's elements into values, typed by a column's JSON schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from lxml import etree
from pytz import BaseTzInfo

from tap_listrak import dates
from tap_listrak.streams import Table

Convert = Callable[[str], Any]

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[Ee][+-]?[0-9]{1,4})?")
_NO_NUMBER = {"NaN", "INF", "-INF", "+INF", "Infinity", "-Infinity"}


def integer(text: str) -> int:
    """Read an xs:int; 64 bits are what warehouses hold. Raises ValueError."""
    text = text.strip()
    if not _INTEGER.fullmatch(text) or len(text) > 20:
        raise ValueError("not a whole number")
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError("not a whole number of 64 bits")
    return value


def number(text: str) -> Decimal | None:
    """Read a decimal or double as the number that was sent, never through a float."""
    text = text.strip()
    if text in _NO_NUMBER:
        return None
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    return Decimal(text)


def boolean(text: str) -> bool:
    """Read an xs:boolean. Raises ValueError."""
    text = text.strip().lower()
    if text in ("true", "1"):
        return True
    if text in ("false", "0"):
        return False
    raise ValueError("not a boolean")


def types_of(schema: Mapping[str, Any]) -> set[str]:
    """Return the JSON types that a column's schema names."""
    types = schema["type"]
    return {types} if isinstance(types, str) else set(types)


def is_compound(schema: Mapping[str, Any]) -> bool:
    """Return whether a column holds more than one text."""
    return not types_of(schema).isdisjoint(("array", "object"))


def check_schema(table: Table) -> None:
    """Raise TypeError where a schema has a column that no function here can read."""
    for column, schema in table.schema["properties"].items():
        types, part_types = types_of(schema) - {"null"}, set()
        if types == {"array"}:
            part_types = {frozenset(types_of(schema["items"]))} - {frozenset({"string"})}
        elif types == {"object"}:
            parts = schema["properties"].values()
            part_types = {frozenset(types_of(part) - {"null"}) for part in parts}
            part_types -= {frozenset({"string"}), frozenset({"integer"})}
        elif len(types) != 1 or not types <= {"integer", "number", "boolean", "string"}:
            part_types = {frozenset(types)}
        if part_types:
            raise TypeError(f"{table.stream.name}.{column} has a type that cannot be read")


def converter(column: str, table: Table, zone: BaseTzInfo) -> Convert | None:
    """Return the function that reads a column's text; None where the text is the value."""
    schema = table.schema["properties"][column]
    types = types_of(schema)
    if "integer" in types:
        return integer
    if "number" in types:
        return number
    if "boolean" in types:
        return boolean
    if schema.get("format") == "date-time" or column in table.stream.utc_text:
        return dates.datetime_converter(zone)
    return None


def read_elements(
    elements: list[etree._Element], schema: Mapping[str, Any], convert: Convert | None
) -> Any:
    """Return the value of a column's elements; None where they hold nothing. Raises ValueError."""
    types = types_of(schema)
    if "array" in types:
        return _texts(elements) or None
    filled = [element for element in elements if element.text or len(element)]
    if not filled:
        return None
    if len(filled) > 1:
        raise ValueError("the element occurs twice")
    element = filled[0]
    if "object" in types:
        return _nested(element, schema)
    if len(element):
        raise ValueError("elements instead of text")
    text = element.text
    return convert(text) if convert and text else text


def _texts(elements: list[etree._Element]) -> list[str]:
    """Read repeated elements of text, or one element that holds the texts as its children."""
    leaves = [leaf for element in elements for leaf in (list(element) or [element])]
    if any(len(leaf) for leaf in leaves):
        raise ValueError("elements instead of text")
    return [leaf.text for leaf in leaves if leaf.text]


def _nested(element: etree._Element, schema: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for column, part in schema["properties"].items():
        convert = integer if "integer" in types_of(part) else None
        nested[column] = read_elements(element.findall(f"{{*}}{column}"), part, convert)
    if (element.text or "").strip():
        raise ValueError("text instead of elements")
    return nested
