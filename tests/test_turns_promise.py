"""Where older messages wait for their turn, nothing is lost, and nothing waits too long.

TURNS says how many histories are played, TURNS_SEED with which seed they begin; see turns.py.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.support.histories import describe, play, play_many, summary
from tests.support.turns import WRONG_TAPS, TurnsHistory, wrong

COUNT = int(os.environ.get("TURNS", "12"))
FIRST = int(os.environ.get("TURNS_SEED", "1"))
SHARES = 4


@pytest.mark.parametrize("share", range(SHARES))
def test_older_messages_come_in_time_and_whole(share: int) -> None:
    counts, failures = Counter[str](), []
    seeds = range(FIRST + share, FIRST + COUNT, SHARES)
    for told in play_many(seeds, make_history=TurnsHistory):
        counts.update(told.counts)
        if told.failure:
            failures.append(describe(told))
    print(summary(counts))
    assert not failures, "\n\n".join(failures)
    if COUNT >= 12:
        # What the oracle is to tell apart has happened.
        assert counts["runs in which messages may wait"] > counts["runs"] / 3
        assert counts["complete runs in which messages may wait"]
        assert counts["runs given an offset"]
        assert counts["runs given something set aside"]


@pytest.mark.parametrize("name", WRONG_TAPS)
def test_a_tap_that_breaks_the_promise_is_noticed(name: str) -> None:
    tolds = (play(seed, make_history=wrong(name)) for seed in range(1, 31))
    failed = next(told for told in tolds if told.failure)
    assert failed.kind == "loss", describe(failed)
