"""A Node object draws no traffic that is not its own: routes follow what node IPAM gave out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from muster.api.core import Node, NodeAddress, NodeSpec, NodeStatus
from muster.api.meta import ObjectMeta
from tests.component.control_harness import ControlPlane, control_plane, until
from tests.component.pki_fixture import Pki
from tests.component.test_network_agent import Machine, machines

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


@pytest.fixture
def plane(tmp_path: Path, pki: Pki) -> Iterator[ControlPlane]:
    with control_plane(tmp_path, pki) as made:
        made.start_controllers()
        yield made


async def test_node_ipam_reports_ranges_that_it_did_not_give(plane: ControlPlane) -> None:
    async with plane.client() as client:

        async def made(name: str, cidr: str = "") -> Node:
            spec = NodeSpec(pod_cidr=cidr)
            return await client.create(Node(metadata=ObjectMeta(name=name), spec=spec))

        await made("honest")

        async def honest() -> str:
            return (await client.get(Node, "honest")).spec.pod_cidr

        given = await until(honest, "a range for the honest node")
        await made("thief", given)
        await made("foreign", "192.168.0.0/16")

        def told() -> str:
            return plane.kubectl(
                "get", "events", "-n", "default", "--field-selector", "reason=CIDRAssignmentFailed",
                "-o", "jsonpath={range .items[*]}{.involvedObject.name}: {.message}|{end}",
            ).stdout  # fmt: skip

        async def all_told() -> bool:
            return {line.partition(":")[0] for line in told().split("|")} >= {"thief", "foreign"}

        await until(all_told, "both are reported")
        assert f"podCIDR {given} belongs to node honest" in told()
        assert "podCIDR 192.168.0.0/16 is no /24 of the cluster CIDR 10.244.0.0/16" in told()
        assert "honest: " not in told()
        # Whoever comes next gets a free one.
        await made("next")

        async def next_one() -> str:
            return (await client.get(Node, "next")).spec.pod_cidr

        assert await until(next_one, "a range for the next node") not in ("", given)
