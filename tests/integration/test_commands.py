"""The commands in README and docs, in the order of each page, in an empty home."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fake_listrak import Account, Ask, ListrakService
from tests.integration.account import Pause, assert_stored
from tests.integration.environments import NO_SOURCE, ROOT, environment
from tests.integration.targets import Postgres
from tests.support.published import KEYS
from tests.support.runs import CLICK

SECONDS = 600  # packages are installed
# Of the list that the documents show.
BIG_LIST, BIG_LIST_MESSAGE = 101, 9_000_101
# The user and password that the documents show.
USERNAME, PASSWORD = "robot@example.com", "your password"
# Which clicks a block of docs/backfill.md brings back, by a word in it.
LOST = {
    "LIST_IDS": f""" "MsgID" = {BIG_LIST_MESSAGE} """,
    "2026-01-01": """ "ClickDate" >= '2026-01-01' AND "ClickDate" < '2026-04-01' """,
    "message_clicks.*": "true",
    "totals_are_listraks_own": """ "ClickDate" >= '2026-01-01' """,
    "FROM=2026-06-01": """ "ClickDate" >= '2026-06-01' """,
}
SYNC = "~/listrak/sync.sh ~/listrak/main ~/listrak/kept"
# Keeps the table of a cron that never runs it.
CRONTAB = """#!/bin/sh
case $1 in
-l) cat ~/crontab 2> /dev/null ;;
-) cat > ~/crontab.new && mv ~/crontab.new ~/crontab ;;
esac
"""
# A block has the variables of those before it.
SHELL = """set -e
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
    postgres: Postgres

    def __post_init__(self) -> None:
        self.listrak = self.folder / "listrak"
        self.state = self.listrak / "kept/state.json"
        ignored = shutil.ignore_patterns(*NO_SOURCE)
        shutil.copytree(ROOT, self.folder / "tap-listrak", ignore=ignored)
        (self.folder / "entered").write_text(f"{PASSWORD}\n", "utf-8")  # where a block reads one
        programs = self.folder / "bin"
        programs.mkdir()
        (programs / "meltano").symlink_to(environment("meltano") / "meltano")
        (programs / "crontab").write_text(CRONTAB, "utf-8")
        (programs / "crontab").chmod(0o755)

    def start(self, block: str) -> subprocess.Popen[bytes]:
        """Start a block of commands in a process group of its own, as a terminal does."""
        variables = {
            "HOME": str(self.folder),
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "PIP_CACHE_DIR": os.path.expanduser("~/.cache/pip"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PGHOST": self.postgres.host,
            "PGPORT": str(self.postgres.port),
            "PGUSER": self.postgres.user,
            "TARGET_POSTGRES_PORT": str(self.postgres.port),
            "TAP_LISTRAK_WSDL_URL": self.service.url,
        }
        shell, env = ["bash", "-c", SHELL.format(block=block)], {**os.environ, **variables}
        with (self.folder / "entered").open("rb") as stdin:
            return subprocess.Popen(shell, env=env, stdin=stdin, start_new_session=True)

    def run(self, block: str) -> None:
        """Run a block of commands, which must succeed; then edit the files that a user would."""
        assert self.start(block).wait(SECONDS) == 0, block
        login = {"username": USERNAME, "password": PASSWORD, "wsdl_url": self.service.url}
        edited: dict[str, Any] = {"config.json": login, "target.json": {"port": self.postgres.port}}
        for name, values in edited.items():
            path = self.listrak / "main" / name
            if path.exists():
                content = json.loads(path.read_text("utf-8"))
                path.write_text(json.dumps({**content, **values}), "utf-8")

    def interrupt(self, block: str, how: Callable[[int], object]) -> None:
        """Run a block whose sync is cut off after some pages; `how` takes the process group."""
        pause, lock = Pause(at=12), self.listrak / "kept/lock"

        def rule(ask: Ask) -> None:
            if lock.exists():
                pause(ask)

        self.service.rules.append(rule)
        process = self.start(block)
        try:
            assert pause.reached.wait(SECONDS)
            how(process.pid)
            assert process.wait(SECONDS) != 0
        finally:
            self.service.rules.remove(rule)
            pause.over.set()
        assert '"unfinished":[{' in self.state.read_text("utf-8").replace(" ", "")

    def run_meanwhile(self, block: str, _: int) -> None:
        """Run another block while a sync waits."""
        self.run(block)

    def kill_the_tap(self, _: int) -> None:
        """Kill the tap, and nothing else, with SIGKILL."""
        pattern = f"python[0-9.]* {self.listrak}/tap/bin/tap-listrak"
        for pid in subprocess.check_output(["pgrep", "-f", pattern], text=True).split():
            os.kill(int(pid), signal.SIGKILL)


@pytest.fixture
def home(tmp_path: Path, postgres: Postgres) -> Iterator[Home]:
    """A home with a server in which nobody else has made a database."""
    account = Account(lists=2, messages=3, contacts=12, sends=12, page_size=5)
    account.add_list(BIG_LIST)
    account.add_message(BIG_LIST, BIG_LIST_MESSAGE, "2025-05-01T12:00:00")
    for number, date in enumerate(("2025-05-02", "2025-12-31", "2026-01-02")):
        at = datetime.fromisoformat(date)
        account.add_event(CLICK, BIG_LIST_MESSAGE, f"{number}@example.com", at)
    with ListrakService(account, USERNAME, PASSWORD) as service:
        yield Home(tmp_path, service, postgres)


def test_the_readme_leads_to_a_nightly_sync_on_which_the_commands_of_the_docs_work(
    home: Home,
) -> None:
    for block in blocks("README.md"):
        if block.startswith(SYNC):
            home.interrupt(block, lambda group: os.killpg(group, signal.SIGINT))
            home.interrupt(block, home.kill_the_tap)
        home.run(block)
    before = len(home.service.asked)
    (line,) = (home.folder / "crontab").read_text("utf-8").splitlines()
    by_cron = ["sh", "-c", line.split(maxsplit=5)[5]]
    variables = {"HOME": str(home.folder), "PATH": "/usr/bin:/bin"}
    subprocess.run(by_cron, env=variables, check=True, timeout=SECONDS)
    assert len(home.service.asked) > before
    loaded = Postgres(home.postgres.port, database="listrak")
    assert_loaded = partial(assert_stored, loaded, home.service.account)
    assert_loaded()
    for page in ("before-first-load", "configuration", "running"):
        for block in blocks(f"docs/{page}.md"):
            home.run(block)
    assert_loaded()
    catalog = json.loads((home.listrak / "catalog.json").read_text("utf-8"))
    assert {stream["stream"] for stream in catalog["streams"]} >= KEYS.keys()
    for block in blocks("docs/how-to.md"):
        if "pgrep" in block:
            home.interrupt(SYNC, partial(home.run_meanwhile, block))
        else:
            home.run(block)
    assert "message_opens" in home.state.read_text("utf-8")
    home.run(SYNC)
    assert_loaded()
    for block in blocks("docs/backfill.md"):
        state = home.state.read_bytes()
        lost = next((rows for word, rows in LOST.items() if word in block), "")
        if lost:
            loaded.run(f"DELETE FROM listrak.message_clicks WHERE {lost}")
        home.run(block)
        assert_loaded()
        if "BACKFILL_FROM" in block and SYNC not in block.splitlines():
            assert home.state.read_bytes() == state
    home.run(SYNC)
    assert_loaded()


def test_no_page_with_commands_is_left_out() -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md") if blocks(f"docs/{path.name}")}
    assert pages == {"before-first-load", "configuration", "running", "how-to", "backfill"}
