"""The histories notice defects; `make mutants` puts all of them into copies of the tap, in turn."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.mutants import MUTANTS, ROOT, Mutant, play


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_changes_the_tap_as_it_is_now(mutant: Mutant, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tap_listrak", tmp_path / "tap_listrak")
    mutant.apply(tmp_path)


@pytest.mark.parametrize("name", ["what fails is not set aside", "there is no lookback"])
def test_a_defect_is_noticed(name: str) -> None:
    (mutant,) = (each for each in MUTANTS if each.name == name)
    failure = play(mutant, 60)
    assert failure
    assert "loss" in failure
