"""The chains, sets and map elements of one service port. Pure.

Rules are written as `nft list` prints them, so that a resync compares strings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, collapse_addresses

from worker.proxy.endpoints import Endpoint, Reachable
from worker.proxy.nft import names
from worker.proxy.sections import Rules
from worker.proxy.serviceports import Port

Names = Mapping[Endpoint, str]  # what the names of an endpoint's chain and set end in
Element = tuple[str, str]  # the set or map, and the key in it
_COMMENT = 127  # nft takes no longer ones
_DROP = "drop"
_REJECT = f"goto {names.REJECT}"
_MARK = f"jump {names.MARK}"
_FROM_LOCAL = "fib saddr type local"


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one service port adds to the table."""

    chains: Mapping[str, Rules] = field(default_factory=dict)
    # Sets that remember clients: name -> seconds.
    affinities: Mapping[str, int] = field(default_factory=dict)
    # Of a map: what it leads to; of a set: "".
    elements: Mapping[Element, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Targets:
    cluster: str
    local: str
    internal: str
    external: str
    external_policy: str
    firewall: str

    @classmethod
    def of(cls, port: Port) -> _Targets:
        name = names.of_port(port)
        cluster, local = f"service-{name}", f"local-{name}"
        return cls(
            cluster=cluster,
            local=local,
            internal=local if port.internal_local else cluster,
            external=f"external-{name}",
            external_policy=local if port.external_local else cluster,
            firewall=f"firewall-{name}",
        )


def render(port: Port, endpoints: Reachable, cluster_cidr: str) -> Fragment:
    """All of a port. With no endpoint at all only refusals are left."""
    if not endpoints.exists:
        refused = dict(_refusals(port, _REJECT, internal=True, external=True))
        return Fragment(elements={(names.CLUSTER_IPS, port.cluster_ip): "", **refused})
    to = _Targets.of(port)
    known = {e: names.of_endpoint(port, e.ip, e.port) for e in endpoints.cluster + endpoints.local}
    remembering = known.values() if port.affinity_seconds else ()
    return Fragment(
        chains=dict(_chains(port, endpoints, to, known, cluster_cidr)),
        affinities={f"affinity-{name}": port.affinity_seconds for name in remembering},
        elements=dict(_elements(port, endpoints, to)),
    )


def _elements(port: Port, endpoints: Reachable, to: _Targets) -> Iterator[tuple[Element, str]]:
    internal_dead, external_dead = endpoints.without_local(port)
    yield (names.CLUSTER_IPS, port.cluster_ip), ""
    if not internal_dead:
        yield (names.SERVICE_IPS, _destination(port, port.cluster_ip)), f"goto {to.internal}"
    for ip in port.external_ips + port.load_balancer_ips:
        yield (names.SERVICE_IPS, _destination(port, ip)), f"goto {to.external}"
    if port.node_port:
        yield (names.SERVICE_NODE_PORTS, _node_port(port)), f"goto {to.external}"
    if port.source_ranges:
        for ip in port.load_balancer_ips:
            yield (names.FIREWALL_IPS, _destination(port, ip)), f"goto {to.firewall}"
    yield from _refusals(port, _DROP, internal=internal_dead, external=external_dead)


def _refusals(
    port: Port, verdict: str, *, internal: bool, external: bool
) -> Iterator[tuple[Element, str]]:
    # The comment is part of how an element is written, not of what it matches.
    comment = f'comment "{port.name[:_COMMENT]}" : {verdict}'
    addresses = (port.cluster_ip,) * internal
    addresses += (port.external_ips + port.load_balancer_ips) * external
    for ip in addresses:
        yield (names.NO_ENDPOINT_SERVICES, _destination(port, ip)), comment
    if external and port.node_port:
        yield (names.NO_ENDPOINT_NODE_PORTS, _node_port(port)), comment


def _destination(port: Port, ip: str) -> str:
    return f"{ip} . {port.protocol.lower()} . {port.port}"


def _node_port(port: Port) -> str:
    return f"{port.protocol.lower()} . {port.node_port}"


def _chains(
    port: Port, endpoints: Reachable, to: _Targets, known: Names, cluster_cidr: str
) -> Iterator[tuple[str, Rules]]:
    off_cluster = _masquerade_off_cluster(port, cluster_cidr)
    if endpoints.cluster:
        head = off_cluster if to.internal == to.cluster else ()
        yield to.cluster, head + tuple(_balance(port, endpoints.cluster, known))
    if endpoints.local:
        head = off_cluster if to.internal == to.local else ()
        yield to.local, head + tuple(_balance(port, endpoints.local, known))
    if port.externally_accessible:
        yield to.external, tuple(_external(port, endpoints, to, cluster_cidr))
    if port.load_balancer_ips and port.source_ranges:
        yield to.firewall, tuple(_source_ranges(port))
    for endpoint, name in known.items():
        yield f"endpoint-{name}", tuple(_endpoint(port, endpoint, name))


def _masquerade_off_cluster(port: Port, cluster_cidr: str) -> Rules:
    if not cluster_cidr:
        return ()
    return (f"ip daddr {port.cluster_ip} ip saddr != {cluster_cidr} {_MARK}",)


def _external(port: Port, endpoints: Reachable, to: _Targets, cluster_cidr: str) -> Iterator[str]:
    if not port.external_local:
        yield _MARK
    else:
        if cluster_cidr:
            yield f'ip saddr {cluster_cidr} goto {to.cluster} comment "short-circuit pod traffic"'
        yield f'{_FROM_LOCAL} {_MARK} comment "masquerade local traffic"'
        yield f'{_FROM_LOCAL} goto {to.cluster} comment "short-circuit local traffic"'
    if endpoints.local or not port.external_local:
        yield f"goto {to.external_policy}"


def _source_ranges(port: Port) -> Iterator[str]:
    # What overlaps would be refused, and 0.0.0.0/0 leaves nobody to drop.
    merged = list(collapse_addresses(map(IPv4Network, port.source_ranges)))
    if merged[0].prefixlen:
        ranges = ", ".join(map(_network, merged))
        yield f"ip saddr != {ranges if len(merged) == 1 else f'{{ {ranges} }}'} {_DROP}"


def _network(network: IPv4Network) -> str:
    return str(network) if network.prefixlen < 32 else str(network.network_address)


def _balance(port: Port, endpoints: Sequence[Endpoint], known: Names) -> Iterator[str]:
    """First who was here lately, then chance."""
    if port.affinity_seconds:
        for endpoint in endpoints:
            yield f"ip saddr @affinity-{known[endpoint]} goto endpoint-{known[endpoint]}"
    ways = (f"{i} : goto endpoint-{known[e]}" for i, e in enumerate(endpoints))
    yield f"numgen random mod {len(endpoints)} vmap {{ {', '.join(ways)} }}"


def _endpoint(port: Port, endpoint: Endpoint, name: str) -> Iterator[str]:
    yield f"ip saddr {endpoint.ip} {_MARK}"
    if port.affinity_seconds:
        yield f"update @affinity-{name} {{ ip saddr }}"
    yield f"meta l4proto {port.protocol.lower()} dnat to {endpoint.address}"
