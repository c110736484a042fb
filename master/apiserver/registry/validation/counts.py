"""How many parts a pod may have. Pure.

Upstream has no such limits but that of the store. A pod of more could run nowhere, and each part
costs time wherever the pod is looked at.
"""

from __future__ import annotations

from kube.api.core import PodSpec
from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field

MAX_CONTAINERS, MAX_VOLUMES = 250, 500


def too_many_parts(spec: PodSpec) -> list[tuple[str, int, int]]:
    """The field, how many it has, and how many it may have."""
    return [
        (name, len(found), most)
        for name, found, most in (
            ("containers", spec.containers, MAX_CONTAINERS),
            ("initContainers", spec.init_containers, MAX_CONTAINERS),
            ("ephemeralContainers", spec.ephemeral_containers, MAX_CONTAINERS),
            ("volumes", spec.volumes, MAX_VOLUMES),
        )
        if len(found) > most
    ]


def validate_counts(spec: PodSpec, path: str) -> list[StatusCause]:
    if not spec.containers:
        return [field.required(f"{path}.containers")]
    return [field.too_many(f"{path}.{name}", n, most) for name, n, most in too_many_parts(spec)]
