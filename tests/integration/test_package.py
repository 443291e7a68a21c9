"""What is uploaded and installed is whole, and says of itself what is true."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tap_listrak import __version__
from tap_listrak.streams import STREAMS
from tests.integration.environments import (
    NO_SOURCE,
    ROOT,
    distributions,
    environment,
    tap_environment,
)


@pytest.fixture(scope="module")
def built() -> Path:
    return distributions()


def test_twine_finds_nothing_wrong(built: Path) -> None:
    twine = environment("packaging") / "twine"
    subprocess.run([twine, "check", "--strict", *built.glob("tap_listrak-*")], check=True)


def test_the_wheel_holds_the_tap_its_schemas_and_its_types_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(built / f"tap_listrak-{__version__}-py3-none-any.whl") as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (about,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
        told = HeaderParser().parsestr(wheel.read(about).decode())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tap_listrak").rglob("*.py")}
    schemas = {f"tap_listrak/schemas/{stream.name}.json" for stream in STREAMS}
    assert names == modules | schemas | {"tap_listrak/py.typed"}
    assert (told["Name"], told["Version"]) == ("tap-listrak", __version__)
    assert told["License-Expression"] == "Apache-2.0"


def test_the_source_distribution_holds_all_that_is_versioned(built: Path) -> None:
    with tarfile.open(built / f"tap_listrak-{__version__}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True)
    versioned = {name for name in listed.stdout.decode().splitlines() if not name.startswith(".")}
    assert versioned <= names


@pytest.mark.parametrize("command", [["tap-listrak"], ["python", "-m", "tap_listrak"]])
def test_the_installed_tap_runs_as_script_and_module(command: list[str], tmp_path: Path) -> None:
    run = [str(tap_environment() / command[0]), *command[1:], "--version"]
    assert subprocess.check_output(run, cwd=tmp_path, text=True) == f"tap-listrak {__version__}\n"


@pytest.mark.parametrize("command", ["uv tool install .", "pipx install ."])
def test_uv_and_pipx_install_the_command(command: str, tmp_path: Path) -> None:
    assert f"`{command}`" in (ROOT / "README.md").read_text("utf-8")
    checkout, programs = tmp_path / "checkout", tmp_path / "bin"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(*NO_SOURCE))
    variables = {
        "PATH": f"{environment('installers')}:{os.environ['PATH']}",
        "UV_TOOL_DIR": str(tmp_path / "tools"),
        "UV_TOOL_BIN_DIR": str(programs),
        "UV_PYTHON": sys.executable,
        "PIPX_HOME": str(tmp_path / "pipx"),
        "PIPX_BIN_DIR": str(programs),
        "PIPX_DEFAULT_PYTHON": sys.executable,
    }
    subprocess.run(["sh", "-c", command], cwd=checkout, env=os.environ | variables, check=True)
    said = subprocess.check_output([programs / "tap-listrak", "--version"], text=True)
    assert said == f"tap-listrak {__version__}\n"


def test_type_checkers_find_wrong_types_in_code_that_uses_the_installed_tap(tmp_path: Path) -> None:
    code = tmp_path / "uses.py"
    code.write_text("from tap_listrak.cli import main\n\nreveal_type(main([]))\nmain(5)\n", "utf-8")
    mypy = [sys.executable, "-m", "mypy", "--python-executable", str(tap_environment() / "python")]
    ended = subprocess.run([*mypy, code], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert 'Revealed type is "int"' in ended.stdout.replace("builtins.", "")
    assert "arg-type" in ended.stdout
