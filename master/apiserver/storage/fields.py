"""The selectable fields of each kind (upstream: each strategy's `SelectableFields`).

Reading them decodes only the part of the object that they lie in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from kube.machinery.scheme import Resource


class _Meta(Struct, rename="camel", frozen=True):
    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}


class _Plain(Struct, rename="camel", frozen=True):
    metadata: _Meta = _Meta()


class _PodSpec(Struct, rename="camel", frozen=True):
    node_name: str = ""
    scheduler_name: str = ""
    restart_policy: str = ""
    service_account_name: str = ""
    host_network: bool = False


class _PodStatus(Struct, rename="camel", frozen=True):
    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    nominated_node_name: str = ""


class _Pod(_Plain, rename="camel", frozen=True):
    spec: _PodSpec = _PodSpec()
    status: _PodStatus = _PodStatus()


class _NodeSpec(Struct, rename="camel", frozen=True):
    unschedulable: bool = False


class _Node(_Plain, rename="camel", frozen=True):
    spec: _NodeSpec = _NodeSpec()


class _Phase(Struct, rename="camel", frozen=True):
    phase: str = ""


class _Namespace(_Plain, rename="camel", frozen=True):
    status: _Phase = _Phase()


class _ServiceSpec(Struct, rename="camel", frozen=True):
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    type: str = ""


class _Service(_Plain, rename="camel", frozen=True):
    spec: _ServiceSpec = _ServiceSpec()


class _Replicas(Struct, rename="camel", frozen=True):
    replicas: int = 0


class _ReplicaSet(_Plain, rename="camel", frozen=True):
    status: _Replicas = _Replicas()


class _Secret(_Plain, rename="camel", frozen=True):
    type: str = ""


class _Involved(Struct, rename="camel", frozen=True):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""
    field_path: str = ""


class _Source(Struct, rename="camel", frozen=True):
    component: str = ""


class _Event(_Plain, rename="camel", frozen=True):
    involved_object: _Involved = _Involved()
    reason: str = ""
    reporting_component: str = ""
    source: _Source = _Source()
    type: str = ""


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _pod(pod: Any) -> dict[str, str]:
    return {
        "spec.nodeName": pod.spec.node_name,
        "spec.restartPolicy": pod.spec.restart_policy,
        "spec.schedulerName": pod.spec.scheduler_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "spec.hostNetwork": _bool(pod.spec.host_network),
        "status.phase": pod.status.phase,
        "status.podIP": pod.status.pod_ip,
        "status.nominatedNodeName": pod.status.nominated_node_name,
    }


def _event(event: Any) -> dict[str, str]:
    involved = event.involved_object
    return {
        "involvedObject.kind": involved.kind,
        "involvedObject.namespace": involved.namespace,
        "involvedObject.name": involved.name,
        "involvedObject.uid": involved.uid,
        "involvedObject.apiVersion": involved.api_version,
        "involvedObject.resourceVersion": involved.resource_version,
        "involvedObject.fieldPath": involved.field_path,
        "reason": event.reason,
        "reportingComponent": event.reporting_component,
        "source": event.source.component or event.reporting_component,
        "type": event.type,
    }


_Extract = Callable[[Any], dict[str, str]]
_KINDS: dict[str, tuple[type[_Plain], _Extract]] = {
    "Pod": (_Pod, _pod),
    "Event": (_Event, _event),
    "Node": (_Node, lambda node: {"spec.unschedulable": _bool(node.spec.unschedulable)}),
    "Namespace": (_Namespace, lambda ns: {"status.phase": ns.status.phase}),
    "Service": (
        _Service,
        lambda svc: {"spec.clusterIP": svc.spec.cluster_ip, "spec.type": svc.spec.type},
    ),
    "ReplicaSet": (_ReplicaSet, lambda rs: {"status.replicas": str(rs.status.replicas)}),
    "Secret": (_Secret, lambda secret: {"type": secret.type}),
}
_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(type_) for kind, (type_, _) in _KINDS.items()
}
_plain = msgspec.json.Decoder(_Plain)


@dataclass(frozen=True, slots=True)
class Selectable:
    labels: Mapping[str, str]
    fields: Mapping[str, str]


def selectable(resource: Resource, data: bytes) -> Selectable:
    """What label and field selectors see of an object."""
    seen = _decoders.get(resource.kind, _plain).decode(data)
    fields = {"metadata.name": seen.metadata.name}
    if resource.namespaced:
        fields["metadata.namespace"] = seen.metadata.namespace
    if resource.kind in _KINDS:
        fields |= _KINDS[resource.kind][1](seen)
    return Selectable(seen.metadata.labels, fields)


def supported_fields(resource: Resource) -> frozenset[str]:
    """The field labels that a selector may name."""
    return frozenset(selectable(resource, b"{}").fields)
