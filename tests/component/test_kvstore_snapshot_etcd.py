"""A snapshot moves a store between stock etcd and Muster, both ways, and nothing gets lost."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from master.kvstore import state
from tests.component.kvstore_harness import ROOT, StoreCluster, StoreProcess, store_cluster
from tests.component.pki_fixture import Pki

OURS = (sys.executable, "-m", "master.kvstore")
THEIRS = ("etcd",)
ADMIN = "--user=root:secret"
ALICE = "--user=alice:wonder land"
LARGE = "x" * 9000  # more than two pages of the database


def fill(cluster: StoreCluster) -> str:
    """Versions, deletions, a compaction, a lease, users and roles. The lease's id."""
    run = cluster.etcdctl
    for round_ in range(3):
        for number in range(8):
            run("put", f"a/{number}", f"{round_} {number}", member=cluster.members[0])
    run("put", "large", LARGE)
    run("del", "a/5")
    run("put", "a/5", "again")
    run("txn", stdin='value("a/1") = "2 1"\n\nput t1 x\nput t2 y\ndel a/2\n\n\n\n')
    lease = run("lease", "grant", "3600").stdout.split()[1]
    run("put", "leased", "x", f"--lease={lease}")
    run("compaction", "15")
    run("del", "a/7")
    run("role", "add", "reader")
    run("role", "grant-permission", "reader", "read", "a/", "a0")
    run("user", "add", "alice:wonder land")
    run("user", "add", "nobody", "--no-password")
    run("user", "grant-role", "alice", "reader")
    run("user", "add", "root:secret")
    run("role", "add", "root")
    run("user", "grant-role", "root", "root")
    run("auth", "enable")
    return lease


def observed(cluster: StoreCluster, lease: str) -> dict[str, Any]:
    """What a client sees, without what names the cluster."""

    def told(*arguments: str) -> str:
        done = cluster.etcdctl(*arguments, member=cluster.members[-1], check=False)
        return re.sub(r'\{"level".*?\}\n|remaining\(\d+s\)', "", done.stdout + done.stderr)

    def keys(*arguments: str) -> dict[str, Any]:
        answer = cluster.json(ADMIN, "get", "", "--from-key", *arguments)
        return {"revision": answer["header"]["revision"], "kvs": answer["kvs"]}

    now = keys()
    return {
        "now": now,
        "in between": keys("--rev=20"),
        "compacted": told(ADMIN, "get", "a/1", "--rev=14"),
        "lease": told(ADMIN, "lease", "timetolive", lease, "--keys"),
        "users": told(ADMIN, "user", "list"),
        "alice": told(ADMIN, "user", "get", "alice", "--detail"),
        "permissions": told(ADMIN, "role", "get", "reader"),
        "allowed": told(ALICE, "get", "a/5"),
        "forbidden": told(ALICE, "put", "a/5", "no"),
        "wrong password": told("--user=alice:wonder", "get", "a/5"),
    }


def restore(program: tuple[str, ...], member: StoreProcess, file: Path) -> None:
    flags = [
        str(file), "--data-dir", str(member.data_dir), "--name", member.name,
        "--initial-cluster", member.cluster, "--initial-cluster-token", "test",
    ]  # fmt: skip
    if program == THEIRS:
        command = ["etcdctl", "snapshot", "restore", *flags,
                   "--initial-advertise-peer-urls", member.peer_url]  # fmt: skip
    else:
        command = [sys.executable, "-m", "muster", "kv", "snapshot", "restore", *flags]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("source", "target"), [(OURS, THEIRS), (THEIRS, OURS)], ids=["to-etcd", "from-etcd"]
)
def test_a_snapshot_moves_the_store(
    source: tuple[str, ...], target: tuple[str, ...], tmp_path: Path, pki: Pki
) -> None:
    file = tmp_path / "backup.db"
    with store_cluster(tmp_path, pki, 3, program=source) as cluster:
        lease = fill(cluster)
        before = observed(cluster, lease)
        cluster.etcdctl(ADMIN, "snapshot", "save", str(file), member=cluster.members[0])
        for member in cluster.members:
            member.kill()
        check_status(file, before["now"]["revision"])
        if source == THEIRS:
            _, machine = state.load(cluster.members[0].data_dir / "member/snap/db", check=False)
            assert machine.mvcc.revision == before["now"]["revision"], "a stopped etcd's own file"
        for member in cluster.members:
            member.program = target
            member.directory = tmp_path / "moved"
            member.directory.mkdir(exist_ok=True)
            restore(target, member, file)
            member.start()
        cluster.wait_healthy()
        assert observed(cluster, lease) == before
        assert "a/5" in before["allowed"]
        assert "compacted" in before["compacted"]
        assert "attached keys([leased])" in before["lease"]
        # It goes on from there: the lease still ends its key, revisions count on.
        cluster.etcdctl(ADMIN, "lease", "revoke", lease)
        left = cluster.json(ADMIN, "get", "leased")
        assert "kvs" not in left
        assert left["header"]["revision"] == before["now"]["revision"] + 1
        cluster.etcdctl(ADMIN, "compaction", str(left["header"]["revision"]))
        cluster.etcdctl(ADMIN, "defrag")
        assert cluster.etcdctl(ADMIN, "get", "large", "--print-value-only").stdout.strip() == LARGE


def check_status(file: Path, revision: int) -> None:
    """etcdctl walks the whole database; so does ours, to the same hash. Both refuse it with a bit
    flipped."""
    theirs = subprocess.run(
        ["etcdctl", "snapshot", "status", "-w", "json", str(file)],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    told = json.loads(theirs.stdout)
    assert told["revision"] == revision
    ours = muster("status", str(file), "-o", "json")
    [shown] = json.loads(ours.stdout)
    assert list(told) == ["hash", "revision", "totalKey", "totalSize"]
    assert told.items() <= shown.items()
    assert f"hash: {told['hash']:x}\n" in muster("verify", str(file)).stdout
    head, line = muster("status", str(file)).stdout.splitlines()
    assert re.match("HASH +REVISION +TOTAL KEYS +TOTAL SIZE +COMPACTED +", head)
    assert line.split()[:4] == [f"{told['hash']:x}", *(str(told[key]) for key in list(told)[1:])]
    assert shown["bytes"] == file.stat().st_size == told["totalSize"] + 32
    assert shown["compacted"] == 15
    damaged = file.with_suffix(".damaged")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 8
    damaged.write_bytes(content)
    refused = muster("verify", str(damaged))
    assert refused.returncode == 1
    assert "sha256" in refused.stderr


def muster(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "muster", "kv", "snapshot", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
