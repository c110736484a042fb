"""The mode nftables through the real nft: accepted, printed as written, changed, removed; and a
change of the mode."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.component.proxy_harness import (
    LIST_TABLE,
    NFTABLES,
    Netns,
    ask,
    endpoint_slice,
    proxy_lab,
    service,
    until,
)
from tests.component.test_proxy_iptables import netns, objects  # noqa: F401 - a fixture
from worker.proxy.endpoints import OwnNode
from worker.proxy.nft.changes import changes, rebuilt
from worker.proxy.nft.listing import parse
from worker.proxy.nft.removal import REMOVE
from worker.proxy.nft.rules import render
from worker.proxy.nft.table import Table, assemble
from worker.proxy.rendered import rendered

pytestmark = pytest.mark.root


def everything(cluster_cidr: str, mark: str, without: int = 0) -> Table:
    """Services with each feature and each protocol, with 0, 1 and 7 endpoints."""
    parts = {
        name: rendered(one, slices, OwnNode("w1"), lambda port, to: render(port, to, cluster_cidr))
        for name, one, slices in list(objects())[without:]
    }
    return assemble(parts, mark, ("10.200.0.21",))


@pytest.fixture
def kernel(netns: Netns) -> Iterator[Netns]:  # noqa: F811
    yield netns


def saved(kernel: Netns) -> Table:
    table = parse(kernel.run(*LIST_TABLE.split()))
    assert table is not None
    return table


@pytest.mark.parametrize(
    ("cluster_cidr", "mark"),
    [("10.244.0.0/16", "0x00004000"), ("", "0x00010000"), ("10.0.0.0/8", "0x00000001")],
    ids=["default", "no-cidr", "bit-0"],
)
def test_rules_are_accepted_printed_as_written_and_removed(
    kernel: Netns, cluster_cidr: str, mark: str
) -> None:
    """The last step of each: nothing left to do, which is what a resync relies on."""
    desired = everything(cluster_cidr, mark)
    kernel.run("nft", "-f", "-", text=rebuilt(desired).text)
    assert changes(saved(kernel), desired).text == ""
    # Again from whatever is there.
    kernel.run("nft", "-f", "-", text=rebuilt(desired).text)
    assert changes(saved(kernel), desired).text == ""
    # Some services go, in one transaction: chains that lead to each other, maps, clients' sets.
    fewer = everything(cluster_cidr, mark, without=9)
    kernel.run("nft", "-f", "-", text=changes(desired, fewer).text)
    assert changes(saved(kernel), fewer).text == ""
    # And come back, and all go.
    kernel.run("nft", "-f", "-", text=changes(fewer, desired).text)
    assert changes(saved(kernel), desired).text == ""
    bare = assemble({}, mark, ())
    kernel.run("nft", "-f", "-", text=changes(desired, bare).text)
    assert changes(saved(kernel), bare).text == ""
    kernel.run("nft", "-f", "-", text=REMOVE)
    kernel.run("nft", "-f", "-", text=REMOVE)
    assert "kube-proxy" not in kernel.run("nft", "list", "ruleset")


async def test_a_change_of_the_mode_leaves_the_rules_of_one(tmp_path: Path) -> None:
    """There and back; connections find their service all the time."""
    async with proxy_lab(tmp_path, "nft") as lab:
        await lab.publish(service("moving", "10.96.0.1"), endpoint_slice("moving", "pod1"))
        client = lab.world.pods["pod2"]
        for mode, other in ((NFTABLES, "nft"), ("nft", NFTABLES)):
            assert lab.stop() == 0
            assert ask(client, "10.96.0.1", 80)[0] == "pod1"
            lab.backend = mode
            lab.start()
            await until("rules", lambda: lab.serves("moving"))
            gone = "KUBE-" if other == "nft" else "chain"
            await until("the other's go", lambda o=other, g=gone: g not in lab.rules(o))
            answer = await asyncio.to_thread(ask, client, "10.96.0.1", 80)
            assert answer[0] == "pod1"
        localnet = lab.world.node.run("cat", "/proc/sys/net/ipv4/conf/all/route_localnet")
        assert localnet.strip() == "1"
