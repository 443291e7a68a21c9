"""Describe the tap and its settings for `--about` and `--help`, as text, Markdown or JSON.

The JSON has the format of Meltano SDK taps, for plugin hubs. A sync does not use this module.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from tap_listrak import __version__
from tap_listrak.config import OPTIONS, Option, variable_of

CAPABILITIES = [
    *("catalog", "state", "discover", "about", "test"),
    *("activate-version", "structured-logging"),
]
FORMATS = ("text", "json", "markdown")
_PYTHON = "Programming Language :: Python :: 3."


def about() -> dict[str, Any]:
    """Return the name, the versions, the capabilities, and the settings as a JSON schema."""
    package = metadata.metadata("tap-listrak")
    classifiers = package.get_all("Classifier") or []
    return {
        "name": "tap-listrak",
        "description": package["Summary"],
        "version": __version__,
        "sdk_version": None,  # not an SDK tap, but hubs expect the key
        "supported_python_versions": [
            each.rpartition(" ")[2] for each in classifiers if each.startswith(_PYTHON)
        ],
        "capabilities": CAPABILITIES,
        "settings": {
            "type": "object",
            "properties": {name: _setting(name, option) for name, option in OPTIONS.items()},
            "required": [name for name, option in OPTIONS.items() if option.is_required],
            "$schema": "https://json-schema.org/draft/2020-12/schema",
        },
    }


def _setting(name: str, option: Option) -> dict[str, Any]:
    setting = {**option.schema, "title": label(name), "description": option.description}
    if not option.is_required:
        types = option.schema["type"]
        setting["type"] = [*([types] if isinstance(types, str) else types), "null"]
    if not option.is_required and option.default not in (None, frozenset()):
        is_json = isinstance(option.default, (int, str))
        setting["default"] = option.default if is_json else str(option.default)
    return setting


def label(name: str) -> str:
    """Return an option's name in words, such as List IDs for `list_ids`."""
    words = name.replace("_", " ").capitalize().split()
    written = {"ids": "IDs", "Wsdl": "WSDL", "url": "URL", "Timezone": "Time zone"}
    return " ".join(written.get(word, word) for word in words)


def format_about(form: str) -> str:
    """Return the description and settings in one of FORMATS."""
    facts = about()
    if form == "json":
        return json.dumps(facts, indent=2)
    if form == "markdown":
        return _as_markdown(facts)
    return f"""\
{facts["name"]} {facts["version"]}
{facts["description"]}

Python versions:
  {", ".join(facts["supported_python_versions"])}

capabilities:
  {", ".join(facts["capabilities"])}

settings:
{lay_out(((name, describe(option)) for name, option in OPTIONS.items()), 22)}"""


def _as_markdown(facts: dict[str, Any]) -> str:
    capabilities = "\n".join(f"- `{each}`" for each in facts["capabilities"])
    return f"""\
# {facts["name"]}

{facts["description"]}

Version {facts["version"]}, for Python {", ".join(facts["supported_python_versions"])}.

## Capabilities

{capabilities}

## Settings

{settings_in_markdown()}"""


def settings_in_markdown() -> str:
    """Return the table of options, which docs/configuration.md also contains."""
    lines = ["| key | must be | default | meaning | variable |", "|---|---|---|---|---|"]
    for name, option in OPTIONS.items():
        default = _default_text(option)
        default = default if default in ("required", "none") else f"`{default}`"
        cells = (f"`{name}`", option.takes, default, option.description, f"`{variable_of(name)}`")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def describe(option: Option) -> str:
    """Return an option's meaning, values and default."""
    default = _default_text(option)
    default = default if option.is_required else f"default: {default}"
    return f"{option.description} ({option.takes}; {default})"


def _default_text(option: Option) -> str:
    if option.is_required:
        return "required"
    if option.default in (None, frozenset()):
        return "none"
    is_number = isinstance(option.default, (bool, int))
    return json.dumps(option.default) if is_number else str(option.default)


def lay_out(rows: Iterable[tuple[str, str]], width: int) -> str:
    """Return names and meanings in two columns, at most 79 characters wide.

    A longer word, such as a URL, is not split.
    """
    wrapped = (
        textwrap.fill(
            meaning,
            width=79,
            initial_indent=f"  {name:<{width}} ",
            subsequent_indent=" " * (width + 3),
            break_long_words=False,
        )
        for name, meaning in rows
    )
    return "\n".join(wrapped)
