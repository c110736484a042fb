"""Services: defaults; what they own is in `service_claims.py`. Pure."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from kube.api.core import (
    ClientIPConfig,
    LoadBalancerStatus,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    SessionAffinityConfig,
)
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import NONE, age, labels
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.core.service_claims import CLAIMS, EXTERNAL_TYPES
from master.apiserver.kinds.fields import Fields, Part
from master.apiserver.kinds.kind import Kind, keep_spec
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.metadata import dns_1035
from master.apiserver.registry.validation.service import (
    validate_service,
    validate_service_status,
    validate_service_update,
)

AFFINITY_SECONDS = 10800


def on_create(obj: Service) -> Service:
    return replace(obj, status=ServiceStatus(load_balancer=LoadBalancerStatus()))


def default(obj: Service) -> Service:
    return replace(obj, spec=default_service_spec(obj.spec))


def on_update(new: Service, old: Service) -> Service:
    new = replace(new, status=old.status)
    return replace(new, spec=carry_over_allocations(new.spec, old.spec))


def default_service_spec(spec: ServiceSpec) -> ServiceSpec:
    type_ = spec.type or "ClusterIP"
    has_ip = type_ != "ExternalName"
    affinity = spec.session_affinity or "None"
    return replace(
        spec,
        type=type_,
        session_affinity=affinity,
        session_affinity_config=_affinity(affinity, spec.session_affinity_config),
        internal_traffic_policy=spec.internal_traffic_policy or ("Cluster" if has_ip else ""),
        external_traffic_policy=spec.external_traffic_policy
        or ("Cluster" if type_ in EXTERNAL_TYPES else ""),
        ip_families=spec.ip_families or (("IPv4",) if has_ip else ()),
        ip_family_policy=spec.ip_family_policy or ("SingleStack" if has_ip else ""),
        allocate_load_balancer_node_ports=(
            True
            if type_ == "LoadBalancer" and spec.allocate_load_balancer_node_ports is None
            else spec.allocate_load_balancer_node_ports
        ),
        ports=tuple(_port(port) for port in spec.ports),
    )


def _affinity(affinity: str, config: SessionAffinityConfig | None) -> SessionAffinityConfig | None:
    if affinity != "ClientIP":
        return config
    if config and config.client_ip and config.client_ip.timeout_seconds is not None:
        return config
    return SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=AFFINITY_SECONDS))


def _port(port: ServicePort) -> ServicePort:
    target = port.port if port.target_port in (None, "", 0) else port.target_port
    return replace(port, protocol=port.protocol or "TCP", target_port=target)


def carry_over_allocations(new: ServiceSpec, old: ServiceSpec) -> ServiceSpec:
    """An update that leaves out the cluster IP or node ports keeps the old ones, while its type
    still has them."""
    if new.type != "ExternalName" and old.type != "ExternalName" and not new.cluster_ip:
        new = replace(new, cluster_ip=old.cluster_ip, cluster_ips=old.cluster_ips)
    if new.type not in EXTERNAL_TYPES:
        # What was allocated for the old type goes; fields that the user sets are checked.
        had = {port.node_port for port in old.ports}
        kept = tuple(replace(p, node_port=None) if p.node_port in had else p for p in new.ports)
        return replace(new, ports=kept)
    if old.type not in EXTERNAL_TYPES:
        return new
    known = {(port.protocol, port.port): port.node_port for port in old.ports}
    taken = {port.node_port for port in new.ports}
    ports = []
    for port in new.ports:
        former = known.get((port.protocol, port.port))
        ports.append(
            replace(port, node_port=former) if not port.node_port and former not in taken else port
        )
    return replace(new, ports=tuple(ports))


class _ServiceSpec(Struct, rename="camel", frozen=True):
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    type: str = ""


class _Service(Part, rename="camel", frozen=True):
    spec: _ServiceSpec = _ServiceSpec()


def selectable(service: _Service) -> dict[str, str]:
    return {"spec.clusterIP": service.spec.cluster_ip, "spec.type": service.spec.type}


def cells(obj: Service, now: datetime) -> Cells:
    spec = obj.spec
    return [
        obj.metadata.name,
        spec.type,
        spec.cluster_ip or NONE,
        _external(obj),
        ",".join(_shown(port) for port in spec.ports) or NONE,
        age(obj.metadata.creation_timestamp, now),
        labels(spec.selector),
    ]


def _external(obj: Service) -> str:
    spec = obj.spec
    if spec.type == "ExternalName":
        return spec.external_name
    given = list(spec.external_ips)
    if spec.type == "LoadBalancer":
        balancer = obj.status.load_balancer
        given = [i.ip or i.hostname for i in balancer.ingress] + given if balancer else given
        return ",".join(given) or "<pending>"
    return ",".join(given) or NONE


def _shown(port: ServicePort) -> str:
    number = f"{port.port}:{port.node_port}" if port.node_port else f"{port.port}"
    return f"{number}/{port.protocol}"


KIND = Kind(
    resource=resource_for(Service),
    columns=columns("Name Type Cluster-IP External-IP Port(s) Age Selector+"),
    cells=cells,
    fields=Fields(_Service, selectable),
    default=default,
    on_create=on_create,
    on_update=on_update,
    on_status=keep_spec,
    check_name=dns_1035,
    validate=validate_service,
    validate_update=validate_service_update,
    validate_status=validate_service_status,
    answers_deleted=True,
    stored_under="services/specs",
    claims=CLAIMS,
    subresources=(STATUS,),
)
