"""examples/duckdb/load.py on files that a full disk or a crash left torn."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.environments import EXAMPLES
from tests.integration.targets import duckdb_rows

TYPES = {"MsgID": "integer", "EmailAddress": "string", "Domain": "object"}
STREAM = {
    "stream": "message_sends",
    "schema": {"properties": {name: {"type": ["null", kind]} for name, kind in TYPES.items()}},
    "key_properties": ["MsgID", "EmailAddress"],
    "metadata": [{"breadcrumb": [], "metadata": {"selected": True}}],
}
# Lines of target-jsonl, without their ends, whose text looks like JSON.
RECORD = '{"MsgID": %d, "Domain": {"Name": "{"}, "EmailAddress": "é {} \u2028 }{"}'
ONE, TWO, THREE = ((RECORD % number).encode() for number in (1, 2, 3))
CUT_AT_ANY_BYTE = b"".join(THREE[:end] + ONE + b"\n" for end in range(1, len(THREE)))
CASES = {
    "whole, and an empty line": (ONE + b"\n\n" + TWO, [1, 2], []),
    "torn at the end": (ONE + b"\n" + TWO[:-1], [1], [2]),
    "two and a fragment": (ONE + b" " + TWO + THREE[:9] + b"\n" + THREE + b"\n", [1, 2, 3], [1]),
    "torn at any byte": (CUT_AT_ANY_BYTE + TWO, [1, 2], range(1, len(THREE))),
    "zeros of a crash": (ONE + b"\n" + bytes(4096) + TWO + b"\n", [1, 2], [2]),
    "no object": (ONE + b"\n[1]\n" + TWO + b"\n", [1, 2], [2]),
    "empty": (b"", [], []),
}


def load(folder: Path, content: bytes, catalog: str) -> subprocess.CompletedProcess[str]:
    """Load a file of message_sends."""
    (folder / "message_sends.jsonl").write_bytes(content)
    (folder / "catalog.json").write_text(catalog, "utf-8")
    files = (folder / "catalog.json", folder, folder / "listrak.duckdb")
    command = [sys.executable, EXAMPLES / "duckdb/load.py", *files]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("content", "numbers", "lines"), CASES.values(), ids=CASES)
def test_whole_records_are_loaded_and_each_torn_line_is_named(
    tmp_path: Path, content: bytes, numbers: list[int], lines: list[int]
) -> None:
    ended = load(tmp_path, content, json.dumps({"streams": [STREAM]}))
    rows = duckdb_rows(tmp_path / "listrak.duckdb", "SELECT MsgID FROM message_sends ORDER BY ALL")
    assert [row["MsgID"] for row in rows] == numbers
    for number, warning in zip(lines, ended.stderr.splitlines(), strict=True):
        assert warning.startswith(f"WARNING {tmp_path / 'message_sends.jsonl'}, line {number}: ")
        assert "é" not in warning


def test_a_torn_catalog_is_named_without_a_traceback(tmp_path: Path) -> None:
    ended = load(tmp_path, b"", '{"streams": [')
    assert ended.returncode == 1
    assert ended.stderr.startswith("load.py: ")
    assert "catalog.json" in ended.stderr
