"""EndpointSlices. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.discovery import EndpointPort, EndpointSlice
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import age, limited
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Causes, Kind
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.endpoints import validate_slice


def default(obj: EndpointSlice) -> EndpointSlice:
    return replace(obj, ports=tuple(_port(port) for port in obj.ports))


def _port(port: EndpointPort) -> EndpointPort:
    return replace(port, protocol=port.protocol or "TCP")


def counted(obj: EndpointSlice) -> EndpointSlice:
    """The whole slice but its metadata is what it says."""
    return replace(obj, metadata=type(obj.metadata)())


def validate_update(new: EndpointSlice, old: EndpointSlice) -> Causes:
    if new.address_type == old.address_type:
        return []
    return [field.invalid("addressType", new.address_type, "field is immutable")]


def cells(obj: EndpointSlice, now: datetime) -> Cells:
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


KIND = Kind(
    resource=resource_for(EndpointSlice),
    columns=columns("Name AddressType Ports Endpoints Age"),
    cells=cells,
    default=default,
    validate=validate_slice,
    validate_update=validate_update,
    unconditional_update=False,
    counted=counted,
)
