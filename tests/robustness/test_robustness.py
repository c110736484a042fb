"""Crash a member at each fail point while clients read and write, and judge what they saw.

ROBUSTNESS_RUNS times for each of ROBUSTNESS_MEMBERS (`1,3,5`). With ROBUSTNESS_PROGRAM=etcd the
same runs judge stock etcd, killed at random moments: that tries the harness itself.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from pathlib import Path

import grpc
import pytest

from master.kvstore.failpoint import NAMES, VARIABLE
from muster.component.tls import grpc_channel_credentials
from muster.etcd import rpc_pb2, rpc_pb2_grpc
from tests.component.kvstore_harness import StoreCluster, store_cluster, wait_until
from tests.component.pki_fixture import Pki
from tests.robustness.linearizability import PENDING, Operation, violations

RUNS = int(os.environ.get("ROBUSTNESS_RUNS", "1"))
MEMBERS = [int(count) for count in os.environ.get("ROBUSTNESS_MEMBERS", "3").split(",")]
PROGRAM = tuple(filter(None, os.environ.get("ROBUSTNESS_PROGRAM", "").split()))
KEYS = ("x", "y", "z")
# Reached only when a member is behind the log, or after 16 MiB: not in a run this short.
RARE = (
    "snapshot-before-install",
    "snapshot-after-install",
    "wal-before-segment",
    "wal-after-segment",
)
ALL = tuple(name for name in NAMES if name not in RARE)
# Among all the other tests a few of them do; `make robustness` runs all.
POINTS = (
    ALL
    if "ROBUSTNESS_RUNS" in os.environ
    else ("wal-after-append", "written-before-send", "apply-before", "snapshot-before-rename")
)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.create(tmp_path_factory.mktemp("pki"))


class Client:
    """Reads and writes a few keys through whichever member, and notes what it was told."""

    def __init__(self, cluster: StoreCluster, number: int, seed: int) -> None:
        self.history: list[Operation] = []
        self.acknowledged = 0
        self._rng = random.Random(seed * 100 + number)
        self._name = f"c{number}"
        self._stop = threading.Event()
        credentials = grpc_channel_credentials(cluster.client.material())
        self._channels = [
            grpc.secure_channel(f"127.0.0.1:{member.client_port}", credentials)
            for member in cluster.members
        ]
        self._thread = threading.Thread(target=self._run, name=self._name)
        self._thread.start()

    def _run(self) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            stub = rpc_pb2_grpc.KVStub(self._rng.choice(self._channels))
            key = self._rng.choice(KEYS)
            dice = self._rng.random()
            if dice < 0.03:
                self._compact(stub)
            elif dice < 0.5:
                self._write(stub, key, f"{self._name}-{number}")
            else:
                self._read(stub, key)
            self._stop.wait(0.005)

    def _write(self, stub: rpc_pb2_grpc.KVStub, key: str, value: str) -> None:
        called, ended = time.monotonic(), PENDING
        try:
            stub.Put(rpc_pb2.PutRequest(key=key.encode(), value=value.encode()), timeout=1)
            ended = time.monotonic()
            self.acknowledged += 1
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE and "connect" in str(error.details()):
                return  # it never left
        self.history.append(Operation(key, True, value, called, ended))

    def _read(self, stub: rpc_pb2_grpc.KVStub, key: str) -> None:
        called = time.monotonic()
        try:
            got = stub.Range(rpc_pb2.RangeRequest(key=key.encode()), timeout=1)
        except grpc.RpcError:
            return  # nothing was learned
        value = got.kvs[0].value.decode() if got.kvs else None
        self.history.append(Operation(key, False, value, called, time.monotonic()))

    def _compact(self, stub: rpc_pb2_grpc.KVStub) -> None:
        try:
            now = stub.Range(rpc_pb2.RangeRequest(key=b"x"), timeout=1).header.revision
            stub.Compact(rpc_pb2.CompactionRequest(revision=now - 1), timeout=1)
        except grpc.RpcError:
            return  # somebody else has compacted, or nobody is there

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        for channel in self._channels:
            channel.close()


@pytest.mark.parametrize("run", range(RUNS))
@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_loses_nothing(
    point: str, members: int, run: int, tmp_path: Path, pki: Pki
) -> None:
    rng = random.Random(f"{point} {members} {run}")
    seed = rng.randrange(1 << 16)
    with store_cluster(
        tmp_path, pki, members, "--snapshot-count", "60", program=PROGRAM
    ) as cluster:
        victim = rng.choice(cluster.members)
        if not PROGRAM:
            victim.stop()
            # A restart passes some points by itself: strike later, while clients are at work.
            victim.env[VARIABLE] = f"{point}:{1 if 'snapshot' in point else rng.randrange(3, 30)}"
            victim.start()
        clients = [Client(cluster, number, seed) for number in range(4)]
        try:
            if PROGRAM:
                time.sleep(rng.uniform(0.2, 1.0))
                victim.kill()
            assert victim.process is not None
            crashed = victim.process
            wait_until(lambda: crashed.poll() is not None, 30, f"{point} to be passed")
            victim.env.clear()
            victim.start()
            cluster.wait_healthy()
            settled = sum(client.acknowledged for client in clients)
            wait_until(
                lambda: sum(client.acknowledged for client in clients) > settled + 20, 15, "writes"
            )
        finally:
            for client in clients:
                client.stop()
        history = [operation for client in clients for operation in client.history]
        assert violations(history) == [], f"not linearizable; {len(history)} operations"
        assert_members_agree(cluster)


def assert_members_agree(cluster: StoreCluster) -> None:
    def hashes() -> set[str]:
        lines = cluster.etcdctl("endpoint", "hashkv").stdout.splitlines()
        return {line.split(", ")[1] for line in lines}

    wait_until(lambda: len(hashes()) == 1, 10, "all members to hold the same")
