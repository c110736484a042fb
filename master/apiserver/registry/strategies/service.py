"""Services: defaults, and which cluster IPs and node ports one owns."""

from __future__ import annotations

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
from master.apiserver.registry.strategy import Causes, StatusStrategy
from master.apiserver.registry.validation.metadata import dns_1035
from master.apiserver.registry.validation.service import (
    validate_service,
    validate_service_status,
    validate_service_update,
)

AFFINITY_SECONDS = 10800
EXTERNAL_TYPES = ("NodePort", "LoadBalancer")


class ServiceStrategy(StatusStrategy[Service]):
    returns_deleted = True

    def check_name(self, name: str) -> str | None:
        return dns_1035(name)

    def prepare_create(self, obj: Service) -> Service:
        return replace(obj, status=ServiceStatus(load_balancer=LoadBalancerStatus()))

    def default(self, obj: Service) -> Service:
        return replace(obj, spec=default_service_spec(obj.spec))

    def prepare_update(self, new: Service, old: Service) -> Service:
        new = replace(new, status=old.status)
        return replace(new, spec=carry_over_allocations(new.spec, old.spec))

    def validate(self, obj: Service) -> Causes:
        return validate_service(obj)

    def validate_status(self, obj: Service) -> Causes:
        return validate_service_status(obj)

    def validate_update(self, new: Service, old: Service) -> Causes:
        return validate_service_update(new, old)


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
        # What was allocated for the old type goes; what the user sets now is his error.
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
