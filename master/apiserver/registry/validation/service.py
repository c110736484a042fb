"""Validation of Services (pkg/apis/core/validation: ValidateService)."""

from __future__ import annotations

from kube.api.core import Service, ServicePort, ServiceSpec
from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.balancer import validate_address
from master.apiserver.registry.validation.metadata import (
    dns_label,
    dns_subdomain,
    qualified_name,
    validate_labels,
)

Causes = list[StatusCause]
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("Cluster", "Local")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("SingleStack", "PreferDualStack", "RequireDualStack")
_IP_MODES = ("VIP", "Proxy")
MAX_AFFINITY_SECONDS = 86400


def validate_service(service: Service) -> Causes:
    spec = service.spec
    causes: Causes = []
    if spec.type not in _TYPES:
        return [field.not_supported("spec.type", spec.type, _TYPES)]
    if spec.type == "ExternalName":
        if not spec.external_name:
            causes.append(field.required("spec.externalName"))
        elif why := dns_subdomain(spec.external_name.rstrip(".").lower()):
            causes.append(field.invalid("spec.externalName", spec.external_name, why))
        if spec.cluster_ip:
            causes.append(
                field.forbidden("spec.clusterIPs", "may not be set for ExternalName services")
            )
    else:
        causes += _cluster_ip(service)
        if not spec.ports and spec.cluster_ip != "None":
            causes.append(field.required("spec.ports"))
    causes += _ports(spec.ports, spec.type)
    causes += validate_labels(spec.selector, "spec.selector")
    causes += _addresses(spec)
    causes += _affinity(service)
    for name, policy in (
        ("internalTrafficPolicy", spec.internal_traffic_policy),
        ("externalTrafficPolicy", spec.external_traffic_policy),
    ):
        if policy and policy not in _POLICIES:
            causes.append(field.not_supported(f"spec.{name}", policy, _POLICIES))
    return causes


def _addresses(spec: ServiceSpec) -> Causes:
    """All addresses but the first cluster IP; each becomes a rule of every node."""
    causes: Causes = []
    for index, address in enumerate(spec.cluster_ips[1:], 1):
        causes += formats.ip(f"spec.clusterIPs[{index}]", address)
    for index, address in enumerate(spec.external_ips):
        causes += formats.special_ip(f"spec.externalIPs[{index}]", address)
    if spec.load_balancer_ip:
        causes += formats.ip("spec.loadBalancerIP", spec.load_balancer_ip)
    for index, source in enumerate(spec.load_balancer_source_ranges):
        causes += formats.cidr(f"spec.loadBalancerSourceRanges[{index}]", source)
    for index, family in enumerate(spec.ip_families):
        if family not in _FAMILIES:
            causes.append(field.not_supported(f"spec.ipFamilies[{index}]", family, _FAMILIES))
    if spec.ip_family_policy and spec.ip_family_policy not in _FAMILY_POLICIES:
        wrong = spec.ip_family_policy
        causes.append(field.not_supported("spec.ipFamilyPolicy", wrong, _FAMILY_POLICIES))
    if spec.health_check_node_port:
        causes += formats.port("spec.healthCheckNodePort", spec.health_check_node_port)
    return causes


def validate_service_status(service: Service) -> Causes:
    causes: Causes = []
    balancer = service.status.load_balancer
    for index, ingress in enumerate(balancer.ingress if balancer else ()):
        path = f"status.loadBalancer.ingress[{index}]"
        causes += validate_address(ingress, path)
        if ingress.ip_mode and ingress.ip_mode not in _IP_MODES:
            causes.append(field.not_supported(f"{path}.ipMode", ingress.ip_mode, _IP_MODES))
    return causes


def _cluster_ip(service: Service) -> Causes:
    spec = service.spec
    if spec.cluster_ip == "None":
        if spec.type in ("NodePort", "LoadBalancer"):
            text = "may not be set to 'None' for " + spec.type + " services"
            return [field.invalid("spec.clusterIPs[0]", "None", text)]
        return []
    if not spec.cluster_ip:
        return []
    if wrong := formats.ip("spec.clusterIPs[0]", spec.cluster_ip):
        return wrong
    if spec.cluster_ips and spec.cluster_ips[0] != spec.cluster_ip:
        return [
            field.invalid(
                "spec.clusterIPs", list(spec.cluster_ips), "first value must match `clusterIP`"
            )
        ]
    return []


def _ports(ports: tuple[ServicePort, ...], type_: str) -> Causes:
    causes: Causes = []
    names: set[str] = set()
    pairs: set[tuple[str, int | None]] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        if not port.name and len(ports) > 1:
            causes.append(field.required(f"{path}.name"))
        elif port.name and (why := dns_label(port.name)):
            causes.append(field.invalid(f"{path}.name", port.name, why))
        elif port.name and port.name in names:
            causes.append(field.duplicate(f"{path}.name", port.name))
        names.add(port.name)
        causes += formats.port(f"{path}.port", port.port)
        causes += formats.port(f"{path}.targetPort", port.target_port)
        if port.app_protocol and (why := qualified_name(port.app_protocol)):
            causes.append(field.invalid(f"{path}.appProtocol", port.app_protocol, why))
        if port.protocol not in _PROTOCOLS:
            causes.append(field.not_supported(f"{path}.protocol", port.protocol, _PROTOCOLS))
        if (port.protocol, port.port) in pairs:
            shown = {"port": port.port, "protocol": port.protocol}
            causes.append(field.duplicate(path, shown))
        pairs.add((port.protocol, port.port))
        if port.node_port and type_ not in ("NodePort", "LoadBalancer"):
            causes.append(
                field.forbidden(f"{path}.nodePort", "may not be used when `type` is 'ClusterIP'")
            )
    return causes


def _affinity(service: Service) -> Causes:
    spec = service.spec
    if spec.session_affinity not in ("ClientIP", "None"):
        return [
            field.not_supported("spec.sessionAffinity", spec.session_affinity, ("ClientIP", "None"))
        ]
    config = spec.session_affinity_config
    if spec.session_affinity == "None" or config is None or config.client_ip is None:
        return []
    seconds = config.client_ip.timeout_seconds
    if seconds is not None and 1 <= seconds <= MAX_AFFINITY_SECONDS:
        return []
    return [
        field.invalid(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            seconds,
            f"must be greater than 0 and less than {MAX_AFFINITY_SECONDS}",
        )
    ]


def validate_service_update(new: Service, old: Service) -> Causes:
    """A cluster IP, once given, stays; only a change from or to ExternalName frees it."""
    if "ExternalName" in (new.spec.type, old.spec.type) or not old.spec.cluster_ip:
        return []
    if new.spec.cluster_ip == old.spec.cluster_ip:
        return []
    return [
        field.invalid("spec.clusterIPs[0]", list(new.spec.cluster_ips), "may not change once set")
    ]
