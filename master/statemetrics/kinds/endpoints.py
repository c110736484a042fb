"""Endpoints, which EndpointSlices have replaced: served where --resources names them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.core import EndpointPort, Endpoints
from master.statemetrics.family import ONE, Family, Labels, Sample, StateKind
from master.statemetrics.metadata import created, identity


def _port(port: EndpointPort) -> Labels:
    return {
        "port_name": port.name,
        "port_protocol": port.protocol,
        "port_number": str(port.port or 0),
    }


def _ports(endpoints: Endpoints) -> Iterable[Sample]:
    for subset in endpoints.subsets:
        for port in subset.ports:
            yield _port(port), 1


def _addresses(endpoints: Endpoints) -> Iterable[Sample]:
    for subset in endpoints.subsets:
        for port in subset.ports:
            for ready, addresses in (
                ("true", subset.addresses),
                ("false", subset.not_ready_addresses),
            ):
                for address in addresses:
                    yield {"ip": address.ip, **_port(port), "ready": ready}, 1


KIND = StateKind(
    "endpoints",
    Endpoints,
    identity("endpoint"),
    (
        Family("kube_endpoint_info", "An Endpoints object.", lambda _: (ONE,)),
        created("kube_endpoint"),
        Family("kube_endpoint_ports", "Its ports.", _ports),
        Family("kube_endpoint_address", "Its addresses, by port.", _addresses),
    ),
    default=False,
)
