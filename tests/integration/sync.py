"""Syncs that stop in the midst of their pages, and the wait for what happens then."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest

from fake_listrak import Ask
from tests.support.runs import is_page

SECONDS = 300  # more than anything here takes on a busy machine


@dataclass
class Pause:
    """A rule that lets nothing through from the n-th page on, until it is over."""

    at: int
    reached: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    seen: Iterator[int] = field(default_factory=lambda: count(1))

    def __call__(self, ask: Ask) -> None:
        if is_page(ask) and next(self.seen) >= self.at:
            self.reached.set()
            self.over.wait(SECONDS)


def until(true: Callable[[], bool]) -> None:
    """Wait until it is true; fail if it never is."""
    for _ in range(SECONDS * 20):
        if true():
            return
        time.sleep(0.05)
    pytest.fail("It did not come about.")
