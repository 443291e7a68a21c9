"""The files around the code agree with it: workflow, locks, hooks, editors, Meltano, the demo."""

import configparser
import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import metadata, requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tap_listrak.about import CAPABILITIES, label
from tap_listrak.config import OPTIONS, Option
from tap_listrak.streams import PUBLISHED

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
REQUIREMENTS = ROOT / "tests/integration/requirements"
LOCK = ROOT / "requirements-dev.txt"
LOCKS = [LOCK, *sorted((REQUIREMENTS / "locked").glob("*.txt"))]
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text("utf-8"))
RELEASE: dict[str, Any] = yaml.safe_load(
    (ROOT / ".github/workflows/release.yml").read_text("utf-8")
)
PYTHONS: list[str] = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"]


def pins(lock: Path, python: str) -> dict[str, str]:
    """What a lock installs with a Python on Linux: by name, the version."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "extra": "",
    }
    found: dict[str, str] = {}
    for requirement in required(lock):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            (exact,) = requirement.specifier
            assert exact.operator == "=="
            assert normal(requirement.name) not in found
            found[normal(requirement.name)] = exact.version
    return found


def required(path: Path) -> Iterator[Requirement]:
    for line in path.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            yield Requirement(line)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def assert_pinned(requirement: Requirement, pinned: dict[str, str]) -> None:
    assert requirement.specifier.contains(pinned[normal(requirement.name)]), requirement


def test_the_workflow_tests_every_python_that_the_tap_allows_and_says() -> None:
    package = metadata("tap-listrak")
    allowed = SpecifierSet(package["Requires-Python"])
    assert all(python in allowed for python in PYTHONS)
    assert "3.9" not in allowed
    assert PYTHONS[0] == "3.10"
    said = re.findall(r"Python :: (3\.\d+)", "\n".join(package.get_all("Classifier") or ()))
    assert set(said) <= set(PYTHONS)
    contributing = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert f"for Python {PYTHONS[0]} to {PYTHONS[-1]}," in contributing


def test_the_workflow_does_what_a_person_does() -> None:
    commands = [step["run"] for step in WORKFLOW["jobs"]["test"]["steps"] if "run" in step]
    assert commands == ["make test PYTHON=python"]
    assert WORKFLOW["permissions"] == {"contents": "read"}


def test_a_release_is_tried_on_the_oldest_and_newest_python_and_published_by_an_owner_only() -> (
    None
):
    jobs = RELEASE["jobs"]
    assert jobs["try"]["strategy"]["matrix"]["python"] == [PYTHONS[0], PYTHONS[-1]]
    assert (jobs["try"]["needs"], jobs["publish"]["needs"]) == ("build", "try")
    assert "vars.PYPI_NAME != ''" in jobs["publish"]["if"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert RELEASE["permissions"] == {"contents": "read"}
    steps = [step.get("run", "") for step in jobs["build"]["steps"]]
    assert {"python -m build", "twine check --strict dist/*"} <= set(steps)
    (rename,) = (step for step in steps if step.startswith("sed"))
    setup = (ROOT / "setup.py").read_text("utf-8")
    assert 'name=\\"tap-listrak\\"' in rename
    assert setup.count('name="tap-listrak"') == 1


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_has_one_version_of_all_that_is_asked_for(python: str) -> None:
    pinned = pins(LOCK, python)
    asked = [Requirement(text) for text in requires("tap-listrak") or ()]
    assert asked
    for requirement in asked:
        assert_pinned(requirement, pinned)


@pytest.mark.parametrize("path", sorted(REQUIREMENTS.glob("*.txt")), ids=lambda path: path.stem)
def test_each_environment_of_the_integration_tests_is_locked(path: Path) -> None:
    # Airflow's requirements are a lock already.
    pinned = pins(path if path.stem == "airflow" else path.parent / "locked" / path.name, "3.11")
    for requirement in required(path):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": "3.11"}):
            assert_pinned(requirement, pinned)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_names_no_place_to_install_from(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "://" not in text
    assert "--" not in text


def test_the_environment_is_made_from_the_lock() -> None:
    recipe = MAKEFILE.split("\n$(DEV): ")[1].split("\n\n")[0]
    assert recipe.startswith("setup.py requirements-dev.txt\n")
    assert "-r requirements-dev.txt -e ." in recipe


def test_the_hooks_are_steps_of_make_test() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    hooks = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    (code,) = re.findall(r"^CODE := (.*)$", MAKEFILE, re.MULTILINE)
    recipe = MAKEFILE.replace("\\\n", "").split("\ntest: ")[1].split("\n\n")[0]
    recipe = recipe.replace("$(CODE)", code)
    steps = [line.strip() for line in recipe.splitlines()[1:]]
    assert hooks == steps[: len(hooks)]
    assert all("coverage" in step or "pytest" in step for step in steps[len(hooks) :])


def test_editors_are_told_what_ruff_asks_for() -> None:
    (length,) = re.findall(r"^line-length = (\d+)$", (ROOT / "pyproject.toml").read_text(), re.M)
    assert editorconfig("*")["max_line_length"] == length


def editorconfig(pattern: str) -> dict[str, str]:
    parser = configparser.ConfigParser()
    text = (ROOT / ".editorconfig").read_text("utf-8")
    parser.read_string(f"[before]\n{text}")
    return dict(parser[pattern])


def texts() -> Iterator[Path]:
    for folder in ("benchmarks", "docs", "examples", "fake_listrak", "tap_listrak", "tests"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".md", ".yml", ".json", ".txt", ".sh"} and not (
                {"out", "target", "__pycache__"} & set(path.parts)
            ):
                yield path
    yield from (path for path in ROOT.iterdir() if path.suffix in {".md", ".toml", ".yml", ".py"})
    yield ROOT / "Makefile"


def test_the_files_are_as_editors_are_told_to_write_them() -> None:
    general, of_make = editorconfig("*"), editorconfig("Makefile")
    assert general["insert_final_newline"] == general["trim_trailing_whitespace"] == "true"
    assert (general["end_of_line"], general["charset"]) == ("lf", "utf-8")
    assert (general["indent_style"], of_make["indent_style"]) == ("space", "tab")
    wrong = []
    for path in texts():
        text = path.read_bytes().decode("utf-8")
        is_sound = not text or (text.endswith("\n") and "\r" not in text)
        indent = r"^\t" if path.name != "Makefile" else r"^ "
        if not is_sound or re.search(rf"[ \t]$|{indent}", text, re.MULTILINE):
            wrong.append(path.relative_to(ROOT).as_posix())
    assert wrong == []


def test_no_test_module_imports_another() -> None:
    """Shared code is in tests/support, and fixtures are in conftest.py."""
    modules = sorted(Path(__file__).parent.rglob("test_*.py"))
    assert Path(__file__).parent / "integration/test_targets.py" in modules
    importing = re.compile(r"^ *(from|import) .*\btest_\w+", re.MULTILINE)
    assert not [path.name for path in modules if importing.search(path.read_text("utf-8"))]


# The demo, before anything is installed.

# A Python of another version, which prints what it was called with.
PRETENDER = """\
#!/bin/sh
echo "$@" >> {calls}
exec python3 -c "import sys; sys.version_info = {version}; exec(sys.argv[2])" "$@"
"""


@pytest.mark.parametrize("version", [(3, 9, 25), (3, 15, 0)])
def test_an_unfit_python_is_refused_at_once(version: tuple[int, int, int], tmp_path: Path) -> None:
    python, calls = tmp_path / "python", tmp_path / "calls"
    python.write_text(PRETENDER.format(calls=calls, version=version), "utf-8")
    python.chmod(0o755)
    command = ["make", "-s", "demo", f"PYTHON={python}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode
    told, *others = ended.stderr.splitlines()
    assert told.startswith("The demo needs Python 3.10 to 3.14, and ")
    assert f" is {version[0]}.{version[1]}. " in told
    assert all(line.startswith("make") for line in others)
    assert all(call.startswith("-c ") for call in calls.read_text("utf-8").splitlines())


# meltano.yml describes the tap as it describes itself.

PROJECT = yaml.safe_load((ROOT / "meltano.yml").read_text("utf-8"))
(EXTRACTOR,) = PROJECT["plugins"]["extractors"]
# Omitted, because it contains the tap's version.
MOVING_DEFAULTS = {"user_agent"}


def kind(option: Option) -> str:
    """Meltano's word for what an option takes."""
    schema = option.schema
    if schema.get("format") == "date-time":
        return "date_iso8601"
    types = schema["type"]
    return str(types if isinstance(types, str) else types[0])


def setting(name: str, option: Option) -> dict[str, Any]:
    """An option as Meltano's setting."""
    found: dict[str, Any] = {
        "name": name,
        "label": label(name),
        "kind": kind(option),
        "description": option.description,
    }
    if option.is_secret:
        found["sensitive"] = True
    has_default = not option.is_required and option.default not in (None, frozenset())
    if has_default and name not in MOVING_DEFAULTS:
        found["value"] = "UTC" if name == "timezone" else option.default
    return found


def test_meltano_yml_has_the_options_as_settings_and_the_published_tables_and_no_config() -> None:
    assert EXTRACTOR["settings"] == [setting(*each) for each in OPTIONS.items()]
    required = [name for name, option in OPTIONS.items() if option.is_required]
    assert EXTRACTOR["settings_group_validation"] == [required]
    assert EXTRACTOR["capabilities"] == CAPABILITIES
    assert EXTRACTOR["select"] == [f"{stream.name}.*" for stream in PUBLISHED]
    assert "config" not in EXTRACTOR


# hub/tap-listrak.yml describes the tap as MeltanoHub does.

HUB = yaml.safe_load((ROOT / "hub/tap-listrak.yml").read_text("utf-8"))
# What MeltanoHub's schema of an extractor requires.
REQUIRED_IN_HUB = {"name", "namespace", "variant", "label"}


def test_the_definition_for_the_hub_says_what_meltano_yml_does() -> None:
    described = (
        *("name", "namespace", "executable", "capabilities", "settings"),
        *("settings_group_validation", "select"),
    )
    assert {key: HUB[key] for key in described} == {key: EXTRACTOR[key] for key in described}
    assert HUB.keys() >= REQUIRED_IN_HUB
