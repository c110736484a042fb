"""PersistentVolumeClaims. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.core import (
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimStatus,
    TypedLocalObjectReference,
    TypedObjectReference,
)
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import UNSET, access_modes, age, storage_class
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.persistentvolumes import (
    validate_claim,
    validate_claim_update,
)

PENDING = PersistentVolumeClaimStatus(phase="Pending")


def on_create(obj: PersistentVolumeClaim) -> PersistentVolumeClaim:
    return replace(obj, status=PENDING)


def default(obj: PersistentVolumeClaim) -> PersistentVolumeClaim:
    status = replace(obj.status, phase=obj.status.phase or "Pending")
    return replace(obj, spec=default_claim_spec(obj.spec), status=status)


def default_claim_spec(spec: PersistentVolumeClaimSpec) -> PersistentVolumeClaimSpec:
    spec = replace(spec, volume_mode=spec.volume_mode or "Filesystem")
    source, wider = spec.data_source, spec.data_source_ref
    # The two say the same; the younger field also reaches other namespaces.
    if source and wider is None:
        wider = TypedObjectReference(api_group=source.api_group, kind=source.kind, name=source.name)
        return replace(spec, data_source_ref=wider)
    if wider and source is None and not wider.namespace:
        source = TypedLocalObjectReference(
            api_group=wider.api_group, kind=wider.kind, name=wider.name
        )
        return replace(spec, data_source=source)
    return spec


def cells(obj: PersistentVolumeClaim, now: datetime) -> Cells:
    spec, status = obj.spec, obj.status
    has_volume = bool(spec.volume_name)
    return [
        obj.metadata.name,
        "Terminating" if obj.metadata.deletion_timestamp else status.phase,
        spec.volume_name,
        str(status.capacity.get("storage", "")) if has_volume else "",
        access_modes(status.access_modes) if has_volume else "",
        storage_class(obj),
        spec.volume_attributes_class_name or UNSET,
        age(obj.metadata.creation_timestamp, now),
        spec.volume_mode or UNSET,
    ]


KIND = Kind(
    resource=resource_for(PersistentVolumeClaim),
    columns=columns(
        "Name Status Volume Capacity Access_Modes StorageClass VolumeAttributesClass Age "
        "VolumeMode+"
    ),
    cells=cells,
    default=default,
    on_create=on_create,
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_claim,
    validate_update=validate_claim_update,
    answers_deleted=True,
    subresources=(STATUS,),
)
