"""PersistentVolumes. Where each keeps its data is not repeated here. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.core import PersistentVolume
from kube.machinery.quantity import parse
from master.statemetrics.family import Family, Sample, StateKind, one_of, plain
from master.statemetrics.metadata import created, deleted, identity

_PHASES = ("Pending", "Available", "Bound", "Released", "Failed")


def _info(volume: PersistentVolume) -> Iterable[Sample]:
    spec = volume.spec
    labels = {
        "storageclass": spec.storage_class_name,
        "reclaim_policy": spec.persistent_volume_reclaim_policy,
        "csi_driver": spec.csi.driver if spec.csi else "",
        "nfs_server": spec.nfs.server if spec.nfs else "",
        "nfs_path": spec.nfs.path if spec.nfs else "",
        "local_path": spec.local.path if spec.local else "",
        "host_path": spec.host_path.path if spec.host_path else "",
    }
    return ((labels, 1),)


def _claim(volume: PersistentVolume) -> Iterable[Sample]:
    claim = volume.spec.claim_ref
    return (({"claim_namespace": claim.namespace, "name": claim.name}, 1),) if claim else ()


def _capacity(volume: PersistentVolume) -> float | None:
    quantity = volume.spec.capacity.get("storage")
    return None if quantity is None else float(parse(quantity))


KIND = StateKind(
    "persistentvolumes",
    PersistentVolume,
    identity("persistentvolume", namespaced=False),
    (
        created("kube_persistentvolume"),
        deleted("kube_persistentvolume"),
        Family("kube_persistentvolume_info", "A volume.", _info),
        Family("kube_persistentvolume_claim_ref", "Who has it.", _claim),
        Family(
            "kube_persistentvolume_access_mode",
            "How it may be mounted.",
            lambda volume: [({"access_mode": mode}, 1) for mode in volume.spec.access_modes],
        ),
        Family(
            "kube_persistentvolume_volume_mode",
            "A file system or a block device.",
            lambda volume: (({"volumemode": volume.spec.volume_mode or "Filesystem"}, 1),),
        ),
        plain("kube_persistentvolume_capacity_bytes", "Its size.", _capacity),
        Family(
            "kube_persistentvolume_status_phase",
            "Its phase.",
            lambda volume: (
                one_of("phase", _PHASES, volume.status.phase) if volume.status.phase else ()
            ),
        ),
    ),
)
