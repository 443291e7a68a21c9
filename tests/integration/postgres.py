"""A PostgreSQL server of its own on loopback, in a folder that goes when it stops."""

import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

MISSING = "PostgreSQL's server is not installed; on Debian: apt-get install postgresql"


@dataclass(frozen=True)
class Postgres:
    """Where the server listens, and as whom to log in; one database to begin with."""

    port: int
    host: str = "127.0.0.1"
    user: str = "tester"
    password: str = "not-needed-here"
    database: str = "postgres"

    @property
    def url(self) -> str:
        """The address in libpq's form."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"

    def run(self, statement: str) -> str:
        """Run a statement; give what it prints."""
        command = [_program("psql"), self.url, "--no-psqlrc", "-qAtc", statement]
        return subprocess.check_output(command, encoding="utf-8")

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Give the rows of a query, their numbers with the digits that are stored."""
        as_json = f"SELECT coalesce(json_agg(found), '[]') FROM ({query}) AS found"
        rows: list[dict[str, Any]] = json.loads(self.run(as_json), parse_float=Decimal)
        return rows


@contextlib.contextmanager
def server() -> Iterator[Postgres]:
    """Run a server. Raises RuntimeError, saying how to mend it, where there is none to run."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            there = Postgres(probe.getsockname()[1])
        data = Path(folder, "data")
        # PostgreSQL refuses to run as root; Debian's package makes a user for it.
        runner = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        if runner:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)

        def run(program: str, *arguments: str) -> None:
            command = [*runner, _program(program), "-D", str(data), *arguments]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

        run("initdb", "--username", there.user, "--auth", "trust", "--no-sync", "-E", "UTF8")
        options = f"-h {there.host} -p {there.port} -k {folder} -c fsync=off"
        run("pg_ctl", "start", "--wait", "-l", f"{folder}/log", "-o", options)
        try:
            yield there
        finally:
            run("pg_ctl", "stop", "--mode", "fast")


def _program(name: str) -> str:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ["PATH"]]))
    if found is None:
        raise RuntimeError(MISSING)
    return found
