"""A pod's hostPort never takes a port of the node itself, nor one that another pod has."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.component.kubelet_harness import NODE_IP, Machine, Pods, machine, pod, until
from tests.security.pod_harness import ended, settled

pytestmark = pytest.mark.root
SERVE = ("sh", "-c", "mkdir -p /w; echo mine > /w/index.html; exec httpd -f -p 8080 -h /w")
TAKEN = "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the "


@pytest.fixture(scope="module")
def node(images: Path) -> Iterator[Machine]:
    with machine(images, "crun") as made:
        _add_portmap(made)
        try:
            yield made
        finally:
            print(made.tail())


def _add_portmap(node: Machine) -> None:
    """As the network agent configures it on a lab's machines."""
    path = node.lab.root / "cni/10-test.conflist"
    document = json.loads(path.read_text())
    document["plugins"].append({"type": "portmap", "capabilities": {"portMappings": True}})
    path.write_text(json.dumps(document))


def ports(*numbers: int) -> dict[str, Any]:
    return {"ports": [{"containerPort": 8080, "hostPort": number} for number in numbers]}


def ask(node: Machine, port: int, scheme: str = "http") -> str:
    """What a client in the node's network gets from the port."""
    command = ["ip", "netns", "exec", node.lab.name, "curl", "-sk", "--max-time", "20",
               f"{scheme}://{NODE_IP}:{port}/healthz"]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("port", [10250, 10248, 6443, 6444])
async def test_the_nodes_own_ports_are_refused(node: Machine, pods: Pods, port: int) -> None:
    name = f"thief-{port}"
    await pods.create(pod(name, *SERVE, container=ports(port)))
    found = await pods.when(name, "is refused or runs", lambda p: settled(p) or _runs(p))
    assert (found.status.phase, found.status.reason) == ("Failed", "NodePorts")
    assert found.status.message == f"{TAKEN}requested pod ports"
    code, _ = await node.get(node.kubelet_client, "/healthz")
    assert code == 200


def _runs(subject: Any) -> bool:
    return subject.status.phase == "Running"


async def test_a_free_port_leads_to_the_pod_and_is_nobody_elses(node: Machine, pods: Pods) -> None:
    await pods.ready(pod("first", *SERVE, container=ports(18080)))

    async def answers() -> bool:
        return "404" in ask(node, 18080)  # its own httpd, which has no /healthz

    await until("the pod answers on the node's port", answers)
    await pods.create(pod("second", *SERVE, container=ports(18081, 18080)))
    found = await pods.when("second", "is over", lambda p: ended(p) or _runs(p))
    assert (found.status.phase, found.status.reason) == ("Failed", "NodePorts")
    await pods.delete("first")
    await pods.gone("first")
    await pods.ready(pod("third", *SERVE, container=ports(18080)))


async def test_on_the_host_network_bind_fails_as_for_anybody(node: Machine, pods: Pods) -> None:
    script = f"nc -l -s {NODE_IP} -p 10250 -e true"
    await pods.create(pod("binder", "sh", "-c", script, hostNetwork=True, restartPolicy="Never"))
    found = await pods.when("binder", "is over", ended)
    assert found.status.phase == "Failed"
    code, _ = await node.get(node.kubelet_client, "/healthz")
    assert code == 200
