"""The cells of Deployments and ReplicaSets."""

from __future__ import annotations

from datetime import datetime

from kube.api.apps import Deployment, ReplicaSet
from master.apiserver.rest.tables.cell import age, containers, selector

Cells = list[str | int | None]


def deployment(obj: Deployment, now: datetime) -> Cells:
    names, images = containers(obj.spec.template.spec.containers)
    return [
        obj.metadata.name,
        f"{obj.status.ready_replicas or 0}/{obj.spec.replicas or 0}",
        obj.status.updated_replicas or 0,
        obj.status.available_replicas or 0,
        age(obj.metadata.creation_timestamp, now),
        names,
        images,
        selector(obj.spec.selector),
    ]


def replica_set(obj: ReplicaSet, now: datetime) -> Cells:
    names, images = containers(obj.spec.template.spec.containers)
    return [
        obj.metadata.name,
        obj.spec.replicas or 0,
        obj.status.replicas or 0,
        obj.status.ready_replicas or 0,
        age(obj.metadata.creation_timestamp, now),
        names,
        images,
        selector(obj.spec.selector),
    ]
