"""Watch for hours: many streams, compactions, leaders that come and go; every response is judged,
and the members' memory is measured.

    python -m tests.robustness.soak --minutes 15
    python -m tests.robustness.soak --minutes 60 --streams 200 --multiplexed 20 --program etcd

Ends with 1 at the first response that breaks a guarantee of watches, if a watch does not get
to the end, if a member (or this harness) grows without bound, or if one of the things that it is
made for never happened. Memory is measured once all that is kept has been filled; a quarter of an
hour is the least that says anything about it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

from tests.robustness.cluster import SLOTS, Cluster, NotInTime, wait_for
from tests.robustness.history import Watch
from tests.robustness.network import Network
from tests.robustness.programs import ROOT, Program, etcd, ours
from tests.robustness.soak.load import KEYS, Load
from tests.robustness.soak.memory import LEAST_SAMPLES, grows, resident_bytes
from tests.robustness.soak.streams import Follower, Pace, Recorder, Stream
from tests.robustness.soak.window import Window

_MEMBERS = 3
_KEPT_REVISIONS = 3000  # in the harness, when every watch is past them
_MOST_REVISIONS = 100_000
_STEADY_REVISION = 2 * _KEPT_REVISIONS  # what is kept has been filled, here and in the members
_WRITERS = 4
_END_SECONDS = 120.0
# Fewer snapshots and notifications than in short runs: they are not what is tried here.
_CALM = (
    "--snapshot-count", "2000", "--experimental-watch-progress-notify-interval", "4s",
)  # fmt: skip
_PACES = (
    Pace(),
    Pace(rests=(20, 3.0)),
    Pace(rests=(200, 60.0)),  # long enough for its queue to overflow, and to be compacted
    Pace(stays=(1.0, 20.0)),
)
_MUST_HAPPEN = (
    "events", "progress", "progress requests", "compacted", "compactions", "leader changes",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    flags = _parser().parse_args(argv)
    program = etcd() if flags.program == "etcd" else ours(flags.tree.resolve())
    program = replace(program, command=(*program.command, *_CALM))
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch, Network(SLOTS) as network:
        problems = asyncio.run(_soak(flags, program, network, Path(scratch)))
    print("\n".join(problems[:20]) or "no guarantee was broken, nobody grew", flush=True)
    return 1 if problems else 0


async def _soak(
    flags: argparse.Namespace, program: Program, network: Network, directory: Path
) -> list[str]:
    cluster = Cluster(_MEMBERS, directory, network, program, random.Random(flags.seed))
    problems: list[str] = []
    try:
        await cluster.start({})
        soak = Soak(flags, cluster)
        problems = soak.problems
        await soak.run()
    except* NotInTime as failures:
        problems += map(str, failures.exceptions)
    finally:
        await cluster.close()
    return problems


class Soak:
    def __init__(self, flags: argparse.Namespace, cluster: Cluster) -> None:
        self.problems: list[str] = []
        self._flags = flags
        self._cluster = cluster
        self._window = Window()
        self._done: Counter[str] = Counter()
        self._rng = random.Random(flags.seed)
        self._load = Load(cluster, self._window, self._fork(), self._done)
        self._streams = list(self._make_streams())
        self._followers = [one for stream in self._streams for one in stream.followers]
        self._memory: dict[str, list[int]] = {}
        self._began = monotonic()

    def _fork(self) -> random.Random:
        return random.Random(self._rng.random())

    def _make_streams(self) -> Iterator[Stream]:
        """Streams of one watch, of all keys or of few; and some with many, most of one key."""
        for number in range(self._flags.streams):
            prefix = self._rng.choice(("", "s/", "s/0", "s/1", self._rng.choice(KEYS)))
            yield self._stream([self._watch(f"single {number}", prefix)], number)
        for number in range(self._flags.multiplexed):
            watches = [
                self._watch(f"multiplexed {number}.{part}", self._rng.choice((*KEYS, "s/4")))
                for part in range(self._flags.watches)
            ]
            yield self._stream(watches, number)

    def _watch(self, name: str, prefix: str) -> Watch:
        puts, deletes = self._rng.choice(((True, True), (True, True), (False, True), (True, False)))
        prev_kv = self._rng.random() < 0.3
        return Watch(name, prefix, prev_kv=prev_kv, puts=puts, deletes=deletes)

    def _stream(self, watches: Sequence[Watch], number: int) -> Stream:
        followers = [Follower(watch, self._window, self._rng.choice((0, 1))) for watch in watches]
        pace = _PACES[number % len(_PACES)]
        members = self._cluster.members
        return Stream(followers, members, self._window, pace, self._fork(), self._done)

    async def run(self) -> None:
        recorder = Recorder(self._cluster.members, self._window, self._fork())
        pause = _WRITERS / self._flags.rate
        works = [self._load.write(pause) for _ in range(_WRITERS)]
        works += [self._load.compact(), self._load.change_leaders()]
        async with asyncio.TaskGroup() as tasks:
            load = [tasks.create_task(work) for work in works]
            watching = [tasks.create_task(recorder.work())]
            watching += [tasks.create_task(stream.work()) for stream in self._streams]
            try:
                await self._measure()
                self._load.stopping.set()
                await asyncio.wait(load)
                if not self.problems:
                    await self._settle()
            finally:
                for task in [*load, *watching]:
                    task.cancel()
        self._conclude()

    async def _measure(self) -> None:
        """Until the time is over, or something is wrong."""
        flags = self._flags
        told = next_sample = monotonic()
        while monotonic() < self._began + flags.minutes * 60 and not self.problems:
            await asyncio.sleep(min(1.0, flags.sample_seconds))
            self._collect()
            if monotonic() > next_sample and self._window.last > _STEADY_REVISION:
                next_sample = monotonic() + flags.sample_seconds
                self._sample()
            if monotonic() - told > flags.report_seconds:
                told = monotonic()
                self._tell()

    def _collect(self) -> None:
        for follower in self._followers:
            self.problems += follower.problems
            follower.problems.clear()
        self.problems += self._window.problems
        self._window.problems.clear()
        behind = min(one.next for one in self._followers if one.next)
        self._window.forget(min(behind, self._window.last - _KEPT_REVISIONS))
        if self._window.last - self._window.first > _MOST_REVISIONS:
            slowest = min(self._followers, key=lambda one: one.next)
            self.problems.append(f"watch {slowest.watch.name} does not get on: at {slowest.next}")

    # --- memory

    @property
    def _sampled(self) -> int:
        return max(map(len, self._memory.values()), default=0)

    def _resident(self) -> dict[str, int]:
        """What everybody holds that lives for the whole time."""
        pids = {"harness": os.getpid()}
        for member in self._cluster.members[1:]:
            assert member.process is not None
            pids[member.name] = member.process.pid
        held = {name: resident_bytes(pid) for name, pid in pids.items()}
        self.problems += [f"{name} ended by itself" for name, of in held.items() if of is None]
        return {name: of for name, of in held.items() if of is not None}

    def _sample(self) -> None:
        for name, held in self._resident().items():
            self._memory.setdefault(name, []).append(held)

    def _tell(self) -> None:
        held = ", ".join(f"{name} {of >> 20} MB" for name, of in self._resident().items())
        done = ", ".join(f"{count} {name}" for name, count in sorted(self._done.items()))
        print(
            f"{monotonic() - self._began:6.0f} s: revision {self._window.last}, "
            f"{len(self._followers)} watches, {done}; RSS {held}",
            flush=True,
        )

    # --- the end

    async def _settle(self) -> None:
        """Everybody gets to the last revision: a put and then a deletion of every key."""
        for stream in self._streams:
            stream.hurry.set()
        keys = list(KEYS)
        await wait_for(lambda: self._load.put(keys), 60, "the last put")
        put = await self._revision()
        await wait_for(lambda: self._load.put(keys, delete=True), 60, "the last deletion")
        deleted = await self._revision()

        def late() -> list[str]:
            return [
                follower.watch.name
                for follower in self._followers
                if follower.next <= (deleted if follower.watch.deletes else put)
            ]

        try:
            await wait_for(lambda: self.problems or not late(), _END_SECONDS, "the watches")
        except NotInTime as error:
            self.problems.append(f"{error}: {late()} did not get to {put} and {deleted}")

    async def _revision(self) -> int:
        """After a write that was acknowledged to us, as some member that knows of it tells."""
        status = [await self._cluster.status(member) for member in self._cluster.members]
        return max(one.header.revision for one in status if one is not None)

    def _conclude(self) -> None:
        self._collect()
        self._tell()
        for name, samples in sorted(self._memory.items()):
            step = max(1, len(samples) // 20)
            print(f"RSS of {name}, MB: {[held >> 20 for held in samples[::step]]}", flush=True)
            if grows(samples):
                self.problems.append(f"{name} grows without bound")
        if self._sampled < LEAST_SAMPLES:
            print("too short to judge memory, or to ask for all that must happen", flush=True)
        elif not self.problems:
            never = [name for name in _MUST_HAPPEN if not self._done[name]]
            self.problems += [f"there were no {name}: nothing was shown of them" for name in never]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.robustness.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--minutes", type=float, default=15.0)
    add("--streams", type=int, default=60, help="with one watch each")
    add("--multiplexed", type=int, default=6, help="streams with many watches")
    add("--watches", type=int, default=50, help="on each of those")
    add("--rate", type=float, default=80.0, help="writes a second")
    add("--program", choices=("muster", "etcd"), default="muster")
    add("--tree", type=Path, default=ROOT, help="where our store's source is")
    add("--seed", type=int, default=0)
    add("--sample-seconds", type=float, default=5.0, help="between two measurements of memory")
    add("--report-seconds", type=float, default=30.0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
