"""Runs the tap as its users do and reads what it printed."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fake_listrak import Ask, ListrakService, Reply, html
from tap_listrak.cli import main
from tap_listrak.streams import BY_NAME, STREAMS
from tests.support.in_process import contract_of, signals_kept, workers_ended
from tests.support.records import keys_emitted, keys_held, list_ids

PASSWORD = "correct horse & <battery>"
USERNAME = "robot@example.com"
FIRST_NIGHT = datetime(2026, 7, 1, tzinfo=timezone.utc)
BOOKMARKS = {stream.name: stream.replication_key for stream in STREAMS if stream.replication_key}
"""The name of the bookmark of each stream that has one."""
NOT_FOUND = html(404)
Which = Callable[[Ask], bool]


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
        last = self.out.rindex('{"type":"STATE"')
        return dict(json.loads(self.out[last:].split("\n", 1)[0])["value"])

    def lines(self, level: str) -> list[str]:
        """The log's lines of one level."""
        return [line for line in self.err.split("\n") if line.startswith(f"{level} ")]

    def warnings(self, text: str = "") -> list[str]:
        """The WARNINGs that contain a text."""
        return [line for line in self.lines("WARNING") if text in line]

    def addresses(self, stream: str = "message_opens") -> set[str]:
        """The addresses in the emitted rows of a stream."""
        return {record["EmailAddress"] for record in self.records(stream)}

    def prefixes(self) -> list[Run]:
        """The outputs of this run, as if it had ended after each of its STATEs."""
        ends: dict[str, int] = {}
        for each in re.finditer(r'^\{"type":"STATE".*\n', self.out, re.MULTILINE):
            ends.setdefault(each[0], each.end())
        return [Run(0, self.out[:end], "") for end in ends.values()]

    def cut_within(self, stream: str = "message_opens") -> Run:
        """This run as it would be, had it ended among the pages of a part of this stream."""
        inside = [each for each in self.prefixes() if each.place(stream).get("page")]
        return inside[len(inside) // 2]

    # What the last STATE says.

    def entry(self, stream: str = "message_opens") -> dict[str, Any]:
        """The entry of a stream."""
        return dict(self.state["bookmarks"].get(stream, {}))

    def covers(self, stream: str = "message_opens") -> dict[str, Any]:
        """What the bookmark of a stream covers."""
        (found,) = self.entry(stream)["covers"]
        return dict(found)

    def place(self, stream: str = "message_opens") -> dict[str, Any]:
        """The place of an unfinished range in its list, if any."""
        (unfinished, *_) = self.entry(stream).get("unfinished") or [{}]
        return dict(unfinished.get("place") or {})

    @property
    def is_finished(self) -> bool:
        """Whether no range is unfinished."""
        return not any(each.get("unfinished") for each in self.state["bookmarks"].values())

    @property
    def bookmarks(self) -> dict[str, str | None]:
        """The bookmark of each stream that has an entry."""
        entries = self.state["bookmarks"]
        return {name: entries[name][key] for name, key in BOOKMARKS.items() if name in entries}

    @property
    def set_aside(self) -> list[dict[str, Any]]:
        """What is set aside, with the streams."""
        return [
            {"stream": name, **each}
            for name, found in self.state["bookmarks"].items()
            for each in found.get("set_aside", [])
        ]


def call(*arguments: str, **given: Any) -> Run:
    """Run the tap through its entry point, in this process, with just these arguments."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", newline=""), io.StringIO()
    with (
        signals_kept(),
        # It freezes what it finds, once in its process. Here that would be the garbage of the
        # runs before, with their connections.
        patch("gc.freeze"),
        patch("tap_listrak.listrak.client.Contract", contract_of),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = main(arguments, **given)
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            logging.getLogger().handlers.clear()
    out.seek(0)
    return Run(code, out.read(), err.getvalue())


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
        clock: datetime | Callable[[], datetime] | None = None,
        sleep: Callable[[float], None] | None = None,
        **files: Any,
    ) -> Run:
        """Run the tap through its entry point, in this process; waits are noted, not waited."""
        given: dict[str, Any] = {"sleep": sleep or self.waits.append}
        if clock:
            given["clock"] = (lambda: clock) if isinstance(clock, datetime) else clock
        return call(*self.arguments(*flags, **files), **given)

    def asked_in(self, **given: Any) -> tuple[Run, list[Ask]]:
        """Run the tap; return the run and the calls that it made."""
        before = len(self.service.asked)
        run = self.run(**given)
        return run, self.service.asked[before:]

    def night(self, number: float = 0, after: Run | None = None, **given: Any) -> Run:
        """Run the tap `number` nights after the first; the service then holds its calls alone."""
        self.service.asked.clear()
        given.setdefault("state", after and after.state)
        with workers_ended():
            return self.run(clock=FIRST_NIGHT + timedelta(days=number), **given)

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
        answer = reply if callable(reply) else lambda ask: reply
        self.service.rules.append(lambda ask: answer(ask) if ask.operation == operation else None)

    def fail_calls(self, which: Which, reply: Reply = NOT_FOUND) -> None:
        """From now on, answer these calls with a fault."""
        self.service.rules.append(lambda ask: reply if which(ask) else None)

    def fail(self, stream: str, reply: Reply = NOT_FOUND, **arguments: object) -> None:
        """Answer a stream's calls that have these arguments with a fault, from now on."""
        self.fail_calls(of_stream(stream, **arguments), reply)

    def change(self, stream: str, by: Callable[[bytes], bytes], **arguments: object) -> None:
        """Change the replies to a stream's calls that have these arguments, from now on."""
        which = of_stream(stream, **arguments)

        def rule(ask: Ask) -> Reply | None:
            honest = ask.honest() if which(ask) else None
            return honest and replace(honest, body=by(honest.body))

        self.service.rules.append(rule)

    def heal(self) -> None:
        """Answer all calls as usual again."""
        self.service.rules.clear()

    def calls(self, stream: str, **arguments: object) -> list[Ask]:
        """The last run's calls for a stream that have these arguments."""
        return list(filter(of_stream(stream, **arguments), self.service.asked))

    @property
    def list_ids(self) -> list[int]:
        return list_ids(self.service.account)

    @property
    def first_list(self) -> int:
        return self.list_ids[0]

    def msg_ids(self) -> list[int]:
        """Return the messages in walk order, if each list has one window."""
        return [
            each
            for list_id in self.list_ids
            for each in sorted(
                int(str(row["MsgID"])) for row in self.service.account.messages(list_id)
            )
        ]

    def missing(self, *runs: Run) -> dict[str, int]:
        """Return the number of rows that these runs did not emit, by synced stream."""
        emitted = keys_emitted(*runs)
        held = keys_held(self.service.account, [BY_NAME[name] for name in emitted])
        lost = {name: (held[name] - emitted[name]).total() for name in emitted}
        return {name: count for name, count in lost.items() if count}

    def discover(self) -> dict[str, Any]:
        """The catalog that discovery prints."""
        return dict(json.loads(self.run("--discover").out))

    def refusal(self, run: Run) -> str:
        """The one line of a run that was refused before any request."""
        assert (run.code, run.out, self.service.connections) == (2, "", 0)
        (line,) = run.err.splitlines()
        assert line.startswith("CRITICAL ")
        return line


Process = subprocess.Popen[str]
MakeTap = Callable[..., Tap]
"""The fixture `make_tap`."""


def of_stream(stream: str, **arguments: object) -> Which:
    """Whether a call is a stream's and has these arguments (one value, or one of several)."""
    wanted = {
        name: set(map(str, value if isinstance(value, list) else [value]))
        for name, value in arguments.items()
    }
    return lambda ask: (
        ask.operation == BY_NAME[stream].operation
        and all(ask.arguments.get(name) in values for name, values in wanted.items())
    )


def catalog_of(*streams: str) -> dict[str, Any]:
    """A catalog of these streams alone, selected with every column."""
    metadata = [{"breadcrumb": [], "metadata": {"selected": True}}]
    return {"streams": [{"tap_stream_id": name, "metadata": metadata} for name in streams]}
