"""Environments of programs that cannot share one, because their pins conflict; made once, kept."""

import contextlib
import fcntl
import functools
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
KEPT = ROOT / ".environments"
NO_SOURCE = (".*", "__pycache__", "*.egg-info", "build", "dist", "out", "output")


def environment(name: str) -> Path:
    """Return the bin folder of the environment that holds what requirements/NAME.txt says.

    The versions are those of requirements/locked/NAME.txt, which lists everything, so that there
    is nothing to resolve. It is made again when one of these files or the Python changes. Raises
    CalledProcessError where something cannot be installed.
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
    build = [str(environment("installers") / "uv"), "build", "-q", "--python", sys.executable]
    out, made = KEPT / "dist", KEPT / "dist/made-of"
    with tempfile.TemporaryDirectory() as folder, _locked("dist"):
        # A copy, so that setuptools' own folders do not land in the checkout.
        source = Path(folder, "source")
        shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NO_SOURCE))
        files = sorted(path for path in source.rglob("*") if path.is_file())
        wanted = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
        if not made.exists() or made.read_text("utf-8") != wanted:
            shutil.rmtree(out, ignore_errors=True)
            subprocess.run([*build, "--out-dir", str(out), str(source)], check=True)
            made.write_text(wanted, "utf-8")
    return out


def _with(name: str, files: Sequence[Path], *arguments: str) -> Path:
    """Install into the environment of that name, unless what these files say is there already."""
    folder, made = KEPT / name, KEPT / name / "made-with"
    content = b"".join(file.read_bytes() for file in files)
    wanted = hashlib.sha256(content + sys.executable.encode()).hexdigest()
    with _locked(name):
        if not made.exists() or made.read_text("utf-8") != wanted:
            venv = [sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)]
            subprocess.run(venv, check=True)
            into = ["--python", str(folder / "bin/python")]
            install = [str(KEPT / "installers/bin/uv"), "pip", "install", *into]
            if name == "installers":
                install = [sys.executable, "-m", "pip", *into, "install"]
            else:
                environment("installers")  # its uv is several times as fast
            subprocess.run([*install, "-q", *arguments], check=True)
            made.write_text(wanted, "utf-8")
    return folder / "bin"


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    """Keep others from making the same environment meanwhile."""
    KEPT.mkdir(exist_ok=True)
    with (KEPT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
