"""The nodeipam controller: a podCIDR for each node, out of the cluster's (RangeAllocator)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from prometheus_client import Counter, Gauge

from master.controllers.controller import Context, Controller
from muster.api.core import Node
from muster.client.events import NORMAL

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
        self.network = ipaddress.IPv4Network(cluster_cidr)
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
            network = ipaddress.IPv4Network(cidr, strict=False)
            if network.overlaps(self.network):
                first = self._index(network.network_address)
                taken.update(range(first, self._index(network.broadcast_address) + 1))
        for index in range(self.capacity):
            if index not in taken:
                address = self.network.network_address + index * self._step
                return f"{address}/{self._mask_size}"
        return None

    def _index(self, address: ipaddress.IPv4Address) -> int:
        offset = int(address) - int(self.network.network_address)
        return offset // self._step


class NodeIpamController(Controller):
    name = "cidrallocator"
    event_source = "cidrAllocator"
    workers = 1  # two would give the same subnet to two nodes

    def __init__(self, context: Context, cidrs: CidrSet) -> None:
        super().__init__(context)
        self._cidrs = cidrs
        # What was given out and may not be in the cache yet: node -> cidr.
        self._given: dict[str, str] = {}
        self.nodes = self.informers.of(Node)
        self.nodes.add_handler(self._on_node)

    def _on_node(self, kind: str, old: Node | None, new: Node | None) -> None:
        if new is None and old is not None:
            self._given.pop(old.metadata.name, None)
            RELEASED.labels(clusterCIDR=str(self._cidrs.network)).inc()
        elif new is not None and new.spec.pod_cidr:
            self._given.pop(new.metadata.name, None)
        elif new is not None:
            self.queue.add(new.metadata.name)

    async def reconcile(self, key: str) -> None:
        node = self.nodes.get(key)
        if node is None or node.spec.pod_cidr:
            return
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
