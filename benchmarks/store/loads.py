"""Calls per second and processor time: puts, transactions, ranges.

All go to the leader, plain text on loopback. h2load repeats one request, so writes hit the same
key (or the same 128 keys); values have 256 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.store import h2load
from benchmarks.store.clusters import PROGRAMS, Cluster
from benchmarks.store.figures import Figures, Line
from benchmarks.store.processes import cpu_seconds
from kube.stubs.etcd import rpc_pb2

VALUE = b"v" * 256
TXN_OPS = 128
RANGE_KEYS = 1000
_FIRST_CALLS = 3  # for each stream, to learn the rate
_MOST_CALLS = 200_000
_PREFIX = b"bench/range/"


@dataclass(frozen=True, slots=True)
class Load:
    name: str
    path: str
    message: bytes
    connections: int
    streams: int
    goal: float | None = None
    cpu_goal: float | None = None
    keys: int = 1  # written or read by one call
    unit: str = "calls/s"
    writes: bool = False

    @property
    def rate(self) -> Line:
        return Line(self.name, self.unit, goal=self.goal)

    @property
    def cpu(self) -> Line:
        what = "keys" if self.unit == "keys/s" else "calls"
        unit = f"CPU-s per 1,000 {what}, all members"
        return Line(self.name, unit, more_is_better=False, goal=self.cpu_goal)

    @property
    def per_call(self) -> int:
        return self.keys if self.unit == "keys/s" else 1


def puts() -> Iterator[Load]:
    message = rpc_pb2.PutRequest(key=b"bench/put", value=VALUE).SerializeToString()
    for connections, streams, goal in ((1, 1, None), (16, 1, None), (100, 10, 0.6)):
        yield Load(
            f"put {connections}x{streams}", "/etcdserverpb.KV/Put", message,
            connections, streams, goal, 1.5, writes=True,
        )  # fmt: skip


def txns() -> Iterator[Load]:
    ops = [
        rpc_pb2.RequestOp(
            request_put=rpc_pb2.PutRequest(key=b"bench/txn/%03d" % number, value=VALUE)
        )
        for number in range(TXN_OPS)
    ]
    message = rpc_pb2.TxnRequest(success=ops).SerializeToString()
    for connections, streams in ((1, 1), (16, 1)):
        yield Load(
            f"txn of {TXN_OPS} puts {connections}x{streams}", "/etcdserverpb.KV/Txn", message,
            connections, streams, 1.0, keys=TXN_OPS, unit="keys/s", writes=True,
        )  # fmt: skip


def ranges() -> Iterator[Load]:
    for serializable in (False, True):
        kind = "serializable" if serializable else "linearizable"
        for keys, connections, streams in ((1, 16, 1), (1, 100, 10), (100, 16, 1), (1000, 16, 1)):
            first = _PREFIX + b"%04d" % 0
            request = rpc_pb2.RangeRequest(
                key=first,
                range_end=b"" if keys == 1 else _PREFIX + b"%04d" % keys,
                serializable=serializable,
            )
            yield Load(
                f"range {kind}, {keys} key{'s' * (keys > 1)}, {connections}x{streams}",
                "/etcdserverpb.KV/Range", request.SerializeToString(),
                connections, streams, 1.0, keys=keys,
            )  # fmt: skip


def seed_ranges(cluster: Cluster) -> None:
    with cluster.kv() as kv:
        for number in range(RANGE_KEYS):
            kv.Put(rpc_pb2.PutRequest(key=_PREFIX + b"%04d" % number, value=VALUE))


def run(
    both: dict[str, Cluster],
    loads: Iterable[Load],
    rounds: int,
    seconds: float,
    directory: Path,
    figures: Figures,
) -> None:
    """Each load on one program, then on the other, then the next; again in each round."""
    loads = list(loads)
    shots = {
        load: h2load.Shot(
            load.path,
            h2load.write_body(directory / f"body{number}", load.message),
            load.connections,
            load.streams,
        )
        for number, load in enumerate(loads)
    }
    calls: dict[tuple[Load, str], int] = {}
    for round_ in range(rounds + 1):
        for load in loads:
            for program in _alternate(round_):
                cluster = both[program]
                least = load.connections * load.streams
                count = calls.get((load, program), least * _FIRST_CALLS)
                rate, cpu = _measure(cluster, load, shots[load], count, figures)
                # Never the same second twice: the machine and the data change.
                calls[load, program] = min(max(least, int(rate * seconds)), _MOST_CALLS)
                if round_:  # the first one warms up and learns how many calls a round takes
                    figures.add(load.rate, program, rate * load.per_call)
                    figures.add(load.cpu, program, cpu / load.per_call * 1000)
        if any(load.writes for load in loads):
            for cluster in both.values():
                cluster.compact()


def _alternate(round_: int) -> tuple[str, ...]:
    return PROGRAMS if round_ % 2 else PROGRAMS[::-1]


def _measure(
    cluster: Cluster, load: Load, shot: h2load.Shot, calls: int, figures: Figures
) -> tuple[float, float]:
    """Calls per second and CPU-seconds per call of all members; notes what was not done."""
    leader = cluster.leader()
    answer_bytes = 0 if load.writes else _answer_bytes(cluster, load)
    revision = cluster.revision()
    cpu = cpu_seconds(cluster.pids)
    result = h2load.finish(h2load.start(shot, leader.client_port, calls))
    cpu = cpu_seconds(cluster.pids) - cpu
    done = cluster.revision() - revision if load.writes else round(result.data_bytes / answer_bytes)
    if done != calls or result.succeeded != calls:
        figures.note(
            f"{cluster.program}, {load.name}: of {calls} calls {result.succeeded} had HTTP status "
            f"200 and {done} were done"
        )
    return done / result.seconds, cpu / max(done, 1)


def _answer_bytes(cluster: Cluster, load: Load) -> int:
    """A real client's answer to the same request: its status is OK and it has all keys."""
    with cluster.kv() as kv:
        answer = kv.Range(rpc_pb2.RangeRequest.FromString(load.message), timeout=10)
    if len(answer.kvs) != load.keys:
        raise SystemExit(f"{cluster.program}: {load.name} gave {len(answer.kvs)} keys")
    return int(answer.ByteSize()) + 5
