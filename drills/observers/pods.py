"""The workload's pods: where they are, and how they are."""

from __future__ import annotations

import time

from drills.events import PodSeen
from drills.observers.base import Scope, follow
from kube.api.core import Pod
from kube.machinery import selectors


async def watch(scope: Scope) -> None:
    def note(pod: Pod, gone: bool) -> None:
        statuses = pod.status.container_statuses
        running = bool(statuses) and all(s.state and s.state.running for s in statuses)
        restarts = sum(s.restart_count or 0 for s in statuses)
        scope.seen.note(
            PodSeen(
                at=time.time(),
                uid=pod.metadata.uid,
                name=pod.metadata.name,
                node=pod.spec.node_name,
                deleting=bool(pod.metadata.deletion_timestamp),
                running=running and pod.status.phase == "Running",
                ready=any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions),
                gone=gone,
                restarts=restarts,
            )
        )

    selector = selectors.format_labels(scope.workload.selector)
    await follow(scope.client, Pod, note, scope.workload.namespace, selector)
