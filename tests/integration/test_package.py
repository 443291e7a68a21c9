"""What is uploaded and installed is whole, and is installed by the README's commands."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tap_listrak import __version__
from tap_listrak.streams import STREAMS
from tests.integration.environments import NO_SOURCE, ROOT, distributions, environment


def test_the_wheel_holds_the_tap_its_schemas_and_its_types_and_nothing_else() -> None:
    built = distributions()
    twine = environment("packaging") / "twine"
    subprocess.run([twine, "check", "--strict", *built.glob("tap_listrak-*")], check=True)
    with zipfile.ZipFile(built / f"tap_listrak-{__version__}-py3-none-any.whl") as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tap_listrak").rglob("*.py")}
    schemas = {f"tap_listrak/schemas/{stream.name}.json" for stream in STREAMS}
    assert names == modules | schemas | {"tap_listrak/py.typed"}


def test_the_source_distribution_holds_all_that_is_versioned() -> None:
    with tarfile.open(distributions() / f"tap_listrak-{__version__}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    assert {name for name in listed if not name.startswith(".")} <= names


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
