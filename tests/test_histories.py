"""No history of runs, kills, faults and changes loses a row, however a target keeps the state.

HISTORIES multiplies how many are played, HISTORIES_SEED is the first seed. `make histories` plays
them for an hour, and `make mutants` breaks the tap in every way that they must notice.
"""

import os
from collections import Counter

import pytest

from tests.histories.many import outcomes
from tests.histories.mutants import MUTANTS, Mutant, first_failure
from tests.histories.play import player

COUNT = int(os.environ.get("HISTORIES", "1"))
FIRST = int(os.environ.get("HISTORIES_SEED", "1"))


@pytest.mark.parametrize(
    ("scene", "histories"),
    [("general", 10), ("turns", 2), ("mirror", 4), ("bad row", 1), ("dead", 1)],
)
def test_no_history_loses_a_row(scene: str, histories: int) -> None:
    counts, failures = Counter[str](), []
    with player(scene=scene) as playing:
        for seed in range(FIRST, FIRST + histories * COUNT):
            outcome = playing.play(seed)
            counts.update(outcome.counts)
            if outcome.failure:
                failures.append(outcome.describe())
    assert not failures, "\n\n".join(failures)
    assert scene != "general" or counts["runs cut off"] > counts["runs"] / 10
    assert any(name.startswith("fault: ") for name in counts)


def test_several_processes_share_the_histories() -> None:
    played = [outcome.seed for outcome in outcomes(2, FIRST, 0, "bad row")]
    assert sorted(played) == [FIRST, FIRST + 1]


def test_the_death_of_a_process_that_plays_is_noticed() -> None:
    with pytest.raises(EOFError):
        list(outcomes(2, FIRST, 0, "no such scene"))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.title)
def test_each_mutant_breaks_the_tap_as_it_is_now(mutant: Mutant) -> None:
    with mutant.applied():
        pass


@pytest.mark.long
@pytest.mark.parametrize(
    "title",
    [
        "what fails is not set aside",
        "a resumed run ends with its first pass",
        "held parts are claimed",
    ],
)
def test_a_defect_is_noticed(title: str) -> None:
    (mutant,) = (each for each in MUTANTS if each.title == title)
    found = first_failure(mutant, 40)
    assert found
    assert found.kind in ("loss", "exit")
