"""Ask our store and stock etcd the same random things, and compare what they say.

    python -m tests.differential --steps 20000            # fresh clusters of one member each
    python -m tests.differential --members 3 --steps 5000
    python -m tests.differential --seed 17 --once         # one sequence again

Each sequence of steps has a seed. One that differs is shortened and printed; ends with 1 then.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from tests.differential.hunt.compare import Difference, Pairs, Tally, shrink
from tests.differential.hunt.generate import THEMES, sequence
from tests.differential.hunt.steps import Step
from tests.differential.pair import difference


def main(argv: Sequence[str] | None = None) -> int:
    flags = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the stores are stopped, then
    tally = Tally()
    try:
        found = _hunt(flags, tally)
    finally:
        print("\n".join(_totals(tally)), flush=True)
    return 1 if found else 0


def _hunt(flags: argparse.Namespace, tally: Tally) -> int:
    found = 0
    with tempfile.TemporaryDirectory(prefix="hunt-", dir=flags.directory) as folder:
        pairs = Pairs(Path(folder), flags.members)
        for seed in count(flags.seed):
            if flags.themes and THEMES[seed % len(THEMES)] not in flags.themes:
                continue
            steps = sequence(seed, flags.length, flags.members)
            different = pairs.run(steps, tally)
            tally.sequences += 1
            if different:
                found += 1
                print("\n".join(_report(seed, steps, different, pairs, flags.shrink)), flush=True)
            if flags.once or tally.steps.total() >= flags.steps or found >= flags.most:
                break
    return found


def _report(
    seed: int, steps: list[Step], different: Difference, pairs: Pairs, attempts: int
) -> list[str]:
    steps = steps[: different.number + 1]
    if attempts:
        steps = shrink(steps, lambda some: pairs.run(some, Tally()), attempts)
        again = pairs.run(steps, Tally())
        different = again or different
    theme = THEMES[seed % len(THEMES)]
    return [
        f"--- seed {seed} ({theme}): step {different.number}: {different.step}",
        difference(different.ours, different.theirs),
        *(f"    {number:3} {step}" for number, step in enumerate(steps)),
        "" if not attempts or again else "(the shortened sequence did not differ again)",
    ]


def _totals(tally: Tally) -> list[str]:
    return [
        f"{tally.sequences} sequences, {tally.steps.total()} steps",
        ", ".join(f"{path} {number}" for path, number in tally.steps.most_common()),
        "etcd said: " + ", ".join(f"{code} {number}" for code, number in tally.codes.most_common()),
        *(f"known: {number} times: {reason}" for reason, number in tally.known.most_common()),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    add = parser.add_argument
    add("--seed", type=int, default=1, help="of the first sequence")
    add("--steps", type=int, default=2000, help="stop after so many")
    add("--length", type=int, default=150, help="steps in a sequence")
    add("--members", type=int, default=1, help="of each cluster")
    add("--themes", type=lambda text: text.split(","), default=[], help=",".join(sorted({*THEMES})))
    add("--once", action="store_true", help="the first seed alone")
    add("--most", type=int, default=10, help="stop after so many differences")
    add("--shrink", type=int, default=40, metavar="ATTEMPTS", help="0: print all steps")
    add("--directory", type=Path, help="for the stores' data, on a fast disk")
    return parser


if __name__ == "__main__":
    sys.exit(main())
