"""A pod's quality of service class, and a container's requests and limits. Pure.

Follows upstream's `apis/core/helper/qos`.
"""

from __future__ import annotations

from kube.api import core
from kube.api.base import Quantity
from kube.machinery.quantity import milli

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"


def requests_of(container: core.Container) -> dict[str, Quantity]:
    """Requests, where a missing one equals the limit, as the API's defaulting has it."""
    resources = container.resources
    return {**resources.limits, **resources.requests} if resources else {}


def limits_of(container: core.Container) -> dict[str, Quantity]:
    return container.resources.limits if container.resources else {}


def qos_class(spec: core.PodSpec) -> str:
    """Guaranteed: every container has CPU and memory limits equal to its requests."""
    containers = (*spec.init_containers, *spec.containers)
    if not any(_counts(requests_of(c)) or _counts(limits_of(c)) for c in containers):
        return BEST_EFFORT
    return GUARANTEED if all(_is_guaranteed(c) for c in containers) else BURSTABLE


def _counts(resources: dict[str, Quantity]) -> bool:
    return any(milli(resources.get(name, 0)) > 0 for name in ("cpu", "memory"))


def _is_guaranteed(container: core.Container) -> bool:
    requests, limits = requests_of(container), limits_of(container)
    return all(
        milli(limits.get(name, 0)) > 0 and milli(limits[name]) == milli(requests[name])
        for name in ("cpu", "memory")
    )
