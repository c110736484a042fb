"""What this machine's network must look like, from the Node objects. Pure.

Pods are routed, not encapsulated: every machine has a range (`spec.podCIDR`), and every other
machine a route to it by way of that machine's InternalIP. What Node objects say is not trusted
further than the cluster's own range.
"""

from __future__ import annotations

import ipaddress
import json
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kube.api.core import Node

# Routes of ours carry this protocol number, so that we never touch anybody else's.
ROUTE_PROTOCOL = 77
CNI_VERSION = "1.0.0"
MASQUERADE_CHAIN = "MUSTER-POSTROUTING"
FORWARD_CHAIN = "MUSTER-FORWARD"


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """`cidr` by way of `via`; an empty `via` answers "unreachable"."""

    cidr: str
    via: str


@dataclass(frozen=True, slots=True)
class Set:
    route: Route


@dataclass(frozen=True, slots=True)
class Delete:
    cidr: str


Action = Set | Delete


@dataclass(frozen=True, slots=True, order=True)
class Refused:
    """A range that a Node object claims and that is not routed."""

    node: str
    cidr: str
    why: str


@dataclass(frozen=True, slots=True)
class Ranges:
    """Which node has which pods' addresses."""

    given: Mapping[str, tuple[str, ...]]
    refused: tuple[Refused, ...] = ()


def ranges(nodes: Iterable[Node], cluster_cidr: str) -> Ranges:
    """Only what lies in the cluster's range is routed, and nothing twice.

    Who has had a range longer keeps it: a Node object that is made anew, or changed by somebody
    who should not, must not draw others' traffic. The controller that gives ranges out never
    gives one twice, so in a healthy cluster nothing is refused.
    """
    cluster = ipaddress.ip_network(cluster_cidr)
    taken: list[_Taken] = []
    given: dict[str, tuple[str, ...]] = {}
    refused = []
    for node in sorted(nodes, key=_seniority):
        name, accepted = node.metadata.name, []
        for text in node.spec.pod_cidrs or (node.spec.pod_cidr,):
            network = _ipv4(text)
            if network is None:
                if text and not _is_ipv6(text):  # the other family is no business of ours
                    refused.append(Refused(name, text, "is no range of addresses"))
            elif why := _foreign(network, cluster) or _overlap(network, taken):
                refused.append(Refused(name, str(network), why))
            else:
                insort(taken, (*_ends(network), str(network), name))
                accepted.append(str(network))
        given[name] = tuple(accepted)
    return Ranges(given, tuple(refused))


_Taken = tuple[int, int, str, str]  # first and last address, range, node


def _seniority(node: Node) -> tuple[str, str]:
    """Older first; one that is not stored yet (tests) counts as oldest."""
    return node.metadata.creation_timestamp or "", node.metadata.name


def _foreign(network: ipaddress.IPv4Network, cluster: Any) -> str:
    within = cluster.version == 4 and network.subnet_of(cluster)
    return "" if within else f"is not in the cluster's range {cluster}"


def _ends(network: ipaddress.IPv4Network) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)


def _overlap(network: ipaddress.IPv4Network, taken: list[_Taken]) -> str:
    """`taken` is sorted and free of overlaps: only the neighbours can meet."""
    first, last = _ends(network)
    at = bisect_left(taken, (first, last, "", ""))
    for other in taken[max(at - 1, 0) : at + 1]:
        if other[0] <= last and first <= other[1]:
            return f"overlaps {other[2]} of node {other[3]}"
    return ""


@lru_cache(maxsize=4096)  # asked every few seconds for every node
def _ipv4(text: str) -> ipaddress.IPv4Network | None:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    return network if isinstance(network, ipaddress.IPv4Network) else None


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_network(text).version == 6
    except ValueError:
        return False


def desired_routes(nodes: Iterable[Node], placed: Ranges, own_name: str) -> set[Route]:
    """One route per other machine. The own range is unreachable as such: only the pods in it,
    each with its own /32, can be reached, and an address without a pod never loops."""
    routes = set()
    for node in nodes:
        for cidr in placed.given.get(node.metadata.name, ()):
            if node.metadata.name == own_name:
                routes.add(Route(cidr, ""))
            elif address := internal_ip(node):
                routes.add(Route(cidr, address))
    return routes


def actions(desired: Iterable[Route], current: Iterable[Route]) -> list[Action]:
    """How to come from the routes that carry our protocol number to the desired ones."""
    wanted = {route.cidr: route for route in sorted(desired)}
    have = {route.cidr: route for route in current}
    result: list[Action] = [Delete(cidr) for cidr in sorted(have) if cidr not in wanted]
    result += [Set(r) for cidr, r in sorted(wanted.items()) if have.get(cidr) != r]
    return result


def internal_ip(node: Node) -> str:
    for address in node.status.addresses:
        if address.type == "InternalIP" and _is_ipv4(address.address):
            return address.address
    return ""


def _is_ipv4(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return False


def current_routes(ip_json: str) -> set[Route]:
    """From the output of `ip -j route show proto 77`."""
    routes = set()
    for entry in json.loads(ip_json or "[]"):
        cidr = entry["dst"] if "/" in entry["dst"] else f"{entry['dst']}/32"
        via = "" if entry.get("type") == "unreachable" else entry.get("gateway", "")
        routes.add(Route(cidr, via))
    return routes


def conflist(pod_cidr: str, *, with_portmap: bool) -> dict[str, Any]:
    """The CNI configuration of this machine: a veth pair per pod, addresses from its range."""
    plugins: list[dict[str, Any]] = [
        {
            "type": "ptp",
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": pod_cidr}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ]
    if with_portmap:
        plugins.append({"type": "portmap", "capabilities": {"portMappings": True}, "snat": True})
    return {"cniVersion": CNI_VERSION, "name": "muster", "plugins": plugins}


def rules(cluster_cidr: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """(table, chain, rule) of all rules in our two chains.

    What pods send out of the cluster leaves with the machine's address; within the cluster it
    keeps the pod's. Forwarded pod traffic is let through where the machine's default is to drop.
    """
    pods, masquerade, forward = cluster_cidr, MASQUERADE_CHAIN, FORWARD_CHAIN
    return [
        ("nat", masquerade, ("-s", pods, "-d", pods, "-j", "RETURN")),
        ("nat", masquerade, ("-s", pods, "!", "-d", "224.0.0.0/4", "-j", "MASQUERADE")),
        ("filter", forward, ("-s", pods, "-j", "ACCEPT")),
        ("filter", forward, ("-d", pods, "-j", "ACCEPT")),
    ]


def chains(cluster_cidr: str) -> str:
    """Input for `iptables-restore --noflush`: our two chains, whole."""
    lines = []
    for table, _, own in JUMPS:
        lines += [f"*{table}", f":{own} - [0:0]"]
        lines += [f"-A {own} {' '.join(rule)}" for t, _, rule in rules(cluster_cidr) if t == table]
        lines.append("COMMIT")
    return "\n".join([*lines, ""])


# Where the chains are entered: (table, built-in chain, our chain).
JUMPS = (("nat", "POSTROUTING", MASQUERADE_CHAIN), ("filter", "FORWARD", FORWARD_CHAIN))
