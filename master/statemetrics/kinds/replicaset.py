"""ReplicaSets. Pure."""

from __future__ import annotations

from kube.api.apps import ReplicaSet
from master.statemetrics.family import StateKind, plain
from master.statemetrics.metadata import created, generation, identity, owner

KIND = StateKind(
    "replicasets",
    ReplicaSet,
    identity("replicaset"),
    (
        created("kube_replicaset"),
        plain(
            "kube_replicaset_status_replicas",
            "Pods of the ReplicaSet.",
            lambda rs: rs.status.replicas or 0,
        ),
        plain(
            "kube_replicaset_status_fully_labeled_replicas",
            "Its pods that have all labels of the template.",
            lambda rs: rs.status.fully_labeled_replicas or 0,
        ),
        plain(
            "kube_replicaset_status_ready_replicas",
            "Its Ready pods.",
            lambda rs: rs.status.ready_replicas or 0,
        ),
        plain(
            "kube_replicaset_status_terminating_replicas",
            "Its pods that are being deleted.",
            lambda rs: rs.status.terminating_replicas,
        ),
        plain(
            "kube_replicaset_status_observed_generation",
            "The generation that the controller has seen.",
            lambda rs: rs.status.observed_generation or 0,
        ),
        plain(
            "kube_replicaset_spec_replicas", "Pods that it shall have.", lambda rs: rs.spec.replicas
        ),
        generation("kube_replicaset"),
        owner("kube_replicaset"),
    ),
)
