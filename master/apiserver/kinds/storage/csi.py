"""What CSI drivers say of themselves: CSIDrivers, CSINodes, CSIStorageCapacities. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.storage import CSIDriver, CSINode, CSIStorageCapacity
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import UNSET, age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, spec_of
from master.apiserver.registry.validation.storage import (
    csi_name,
    validate_capacity,
    validate_capacity_update,
    validate_csi_node,
    validate_csi_node_update,
    validate_driver,
    validate_driver_update,
)


def default_driver(obj: CSIDriver) -> CSIDriver:
    spec = obj.spec
    spec = replace(
        spec,
        attach_required=True if spec.attach_required is None else spec.attach_required,
        pod_info_on_mount=spec.pod_info_on_mount or False,
        storage_capacity=spec.storage_capacity or False,
        requires_republish=spec.requires_republish or False,
        se_linux_mount=spec.se_linux_mount or False,
        fs_group_policy=spec.fs_group_policy or "ReadWriteOnceWithFSType",
        volume_lifecycle_modes=spec.volume_lifecycle_modes or ("Persistent",),
    )
    return replace(obj, spec=spec)


def driver_cells(obj: CSIDriver, now: datetime) -> Cells:
    spec = obj.spec
    return [
        obj.metadata.name,
        spec.attach_required or False,
        spec.pod_info_on_mount or False,
        spec.storage_capacity or False,
        ",".join(wanted.audience for wanted in spec.token_requests) or UNSET,
        spec.requires_republish or False,
        ",".join(spec.volume_lifecycle_modes),
        age(obj.metadata.creation_timestamp, now),
    ]


def node_cells(obj: CSINode, now: datetime) -> Cells:
    created = age(obj.metadata.creation_timestamp, now)
    return [obj.metadata.name, len(obj.spec.drivers), created]


def capacity_cells(obj: CSIStorageCapacity, _: datetime) -> Cells:
    capacity = UNSET if obj.capacity == "" else str(obj.capacity)
    return [obj.metadata.name, obj.storage_class_name, capacity]


DRIVER = Kind(
    resource=resource_for(CSIDriver),
    columns=columns(
        "Name AttachRequired PodInfoOnMount StorageCapacity TokenRequests RequiresRepublish "
        "Modes Age"
    ),
    cells=driver_cells,
    default=default_driver,
    check_name=csi_name,
    validate=validate_driver,
    validate_update=validate_driver_update,
    unconditional_update=False,
    counted=spec_of,
    answers_deleted=True,
)
NODE = Kind(
    resource=resource_for(CSINode),
    columns=columns("Name Drivers# Age"),
    cells=node_cells,
    validate=validate_csi_node,
    validate_update=validate_csi_node_update,
    unconditional_update=False,
    answers_deleted=True,
)
CAPACITY = Kind(
    resource=resource_for(CSIStorageCapacity),
    columns=columns("Name StorageClassName Capacity"),
    cells=capacity_cells,
    validate=validate_capacity,
    validate_update=validate_capacity_update,
    unconditional_update=False,
    answers_deleted=True,
)
