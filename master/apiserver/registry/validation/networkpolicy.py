"""Validation of NetworkPolicies and of service ranges (pkg/apis/networking/validation). Pure."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

from kube.api.meta import StatusCause
from kube.api.networking import (
    IPAddress,
    IPBlock,
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    ServiceCIDR,
)
from kube.machinery.addresses import parsed_ip
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.selectors import validate_selector
from master.apiserver.registry.validation.template import unchanged

Causes = list[StatusCause]
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_TYPES = ("Ingress", "Egress")
Network = IPv4Network | IPv6Network


def validate_network_policy(obj: NetworkPolicy) -> Causes:
    spec = obj.spec
    causes = validate_selector(spec.pod_selector, "spec.podSelector")
    for index, rule in enumerate(spec.ingress):
        causes += _rule(rule.ports, rule.from_, f"spec.ingress[{index}]", "from")
    for index, out in enumerate(spec.egress):
        causes += _rule(out.ports, out.to, f"spec.egress[{index}]", "to")
    if len(spec.policy_types) > len(_TYPES):
        text = "may not specify more than two policyTypes"
        return [*causes, field.invalid("spec.policyTypes", list(spec.policy_types), text)]
    return causes + [
        field.not_supported(f"spec.policyTypes[{index}]", type_, _TYPES)
        for index, type_ in enumerate(spec.policy_types)
        if type_ not in _TYPES
    ]


def _rule(
    ports: tuple[NetworkPolicyPort, ...],
    peers: tuple[NetworkPolicyPeer, ...],
    path: str,
    side: str,
) -> Causes:
    causes: Causes = []
    for index, port in enumerate(ports):
        causes += _port(port, f"{path}.ports[{index}]")
    for index, peer in enumerate(peers):
        causes += _peer(peer, f"{path}.{side}[{index}]")
    return causes


def _port(port: NetworkPolicyPort, path: str) -> Causes:
    causes: Causes = []
    if port.protocol and port.protocol not in _PROTOCOLS:
        causes.append(field.not_supported(f"{path}.protocol", port.protocol, _PROTOCOLS))
    if port.port is not None:
        causes += formats.port(f"{path}.port", port.port)
    end = port.end_port
    if end is None:
        return causes
    here = f"{path}.endPort"
    if port.port is None:
        text = "may not be specified when `port` is not specified"
        return [*causes, field.invalid(here, end, text)]
    if isinstance(port.port, str):
        text = "may not be specified when `port` is non-numeric"
        return [*causes, field.invalid(here, end, text)]
    if end < port.port:
        text = "must be greater than or equal to `port`"
        return [*causes, field.invalid(here, port.port, text)]
    return causes + formats.port(here, end)


def _peer(peer: NetworkPolicyPeer, path: str) -> Causes:
    selectors = [s for s in (peer.pod_selector, peer.namespace_selector) if s is not None]
    if not selectors and peer.ip_block is None:
        return [field.required(path, "must specify a peer")]
    causes = validate_selector(peer.pod_selector, f"{path}.podSelector")
    causes += validate_selector(peer.namespace_selector, f"{path}.namespaceSelector")
    if peer.ip_block:
        causes += _block(peer.ip_block, f"{path}.ipBlock")
        if selectors:
            text = "may not specify both ipBlock and another peer"
            causes.append(field.forbidden(path, text))
    return causes


def _network(text: str) -> Network | None:
    try:
        return ip_network(text, strict=False) if "/" in text and "%" not in text else None
    except ValueError:
        return None


def _block(block: IPBlock, path: str) -> Causes:
    if not block.cidr:
        return [field.required(f"{path}.cidr")]
    whole = _network(block.cidr)
    if whole is None:
        return formats.cidr(f"{path}.cidr", block.cidr)
    causes: Causes = []
    for index, text in enumerate(block.except_):
        here, part = f"{path}.except[{index}]", _network(text)
        if part is None:
            causes += formats.cidr(here, text)
        elif not _strictly_within(part, whole):
            causes.append(field.invalid(here, text, "must be a strict subset of `cidr`"))
    return causes


def _strictly_within(part: Network, whole: Network) -> bool:
    if part.version != whole.version or part.prefixlen <= whole.prefixlen:
        return False
    return part.network_address in whole


def validate_service_cidr(obj: ServiceCIDR) -> Causes:
    cidrs, path = obj.spec.cidrs, "spec.cidrs"
    if not cidrs:
        return [field.required(path, "at least one CIDR required")]
    if len(cidrs) > 2:
        return [field.invalid(path, list(cidrs), "may only hold up to 2 values")]
    causes: Causes = []
    for index, text in enumerate(cidrs):
        causes += _canonical(text, f"{path}[{index}]")
    versions = [network.version for network in map(_network, cidrs) if network]
    if len(set(versions)) < len(versions):
        text = (
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and "
            "2001:db8::/64"
        )
        causes.append(field.invalid(path, list(cidrs), text))
    return causes


def _canonical(text: str, path: str) -> Causes:
    found = _network(text)
    if found is None:
        return formats.cidr(path, text)
    if str(found) != text:
        return [field.invalid(path, text, f'must be in canonical form ("{found}")')]
    return []


def validate_service_cidr_update(new: ServiceCIDR, old: ServiceCIDR) -> Causes:
    """A range stays; a second family may be added."""
    kept = new.spec.cidrs[: len(old.spec.cidrs)]
    if len(old.spec.cidrs) == 1 and kept == old.spec.cidrs:
        return []
    return unchanged("spec.cidrs", new.spec.cidrs, old.spec.cidrs)


def validate_ip_address(obj: IPAddress) -> Causes:
    ref, path = obj.spec.parent_ref, "spec.parentRef"
    if ref is None:
        return [field.required(path)]
    return [
        field.required(f"{path}.{name}")
        for name, value in (("resource", ref.resource), ("name", ref.name))
        if not value
    ]


def ip_name(name: str) -> str | None:
    """An IPAddress is called what it is, in the one way to write it."""
    found = parsed_ip(name)
    if found is None:
        return formats.NOT_AN_IP
    return None if str(found) == name else f'must be in canonical form ("{found}")'
