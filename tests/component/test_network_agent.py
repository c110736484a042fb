"""The network agent against the real ip, iptables and CNI plugins, in namespaces of its own."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kube.api.core import Node, NodeAddress, NodeSpec, NodeStatus
from kube.api.meta import ObjectMeta
from kube.client.client import Client
from kube.client.events import EventRecorder
from kube.client.informer import Informer
from worker.network.agent import Agent
from worker.runtime import kernel
from worker.runtime.sandboxes.cni import Attachment, Cni

pytestmark = pytest.mark.root
CLUSTER = "10.253.0.0/16"
CNI_BIN = Path("/usr/lib/cni")


def node(number: int) -> Node:
    return Node(
        metadata=ObjectMeta(name=f"w{number}"),
        spec=NodeSpec(pod_cidr=f"10.253.{number}.0/24"),
        status=NodeStatus(
            addresses=(NodeAddress(type="InternalIP", address=f"10.252.0.{number}"),)
        ),
    )


class Machine:
    """One machine: a network namespace, and the agent's view of the cluster."""

    def __init__(self, prefix: str, number: int, scratch: Path) -> None:
        self.name = f"{prefix}-{number}"
        self.number = number
        self.conf_dir = scratch / self.name
        self.nodes = {f"w{n}": node(n) for n in (1, 2)}

    def ip(self, *args: str) -> str:
        done = subprocess.run(
            ["ip", "-n", self.name, *args], check=True, capture_output=True, text=True
        )
        return done.stdout

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *command], capture_output=True, text=True
        )

    def sync(self) -> None:
        """One round of the agent, in this machine's namespace."""

        async def once() -> None:
            async with Client.connect(["127.0.0.1:1"]) as client:
                informer = Informer(client, Node)
                informer.store.update(self.nodes)
                events = EventRecorder(client, "muster-network", f"w{self.number}")
                agent = Agent(informer, f"w{self.number}", CLUSTER, self.conf_dir, CNI_BIN, events)
                await agent.sync()

        self.inside(once)

    def inside(self, coroutine_function: object) -> None:
        assert callable(coroutine_function)
        path = Path("/run/netns", self.name)
        kernel.run_in_network_namespace(path, lambda: asyncio.run(coroutine_function()))

    def routes(self) -> dict[str, str]:
        table = json.loads(self.ip("-j", "route", "show", "proto", "77") or "[]")
        return {route["dst"]: route.get("gateway", route.get("type", "")) for route in table}


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    prefix = f"mt-net-{secrets.token_hex(3)}"
    made = (Machine(prefix, 1, tmp_path), Machine(prefix, 2, tmp_path))
    try:
        for machine in made:
            subprocess.run(["ip", "netns", "add", machine.name], check=True)
            machine.ip("link", "set", "lo", "up")
        made[0].ip(
            "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", made[1].name
        )
        for machine in made:
            machine.ip("addr", "add", f"10.252.0.{machine.number}/24", "dev", "eth0")
            machine.ip("link", "set", "eth0", "up")
        yield made
    finally:
        for machine in made:
            subprocess.run(["ip", "netns", "del", machine.name], capture_output=True)


def test_a_round_sets_everything_and_a_second_changes_nothing(
    machines: tuple[Machine, Machine],
) -> None:
    first, _ = machines
    first.sync()
    assert first.routes() == {"10.253.1.0/24": "unreachable", "10.253.2.0/24": "10.252.0.2"}
    conf = json.loads((first.conf_dir / "10-muster.conflist").read_text())
    assert conf["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.253.1.0/24"}]]
    rules = first.run("iptables-save", "-t", "nat").stdout
    assert rules.count("-A POSTROUTING -j MUSTER-POSTROUTING") == 1
    first.sync()
    again = first.run("iptables-save", "-t", "nat").stdout
    assert [r for r in again.splitlines() if r[:1] == "-"] == [
        r for r in rules.splitlines() if r[:1] == "-"
    ]


def test_what_others_removed_comes_back_and_what_is_stale_goes(
    machines: tuple[Machine, Machine],
) -> None:
    first, _ = machines
    first.sync()
    first.ip("link", "set", "eth0", "down")
    first.ip("link", "set", "eth0", "up")
    assert "10.253.2.0/24" not in first.routes()
    first.ip("route", "add", "10.99.0.0/24", "via", "10.252.0.2")
    first.run("iptables", "-t", "nat", "-F", "POSTROUTING")
    first.sync()
    assert first.routes()["10.253.2.0/24"] == "10.252.0.2"
    assert "MUSTER-POSTROUTING" in first.run("iptables", "-t", "nat", "-S", "POSTROUTING").stdout
    del first.nodes["w2"]
    first.sync()
    assert list(first.routes()) == ["10.253.1.0/24"]
    # Somebody else's route is none of ours.
    assert "10.99.0.0/24" in first.ip("route")


def test_pods_of_two_machines_reach_each_other(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    pods = []
    try:
        for machine in machines:
            machine.sync()
            _with_own_leases(machine.conf_dir / "10-muster.conflist", tmp_path)
            pods.append(_pod(machine, tmp_path))
        for (name, _), (_, other) in ((pods[0], pods[1]), (pods[1], pods[0])):
            ping = ["ip", "netns", "exec", name, "busybox", "ping", "-c", "1", "-W", "60", other]
            done = subprocess.run(ping, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
        # An address of the range that no pod has is refused at once, not sent in circles.
        empty = machines[1].run("curl", "-s", "--connect-timeout", "60", "http://10.253.1.250/")
        assert empty.returncode == 7  # refused by the network; 28 would be a timeout
    finally:
        for name, _ in pods:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def _with_own_leases(conflist: Path, tmp_path: Path) -> None:
    """Keep the test's leases out of the machine's own directory."""
    conf = json.loads(conflist.read_text())
    conf["plugins"][0]["ipam"]["dataDir"] = str(tmp_path / "leases")
    conflist.write_text(json.dumps(conf))


def _pod(machine: Machine, tmp_path: Path) -> tuple[str, str]:
    """A pod's namespace plugged into the machine's network, by our CNI client."""
    name = f"{machine.name}-pod"
    subprocess.run(["ip", "netns", "add", name], check=True)
    (tmp_path / "cache").mkdir(exist_ok=True)
    cni = Cni(machine.conf_dir, CNI_BIN, tmp_path / "cache")
    found: list[str] = []

    async def add() -> None:
        found.extend(await cni.add(Attachment(name, f"/run/netns/{name}", "IgnoreUnknown=1", {})))

    machine.inside(add)
    return name, found[0]
