"""The whole table: what all services add, under the fixed chains. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.proxy.nft import names
from worker.proxy.nft.rules import Element, Fragment
from worker.proxy.rendered import RenderedService
from worker.proxy.sections import Rules

_DESTINATION = "type ipv4_addr . inet_proto . inet_service : verdict"
_NODE_PORT = "type inet_proto . inet_service : verdict"


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set or map, with its type as `nft list` prints it."""

    kind: str
    type: str
    comment: str


COLLECTIONS: Mapping[str, Collection] = {
    names.CLUSTER_IPS: Collection("set", "type ipv4_addr", "Active ClusterIPs"),
    names.NODE_PORT_IPS: Collection("set", "type ipv4_addr", "IPs that accept NodePort traffic"),
    names.FIREWALL_IPS: Collection(
        "map", _DESTINATION, "destinations that are subject to LoadBalancerSourceRanges"
    ),
    names.NO_ENDPOINT_NODE_PORTS: Collection(
        "map", _NODE_PORT, "vmap to drop or reject packets to service nodeports with no endpoints"
    ),
    names.NO_ENDPOINT_SERVICES: Collection(
        "map", _DESTINATION, "vmap to drop or reject packets to services with no endpoints"
    ),
    names.SERVICE_IPS: Collection(
        "map", _DESTINATION, "ClusterIP, ExternalIP and LoadBalancer IP traffic"
    ),
    names.SERVICE_NODE_PORTS: Collection("map", _NODE_PORT, "NodePort traffic"),
}

# Where the kernel enters: chain -> its hook, as `nft -y list` prints it.
HOOKS: Mapping[str, str] = {
    "filter-prerouting-pre-dnat": "type filter hook prerouting priority -110; policy accept;",
    "filter-output-pre-dnat": "type filter hook output priority -110; policy accept;",
    "filter-forward": "type filter hook forward priority 0; policy accept;",
    "filter-input": "type filter hook input priority 0; policy accept;",
    "filter-output": "type filter hook output priority 0; policy accept;",
    "nat-output": "type nat hook output priority -100; policy accept;",
    "nat-postrouting": "type nat hook postrouting priority 100; policy accept;",
    "nat-prerouting": "type nat hook prerouting priority -100; policy accept;",
}


@dataclass(frozen=True, slots=True)
class Table:
    """Chains of all kinds with their rules, the clients' sets, the elements of `COLLECTIONS`."""

    chains: Mapping[str, Rules] = field(default_factory=dict)
    affinities: Mapping[str, int] = field(default_factory=dict)
    elements: Mapping[Element, str] = field(default_factory=dict)


def assemble(
    services: Mapping[str, RenderedService[Fragment]], mark: str, node_ips: tuple[str, ...]
) -> Table:
    """Of two services that claim one address and port, the first by name has it, as in the other
    mode."""
    chains = dict(_fixed(mark))
    affinities: dict[str, int] = {}
    elements: dict[Element, str] = {(names.NODE_PORT_IPS, ip): "" for ip in node_ips}
    for key in sorted(services, reverse=True):
        for part in reversed(services[key].fragments):
            chains.update(part.chains)
            affinities.update(part.affinities)
            elements.update(part.elements)
    return Table(chains, affinities, elements)


def _fixed(mark: str) -> Mapping[str, Rules]:
    new = "ct state new jump"
    by_destination = "ip daddr . meta l4proto . th dport vmap"
    by_node_port = f"ip daddr @{names.NODE_PORT_IPS} meta l4proto . th dport vmap"
    return {
        "filter-prerouting-pre-dnat": (f"{new} firewall-check",),
        "filter-output-pre-dnat": (f"{new} firewall-check",),
        "filter-forward": (f"{new} service-endpoints-check", f"{new} cluster-ips-check"),
        "filter-input": (f"{new} nodeport-endpoints-check", f"{new} service-endpoints-check"),
        "filter-output": (f"{new} service-endpoints-check", f"{new} cluster-ips-check"),
        "nat-output": ("jump services",),
        "nat-postrouting": ("jump masquerading",),
        "nat-prerouting": ("jump services",),
        "services": (
            f"{by_destination} @{names.SERVICE_IPS}",
            f"{by_node_port} @{names.SERVICE_NODE_PORTS}",
        ),
        "firewall-check": (f"{by_destination} @{names.FIREWALL_IPS}",),
        "service-endpoints-check": (f"{by_destination} @{names.NO_ENDPOINT_SERVICES}",),
        "nodeport-endpoints-check": (f"{by_node_port} @{names.NO_ENDPOINT_NODE_PORTS}",),
        # What still goes to a ClusterIP after the translation met no port of its service.
        "cluster-ips-check": (
            f"ip daddr @{names.CLUSTER_IPS} reject "
            'comment "Reject traffic to invalid ports of ClusterIPs"',
        ),
        names.REJECT: ("reject",),
        names.MARK: (f"meta mark set meta mark | {mark}",),
        "masquerading": (
            f"meta mark & {mark} == 0x00000000 return",
            # Taken off again: the packet may pass here once more, in a tunnel.
            f"meta mark set meta mark ^ {mark}",
            "masquerade fully-random",
        ),
    }
