"""No history of runs, kills, faults and changes loses a row, however a target keeps the state.

HISTORIES says how many are played, HISTORIES_SEED with which seed they begin. See histories.py for
how one that fails is played again; `make histories` plays them for an hour.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.support.histories import describe, play_many, summary

COUNT = int(os.environ.get("HISTORIES", "40"))
FIRST = int(os.environ.get("HISTORIES_SEED", "1"))
SHARES = 4


@pytest.mark.parametrize("share", range(SHARES))
def test_no_history_loses_a_row(share: int) -> None:
    counts, failures = Counter[str](), []
    for told in play_many(range(FIRST + share, FIRST + COUNT, SHARES)):
        counts.update(told.counts)
        if told.failure:
            failures.append(describe(told))
    print(summary(counts))
    assert not failures, "\n\n".join(failures)
    if COUNT >= 40:
        # The oracle asks for rows, and what it is to tell apart has happened.
        assert counts["rows owed"] > counts["rows"] / 2
        assert counts["runs given an offset"]
        assert counts["runs given something set aside"]
