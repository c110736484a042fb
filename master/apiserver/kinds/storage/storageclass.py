"""StorageClasses (pkg/apis/storage/v1/defaults.go). Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.storage import StorageClass
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind
from master.apiserver.registry.validation.storage import (
    validate_storage_class,
    validate_storage_class_update,
)

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_BETA = "storageclass.beta.kubernetes.io/is-default-class"


def default(obj: StorageClass) -> StorageClass:
    return replace(
        obj,
        reclaim_policy=obj.reclaim_policy or "Delete",
        volume_binding_mode=obj.volume_binding_mode or "Immediate",
    )


def is_default(obj: StorageClass) -> bool:
    said = obj.metadata.annotations
    return "true" in (said.get(DEFAULT_CLASS), said.get(_BETA))


def cells(obj: StorageClass, now: datetime) -> Cells:
    name = obj.metadata.name
    return [
        f"{name} (default)" if is_default(obj) else name,
        obj.provisioner,
        obj.reclaim_policy,
        obj.volume_binding_mode,
        obj.allow_volume_expansion or False,
        age(obj.metadata.creation_timestamp, now),
    ]


KIND = Kind(
    resource=resource_for(StorageClass),
    columns=columns("Name Provisioner ReclaimPolicy VolumeBindingMode AllowVolumeExpansion Age"),
    cells=cells,
    default=default,
    validate=validate_storage_class,
    validate_update=validate_storage_class_update,
    answers_deleted=True,
)
