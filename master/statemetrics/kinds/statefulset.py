"""StatefulSets. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kube.api.apps import StatefulSet
from master.statemetrics.family import Family, Sample, StateKind, plain
from master.statemetrics.metadata import created, deleted, generation, identity


def _status(
    suffix: str, help: str, read: Callable[[StatefulSet], float | None]
) -> Family[StatefulSet]:
    return plain(f"kube_statefulset_status_{suffix}", help, lambda s: read(s) or 0)


def _revision(which: str, read: Callable[[StatefulSet], str]) -> Family[StatefulSet]:
    def samples(statefulset: StatefulSet) -> Iterable[Sample]:
        revision = read(statefulset)
        return (({"revision": revision}, 1),) if revision else ()

    return Family(f"kube_statefulset_status_{which}_revision", f"The {which} revision.", samples)


def _retention(statefulset: StatefulSet) -> Iterable[Sample]:
    policy = statefulset.spec.persistent_volume_claim_retention_policy
    if policy is None:
        return ()
    return (({"when_deleted": policy.when_deleted, "when_scaled": policy.when_scaled}, 1),)


KIND = StateKind(
    "statefulsets",
    StatefulSet,
    identity("statefulset"),
    (
        created("kube_statefulset"),
        deleted("kube_statefulset"),
        generation("kube_statefulset"),
        plain("kube_statefulset_replicas", "Pods that it shall have.", lambda s: s.spec.replicas),
        plain(
            "kube_statefulset_ordinals_start",
            "The number of its first pod.",
            lambda s: s.spec.ordinals.start if s.spec.ordinals else None,
        ),
        Family(
            "kube_statefulset_persistentvolumeclaim_retention_policy",
            "What becomes of its claims.",
            _retention,
        ),
        _status("replicas", "Pods of the StatefulSet.", lambda s: s.status.replicas),
        _status("replicas_available", "Its available pods.", lambda s: s.status.available_replicas),
        _status(
            "replicas_current",
            "Its pods of the current revision.",
            lambda s: s.status.current_replicas,
        ),
        _status("replicas_ready", "Its Ready pods.", lambda s: s.status.ready_replicas),
        _status(
            "replicas_updated",
            "Its pods of the update revision.",
            lambda s: s.status.updated_replicas,
        ),
        _status(
            "observed_generation",
            "The generation that the controller has seen.",
            lambda s: s.status.observed_generation,
        ),
        _revision("current", lambda s: s.status.current_revision),
        _revision("update", lambda s: s.status.update_revision),
    ),
)
