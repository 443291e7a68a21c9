"""Run the benchmarks and print one table: `python -m benchmarks`, or with `--quick` a part."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import latency, memory, rows, startup
from benchmarks.table import markdown

SECTIONS = {"rows": rows, "latency": latency, "memory": memory, "startup": startup}


def main() -> int:
    """Print the table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What a run costs beside a bare loop and zeep, by concurrency, and in memory. "
        "About eight minutes on two idle cores; ratios are what to look at.",
    )
    parser.add_argument("--quick", action="store_true", help="the main ratios in a minute or two")
    parser.add_argument(
        "--only", choices=SECTIONS, action="append", help="these sections; may be repeated"
    )
    options = parser.parse_args()
    started = time.monotonic()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name, section in SECTIONS.items():
            if not options.only or name in options.only:
                for line in section.lines(Path(folder), quick=options.quick):
                    lines.append(line)
                    print(f"{line.cells()[0]:>9}  {line.what}", file=sys.stderr)
    print(markdown(lines))
    missed = sum(line.met is False for line in lines)
    print(f"\n{missed} targets missed; {time.monotonic() - started:.0f} s.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
