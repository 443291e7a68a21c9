"""The demo before anything is installed: which Pythons it is for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A Python of another version, which tells what it was called for.
PRETENDER = """\
#!/bin/sh
echo "$@" >> {calls}
exec python3 -c "import sys; sys.version_info = {version}; exec(sys.argv[2])" "$@"
"""


@pytest.mark.parametrize("version", [(3, 9, 25), (3, 15, 0)])
def test_a_python_that_does_not_fit_is_refused_in_one_line_before_anything_is_installed(
    version: tuple[int, int, int], tmp_path: Path
) -> None:
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
