"""Which ReplicaSet belongs to which template of a Deployment: hashes, revisions, names. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kube.api.apps import Deployment, ReplicaSet, ReplicaSetSpec
from kube.api.core import PodTemplateSpec
from kube.api.meta import LabelSelector, ObjectMeta
from master.controllers.machinery.ownership import controller_ref

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
# Annotations of a Deployment that speak of itself and are not handed down.
_OWN_ANNOTATIONS = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
}
# apimachinery's rand.SafeEncodeString alphabet: no vowels, so no accidental words.
_SAFE = "bcdfghjklmnpqrstvwxz2456789"


def template_hash(template: PodTemplateSpec, collisions: int) -> str:
    """A short name for a template: FNV-1a 32 of its JSON, in a safe alphabet."""
    data = msgspec.json.encode(template) + (str(collisions).encode() if collisions else b"")
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(_SAFE[ord(digit) % len(_SAFE)] for digit in str(value))


def same_template(one: PodTemplateSpec, other: PodTemplateSpec) -> bool:
    """Equal but for the hash label."""
    return _without_hash(one) == _without_hash(other)


def _without_hash(template: PodTemplateSpec) -> PodTemplateSpec:
    labels = {k: v for k, v in template.metadata.labels.items() if k != HASH_LABEL}
    return _with_labels(template, labels)


def _with_labels(template: PodTemplateSpec, labels: dict[str, str]) -> PodTemplateSpec:
    meta = msgspec.structs.replace(template.metadata, labels=labels)
    return msgspec.structs.replace(template, metadata=meta)


def oldest_first(replicasets: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    return sorted(replicasets, key=lambda rs: (rs.metadata.creation_timestamp, rs.metadata.name))


def find_new(deployment: Deployment, replicasets: Sequence[ReplicaSet]) -> ReplicaSet | None:
    """The ReplicaSet of the current template: the oldest, should there be several."""
    for rs in oldest_first(replicasets):
        if same_template(rs.spec.template, deployment.spec.template):
            return rs
    return None


def revision_of(rs: ReplicaSet | Deployment) -> int:
    try:
        return int(rs.metadata.annotations.get(REVISION, "0"))
    except ValueError:
        return 0


def next_revision(olds: Sequence[ReplicaSet]) -> int:
    return max((revision_of(rs) for rs in olds), default=0) + 1


def new_replicaset(
    deployment: Deployment, replicas: int, revision: int, max_replicas: int
) -> ReplicaSet:
    """The ReplicaSet of the current template. Its name is a function of the template, so
    that creating it twice cannot make two."""
    meta, spec = deployment.metadata, deployment.spec
    digest = template_hash(spec.template, deployment.status.collision_count or 0)
    labels = spec.template.metadata.labels | {HASH_LABEL: digest}
    selector = spec.selector or LabelSelector()
    matching = msgspec.structs.replace(
        selector, match_labels=selector.match_labels | {HASH_LABEL: digest}
    )
    return ReplicaSet(
        metadata=ObjectMeta(
            name=f"{meta.name}-{digest}",
            namespace=meta.namespace,
            labels=labels,
            annotations=inherited(deployment)
            | {REVISION: str(revision)}
            | scale_annotations(deployment, max_replicas),
            owner_references=(controller_ref(deployment),),
        ),
        spec=ReplicaSetSpec(
            replicas=replicas,
            min_ready_seconds=spec.min_ready_seconds,
            selector=matching,
            template=_with_labels(spec.template, labels),
        ),
    )


def inherited(deployment: Deployment) -> dict[str, str]:
    """The annotations that a Deployment hands to its new ReplicaSet."""
    annotations = deployment.metadata.annotations
    return {k: v for k, v in annotations.items() if k not in _OWN_ANNOTATIONS}


def scale_annotations(deployment: Deployment, max_replicas: int) -> dict[str, str]:
    """What the scaling decision was made from, for proportional scaling later."""
    return {
        DESIRED_REPLICAS: str(replicas_of(deployment)),
        MAX_REPLICAS: str(max_replicas),
    }


def replicas_of(obj: Deployment | ReplicaSet) -> int:
    return 1 if obj.spec.replicas is None else obj.spec.replicas


def renewed(deployment: Deployment, rs: ReplicaSet, revision: int) -> ReplicaSet:
    """The current ReplicaSet with the annotations and revision that it should have.

    A roll-back makes an old ReplicaSet the current one: it gets the newest revision and
    remembers its old ones.
    """
    annotations = rs.metadata.annotations | inherited(deployment)
    old = revision_of(rs)
    if old < revision:
        if old:
            history = annotations.get(REVISION_HISTORY, "")
            past = [part for part in history.split(",") if part]
            annotations = annotations | {REVISION_HISTORY: ",".join([*past, str(old)][-100:])}
        annotations = annotations | {REVISION: str(revision)}
    meta = msgspec.structs.replace(rs.metadata, annotations=annotations)
    minimum = deployment.spec.min_ready_seconds
    spec = msgspec.structs.replace(rs.spec, min_ready_seconds=minimum)
    return msgspec.structs.replace(rs, metadata=meta, spec=spec)
