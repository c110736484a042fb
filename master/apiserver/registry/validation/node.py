"""Nodes: taints, pod ranges, amounts, addresses, and what never changes (ValidateNode and kin)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from msgspec.structs import replace

from kube.api.base import Quantity
from kube.api.core import Node, NodeAddress, Taint
from kube.api.meta import StatusCause
from kube.machinery import quantity
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.metadata import label_value, qualified_name

Causes = list[StatusCause]
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
# Resources that upstream counts in whole numbers; so are all with a domain, and hugepages.
_WHOLE = frozenset({"pods"})
_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage", "storage", "pods"})
_CIDR_TEXT = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_FROM_EMPTY = 'node updates may not change {} except from "" to valid'
_ALLOWED = (
    "node updates may only change labels, taints, or capacity (or configSource, if the "
    "DynamicKubeletConfig feature gate is enabled)"
)


def validate_node(node: Node) -> Causes:
    causes = _taints(node.spec.taints) + _pod_cidrs(node.spec.pod_cidrs)
    for name, amounts in (
        ("capacity", node.status.capacity),
        ("allocatable", node.status.allocatable),
    ):
        causes += _amounts(amounts, f"status.{name}")
    return causes + _addresses(node.status.addresses)


def validate_node_update(new: Node, old: Node) -> Causes:
    causes: Causes = []
    if old.spec.pod_cidrs and new.spec.pod_cidrs != old.spec.pod_cidrs:
        causes.append(field.forbidden("spec.podCIDRs", _FROM_EMPTY.format("podCIDR")))
    if old.spec.provider_id and new.spec.provider_id != old.spec.provider_id:
        causes.append(field.forbidden("spec.providerID", _FROM_EMPTY.format("providerID")))
    free = replace(
        new.spec,
        pod_cidr=old.spec.pod_cidr,
        pod_cidrs=old.spec.pod_cidrs,
        provider_id=old.spec.provider_id,
        taints=old.spec.taints,
        unschedulable=old.spec.unschedulable,
        config_source=old.spec.config_source,
    )
    if free != old.spec:
        causes.append(field.forbidden("spec", _ALLOWED))
    return causes


def _taints(taints: tuple[Taint, ...]) -> Causes:
    causes: Causes = []
    seen = set()
    for index, taint in enumerate(taints):
        path = f"spec.taints[{index}]"
        if why := qualified_name(taint.key):
            causes.append(field.invalid(f"{path}.key", taint.key, why))
        if why := label_value(taint.value):
            causes.append(field.invalid(f"{path}.value", taint.value, why))
        if not taint.effect:
            causes.append(field.required(f"{path}.effect"))
        elif taint.effect not in EFFECTS:
            causes.append(field.not_supported(f"{path}.effect", taint.effect, EFFECTS))
        if (taint.key, taint.effect) in seen:
            causes.append(field.duplicate(path, {"key": taint.key, "effect": taint.effect}))
        seen.add((taint.key, taint.effect))
    return causes


def _pod_cidrs(cidrs: tuple[str, ...]) -> Causes:
    causes: Causes = []
    versions = []
    for index, text in enumerate(cidrs):
        version = _cidr_version(text)
        versions.append(version)
        if not version:
            causes.append(field.invalid(f"spec.podCIDRs[{index}]", text, _CIDR_TEXT))
    if not causes and len(versions) != len(set(versions)):
        text = "may specify no more than one CIDR for each IP family"
        causes.append(field.invalid("spec.podCIDRs", list(cidrs), text))
    return causes


def _cidr_version(text: str) -> int:
    """4 or 6; 0 for what is no range. Go's ParseCIDR wants the mask, as a number, and takes an
    address with host bits."""
    address, slash, bits = text.partition("/")
    if not slash or not bits.isascii() or not bits.isdecimal() or "%" in text:
        return 0
    try:
        return ipaddress.ip_network(f"{address}/{bits}", strict=False).version
    except ValueError:
        return 0


def _amounts(amounts: Mapping[str, Quantity], path: str) -> Causes:
    causes: Causes = []
    for name, value in amounts.items():
        here = f"{path}.{name}"
        if why := qualified_name(name):
            causes.append(field.invalid(here, name, why))
        elif "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
            text = "must be a standard resource type or fully qualified"
            causes.append(field.invalid(here, name, text))
        try:
            number = quantity.parse(value)
        except ValueError as error:
            causes.append(field.invalid(here, value, str(error)))
            continue
        if number < 0:
            causes.append(field.invalid(here, str(value), "must be greater than or equal to 0"))
        counted = "/" in name or name in _WHOLE or name.startswith("hugepages-")
        if counted and number != number.to_integral_value():
            causes.append(field.invalid(here, str(value), "must be an integer"))
    return causes


def _addresses(addresses: tuple[NodeAddress, ...]) -> Causes:
    causes: Causes = []
    seen = set()
    for index, address in enumerate(addresses):
        if address in seen:
            shown = {"type": address.type, "address": address.address}
            causes.append(field.duplicate(f"status.addresses[{index}]", shown))
        seen.add(address)
    return causes
