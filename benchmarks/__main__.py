"""Run the benchmarks and print one table: `python -m benchmarks`, or with `--quick` a part."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import latency, memory, nightly, rows, startup
from benchmarks.table import markdown

SECTIONS = {"rows": rows, "latency": latency, "memory": memory, "startup": startup}
# These take as long as all others, so run them only if they are named.
ON_REQUEST = {"nightly": nightly}


def main() -> int:
    """Print the table. Return 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What a run costs beside a bare loop and zeep, by concurrency, and in memory. "
        "About eight minutes on two idle cores; ratios are what to look at.",
    )
    parser.add_argument("--quick", action="store_true", help="the main ratios in a minute or two")
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        metavar="N",
        help="a share of the rows and runs, such as 0.001, to see that everything runs",
    )
    parser.add_argument(
        "--only",
        choices=[*SECTIONS, *ON_REQUEST],
        action="append",
        help="these sections; may be repeated; nightly is measured only where it is named",
    )
    options = parser.parse_args()
    started = time.monotonic()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name, section in {**SECTIONS, **ON_REQUEST}.items():
            if name in (options.only or SECTIONS):
                for line in section.lines(Path(folder), quick=options.quick, share=options.share):
                    lines.append(line)
                    print(f"{line.cells()[0]:>9}  {line.what}", file=sys.stderr)
    print(markdown(lines))
    missed = sum(line.met is False for line in lines)
    print(f"\n{missed} targets missed; {time.monotonic() - started:.0f} s.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
