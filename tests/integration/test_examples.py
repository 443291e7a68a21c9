"""What is in examples/, except for Airflow: the script, the crontab line and the units."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fake_listrak import Account, ListrakService
from tests.integration.environments import EXAMPLES, ROOT, environment, tap_environment
from tests.integration.postgres import Postgres
from tests.integration.sync import SECONDS, Pause, Sync, finish, once_at_page, until
from tests.integration.targets import MeltanoPostgres
from tests.support.records import keys_held
from tests.support.tap import PASSWORD, USERNAME

# Prints a state as soon as it comes, and stores nothing.
STATES_ONLY = """\
#!/bin/sh
exec sed -nu 's/^{"type":"STATE","value":\\(.*\\)}$/\\1/p'
"""
# As targets that end at a signal, whether or not it was ignored when they were started.
ENDS_AT_A_SIGNAL = """\
#!{python}
import os, signal, sys
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execv("{target}", ["{target}", *sys.argv[1:]])
"""
# Knows no long options, and no exit code but 1.
BUSYBOX_FLOCK = """\
#!/bin/sh
[ "$1 $2" != "-n 9" ] || exec {flock} -n 9
echo 'Usage: flock [-sxun] FD | {{ FILE [-c] PROG ARGS }}' >&2
exit 1
"""


@pytest.fixture
def sync(tmp_path: Path) -> Iterator[Sync]:
    """A sync of a small account, all of it in the past."""
    account = Account(lists=2, messages=3, contacts=12, sends=12, page_size=5)
    for each in ("etc/main", "lib", "opt"):
        (tmp_path / each).mkdir(parents=True)
    (tmp_path / "opt/sync.sh").symlink_to(EXAMPLES / "sync.sh")
    (tmp_path / "opt/tap").symlink_to(tap_environment().parent)
    with ListrakService(account, USERNAME, PASSWORD) as service:
        sync = Sync(service, tmp_path)
        sync.environment["TARGET"] = str(environment("target-jsonl") / "target-jsonl")
        sync.configure()
        sync.write("target.json", destination_path=f"{tmp_path}/rows", do_timestamp_file=False)
        yield sync


def test_a_run_stores_every_row_once_and_the_next_goes_on_from_its_state(sync: Sync) -> None:
    assert sync.run() == 0
    held = keys_held(sync.service.account)
    assert sync.stored() == held
    assert not sync.is_unfinished
    assert (sync.kept / "state.json").stat().st_mode & 0o777 == 0o600
    assert sync.run() == 0
    # Lists and messages come whole in every run.
    again = {name: held[name] for name in ("lists", "messages")}
    assert sync.stored() == {**held, **{name: keys + keys for name, keys in again.items()}}


def test_the_secrets_may_come_as_variables_which_the_target_does_not_see(sync: Sync) -> None:
    config = json.loads((sync.configs / "config.json").read_text("utf-8"))
    del config["username"], config["password"]
    sync.write("config.json", **config)
    seen, target = sync.folder / "seen", sync.environment["TARGET"]
    sync.use(f'#!/bin/sh\nenv > {seen}\nexec {target} "$@"\n')
    sync.environment.update(TAP_LISTRAK_USERNAME=USERNAME, TAP_LISTRAK_PASSWORD=PASSWORD)
    assert sync.run() == 0
    sync.assert_complete()
    assert "PATH=" in seen.read_text("utf-8")
    assert PASSWORD not in seen.read_text("utf-8")


def test_only_what_the_catalog_selects_is_synced(sync: Sync) -> None:
    selected = {"breadcrumb": [], "metadata": {"selected": True}}
    sync.write("catalog.json", streams=[{"tap_stream_id": "lists", "metadata": [selected]}])
    assert sync.run() == 0
    assert {table for table, keys in sync.stored().items() if keys} == {"lists"}


def test_a_run_that_fails_keeps_the_taps_exit_code_and_the_next_resumes_it(sync: Sync) -> None:
    sync.service.rules.append(once_at_page(20))
    assert sync.run() == 1
    assert sync.is_unfinished
    sync.assert_resumes()


@pytest.mark.parametrize("refused_by", ["Listrak", "the target"])
def test_a_run_that_is_refused_leaves_the_state_as_it_was(sync: Sync, refused_by: str) -> None:
    assert sync.run() == 0
    state = sync.state
    if refused_by == "Listrak":
        sync.configure(password="wrong")
    else:  # which reads all that the tap prints, so that the tap ends with 0
        sync.use("#!/bin/sh\ncat > /dev/null\nexit 9\n")
    assert sync.run() == (3 if refused_by == "Listrak" else 4)
    assert sync.state == state


def test_of_a_target_that_is_cut_off_the_last_whole_state_is_kept(sync: Sync) -> None:
    sync.use('#!/bin/sh\nprintf \'{"last": 1}\\n{"last": 2}\\nDone.\\n{"la\'\nkill -9 $$\n')
    assert sync.run() == 4
    assert sync.state == {"last": 2}


def test_a_state_is_kept_as_soon_as_the_target_prints_it(sync: Sync) -> None:
    sync.use(STATES_ONLY)
    pause = Pause(at=20)
    sync.service.rules.append(pause)
    process = sync.start()
    # The first STATE claims nothing.
    until(lambda: (sync.kept / "state.json").exists() and sync.is_unfinished)
    assert process.poll() is None
    pause.over.set()
    assert finish(process) == 0
    assert not sync.is_unfinished


@pytest.mark.parametrize(
    ("send", "number"),
    [
        (os.kill, signal.SIGTERM),
        (os.killpg, signal.SIGTERM),
        (os.killpg, signal.SIGINT),
        (os.killpg, signal.SIGHUP),
    ],
    ids=["TERM to the script", "TERM to the group", "INT", "HUP"],
)
def test_a_signal_ends_a_run_in_good_order(
    sync: Sync, send: Callable[[int, int], None], number: signal.Signals
) -> None:
    target = sync.environment["TARGET"]
    sync.use(ENDS_AT_A_SIGNAL.format(python=sys.executable, target=target))
    pause = Pause(at=20)
    sync.service.rules.append(pause)
    process = sync.start()
    assert pause.reached.wait(SECONDS)
    send(process.pid, number)
    code = finish(process)
    pause.over.set()
    # The group's SIGINT reaches the tap directly.
    assert code == 143 or (number == signal.SIGINT and code == 130)
    assert sync.is_unfinished
    sync.assert_resumes()


def test_no_run_begins_while_another_is_under_way_even_if_its_script_was_killed(sync: Sync) -> None:
    pause = Pause(at=20)
    sync.service.rules.append(pause)
    process = sync.start()
    assert pause.reached.wait(SECONDS)
    assert sync.run() == 75
    process.kill()
    process.wait(SECONDS)
    assert sync.run() == 75
    pause.over.set()
    # The tap and target that it leaves running end as they would have.
    subprocess.run(["flock", sync.kept / "lock", "true"], check=True, timeout=SECONDS)
    assert not sync.is_unfinished
    assert sync.stored() == keys_held(sync.service.account)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("flock", "flock is not installed"),
        ("setsid", "setsid is not installed"),
        ("locks", "No locks available"),
        ("TAP", "cannot run /no-such-program"),
        ("TARGET", "cannot run /no-such-program"),
    ],
)
def test_if_something_is_missing_it_says_what(sync: Sync, missing: str, message: str) -> None:
    if missing == "locks":
        sync.program("flock", "#!/bin/sh\necho 'flock: No locks available' >&2\nexit 1\n")
    elif missing in ("TAP", "TARGET"):
        sync.environment[missing] = "/no-such-program"
    else:
        tools = {"date", "dirname", "flock", "mkdir", "mkfifo", "mv", "rm", "setsid", "sync"}
        (sync.folder / "only").mkdir()
        for tool in tools - {missing}:
            (sync.folder / "only" / tool).symlink_to(str(shutil.which(tool)))
        sync.environment["PATH"] = str(sync.folder / "only")
    process = sync.start()
    _, log = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert message in log
    assert "another sync" not in log
    assert not sync.service.asked


def test_busyboxs_flock_will_do_and_keeps_a_second_run_out(sync: Sync) -> None:
    sync.program("flock", BUSYBOX_FLOCK.format(flock=shutil.which("flock")))
    assert sync.run() == 0
    sync.assert_complete()
    asked = len(sync.service.asked)
    with (sync.kept / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert sync.run() == 75
    assert len(sync.service.asked) == asked
    assert sync.run() == 0


def test_the_targets_sample_loads_where_the_models_look(sync: Sync, postgres: Postgres) -> None:
    sample = json.loads((EXAMPLES / "sample_target.json").read_text("utf-8"))
    schema, profiles = sample["default_target_schema"], EXAMPLES / "dbt/profiles.yml"
    for variable, name in (("PGDATABASE", "database"), ("PGUSER", "user")):
        assert f"'{variable}', '{sample[name]}'" in profiles.read_text("utf-8")
    sources = (EXAMPLES / "dbt/models/staging/_sources.yml").read_text("utf-8")
    assert f"else '{schema}'" in sources
    postgres.run(f"CREATE DATABASE {sample['database']}")
    there = {"port": postgres.port, "user": postgres.user, "password": postgres.password}
    sync.write("target.json", **{**sample, **there})
    sync.environment["TARGET"] = str(environment(MeltanoPostgres.package) / MeltanoPostgres.program)
    assert sync.run() == 0
    database = replace(postgres, database=sample["database"])
    assert int(database.run(f"SELECT count(*) FROM {schema}.lists")) == 2


def test_git_ignores_what_holds_a_password() -> None:
    for path in ("target.json", "config.json", "examples/target.json", "secrets.env", ".env"):
        ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
        assert ignored.returncode == 0, path


def test_the_crontabs_line_prints_the_logs_end_if_a_run_fails_and_else_nothing(sync: Sync) -> None:
    lines = (EXAMPLES / "cron/crontab").read_text("utf-8").splitlines()
    (line,) = (each for each in lines if not each.startswith("#"))
    command = line.split(maxsplit=5)[5]
    for there, here in (("opt", "opt"), ("etc", "etc"), ("var/lib", "lib")):
        command = command.replace(f"/{there}/listrak", str(sync.folder / here))

    def mailed() -> str:
        # As cron has it: sh, and hardly any environment.
        environment = {"PATH": "/usr/bin:/bin", **sync.environment}
        shell = ["/bin/sh", "-c", command]
        return subprocess.check_output(shell, env=environment, text=True, timeout=SECONDS)

    assert mailed() == ""
    sync.assert_complete()
    sync.configure(password="wrong")
    assert "CRITICAL" in mailed()
    assert "exit code 0" in (sync.folder / "lib/main.log").read_text("utf-8")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    for unit in (EXAMPLES / "systemd").iterdir():
        # The program has to be there.
        text = unit.read_text("utf-8").replace("/opt/listrak", str(EXAMPLES))
        (tmp_path / unit.name).write_text(text, "utf-8")
    verify = ["systemd-analyze", "verify", "./tap-listrak@main.timer", "./tap-listrak@main.service"]
    found = subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")
