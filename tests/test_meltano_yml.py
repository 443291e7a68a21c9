"""meltano.yml tells Meltano of the tap what the tap itself says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tap_listrak.about import CAPABILITIES, label
from tap_listrak.config import OPTIONS, Option
from tap_listrak.streams import PUBLISHED

ROOT = Path(__file__).parent.parent
PROJECT = yaml.safe_load((ROOT / "meltano.yml").read_text("utf-8"))
(EXTRACTOR,) = PROJECT["plugins"]["extractors"]
SETTINGS: dict[str, dict[str, Any]] = {each["name"]: each for each in EXTRACTOR["settings"]}
# Not said, since it has the tap's version in it.
MOVING_DEFAULTS = {"user_agent"}


def kind(option: Option) -> str:
    """Meltano's word for what an option takes."""
    schema = option.schema
    if schema.get("format") == "date-time":
        return "date_iso8601"
    types = schema["type"]
    return str(types if isinstance(types, str) else types[0])


def test_the_settings_are_the_options_in_their_order() -> None:
    assert [each["name"] for each in EXTRACTOR["settings"]] == list(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_setting_says_what_its_option_says(name: str) -> None:
    option = OPTIONS[name]
    expected: dict[str, Any] = {
        "name": name,
        "label": label(name),
        "kind": kind(option),
        "description": option.description,
    }
    if option.schema.get("secret"):
        expected["sensitive"] = True
    has_default = not option.is_required and option.default not in (None, frozenset())
    if has_default and name not in MOVING_DEFAULTS:
        expected["value"] = "UTC" if name == "timezone" else option.default
    assert SETTINGS[name] == expected


def test_the_settings_to_be_given_are_the_required_options() -> None:
    required = [name for name, option in OPTIONS.items() if option.is_required]
    assert EXTRACTOR["settings_group_validation"] == [required]


def test_user_name_password_and_hash_key_are_secrets() -> None:
    assert {name for name, each in SETTINGS.items() if each.get("sensitive")} == {
        "username",
        "password",
        "email_hash_key",
    }


def test_the_capabilities_are_those_that_the_tap_tells() -> None:
    assert EXTRACTOR["capabilities"] == CAPABILITIES


def test_the_published_tables_are_selected() -> None:
    assert EXTRACTOR["select"] == [f"{stream.name}.*" for stream in PUBLISHED]


def test_the_project_holds_no_config_of_the_tap() -> None:
    assert "config" not in EXTRACTOR
