"""Hurt real clusters and judge what their clients saw.

    python -m tests.robustness --runs 5 --members 1,3,5               # ours, everything
    python -m tests.robustness --program etcd --faults faults         # the same faults, stock etcd
    python -m tests.robustness --replay fail:apply-after/3/17         # one run again
    python -m tests.robustness --judge FILE                           # judge a kept history again
    python -m tests.robustness --tree DIR --faults kill,power-loss    # a store from another tree

Each run has a name, SCENARIO/MEMBERS/SEED: the seed fixes every choice, not the timing. The
history and the logs of a run with a violation are kept. Ends with 1 if there was one.

**Planted bugs.** Copy `master` and `muster` to a directory, plant a bug in the copy and run with
`--tree COPY`: members run the copy, the harness stays as it is. `--stop-on-violation` ends with
the first run that finds it. Runs that find the usual ones:

    acknowledge before fsync           --faults power-loss,kill (what was not synced is lost)
    skip ReadIndex                     --faults cut-leader,pause-leader
    lose or repeat a watch event       any
    a lease ends early                 any
    forget votes or the hard state     --faults power-loss,kill,storm
"""

from __future__ import annotations

import argparse
import asyncio
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic

import msgspec

from tests.robustness.clients import recorded_revision
from tests.robustness.cluster import SLOTS, Cluster
from tests.robustness.history import Run, load
from tests.robustness.judge import judge
from tests.robustness.network import Network
from tests.robustness.plan import Planned, parse, plan, scenarios
from tests.robustness.programs import ROOT, Program, etcd, ours
from tests.robustness.report import Result, line, table
from tests.robustness.runner import execute


def main(argv: Sequence[str] | None = None) -> int:
    flags = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if flags.judge:
        run = load(flags.judge)
        print("\n".join([*run.log, *judge(run).problems]) or "nothing is wrong")
        return 0
    program = etcd() if flags.program == "etcd" else ours(flags.tree.resolve())
    planned = _planned(flags, program)
    results = []
    lines = _in_parallel(flags) if flags.jobs > 1 else _one_by_one(flags, program, planned)
    for result in lines:
        results.append(result)
        out = msgspec.json.encode(result).decode() if flags.json else line(result)
        print(out, flush=True)
        if result.problems and flags.stop_on_violation:
            break
    if not flags.json:
        print(table(results))
    return 1 if any(result.problems for result in results) else 0


def _planned(flags: argparse.Namespace, program: Program) -> list[Planned]:
    if flags.replay:
        return [parse(text) for text in flags.replay.split(",") for _ in range(flags.runs)]
    members = [int(count) for count in flags.members.split(",")]
    names = scenarios(flags.faults.split(","), program)
    seeds = range(flags.first_seed, flags.first_seed + flags.runs)
    mine, of = map(int, str(flags.share).split("/"))
    return [one for number, one in enumerate(plan(names, members, seeds)) if number % of == mine]


def _one_by_one(
    flags: argparse.Namespace, program: Program, planned: list[Planned]
) -> Iterator[Result]:
    deadline = monotonic() + flags.minutes * 60
    with Network(SLOTS) as network:
        for one in planned:
            if monotonic() > deadline:
                return
            yield _run(one, program, network, flags.keep, always=bool(flags.replay))


def _run(one: Planned, program: Program, network: Network, keep: Path, *, always: bool) -> Result:
    began = monotonic()
    with tempfile.TemporaryDirectory(prefix="robustness-") as scratch:
        run, cluster = asyncio.run(
            execute(one.scenario, one.members, one.seed, program, network, Path(scratch))
        )
        verdict = judge(run)
        kept = _keep(run, cluster, keep) if verdict.problems or always else None
    return Result(
        program.name, one.scenario, one.members, one.seed, monotonic() - began,
        len(run.ops), run.acknowledged, recorded_revision(run), verdict.lost, verdict.problems,
        verdict.undecided, str(kept or ""),
    )  # fmt: skip


def _keep(run: Run, cluster: Cluster, keep: Path) -> Path:
    """The history and every member's log, to look at."""
    name = f"{run.program}-{run.scenario.replace(':', '-')}-{run.members}-{run.seed}"
    for member in cluster.everybody:
        (keep / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(member.log_file, keep / name / f"{member.name}.log")
    path = keep / name / "history.json"
    run.save(path)
    return path


def _in_parallel(flags: argparse.Namespace) -> Iterator[Result]:
    """The same command in several processes, each with a network and a share of its own."""
    common = [
        sys.executable, "-m", "tests.robustness", "--json", "--runs", str(flags.runs),
        "--members", flags.members, "--faults", flags.faults, "--program", flags.program,
        "--tree", str(flags.tree), "--first-seed", str(flags.first_seed),
        "--minutes", str(flags.minutes), "--keep", str(flags.keep),
    ]  # fmt: skip
    workers = [
        subprocess.Popen(
            [*common, "--share", f"{number}/{flags.jobs}"], cwd=ROOT, stdout=subprocess.PIPE
        )
        for number in range(flags.jobs)
    ]
    try:
        yield from _merged(workers)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()


def _merged(workers: list[subprocess.Popen[bytes]]) -> Iterator[Result]:
    """Results as they come. A worker that broke is an error of the harness, not a result."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            assert worker.stdout is not None
            selector.register(worker.stdout, selectors.EVENT_READ, worker.stdout)
        while selector.get_map():
            for key, _ in selector.select():
                text = key.data.readline()
                if text:
                    yield msgspec.json.decode(text, type=Result)
                else:
                    selector.unregister(key.fileobj)
    for worker in workers:
        if worker.wait() not in (0, 1):
            raise RuntimeError(f"a worker ended with {worker.returncode}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.robustness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--runs", type=int, default=1, help="of each scenario and size")
    add("--members", default="1,3,5", help="sizes of clusters")
    add("--faults", default="all", help="all, points, faults, or names with wildcards")
    add("--program", choices=("muster", "etcd"), default="muster")
    add("--tree", type=Path, default=ROOT, help="where our store's source is")
    add("--first-seed", type=int, default=0)
    add("--jobs", type=int, default=1, help="runs at a time")
    add("--minutes", type=float, default=1e6, help="begin no run after that")
    add("--replay", default="", metavar="NAME,...", help="runs by name, instead of a plan")
    add("--judge", type=Path, metavar="FILE", help="judge a kept history")
    add("--keep", type=Path, default=Path(tempfile.gettempdir(), "muster-robustness"))
    add("--stop-on-violation", action="store_true")
    add("--json", action="store_true", help=argparse.SUPPRESS)
    add("--share", default="0/1", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
