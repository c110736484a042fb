"""The nodeipam controller: a podCIDR for each node, out of the cluster's (RangeAllocator).

It gives out and never takes away. A range that it cannot have given (a foreign one, or one that
an older node has) is reported on the node; the network agents do not route it.
"""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Iterable

from prometheus_client import Counter, Gauge

from kube.api.core import Node
from kube.client.events import NORMAL, WARNING
from kube.client.flags import truth
from kube.component.log import get_logger
from master.controllers.machinery.controller import Context, Controller, Maker

log = get_logger(__name__)

ALLOCATED = Counter(
    "node_ipam_controller_cidrset_cidrs_allocations_total", "CIDRs given out.", ["clusterCIDR"]
)
RELEASED = Counter(
    "node_ipam_controller_cidrset_cidrs_releases_total", "CIDRs taken back.", ["clusterCIDR"]
)
USAGE = Gauge("node_ipam_controller_cidrset_usage_cidrs", "Share in use.", ["clusterCIDR"])


class CidrSet:
    """Which subnets of a network are free. Gives out the lowest, so that it is predictable."""

    def __init__(self, cluster_cidr: str, mask_size: int) -> None:
        try:
            self.network = ipaddress.IPv4Network(cluster_cidr)
        except ValueError as error:
            raise ValueError(f"--cluster-cidr {cluster_cidr}: {error}") from error
        if not self.network.prefixlen <= mask_size <= 30:
            raise ValueError(
                f"--node-cidr-mask-size {mask_size} does not fit --cluster-cidr {cluster_cidr}"
            )
        self._step: int = 2 ** (32 - mask_size)
        self._mask_size = mask_size
        self.capacity: int = 2 ** (mask_size - self.network.prefixlen)

    def lowest_free(self, used: Iterable[str]) -> str | None:
        """The first subnet that overlaps none of `used`; None when all are taken."""
        taken: set[int] = set()
        for cidr in used:
            network = _ipv4(cidr)
            if network is not None and network.overlaps(self.network):
                first = max(self._index(network.network_address), 0)
                last = min(self._index(network.broadcast_address), self.capacity - 1)
                taken.update(range(first, last + 1))
        for index in range(self.capacity):
            if index not in taken:
                address = self.network.network_address + index * self._step
                return f"{address}/{self._mask_size}"
        return None

    def foreign(self, cidr: str) -> str:
        """Why this range was never given out from here; "" when it may have been."""
        network = _ipv4(cidr)
        if network is None:
            return f"podCIDR {cidr} is no range of IPv4 addresses"
        if not network.subnet_of(self.network) or network.prefixlen != self._mask_size:
            return f"podCIDR {cidr} is no /{self._mask_size} of the cluster CIDR {self.network}"
        return ""

    def _index(self, address: ipaddress.IPv4Address) -> int:
        offset = int(address) - int(self.network.network_address)
        return offset // self._step


def _ipv4(cidr: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(cidr, strict=False)
    except ValueError:
        return None


def complaint(node: Node, holders: Iterable[Node], cidrs: CidrSet) -> str:
    """What is wrong with the range that a node has already; "" for nothing. Pure.

    `holders` have the same range: of those the oldest is in the right.
    """
    cidr = node.spec.pod_cidr
    if why := cidrs.foreign(cidr):
        return why
    oldest = min([node, *holders], key=_seniority)
    if oldest.metadata.name != node.metadata.name:
        return f"podCIDR {cidr} belongs to node {oldest.metadata.name}"
    return ""


def _seniority(node: Node) -> tuple[str, str]:
    return node.metadata.creation_timestamp or "", node.metadata.name


class NodeIpamController(Controller):
    name = "cidrallocator"
    event_source = "cidrAllocator"
    workers = 1  # two would give the same subnet to two nodes

    def __init__(self, context: Context, cidrs: CidrSet) -> None:
        super().__init__(context)
        self._cidrs = cidrs
        # What was given out and may not be in the cache yet: node -> cidr.
        self._given: dict[str, str] = {}
        self._holders: dict[str, set[str]] = {}  # cidr -> the nodes that say they have it
        self.nodes = self.informers.of(Node)
        self.nodes.add_handler(self._on_node)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--allocate-node-cidrs", type=truth, default=True, metavar="BOOL")
        parser.add_argument("--cluster-cidr", default="10.244.0.0/16", help="of all pods")
        parser.add_argument("--node-cidr-mask-size", type=int, default=24)
        # Known because upstream has it; ranges of pods and services never overlap in a lab.
        parser.add_argument("--service-cluster-ip-range", default="10.96.0.0/16")

    @classmethod
    def from_flags(cls, args: argparse.Namespace) -> Maker | None:
        cidr, mask = args.cluster_cidr, args.node_cidr_mask_size
        CidrSet(cidr, mask)
        return (
            (lambda context: cls(context, CidrSet(cidr, mask)))
            if args.allocate_node_cidrs
            else None
        )

    def _on_node(self, kind: str, old: Node | None, new: Node | None) -> None:
        self._note_holder(old, new)
        if new is None and old is not None:
            self._given.pop(old.metadata.name, None)
            RELEASED.labels(clusterCIDR=str(self._cidrs.network)).inc()
        elif new is not None:
            if new.spec.pod_cidr:
                self._given.pop(new.metadata.name, None)
            if not new.spec.pod_cidr or old is None or old.spec.pod_cidr != new.spec.pod_cidr:
                self.queue.add(new.metadata.name)

    def _note_holder(self, old: Node | None, new: Node | None) -> None:
        if old is not None and old.spec.pod_cidr:
            names = self._holders.get(old.spec.pod_cidr, set())
            names.discard(old.metadata.name)
            if not names:
                self._holders.pop(old.spec.pod_cidr, None)
        if new is not None and new.spec.pod_cidr:
            self._holders.setdefault(new.spec.pod_cidr, set()).add(new.metadata.name)

    async def reconcile(self, key: str) -> None:
        node = self.nodes.get(key)
        if node is None:
            return
        if node.spec.pod_cidr:
            self._examine(node)
        else:
            await self._assign(node, key)

    def _examine(self, node: Node) -> None:
        names = self._holders.get(node.spec.pod_cidr, set()) - {node.metadata.name}
        holders = [found for name in names if (found := self.nodes.get(name)) is not None]
        # Of two with one range the younger is at fault, whichever was seen first.
        for one in (node, *holders):
            others = [other for other in (node, *holders) if other is not one]
            if text := complaint(one, others, self._cidrs):
                log.warning("pod range not of this cluster", node=one.metadata.name, why=text)
                self.recorder.event(one, WARNING, "CIDRAssignmentFailed", text)

    async def _assign(self, node: Node, key: str) -> None:
        cidr = self._given.get(key) or self._cidrs.lowest_free(self._used())
        if cidr is None:
            text = f"Node {key} status is now: CIDRNotAvailable"
            self.recorder.event(node, NORMAL, "CIDRNotAvailable", text)
            self.queue.add_after(key, 10.0)
            return
        self._given[key] = cidr
        # The version guards against a node that got its subnet from somebody else meanwhile.
        patch = {
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        }
        await self.client.patch(Node, key, patch)
        ALLOCATED.labels(clusterCIDR=str(self._cidrs.network)).inc()
        share = len(set(self._used())) / self._cidrs.capacity
        USAGE.labels(clusterCIDR=str(self._cidrs.network)).set(share)

    def _used(self) -> list[str]:
        known = [node.spec.pod_cidr for node in self.nodes.values() if node.spec.pod_cidr]
        return known + list(self._given.values())
