"""Cluster IPs and node ports of services. Pure: what is taken and the random choice come in.

Each allocated address is a key in the store that is written by the same Txn as its service, so
two api-servers can never give the same one twice and none leaks: the Txn of the slower one
fails on its compare, and it chooses again.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal

from msgspec.structs import replace

from kube.api.core import Service, ServicePort
from master.apiserver.storage.keys import CLUSTER_IPS, NODE_PORTS

# Returns a number in [0, n).
Choose = Callable[[int], int]
_ATTEMPTS = 64
EXTERNAL_TYPES = ("NodePort", "LoadBalancer")


class Exhausted(Exception):
    """Every address of the range is taken."""


@dataclass(frozen=True, slots=True)
class Ranges:
    cluster_ips: IPv4Network | IPv6Network
    node_ports: range

    @property
    def kubernetes_ip(self) -> str:
        """The first address: the service `kubernetes`."""
        return str(self.cluster_ips[1])


def parse_ranges(cidr: str, ports: str) -> Ranges:
    """`10.96.0.0/16` and `30000-32767`. Raises ValueError."""
    first, dash, last = ports.partition("-")
    if not dash:
        raise ValueError(f'"{ports}" is not a port range such as 30000-32767')
    return Ranges(ip_network(cidr), range(int(first), int(last) + 1))


def needs_ip(service: Service) -> bool:
    return service.spec.type != "ExternalName" and not service.spec.cluster_ip


def needs_ports(service: Service) -> bool:
    return service.spec.type in EXTERNAL_TYPES and any(
        not port.node_port for port in service.spec.ports
    )


def claims(service: Service) -> frozenset[str]:
    """The store keys of what this service owns."""
    spec = service.spec
    keys = {f"{NODE_PORTS}{port.node_port}" for port in spec.ports if port.node_port}
    if spec.cluster_ip not in ("", "None"):
        keys.add(f"{CLUSTER_IPS}{spec.cluster_ip}")
    return frozenset(keys)


def allocate(
    service: Service, ranges: Ranges, taken_ips: Set[str], taken_ports: Set[str], choose: Choose
) -> Service:
    """Fill in the missing cluster IP and node ports. Raises Exhausted."""
    spec = service.spec
    if needs_ip(service):
        address = _free_ip(ranges, taken_ips, choose)
        spec = replace(spec, cluster_ip=address, cluster_ips=(address,))
    elif spec.cluster_ip and not spec.cluster_ips:
        spec = replace(spec, cluster_ips=(spec.cluster_ip,))
    if needs_ports(service):
        used = {str(port.node_port) for port in spec.ports if port.node_port}
        ports: list[ServicePort] = []
        for port in spec.ports:
            if not port.node_port:
                number = _free_port(ranges, taken_ports | used, choose)
                used.add(str(number))
                port = replace(port, node_port=number)
            ports.append(port)
        spec = replace(spec, ports=tuple(ports))
    return replace(service, spec=spec)


def _free_ip(ranges: Ranges, taken: Set[str], choose: Choose) -> str:
    network = ranges.cluster_ips
    # The network and broadcast addresses are no hosts, and the first belongs to `kubernetes`.
    first, count = 2, network.num_addresses - 3
    for _ in range(_ATTEMPTS):
        candidate = str(network[first + choose(count)])
        if candidate not in taken:
            return candidate
    for index in range(first, first + count):
        if (candidate := str(network[index])) not in taken:
            return candidate
    raise Exhausted("failed to allocate a serviceIP: range is full")


def _free_port(ranges: Ranges, taken: Set[str], choose: Choose) -> int:
    ports = ranges.node_ports
    for _ in range(_ATTEMPTS):
        candidate = ports[choose(len(ports))]
        if str(candidate) not in taken:
            return candidate
    for candidate in ports:
        if str(candidate) not in taken:
            return candidate
    raise Exhausted("failed to allocate a nodePort: range is full")


Problem = tuple[Literal["clusterIP", "nodePort"], int, str]


def out_of_range(service: Service, ranges: Ranges) -> list[Problem]:
    """What the user chose outside of the ranges: (kind, index of port, value)."""
    found: list[Problem] = []
    address = service.spec.cluster_ip
    if address not in ("", "None"):
        parsed: object = ip_address(address)
        inside = isinstance(parsed, IPv4Address) == (ranges.cluster_ips.version == 4)
        if not inside or ip_address(address) not in ranges.cluster_ips:
            found.append(("clusterIP", 0, address))
    for index, port in enumerate(service.spec.ports):
        if port.node_port and port.node_port not in ranges.node_ports:
            found.append(("nodePort", index, str(port.node_port)))
    return found
