"""Watch fan-out: one key is put by h2load (16x1), N watchers are told of each put.

`streams`: each watch is a stream of its own, ten connections; that is how independent clients
look. `multiplexed`: ten streams of N/10 watches; that is etcd's own client. The connections are
spread over the three members. Deliveries per second count from the first to the last delivery.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.store import h2load
from benchmarks.store.clusters import PROGRAMS, Cluster
from benchmarks.store.figures import Figures, Line
from benchmarks.store.processes import cpu_seconds
from benchmarks.store.watchclient import WatchClient, spread
from kube.stubs.etcd import rpc_pb2

_KEY = b"bench/watched"
_MARKER = b"<delivered>"
_VALUE = _MARKER + b"v" * (256 - len(_MARKER))
_CONNECTIONS = 10
_LEAST_PUTS = 16 * 4
_WAIT_SECONDS = 60.0
_BUSY_CLIENT = 0.8


@dataclass(frozen=True, slots=True)
class FanOut:
    watchers: int
    multiplexed: bool

    @property
    def name(self) -> str:
        how = "multiplexed" if self.multiplexed else "streams"
        return f"watch, {self.watchers:,} watchers ({how})"

    @property
    def rate(self) -> Line:
        return Line(self.name, "deliveries/s", goal=1.0)

    @property
    def cpu(self) -> Line:
        unit = "CPU-s per 1,000 deliveries, all members, puts included"
        return Line(self.name, unit, more_is_better=False)

    def connect(self, client: WatchClient, cluster: Cluster) -> None:
        for number, watchers in enumerate(spread(self.watchers, _CONNECTIONS)):
            member = cluster.members[number % len(cluster.members)]
            shape = (1, watchers) if self.multiplexed else (watchers, 1)
            client.connect(member.client_port, *shape)


FAN_OUTS = (FanOut(50, False), FanOut(1000, False), FanOut(1000, True))


def run(
    both: dict[str, Cluster], rounds: int, seconds: float, directory: Path, figures: Figures
) -> None:
    message = rpc_pb2.PutRequest(key=_KEY, value=_VALUE).SerializeToString()
    body = h2load.write_body(directory / "watched", message)
    shot = h2load.Shot("/etcdserverpb.KV/Put", body, 16, 1)
    puts: dict[tuple[FanOut, str], int] = {}
    shares: dict[tuple[FanOut, str], list[float]] = {}
    for round_ in range(rounds + 1):
        for fan_out in FAN_OUTS:
            for program in PROGRAMS if round_ % 2 else PROGRAMS[::-1]:
                count = puts.get((fan_out, program), _LEAST_PUTS)
                rate, cpu, client = _measure(both[program], fan_out, shot, count, figures)
                wanted = int(rate * seconds / fan_out.watchers)
                puts[fan_out, program] = max(wanted, _LEAST_PUTS)
                if round_:
                    figures.add(fan_out.rate, program, rate)
                    figures.add(fan_out.cpu, program, cpu * 1000)
                    shares.setdefault((fan_out, program), []).append(client)
        for cluster in both.values():
            cluster.compact()
    for (fan_out, program), values in shares.items():
        share = max(values)
        verdict = "the bottleneck" if share > _BUSY_CLIENT else "not the bottleneck"
        figures.note(
            f"{program}, {fan_out.name}: the client used up to {share:.0%} of one CPU, {verdict}"
        )


def _measure(
    cluster: Cluster, fan_out: FanOut, shot: h2load.Shot, puts: int, figures: Figures
) -> tuple[float, float, float]:
    """Deliveries per second, CPU-seconds per delivery, and the client's share of a CPU."""
    port = cluster.leader().client_port
    with WatchClient(_KEY, _MARKER) as client:
        fan_out.connect(client, cluster)
        _wait_watching(client, cluster, fan_out.watchers)
        client.look_for(_MARKER)
        wanted = puts * fan_out.watchers
        cpu = cpu_seconds(cluster.pids)
        publisher = h2load.start(shot, port, puts)
        try:
            client.receive(1, _WAIT_SECONDS)
            own, began = time.process_time(), time.monotonic()
            complete = client.receive(wanted, _WAIT_SECONDS)
            took, own = time.monotonic() - began, time.process_time() - own
        finally:
            h2load.finish(publisher)
        cpu = cpu_seconds(cluster.pids) - cpu
        if not complete:
            figures.note(f"{cluster.program}, {fan_out.name}: {client.count} of {wanted} came")
        return client.count / took, cpu / client.count, own / took


def _wait_watching(client: WatchClient, cluster: Cluster, watchers: int) -> None:
    """Until one and the same put has reached every watcher: then all watches stand."""
    deadline = time.monotonic() + _WAIT_SECONDS
    with cluster.kv() as kv:
        number = 0
        while time.monotonic() < deadline:
            probe = b"<probe%06d>" % (number := number + 1)
            client.look_for(probe)
            kv.Put(rpc_pb2.PutRequest(key=_KEY, value=probe))
            if client.receive(watchers, _WAIT_SECONDS, quiet_seconds=0.3):
                return
    raise SystemExit(f"{cluster.program}: {client.count} of {watchers} watchers stand")
