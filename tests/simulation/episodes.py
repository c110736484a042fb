"""Faults as they come in operation: an episode of trouble now and then, quiet time in between.

An episode is one to three troubles at once or shortly after each other, with clients at work.
After it everything is healed. Before the next one the cluster must be settled (one leader, the same
log applied everywhere) and a write must succeed through any member: it is live again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.simulation.raft_cluster import Cluster, Conditions
from tests.simulation.storm import change_membership, isolate_leader, partition
from tests.simulation.timeline import TICK

RECOVER_MS = 20_000  # after healing; the next episode comes no earlier
_PROBE_MS = 500  # so long a write may take when all is well
_TIDY_MS = 5_000


class Episodes:
    def __init__(self, cluster: Cluster, *, gap_ms: int, changes: bool) -> None:
        """`gap_ms` is the mean time between episodes; `changes`: the membership changes too."""
        self.cluster = cluster
        self.episodes = 0
        self._gap_ms = gap_ms
        self._changed = False
        self._troubles: list[Callable[[int], None]] = [
            self._lossy_network,
            self._lossy_network,
            partial(self._partition, one_way=False),
            partial(self._partition, one_way=True),
            self._lonely_leader,
            self._crash_one,
            self._crash_one,
            self._crash_leader,
            self._crash_several,
            self._slow_disk,
            self._suspend,
            self._stop_clock,
            self._skew_clock,
            self._transfer,
            self._suspicion,
            self._many_snapshots,
            self._nothing,
        ]
        if changes:
            self._troubles += [self._change_membership] * 3
        cluster.at(0, cluster.heal)
        for spare in sorted(set(cluster.everybody) - cluster.membership.everyone()):
            cluster.stop(spare)
        self._plan_episode()

    def _plan_episode(self) -> None:
        delay = self.cluster.rng.expovariate(1 / (self._gap_ms - RECOVER_MS))
        self.cluster.at(int(delay) + RECOVER_MS, self._probe)

    def _probe(self) -> None:
        """Liveness, and that all hold the same: long enough after the last fault."""
        cluster = self.cluster
        cluster.assert_settled()
        cluster.calm = False
        member = cluster.rng.choice(sorted(cluster.current().everyone()))
        assert cluster.propose(member), f"{member} knows no leader"
        cluster.at(_PROBE_MS, self._begin, cluster.checker.last_committed)

    def _begin(self, before: int) -> None:
        cluster, rng = self.cluster, self.cluster.rng
        assert cluster.checker.last_committed > before, "a write did not succeed"
        self.episodes += 1
        length = rng.randrange(10, 50) * TICK
        for trouble in rng.sample(self._troubles, rng.choice([1, 1, 2, 3])):
            cluster.at(rng.randrange(length // 2), trouble, length)
        for _ in range(rng.randrange(5, 25)):
            cluster.at(rng.randrange(length + 10 * TICK), self._client)
        cluster.at(length, self._heal)

    def _heal(self) -> None:
        cluster = self.cluster
        cluster.heal()
        needed = sorted(cluster.current().everyone())
        for member in needed:
            cluster.start(member)
        if self._changed:
            cluster.at(_TIDY_MS, self._tidy)
        self._plan_episode()

    def _tidy(self) -> None:
        """The operator stops members that were removed, once those that stay know it."""
        cluster = self.cluster
        current = cluster.current()
        for member in sorted(current.everyone()):
            cluster.start(member)
        if all(cluster.cores[m].membership == current for m in current.everyone()):
            self._changed = False
            for member in sorted(set(cluster.cores) - current.everyone()):
                cluster.stop(member)
        else:
            cluster.at(_TIDY_MS // 2, self._tidy)

    def _client(self) -> None:
        cluster, rng = self.cluster, self.cluster.rng
        member = rng.choice(cluster.everybody)
        if rng.random() < 0.6:
            cluster.propose(member)
        else:
            cluster.read(member)

    # --- troubles: each lasts until the episode's end, or ends by itself before

    def _lossy_network(self, length: int) -> None:
        rng, conditions = self.cluster.rng, self.cluster.conditions
        conditions.drop = rng.choice([0.0, 0.02, 0.1, 0.3])
        conditions.duplicate = rng.choice([0.0, 0.05, 0.3])
        conditions.jitter = rng.choice([5, 50, 200, 800])

    def _slow_disk(self, length: int) -> None:
        self.cluster.conditions.slow_disk = self.cluster.rng.choice([50, 300, 1500])

    def _partition(self, length: int, *, one_way: bool) -> None:
        partition(self.cluster, one_way=one_way)

    def _lonely_leader(self, length: int) -> None:
        isolate_leader(self.cluster)

    def _crash(self, member: int, length: int) -> None:
        cluster, rng = self.cluster, self.cluster.rng
        peers = [m for m, core in cluster.cores.items() if core.leader == member != m]
        if not cluster.crash(member):
            return
        cluster.at(rng.randrange(length), cluster.start, member)
        for peer in peers if rng.random() < 0.7 else ():
            cluster.at(rng.randrange(1, 20), cluster.suspect, peer)

    def _crash_one(self, length: int) -> None:
        self._crash(self._somebody(), length)

    def _crash_leader(self, length: int) -> None:
        if (leader := self.cluster.leader()) is not None:
            self._crash(leader, length)

    def _crash_several(self, length: int) -> None:
        everybody = self.cluster.everybody
        for member in self.cluster.rng.sample(
            everybody, self.cluster.rng.randrange(1, len(everybody) + 1)
        ):
            self._crash(member, length)

    def _somebody(self) -> int:
        return self.cluster.rng.choice(self.cluster.everybody)

    def _suspend(self, length: int) -> None:
        member = self._somebody()
        self.cluster.park(member)
        self.cluster.at(self.cluster.rng.randrange(length), self.cluster.unpark, member)

    def _stop_clock(self, length: int) -> None:
        self.cluster.stopped.add(self._somebody())
        self.cluster.faults["stopped clock"] += 1

    def _skew_clock(self, length: int) -> None:
        self.cluster.tick_ms[self._somebody()] = self.cluster.rng.randrange(TICK // 3, 3 * TICK)
        self.cluster.faults["skewed clock"] += 1

    def _transfer(self, length: int) -> None:
        if (leader := self.cluster.leader()) is not None:
            self.cluster.transfer(leader, self.cluster.rng.choice(self.cluster.everybody))

    def _suspicion(self, length: int) -> None:
        for member in sorted(self.cluster.cores):
            self.cluster.suspect(member)

    def _many_snapshots(self, length: int) -> None:
        self.cluster.faults["early compaction"] += 1
        self.cluster.conditions = Conditions(
            **{**vars(self.cluster.conditions), "compact_after": 2}
        )

    def _change_membership(self, length: int) -> None:
        self._changed = True
        for member in self.cluster.everybody:
            self.cluster.start(member)
        for _ in range(self.cluster.rng.randrange(1, 4)):
            self.cluster.at(self.cluster.rng.randrange(length), change_membership, self.cluster)

    def _nothing(self, length: int) -> None:
        """Clients alone are an episode too."""
