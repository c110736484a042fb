"""A Node object draws no traffic that is not its own: routes follow what node IPAM gave out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from kube.api.core import Node, NodeAddress, NodeSpec, NodeStatus
from kube.api.meta import ObjectMeta
from tests.component.kubelet_harness import NODE
from tests.component.runtime_harness import wait_until
from tests.component.test_network_agent import Machine, machines
from tests.security.ports_world import World, world

__all__ = ["machines"]  # the fixture: two namespaces with a wire between them
LATER = "2026-01-02T00:00:00Z"


def hostile(name: str, cidr: str, via: str = "10.252.0.2") -> Node:
    return Node(
        metadata=ObjectMeta(name=name, creation_timestamp=LATER),
        spec=NodeSpec(pod_cidr=cidr, pod_cidrs=(cidr,)),
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address=via),)),
    )


@pytest.mark.root
def test_the_kernel_routes_no_range_that_is_not_the_clusters(
    machines: tuple[Machine, Machine],
) -> None:
    """What was reproduced: the others routed whatever a Node named to its machine."""
    victim, _ = machines
    victim.sync()
    honest = victim.routes()
    assert honest == {"10.253.1.0/24": "unreachable", "10.253.2.0/24": "10.252.0.2"}
    for name, cidr in (
        ("everything", "0.0.0.0/0"), ("half", "128.0.0.0/1"), ("services", "10.96.0.0/16"),
        ("wide", "10.253.0.0/16"), ("victims", "10.253.1.0/24"), ("inside", "10.253.1.64/26"),
        ("a", "10.253.2.0/24"), ("garbage", "garbage"), ("machines", "10.252.0.0/24"),
    ):  # fmt: skip
        victim.nodes[name] = hostile(name, cidr)
    victim.sync()
    assert victim.routes() == honest
    # An honest node that comes beside them is still served.
    victim.nodes["w3"] = hostile("w3", "10.253.3.0/24")
    victim.sync()
    assert victim.routes() == honest | {"10.253.3.0/24": "10.252.0.2"}


@pytest.mark.root
def test_a_machine_gives_its_pods_no_foreign_addresses(
    machines: tuple[Machine, Machine],
) -> None:
    first, _ = machines
    first.nodes["w1"] = hostile("w1", "10.253.2.0/24")  # another's
    first.sync()
    assert not (first.conf_dir / "10-muster.conflist").exists()
    assert first.routes() == {"10.253.2.0/24": "10.252.0.2"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("images")) as standing:
        try:
            yield standing
        finally:
            print(standing.node.tail())  # pytest shows it with a failure


def make_node(made: World, name: str, cidr: str = "") -> None:
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "spec": {"podCIDR": cidr} if cidr else {}}  # fmt: skip
    made.node.kubectl("create", "-f", "-", text=json.dumps(body))


def cidr_of(made: World, name: str) -> str:
    return made.node.kubectl("get", "node", name, "-o", "jsonpath={.spec.podCIDR}").stdout


def events(made: World, reason: str) -> set[str]:
    """`node: message` of each event with that reason."""
    form = "jsonpath={range .items[*]}{.involvedObject.name}: {.message}|{end}"
    told = made.node.kubectl(
        "get", "events", "-n", "default", "--field-selector", f"reason={reason}", "-o", form
    )
    return set(filter(None, told.stdout.split("|")))


@pytest.mark.root
def test_controller_and_agents_report_what_was_not_given_out(made: World) -> None:
    wait_until("a range for the honest node", lambda: cidr_of(made, NODE))
    given = cidr_of(made, NODE)
    make_node(made, "thief", given)
    make_node(made, "foreign", "192.168.0.0/16")
    expected = {
        "CIDRAssignmentFailed": {
            f"thief: podCIDR {given} belongs to node {NODE}",
            "foreign: podCIDR 192.168.0.0/16 is no /24 of the cluster CIDR 10.244.0.0/16",
        },
        "FailedToCreateRoute": {
            f"thief: podCIDR {given} of node thief overlaps {given} of node {NODE}",
            "foreign: podCIDR 192.168.0.0/16 of node foreign is not in the cluster's range "
            "10.244.0.0/16",
        },
    }
    for reason, wanted in expected.items():
        wait_until(reason, lambda r=reason, w=wanted: events(made, r) >= w)
        assert events(made, reason) == wanted
    shown = subprocess.run(
        ["ip", "-n", made.node.lab.name, "-j", "route", "show", "proto", "77"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert [route["dst"] for route in json.loads(shown.stdout)] == [given]
    # Whoever comes next gets a free one.
    make_node(made, "next")
    wait_until("a range for the next node", lambda: cidr_of(made, "next"))
    assert cidr_of(made, "next") != given
