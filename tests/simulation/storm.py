"""Dense faults: something breaks all the time, at every tick, while clients keep asking."""

from __future__ import annotations

from dataclasses import dataclass

from tests.simulation.raft_cluster import Cluster, Conditions
from tests.simulation.timeline import TICK


@dataclass(frozen=True)
class Rates:
    """How likely a thing is within one tick; of each member where it concerns one."""

    crash: float = 0.004
    suspend: float = 0.002
    partition: float = 0.01
    heal: float = 0.05
    stopped_clock: float = 0.004
    skewed_clock: float = 0.002
    suspicion: float = 0.002
    lonely_leader: float = 0.005
    write: float = 0.5
    read: float = 0.3
    transfer: float = 0.005
    change: float = 0.0  # of the membership: one voter, several at once, learners


STORM = Conditions(drop=0.05, duplicate=0.05, jitter=600, slow_disk=500, crash_voters=0.3)


class Storm:
    def __init__(self, cluster: Cluster, rates: Rates | None = None) -> None:
        self.cluster = cluster
        self.rates = rates or Rates()
        self._over = False
        self._silent = False
        cluster.conditions = STORM
        cluster.at(TICK, self._beat)

    def end(self) -> None:
        """No more faults, but clients go on."""
        self._over = True
        cluster = self.cluster
        cluster.heal()
        cluster.calm = False  # the clients leave no quiet time
        for member in cluster.everybody:
            cluster.start(member)

    def quiet(self) -> None:
        """Clients stop too."""
        self._silent = True

    def _beat(self) -> None:
        if self._silent:
            return
        if not self._over:
            self._members_suffer()
            self._network_suffers()
        self._clients_ask()
        self.cluster.at(TICK, self._beat)

    def _members_suffer(self) -> None:
        cluster, rng, rates = self.cluster, self.cluster.rng, self.rates
        for member in sorted(cluster.cores):
            if rng.random() < rates.crash:
                cluster.crash(member)
                # Some are back before the election that they took part in is over.
                longest = rng.choice([TICK, 60 * TICK])
                cluster.at(rng.randrange(longest), cluster.start, member)
            elif rng.random() < rates.suspend:
                cluster.park(member)
                cluster.at(rng.randrange(TICK, 40 * TICK), cluster.unpark, member)
            if rng.random() < rates.stopped_clock:
                cluster.faults["stopped clock"] += 1
                cluster.stopped.add(member)
                cluster.at(rng.randrange(20, 120) * TICK, cluster.stopped.discard, member)
            if rng.random() < rates.skewed_clock:
                cluster.faults["skewed clock"] += 1
                cluster.tick_ms[member] = rng.randrange(TICK // 3, 3 * TICK)
                cluster.at(rng.randrange(20, 120) * TICK, self._mend_clock, member)
            if rng.random() < rates.suspicion:
                cluster.suspect(member)

    def _mend_clock(self, member: int) -> None:
        self.cluster.tick_ms[member] = TICK

    def _network_suffers(self) -> None:
        cluster, rng = self.cluster, self.cluster.rng
        if rng.random() < self.rates.partition:
            partition(cluster, one_way=rng.random() < 0.3)
        if rng.random() < self.rates.lonely_leader:
            lonely = isolate_leader(cluster)
            cluster.at(rng.randrange(20, 60) * TICK, cluster.stopped.discard, lonely)
        if rng.random() < self.rates.heal:
            cluster.cut.clear()

    def _clients_ask(self) -> None:
        cluster, rng, rates = self.cluster, self.cluster.rng, self.rates
        if rng.random() < rates.write:
            cluster.propose(rng.choice(cluster.everybody))
        if rng.random() < rates.read:
            cluster.read(rng.choice(cluster.everybody))
        if rng.random() < rates.transfer:
            cluster.transfer(rng.choice(cluster.everybody), rng.choice(cluster.everybody))
        if not self._over and rng.random() < rates.change:
            change_membership(cluster)


def partition(cluster: Cluster, *, one_way: bool) -> None:
    """Some hear nothing of the others; one-way: but are heard."""
    members = list(cluster.everybody)
    if len(members) < 2:
        return
    left = set(cluster.rng.sample(members, cluster.rng.randrange(1, len(members))))
    cluster.faults["one-way partition" if one_way else "partition"] += 1
    for a in sorted(left):
        for b in sorted(set(members) - left):
            cluster.cut.add((a, b))
            if not one_way:
                cluster.cut.add((b, a))


def isolate_leader(cluster: Cluster) -> int | None:
    """Nobody hears it and it hears nobody. Often its clock stands still as well, so that it goes
    on as the leader, and the others know that it is gone: they soon have another."""
    leader, rng = cluster.leader(), cluster.rng
    if leader is None:
        return None
    cluster.faults["isolated leader"] += 1
    for other in cluster.everybody:
        cluster.cut |= {(leader, other), (other, leader)}
    if rng.random() < 0.5:
        cluster.stopped.add(leader)
        for other in cluster.everybody:
            if other != leader:
                cluster.at(rng.randrange(1, TICK), cluster.suspect, other)
    return leader


def change_membership(cluster: Cluster) -> None:
    """Ask somebody for any voters and learners at all, of all there are."""
    rng, everybody = cluster.rng, cluster.everybody
    voters = rng.sample(everybody, rng.randrange(1, len(everybody) + 1))
    learners = [m for m in everybody if m not in voters and rng.random() < 0.5]
    cluster.faults["membership change asked for"] += 1
    cluster.change(rng.choice(everybody), voters, learners)
