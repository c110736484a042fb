"""`muster kv` against real members: look, move the leader, save, verify, restore, read in need."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.component.kvstore_harness import ROOT, StoreCluster, store_cluster, wait_until
from tests.component.pki_fixture import Pki


@pytest.fixture
def cluster(tmp_path: Path, pki: Pki) -> Iterator[StoreCluster]:
    with store_cluster(tmp_path, pki, 3) as running:
        yield running


def muster(
    *arguments: str, check: bool = True, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [sys.executable, "-m", "muster", "kv", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120, input=stdin,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    if check and result.returncode:
        raise AssertionError(f"muster kv {arguments}: {result.stderr}{result.stdout}")
    return result


def access(cluster: StoreCluster, *members: int) -> list[str]:
    chosen = [cluster.members[i] for i in members] or cluster.members
    endpoints = ",".join(f"127.0.0.1:{member.client_port}" for member in chosen)
    tls = cluster.client
    return [f"--endpoints={endpoints}", f"--cacert={tls.ca}", f"--cert={tls.cert}",
            f"--key={tls.key}"]  # fmt: skip


def test_a_new_cluster_from_a_saved_snapshot(cluster: StoreCluster, tmp_path: Path) -> None:
    """Save, lose everything, restore all three members, serve: data, revision and leases."""
    lease = cluster.etcdctl("lease", "grant", "600").stdout.split()[1]
    cluster.etcdctl("put", "leased", "x", f"--lease={lease}")
    for number in range(5):
        cluster.etcdctl("put", "k", str(number))
    revision = cluster.json("get", "k")["header"]["revision"]
    assert "m1" in muster("members", *access(cluster)).stdout
    wait_until(
        lambda: muster("status", *access(cluster)).stdout.count("follower") == 2, 60, "a leader"
    )
    heir = next(m for m in cluster.members if m is not cluster.leader())

    def moved() -> bool:
        muster("transfer-leadership", heir.name, *access(cluster), check=False)
        return cluster.leader() is heir

    wait_until(moved, 60, "the heir to lead")
    for member in cluster.members:  # whichever gives the snapshot has it all
        cluster.etcdctl("get", "k", member=member)
    file = tmp_path / "backup"
    saved = muster("snapshot", "save", str(file), *access(cluster)).stdout
    assert f"revision: {revision}" in saved
    assert muster("snapshot", "verify", str(file)).stdout == saved
    flipped = bytearray(file.read_bytes())
    flipped[len(flipped) // 3] ^= 4
    (tmp_path / "flipped").write_bytes(flipped)
    assert "sha256" in muster("snapshot", "verify", str(tmp_path / "flipped"), check=False).stderr
    folder = str(cluster.members[0].data_dir)
    last = "put key=b'k' value=b'4'"
    wait_until(lambda: last in muster("log", folder).stdout, 60, "the last put in the log")
    for member in cluster.members:
        member.kill()
    for member in cluster.members:
        arguments = ["snapshot", "restore", str(file), f"--initial-cluster={member.cluster}",
                     "--initial-cluster-token=test", f"--name={member.name}"]  # fmt: skip
        alone = muster(
            *arguments, "--bump-revision=9", f"--data-dir={member.data_dir}", check=False
        )
        assert alone.returncode == 2
        assert "need each other" in alone.stderr
        used = muster(*arguments, f"--data-dir={member.data_dir}", check=False)
        assert "is not empty" in used.stderr
        member.directory = tmp_path / "restored"
        member.directory.mkdir(exist_ok=True)
        muster(*arguments, f"--data-dir={member.data_dir}")
        member.start()
    cluster.wait_healthy()
    got = cluster.json("get", "k")
    assert got["header"]["revision"] == revision
    assert got["kvs"][0]["value"] == "NA=="
    shown = cluster.etcdctl("lease", "timetolive", lease, "--keys").stdout
    assert "attached keys([leased])" in shown
    cluster.etcdctl("put", "k", "goes on")
    for member in cluster.members:
        assert cluster.etcdctl("get", "k", member=member).stdout == "k\ngoes on\n"


def test_stale_reads_work_alone(cluster: StoreCluster) -> None:
    cluster.etcdctl("put", "k/1", "v")
    alone = cluster.members[0]
    wait_until(
        lambda: cluster.etcdctl("get", "k/1", "--consistency=s", member=alone).stdout, 60, "k/1"
    )
    for member in cluster.members[1:]:
        member.kill()
    read = muster("get", "--stale", "--prefix", "k/", *access(cluster, 0))
    assert read.stdout == "k/1\nv\n"
    assert muster("status", *access(cluster), check=False).returncode == 1


def test_a_name_and_a_password_are_given_as_to_etcdctl(tmp_path: Path, pki: Pki) -> None:
    """A certificate whose name is no user's is not enough where the store asks."""
    with store_cluster(tmp_path, pki, 1) as cluster:
        door = access(cluster)
        cluster.etcdctl("put", "k", "v")
        assert muster("get", "k", "--user=nobody:x", *door).stdout == "k\nv\n", "nobody is asked"
        for line in (
            "user add root:r00t", "user grant-role root root", "user add ann:secret:1",
            "role add reader", "role grant-permission reader read k",
            "user grant-role ann reader", "auth enable",
        ):  # fmt: skip
            cluster.etcdctl(*line.split())
        assert "permission denied" in muster("get", "k", *door, check=False).stderr
        asked = ("get", "k", "--user=ann", *door)
        assert muster("get", "k", "--user=ann:secret:1", *door).stdout == "k\nv\n"
        assert muster(*asked, "--password=secret:1").stdout == "k\nv\n"
        assert muster(*asked, stdin="secret:1\n").stdout == "k\nv\n"
        wrong = muster(*asked, "--password=x", check=False)
        assert wrong.returncode == 1
        assert "authentication failed, invalid user ID or password" in wrong.stderr
        twice = muster("get", "k", "--user=ann:secret:1", "--password=x", *door, check=False)
        assert twice.returncode == 2
        beyond = muster("get", "x", "--user=ann:secret:1", *door, check=False)
        assert "permission denied" in beyond.stderr
        root = ("--user=root:r00t", *door)
        assert "m1" in muster("members", *root).stdout
        assert "leader" in muster("status", *root).stdout
        file = tmp_path / "backup"
        refused = muster("snapshot", "save", str(file), "--user=ann:secret:1", *door, check=False)
        assert "permission denied" in refused.stderr
        muster("snapshot", "save", str(file), *root)
        muster("transfer-leadership", "m1", *root)
