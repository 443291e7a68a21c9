"""No history of runs, kills, faults and changes loses a row, however a target keeps the state.

`make histories` plays them for an hour, and `make mutants` breaks the tap in every way that they
must notice.
"""

from collections import Counter

import pytest

from tests.histories.mutants import MUTANTS
from tests.histories.play import playing


@pytest.mark.parametrize(
    ("scene", "histories"), [("general", 10), ("turns", 2), ("mirror", 4), ("bad row", 2)]
)
def test_no_history_loses_a_row(scene: str, histories: int) -> None:
    with playing(scene) as play:
        played = [play(seed) for seed in range(1, 1 + histories)]
    failures = [str(each) for each in played if each.failure]
    assert not failures, "\n\n".join(failures)
    counts = sum((each.counts for each in played), Counter())
    assert scene != "general" or counts["runs cut off"] > counts["runs"] / 10


def test_each_mutant_breaks_the_tap_as_it_is_now() -> None:
    for mutant in MUTANTS:
        with mutant.applied():
            pass
