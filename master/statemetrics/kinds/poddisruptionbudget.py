"""PodDisruptionBudgets. Pure."""

from __future__ import annotations

from collections.abc import Callable

from kube.api.policy import PodDisruptionBudget
from master.statemetrics.family import Family, StateKind, plain
from master.statemetrics.metadata import created, identity


def _status(
    suffix: str, help: str, read: Callable[[PodDisruptionBudget], float | None]
) -> Family[PodDisruptionBudget]:
    return plain(f"kube_poddisruptionbudget_status_{suffix}", help, lambda pdb: read(pdb) or 0)


KIND = StateKind(
    "poddisruptionbudgets",
    PodDisruptionBudget,
    identity("poddisruptionbudget"),
    (
        created("kube_poddisruptionbudget"),
        _status("current_healthy", "Healthy pods.", lambda pdb: pdb.status.current_healthy),
        _status(
            "desired_healthy", "Pods that must be healthy.", lambda pdb: pdb.status.desired_healthy
        ),
        _status(
            "pod_disruptions_allowed",
            "Pods that may be taken away now.",
            lambda pdb: pdb.status.disruptions_allowed,
        ),
        _status("expected_pods", "Pods that it counts.", lambda pdb: pdb.status.expected_pods),
        _status(
            "observed_generation",
            "The generation that the controller has seen.",
            lambda pdb: pdb.status.observed_generation,
        ),
    ),
)
