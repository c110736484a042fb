"""The cells of Nodes, Namespaces, Events and Leases."""

from __future__ import annotations

from datetime import datetime

from kube.api.coordination import Lease
from kube.api.core import Event, EventSource, Namespace, Node, NodeSystemInfo, ObjectReference
from master.apiserver.rest.tables.cell import NONE, UNKNOWN, age, human_duration, parse_time

Cells = list[str | int | None]
_ROLE = "node-role.kubernetes.io/"


def node(obj: Node, now: datetime) -> Cells:
    info = obj.status.node_info or NodeSystemInfo()
    addresses = {address.type: address.address for address in obj.status.addresses}
    return [
        obj.metadata.name,
        _node_status(obj),
        _roles(obj),
        age(obj.metadata.creation_timestamp, now),
        info.kubelet_version,
        addresses.get("InternalIP", NONE),
        addresses.get("ExternalIP", NONE),
        info.os_image or UNKNOWN,
        info.kernel_version or UNKNOWN,
        info.container_runtime_version or UNKNOWN,
    ]


def _node_status(obj: Node) -> str:
    ready = {c.type: c.status for c in obj.status.conditions}.get("Ready")
    status = "Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"
    return f"{status},SchedulingDisabled" if obj.spec.unschedulable else status


def _roles(obj: Node) -> str:
    roles = {key.removeprefix(_ROLE) for key in obj.metadata.labels if key.startswith(_ROLE)}
    if legacy := obj.metadata.labels.get("kubernetes.io/role"):
        roles.add(legacy)
    return ",".join(sorted(filter(None, roles))) or NONE


def namespace(obj: Namespace, now: datetime) -> Cells:
    return [obj.metadata.name, obj.status.phase, age(obj.metadata.creation_timestamp, now)]


def lease(obj: Lease, now: datetime) -> Cells:
    created = age(obj.metadata.creation_timestamp, now)
    return [obj.metadata.name, obj.spec.holder_identity, created]


def event(obj: Event, now: datetime) -> Cells:
    involved = obj.involved_object or ObjectReference()
    source = obj.source or EventSource()
    target = f"{involved.kind.lower()}/{involved.name}" if involved.name else involved.kind.lower()
    first = obj.first_timestamp or obj.event_time
    count = obj.series.count if obj.series else obj.count
    last = obj.series.last_observed_time if obj.series else obj.last_timestamp
    where = [source.component or obj.reporting_component, source.host or obj.reporting_instance]
    return [
        _interval(last or first, first, count or 1, now),
        obj.type,
        obj.reason,
        target,
        involved.field_path,
        ", ".join(filter(None, where)),
        obj.message.strip(),
        _interval(first, first, 1, now),
        count or 1,
        obj.metadata.name,
    ]


def _interval(last: str, first: str, count: int, now: datetime) -> str:
    """`12s (x4 over 5m)` for events that were seen again."""
    when, since = parse_time(last), parse_time(first)
    if when is None:
        return UNKNOWN
    shown = human_duration((now - when).total_seconds())
    if count > 1 and since is not None:
        return f"{shown} (x{count} over {human_duration((now - since).total_seconds())})"
    return shown
