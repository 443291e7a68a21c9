"""Runs a sync against the loopback service and has Singer's own checker validate what it printed.

`python -m demo.check_tap PATH/singer-check-tap`; either one's failure is this command's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from listrak_service import Account, ListrakService


def main(checker: str) -> None:
    """Raise CalledProcessError if the tap or the checker fails."""
    with ListrakService(Account()) as service, tempfile.TemporaryDirectory() as folder:
        config, out = Path(folder, "config.json"), Path(folder, "out.jsonl")
        credentials = {"username": service.username, "password": service.password}
        start = {"start_date": "2025-01-01T00:00:00Z", "wsdl_url": service.url}
        config.write_text(json.dumps({**credentials, **start}), "utf-8")
        quiet = {**os.environ, "TAP_LISTRAK_LOGLEVEL": "WARNING", "PYTHONWARNINGS": "ignore"}
        tap = [sys.executable, "-m", "tap_listrak", "--config", str(config)]
        with out.open("wb") as lines:
            subprocess.run(tap, stdout=lines, env=quiet, check=True)  # noqa: S603
        with out.open("rb") as lines:
            # It leaves a folder where it runs.
            check = [str(Path(checker).absolute())]
            subprocess.run(check, stdin=lines, env=quiet, cwd=folder, check=True)  # noqa: S603


if __name__ == "__main__":
    main(sys.argv[1])
