"""Plays many histories, in one process or in several.

A module of its own, because a spawned process cannot import functions from a `__main__`.
"""

import itertools
import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait

from tests.histories.play import Outcome, player


def _play(first: int, step: int, seconds: float, scene: str | None) -> Iterator[Outcome]:
    """Play every `step`th history from `first` on, at least one, until the seconds are over."""
    until = time.monotonic() + seconds
    with player(scene) as playing:
        for seed in itertools.count(first, step):
            yield playing.play(seed)
            if time.monotonic() >= until:
                return


def _play_into(
    writer: Connection, first: int, step: int, seconds: float, scene: str | None
) -> None:
    for outcome in _play(first, step, seconds, scene):
        writer.send(outcome)
    writer.send(None)


def outcomes(processes: int, first: int, seconds: float, scene: str | None) -> Iterator[Outcome]:
    """Play in one process, or in several of which each takes every nth seed.

    Raises EOFError if one of them dies.
    """
    if processes == 1:
        yield from _play(first, 1, seconds, scene)
        return
    context = multiprocessing.get_context("spawn")
    readers: list[Connection] = []
    for number in range(processes):
        reader, writer = context.Pipe(duplex=False)
        shares = (writer, first + number, processes, seconds, scene)
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
