"""Where the examples are, and a call that fails once, so that a run of one of them is cut off."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from fake_listrak import Ask, Reply, redirect
from tests.integration.environments import ROOT
from tests.support.runs import is_page

EXAMPLES = ROOT / "examples"


def once_at_page(
    number: int, which: Callable[[Ask], bool] = is_page
) -> Callable[[Ask], Reply | None]:
    """A rule by which the n-th of these calls fails, so that the run ends, and then no more."""
    seen = count(1)
    return lambda ask: (
        redirect("http://127.0.0.1:9/") if which(ask) and next(seen) == number else None
    )
