"""EndpointSlices. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.discovery import Endpoint, EndpointConditions, EndpointSlice
from master.statemetrics.family import Family, Labels, Sample, StateKind
from master.statemetrics.metadata import created, identity


def _ports(slice_: EndpointSlice) -> Iterable[Sample]:
    for port in slice_.ports:
        number = "" if port.port is None else str(port.port)
        labels = {"port_name": port.name, "port_protocol": port.protocol, "port_number": number}
        yield labels, 1


def _endpoint(endpoint: Endpoint) -> Labels:
    conditions = endpoint.conditions or EndpointConditions()
    target = endpoint.target_ref
    return {
        **{
            name: "" if value is None else str(value).lower()
            for name, value in (
                ("ready", conditions.ready),
                ("serving", conditions.serving),
                ("terminating", conditions.terminating),
            )
        },
        "hostname": endpoint.hostname,
        "targetref_kind": target.kind if target else "",
        "targetref_name": target.name if target else "",
        "targetref_namespace": target.namespace if target else "",
        "endpoint_nodename": endpoint.node_name,
        "endpoint_zone": endpoint.zone,
    }


def _endpoints(slice_: EndpointSlice) -> Iterable[Sample]:
    for endpoint in slice_.endpoints:
        labels = _endpoint(endpoint)
        for address in endpoint.addresses:
            yield {"address": address, **labels}, 1


def _hints(slice_: EndpointSlice) -> Iterable[Sample]:
    for endpoint in slice_.endpoints:
        zones = endpoint.hints.for_zones if endpoint.hints else ()
        for zone in zones if endpoint.addresses else ():
            yield {"address": endpoint.addresses[0], "for_zone": zone.name}, 1


KIND = StateKind(
    "endpointslices",
    EndpointSlice,
    identity("endpointslice"),
    (
        Family(
            "kube_endpointslice_info",
            "An EndpointSlice.",
            lambda slice_: (({"addresstype": slice_.address_type}, 1),),
        ),
        created("kube_endpointslice"),
        Family("kube_endpointslice_ports", "Its ports.", _ports),
        Family("kube_endpointslice_endpoints", "Its endpoints, by address.", _endpoints),
        Family("kube_endpointslice_endpoints_hints", "Zones that should use it.", _hints),
    ),
)
