"""A whole sync to watch: a Listrak on this machine, the tap, a target, a database, a report.

`make demo` runs this with the Python of an environment that has DuckDB. Every command is shown as
it runs, and everything that is written is in examples/demo/out.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import duckdb

OUT = Path("examples/demo/out")
TAP = "examples/demo/out/tap/bin"
TARGET = "examples/demo/out/target/bin"
MODELS = "examples/demo/out/models/bin"
DATABASE = "examples/demo/out/listrak.duckdb"

# The dates lie in the past, so that every row is there whenever the demo runs.
SERVICE = [f"{TAP}/python", "-m", "fake_listrak", "--start", "2025-01-01", "--end", "2025-12-31"]
SERVICE += ["--imports", "0"]  # Listrak keeps imports for 30 days, and these would be older
QUERY = """\
SELECT list_name, subject, sent_at, delivered, unique_opens, unique_clicks
FROM listrak__campaigns
ORDER BY unique_clicks DESC, sent_at
LIMIT 5"""
NEXT = f"""\
To sync your own account:
  1. Copy sample_config.json to config.json and fill in username, password and start_date.
  2. {TAP}/tap-listrak --config config.json --discover > catalog.json
  3. In catalog.json, set "selected": true for the streams you want (README.md shows where).
  4. Run the pipe above with these two files, and keep the last line of what the target prints.
  5. Load the files, build the tables and write the page, as above and below.
  6. Next time, add --state with that line in a file: the tap goes on from there."""


def main() -> None:
    """Run the demo; SystemExit with a reason where anything is not as it should be."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.chdir(Path(__file__).parents[2])
    for old in [*OUT.glob("*.*"), *OUT.glob("rows/*")]:
        old.unlink()
    with service() as url:
        print("# The tap's config: user, start date and, here, the address above.")
        write(
            "config.json",
            username="robot@example.com",
            password="secret-password",  # noqa: S106 # what the loopback service takes
            start_date="2025-01-01T00:00:00Z",
            wsdl_url=url,
            keep_every_event=True,
            typed_event_dates=True,
        )
        tap = [f"{TAP}/tap-listrak", "--config", f"{OUT}/config.json"]
        print("# Discovery checks the login and prints what there is to sync, as a catalog.")
        run([*tap, "--discover"], to="catalog.json")
        selected = select_everything()
        print("# The target's config: which folder to write to.")
        (OUT / "rows").mkdir(exist_ok=True)
        write("target.json", destination_path=f"{OUT}/rows", do_timestamp_file=False)
        print("# The sync: the tap writes rows and states, the target stores them, a file a table.")
        run(
            [*tap, "--catalog", f"{OUT}/catalog.json"],
            [f"{TARGET}/target-jsonl", "--config", f"{OUT}/target.json"],
            to="state.jsonl",
        )
        with urllib.request.urlopen(urljoin(url, "/rows")) as answer:  # noqa: S310 # loopback
            counts = json.load(answer)
        held = {table: counts[table]["total"] for table in selected}
    print("# Tables of these files, with types, and with one row a key.")
    files = f"{OUT}/catalog.json", f"{OUT}/rows", DATABASE
    run([f"{MODELS}/python", "examples/duckdb/load.py", *files])
    with duckdb.connect(DATABASE, read_only=True) as database:
        compare(held, database)
    print(f"# Tables of what people ask for, made of these.\n$ export LISTRAK_DUCKDB={DATABASE}")
    os.environ["LISTRAK_DUCKDB"] = DATABASE
    project = ("--project-dir", "examples/dbt", "--profiles-dir", "examples/dbt")
    written = ("--target-path", "../demo/out/dbt", "--log-path", f"{OUT}/dbt")
    run([f"{MODELS}/dbt", "--no-use-colors", "build", *project, *written], to="models.log")
    with duckdb.connect(DATABASE, read_only=True) as database:
        print(f"# A question to the database:\n{QUERY};")
        print(database.sql(QUERY))
    state = (OUT / "state.jsonl").read_text("utf-8").rstrip("\n").split("\n")
    if not state[-1]:
        sys.exit("FAILED: the target kept no state.")
    print("# The last state says where the next run goes on.")
    print(f"$ tail -n 1 {OUT}/state.jsonl\n{state[-1]}\n")
    print(NEXT)
    print("\n# A page of these tables, to be opened in a browser.")
    run([f"{MODELS}/python", "examples/report/report.py", DATABASE, f"{OUT}/report.html"])
    print(f"Open {(OUT / 'report.html').resolve().as_uri()}")


@contextlib.contextmanager
def service() -> Iterator[str]:
    """Keep a Listrak running on this machine; give the address of its WSDL."""
    print(f"# A Listrak to sync from: made-up rows, on this machine.\n$ {shlex.join(SERVICE)} &")
    with subprocess.Popen(SERVICE, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            if not url:
                sys.exit("FAILED: the service did not start.")
            print(f"{url}\n")
            yield url
        finally:
            process.terminate()


def write(name: str, **content: object) -> None:
    """Write a config file, and show it without its password."""
    path = OUT / name
    path.touch(0o600)
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    shown = {key: "(not shown)" if key == "password" else value for key, value in content.items()}
    print(f"$ cat {OUT}/{name}\n{json.dumps(shown, indent=2)}\n")


def run(*stages: list[str], to: str = "output.log") -> None:
    """Show and run a pipe into a file; name each stage that fails, with the end of its log."""
    logs = [OUT / f"{Path(stage[0]).name}.log" for stage in stages]
    commands = [f"{shlex.join(each)} 2>> {log}" for each, log in zip(stages, logs, strict=True)]
    print("$ " + " \\\n  | ".join(commands) + f" \\\n  > {OUT}/{to}\n", flush=True)
    processes: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        out = stack.enter_context((OUT / to).open("wb"))
        for stage, log in zip(stages, logs, strict=True):
            last = len(processes) == len(stages) - 1
            before = processes[-1].stdout if processes else None
            process = subprocess.Popen(
                stage,
                stdin=before or subprocess.DEVNULL,
                stdout=out if last else subprocess.PIPE,
                stderr=stack.enter_context(log.open("ab")),
            )
            if before:
                before.close()  # the target's alone now, so that the tap learns if it ends
            stack.callback(process.terminate)  # where this script itself is stopped
            processes.append(process)
        codes = [process.wait() for process in processes]
    for command, log, code in zip(commands, logs, codes, strict=True):
        if code:
            text = log.read_text("utf-8", "replace") or (OUT / to).read_text("utf-8", "replace")
            end = "\n".join(text.splitlines()[-20:])
            print(f"FAILED with exit code {code}: {command}\n{end}", file=sys.stderr)
    if any(codes):
        sys.exit(1)


def select_everything() -> list[str]:
    """Select every stream in the catalog; give their names."""
    path = OUT / "catalog.json"
    catalog = json.loads(path.read_text("utf-8"))
    for stream in catalog["streams"]:
        for entry in stream["metadata"]:
            if entry["breadcrumb"] == []:
                entry["metadata"]["selected"] = True
    path.write_text(json.dumps(catalog, indent=2) + "\n", "utf-8")
    print(f'# {path} has "selected": true for each of its {len(catalog["streams"])} streams now.\n')
    return [stream["stream"] for stream in catalog["streams"]]


def compare(held: dict[str, int], database: duckdb.DuckDBPyConnection) -> None:
    """Show how many rows came of each table; SystemExit if that is not how many Listrak holds."""
    print(f"{'table':20} {'in Listrak':>10} {'in DuckDB':>10}")
    wrong = []
    for table, rows in held.items():
        [[came]] = database.sql(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608
        print(f"{table:20} {rows:10,} {came:10,}")
        if came != rows:
            wrong.append(table)
    if wrong:
        sys.exit(f"FAILED: DuckDB does not hold what Listrak does in {', '.join(wrong)}.")
    print("Every row has arrived.\n")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
        sys.exit()
    sys.exit(130)
