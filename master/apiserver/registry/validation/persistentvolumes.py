"""Validation of PersistentVolumes and their claims (pkg/apis/core/validation). Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from kube.api.base import Quantity
from kube.api.core import (
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeSpec,
    VolumeResourceRequirements,
)
from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.metadata import dns_subdomain
from master.apiserver.registry.validation.quantities import (
    STORAGE,
    parsed,
    validate_quantity,
)
from master.apiserver.registry.validation.scheduling import validate_node_selector
from master.apiserver.registry.validation.selectors import validate_selector
from master.apiserver.registry.validation.template import unchanged
from master.apiserver.registry.validation.volumes import validate_host_path

Causes = list[StatusCause]
_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_ONE_POD = "ReadWriteOncePod"
_POLICIES = ("Delete", "Recycle", "Retain")
_VOLUME_MODES = ("Block", "Filesystem")
# Fields of a volume's spec that are no source.
_PLAIN = frozenset(
    (
        "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity",
        "persistentVolumeReclaimPolicy", "storageClassName", "volumeAttributesClassName",
        "volumeMode",
    )
)  # fmt: skip
_CLAIM_UPDATE = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for "
    "bound claims"
)


def validate_access_modes(modes: tuple[str, ...], path: str) -> Causes:
    causes: Causes = [
        field.not_supported(path, mode, _MODES) for mode in modes if mode not in _MODES
    ]
    if _ONE_POD in modes and len(set(modes)) > 1:
        text = f"may not use {_ONE_POD} with other access modes"
        causes.append(field.forbidden(path, text))
    return causes


def validate_volume(obj: PersistentVolume) -> Causes:
    return validate_volume_spec(obj.spec, "spec")


def validate_volume_spec(spec: PersistentVolumeSpec, path: str, *, inline: bool = False) -> Causes:
    """`inline`: in a VolumeAttachment, which says nothing of capacity, policy and class."""
    causes: Causes = []
    if not spec.access_modes:
        causes.append(field.required(f"{path}.accessModes"))
    causes += validate_access_modes(spec.access_modes, f"{path}.accessModes")
    if not inline:
        causes += _capacity(spec.capacity, f"{path}.capacity")
        policy = spec.persistent_volume_reclaim_policy
        if policy not in _POLICIES:
            here = f"{path}.persistentVolumeReclaimPolicy"
            causes.append(field.not_supported(here, policy, _POLICIES))
    if spec.node_affinity and spec.node_affinity.required:
        here = f"{path}.nodeAffinity.required"
        causes += validate_node_selector(spec.node_affinity.required, here)
    causes += _source(spec, path)
    causes += _classes(spec, path)
    return causes


def _capacity(capacity: dict[str, Quantity], path: str) -> Causes:
    if not capacity:
        return [field.required(path)]
    if set(capacity) != {STORAGE}:
        return [field.not_supported(path, capacity, (STORAGE,))]
    return validate_quantity(f"{path}[{STORAGE}]", capacity[STORAGE], positive=True)


def sources(spec: PersistentVolumeSpec) -> dict[str, Any]:
    """What the volume is made of, by the name of the field."""
    given: dict[str, Any] = msgspec.to_builtins(spec)
    return {name: value for name, value in given.items() if name not in _PLAIN}


def _source(spec: PersistentVolumeSpec, path: str) -> Causes:
    found = sources(spec)
    if not found:
        return [field.required(path, "must specify a volume type")]
    causes: Causes = [
        field.forbidden(f"{path}.{extra}", "may not specify more than 1 volume type")
        for extra in list(found)[1:]
    ]
    if spec.host_path:
        causes += validate_host_path(spec.host_path, f"{path}.hostPath")
        if spec.host_path.path == "/" and spec.persistent_volume_reclaim_policy == "Recycle":
            text = "may not be 'recycle' for a hostPath mount of '/'"
            causes.append(field.forbidden(f"{path}.persistentVolumeReclaimPolicy", text))
    if spec.local:
        if not spec.local.path:
            causes.append(field.required(f"{path}.local.path"))
        causes += formats.no_backsteps(f"{path}.local.path", spec.local.path)
        if spec.node_affinity is None or spec.node_affinity.required is None:
            text = "Local volume requires node affinity"
            causes.append(field.required(f"{path}.nodeAffinity", text))
    if spec.nfs:
        causes += _required(f"{path}.nfs", {"server": spec.nfs.server, "path": spec.nfs.path})
        if spec.nfs.path and not spec.nfs.path.startswith("/"):
            text = "must be an absolute path"
            causes.append(field.invalid(f"{path}.nfs.path", spec.nfs.path, text))
    if spec.csi:
        given = {"driver": spec.csi.driver, "volumeHandle": spec.csi.volume_handle}
        causes += _required(f"{path}.csi", given)
        if spec.csi.driver:
            causes += validate_driver_name(spec.csi.driver, f"{path}.csi.driver")
    return causes


def _required(path: str, values: dict[str, str]) -> Causes:
    return [field.required(f"{path}.{name}") for name, value in values.items() if not value]


def validate_driver_name(name: str, path: str) -> Causes:
    """The name of a CSI driver (ValidateCSIDriverName)."""
    if not name:
        return [field.required(path)]
    if len(name) > 63:
        return [field.too_long(path, 63)]
    why = dns_subdomain(name.lower())
    return [field.invalid(path, name, why)] if why else []


def _classes(spec: PersistentVolumeSpec | PersistentVolumeClaimSpec, path: str) -> Causes:
    causes: Causes = []
    for name, value in (
        ("storageClassName", spec.storage_class_name),
        ("volumeAttributesClassName", spec.volume_attributes_class_name),
    ):
        if value and (why := dns_subdomain(value)):
            causes.append(field.invalid(f"{path}.{name}", value, why))
    if spec.volume_mode and spec.volume_mode not in _VOLUME_MODES:
        here = f"{path}.volumeMode"
        causes.append(field.not_supported(here, spec.volume_mode, _VOLUME_MODES))
    return causes


def validate_volume_update(new: PersistentVolume, old: PersistentVolume) -> Causes:
    causes: Causes = []
    if sources(new.spec) != sources(old.spec):
        text = "spec.persistentvolumesource is immutable after creation"
        causes.append(field.forbidden("spec.persistentvolumesource", text))
    causes += unchanged("spec.volumeMode", new.spec.volume_mode, old.spec.volume_mode)
    if old.spec.node_affinity is not None:
        ours, theirs = new.spec.node_affinity, old.spec.node_affinity
        causes += unchanged("spec.nodeAffinity", ours, theirs)
    return causes


def validate_claim(obj: PersistentVolumeClaim) -> Causes:
    return validate_claim_spec(obj.spec, "spec")


def validate_claim_spec(spec: PersistentVolumeClaimSpec, path: str) -> Causes:
    causes: Causes = []
    if not spec.access_modes:
        causes.append(field.required(f"{path}.accessModes", "at least 1 access mode is required"))
    causes += validate_access_modes(spec.access_modes, f"{path}.accessModes")
    causes += validate_selector(spec.selector, f"{path}.selector")
    requests = spec.resources.requests if spec.resources else {}
    if STORAGE not in requests:
        causes.append(field.required(f"{path}.resources[{STORAGE}]"))
    else:
        here = f"{path}.resources[{STORAGE}]"
        causes += validate_quantity(here, requests[STORAGE], positive=True)
    source = spec.data_source
    if source is not None:
        given = {"name": source.name, "kind": source.kind}
        causes += _required(f"{path}.dataSource", given)
        if not source.api_group and source.kind != "PersistentVolumeClaim":
            text = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
            causes.append(field.invalid(f"{path}.dataSource", source.kind, text))
    return causes + _classes(spec, path)


def validate_claim_update(new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> Causes:
    bound = old.status.phase == "Bound"
    allowed = new.spec
    if not old.spec.volume_name:
        # The controller says which volume it is, once.
        allowed = replace(allowed, volume_name=old.spec.volume_name)
    if not old.spec.storage_class_name:
        # A default class may be given to a claim that came before it (KEP-3333).
        allowed = replace(allowed, storage_class_name=old.spec.storage_class_name)
    if bound:
        kept = old.spec.resources or VolumeResourceRequirements()
        resources = replace(allowed.resources or kept, requests=kept.requests)
        allowed = replace(
            allowed,
            resources=resources,
            volume_attributes_class_name=old.spec.volume_attributes_class_name,
        )
    if allowed != old.spec:
        return [field.forbidden("spec", _CLAIM_UPDATE)]
    return _size_update(new, old) if bound else []


def _size_update(new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> Causes:
    """A volume grows; and a growth that cannot be had may be taken back (KEP-1790)."""
    wanted, asked, has = (
        parsed(amounts.get(STORAGE, "0"))
        for amounts in (
            new.spec.resources.requests if new.spec.resources else {},
            old.spec.resources.requests if old.spec.resources else {},
            old.status.capacity,
        )
    )
    if wanted is None or asked is None or has is None or wanted >= asked or wanted > has:
        return []
    text = "field can not be less than status.capacity"
    return [field.forbidden("spec.resources.requests.storage", text)]
