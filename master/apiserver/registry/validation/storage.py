"""Validation of the group storage.k8s.io (pkg/apis/storage/validation). Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.meta import StatusCause
from kube.api.storage import (
    CSIDriver,
    CSINode,
    CSINodeDriver,
    CSIStorageCapacity,
    StorageClass,
    VolumeAttachment,
    VolumeAttributesClass,
)
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.metadata import dns_subdomain, qualified_name
from master.apiserver.registry.validation.persistentvolumes import (
    validate_driver_name,
    validate_volume_spec,
)
from master.apiserver.registry.validation.quantities import validate_quantity
from master.apiserver.registry.validation.selectors import validate_selector
from master.apiserver.registry.validation.template import unchanged

Causes = list[StatusCause]
MAX_PARAMETERS, MAX_PARAMETERS_BYTES = 512, 256 * 1024
MAX_NODE_ID, MIN_TOKEN_SECONDS, MAX_TOKEN_SECONDS = 192, 600, 1 << 32
_RECLAIM = ("Delete", "Retain")
_BINDING = ("Immediate", "WaitForFirstConsumer")
_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
_LIFECYCLES = ("Ephemeral", "Persistent")


def validate_storage_class(obj: StorageClass) -> Causes:
    causes: Causes = []
    if not obj.provisioner:
        causes.append(field.required("provisioner"))
    elif why := qualified_name(obj.provisioner.lower()):
        causes.append(field.invalid("provisioner", obj.provisioner, why))
    causes += _parameters(obj.parameters)
    if obj.reclaim_policy not in _RECLAIM:
        causes.append(field.not_supported("reclaimPolicy", obj.reclaim_policy, _RECLAIM))
    if not obj.volume_binding_mode:
        causes.append(field.required("volumeBindingMode"))
    elif obj.volume_binding_mode not in _BINDING:
        wrong = obj.volume_binding_mode
        causes.append(field.not_supported("volumeBindingMode", wrong, _BINDING))
    for index, term in enumerate(obj.allowed_topologies):
        path = f"allowedTopologies[{index}].matchLabelExpressions"
        for number, wanted in enumerate(term.match_label_expressions):
            here = f"{path}[{number}]"
            if why := qualified_name(wanted.key):
                causes.append(field.invalid(f"{here}.key", wanted.key, why))
            if not wanted.values:
                causes.append(field.required(f"{here}.values"))
            causes += _distinct(wanted.values, f"{here}.values")
    return causes


def _distinct(values: Iterable[str], path: str) -> Causes:
    causes: Causes = []
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            causes.append(field.duplicate(f"{path}[{index}]", value))
        seen.add(value)
    return causes


def _parameters(parameters: dict[str, str]) -> Causes:
    if len(parameters) > MAX_PARAMETERS:
        return [field.too_long("parameters", MAX_PARAMETERS)]
    causes = [
        field.invalid("parameters", key, "field can not be empty.") for key in parameters if not key
    ]
    if sum(len(key) + len(value) for key, value in parameters.items()) > MAX_PARAMETERS_BYTES:
        causes.append(field.too_long("parameters", MAX_PARAMETERS_BYTES))
    return causes


def _fixed(path: str, new: object, old: object) -> Causes:
    return [] if new == old else [field.forbidden(path, f"updates to {path} are forbidden.")]


def validate_storage_class_update(new: StorageClass, old: StorageClass) -> Causes:
    causes = _fixed("parameters", new.parameters, old.parameters)
    causes += _fixed("provisioner", new.provisioner, old.provisioner)
    causes += _fixed("reclaimPolicy", new.reclaim_policy, old.reclaim_policy)
    return causes + unchanged("volumeBindingMode", new.volume_binding_mode, old.volume_binding_mode)


def validate_attachment(obj: VolumeAttachment) -> Causes:
    spec = obj.spec
    causes = validate_driver_name(spec.attacher, "spec.attacher")
    if why := dns_subdomain(spec.node_name):
        causes.append(field.invalid("spec.nodeName", spec.node_name, why))
    inline = spec.source.inline_volume_spec if spec.source else None
    name = spec.source.persistent_volume_name if spec.source else ""
    path = "spec.source"
    if inline is None and not name:
        text = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        causes.append(field.required(path, text))
    elif inline is not None and name:
        text = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        causes.append(field.forbidden(path, text))
    elif inline is not None:
        causes += validate_volume_spec(inline, f"{path}.inlineVolumeSpec", inline=True)
    elif why := dns_subdomain(name):
        causes.append(field.invalid(f"{path}.persistentVolumeName", name, why))
    return causes


def validate_attachment_update(new: VolumeAttachment, old: VolumeAttachment) -> Causes:
    return unchanged("spec", new.spec, old.spec)


def csi_name(name: str) -> str | None:
    """The name of a CSIDriver is that of the driver."""
    if len(name) > 63:
        return "must be no more than 63 characters"
    return dns_subdomain(name.lower())


def validate_driver(obj: CSIDriver) -> Causes:
    spec = obj.spec
    causes: Causes = []
    if spec.fs_group_policy not in _GROUP_POLICIES:
        path, wrong = "spec.fsGroupPolicy", spec.fs_group_policy
        causes.append(field.not_supported(path, wrong, _GROUP_POLICIES))
    seen: set[str] = set()
    for index, wanted in enumerate(spec.token_requests):
        path = f"spec.tokenRequests[{index}]"
        if wanted.audience in seen:
            causes.append(field.duplicate(f"{path}.audience", wanted.audience))
        seen.add(wanted.audience)
        seconds, here = wanted.expiration_seconds, f"{path}.expirationSeconds"
        if seconds is not None and seconds < MIN_TOKEN_SECONDS:
            text = "may not specify a duration less than 10 minutes"
            causes.append(field.invalid(here, seconds, text))
        elif seconds is not None and seconds > MAX_TOKEN_SECONDS:
            text = "may not specify a duration larger than 2^32 seconds"
            causes.append(field.invalid(here, seconds, text))
    return causes + [
        field.not_supported("spec.volumeLifecycleModes", mode, _LIFECYCLES)
        for mode in spec.volume_lifecycle_modes
        if mode not in _LIFECYCLES
    ]


def validate_driver_update(new: CSIDriver, old: CSIDriver) -> Causes:
    causes = unchanged("spec.attachRequired", new.spec.attach_required, old.spec.attach_required)
    ours, theirs = new.spec.volume_lifecycle_modes, old.spec.volume_lifecycle_modes
    return causes + unchanged("spec.volumeLifecycleModes", ours, theirs)


def validate_csi_node(obj: CSINode) -> Causes:
    causes: Causes = []
    seen: set[str] = set()
    for index, driver in enumerate(obj.spec.drivers):
        path = f"spec.drivers[{index}]"
        causes += _node_driver(driver, path)
        if driver.name in seen:
            causes.append(field.duplicate(f"{path}.name", driver.name))
        seen.add(driver.name)
    return causes


def _node_driver(driver: CSINodeDriver, path: str) -> Causes:
    causes = validate_driver_name(driver.name, f"{path}.name")
    if not driver.node_id:
        causes.append(field.required(f"{path}.nodeID"))
    elif len(driver.node_id) > MAX_NODE_ID:
        text = f"must be {MAX_NODE_ID} characters or less"
        causes.append(field.invalid(f"{path}.nodeID", driver.node_id, text))
    if driver.allocatable:
        causes += formats.at_least(f"{path}.allocatable.count", driver.allocatable.count, 0)
    for index, key in enumerate(driver.topology_keys):
        here = f"{path}.topologyKeys[{index}]"
        if not key:
            causes.append(field.required(here))
        elif why := qualified_name(key):
            causes.append(field.invalid(here, key, why))
    return causes + _distinct(driver.topology_keys, f"{path}.topologyKeys")


def validate_csi_node_update(new: CSINode, old: CSINode) -> Causes:
    """A driver may come and go; while it is there it stays as it is."""
    before = {driver.name: driver for driver in old.spec.drivers}
    causes: Causes = []
    for index, driver in enumerate(new.spec.drivers):
        was = before.get(driver.name, driver)
        causes += unchanged(f"spec.drivers[{index}]", driver, was)
    return causes


def validate_capacity(obj: CSIStorageCapacity) -> Causes:
    causes: Causes = []
    if not obj.storage_class_name:
        causes.append(field.required("storageClassName"))
    elif why := dns_subdomain(obj.storage_class_name):
        causes.append(field.invalid("storageClassName", obj.storage_class_name, why))
    causes += validate_selector(obj.node_topology, "nodeTopology")
    for name, value in (
        ("capacity", obj.capacity),
        ("maximumVolumeSize", obj.maximum_volume_size),
    ):
        if value != "":
            causes += validate_quantity(name, value)
    return causes


def validate_capacity_update(new: CSIStorageCapacity, old: CSIStorageCapacity) -> Causes:
    causes = unchanged("nodeTopology", new.node_topology, old.node_topology)
    return causes + unchanged("storageClassName", new.storage_class_name, old.storage_class_name)


def validate_attributes(obj: VolumeAttributesClass) -> Causes:
    causes: Causes = []
    if not obj.driver_name:
        causes.append(field.required("driverName"))
    else:
        causes += validate_driver_name(obj.driver_name, "driverName")
    return causes + _parameters(obj.parameters)


def validate_attributes_update(new: VolumeAttributesClass, old: VolumeAttributesClass) -> Causes:
    causes = _fixed("driverName", new.driver_name, old.driver_name)
    return causes + _fixed("parameters", new.parameters, old.parameters)
