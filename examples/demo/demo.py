"""Run a whole sync on this machine: a fake Listrak, the tap, a target, a database, a report.

`make demo` runs this with the Python of an environment that has DuckDB. It prints each command, and
writes to examples/demo/out.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
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

SERVICE = [f"{TAP}/python", "examples/demo/retailer.py"]
# How the key of a bookmark ends.
KEYS = ("Date", "Until")
LOG = OUT / "demo.log"
QUERY = """\
SELECT subject, sent_at, delivered, unique_opens, unique_clicks, revenue
FROM listrak__campaigns
ORDER BY unique_clicks DESC, sent_at
LIMIT 5"""
NEXT = "To sync your own account, follow the quickstart in README.md."


def main() -> None:
    """Run the demo. Raise SystemExit with a reason if anything is wrong."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.chdir(Path(__file__).parents[2])
    for old in [*OUT.glob("*.*"), *OUT.glob("rows/*")]:
        old.unlink()
    (OUT / "rows").mkdir(exist_ok=True)
    print(f"Syncing the account of a made-up shop from this machine. Logs are in {LOG}.\n")
    with service() as url:
        write(
            "config.json",
            username="robot@example.com",
            password="secret-password",  # noqa: S106 # what the loopback service takes
            start_date="2025-01-01T00:00:00Z",
            wsdl_url=url,
            keep_every_event=True,
            typed_event_dates=True,
            select=["*.*"],
        )
        write("target.json", destination_path=f"{OUT}/rows", do_timestamp_file=False)
        tap = [f"{TAP}/tap-listrak", "--config", f"{OUT}/config.json"]
        run([*tap, "--discover"], to="catalog.json")
        run(
            [*tap, "--catalog", f"{OUT}/catalog.json"],
            [f"{TARGET}/target-jsonl", "--config", f"{OUT}/target.json"],
            to="state.jsonl",
        )
        with urllib.request.urlopen(urljoin(url, "/rows")) as answer:  # noqa: S310 # loopback
            counts = json.load(answer)
    files = f"{OUT}/catalog.json", f"{OUT}/rows", DATABASE
    run([f"{MODELS}/python", "examples/duckdb/load.py", *files])
    os.environ["LISTRAK_DUCKDB"] = DATABASE
    project = ("--project-dir", "examples/dbt", "--profiles-dir", "examples/dbt")
    written = ("--target-path", "../demo/out/dbt", "--log-path", f"{OUT}/dbt")
    run([f"{MODELS}/dbt", "--no-use-colors", "build", *project, *written])
    run([f"{MODELS}/python", "examples/report/report.py", DATABASE, f"{OUT}/report.html"])
    catalog = json.loads((OUT / "catalog.json").read_text("utf-8"))
    with duckdb.connect(DATABASE, read_only=True) as database:
        compare(
            {each["stream"]: counts[each["stream"]]["total"] for each in catalog["streams"]},
            database,
        )
        print(f"{QUERY};")
        print(database.sql(QUERY))
    show_state()
    print(f"\n{NEXT}\n\nOpen {(OUT / 'report.html').resolve().as_uri()}")


@contextlib.contextmanager
def service() -> Iterator[str]:
    """Serve the account; yield the address of its WSDL."""
    with subprocess.Popen(SERVICE, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            if not url:
                sys.exit("FAILED: the service did not start.")
            yield url
        finally:
            process.terminate()


def write(name: str, **content: object) -> None:
    """Write a config file."""
    path = OUT / name
    path.touch(0o600)
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def run(*stages: list[str], to: str | None = None) -> None:
    """Show and run a pipe into a file (None: the log). Raise SystemExit if a stage fails."""
    output = OUT / to if to else LOG
    shown = " \\\n  | ".join(map(shlex.join, stages)) + (f" \\\n  > {output}" if to else "")
    print(f"$ {shown}", flush=True)
    began, before = time.monotonic(), None
    processes: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(LOG.open("ab"))
        log.write(f"$ {shown}\n".encode())
        log.flush()
        out = stack.enter_context(output.open("ab"))
        for place, stage in enumerate(stages, 1):
            process = subprocess.Popen(
                stage,
                stdin=before or subprocess.DEVNULL,
                stdout=out if place == len(stages) else subprocess.PIPE,
                stderr=log,
            )
            if before:
                before.close()  # only the target holds it now, so the tap notices if that ends
            stack.callback(process.terminate)  # if this script itself is stopped
            before = process.stdout
            processes.append(process)
        codes = [process.wait() for process in processes]
    if any(codes):
        end = "\n".join(LOG.read_text("utf-8", "replace").splitlines()[-20:])
        sys.exit(f"FAILED with exit codes {codes}; {LOG} ends with:\n{end}")
    print(f"# {time.monotonic() - began:.1f} s\n", flush=True)


def compare(held: dict[str, int], database: duckdb.DuckDBPyConnection) -> None:
    """Print the rows of each table. Raise SystemExit if the account has more or fewer."""
    print(f"{'table':24} {'account':>8} {'DuckDB':>8}")
    wrong = []
    for table, rows in held.items():
        [[came]] = database.sql(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608
        print(f"{table:24} {rows:8,} {came:8,}")
        if came != rows:
            wrong.append(table)
    if wrong:
        sys.exit(f"FAILED: DuckDB and the account differ in {', '.join(wrong)}.")
    print("Every row has arrived.\n")


def show_state() -> None:
    """Print a summary of the last STATE. Raise SystemExit if the target kept none."""
    last = (OUT / "state.jsonl").read_text("utf-8").rstrip("\n").split("\n")[-1]
    if not last:
        sys.exit("FAILED: the target kept no state.")
    entries = json.loads(last)["bookmarks"].values()
    (up_to,) = {value for entry in entries for key, value in entry.items() if key.endswith(KEYS)}
    aside = sum(len(entry["set_aside"]) for entry in entries)
    print(f"The last state, in {OUT}/state.jsonl: {len(entries)} streams are complete up to")
    print(f"{up_to}, and {aside} parts are set aside. The next run requests newer rows.")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
        sys.exit()
    sys.exit(130)
