"""Raft's safety under everything that can go wrong, and its progress once that ends.

A few short runs; `make sim` runs for as long as asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from master.kvstore.raft import replication
from master.kvstore.raft.core import Role
from tests.simulation.__main__ import main
from tests.simulation.episodes import Episodes
from tests.simulation.raft_cluster import Cluster
from tests.simulation.runs import MINUTE, STORM_MS, Run, perform
from tests.simulation.storm import Rates, Storm
from tests.simulation.timeline import PERIOD, TICK

SEEDS = range(int(os.environ.get("RAFT_SEEDS", "3")))


def must_hold(run: Run) -> None:
    _, failure = perform(run)
    assert failure is None, f"{failure.what}\n{failure.replay()}"


@pytest.mark.parametrize("members", [1, 3, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_safety_holds_in_a_storm_and_progress_follows(seed: int, members: int) -> None:
    """The paper's figure 3 after every step; after the faults all members agree again. Every
    third seed changes the membership meanwhile: one by one and jointly, the leader among them."""
    must_hold(Run("storm", seed, members, 3 * MINUTE))


@pytest.mark.parametrize("members", [1, 3, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_safety_holds_through_troubles_now_and_then(seed: int, members: int) -> None:
    """Before the next one all members agree and a write succeeds."""
    must_hold(Run("calendar", seed, members, 180 * MINUTE))


def test_faults_do_happen() -> None:
    """The harness exercises what it is there for; of every kind at least one."""
    totals, failure = perform(Run("storm", 3, 5, 2 * STORM_MS))
    assert failure is None
    assert totals.elections > 10
    assert totals.counts["snapshots_installed"] > 0
    assert totals.counts["commits"] > 300
    assert totals.counts["reads"] > 100
    calendar, failure = perform(Run("calendar", 3, 3, 1500 * MINUTE))
    assert failure is None
    assert totals.faults.keys() | calendar.faults.keys() == {
        "crash",
        "doubled message",
        "dropped message",
        "early compaction",
        "isolated leader",
        "late message",
        "leadership transfer",
        "membership change asked for",
        "one-way partition",
        "partition",
        "reordered message",
        "skewed clock",
        "slow write",
        "stopped clock",
        "suspected leader",
        "suspended process",
        "write lost in a crash",
    }


def test_membership_changes_do_happen() -> None:
    cluster = Cluster(11, 3, 3)
    Storm(cluster, Rates(change=0.05))
    cluster.run(2 * STORM_MS)
    assert len(cluster.changes) > 30
    assert any(change.outgoing for change in cluster.changes), "joint changes"
    assert any(change.learners for change in cluster.changes), "learners"
    assert any(
        (before.learners - before.outgoing) & after.voters
        for before, after in zip(cluster.changes, cluster.changes[1:], strict=False)
    ), "promotions"
    assert cluster.leaders_removed > 0


@pytest.mark.parametrize("profile", [Storm, lambda c: Episodes(c, gap_ms=MINUTE, changes=True)])
def test_same_seed_same_history(profile: Callable[[Cluster], object]) -> None:
    first, second = Cluster(3, 3, 2), Cluster(3, 3, 2)
    for cluster in (first, second):
        profile(cluster)
        cluster.run(3 * MINUTE)
    assert first.state() == second.state()


def test_a_suspected_leader_is_replaced_at_once() -> None:
    """When the followers learn that its process is gone they do not sit out the timeout."""
    cluster = Cluster(1, 3)
    cluster.run(6 * PERIOD)
    leader = cluster.leader()
    assert leader is not None
    cluster.stop(leader)
    for member in cluster.cores:
        cluster.suspect(member)
    cluster.run(4 * TICK)  # the least timeout alone is ten
    assert any(member.role is Role.LEADER for member in cluster.cores.values())


def test_after_a_restart_of_all_nobody_sits_out_the_least_timeout() -> None:
    """And who restarts alone unseats nobody, though its first wait is as short."""
    cluster = Cluster(2, 3)
    cluster.run(6 * PERIOD)
    for member in cluster.everybody:
        cluster.stop(member)
    for member in cluster.everybody:
        cluster.start(member)
    cluster.run(8 * TICK)  # the least timeout alone is ten
    leader = cluster.leader()
    assert leader is not None
    term = cluster.cores[leader].term
    for member in {*cluster.everybody} - {leader}:
        for _ in range(5):
            cluster.stop(member)
            cluster.start(member)
            cluster.run(3 * PERIOD)
    assert (cluster.leader(), cluster.cores[leader].term) == (leader, term)


def test_a_failure_says_how_to_replay_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same seed fails again at the same moment, with the steps that led there."""
    monkeypatch.setattr(
        replication, "committed_index", lambda _, match: max(match.values(), default=0)
    )
    _, failure = perform(Run("storm", 4, 3, STORM_MS))
    assert failure is not None
    assert "is committed on" in failure.what
    assert main(failure.replay().split()[3:]) == 1
    *steps, last = capsys.readouterr().out.splitlines()
    assert last == failure.what
    assert len(steps) > 10
    assert int(steps[-1].split()[0]) <= failure.at_ms
