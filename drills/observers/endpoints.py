"""The ready endpoints of the Service, over all its slices."""

from __future__ import annotations

import time

from drills.events import EndpointsSeen
from drills.observers.base import Scope, follow
from kube.api.discovery import EndpointSlice


async def watch(scope: Scope) -> None:
    slices: dict[str, frozenset[str]] = {}

    def note(slice_: EndpointSlice, gone: bool) -> None:
        ready = frozenset(
            endpoint.target_ref.uid
            for endpoint in slice_.endpoints
            if endpoint.target_ref and endpoint.conditions and endpoint.conditions.ready
        )
        slices[slice_.metadata.name] = frozenset() if gone else ready
        scope.seen.note(EndpointsSeen(time.time(), frozenset[str]().union(*slices.values())))

    service = f"kubernetes.io/service-name={scope.workload.service}"
    await follow(scope.client, EndpointSlice, note, scope.workload.namespace, service)
