"""Plays many histories, in one process or in several.

A module of its own, because a spawned process cannot import functions from a `__main__`.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from tests.histories.play import Outcome, player


def play_many(
    first: int, step: int, seconds: float, count: int | None, options: dict[str, Any]
) -> Iterator[Outcome]:
    """Play every `step`th history from `first` on, for some seconds, or a number of them."""
    until = time.monotonic() + seconds
    with player(**options) as playing:
        for seed in itertools.count(first, step):
            is_over = time.monotonic() >= until if count is None else seed >= first + count * step
            if is_over:
                return
            yield playing.play(seed)


def _play_into(writer: Connection, *arguments: Any) -> None:
    for outcome in play_many(*arguments):
        writer.send(outcome)
    writer.send(None)


def outcomes(
    processes: int, first: int, seconds: float, count: int | None, options: dict[str, Any]
) -> Iterator[Outcome]:
    """Play in one process, or in several of which each takes every nth seed.

    Raises EOFError if one of them dies.
    """
    if processes == 1:
        yield from play_many(first, 1, seconds, count, options)
        return
    context = multiprocessing.get_context("spawn")
    readers: list[Connection] = []
    for number in range(processes):
        reader, writer = context.Pipe(duplex=False)
        shares = (writer, first + number, processes, seconds, count, options)
        context.Process(target=_play_into, args=shares, daemon=True).start()
        writer.close()  # the process's alone now, so that its death ends the pipe
        readers.append(reader)
    while readers:
        for ready in wait(readers):
            assert isinstance(ready, Connection)
            outcome = ready.recv()
            if outcome is None:
                readers.remove(ready)
            else:
                yield outcome
