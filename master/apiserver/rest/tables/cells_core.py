"""The cells of Services, endpoints, ConfigMaps, Secrets and ServiceAccounts."""

from __future__ import annotations

from datetime import datetime

from kube.api.core import ConfigMap, Endpoints, Secret, Service, ServiceAccount, ServicePort
from kube.api.discovery import EndpointSlice
from master.apiserver.rest.tables.cell import NONE, age, labels, limited

Cells = list[str | int | None]


def service(obj: Service, now: datetime) -> Cells:
    spec = obj.spec
    return [
        obj.metadata.name,
        spec.type,
        spec.cluster_ip or NONE,
        _external(obj),
        ",".join(_port(port) for port in spec.ports) or NONE,
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


def _port(port: ServicePort) -> str:
    number = f"{port.port}:{port.node_port}" if port.node_port else f"{port.port}"
    return f"{number}/{port.protocol}"


def endpoints(obj: Endpoints, now: datetime) -> Cells:
    shown = [
        f"{address.ip}:{port.port}"
        for subset in obj.subsets
        for port in subset.ports
        for address in subset.addresses
    ]
    bare = [a.ip for subset in obj.subsets if not subset.ports for a in subset.addresses]
    return [
        obj.metadata.name, limited(shown + bare), age(obj.metadata.creation_timestamp, now)
    ]  # fmt: skip


def endpoint_slice(obj: EndpointSlice, now: datetime) -> Cells:
    return [
        obj.metadata.name,
        obj.address_type,
        limited(str(port.port) if port.port else "*" for port in obj.ports)
        if obj.ports
        else "<unset>",
        limited(a for endpoint in obj.endpoints for a in endpoint.addresses)
        if obj.endpoints
        else "<unset>",
        age(obj.metadata.creation_timestamp, now),
    ]


def config_map(obj: ConfigMap, now: datetime) -> Cells:
    count = len(obj.data) + len(obj.binary_data)
    return [obj.metadata.name, count, age(obj.metadata.creation_timestamp, now)]


def secret(obj: Secret, now: datetime) -> Cells:
    return [obj.metadata.name, obj.type, len(obj.data), age(obj.metadata.creation_timestamp, now)]


def service_account(obj: ServiceAccount, now: datetime) -> Cells:
    return [obj.metadata.name, len(obj.secrets), age(obj.metadata.creation_timestamp, now)]
