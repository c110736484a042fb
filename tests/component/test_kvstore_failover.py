"""Three members losing the leader by kill -9, under continuous writes; restarts; laggards."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from kube.component.tls import grpc_channel_credentials
from kube.stubs.etcd import rpc_pb2, rpc_pb2_grpc
from tests.component.kvstore_harness import StoreCluster, StoreProcess, store_cluster, wait_until
from tests.component.pki_fixture import Pki


class Writer:
    """Writes one key after the other, to whichever member answers, and notes what was
    acknowledged and when."""

    def __init__(self, cluster: StoreCluster, name: str) -> None:
        self.acknowledged: dict[str, float] = {}
        self._stop = threading.Event()
        credentials = grpc_channel_credentials(cluster.client.material())
        self._channels = [
            grpc.secure_channel(f"127.0.0.1:{member.client_port}", credentials)
            for member in cluster.members
        ]
        self._stubs = [rpc_pb2_grpc.KVStub(channel) for channel in self._channels]
        self._name = name
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def _run(self) -> None:
        stubs = itertools.cycle(self._stubs)
        stub = next(stubs)
        for number in itertools.count():
            if self._stop.is_set():
                return
            key = f"{self._name}/{number}"
            try:
                stub.Put(rpc_pb2.PutRequest(key=key.encode(), value=key.encode()), timeout=1)
            except grpc.RpcError:
                stub = next(stubs)
            else:
                self.acknowledged[key] = time.monotonic()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        for channel in self._channels:
            channel.close()

    def since(self, moment: float) -> float | None:
        """The first acknowledgement after `moment`."""
        later = [when for when in list(self.acknowledged.values()) if when > moment]
        return min(later, default=None)


@contextmanager
def writing(cluster: StoreCluster, *names: str) -> Iterator[list[Writer]]:
    writers = [Writer(cluster, name) for name in names]
    try:
        yield writers
    finally:
        for writer in writers:
            writer.stop()


def resumed_after(killed: float, writers: list[Writer]) -> None:
    """Wait until somebody's write is acknowledged again. The margin is for answers that were on
    their way already. (How long that takes is for the benchmark to say.)"""
    margin = 0.01
    wait_until(
        lambda: any(writer.since(killed + margin) is not None for writer in writers),
        60,
        "writes to resume",
    )


def stored(cluster: StoreCluster, member: StoreProcess) -> set[str]:
    out = cluster.etcdctl("get", "", "--prefix", "--keys-only", member=member, timeout=60).stdout
    return set(out.split())


def test_no_acknowledged_write_is_lost(tmp_path: Path, pki: Pki) -> None:
    """kill -9 of the leader, twice, while two clients write: writes resume, nothing is lost,
    and the killed members come back with the same data as the others."""
    with store_cluster(tmp_path, pki, 3, "--snapshot-count", "300") as cluster:
        with writing(cluster, "a", "b") as writers:
            for _ in range(2):
                leader = cluster.leader()
                before = len(writers[0].acknowledged)
                wait_until(lambda n=before: len(writers[0].acknowledged) > n + 50, 60, "writes")
                leader.kill()
                resumed_after(time.monotonic(), writers)
                leader.start()
                cluster.wait_healthy()
        acknowledged = set().union(*(writer.acknowledged for writer in writers))
        for member in cluster.members:
            assert acknowledged <= stored(cluster, member)
        lines = cluster.etcdctl("endpoint", "hashkv").stdout.splitlines()
        assert len({line.split(", ")[1] for line in lines}) == 1


def test_data_survive_a_restart_of_all(tmp_path: Path, pki: Pki) -> None:
    """From the log alone, and from a snapshot plus the log after it; identities stay."""
    with store_cluster(tmp_path, pki, 3, "--snapshot-count", "40") as cluster:
        lease = cluster.etcdctl("lease", "grant", "600").stdout.split()[1]
        cluster.etcdctl("put", "leased", "x", f"--lease={lease}")
        for number in range(60):
            cluster.etcdctl("put", f"k{number:02}", "v" * number, member=cluster.members[0])
        cluster.etcdctl("del", "k07")
        before = cluster.etcdctl("get", "", "--prefix").stdout
        members = cluster.json("member", "list")["members"]
        revision = cluster.json("get", "k01")["header"]["revision"]
        folder = cluster.members[0].data_dir / "member" / "snap"
        wait_until(lambda: list(folder.glob("*.snap")), 60, "a snapshot, written beside the writes")
        for member in cluster.members[:2]:
            assert member.stop() == 0
        cluster.members[2].kill()
        for member in cluster.members:
            member.start()
        cluster.wait_healthy()
        assert cluster.etcdctl("get", "", "--prefix").stdout == before
        assert cluster.json("member", "list")["members"] == members
        assert cluster.json("get", "k01")["header"]["revision"] == revision
        shown = cluster.etcdctl("lease", "timetolive", lease, "--keys").stdout
        assert "attached keys([leased])" in shown


def test_a_member_far_behind_gets_a_snapshot(tmp_path: Path, pki: Pki) -> None:
    """Its log position is compacted away on the others, so state is sent instead of entries."""
    with store_cluster(tmp_path, pki, 3, "--snapshot-count", "3000") as cluster:
        late = next(m for m in cluster.members if m is not cluster.leader())
        late.kill()
        names = [f"w{number}" for number in range(16)]
        with writing(cluster, *names) as writers:
            wait_until(lambda: sum(len(w.acknowledged) for w in writers) > 9500, 200, "many writes")
        late.start()
        cluster.wait_healthy()
        wait_until(lambda: "snapshot installed" in late.log(), 60, "a snapshot to be installed")
        assert set().union(*(writer.acknowledged for writer in writers)) <= stored(cluster, late)
        cluster.etcdctl("put", "after", "1", member=late)


def test_without_a_majority_writes_wait_and_stale_reads_work(tmp_path: Path, pki: Pki) -> None:
    with store_cluster(tmp_path, pki, 3) as cluster:
        cluster.etcdctl("put", "k", "v")
        alone, *others = cluster.members
        wait_until(
            lambda: cluster.etcdctl("get", "k", "--consistency=s", member=alone).stdout,
            60,
            "the write to reach the member that will be alone",
        )
        for member in others:
            member.kill()
        put = cluster.etcdctl("--command-timeout=3s", "put", "k", "w", member=alone, check=False)
        assert put.returncode != 0
        read = cluster.etcdctl("--command-timeout=3s", "get", "k", member=alone, check=False)
        assert read.returncode != 0, "who is alone cannot know whether it is still true"
        read = cluster.etcdctl("get", "k", "--consistency=s", member=alone)
        assert read.stdout == "k\nv\n"
        for member in others:
            member.start()
        cluster.wait_healthy()
        cluster.etcdctl("put", "k", "x")
        assert cluster.etcdctl("get", "k").stdout == "k\nx\n"


def test_a_frozen_leader_is_replaced_and_finds_its_way_back(tmp_path: Path, pki: Pki) -> None:
    """SIGSTOP resets no connection, as a powered-off machine does not: the others must notice by
    time, and drop the dead connections so that the member is caught up soon after."""
    with store_cluster(tmp_path, pki, 3) as cluster:
        leader = cluster.leader()
        assert leader.process is not None
        others = [member for member in cluster.members if member is not leader]
        leader.process.send_signal(signal.SIGSTOP)
        try:
            wait_until(
                lambda: (
                    cluster.etcdctl(
                        "--command-timeout=1s", "put", "k", "new", member=others[0], check=False
                    ).returncode
                    == 0
                ),
                60,
                "a write without the frozen leader",
            )
            wait_until(lambda: "peer lost" in others[0].log(), 60, "the dead connection to go")
        finally:
            leader.process.send_signal(signal.SIGCONT)
        got = wait_until(
            lambda: (
                cluster.etcdctl(
                    "--command-timeout=1s",
                    "get",
                    "k",
                    "--print-value-only",
                    member=leader,
                    check=False,
                ).stdout
            ),
            60,
            "the member to be caught up",
        )
        assert got == "new\n", "a leader of the past must not answer from the past"
