"""Which endpoints a service port leads to on this node. Pure.

Sources: discovery.k8s.io/v1 conditions, KEP-1669 (terminating endpoints), KEP-2086 (internal
traffic policy), KEP-2433 and KEP-3015 (topology
hints, traffic distribution).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kube.api.core import Node
from kube.api.discovery import Endpoint as ApiEndpoint
from kube.api.discovery import EndpointPort, EndpointSlice
from worker.proxy.serviceports import Port, is_ipv4

_NOBODY: frozenset[str] = frozenset()
ZONE_LABEL = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True)
class OwnNode:
    """What of the own node decides about rules."""

    name: str
    zone: str = ""
    addresses: tuple[str, ...] = ()  # where node ports answer in the mode nftables


@dataclass(frozen=True, slots=True)
class Endpoint:
    ip: str
    port: int
    ready: bool
    serving: bool
    terminating: bool
    local: bool
    zones: frozenset[str] = frozenset()  # hints: who shall send here
    nodes: frozenset[str] = frozenset()

    @property
    def address(self) -> str:
        return f"{self.ip}:{self.port}"

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """Of two slices that name one address, the better state counts."""
        return self.ready, self.serving, self.local


@dataclass(frozen=True, slots=True)
class Reachable:
    """The endpoints behind the chains of one service port, in the order of their rules."""

    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    # Some node has a usable endpoint, if perhaps none that this node may use.
    exists: bool = False
    # All that still answer, wherever: what an old flow may go on to.
    serving: frozenset[str] = frozenset()

    def without_local(self, port: Port) -> tuple[bool, bool]:
        """Whether internal, and external, traffic may only go to this node and finds nobody."""
        nobody = self.exists and not self.local
        return (
            nobody and port.internal_local,
            nobody and port.externally_accessible and port.external_local,
        )


def endpoints_of(
    port: Port, slices: Iterable[EndpointSlice], node: OwnNode
) -> tuple[Endpoint, ...]:
    """The endpoints of a port over all slices of its service, sorted by address."""
    found: dict[str, Endpoint] = {}
    for endpoint in _endpoints(port, slices, node):
        known = found.get(endpoint.address)
        if known is None or known.rank < endpoint.rank:
            found[endpoint.address] = endpoint
    return tuple(found[address] for address in sorted(found))


def _endpoints(port: Port, slices: Iterable[EndpointSlice], node: OwnNode) -> Iterable[Endpoint]:
    for slice_ in slices:
        number = _port_number(port, slice_.ports)
        if slice_.address_type not in ("", "IPv4") or not number:
            continue
        for endpoint in slice_.endpoints:
            if endpoint.addresses and is_ipv4(endpoint.addresses[0]):
                yield _endpoint(endpoint, number, node)


def _port_number(port: Port, ports: Sequence[EndpointPort]) -> int:
    for candidate in ports:
        if candidate.name == port.port_name and (candidate.protocol or "TCP") == port.protocol:
            return candidate.port or 0
    return 0


def _endpoint(endpoint: ApiEndpoint, port: int, node: OwnNode) -> Endpoint:
    conditions, hints = endpoint.conditions, endpoint.hints
    # Unknown counts as ready, and what says nothing of serving serves while it is ready.
    ready = conditions is None or conditions.ready is not False
    serving = ready if conditions is None or conditions.serving is None else conditions.serving
    return Endpoint(
        ip=endpoint.addresses[0],  # consumers use the first one only (discovery/v1)
        port=port,
        ready=ready,
        serving=serving,
        terminating=conditions is not None and bool(conditions.terminating),
        local=bool(node.name) and endpoint.node_name == node.name,
        zones=_NOBODY if hints is None else frozenset(zone.name for zone in hints.for_zones),
        nodes=_NOBODY if hints is None else frozenset(node.name for node in hints.for_nodes),
    )


def reachable(port: Port, endpoints: Sequence[Endpoint], node: OwnNode) -> Reachable:
    """Choose by readiness, traffic policy and zone."""
    usable = _usable(endpoints)
    local = _usable([endpoint for endpoint in endpoints if endpoint.local])
    return Reachable(
        cluster=_preferred(usable, node) if port.uses_cluster_endpoints else (),
        local=local if port.uses_local_endpoints else (),
        exists=bool(usable),
        serving=frozenset(endpoint.ip for endpoint in endpoints if endpoint.serving),
    )


def _usable(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """The ready ones; when there are none, those that still serve while they terminate."""
    ready = tuple(e for e in endpoints if e.ready)
    return ready or tuple(e for e in endpoints if e.serving and e.terminating)


def _preferred(endpoints: tuple[Endpoint, ...], node: OwnNode) -> tuple[Endpoint, ...]:
    """Hints count only among ready endpoints, when every one has one and this node or zone gets at
    least one: the node's before the zone's."""
    if not all(e.ready for e in endpoints):
        return endpoints
    if all(e.nodes for e in endpoints):
        here = tuple(e for e in endpoints if node.name in e.nodes)
        if here:
            return here
    if node.zone and all(e.zones for e in endpoints):
        return tuple(e for e in endpoints if node.zone in e.zones) or endpoints
    return endpoints


def node_of(node: Node) -> OwnNode:
    # The primary address alone, which is what upstream's nodePortAddresses says by default.
    internal = (a.address for a in node.status.addresses if a.type == "InternalIP")
    return OwnNode(
        node.metadata.name,
        node.metadata.labels.get(ZONE_LABEL, ""),
        tuple(address for address in internal if is_ipv4(address))[:1],
    )
