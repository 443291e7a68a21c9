"""The files around the code agree with it: workflow, locks, Meltano, the demo."""

import re
import subprocess
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tap_listrak.about import CAPABILITIES, label
from tap_listrak.config import OPTIONS, Option
from tap_listrak.streams import PUBLISHED

ROOT = Path(__file__).parent.parent
PROJECT = yaml.safe_load((ROOT / "meltano.yml").read_text("utf-8"))
(EXTRACTOR,) = PROJECT["plugins"]["extractors"]


def test_the_workflow_tests_every_python_that_the_tap_allows_and_says() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text("utf-8"))
    pythons = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    package = metadata("tap-listrak")
    allowed = SpecifierSet(package["Requires-Python"])
    assert [f"3.{minor}" in allowed for minor in (9, 10)] == [False, True]
    assert pythons == re.findall(
        r"Python :: (3\.\d+)", "\n".join(package.get_all("Classifier", []))
    )
    for document in ("README.md", "CONTRIBUTING.md"):
        assert f"Python {pythons[0]} to {pythons[-1]}" in (ROOT / document).read_text("utf-8")


def test_a_lock_names_no_place_to_install_from() -> None:
    for lock in [ROOT / "requirements-dev.txt", *ROOT.glob("tests/integration/*/locked/*.txt")]:
        assert not re.search("://|--", lock.read_text("utf-8")), lock


# A Python of another version.
PRETENDER = """\
#!/bin/sh
exec python3 -c "import sys; sys.version_info = {version}; exec(sys.argv[2])" "$@"
"""


@pytest.mark.parametrize("version", [(3, 9, 25), (3, 15, 0)])
def test_an_unfit_python_is_refused_at_once(version: tuple[int, int, int], tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(PRETENDER.format(version=version), "utf-8")
    python.chmod(0o755)
    command = ["make", "-s", "demo", f"PYTHON={python}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode
    said = f"The demo needs Python 3.10 to 3.14, and {python} is {version[0]}.{version[1]}. "
    assert ended.stderr.startswith(said)


def setting(name: str, option: Option) -> dict[str, Any]:
    """An option as Meltano's setting."""
    kinds = option.schema["type"]
    found: dict[str, Any] = {
        "name": name,
        "label": label(name),
        "kind": "date_iso8601" if option.is_date else kinds if isinstance(kinds, str) else kinds[0],
        "description": option.description,
    }
    if option.is_secret:
        found["sensitive"] = True
    # The default of user_agent contains the tap's version.
    has_default = not option.is_required and option.default not in (None, frozenset())
    if has_default and name != "user_agent":
        found["value"] = "UTC" if name == "timezone" else option.default
    return found


def test_meltano_yml_has_the_options_as_settings_and_the_published_tables_and_no_config() -> None:
    assert EXTRACTOR["settings"] == [setting(*each) for each in OPTIONS.items()]
    required = [name for name, option in OPTIONS.items() if option.is_required]
    assert EXTRACTOR["settings_group_validation"] == [required]
    assert EXTRACTOR["capabilities"] == CAPABILITIES
    assert EXTRACTOR["select"] == [f"{stream.name}.*" for stream in PUBLISHED]
    assert "config" not in EXTRACTOR


def test_the_definition_for_the_hub_says_what_meltano_yml_does() -> None:
    hub = yaml.safe_load((ROOT / "hub/tap-listrak.yml").read_text("utf-8"))
    described = (
        *("name", "namespace", "executable", "capabilities", "settings"),
        *("settings_group_validation", "select"),
    )
    assert {key: hub[key] for key in described} == {key: EXTRACTOR[key] for key in described}
    # MeltanoHub requires these as well.
    assert hub.keys() >= {"variant", "label"}
