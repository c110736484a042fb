"""The EndpointSlices that a Service should have, from its pods. Pure.

Endpoints that stay keep their slice, so that a change of one pod rewrites one slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from kube.api.core import Container, ObjectReference, Pod, Service, ServicePort
from kube.api.discovery import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForNode,
    ForZone,
)
from kube.api.meta import ObjectMeta
from kube.machinery.addresses import may_be_endpoint
from kube.machinery.ports import named_port
from master.controllers.machinery.ownership import controller_ref
from master.controllers.machinery.pods import is_deleting, is_finished, is_ready

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
ZONE = "topology.kubernetes.io/zone"
MAX_ENDPOINTS = 100

Ports = tuple[EndpointPort, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    create: tuple[EndpointSlice, ...] = ()
    update: tuple[EndpointSlice, ...] = ()
    delete: tuple[EndpointSlice, ...] = ()


@dataclass(slots=True)
class _Group:
    """The endpoints that share a set of ports, and the slices that carry them."""

    wanted: dict[str, Endpoint] = field(default_factory=dict)
    slices: list[EndpointSlice] = field(default_factory=list)


def plan(
    service: Service,
    pods: Iterable[Pod],
    zones: Mapping[str, str],
    existing: Sequence[EndpointSlice],
    trigger: str,
) -> Plan:
    """`zones` maps node names to zones; `trigger` stamps what changes."""
    groups: dict[Ports, _Group] = {}
    for pod in pods:
        if serves(pod):
            ports = pod_ports(service, pod)
            group = groups.setdefault(ports, _Group())
            group.wanted[pod.metadata.uid] = endpoint_of(service, pod, zones)
    delete: list[EndpointSlice] = []
    for old in existing:
        if old.address_type != "IPv4" or (old.ports not in groups and groups):
            delete.append(old)
        else:
            groups.setdefault(old.ports, _Group()).slices.append(old)
    if not groups:
        # An empty slice tells every proxy that the service exists and has nobody.
        groups[()] = _Group()
    create: list[EndpointSlice] = []
    update: list[EndpointSlice] = []
    for ports, group in groups.items():
        _fill(service, ports, group, trigger, create, update, delete)
    return Plan(tuple(create), tuple(update), tuple(delete))


def _fill(
    service: Service,
    ports: Ports,
    group: _Group,
    trigger: str,
    create: list[EndpointSlice],
    update: list[EndpointSlice],
    delete: list[EndpointSlice],
) -> None:
    left = dict(group.wanted)
    kept = [(old, _keep(old, left)) for old in group.slices]
    for _, endpoints in kept:
        while left and len(endpoints) < MAX_ENDPOINTS:
            endpoints.append(left.pop(next(iter(left))))
    survivors = 0
    for old, endpoints in kept:
        if not endpoints and (group.wanted or survivors):
            delete.append(old)
            continue
        survivors += 1
        fresh = _rewritten(service, old, tuple(endpoints))
        if fresh != old:
            update.append(_stamped(fresh, trigger))
    rest = list(left.values())
    for start in range(0, len(rest), MAX_ENDPOINTS):
        chunk = tuple(rest[start : start + MAX_ENDPOINTS])
        create.append(_stamped(new_slice(service, ports, chunk), trigger))
    if not survivors and not rest:
        create.append(_stamped(new_slice(service, ports, ()), trigger))


def _keep(old: EndpointSlice, left: dict[str, Endpoint]) -> list[Endpoint]:
    """The old slice's endpoints that are still wanted, as they are now; taken from `left`."""
    uids = [e.target_ref.uid for e in old.endpoints if e.target_ref is not None]
    return [left.pop(uid) for uid in uids if uid in left]


def _rewritten(
    service: Service, old: EndpointSlice, endpoints: tuple[Endpoint, ...]
) -> EndpointSlice:
    meta = msgspec.structs.replace(old.metadata, labels=slice_labels(service))
    return msgspec.structs.replace(old, endpoints=endpoints, metadata=meta)


def _stamped(item: EndpointSlice, trigger: str) -> EndpointSlice:
    annotations = item.metadata.annotations | {TRIGGER_TIME: trigger}
    meta = msgspec.structs.replace(item.metadata, annotations=annotations)
    return msgspec.structs.replace(item, metadata=meta)


def new_slice(service: Service, ports: Ports, endpoints: tuple[Endpoint, ...]) -> EndpointSlice:
    return EndpointSlice(
        address_type="IPv4",
        endpoints=endpoints,
        ports=ports,
        metadata=ObjectMeta(
            generate_name=f"{service.metadata.name}-",
            namespace=service.metadata.namespace,
            labels=slice_labels(service),
            owner_references=(controller_ref(service),),
        ),
    )


def slice_labels(service: Service) -> dict[str, str]:
    """The service's own labels, and those by which proxies find the slice."""
    labels = {k: v for k, v in service.metadata.labels.items() if k != HEADLESS}
    if service.spec.cluster_ip == "None":
        labels[HEADLESS] = ""
    return labels | {SERVICE_NAME: service.metadata.name, MANAGED_BY: CONTROLLER}


def serves(pod: Pod) -> bool:
    """Has an address and may still answer on it."""
    # A node may say of its pod what it likes: an address that no slice may have is left out, or
    # the service would get no slice at all.
    return bool(pod.spec.node_name) and not is_finished(pod) and may_be_endpoint(pod.status.pod_ip)


def pod_ports(service: Service, pod: Pod) -> Ports:
    """The service's ports as numbers of this pod; a name that the pod lacks leaves it out."""
    found = []
    for port in service.spec.ports:
        number = resolve_port(port, pod)
        if number is not None:
            found.append(
                EndpointPort(
                    name=port.name,
                    port=number,
                    protocol=port.protocol or "TCP",
                    app_protocol=port.app_protocol,
                )
            )
    return tuple(found)


def resolve_port(port: ServicePort, pod: Pod) -> int | None:
    target = port.target_port
    if target is None or target in (0, ""):
        return port.port
    if isinstance(target, int):
        return target
    containers = (*pod.spec.containers, *_sidecars(pod))
    return named_port(containers, target, port.protocol or "TCP")


def _sidecars(pod: Pod) -> list[Container]:
    return [c for c in pod.spec.init_containers if c.restart_policy == "Always"]


def hints_of(service: Service, node: str, zone: str) -> EndpointHints | None:
    """Who shall send to an endpoint, by the service's trafficDistribution (KEP-3015)."""
    match service.spec.traffic_distribution:
        case "PreferClose" | "PreferSameZone" if zone:
            return EndpointHints(for_zones=(ForZone(name=zone),))
        case "PreferSameNode":
            # Nodes that have no endpoint of their own fall back on their zone.
            zones = (ForZone(name=zone),) if zone else ()
            return EndpointHints(for_nodes=(ForNode(name=node),), for_zones=zones)
    return None


def endpoint_of(service: Service, pod: Pod, zones: Mapping[str, str]) -> Endpoint:
    serving, terminating = is_ready(pod), is_deleting(pod)
    ready = bool(service.spec.publish_not_ready_addresses) or (serving and not terminating)
    meta = pod.metadata
    zone = zones.get(pod.spec.node_name, "")
    in_domain = pod.spec.subdomain == service.metadata.name
    return Endpoint(
        addresses=(pod.status.pod_ip,),
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hostname=pod.spec.hostname if pod.spec.hostname and in_domain else "",
        node_name=pod.spec.node_name,
        zone=zone,
        hints=hints_of(service, pod.spec.node_name, zone) if ready else None,
        target_ref=ObjectReference(
            kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid
        ),
    )
