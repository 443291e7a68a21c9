"""Plays random histories from a shell, and prints those that fail with the command to replay them.

python -m tests.histories --seconds 3600 --processes 2
python -m tests.histories --seed 17
"""

import argparse
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.histories.play import play_every, playing
from tests.histories.scenes import SCENES


def main() -> int:
    """Play what the command line says; return 1 if a history failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, help="play this one, and print it in any case")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seconds", type=float, default=60, help="how long to play")
    parser.add_argument("--processes", type=int, default=1, help="how many processes play")
    parser.add_argument("--scene", choices=list(SCENES), help="play this kind of history only")
    given = parser.parse_args()
    if given.seed is not None:
        with playing(given.scene) as play:
            history = play(given.seed)
        print(history)
        return int(bool(history.failure))
    count = given.processes
    with ProcessPoolExecutor(count, get_context("spawn")) as processes:
        shares = [
            processes.submit(play_every, given.first + number, count, given.seconds, given.scene)
            for number in range(count)
        ]
        counts = sum((share.result() for share in shares), Counter[str]())
    print("\n".join(f"{counts[name]:>9,} {name}" for name in sorted(counts)))
    return int(counts["histories that failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
