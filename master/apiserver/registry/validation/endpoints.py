"""Validation of Endpoints and EndpointSlices: each address becomes a rule of every node. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Protocol

from kube.api import discovery
from kube.api.core import EndpointAddress, Endpoints, EndpointSubset
from kube.api.discovery import Endpoint, EndpointSlice
from kube.api.meta import StatusCause
from kube.machinery.addresses import parsed_ip
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.metadata import dns_label, dns_subdomain, qualified_name

Causes = list[StatusCause]
MAX_ENDPOINTS, MAX_ADDRESSES, MAX_PORTS, MAX_HINTS = 1000, 100, 1000, 8
_TYPES = ("FQDN", "IPv4", "IPv6")
_PROTOCOLS = ("SCTP", "TCP", "UDP")


class Port(Protocol):
    """What the ports of both kinds have."""

    @property
    def app_protocol(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int | None: ...
    @property
    def protocol(self) -> str: ...


def validate_endpoints(obj: Endpoints) -> Causes:
    causes: Causes = []
    for index, subset in enumerate(obj.subsets):
        causes += _subset(subset, f"subsets[{index}]")
    return causes


def _subset(subset: EndpointSubset, path: str) -> Causes:
    causes: Causes = []
    if not subset.addresses and not subset.not_ready_addresses:
        causes.append(field.required(path, "must specify `addresses` or `notReadyAddresses`"))
    for name, addresses in (
        ("addresses", subset.addresses),
        ("notReadyAddresses", subset.not_ready_addresses),
    ):
        for index, address in enumerate(addresses):
            causes += _address(address, f"{path}.{name}[{index}]")
    for index, port in enumerate(subset.ports):
        here = f"{path}.ports[{index}]"
        if len(subset.ports) > 1 and not port.name:
            causes.append(field.required(f"{here}.name"))
        elif port.name and (why := dns_label(port.name)):
            causes.append(field.invalid(f"{here}.name", port.name, why))
        causes += formats.port(f"{here}.port", port.port)
        causes += _port(port, here)
    return causes


def _address(address: EndpointAddress, path: str) -> Causes:
    causes = formats.special_ip(f"{path}.ip", address.ip)
    if address.hostname and (why := dns_label(address.hostname)):
        causes.append(field.invalid(f"{path}.hostname", address.hostname, why))
    if address.node_name and (why := dns_subdomain(address.node_name)):
        causes.append(field.invalid(f"{path}.nodeName", address.node_name, why))
    return causes


def _port(port: Port, path: str) -> Causes:
    causes: Causes = []
    if port.protocol not in _PROTOCOLS:
        causes.append(field.not_supported(f"{path}.protocol", port.protocol, _PROTOCOLS))
    if port.app_protocol and (why := qualified_name(port.app_protocol)):
        causes.append(field.invalid(f"{path}.appProtocol", port.app_protocol, why))
    return causes


def validate_slice(obj: EndpointSlice) -> Causes:
    if obj.address_type not in _TYPES:
        return [
            field.not_supported("addressType", obj.address_type, _TYPES)
            if obj.address_type
            else field.required("addressType")
        ]
    if len(obj.endpoints) > MAX_ENDPOINTS:
        return [field.too_many("endpoints", len(obj.endpoints), MAX_ENDPOINTS)]
    if len(obj.ports) > MAX_PORTS:
        return [field.too_many("ports", len(obj.ports), MAX_PORTS)]
    causes: Causes = []
    for index, endpoint in enumerate(obj.endpoints):
        causes += _endpoint(endpoint, obj.address_type, f"endpoints[{index}]")
    return causes + _slice_ports(obj.ports)


def _endpoint(endpoint: Endpoint, type_: str, path: str) -> Causes:
    causes: Causes = []
    if not endpoint.addresses:
        text = "must contain at least 1 address"
        causes.append(field.required(f"{path}.addresses", text))
    if len(endpoint.addresses) > MAX_ADDRESSES:
        return [field.too_many(f"{path}.addresses", len(endpoint.addresses), MAX_ADDRESSES)]
    for index, address in enumerate(endpoint.addresses):
        causes += _slice_address(address, type_, f"{path}.addresses[{index}]")
    if endpoint.node_name and (why := dns_subdomain(endpoint.node_name)):
        causes.append(field.invalid(f"{path}.nodeName", endpoint.node_name, why))
    if endpoint.hostname and (why := dns_label(endpoint.hostname)):
        causes.append(field.invalid(f"{path}.hostname", endpoint.hostname, why))
    zones = endpoint.hints.for_zones if endpoint.hints else ()
    if len(zones) > MAX_HINTS:
        causes.append(field.too_many(f"{path}.hints.forZones", len(zones), MAX_HINTS))
    return causes


def _slice_address(address: str, type_: str, path: str) -> Causes:
    if type_ == "FQDN":
        why = dns_subdomain(address.rstrip("."))
        if why or "." not in address:
            text = why or "should be a domain with at least two segments separated by dots"
            return [field.invalid(path, address, text)]
        return []
    causes = formats.special_ip(path, address)
    found = parsed_ip(address)
    if found is not None and (isinstance(found, IPv4Address) is not (type_ == "IPv4")):
        text = formats.NOT_AN_IPV4 if type_ == "IPv4" else formats.NOT_AN_IPV6
        causes.append(field.invalid(path, address, text))
    return causes


def _slice_ports(ports: tuple[discovery.EndpointPort, ...]) -> Causes:
    causes: Causes = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        here = f"ports[{index}]"
        if port.name and (why := dns_label(port.name)):
            causes.append(field.invalid(f"{here}.name", port.name, why))
        if port.name in names:
            causes.append(field.duplicate(f"{here}.name", port.name))
        names.add(port.name)
        if port.port is not None:
            causes += formats.port(f"{here}.port", port.port)
        causes += _port(port, here)
    return causes
