"""Raft's safety under everything that can go wrong, and its progress once that ends."""

from __future__ import annotations

import os

import pytest

from master.kvstore.raft.core import Role
from tests.simulation.raft_cluster import Cluster, Faults

SEEDS = range(int(os.environ.get("RAFT_SEEDS", "12")))


@pytest.mark.parametrize("members", [1, 3, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_safety_holds_through_faults_and_progress_follows(seed: int, members: int) -> None:
    """The paper's figure 3 after every step; after the faults all members agree again."""
    cluster = Cluster(seed * 31 + members, members)
    cluster.run(1500)
    cluster.calm()
    cluster.run(150)
    leaders = [core for core in cluster.cores.values() if core.role is Role.LEADER]
    assert len({core.leader for core in cluster.cores.values()}) == 1, f"seed={seed}"
    assert len(leaders) == 1
    before = cluster.commits
    cluster.run(50)
    assert cluster.commits > before, f"no progress after the faults, seed={seed}"
    assert cluster.reads_served > 0
    assert len(cluster.cores) == members
    lag = max(cluster.applied.values()) - min(cluster.applied.values())
    assert lag <= 10, f"a member stays behind, seed={seed}"


def test_faults_do_happen() -> None:
    """The harness exercises what it is there for: many leaders, and snapshots to laggards."""
    cluster = Cluster(7, 5)
    cluster.run(6000)
    assert len(cluster.leaders) > 10
    assert cluster.snapshots_installed > 0
    assert cluster.commits > 300


def test_same_seed_same_history() -> None:
    first, second = Cluster(3, 3), Cluster(3, 3)
    first.run(800)
    second.run(800)
    assert first.committed == second.committed
    assert first.leaders == second.leaders


def test_a_suspected_leader_is_replaced_at_once() -> None:
    """When the followers learn that its process is gone they do not sit out the timeout."""
    cluster = Cluster(1, 3)
    cluster.faults = Faults(0, 0, 1, 0, 0, 0, 1, 0)
    cluster.run(60)
    leader = next(m for m, core in cluster.cores.items() if core.role is Role.LEADER)
    cluster.crash(leader)
    cluster.down[leader] = cluster.now + 1000
    for core in cluster.cores.values():
        core.suspect_leader()
    cluster.run(4)  # the least timeout alone is ten
    assert any(core.role is Role.LEADER for core in cluster.cores.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_safety_holds_while_the_membership_changes(seed: int) -> None:
    """Voters and learners come and go, one by one and jointly, the leader among them, under all
    the other faults; whoever is in the last membership agrees in the end."""
    cluster = Cluster(seed * 37 + 5, 3, Faults(change=0.05), spares=3)
    cluster.run(1500)
    cluster.calm()
    cluster.run(250)
    last = cluster.current()
    assert not last.outgoing, f"a joint change did not end, seed={seed}"
    cores = [cluster.cores[member] for member in sorted(last.everyone())]
    assert len({core.leader for core in cores}) == 1, f"seed={seed}"
    assert cores[0].leader in last.voters
    before = cluster.commits
    cluster.run(50)
    assert cluster.commits > before, f"no progress after the faults, seed={seed}"
    applied = [cluster.applied[member] for member in last.everyone()]
    assert max(applied) - min(applied) <= 10, f"a member stays behind, seed={seed}"


def test_membership_changes_do_happen() -> None:
    cluster = Cluster(11, 3, Faults(change=0.05), spares=3)
    cluster.run(6000)
    assert len(cluster.changes) > 30
    assert any(change.outgoing for change in cluster.changes), "joint changes"
    assert any(change.learners for change in cluster.changes), "learners"
    assert any(
        (before.learners - before.outgoing) & after.voters
        for before, after in zip(cluster.changes, cluster.changes[1:], strict=False)
    ), "promotions"
    assert cluster.leaders_removed > 0
