"""Endpoints. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.core import EndpointPort, Endpoints
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import age, limited
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind
from master.apiserver.registry.validation.endpoints import validate_endpoints


def default(obj: Endpoints) -> Endpoints:
    subsets = tuple(
        replace(subset, ports=tuple(_port(port) for port in subset.ports)) for subset in obj.subsets
    )
    return replace(obj, subsets=subsets)


def _port(port: EndpointPort) -> EndpointPort:
    return replace(port, protocol=port.protocol or "TCP")


def cells(obj: Endpoints, now: datetime) -> Cells:
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


KIND = Kind(
    resource=resource_for(Endpoints),
    columns=columns("Name Endpoints Age"),
    cells=cells,
    default=default,
    validate=validate_endpoints,
    stored_under="services/endpoints",
)
