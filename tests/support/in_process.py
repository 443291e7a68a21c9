"""What the tap needs around it to run in a process that runs it again and again."""

import contextlib
import queue
import signal
import sys
import threading
from collections.abc import Iterable, Iterator

import pytest

from tap_listrak.config import Config
from tap_listrak.listrak.soap import Contract
from tap_listrak.workers import Workers

_CONTRACTS: dict[tuple[object, ...], Contract] = {}


def contract_of(wsdl: bytes, operations: Iterable[str], config: Config) -> Contract:
    """Return the contract of a WSDL, read once per process because that takes long."""
    key = (wsdl, tuple(operations), config.username, config.password)
    if key not in _CONTRACTS:
        _CONTRACTS[key] = Contract(wsdl, operations, config)
    return _CONTRACTS[key]


@contextlib.contextmanager
def signals_kept() -> Iterator[None]:
    kept = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def workers_ended() -> Iterator[None]:
    """End the threads of the runs within, as the end of the tap's own process would."""
    made: list[Workers] = []
    before = threading.enumerate()

    class Noted(Workers):
        def __init__(self, count: int) -> None:
            super().__init__(count)
            made.append(self)

        def _work(self) -> None:
            with contextlib.suppress(SystemExit):
                super()._work()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tap_listrak.cli.Workers", Noted)
        try:
            yield
        finally:
            for each in made:
                with contextlib.suppress(queue.Empty):
                    while True:
                        each._submitted.get_nowait()
                for _ in range(each.count):
                    each._submitted.put(sys.exit)
            for thread in threading.enumerate():
                if thread.name.startswith("worker-") and thread not in before:
                    thread.join(10)
