"""Stock etcdctl against real members over mTLS: every command of the first issue."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from tests.component.kvstore_harness import StoreCluster, store_cluster, wait_until
from tests.component.pki_fixture import Pki

# One member on either transport: whatever carries gRPC, stock etcdctl cannot tell.
SHAPES = {
    "one-member": (1, "grpcio"),
    "one-member-nghttp2": (1, "nghttp2"),
    "three-members": (3, "nghttp2"),
}


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES.keys())
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pki: Pki
) -> Iterator[StoreCluster]:
    count, transport = request.param
    flags = ("--rpc-transport", transport)
    with store_cluster(tmp_path_factory.mktemp("store"), pki, count, *flags) as running:
        yield running


def test_put_get_del(cluster: StoreCluster) -> None:
    cluster.etcdctl("put", "kv/a", "1")
    cluster.etcdctl("put", "kv/b", "2")
    assert cluster.etcdctl("put", "kv/a", "3", "--prev-kv").stdout == "OK\nkv/a\n1\n"
    assert cluster.etcdctl("get", "--prefix", "kv/").stdout == "kv/a\n3\nkv/b\n2\n"
    got = cluster.etcdctl("get", "kv/", "kv0", "--order=DESCEND", "--limit=1").stdout
    assert got == "kv/b\n2\n"
    assert cluster.etcdctl("get", "--prefix", "kv/", "--keys-only").stdout.split() == [
        "kv/a",
        "kv/b",
    ]
    assert cluster.etcdctl("del", "--prefix", "kv/").stdout == "2\n"
    assert cluster.etcdctl("get", "--prefix", "kv/").stdout == ""


def test_reads_are_linearizable_from_every_member(cluster: StoreCluster) -> None:
    """What one member acknowledged, the next read on any other sees."""
    for round_ in range(5):
        for writer in cluster.members:
            cluster.etcdctl("put", "lin", f"{writer.name}-{round_}", member=writer)
            for reader in cluster.members:
                got = cluster.etcdctl("get", "lin", "--print-value-only", member=reader).stdout
                assert got == f"{writer.name}-{round_}\n"


def test_old_revisions_and_compaction(cluster: StoreCluster) -> None:
    cluster.etcdctl("put", "c", "old")
    revision = cluster.json("get", "c")["header"]["revision"]
    cluster.etcdctl("put", "c", "new")
    assert cluster.etcdctl("get", "c", f"--rev={revision}").stdout == "c\nold\n"
    future = cluster.refused("get", "c", "--rev=999999")
    assert "etcdserver: mvcc: required revision is a future revision" in future
    assert "code = OutOfRange" in future
    cluster.etcdctl("compaction", str(revision + 1))
    compacted = cluster.refused("get", "c", f"--rev={revision}")
    assert "etcdserver: mvcc: required revision has been compacted" in compacted
    assert cluster.etcdctl("get", "c").stdout == "c\nnew\n"


def test_txn_interactive(cluster: StoreCluster) -> None:
    cluster.etcdctl("put", "t", "1")
    text = 'value("t") = "1"\nmod("t") > "0"\n\nput t 2\nget t\n\nget t\n\n'
    assert "SUCCESS\n\nOK\n\nt\n2\n" in cluster.etcdctl("txn", "-i", stdin=text).stdout
    assert "FAILURE\n\nt\n2\n" in cluster.etcdctl("txn", "-i", stdin=text).stdout


def test_watch_with_history_and_prev_kv(cluster: StoreCluster) -> None:
    cluster.etcdctl("put", "w/1", "a")
    start = cluster.json("get", "w/1")["header"]["revision"]
    command = cluster.etcdctl_command(
        "watch", "--prefix", "w/", f"--rev={start}", "--prev-kv", "-w", "json"
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        try:
            cluster.etcdctl("put", "w/1", "b")
            cluster.etcdctl("del", "w/1")
            assert watching.stdout is not None
            events: list[dict[str, object]] = []
            while len(events) < 3:
                events += json.loads(watching.stdout.readline())["Events"]
        finally:
            watching.kill()
    assert [event.get("type", 0) for event in events] == [0, 0, 1]
    assert "prev_kv" not in events[0]
    assert events[2]["prev_kv"]["value"] == "Yg=="


def test_watch_of_a_compacted_revision_is_told_so(cluster: StoreCluster) -> None:
    cluster.etcdctl("put", "wc", "1")
    revision = cluster.json("get", "wc")["header"]["revision"]
    cluster.etcdctl("put", "wc", "2")
    cluster.etcdctl("compaction", str(revision + 1))
    assert "required revision has been compacted" in cluster.refused(
        "watch", "wc", f"--rev={revision}"
    )


def test_lease_expires_with_its_keys(cluster: StoreCluster) -> None:
    lease = cluster.etcdctl("lease", "grant", "300").stdout.split()[1]
    cluster.etcdctl("put", "leased", "x", f"--lease={lease}")
    shown = cluster.etcdctl("lease", "timetolive", lease, "--keys").stdout
    assert "granted with TTL(300s)" in shown
    assert "attached keys([leased])" in shown
    assert lease in cluster.etcdctl("lease", "list").stdout
    cluster.etcdctl("lease", "revoke", lease)
    lease = cluster.etcdctl("lease", "grant", "4").stdout.split()[1]
    cluster.etcdctl("put", "leased", "x", f"--lease={lease}")
    wait_until(
        lambda: cluster.etcdctl("get", "leased").stdout == "", 60, "the key of the lease to vanish"
    )
    assert "already expired" in cluster.etcdctl("lease", "timetolive", lease).stdout


def test_lease_kept_alive_and_revoked(cluster: StoreCluster) -> None:
    lease = cluster.etcdctl("lease", "grant", "60").stdout.split()[1]
    for member in cluster.members:  # a follower asks the leader
        assert "keepalived with TTL(60)" in (
            cluster.etcdctl("lease", "keep-alive", "--once", lease, member=member).stdout
        )
    cluster.etcdctl("put", "kept", "x", f"--lease={lease}")
    cluster.etcdctl("lease", "revoke", lease)
    assert cluster.etcdctl("get", "kept").stdout == ""
    assert "requested lease not found" in cluster.refused("lease", "revoke", lease)


def test_members_status_health_hash(cluster: StoreCluster) -> None:
    members = cluster.json("member", "list")["members"]
    assert sorted(member["name"] for member in members) == [m.name for m in cluster.members]
    assert all(member["clientURLs"] and member["peerURLs"] for member in members)
    statuses = cluster.json("endpoint", "status")
    assert {status["Status"]["version"] for status in statuses} == {"3.5.21"}

    def leaders() -> set[int]:
        statuses = cluster.json("endpoint", "status")
        return {status["Status"].get("leader", 0) for status in statuses}

    wait_until(lambda: len(leaders()) == 1, 60, "all members to name the same leader")
    healthy = cluster.etcdctl("endpoint", "health")
    assert (healthy.stdout + healthy.stderr).count("is healthy") == len(cluster.members)

    def hashes() -> set[str]:
        lines = cluster.etcdctl("endpoint", "hashkv").stdout.splitlines()
        return {line.split(", ")[1] for line in lines}

    wait_until(lambda: len(hashes()) == 1, 60, "all members to hold the same")


def test_snapshot_save(cluster: StoreCluster) -> None:
    """etcdctl refuses a stream without its trailing checksum; ours also checks when read."""
    from master.kvstore import state
    from master.kvstore.wal.snapshot import SnapshotCorrupt

    cluster.etcdctl("put", "snap", "me", member=cluster.members[0])
    path = cluster.members[0].directory / "backup.db"
    cluster.etcdctl("snapshot", "save", str(path), member=cluster.members[0])
    data = path.read_bytes()
    meta, machine = state.load(path)
    assert meta is not None and meta.index > 0
    assert machine.mvcc.get(b"snap") is not None
    broken = bytearray(data)
    broken[len(data) // 2] ^= 1
    path.write_bytes(broken)
    with pytest.raises(SnapshotCorrupt):
        state.load(path)


def test_metrics_under_etcds_names(cluster: StoreCluster) -> None:
    member = cluster.members[0]
    cluster.etcdctl("put", "counted", "x", member=member)
    context = ssl.create_default_context(cafile=str(cluster.client.ca))
    context.load_cert_chain(cluster.client.cert, cluster.client.key)
    url = f"https://127.0.0.1:{member.metrics_port}"

    def fetch(path: str) -> str:
        with urllib.request.urlopen(url + path, context=context) as response:
            return str(response.read().decode())

    names = (
        "etcd_server_has_leader 1.0",
        "etcd_server_leader_changes_seen_total",
        "etcd_server_proposals_committed_total",
        "etcd_disk_wal_fsync_duration_seconds_bucket",
        "etcd_mvcc_db_total_size_in_bytes",
        'grpc_server_handled_total{grpc_code="OK",grpc_method="Put"',
    )

    def missing() -> list[str]:
        text = fetch("/metrics")
        return [name for name in names if name not in text]

    # A call is counted once its answer is gone.
    wait_until(lambda: not missing(), 60, "etcd's names among the metrics")
    assert json.loads(fetch("/health")) == {"health": "true"}
    assert fetch("/readyz") == "ok"


def test_leadership_moves(cluster: StoreCluster) -> None:
    if len(cluster.members) == 1:
        return
    leader = cluster.leader()
    heir = next(member for member in cluster.members if member is not leader)
    heir_id = cluster.json("endpoint", "status", member=heir)[0]["Status"]["header"]["member_id"]

    def moved() -> bool:
        if (leader := cluster.leader()) is heir:
            return True
        said = cluster.etcdctl("move-leader", f"{heir_id:x}", member=leader, check=False)
        return "Leadership transferred" in said.stdout and cluster.leader() is heir

    wait_until(moved, 60, "the heir to lead")
