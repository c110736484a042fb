"""Members come and go in a running cluster: stock etcdctl, real processes, mTLS."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.component.kvstore_harness import (
    StoreCluster,
    StoreProcess,
    free_ports,
    store_cluster,
    wait_until,
)
from tests.component.pki_fixture import Pki


@pytest.fixture
def cluster(tmp_path: Path, pki: Pki) -> Iterator[StoreCluster]:
    with store_cluster(tmp_path, pki, 3) as running:
        yield running


def member_id(cluster: StoreCluster, name: str, asked: StoreProcess | None = None) -> str:
    def ids() -> list[int]:
        listed = cluster.json("member", "list", member=asked or cluster.members[0])["members"]
        return [member["ID"] for member in listed if member.get("name") == name]

    # It tells its name after it serves: a healthy cluster may not have heard of it yet.
    return f"{wait_until(ids, 60, f'{name} has told its name')[0]:x}"


def holds(cluster: StoreCluster, member: StoreProcess, key: str, value: str) -> bool:
    got = cluster.etcdctl(
        "get", key, "--consistency=s", "--print-value-only", member=member, check=False
    )
    return got.stdout == value + "\n"


def test_a_learner_joins_catches_up_and_is_promoted(cluster: StoreCluster) -> None:
    cluster.etcdctl("put", "before", "1")
    late = cluster.add("m4", learner=True)
    wait_until(lambda: holds(cluster, late, "before", "1"), 60, "the learner to have the data")
    refused = cluster.refused("put", "x", "y", member=late)
    assert "etcdserver: rpc not supported for learner" in refused
    assert cluster.json("endpoint", "status", member=late)[0]["Status"]["isLearner"] is True
    second = cluster.refused(
        "member", "add", "m5", "--learner", "--peer-urls=https://127.0.0.1:1",
        member=cluster.members[0],
    )  # fmt: skip
    assert "etcdserver: too many learner members in cluster" in second

    def promoted() -> bool:
        follower = next(m for m in cluster.members[:3] if m is not cluster.leader())
        done = cluster.etcdctl(
            "member", "promote", member_id(cluster, "m4"), member=follower, check=False
        )
        return done.returncode == 0

    wait_until(promoted, 60, "the learner to be in sync")
    again = cluster.refused(
        "member", "promote", member_id(cluster, "m4"), member=cluster.members[0]
    )
    assert "etcdserver: can only promote a learner member" in again
    cluster.etcdctl("put", "after", "2", member=late)
    late.kill()
    late.start()
    cluster.wait_healthy()
    assert holds(cluster, late, "after", "2")


def test_every_founder_can_be_replaced_and_the_leader_removed(cluster: StoreCluster) -> None:
    """One by one, the leader first: the log, and snapshots of it, carry the member list."""
    for number in range(3):
        doomed = cluster.leader() if number == 0 else cluster.members[0]
        cluster.etcdctl("put", f"round{number}", "x")
        new = cluster.add(f"n{number}")
        wait_until(lambda m=new: holds(cluster, m, "round0", "x"), 60, "the new member's data")
        cluster.members.remove(doomed)
        cluster.etcdctl("member", "remove", member_id(cluster, doomed.name))
        assert doomed.process is not None
        wait_until(lambda d=doomed: d.process.poll() is not None, 60, "the removed one to stop")
        assert "permanently removed from the cluster" in doomed.log()
        assert doomed.process.returncode == 0
        cluster.wait_healthy()
    assert {member.name for member in cluster.members} == {"n0", "n1", "n2"}
    for member in cluster.members:
        member.kill()
    for member in cluster.members:
        member.start()
    cluster.wait_healthy()
    assert cluster.etcdctl("get", "--prefix", "round", "--keys-only").stdout.split() == [
        "round0", "round1", "round2",
    ]  # fmt: skip
    doomed.start()
    assert doomed.process is not None
    assert doomed.process.wait(timeout=60) == 0, "somebody who was removed may not serve"


def test_a_member_that_was_away_meets_members_it_never_heard_of(cluster: StoreCluster) -> None:
    away = next(m for m in cluster.members if m is not cluster.leader())
    away.kill()
    others = [m for m in cluster.members if m is not away]
    running = StoreCluster(others, cluster.client)
    # All voters must be there to add one as such: etcd's rule, too. A learner may come.
    refused = running.refused(
        "member", "add", "m4", "--peer-urls=https://127.0.0.1:1", member=others[0]
    )
    assert "etcdserver: unhealthy cluster" in refused
    new = running.add("m4", learner=True)
    cluster.members.append(new)
    cluster.everybody.append(new)
    promote = ["member", "promote", ""]

    def promoted() -> bool:
        promote[2] = member_id(running, "m4", others[0])
        return running.etcdctl(*promote, member=others[0], check=False).returncode == 0

    wait_until(lambda: "m4" in running.etcdctl("member", "list", member=others[0]).stdout, 60, "m4")
    wait_until(
        lambda: '"m4"' in running.etcdctl("-w", "json", "member", "list", member=others[0]).stdout,
        60,
        "m4 to publish its name",
    )
    wait_until(promoted, 60, "m4 to be promoted")
    running.make_leader(new)
    running.etcdctl("put", "k", "v", member=new)
    away.start()
    cluster.wait_healthy()
    assert holds(cluster, away, "k", "v")


def test_requests_that_make_no_sense_get_etcds_answers(cluster: StoreCluster) -> None:
    def refused(*arguments: str) -> str:
        return cluster.refused(*arguments, member=cluster.members[0])

    taken = cluster.members[1].peer_url
    assert "Peer URLs already exists" in refused("member", "add", "x", f"--peer-urls={taken}")
    assert "etcdserver: member not found" in refused("member", "remove", "123abc")
    assert "etcdserver: member not found" in refused("member", "promote", "123abc")
    mine = member_id(cluster, "m1")
    moved = refused("member", "update", mine, f"--peer-urls={taken}")
    assert "etcdserver: Peer URLs already exists" in moved


def test_the_last_member_stays(tmp_path: Path, pki: Pki) -> None:
    with store_cluster(tmp_path, pki, 1) as cluster:
        said = cluster.refused("member", "remove", member_id(cluster, "m1"))
        assert "etcdserver: re-configuration failed due to not enough started members" in said


def test_nobody_joins_without_being_added(cluster: StoreCluster) -> None:
    stranger = StoreProcess(
        "x", cluster.members[0].directory, *free_ports(3), cluster.members[0].server
    )
    stranger.cluster = f"{cluster.members[0].cluster},x={stranger.peer_url}"
    stranger.flags = ("--initial-cluster-state", "existing")
    cluster.everybody.append(stranger)
    stranger.start()
    assert stranger.process is not None
    assert stranger.process.wait(timeout=60) == 1
    assert "add it there first (member add)" in stranger.log()
    assert "Traceback" not in stranger.log()


def test_a_member_that_lost_its_data_does_not_start(cluster: StoreCluster) -> None:
    """Whatever it voted for is forgotten. Removed and added again it is a new member."""
    cluster.etcdctl("put", "kept", "yes")
    lost = cluster.members[2]
    old_id = member_id(cluster, lost.name)
    assert lost.stop() == 0
    shutil.rmtree(lost.data_dir)
    for state in ("new", "existing"):
        lost.flags = ("--initial-cluster-state", state)
        lost.start()
        assert lost.process is not None
        assert lost.process.wait(timeout=60) == 1
        assert f"member {old_id} has already been bootstrapped" in lost.log()
        assert not lost.data_dir.exists(), "nothing was begun"
        lost.log_file.unlink()
    cluster.members.remove(lost)
    cluster.etcdctl("member", "remove", old_id, member=cluster.members[0])
    again = cluster.add(lost.name)
    cluster.wait_healthy()
    wait_until(lambda: holds(cluster, again, "kept", "yes"), 60, "the data is there again")
    assert member_id(cluster, again.name) != old_id
