"""Convert the text of a reply's elements to values, typed by a column's JSON schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from lxml import etree
from pytz import BaseTzInfo

from tap_listrak import dates
from tap_listrak.addresses import hash_address, hash_addresses
from tap_listrak.streams import ADDRESS_COLUMNS, Table

Convert = Callable[[str], Any]

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[Ee][+-]?[0-9]{1,4})?")
_NO_NUMBER = {"NaN", "INF", "-INF", "+INF", "Infinity", "-Infinity"}


def integer(text: str) -> int:
    """Read an xs:int of up to 64 bits, the limit of warehouses. Raises ValueError."""
    text = text.strip()
    if not _INTEGER.fullmatch(text) or len(text) > 20:
        raise ValueError("not an integer")
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError("not a 64-bit integer")
    return value


def number(text: str) -> Decimal | None:
    """Read a decimal or double without rounding; None for NaN and infinities. Raises ValueError."""
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
    """Return the JSON types of a column's schema."""
    types = schema["type"]
    return {types} if isinstance(types, str) else set(types)


def is_compound(schema: Mapping[str, Any]) -> bool:
    """Return whether a column is an array or an object."""
    return not types_of(schema).isdisjoint(("array", "object"))


def check_schema(table: Table) -> None:
    """Raise TypeError if a column has an unsupported type."""
    for column, schema in table.schema["properties"].items():
        if not _is_supported(schema):
            raise TypeError(f"{table.stream.name}.{column} has an unsupported type")


def _is_supported(schema: Mapping[str, Any]) -> bool:
    types = types_of(schema) - {"null"}
    if types == {"array"}:
        return types_of(schema["items"]) == {"string"}
    if types == {"object"}:
        parts = schema["properties"].values()
        return all(types_of(part) - {"null"} in ({"string"}, {"integer"}) for part in parts)
    return len(types) == 1 and types <= {"integer", "number", "boolean", "string"}


def converter(
    column: str, table: Table, zone: BaseTzInfo, hash_key: str | None = None
) -> Convert | None:
    """Return the function that converts a column's text; None if the text is the value.

    With `hash_key`, email addresses of contacts are hashed.
    """
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
    if hash_key and table.stream.holds_addresses:
        return hash_address(hash_key) if column in ADDRESS_COLUMNS else hash_addresses(hash_key)
    return None


def read_elements(
    elements: list[etree._Element], schema: Mapping[str, Any], convert: Convert | None
) -> Any:
    """Return the value of a column's elements, None if they are empty. Raises ValueError."""
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
    """Read repeated elements, or the children of one element."""
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
