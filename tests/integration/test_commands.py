"""The commands in README and docs, in the order of each page, in an empty home."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fake_listrak import Account, Ask, ListrakService
from tests.integration import postgres as database
from tests.integration.environments import NO_SOURCE, ROOT, environment
from tests.integration.postgres import Postgres
from tests.integration.sync import Pause, until
from tests.support.published import KEYS
from tests.support.records import keys_held
from tests.support.runs import CLICK

SECONDS = 600  # packages are installed
# Of the list that the documents show.
BIG_LIST, BIG_LIST_MESSAGE = 101, 9_000_101
# The user and password that the documents show.
USERNAME, PASSWORD = "robot@example.com", "your password"
BACKFILL = "BACKFILL_FROM"
# What a block of docs/backfill.md brings back, by a word in it.
QUARTER = """ "ClickDate" >= '2026-01-01' AND "ClickDate" < '2026-04-01' """
LOST = {
    "LIST_IDS": f""" "MsgID" = {BIG_LIST_MESSAGE} """,
    "BACKFILL_TO": QUARTER,
    "message_clicks.*": "true",
    "totals_are_listraks_own": QUARTER,
    "FROM=2026-06-01": """ "ClickDate" >= '2026-06-01' """,
}
SYNC = "~/listrak/sync.sh ~/listrak/main ~/listrak/kept"
# Keeps the table of a cron that never runs it.
CRONTAB = """\
#!/bin/sh
case $1 in
-l) cat ~/crontab 2> /dev/null ;;
-) cat > ~/crontab.new && mv ~/crontab.new ~/crontab ;;
esac
"""
# A block has the variables of those before it.
SHELL = """\
set -e
[ ! -e ~/.exported ] || . ~/.exported
cd ~/tap-listrak
{block}
export -p > ~/.exported
"""


def blocks(page: str) -> list[str]:
    """Return a page's blocks of commands, but for those of make, which CI runs itself."""
    text = (ROOT / page).read_text("utf-8")
    found = re.findall(r"^( *)```sh\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    unindented = (re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found)
    return [block for block in unindented if not block.startswith("make ")]


@dataclass
class Home:
    """A home that is empty but for a checkout, and the Listrak that its tap is configured for."""

    folder: Path
    service: ListrakService
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        ignored = shutil.ignore_patterns(*NO_SOURCE)
        shutil.copytree(ROOT, self.folder / "tap-listrak", ignore=ignored)
        crontab = self.folder / "bin/crontab"
        crontab.parent.mkdir()
        crontab.write_text(CRONTAB, "utf-8")
        crontab.chmod(0o755)

    @property
    def bookmarks(self) -> dict[str, Any]:
        """What the state that sync.sh has kept says of each stream."""
        state = json.loads((self.folder / "listrak/kept/state.json").read_text("utf-8"))
        return dict(state["bookmarks"])

    @property
    def is_complete(self) -> bool:
        """Whether no stream's range is unfinished."""
        return not any(entry["unfinished"] for entry in self.bookmarks.values())

    def start(self, block: str) -> subprocess.Popen[str]:
        """Start a block of commands in a process group of its own, as a terminal does."""
        process = subprocess.Popen(
            ["bash", "-c", SHELL.format(block=block)],
            env={
                **os.environ,
                "HOME": str(self.folder),
                "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
                "PIP_CACHE_DIR": os.path.expanduser("~/.cache/pip"),
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                **self.variables,
            },
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with contextlib.suppress(BrokenPipeError):
            assert process.stdin
            process.stdin.write(f"{PASSWORD}\n")  # where a block reads one
            process.stdin.close()
        return process

    def run(self, block: str) -> None:
        """Run a block of commands, which must succeed; then edit the files that a user would."""
        assert self.start(block).wait(SECONDS) == 0, block
        self._edit("config.json", wsdl_url=self.service.url, username=USERNAME, password=PASSWORD)
        if "PGPORT" in self.variables:
            self._edit("target.json", port=int(self.variables["PGPORT"]))

    def _edit(self, name: str, **values: Any) -> None:
        path = self.folder / "listrak/main" / name
        if path.exists():
            content = json.loads(path.read_text("utf-8"))
            path.write_text(json.dumps({**content, **values}), "utf-8")

    def interrupt(self, block: str, how: Callable[[int], object]) -> None:
        """Run a block whose sync is cut off after some pages; `how` takes the process group."""
        pause = Pause(at=12)
        lock = self.folder / "listrak/kept/lock"

        def rule(ask: Ask) -> None:
            if lock.exists():
                pause(ask)

        self.service.rules.append(rule)
        process = self.start(block)
        try:
            until(lambda: pause.reached.is_set() or process.poll() is not None)
            assert process.poll() is None
            how(process.pid)
            assert process.wait(SECONDS) != 0
        finally:
            self.service.rules.remove(rule)
            pause.over.set()
        assert not self.is_complete

    def run_meanwhile(self, block: str, _: int) -> None:
        """Run another block while a sync waits."""
        self.run(block)

    def kill_the_tap(self, _: int) -> None:
        """Kill the tap, and nothing else, with SIGKILL."""
        tap = f"{self.folder}/listrak/tap/bin/tap-listrak"
        found = subprocess.check_output(["pgrep", "-f", f"python[0-9.]* {tap}"], text=True)
        for pid in found.split():
            os.kill(int(pid), signal.SIGKILL)

    def run_by_cron(self) -> None:
        """Run the line of the crontab as cron does: sh, and hardly any variables."""
        (line,) = (self.folder / "crontab").read_text("utf-8").splitlines()
        variables = {"HOME": str(self.folder), "PATH": "/usr/bin:/bin"}
        command = ["sh", "-c", line.split(maxsplit=5)[5]]
        subprocess.run(command, env=variables, check=True, timeout=SECONDS)


def by_ctrl_c(group: int) -> None:
    os.killpg(group, signal.SIGINT)


@pytest.fixture
def service() -> Iterator[ListrakService]:
    account = Account(lists=2, messages=3, contacts=12, sends=12, page_size=5)
    with ListrakService(account, USERNAME, PASSWORD) as service:
        yield service


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A server in which no database has been made."""
    with database.server() as there:
        yield there


def test_the_readme_leads_to_a_nightly_sync_on_which_the_commands_of_the_docs_work(
    service: ListrakService, postgres: Postgres, tmp_path: Path
) -> None:
    service.account.add_list(BIG_LIST)
    service.account.add_message(BIG_LIST, BIG_LIST_MESSAGE, "2025-05-01T12:00:00")
    for number, date in enumerate(("2025-05-02", "2025-12-31", "2026-01-02")):
        at = datetime.fromisoformat(date)
        service.account.add_event(CLICK, BIG_LIST_MESSAGE, f"{number}@example.com", at)
    meltano = environment("meltano")
    home = Home(tmp_path / "home", service)
    (home.folder / "bin/meltano").symlink_to(meltano / "meltano")
    home.variables.update(
        PGHOST=postgres.host,
        PGPORT=str(postgres.port),
        PGUSER=postgres.user,
        TARGET_POSTGRES_PORT=str(postgres.port),
        TAP_LISTRAK_WSDL_URL=service.url,
    )
    for block in blocks("README.md"):
        if block.startswith(SYNC):
            home.interrupt(block, by_ctrl_c)
            home.interrupt(block, home.kill_the_tap)
        home.run(block)
    before = len(service.asked)
    home.run_by_cron()
    assert len(service.asked) > before
    loaded = Postgres(postgres.port, database="listrak")
    held = keys_held(service.account)

    def assert_loaded() -> None:
        for table, keys in held.items():
            rows = loaded.rows(f"SELECT * FROM listrak.{table}")
            assert {tuple(row[column] for column in KEYS[table]) for row in rows} == set(keys)
            assert len(rows) == len(keys)

    assert_loaded()
    for page in ("before-first-load", "configuration", "running"):
        for block in blocks(f"docs/{page}.md"):
            home.run(block)
    assert_loaded()
    catalog = json.loads((home.folder / "listrak/catalog.json").read_text("utf-8"))
    assert {stream["stream"] for stream in catalog["streams"]} >= held.keys()
    for block in blocks("docs/how-to.md"):
        if "pgrep" in block:
            home.interrupt(SYNC, partial(home.run_meanwhile, block))
        else:
            home.run(block)
    assert "message_opens" in home.bookmarks
    home.run(SYNC)
    assert_loaded()
    for block in blocks("docs/backfill.md"):
        state = (home.folder / "listrak/kept/state.json").read_bytes()
        lost = next((rows for word, rows in LOST.items() if word in block), "")
        if lost:
            loaded.run(f"DELETE FROM listrak.message_clicks WHERE {lost}")
        home.run(block)
        assert_loaded()
        if BACKFILL in block and SYNC not in block.splitlines():
            assert (home.folder / "listrak/kept/state.json").read_bytes() == state
    home.run(SYNC)
    assert_loaded()


def test_no_page_with_commands_is_left_out() -> None:
    run = {"before-first-load", "configuration", "running", "how-to", "backfill"}
    assert {
        path.stem for path in (ROOT / "docs").glob("*.md") if blocks(f"docs/{path.name}")
    } == run
