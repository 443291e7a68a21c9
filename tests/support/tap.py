"""Runs the tap as its users do and reads what it printed."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from fake_listrak import Account, Ask, ListrakService, Reply
from tap_listrak.cli import main
from tap_listrak.config import Config
from tap_listrak.listrak.soap import Contract
from tap_listrak.streams import BY_NAME, PUBLISHED, Stream
from tap_listrak.workers import Workers
from tests.support.published import ALL_KEYS
from tests.support.records import all_rows, due

PASSWORD = "correct horse & <battery>"
USERNAME = "robot@example.com"


@dataclass
class Run:
    """What one run printed, and how it ended."""

    code: int
    out: str
    err: str

    @cached_property
    def messages(self) -> list[dict[str, Any]]:
        """Every line of stdout, as the Singer message it must be."""
        return [json.loads(line) for line in self.out.split("\n")[:-1]]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """The messages of one type: RECORD, SCHEMA or STATE."""
        return [message for message in self.messages if message["type"] == kind]

    def records(self, stream: str) -> list[dict[str, Any]]:
        """The records of one stream, in order."""
        return [each["record"] for each in self.of_type("RECORD") if each["stream"] == stream]

    @property
    def states(self) -> list[dict[str, Any]]:
        """The values of the STATE messages, in order."""
        return [each["value"] for each in self.of_type("STATE")]

    @property
    def state(self) -> dict[str, Any]:
        """The value of the last STATE message, to go on from."""
        lines = reversed(self.out.split("\n"))
        last = next(line for line in lines if line.startswith('{"type":"STATE"'))
        value: dict[str, Any] = json.loads(last)["value"]
        return value

    def lines(self, level: str) -> list[str]:
        """The log's lines of one level."""
        return [line for line in self.err.split("\n") if line.startswith(f"{level} ")]


@dataclass
class Tap:
    """A tap with its files, pointed at a service; `catalog` is for runs that are given no other."""

    service: ListrakService
    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    catalog: Any = None
    waits: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config = {
            "username": USERNAME,
            "password": PASSWORD,
            "start_date": "2025-01-01T00:00:00Z",
            "wsdl_url": self.service.url,
            **self.config,
        }

    def arguments(
        self,
        *flags: str,
        catalog: Any = None,
        state: Any = None,
        config: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Write the files and give the command line."""
        catalog = self.catalog if catalog is None else catalog
        given = {"config": {**self.config, **(config or {})}, "catalog": catalog, "state": state}
        arguments = list(flags)
        for name, value in given.items():
            if value is not None:
                path = self.folder / f"{name}.json"
                path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
                arguments += [f"--{name}", str(path)]
        return arguments

    def run(
        self,
        *flags: str,
        clock: Callable[[], datetime] | None = None,
        sleep: Callable[[float], None] | None = None,
        **files: Any,
    ) -> Run:
        """Run the tap through its entry point, in this process; waits are noted, not waited."""
        given: dict[str, Any] = {"clock": clock} if clock else {}
        given["sleep"] = sleep or self.waits.append
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        with (
            _signals_kept(),
            # It freezes what it finds, once in its process. Here that would be the garbage of the
            # runs before, with their connections.
            patch("gc.freeze"),
            patch("tap_listrak.listrak.client.Contract", _contract),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                code = main(self.arguments(*flags, **files), **given)
            except SystemExit as ended:
                code = int(ended.code or 0)
            finally:
                logging.getLogger().handlers.clear()
        out.flush()
        raw = out.buffer
        assert isinstance(raw, io.BytesIO)
        return Run(code, raw.getvalue().decode(), err.getvalue())

    def start(self, *flags: str, env: Mapping[str, str] | None = None, **files: Any) -> Process:
        """Start the tap as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "tap_listrak", *self.arguments(*flags, **files)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )

    def process(self, *flags: str, **files: Any) -> Run:
        """Run the tap as a process of its own, to its end."""
        started = self.start(*flags, **files)
        out, err = started.communicate(timeout=120)
        return Run(started.returncode, out, err)

    def selecting_all(self) -> Tap:
        """This tap, which from now on selects every stream."""
        self.catalog = catalog_of(*BY_NAME)
        return self

    def answer(self, operation: str, reply: Reply | Callable[[Ask], Reply | None]) -> None:
        """From now on, answer the calls of an operation (or for the "WSDL") with this."""
        self.service.rules.append(
            lambda ask: (
                None
                if ask.operation != operation
                else reply
                if isinstance(reply, Reply)
                else reply(ask)
            )
        )

    def discover(self) -> dict[str, Any]:
        """The catalog that discovery prints."""
        catalog: dict[str, Any] = json.loads(self.run("--discover").out)
        return catalog

    def refusal(self, run: Run) -> str:
        """The one line of a run that was refused before any request."""
        assert (run.code, run.out, self.service.connections) == (2, "", 0)
        (line,) = run.err.splitlines()
        assert line.startswith("CRITICAL ")
        return line


_CONTRACTS: dict[tuple[object, ...], Contract] = {}


def _contract(wsdl: bytes, operations: Iterable[str], config: Config) -> Contract:
    """Return the contract of a WSDL, read once per process because that takes long."""
    key = (wsdl, tuple(operations), config.username, config.password)
    if key not in _CONTRACTS:
        _CONTRACTS[key] = Contract(wsdl, operations, config)
    return _CONTRACTS[key]


Process = subprocess.Popen[str]
MakeTap = Callable[..., Tap]
"""The fixture `make_tap`."""
Call = Callable[..., Run]
"""The fixture `call`."""


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    kept = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)


def selecting(catalog: dict[str, Any], *streams: str) -> dict[str, Any]:
    """The catalog with these streams selected, and no others."""
    for entry in catalog["streams"]:
        for each in entry["metadata"]:
            if not each["breadcrumb"]:
                each["metadata"]["selected"] = entry["stream"] in streams
    return catalog


def catalog_of(*streams: str) -> dict[str, Any]:
    """A catalog of these streams alone, selected with every column."""
    metadata = [{"breadcrumb": [], "metadata": {"selected": True}}]
    return {"streams": [{"tap_stream_id": name, "metadata": metadata} for name in streams]}


Keys = dict[str, Counter[tuple[Any, ...]]]


def keys_held(account: Account, streams: Iterable[Stream] = PUBLISHED) -> Keys:
    """By stream, the key of each row that the account holds, with how often it does."""
    held: Keys = {stream.name: Counter() for stream in streams}
    for name, parent, row in all_rows(account, held):
        record = due(name, row, parent)
        held[name][tuple(record[column] for column in ALL_KEYS[name])] += 1
    return held


def keys_emitted(*runs: Run) -> Keys:
    """By stream that these runs synced, the key of each record, with how often it came."""
    emitted: Keys = defaultdict(Counter)
    for run in runs:
        for each in run.messages:
            if each["type"] == "SCHEMA":
                emitted.setdefault(each["stream"], Counter())
            elif each["type"] == "RECORD":
                key = BY_NAME[each["stream"]].key_properties
                emitted[each["stream"]][tuple(each["record"][column] for column in key)] += 1
    return emitted


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
