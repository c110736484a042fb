"""ReplicationControllers. Pure."""

from __future__ import annotations

from collections.abc import Callable

from kube.api.core import ReplicationController
from master.statemetrics.family import Family, StateKind, plain
from master.statemetrics.metadata import created, generation, identity, owner


def _status(
    suffix: str, help: str, read: Callable[[ReplicationController], float | None]
) -> Family[ReplicationController]:
    return plain(f"kube_replicationcontroller_status_{suffix}", help, lambda rc: read(rc) or 0)


KIND = StateKind(
    "replicationcontrollers",
    ReplicationController,
    identity("replicationcontroller"),
    (
        created("kube_replicationcontroller"),
        generation("kube_replicationcontroller"),
        owner("kube_replicationcontroller"),
        plain(
            "kube_replicationcontroller_spec_replicas",
            "Pods that it shall have.",
            lambda rc: rc.spec.replicas,
        ),
        _status("replicas", "Its pods.", lambda rc: rc.status.replicas),
        _status(
            "fully_labeled_replicas",
            "Its pods that have all labels of the template.",
            lambda rc: rc.status.fully_labeled_replicas,
        ),
        _status("ready_replicas", "Its Ready pods.", lambda rc: rc.status.ready_replicas),
        _status(
            "available_replicas", "Its available pods.", lambda rc: rc.status.available_replicas
        ),
        _status(
            "observed_generation",
            "The generation that the controller has seen.",
            lambda rc: rc.status.observed_generation,
        ),
    ),
)
