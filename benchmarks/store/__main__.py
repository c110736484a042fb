"""`python -m benchmarks.store`: our three members beside stock etcd's, in one run.

Both run at once on this machine, both fsync to the same filesystem, rounds alternate between
them, so ratios survive a noisy machine. Prints a table (Markdown) or JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.store import checkperf, failover, holding, loads, watches
from benchmarks.store.clusters import ROOT, clusters
from benchmarks.store.figures import Figures

_NEEDED = ("etcd", "etcdctl", "h2load")
Part = Callable[[argparse.Namespace, Path, Figures], None]


def put_part(options: argparse.Namespace, directory: Path, figures: Figures) -> None:
    with clusters(directory) as both:
        loads.run(both, loads.puts(), options.rounds, options.seconds, directory, figures)


def txn_part(options: argparse.Namespace, directory: Path, figures: Figures) -> None:
    with clusters(directory) as both:
        loads.run(both, loads.txns(), options.rounds, options.seconds, directory, figures)


def range_part(options: argparse.Namespace, directory: Path, figures: Figures) -> None:
    with clusters(directory) as both:
        for cluster in both.values():
            loads.seed_ranges(cluster)
        loads.run(both, loads.ranges(), options.rounds, options.seconds, directory, figures)


def watch_part(options: argparse.Namespace, directory: Path, figures: Figures) -> None:
    with clusters(directory) as both:
        watches.run(both, options.rounds, options.seconds, directory, figures)


def kill_part(options: argparse.Namespace, directory: Path, figures: Figures) -> None:
    with clusters(directory) as both:
        failover.run(both, options.kills, figures)


def keys_part(options: argparse.Namespace, directory: Path, figures: Figures) -> None:
    with clusters(directory) as both:
        holding.run(both, options.keys, options.restarts, figures)


def perf_part(options: argparse.Namespace, directory: Path, figures: Figures) -> None:
    with clusters(directory, tls=True) as both:
        checkperf.run(both, ("s", "m"), figures)


_PARTS: dict[str, Part] = {
    "put": put_part,
    "txn": txn_part,
    "range": range_part,
    "watch": watch_part,
    "kill": kill_part,
    "keys": keys_part,
    "perf": perf_part,
}


_WHOLE = {
    "parts": ",".join(_PARTS),
    "rounds": 5, "seconds": 2.0, "kills": 30, "keys": 100_000, "restarts": 3,
}  # fmt: skip
_QUICK = {
    "parts": ",".join(part for part in _PARTS if part != "perf"),
    "rounds": 1, "seconds": 1.0, "kills": 3, "keys": 20_000, "restarts": 1,
}  # fmt: skip


def _conditions(options: argparse.Namespace, directory: str) -> dict[str, str]:
    where = subprocess.run(
        ["stat", "-f", "-c", "%T", directory], capture_output=True, text=True, check=True
    )
    etcd = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True)
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return {
        "programs": f"Muster {commit.stdout.strip() or '?'} (Python {platform.python_version()}, "
        f"--rpc-transport nghttp2), {etcd.stdout.splitlines()[0]}; 3 members each, fsync on, "
        "heartbeat 100 ms, election timeout 1,000 ms",
        "machine": f"{os.cpu_count()} CPUs, {where.stdout.strip()}, load "
        f"{os.getloadavg()[0]:.1f} before",
        "run": f"{options.rounds} rounds of {options.seconds:g} s",
    }


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.store", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a look in two minutes: other defaults, no perf")
    add("--parts", help=f"of {','.join(_PARTS)} (default: all)")
    add("--rounds", type=int, help="of each load (default: 5)")
    add("--seconds", type=float, help="for each load in each round (default: 2)")
    add("--kills", type=int, help="of the leader, each (default: 30)")
    add("--keys", type=int, help="held for memory and restarts (default: 100,000)")
    add("--restarts", type=int, help="of one member, and of all, each (default: 3)")
    add("--directory", type=Path, help="where the members' data lie (a disk; default: TMPDIR)")
    add("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args(argv)
    for name, value in (_QUICK if options.quick else _WHOLE).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.parts = options.parts.split(",")
    if unknown := set(options.parts) - set(_PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    if missing := [name for name in _NEEDED if shutil.which(name) is None]:
        raise SystemExit(f"missing: {', '.join(missing)} (make setup-test)")
    # So that SIGTERM, too, ends what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    figures = Figures()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="bench-store-") as scratch:
        figures.conditions = _conditions(options, scratch)
        for part in options.parts:
            print(f"{time.monotonic() - began:5.0f} s  {part}", file=sys.stderr, flush=True)
            _PARTS[part](options, Path(scratch) / part, figures)
            shutil.rmtree(Path(scratch) / part)
    figures.conditions["took"] = f"{time.monotonic() - began:.0f} s"
    if options.output == "json":
        print(json.dumps(figures.json(), indent=2, ensure_ascii=False))
    else:
        print(figures.table())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
