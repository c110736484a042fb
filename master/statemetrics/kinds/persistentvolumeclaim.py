"""PersistentVolumeClaims. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.core import PersistentVolumeClaim
from kube.machinery.quantity import parse
from master.statemetrics.family import Family, Sample, StateKind, one_of, plain, statuses
from master.statemetrics.metadata import created, deleted, identity

_PHASES = ("Lost", "Bound", "Pending")
_CLASS = "volume.beta.kubernetes.io/storage-class"


def _info(claim: PersistentVolumeClaim) -> Iterable[Sample]:
    storage_class = claim.metadata.annotations.get(_CLASS) or claim.spec.storage_class_name
    labels = {
        "storageclass": storage_class,
        "volumename": claim.spec.volume_name,
        "volumemode": claim.spec.volume_mode,
    }
    return ((labels, 1),)


def _asked(claim: PersistentVolumeClaim) -> float | None:
    resources = claim.spec.resources
    quantity = resources.requests.get("storage") if resources else None
    return None if quantity is None else float(parse(quantity))


def _conditions(claim: PersistentVolumeClaim) -> Iterable[Sample]:
    for condition in claim.status.conditions:
        yield from statuses(condition.status, condition=condition.type)


KIND = StateKind(
    "persistentvolumeclaims",
    PersistentVolumeClaim,
    identity("persistentvolumeclaim"),
    (
        created("kube_persistentvolumeclaim"),
        deleted("kube_persistentvolumeclaim"),
        Family("kube_persistentvolumeclaim_info", "A claim.", _info),
        Family(
            "kube_persistentvolumeclaim_access_mode",
            "How it may be mounted.",
            lambda claim: [({"access_mode": mode}, 1) for mode in claim.spec.access_modes],
        ),
        plain(
            "kube_persistentvolumeclaim_resource_requests_storage_bytes",
            "What it asks for.",
            _asked,
        ),
        Family(
            "kube_persistentvolumeclaim_status_phase",
            "Its phase.",
            lambda claim: (
                one_of("phase", _PHASES, claim.status.phase) if claim.status.phase else ()
            ),
        ),
        Family(
            "kube_persistentvolumeclaim_status_condition", "The claim's conditions.", _conditions
        ),
    ),
)
