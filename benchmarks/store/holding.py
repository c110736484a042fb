"""Memory with many keys, and how long a member takes to serve again with them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.store.clusters import PROGRAMS, Cluster, wait_for
from benchmarks.store.figures import Figures, Line
from benchmarks.store.processes import memory
from kube.stubs.etcd import rpc_pb2

_BATCH = 128  # etcd's --max-txn-ops
_VALUE = b"v" * 1024
_AT_ONCE = 4
_START_SECONDS = 600.0


def run(both: dict[str, Cluster], keys: int, rounds: int, figures: Figures) -> None:
    with_keys = f"with {keys:,} keys of 1 KB"
    rss = Line(f"RSS {with_keys}", "MiB, mean of the members", more_is_better=False)
    pss = Line(f"PSS {with_keys}", "MiB, mean of the members", more_is_better=False)
    load = Line(f"filling {with_keys}, txns of {_BATCH}, {_AT_ONCE} at once", "keys/s")
    for program, cluster in both.items():
        figures.add(load, program, keys / _fill(cluster, keys))
        used = memory(cluster.pids)
        figures.add(rss, program, used.rss_mib / len(cluster.pids))
        figures.add(pss, program, used.pss_mib / len(cluster.pids))
    member = Line(f"restart of a member {with_keys}", "s to a linearizable read", False)
    whole = Line(f"restart of all members {with_keys}", "s to a linearizable read of all", False)
    for _ in range(rounds):
        for program in PROGRAMS:
            figures.add(member, program, _restart_one(both[program]))
        for program in PROGRAMS:
            figures.add(whole, program, _restart_all(both[program]))


def _fill(cluster: Cluster, keys: int) -> float:
    began = time.monotonic()
    with cluster.kv() as kv:
        running = []
        for request in _batches(keys):
            running.append(kv.Txn.future(request, timeout=120))
            if len(running) == _AT_ONCE:
                running.pop(0).result()
        for call in running:
            call.result()
        took = time.monotonic() - began
        count = kv.Range(rpc_pb2.RangeRequest(key=b"\0", range_end=b"\0", count_only=True)).count
        if count != keys:
            raise SystemExit(f"{cluster.program} has {count} of {keys} keys")
    return took


def _batches(keys: int) -> Iterator[rpc_pb2.TxnRequest]:
    for first in range(0, keys, _BATCH):
        numbers = range(first, min(first + _BATCH, keys))
        puts = (rpc_pb2.PutRequest(key=b"bench/%09d" % n, value=_VALUE) for n in numbers)
        yield rpc_pb2.TxnRequest(success=[rpc_pb2.RequestOp(request_put=put) for put in puts])


def _restart_one(cluster: Cluster) -> float:
    """A follower: stopped, started, until it answers a linearizable read itself."""
    leader = cluster.leader()
    member = next(member for member in cluster.members if member is not leader)
    member.stop()
    began = time.monotonic()
    member.start(cluster.flag)
    wait_for(member.serves, _START_SECONDS, f"{cluster.program} serving again")
    return time.monotonic() - began


def _restart_all(cluster: Cluster) -> float:
    for member in cluster.members:
        member.kill()
    for member in cluster.members:
        member.end()
        assert member.process is not None
        member.process.wait()
    began = time.monotonic()
    cluster.start()
    for member in cluster.members:
        wait_for(member.serves, _START_SECONDS, f"{cluster.program} serving again")
    return time.monotonic() - began
