"""A test module can be read, changed and removed by itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
MODULES = sorted(TESTS.rglob("test_*.py"))


def imported(module: Path) -> Iterator[str]:
    """Every name that a module imports, with the module that it comes from."""
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{name.name}" for name in node.names)


def test_no_test_module_imports_another() -> None:
    """What several need stands in tests/support, and fixtures in conftest.py."""
    others = {path.stem for path in MODULES}
    assert TESTS / "integration/test_targets.py" in MODULES
    found = {
        path.relative_to(TESTS).as_posix(): name
        for path in MODULES
        for name in imported(path)
        if others & set(name.split("."))
    }
    assert found == {}
