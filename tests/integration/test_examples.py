"""What is in examples/, except for Airflow: the script, the crontab line and the units."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fake_listrak import Account, ListrakService
from tests.integration.account import SECONDS, WHOLE, Pause, key_of
from tests.integration.environments import EXAMPLES, ROOT, environment, tap_environment
from tests.support.records import Keys, keys_held
from tests.support.runs import pages
from tests.support.tap import PASSWORD, USERNAME

# Scripts in place of the target, whose path is in REAL.
SHOWS_VARIABLES = 'env > "$HOME/seen"\nexec "$REAL" "$@"'
STATES_ONLY = r"""exec sed -nu 's/^{"type":"STATE","value":\(.*\)}$/\1/p'"""
# As targets that end at a signal, whether or not it was ignored when they were started.
ENDS_AT_A_SIGNAL = f"""exec {sys.executable} -c '
import os, signal, sys
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execv(os.environ["REAL"], sys.argv)
' "$@"
"""
# It reads all that the tap prints, so that the tap ends with 0.
REFUSES = "cat > /dev/null\nexit 9"
IS_CUT_OFF = 'printf \'{"last": 1}\\n{"last": 2}\\nDone.\\n{"la\'\nkill -9 $$'
# Knows no long options, and no exit code but 1.
BUSYBOX_FLOCK = f"""
[ "$1 $2" != "-n 9" ] || exec {shutil.which("flock")} -n 9
echo 'Usage: flock [-sxun] FD' >&2
exit 1
"""


@dataclass
class Sync:
    """sync.sh in folders as examples/README.md has them, with target-jsonl as the target."""

    service: ListrakService
    folder: Path

    def __post_init__(self) -> None:
        self.configs, self.kept = self.folder / "etc/main", self.folder / "lib/main"
        programs = self.folder / "bin"
        for each in (self.configs, self.folder / "lib", self.folder / "opt", programs):
            each.mkdir(parents=True)
        (self.folder / "opt/sync.sh").symlink_to(EXAMPLES / "sync.sh")
        (self.folder / "opt/tap").symlink_to(tap_environment().parent)
        target = str(environment("target-jsonl") / "target-jsonl")
        self.variables = {"HOME": str(self.folder), "TARGET": target, "REAL": target}
        self.variables["PATH"] = f"{programs}:{os.environ['PATH']}"
        self.write("target.json", destination_path=f"{self.folder}/rows", do_timestamp_file=False)

    @property
    def state(self) -> str:
        """What the next run resumes from."""
        file = self.kept / "state.json"
        return file.read_text("utf-8").replace(" ", "") if file.exists() else ""

    @property
    def is_unfinished(self) -> bool:
        """Whether a run that was cut off left the state."""
        return '"unfinished":[{' in self.state

    def write(self, name: str, **content: Any) -> None:
        (self.configs / name).write_text(json.dumps(content), "utf-8")

    def configure(self, **login: str) -> None:
        """Write the tap's config; one call at a time, so that their order is known."""
        more = {"start_date": "2025-01-01", "wsdl_url": self.service.url, "concurrency": 1}
        self.write("config.json", **login, **more)

    def program(self, name: str, script: str) -> None:
        """Put a program where it is found before others of that name."""
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        path.chmod(0o700)

    def use(self, script: str) -> None:
        """Use this script as the target."""
        self.program("a-target", script)
        self.variables["TARGET"] = "a-target"

    def start(self) -> subprocess.Popen[bytes]:
        # A shell cannot trap a signal that is ignored when it starts, as SIGHUP is under nohup, and
        # SIGINT in a background job.
        command = ("/usr/bin/env", "--default-signal=HUP,INT", self.folder / "opt/sync.sh")
        with (self.folder / "log").open("w") as log:
            return subprocess.Popen(
                [*command, self.configs, self.kept],
                stderr=log,
                env={**os.environ, **self.variables},
                start_new_session=True,
            )

    def run(self, code: int = 0) -> str:
        """Run sync.sh, which must end with this code; return its log."""
        ended = self.start().wait(SECONDS)
        log = (self.folder / "log").read_text("utf-8")
        assert ended == code, log
        return log

    def stored(self) -> Keys:
        """Return the keys of the rows that the target wrote."""
        stored: Keys = {table: Counter() for table in keys_held(self.service.account)}
        for file in (self.folder / "rows").glob("*.jsonl"):
            rows = map(json.loads, file.open("rb"))
            stored[file.stem].update(key_of(file.stem, row) for row in rows)
        return stored


@pytest.fixture
def sync(tmp_path: Path) -> Iterator[Sync]:
    """A sync of a small account, all of it in the past."""
    account = Account(lists=2, messages=3, contacts=12, sends=12, page_size=5)
    with ListrakService(account, USERNAME, PASSWORD) as service:
        sync = Sync(service, tmp_path)
        sync.configure(username=USERNAME, password=PASSWORD)
        yield sync


@pytest.fixture
def pause(sync: Sync) -> Iterator[Pause]:
    """A service that lets nothing through from page 20 on."""
    pause = Pause(at=20)
    sync.service.rules.append(pause)
    yield pause
    pause.over.set()


def test_a_run_stores_every_row_once_and_the_next_goes_on_from_its_state(sync: Sync) -> None:
    sync.run()
    held = keys_held(sync.service.account)
    assert sync.stored() == held
    assert not sync.is_unfinished
    assert (sync.kept / "state.json").stat().st_mode & 0o777 == 0o600
    sync.run()
    twice = {table: keys + keys if table in WHOLE else keys for table, keys in held.items()}
    assert sync.stored() == twice


def test_a_catalog_selects_and_variables_hold_secrets_that_the_target_lacks(sync: Sync) -> None:
    sync.configure()
    sync.variables |= {"TAP_LISTRAK_USERNAME": USERNAME, "TAP_LISTRAK_PASSWORD": PASSWORD}
    selected = {"breadcrumb": [], "metadata": {"selected": True}}
    sync.write("catalog.json", streams=[{"tap_stream_id": "lists", "metadata": [selected]}])
    sync.use(SHOWS_VARIABLES)
    sync.run()
    assert {table for table, keys in sync.stored().items() if keys} == {"lists"}
    seen = (sync.folder / "seen").read_text("utf-8")
    assert "PATH=" in seen
    assert PASSWORD not in seen


@pytest.mark.parametrize(
    ("target", "code", "last"), [("", 3, 0), (REFUSES, 4, 0), (IS_CUT_OFF, 4, 2)]
)
def test_a_run_that_fails_keeps_the_last_whole_state_and_says_by_its_code_who_failed(
    sync: Sync, target: str, code: int, last: int
) -> None:
    sync.kept.mkdir()
    (sync.kept / "state.json").write_text('{"last": 0}\n', "utf-8")
    if target:
        sync.use(target)
    else:
        sync.configure(username=USERNAME, password="wrong")
    sync.run(code)
    assert sync.state == f'{{"last":{last}}}\n'


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_a_signal_ends_a_run_in_good_order_and_the_next_resumes_it(
    sync: Sync, pause: Pause, send: Callable[[int, int], None], number: signal.Signals
) -> None:
    sync.use(ENDS_AT_A_SIGNAL)
    process = sync.start()
    assert pause.reached.wait(SECONDS)
    send(process.pid, number)
    # The group's SIGINT reaches the tap directly.
    assert process.wait(SECONDS) in (143, 130 if number == signal.SIGINT else 143)
    pause.over.set()
    assert sync.is_unfinished
    before = pages(sync.service.asked)
    sync.run()
    asked = pages(sync.service.asked)[len(before) :]
    # The page that did not come, and the one before it.
    assert set(asked) & set(before) <= set(before[-2:])
    for table, keys in keys_held(sync.service.account).items():
        assert sync.stored()[table].keys() == keys.keys()


@pytest.mark.parametrize("flock", ["util-linux", "busybox"])
def test_a_run_keeps_its_states_at_once_and_others_out_even_if_its_script_is_killed(
    sync: Sync, pause: Pause, flock: str
) -> None:
    if flock == "busybox":
        sync.program("flock", BUSYBOX_FLOCK)
    sync.use(STATES_ONLY)
    process = sync.start()
    for _ in range(SECONDS * 20):
        if sync.is_unfinished:
            break
        time.sleep(0.05)
    sync.run(75)
    process.kill()
    process.wait(SECONDS)
    sync.run(75)
    pause.over.set()
    # The tap and target that it leaves running end as they would have.
    subprocess.run(["flock", sync.kept / "lock", "true"], check=True, timeout=SECONDS)
    assert not sync.is_unfinished


@pytest.mark.parametrize("missing", ["flock", "setsid", "locks", "TAP", "TARGET"])
def test_if_something_is_missing_it_says_what(sync: Sync, missing: str) -> None:
    said = f"{missing} is not installed"
    if missing == "locks":
        said = "No locks available"
        sync.program("flock", f"echo '{said}' >&2\nexit 1")
    elif missing in ("TAP", "TARGET"):
        said = "cannot run /no-such-program"
        sync.variables[missing] = "/no-such-program"
    else:
        for tool in {"date", "dirname", "flock", "setsid"} - {missing}:
            sync.program(tool, f'exec {shutil.which(tool)} "$@"')
        sync.variables["PATH"] = str(sync.folder / "bin")
    assert said in sync.run(2)
    assert not sync.service.asked


def test_the_targets_sample_loads_where_the_models_look() -> None:
    sample = json.loads((EXAMPLES / "sample_target.json").read_text("utf-8"))
    profiles = (EXAMPLES / "dbt/profiles.yml").read_text("utf-8")
    for variable, name in (("PGDATABASE", "database"), ("PGUSER", "user")):
        assert f"'{variable}', '{sample[name]}'" in profiles
    sources = (EXAMPLES / "dbt/models/staging/_sources.yml").read_text("utf-8")
    assert f"else '{sample['default_target_schema']}'" in sources


def test_git_ignores_what_holds_a_password() -> None:
    for path in ("target.json", "config.json", "examples/target.json", "secrets.env", ".env"):
        subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=True)


def test_the_crontabs_line_prints_the_logs_end_if_a_run_fails_and_else_nothing(sync: Sync) -> None:
    *_, line = (EXAMPLES / "cron/crontab").read_text("utf-8").splitlines()
    command = line.split(maxsplit=5)[5]
    for there, here in (("opt", "opt"), ("etc", "etc"), ("var/lib", "lib")):
        command = command.replace(f"/{there}/listrak", str(sync.folder / here))
    # As cron has it: sh, and hardly any environment.
    variables = {"PATH": "/usr/bin:/bin", "TARGET": sync.variables["TARGET"]}
    for password, mailed in ((PASSWORD, 0), ("wrong", 1)):
        sync.configure(username=USERNAME, password=password)
        shell = ["/bin/sh", "-c", command]
        printed = subprocess.check_output(shell, env=variables, text=True, timeout=SECONDS)
        assert printed.count("CRITICAL") == mailed
        assert bool(printed) == mailed
    assert sync.stored() == keys_held(sync.service.account)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    for unit in (EXAMPLES / "systemd").iterdir():
        # The program has to be there.
        text = unit.read_text("utf-8").replace("/opt/listrak", str(EXAMPLES))
        (tmp_path / unit.name).write_text(text, "utf-8")
    verify = ["systemd-analyze", "verify", "./tap-listrak@main.timer", "./tap-listrak@main.service"]
    found = subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")
