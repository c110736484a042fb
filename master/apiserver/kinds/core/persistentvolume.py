"""PersistentVolumes. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.core import PersistentVolume, PersistentVolumeStatus
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import UNSET, access_modes, age, storage_class
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.persistentvolumes import (
    validate_volume,
    validate_volume_update,
)


def on_create(obj: PersistentVolume) -> PersistentVolume:
    since = obj.metadata.creation_timestamp
    status = PersistentVolumeStatus(phase="Pending", last_phase_transition_time=since)
    return replace(obj, status=status)


def default(obj: PersistentVolume) -> PersistentVolume:
    spec = replace(
        obj.spec,
        persistent_volume_reclaim_policy=obj.spec.persistent_volume_reclaim_policy or "Retain",
        volume_mode=obj.spec.volume_mode or "Filesystem",
    )
    return replace(obj, spec=spec)


def cells(obj: PersistentVolume, now: datetime) -> Cells:
    spec, claim = obj.spec, obj.spec.claim_ref
    going = bool(obj.metadata.deletion_timestamp)
    return [
        obj.metadata.name,
        str(spec.capacity.get("storage", "")),
        access_modes(spec.access_modes),
        spec.persistent_volume_reclaim_policy,
        "Terminating" if going else obj.status.phase,
        f"{claim.namespace}/{claim.name}" if claim else "",
        storage_class(obj),
        spec.volume_attributes_class_name or UNSET,
        obj.status.reason,
        age(obj.metadata.creation_timestamp, now),
        spec.volume_mode or UNSET,
    ]


KIND = Kind(
    resource=resource_for(PersistentVolume),
    columns=columns(
        "Name Capacity Access_Modes Reclaim_Policy Status Claim StorageClass "
        "VolumeAttributesClass Reason Age VolumeMode+"
    ),
    cells=cells,
    default=default,
    on_create=on_create,
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_volume,
    validate_update=validate_volume_update,
    answers_deleted=True,
    subresources=(STATUS,),
)
