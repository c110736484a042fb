"""NetworkPolicies (pkg/apis/networking/v1/defaults.go). Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.meta import LabelSelector
from kube.api.networking import NetworkPolicy, NetworkPolicyPort
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import age, selector
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, spec_of
from master.apiserver.registry.validation.networkpolicy import validate_network_policy

Ports = tuple[NetworkPolicyPort, ...]


def default(obj: NetworkPolicy) -> NetworkPolicy:
    spec = obj.spec
    both = ("Ingress", "Egress") if spec.egress else ("Ingress",)
    spec = replace(
        spec,
        policy_types=spec.policy_types or both,
        ingress=tuple(replace(rule, ports=_ports(rule.ports)) for rule in spec.ingress),
        egress=tuple(replace(rule, ports=_ports(rule.ports)) for rule in spec.egress),
    )
    return replace(obj, spec=spec)


def _ports(ports: Ports) -> Ports:
    return tuple(replace(port, protocol=port.protocol or "TCP") for port in ports)


def cells(obj: NetworkPolicy, now: datetime) -> Cells:
    shown = selector(obj.spec.pod_selector or LabelSelector())
    return [obj.metadata.name, shown, age(obj.metadata.creation_timestamp, now)]


KIND = Kind(
    resource=resource_for(NetworkPolicy),
    columns=columns("Name Pod-Selector Age"),
    cells=cells,
    default=default,
    validate=validate_network_policy,
    counted=spec_of,
)
