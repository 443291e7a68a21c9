"""Plays random histories from a shell, and prints those that fail with the command to replay them.

python -m tests.histories --seconds 3600 --processes 2
python -m tests.histories --seed 17
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.histories.many import outcomes
from tests.histories.play import player
from tests.histories.scenes import SCENES


def summary(counts: Counter[str]) -> str:
    """Return what was played, as lines."""
    return "\n".join(f"{counts[name]:>9,} {name}" for name in sorted(counts) if counts[name])


def main() -> int:
    """Play what the command line says; return 1 if a history failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, help="play this one, and print it in any case")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seconds", type=float, default=60, help="how long to play")
    parser.add_argument("--count", type=int, help="how many to play in each process, instead")
    parser.add_argument("--processes", type=int, default=1, help="how many processes play")
    parser.add_argument("--scene", choices=list(SCENES), help="play this kind of history only")
    parser.add_argument("--no-faults", action="store_true", help="let no call fail")
    parser.add_argument("--no-kills", action="store_true", help="keep every run whole")
    parser.add_argument("--ignore", default="", help="kinds of failures, separated by commas")
    parser.add_argument("--brief", action="store_true", help="print one line for each failure")
    given = parser.parse_args()
    options = {
        "scene": given.scene,
        "has_faults": not given.no_faults,
        "has_kills": not given.no_kills,
        "ignored": frozenset(given.ignore.split(",")) - {""},
    }
    again = f" --scene '{given.scene}'" * bool(given.scene) + " --no-faults" * given.no_faults
    again += " --no-kills" * given.no_kills
    if given.seed is not None:
        with player(**options) as playing:
            outcome = playing.play(given.seed)
        print(outcome.describe(again))
        return int(outcome.failure is not None)
    counts, failed = Counter[str](), 0
    for outcome in outcomes(given.processes, given.first, given.seconds, given.count, options):
        counts.update(outcome.counts)
        counts["histories"] += 1
        if outcome.failure:
            failed += 1
            counts[f"histories that failed: {outcome.kind}"] += 1
            first = outcome.failure.splitlines()[0][:160]
            brief = f"{outcome.seed}: {first}"
            print(brief if given.brief else outcome.describe(again), flush=True)
    print(summary(counts))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
