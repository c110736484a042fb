"""What a Service asks of the node, one value per port. Pure; no endpoint is known here."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from kube.api.core import Service, ServicePort

DEFAULT_AFFINITY_SECONDS = 10800  # core/v1 DefaultClientIPServiceAffinitySeconds: three hours
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
PROTOCOLS = frozenset({"TCP", "UDP", "SCTP"})


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a Service; empty means that the Service does not use the feature."""

    namespace: str
    service: str
    port_name: str
    protocol: str
    cluster_ip: str
    port: int
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    affinity_seconds: int = 0
    internal_local: bool = False
    external_local: bool = False
    health_check_node_port: int = 0

    @property
    def name(self) -> str:
        """`ns/name:port`, as in the rules' comments; `ns/name` for a port without a name."""
        base = f"{self.namespace}/{self.service}"
        return f"{base}:{self.port_name}" if self.port_name else base

    def allowing(self, node_ips: tuple[str, ...]) -> Port:
        """Some load balancers make their address one of the node's own. What the node sends there
        comes from that address, and is let in if the node is."""
        networks = [IPv4Network(network) for network in self.source_ranges]
        if any(IPv4Address(ip) in network for ip in node_ips for network in networks):
            own = tuple(f"{ip}/32" for ip in self.load_balancer_ips)
            return replace(self, source_ranges=self.source_ranges + own)
        return self

    @property
    def externally_accessible(self) -> bool:
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)

    @property
    def uses_cluster_endpoints(self) -> bool:
        """External traffic needs them even with the policy Local: pods and the node itself
        are led straight to the whole service."""
        return not self.internal_local or self.externally_accessible

    @property
    def uses_local_endpoints(self) -> bool:
        return self.internal_local or (self.external_local and self.externally_accessible)


def ports_of(service: Service) -> tuple[Port, ...]:
    """The service's IPv4 ports; () for what no proxy serves: headless, ExternalName, foreign."""
    spec = service.spec
    if spec.type == "ExternalName" or PROXY_NAME_LABEL in service.metadata.labels:
        return ()
    cluster_ip = _first_ipv4((spec.cluster_ip, *spec.cluster_ips))
    if not cluster_ip:
        return ()
    return tuple(_port(service, cluster_ip, port) for port in spec.ports if _usable(port))


def _port(service: Service, cluster_ip: str, port: ServicePort) -> Port:
    spec = service.spec
    return Port(
        namespace=service.metadata.namespace,
        service=service.metadata.name,
        port_name=port.name,
        protocol=port.protocol or "TCP",
        cluster_ip=cluster_ip,
        port=port.port or 0,
        node_port=port.node_port or 0,
        external_ips=tuple(ip for ip in spec.external_ips if is_ipv4(ip)),
        load_balancer_ips=_load_balancer_ips(service),
        source_ranges=_ranges(spec.load_balancer_source_ranges),
        affinity_seconds=_affinity_seconds(service),
        internal_local=spec.internal_traffic_policy == "Local",
        external_local=spec.external_traffic_policy == "Local",
        health_check_node_port=spec.health_check_node_port or 0,
    )


def _usable(port: ServicePort) -> bool:
    # One bad line fails the whole iptables-restore: what cannot be a rule never becomes one.
    return (port.protocol or "TCP") in PROTOCOLS and 0 < (port.port or 0) < 65536


def _affinity_seconds(service: Service) -> int:
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    if config is None or config.client_ip is None:
        return DEFAULT_AFFINITY_SECONDS
    return config.client_ip.timeout_seconds or DEFAULT_AFFINITY_SECONDS


def _load_balancer_ips(service: Service) -> tuple[str, ...]:
    status = service.status.load_balancer
    if status is None or service.spec.type != "LoadBalancer":
        return ()
    # ipMode Proxy means that the balancer wants its traffic to pass through it.
    return tuple(i.ip for i in status.ingress if is_ipv4(i.ip) and i.ip_mode != "Proxy")


def _ranges(ranges: tuple[str, ...]) -> tuple[str, ...]:
    networks = (_network(text.strip()) for text in ranges)
    return tuple(network for network in networks if network)


def _network(text: str) -> str:
    try:
        return str(IPv4Network(text, strict=False))
    except (AddressValueError, NetmaskValueError):
        return ""


_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")


def is_ipv4(text: str) -> bool:
    return _IPV4.fullmatch(text) is not None


def _first_ipv4(addresses: tuple[str, ...]) -> str:
    return next((ip for ip in addresses if is_ipv4(ip)), "")
