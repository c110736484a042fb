"""What the operator sets that the declarations of kinds depend on. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network


@dataclass(frozen=True, slots=True)
class Ranges:
    """Where cluster IPs and node ports come from."""

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


@dataclass(frozen=True, slots=True)
class TolerationSeconds:
    """How long new pods tolerate an unreachable node, unless they say so themselves."""

    not_ready: int = 300
    unreachable: int = 300


@dataclass(frozen=True, slots=True)
class Settings:
    ranges: Ranges
    tolerations: TolerationSeconds = TolerationSeconds()
