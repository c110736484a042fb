"""`python -m benchmarks.scale`: a Deployment of many pods on many hollow nodes, and what it costs.

Starts a store of one member, an api-server, the controllers and the scheduler on loopback, writes
Nodes that no kubelet stands behind, and creates one Deployment. A pod counts as created when a
watch tells of it, and as bound when it names a node. Rates are from the Deployment's creation to
the last of them; CPU is each process' own account over that time. Nobody starts the pods.
`--tree` measures another checkout with the same script, so that two are compared in the same hour.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.apiserver import cpu_seconds, pss_mb
from kube.api.apps import Deployment, DeploymentSpec
from kube.api.core import Container, Node, NodeCondition, NodeStatus, Pod, PodSpec, PodTemplateSpec
from kube.api.meta import LabelSelector, ObjectMeta
from kube.client.client import Client
from kube.client.informer import Informer
from kube.machinery.times import format_time, utc_now
from tests.component.control_harness import ControlPlane
from tests.component.kvstore_harness import free_ports
from tests.component.pki_fixture import Pki

PROCESSES = ("store", "apiserver", "controllers", "scheduler")
AT_ONCE = 20
PATIENCE_SECONDS = 600.0
REST_SECONDS = 3.0
LABELS = {"app": "scale"}


@dataclass
class Plane(ControlPlane):
    """The control plane of a checkout, on a store of its own."""

    tree: Path = field(default_factory=Path)

    def run(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=self.tree, stdout=log, stderr=log,
                env=os.environ | {"PYTHONPATH": str(self.tree)},
            )  # fmt: skip
        return self.processes[name]

    def start_store(self) -> None:
        self.etcd_port, peer_port = free_ports(2)
        client, peer = (f"http://127.0.0.1:{port}" for port in (self.etcd_port, peer_port))
        self.python(
            "store", "master.kvstore", "--name", "s1", "--data-dir", str(self.directory / "data"),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"s1={peer}", "--listen-metrics-urls", "",
        )  # fmt: skip

    def start_all(self) -> None:
        self.start_store()
        self.start_apiserver()
        self.identity("admin", "system:masters", path=self.kubeconfig)
        self.wait_ready("apiserver")
        # Hollow nodes renew no Lease: nobody is to miss it.
        patient = ("--node-monitor-grace-period", "3600", "--node-startup-grace-period", "3600")
        self.start_controllers("controllers", *patient)
        self.start_scheduler()

    def spent(self) -> dict[str, float]:
        return {name: cpu_seconds(self.processes[name].pid) for name in PROCESSES}


def node(number: int) -> Node:
    name = f"n{number}"
    now = format_time(utc_now())
    ready = NodeCondition(
        type="Ready", status="True", reason="KubeletReady",
        last_heartbeat_time=now, last_transition_time=now,
    )  # fmt: skip
    room: dict[str, str | int | float] = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    return Node(
        metadata=ObjectMeta(name=name, labels={"kubernetes.io/hostname": name}),
        status=NodeStatus(allocatable=room, capacity=room, conditions=(ready,)),
    )


def deployment(pods: int) -> Deployment:
    container = Container(name="c", image="registry.example/app:1")
    template = PodTemplateSpec(
        metadata=ObjectMeta(labels=LABELS), spec=PodSpec(containers=(container,))
    )
    selector = LabelSelector(match_labels=LABELS)
    return Deployment(
        metadata=ObjectMeta(name="scale", namespace="default"),
        spec=DeploymentSpec(replicas=pods, selector=selector, template=template),
    )


class Counter:
    """When the last pod came, and when the last was bound."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.names: set[str] = set()
        self.bound: set[str] = set()
        self.created_at = self.bound_at = 0.0
        self.done = asyncio.Event()

    def see(self, kind: str, old: Pod | None, new: Pod | None) -> None:
        if new is None:
            return
        name = new.metadata.name
        if name not in self.names:
            self.names.add(name)
            self.created_at = time.monotonic()
        if new.spec.node_name and name not in self.bound:
            self.bound.add(name)
            self.bound_at = time.monotonic()
        if len(self.bound) >= self.wanted:
            self.done.set()


async def measure(plane: Plane, nodes: int, pods: int) -> dict[str, float]:
    async with plane.client() as client:
        await _make_nodes(client, nodes)
        await asyncio.sleep(REST_SECONDS)
        counter = Counter(pods)
        informer = Informer(client, Pod)
        informer.add_handler(counter.see)
        watching = asyncio.create_task(informer.run())
        await informer.wait_synced()
        before, began = plane.spent(), time.monotonic()
        await client.create(deployment(pods))
        try:
            await asyncio.wait_for(counter.done.wait(), PATIENCE_SECONDS)
        except TimeoutError:
            raise SystemExit(
                f"only {len(counter.names)} pods created and {len(counter.bound)} bound"
            ) from None
        await asyncio.sleep(REST_SECONDS)  # what the burst left to do counts, too
        after = plane.spent()
        watching.cancel()
    cpu = {f"CPU of {name}, s": after[name] - before[name] for name in PROCESSES}
    return {
        "created, pods/s": pods / (counter.created_at - began),
        "bound, pods/s": pods / (counter.bound_at - began),
        "CPU in all, s": sum(cpu.values()),
        **cpu,
        **{f"PSS of {name}, MB": pss_mb(plane.processes[name].pid) for name in PROCESSES},
    }


async def _make_nodes(client: Client, count: int) -> None:
    for start in range(0, count, AT_ONCE):
        batch = range(start, min(start + AT_ONCE, count))
        await asyncio.gather(*(client.create(node(number)) for number in batch))


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.scale", description=__doc__)
    parser.add_argument("--tree", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=3000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as place:
        directory = Path(place)
        plane = Plane(directory, Pki.create(directory / "pki"), tree=args.tree.resolve())
        (directory / "ca.crt").write_bytes((directory / "pki" / "ca.crt").read_bytes())
        try:
            plane.start_all()
            figures = asyncio.run(measure(plane, args.nodes, args.pods))
        finally:
            plane.stop()
    for name, value in figures.items():
        sys.stdout.write(f"{name:25} {value:10.1f}\n")


if __name__ == "__main__":
    main()
