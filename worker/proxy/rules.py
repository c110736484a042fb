"""The rules of one service port: a `Fragment` of the ruleset. Pure.

Follows kube-proxy's iptables mode chain by chain, so that `iptables-save` reads like its.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from worker.proxy import names
from worker.proxy.endpoints import Endpoint, Reachable
from worker.proxy.sections import Rules
from worker.proxy.serviceports import Port
from worker.proxy.text import (
    DROP,
    FROM_LOCAL,
    REJECT,
    TO_LOCAL,
    one_in,
    remember,
    remembers,
    rule,
)


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one service port adds: chains of its own in nat, and rules in shared chains."""

    chains: Mapping[str, Rules] = field(default_factory=dict)
    services: Rules = ()
    node_ports: Rules = ()
    filter_services: Rules = ()
    filter_external: Rules = ()
    filter_firewall: Rules = ()
    filter_node_ports: Rules = ()


@dataclass(frozen=True, slots=True)
class _Targets:
    """Where the traffic of one port goes: upstream's names for its chains."""

    cluster: str
    local: str
    internal: str
    external: str
    external_policy: str
    firewall: str

    @classmethod
    def of(cls, port: Port) -> _Targets:
        cluster = names.cluster_chain(port.name, port.protocol)
        local = names.local_chain(port.name, port.protocol)
        return cls(
            cluster=cluster,
            local=local,
            internal=local if port.internal_local else cluster,
            external=names.external_chain(port.name, port.protocol),
            external_policy=local if port.external_local else cluster,
            firewall=names.firewall_chain(port.name, port.protocol),
        )


def render(port: Port, endpoints: Reachable, cluster_cidr: str) -> Fragment:
    """All rules of a port. With no endpoint at all only refusals are left, and those live in
    filter, because nat cannot refuse."""
    if not endpoints.exists:
        comment = f"{port.name} has no endpoints"
        return Fragment(
            filter_services=(_refuse_internal(port, comment, REJECT),),
            filter_external=tuple(_refuse_external(port, comment, REJECT)),
            filter_node_ports=tuple(_health_check(port)),
        )
    to = _Targets.of(port)
    internal_dead, external_dead = endpoints.without_local(port)
    no_local = f"{port.name} has no local endpoints"
    return Fragment(
        chains=dict(_chains(port, endpoints, to, cluster_cidr)),
        services=tuple(_services(port, to, internal_dead)),
        node_ports=tuple(_node_ports(port, to)),
        filter_services=(_refuse_internal(port, no_local, DROP),) if internal_dead else (),
        filter_external=tuple(_refuse_external(port, no_local, DROP)) if external_dead else (),
        filter_firewall=tuple(_outside_ranges(port, to)),
        filter_node_ports=tuple(_health_check(port)),
    )


def _services(port: Port, to: _Targets, internal_dead: bool) -> Iterator[str]:
    """nat KUBE-SERVICES: by destination address into the chain of the port."""
    if not internal_dead:
        yield _by_address(port, port.cluster_ip, "cluster IP", to.internal)
    for ip in port.external_ips:
        yield _by_address(port, ip, "external IP", to.external)
    for ip in port.load_balancer_ips:
        target = to.firewall if port.source_ranges else to.external
        yield _by_address(port, ip, "loadbalancer IP", target)


def _by_address(port: Port, ip: str, kind: str, target: str) -> str:
    return rule(
        names.SERVICES,
        target,
        comment=f"{port.name} {kind}",
        destination=ip,
        protocol=port.protocol,
        dport=port.port,
    )


def _node_ports(port: Port, to: _Targets) -> Iterator[str]:
    if port.node_port:
        yield rule(
            names.NODE_PORTS,
            to.external,
            comment=port.name,
            protocol=port.protocol,
            dport=port.node_port,
        )


def _refuse_internal(port: Port, comment: str, verdict: str) -> str:
    return rule(
        names.SERVICES,
        verdict,
        comment=comment,
        destination=port.cluster_ip,
        protocol=port.protocol,
        dport=port.port,
    )


def _refuse_external(port: Port, comment: str, verdict: str) -> Iterator[str]:
    for ip in port.external_ips + port.load_balancer_ips:
        yield rule(
            names.EXTERNAL_SERVICES,
            verdict,
            comment=comment,
            destination=ip,
            protocol=port.protocol,
            dport=port.port,
        )
    if port.node_port:
        yield rule(
            names.EXTERNAL_SERVICES,
            verdict,
            comment=comment,
            protocol=port.protocol,
            match=TO_LOCAL,
            dport=port.node_port,
        )


def _health_check(port: Port) -> Iterator[str]:
    """filter KUBE-NODEPORTS: a host firewall must not stop the balancer's health check."""
    if port.health_check_node_port and port.external_local:
        yield rule(
            names.NODE_PORTS,
            "ACCEPT",
            comment=f"{port.name} health check node port",
            protocol="TCP",
            dport=port.health_check_node_port,
        )


def _outside_ranges(port: Port, to: _Targets) -> Iterator[str]:
    if port.source_ranges:
        for ip in port.load_balancer_ips:
            yield rule(
                names.PROXY_FIREWALL,
                DROP,
                comment=f"{port.name} traffic not accepted by {to.firewall}",
                destination=ip,
                protocol=port.protocol,
                dport=port.port,
            )


def _chains(
    port: Port, endpoints: Reachable, to: _Targets, cluster_cidr: str
) -> Iterator[tuple[str, Rules]]:
    """The port's own nat chains."""
    off_cluster = tuple(_masquerade_off_cluster(port, to, cluster_cidr))
    ways = {e: _endpoint_chain(port, e) for e in endpoints.cluster + endpoints.local}
    if endpoints.cluster:
        head = off_cluster if to.internal == to.cluster else ()
        yield to.cluster, head + tuple(_balance(port, to.cluster, endpoints.cluster, ways))
    if endpoints.local:
        head = off_cluster if to.internal == to.local else ()
        yield to.local, head + tuple(_balance(port, to.local, endpoints.local, ways))
    if port.externally_accessible:
        yield to.external, tuple(_external(port, endpoints, to, cluster_cidr))
    if port.load_balancer_ips and port.source_ranges:
        yield to.firewall, tuple(_source_ranges(port, to))
    for endpoint, chain in ways.items():
        yield chain, tuple(_endpoint(port, chain, endpoint))


def _masquerade_off_cluster(port: Port, to: _Targets, cluster_cidr: str) -> Iterator[str]:
    """A sender that is no pod may have no way back for a pod's answer but through this node."""
    if cluster_cidr:
        yield rule(
            to.internal,
            names.MARK_MASQ,
            comment=f"{port.name} cluster IP",
            source=f"! {cluster_cidr}",
            destination=port.cluster_ip,
            protocol=port.protocol,
            dport=port.port,
        )


def _external(port: Port, endpoints: Reachable, to: _Targets, cluster_cidr: str) -> Iterator[str]:
    what = f"for {port.name} external destinations"
    if not port.external_local:
        # The endpoint may be on another node and must answer through this one.
        yield rule(to.external, names.MARK_MASQ, comment=f"masquerade traffic {what}")
    else:
        # Local keeps the source address of real outsiders. Pods and the node itself are no
        # outsiders: they get the whole service.
        if cluster_cidr:
            yield rule(to.external, to.cluster, comment=f"pod traffic {what}", source=cluster_cidr)
        yield rule(
            to.external,
            names.MARK_MASQ,
            comment=f"masquerade LOCAL traffic {what}",
            match=FROM_LOCAL,
        )
        yield rule(to.external, to.cluster, comment=f"route LOCAL traffic {what}", match=FROM_LOCAL)
    if endpoints.local or not port.external_local:
        yield rule(to.external, to.external_policy)


def _source_ranges(port: Port, to: _Targets) -> Iterator[str]:
    for network in port.source_ranges:
        yield rule(to.firewall, to.external, comment=f"{port.name} loadbalancer IP", source=network)
    yield rule(
        to.firewall,
        comment=f"other traffic to {port.name} will be dropped by {names.PROXY_FIREWALL}",
    )


def _balance(
    port: Port, chain: str, endpoints: Sequence[Endpoint], ways: Mapping[Endpoint, str]
) -> Iterator[str]:
    """First who was here lately, then chance. The last one matches always: none falls through."""
    if port.affinity_seconds:
        for endpoint in endpoints:
            yield rule(
                chain,
                ways[endpoint],
                comment=f"{port.name} -> {endpoint.address}",
                match=remembers(ways[endpoint], port.affinity_seconds),
            )
    for position, endpoint in enumerate(endpoints):
        left = len(endpoints) - position
        yield rule(
            chain,
            ways[endpoint],
            comment=f"{port.name} -> {endpoint.address}",
            match="" if left == 1 else one_in(left),
        )


def _endpoint(port: Port, chain: str, endpoint: Endpoint) -> Iterator[str]:
    # Hairpin: a pod that reaches itself must see another sender than itself, or it would
    # answer past this node and its own connection would not know the answer.
    yield rule(chain, names.MARK_MASQ, comment=port.name, source=endpoint.ip)
    yield rule(
        chain,
        f"DNAT --to-destination {endpoint.address}",
        comment=port.name,
        protocol=port.protocol,
        match=remember(chain) if port.affinity_seconds else "",
    )


def _endpoint_chain(port: Port, endpoint: Endpoint) -> str:
    return names.endpoint_chain(port.name, port.protocol, endpoint.address)
