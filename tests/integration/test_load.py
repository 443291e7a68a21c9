"""examples/duckdb/load.py on files that a full disk or a crash left torn."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.environments import EXAMPLES
from tests.integration.targets import duckdb_rows

COLUMNS = {
    "MsgID": {"type": ["null", "integer"]},
    "EmailAddress": {"type": ["null", "string"]},
    "Domain": {"type": ["null", "object"]},
}
STREAM = {
    "stream": "message_sends",
    "schema": {"properties": COLUMNS},
    "key_properties": ["MsgID", "EmailAddress"],
    "metadata": [{"breadcrumb": [], "metadata": {"selected": True}}],
}


def record(number: int, name: str = "é {} \u2028 }{") -> bytes:
    """Return a line of target-jsonl, without its end, whose text looks like JSON."""
    row = {"MsgID": number, "Domain": {"Name": "{"}, "EmailAddress": f"{name}{number}"}
    return json.dumps(row, ensure_ascii=False).encode()


def load(folder: Path, content: bytes) -> subprocess.CompletedProcess[str]:
    """Load a file of message_sends."""
    (folder / "catalog.json").write_text(json.dumps({"streams": [STREAM]}), "utf-8")
    (folder / "message_sends.jsonl").write_bytes(content)
    return run_load(folder)


def run_load(folder: Path) -> subprocess.CompletedProcess[str]:
    files = [folder / "catalog.json", folder, folder / "listrak.duckdb"]
    command = [sys.executable, str(EXAMPLES / "duckdb/load.py"), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def rows(folder: Path, column: str) -> list[Any]:
    query = f"SELECT {column} AS it FROM message_sends ORDER BY ALL"
    return [row["it"] for row in duckdb_rows(folder / "listrak.duckdb", query)]


ONE, TWO, THREE = map(record, (1, 2, 3))
NESTED = THREE[: THREE.index(b'"Email')]
IN_A_CHARACTER = THREE[: THREE.index("é".encode()) + 1]


CASES = {
    "whole": (ONE + b"\n" + TWO + b"\n", [1, 2], []),
    "an empty line": (ONE + b"\n\n" + TWO, [1, 2], []),
    "torn at the end": (ONE + b"\n" + TWO[:-1], [1], [2]),
    "torn in the middle": (ONE + b"\n" + THREE[:20] + b"\n" + TWO + b"\n", [1, 2], [2]),
    "glued after a fragment": (THREE[:20] + ONE + b"\n" + TWO + b"\n", [1, 2], [1]),
    "two on a line": (ONE + TWO + b"\n" + THREE + b"\n", [1, 2, 3], [1]),
    "two and a fragment": (ONE + b" " + TWO + THREE[:9] + b"\n" + THREE + b"\n", [1, 2, 3], [1]),
    "a nested object": (NESTED + ONE + b"\n", [1], [1]),
    "torn in a character": (IN_A_CHARACTER + ONE + b"\n" + TWO + b"\n", [1, 2], [1]),
    "zeros of a crash": (ONE + b"\n" + bytes(4096) + TWO + b"\n", [1, 2], [2]),
    "no object": (ONE + b"\n[1]\n" + TWO + b"\n", [1, 2], [2]),
    "only a fragment": (THREE[:9], [], [1]),
    "empty": (b"", [], []),
}


@pytest.mark.parametrize(("content", "numbers", "lines"), CASES.values(), ids=CASES)
def test_whole_records_are_loaded_and_each_torn_line_is_named(
    tmp_path: Path, content: bytes, numbers: list[int], lines: list[int]
) -> None:
    ended = load(tmp_path, content)
    assert ended.returncode == 0, ended.stderr
    assert rows(tmp_path, "MsgID") == numbers
    warned = ended.stderr.splitlines()
    file = tmp_path / "message_sends.jsonl"
    for number, warning in zip(lines, warned, strict=True):
        assert warning.startswith(f"WARNING {file}, line {number}: ")
        assert "é" not in warning


def test_a_line_cut_at_any_byte_costs_only_its_own_record(tmp_path: Path) -> None:
    fragments = [THREE[:end] for end in range(1, len(THREE))]
    assert load(tmp_path, b"".join(part + ONE + b"\n" for part in fragments) + TWO).returncode == 0
    assert rows(tmp_path, "MsgID") == [1, 2]


def test_of_a_key_that_comes_twice_the_last_is_kept_also_in_a_torn_file(tmp_path: Path) -> None:
    changed = ONE.replace(b'"Name": "{"', b'"Name": "new"')
    load(tmp_path, ONE + b"\n" + THREE[:9] + changed + b"\n")
    assert rows(tmp_path, "Domain->>'Name'") == ["new"]


def test_a_catalog_that_is_missing_or_torn_is_named_without_a_traceback(tmp_path: Path) -> None:
    for content in (None, '{"streams": ['):
        if content:
            (tmp_path / "catalog.json").write_text(content, "utf-8")
        ended = run_load(tmp_path)
        assert ended.returncode == 1
        assert "catalog.json" in ended.stderr
        assert "Traceback" not in ended.stderr
