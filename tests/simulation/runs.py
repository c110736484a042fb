"""Runs of the simulation: what one is, what came of it, and the sum of many.

A run is one cluster from its first start: a day of `calendar` or five minutes of `storm`. Its seed,
profile and size decide everything, so that a failure replays from those.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import msgspec

from tests.simulation.episodes import Episodes
from tests.simulation.raft_cluster import Cluster
from tests.simulation.storm import Rates, Storm

MINUTE = 60_000
DAY = 24 * 60 * MINUTE
GAP_MS = 600_000  # mean time between two episodes of trouble: 53,000 in a year
STORM_MS = 5 * MINUTE
CALM_MS = 25_000  # after a storm all must agree within this
PROFILES = ("calendar", "storm")


class Run(msgspec.Struct, frozen=True):
    profile: str
    seed: int
    members: int
    ms: int

    @property
    def changes(self) -> bool:
        """Every third run changes its membership, with two members to spare."""
        return self.seed % 3 == 0


class Totals(msgspec.Struct):
    """What happened in all runs of a profile."""

    runs: int = 0
    simulated_ms: int = 0
    skipped_ms: int = 0
    episodes: int = 0
    elections: int = 0
    counts: dict[str, int] = {}
    faults: dict[str, int] = {}

    def add(self, other: Totals) -> None:
        self.runs += other.runs
        self.simulated_ms += other.simulated_ms
        self.skipped_ms += other.skipped_ms
        self.episodes += other.episodes
        self.elections += other.elections
        self.counts = dict(Counter(self.counts) + Counter(other.counts))
        self.faults = dict(Counter(self.faults) + Counter(other.faults))


class Failure(msgspec.Struct, frozen=True):
    run: Run
    at_ms: int
    what: str

    def replay(self) -> str:
        return (
            f"python -m tests.simulation --profile {self.run.profile} --seed {self.run.seed}"
            f" --members {self.run.members} --until {self.at_ms} --trace"
        )


class Book(msgspec.Struct):
    """The sum so far, kept in a file so that runs that were interrupted add up."""

    next_seed: int
    totals: dict[str, Totals] = {}
    failures: list[Failure] = []
    seconds: float = 0.0

    @classmethod
    def open(cls, path: Path | None, first_seed: int) -> Book:
        if path is None or not path.exists():
            return cls(first_seed)
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def save(self, path: Path) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(self))
        fresh.rename(path)

    def simulated_ms(self) -> int:
        return sum(totals.simulated_ms for totals in self.totals.values())


def perform(
    run: Run, trace: Callable[[int, str], None] | None = None
) -> tuple[Totals, Failure | None]:
    """Whatever goes wrong, an assertion of the checker or of the core itself, is a failure."""
    cluster = Cluster(run.seed, run.members, 2 * run.changes, trace=trace)
    episodes = 0
    failure = None
    try:
        if run.profile == "storm":
            storm(cluster, run)
        else:
            calendar = Episodes(cluster, gap_ms=GAP_MS, changes=run.changes)
            cluster.run(run.ms)
            episodes = calendar.episodes
    except Exception as error:
        failure = Failure(run, cluster.now, f"{type(error).__name__}: {error}")
    return (
        Totals(
            1,
            cluster.now,
            cluster.skipped_ms,
            episodes,
            len(cluster.checker.leaders),
            {"stepped": cluster.stepped, "skipped": cluster.skipped, **asdict(cluster.counts)},
            dict(cluster.faults),
        ),
        failure,
    )


def storm(cluster: Cluster, run: Run) -> None:
    """Faults without a pause, then none; then all must come to agree and to work."""
    weather = Storm(cluster, Rates(change=0.02 if run.changes else 0.0))
    cluster.run(run.ms - CALM_MS - 5_000)
    weather.end()
    cluster.run(CALM_MS - 5_000)
    before = cluster.checker.last_committed
    cluster.run(5_000)
    assert cluster.checker.last_committed > before, "no progress after the faults"
    weather.quiet()
    cluster.run(5_000)
    cluster.assert_settled()


def plan(seed: int, sizes: list[int], profiles: list[str]) -> list[Run]:
    """What belongs to one seed: a run of each profile, the size drawn from it."""
    members = random.Random(seed).choice(sizes)
    lengths = {"calendar": DAY, "storm": STORM_MS}
    return [Run(profile, seed, members, lengths[profile]) for profile in profiles]
