"""Simulate Raft clusters for as long as asked, and report what was simulated.

`python -m tests.simulation --days 1`, `--seconds 60` (of this machine's time), `--years 1
--totals FILE` (goes on where it was interrupted). A failure prints how to replay it.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.simulation.runs import (
    DAY,
    PROFILES,
    Book,
    Failure,
    Run,
    Totals,
    perform,
    plan,
)

_TRACE_LINES = 400


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--years", type=float, default=0, help="simulated, of all profiles")
    parser.add_argument("--days", type=float, default=0)
    parser.add_argument("--hours", type=float, default=0)
    parser.add_argument("--seconds", type=float, default=0, help="of this machine's time")
    parser.add_argument("--seed", type=int, default=1, help="the first; the others follow")
    parser.add_argument("--members", default="3,5", help="sizes of clusters")
    parser.add_argument("--profile", default=",".join(PROFILES))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--totals", type=Path, help="add up in this file")
    parser.add_argument("--every", type=float, default=60, help="seconds between two reports")
    parser.add_argument("--until", type=int, help="replay one run; trace until this ms")
    parser.add_argument("--trace", action="store_true", help="print the last steps")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    options = arguments(argv)
    sizes = [int(size) for size in options.members.split(",")]
    profiles = options.profile.split(",")
    if options.until is not None:
        (run,) = plan(options.seed, sizes, profiles)
        return replay(run, options.until, options.trace)
    book = Book.open(options.totals, options.seed)
    wanted_ms = (options.years * 365 + options.days + options.hours / 24) * DAY
    began, reported = time.monotonic() - book.seconds, time.monotonic()
    for seed, outcomes in results(book.next_seed, sizes, profiles, options.processes):
        for run, totals, failure in outcomes:
            book.totals.setdefault(run.profile, Totals()).add(totals)
            if failure is not None:
                book.failures.append(failure)
                print(f"FAILED {failure.what}\n  {failure.replay()}", flush=True)
        book.next_seed = seed + 1
        book.seconds = time.monotonic() - began
        if options.totals:
            book.save(options.totals)
        enough = book.seconds >= options.seconds and book.simulated_ms() >= wanted_ms
        if enough or book.failures or time.monotonic() - reported >= options.every:
            reported = time.monotonic()
            print(report(book), flush=True)
        if enough or book.failures:
            return 1 if book.failures else 0
    return 1


def results(
    seed: int, sizes: list[int], profiles: list[str], processes: int
) -> Iterator[tuple[int, list[tuple[Run, Totals, Failure | None]]]]:
    """In the order of the seeds, whoever computes them."""
    tasks = ((number, plan(number, sizes, profiles)) for number in itertools.count(seed))
    if processes == 1:
        for number, runs in tasks:
            yield number, perform_all(runs)
        return
    with ProcessPoolExecutor(processes) as pool:
        under_way = deque(
            (number, pool.submit(perform_all, runs))
            for number, runs in itertools.islice(tasks, 2 * processes)
        )
        try:
            while True:
                number, future = under_way.popleft()
                yield number, future.result()
                number, runs = next(tasks)
                under_way.append((number, pool.submit(perform_all, runs)))
        finally:
            pool.shutdown(cancel_futures=True)


def perform_all(runs: list[Run]) -> list[tuple[Run, Totals, Failure | None]]:
    return [(run, *perform(run)) for run in runs]


def replay(run: Run, until: int, trace: bool) -> int:
    """The run again from its start; what happened last before `until` is printed."""
    lines: deque[str] = deque(maxlen=_TRACE_LINES)

    def remember(when: int, line: str) -> None:
        if when <= until:
            lines.append(f"{when} {line}")

    _, failure = perform(run, remember if trace else None)
    for line in lines:
        print(line)
    print(failure.what if failure else "no failure")
    return 1 if failure else 0


def report(book: Book) -> str:
    lines = [
        f"simulated {days(book.simulated_ms())} in {book.seconds:.0f} s;"
        f" seeds up to {book.next_seed - 1}; violations {len(book.failures)}"
    ]
    for profile, totals in book.totals.items():
        stepped_ms = totals.simulated_ms - totals.skipped_ms
        hours = totals.simulated_ms / 3_600_000
        counts = dict(totals.counts)
        stepped, skipped = counts.pop("stepped"), counts.pop("skipped", 0)
        counts.pop("skipped_ms", None)
        lines += [
            f"  {profile}: {totals.runs} runs, {days(totals.simulated_ms)}:"
            f" {days(stepped_ms)} stepped, {days(totals.skipped_ms)} skipped as quiet",
            f"    events: {stepped} stepped ({stepped / hours:.0f} an hour), {skipped} skipped;"
            f" episodes {totals.episodes}, elections {totals.elections}",
            "    " + ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in counts.items()),
            "    " + ", ".join(f"{name} {n}" for name, n in sorted(totals.faults.items())),
        ]
    return "\n".join(lines)


def days(ms: int) -> str:
    return f"{ms / DAY:.3f} days"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
