"""The database server that the tests of a process share, and a folder for each database."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.targets import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, in a folder that goes when it stops."""
    folders = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    initdb = shutil.which("initdb", path=os.pathsep.join([*folders, os.environ["PATH"]]))
    assert initdb, "PostgreSQL's server is not installed; on Debian: apt-get install postgresql"
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            there = Postgres(probe.getsockname()[1])
        # PostgreSQL refuses to run as root; Debian's package makes a user for it.
        runner = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        if runner:
            shutil.chown(folder, "postgres", "postgres")

        def run(program: str, *arguments: str) -> None:
            path = str(Path(initdb).with_name(program))
            command = [*runner, path, "-D", f"{folder}/data", *arguments]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

        run("initdb", "--username", there.user, "--auth", "trust", "--no-sync", "-E", "UTF8")
        options = f"-h {there.host} -p {there.port} -k {folder} -c fsync=off"
        run("pg_ctl", "start", "--wait", "-l", f"{folder}/log", "-o", options)
        try:
            yield there
        finally:
            run("pg_ctl", "stop", "--mode", "fast")


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name, as that of a database, no other test of this process has."""
    return tmp_path_factory.mktemp("database")
