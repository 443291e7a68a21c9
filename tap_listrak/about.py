"""What the tap is and takes, in the form that the Meltano SDK's taps print for `--about`.

Hubs of plugins read it; nothing here is used in a sync.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

from tap_listrak import __version__
from tap_listrak.config import OPTIONS, REQUIRED, Option

CAPABILITIES = ["catalog", "state", "discover", "about", "activate-version"]
_PYTHON = "Programming Language :: Python :: 3."


def about() -> dict[str, Any]:
    """Return the object: name, versions, capabilities and, as a JSON schema, the settings."""
    package = metadata.metadata("tap-listrak")
    classifiers = package.get_all("Classifier") or []
    return {
        "name": "tap-listrak",
        "description": package["Summary"],
        "version": __version__,
        "sdk_version": None,  # it is not of the SDK, whose readers look for the key all the same
        "supported_python_versions": [
            each.rpartition(" ")[2] for each in classifiers if each.startswith(_PYTHON)
        ],
        "capabilities": CAPABILITIES,
        "settings": {
            "type": "object",
            "properties": {name: _setting(name, option) for name, option in OPTIONS.items()},
            "required": [name for name, option in OPTIONS.items() if option.default is REQUIRED],
            "$schema": "https://json-schema.org/draft/2020-12/schema",
        },
    }


def _setting(name: str, option: Option) -> dict[str, Any]:
    types = option.kind.schema["type"]
    types = [types] if isinstance(types, str) else types
    required = option.default is REQUIRED
    setting = {**option.kind.schema, "type": types if required else [*types, "null"]}
    if not required and option.default is not None:
        setting["default"] = option.default
    return {
        **setting,
        "title": label(name),
        "description": option.description,
    }


def label(name: str) -> str:
    """Return an option's name as words: `list_ids` as List IDs."""
    words = name.replace("_", " ").capitalize().split()
    written = {"ids": "IDs", "Wsdl": "WSDL", "url": "URL", "Timezone": "Time zone"}
    return " ".join(written.get(word, word) for word in words)
