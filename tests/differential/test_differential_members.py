"""Leadership that moves, members that come and go: on stock etcd and on ours alike."""

from __future__ import annotations

import re
import shutil
import time
from contextlib import suppress

import pytest

from tests.component.kvstore_harness import StoreCluster, StoreProcess, wait_until
from tests.differential.pair import Pair, member_id

pytestmark = pytest.mark.skipif(shutil.which("etcd") is None, reason="needs Debian's etcd-server")


def test_hashes_agree_among_members(pair: Pair) -> None:
    def hashes(cluster: StoreCluster) -> set[str]:
        lines = cluster.etcdctl("endpoint", "hashkv").stdout.splitlines()
        return {line.split(", ")[1] for line in lines}

    for cluster in pair.both:
        wait_until(lambda c=cluster: len(hashes(c)) == 1, 60, "all members to hold the same")


def test_leadership_moves(pair: Pair) -> None:
    def move(cluster: StoreCluster) -> str:
        leader = cluster.leader()
        heir = next(member for member in cluster.members if member is not leader)
        wrong = cluster.etcdctl(
            "move-leader", member_id(cluster, heir.name), member=heir, check=False
        )
        moved = cluster.etcdctl("move-leader", member_id(cluster, heir.name), member=leader)
        assert cluster.leader() is heir
        text = re.sub(r"[0-9a-f]{13,16}", "ID", moved.stdout)
        return f"{wrong.returncode} {text}"

    assert move(pair.ours) == move(pair.theirs)


def test_members_come_and_go(pair: Pair) -> None:
    """Last, since it changes the clusters: a learner joins, is promoted, a founder leaves."""

    def grow(cluster: StoreCluster) -> list[str]:
        said = []
        # etcd wants its members to have been connected for five seconds.
        new: StoreProcess = wait_until(lambda: added(cluster, "m4"), 60, "a member to be added")
        wait_until(lambda: named(cluster, "m4"), 60, "m4 to publish its name")
        said.append(cluster.refused("put", "x", "y", member=new).splitlines()[-1])
        wait_until(
            lambda: cluster.etcdctl(
                "member", "promote", member_id(cluster, "m4"), member=cluster.members[0],
                check=False,
            ).returncode == 0,
            60, "the promotion",
        )  # fmt: skip
        again = cluster.refused(
            "member", "promote", member_id(cluster, "m4"), member=cluster.members[0]
        )
        said.append(again.splitlines()[-1])
        gone = next(m for m in cluster.members[1:3] if m is not cluster.leader())
        out = cluster.etcdctl(
            "member", "remove", member_id(cluster, gone.name), member=cluster.members[0]
        )
        cluster.members.remove(gone)
        said.append(re.sub(r" *\b[0-9a-f]{13,16}\b", " ID", out.stdout))
        assert stopped(gone) == 0
        cluster.wait_healthy()
        return said

    assert grow(pair.ours) == grow(pair.theirs)


def added(cluster: StoreCluster, name: str) -> StoreProcess | None:
    with suppress(AssertionError):
        return cluster.add(name, learner=True)
    return None


def named(cluster: StoreCluster, name: str) -> bool:
    listed = cluster.etcdctl("member", "list", member=cluster.members[0], check=False).stdout
    return f"started, {name}," in listed


def stopped(member: StoreProcess) -> int:
    assert member.process is not None
    deadline = time.monotonic() + 60
    while member.process.poll() is None:
        assert time.monotonic() < deadline, f"{member.name} was removed but runs"
        time.sleep(0.05)
    return member.process.returncode
