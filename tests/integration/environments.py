"""Environments of programs that cannot share one, because their pins conflict; made once, kept."""

import fcntl
import functools
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
KEPT = ROOT / ".environments"
NO_SOURCE = (".*", "__pycache__", "*.egg-info", "build", "dist", "out", "output")


def environment(name: str) -> Path:
    """Return the bin folder of the environment that holds what requirements/NAME.txt says.

    The versions are those of requirements/locked/NAME.txt, which lists everything, so that there
    is nothing to resolve. It is made again when one of these files or the Python changes.
    """
    requirements = ROOT / "tests/integration/requirements"
    files = [requirements / f"{name}.txt", requirements / f"locked/{name}.txt"]
    given = [file for file in files if file.exists()]
    return _with(name, given, "--no-deps", *(word for file in given for word in ("-r", str(file))))


@functools.cache
def tap_environment() -> Path:
    """Return the bin folder of an environment with the tap as a user gets it: from its wheel."""
    (wheel,) = distributions().glob("*.whl")
    return _with("tap", [wheel], str(wheel))


def distributions() -> Path:
    """Build the source distribution and, from that, the wheel; return their folder."""
    out, uv = KEPT / "dist", str(environment("installers") / "uv")
    with tempfile.TemporaryDirectory() as folder:
        # A copy, so that setuptools' own folders do not land in the checkout.
        source = Path(folder, "source")
        shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NO_SOURCE))
        files = sorted(path for path in source.rglob("*") if path.is_file())
        build = [uv, "build", "-q", "--python", sys.executable, "--out-dir", str(out), str(source)]
        _make(out, files, lambda: subprocess.run(build, check=True))
    return out


def _with(name: str, files: Sequence[Path], *arguments: str) -> Path:
    """Install into the environment of that name, unless what these files say is there already."""
    folder = KEPT / name
    into = ["--python", str(folder / "bin/python")]
    # Its uv is several times as fast.
    uv = name != "installers" and environment("installers") / "uv"
    pip = [uv, "pip", "install", *into] if uv else [sys.executable, "-m", "pip", *into, "install"]

    def install() -> None:
        venv = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
        subprocess.run(venv, check=True)
        subprocess.run([*pip, "-q", *arguments], check=True)

    _make(folder, files, install)
    return folder / "bin"


def _make(folder: Path, files: Sequence[Path], make: Callable[[], object]) -> None:
    """Make a folder, unless it was made of these files by this Python; others wait meanwhile."""
    content = b"".join(file.read_bytes() for file in files) + sys.executable.encode()
    wanted, made = hashlib.sha256(content).hexdigest(), folder / "made-of"
    KEPT.mkdir(exist_ok=True)
    with (KEPT / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists() or made.read_text("utf-8") != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            make()
            made.write_text(wanted, "utf-8")
