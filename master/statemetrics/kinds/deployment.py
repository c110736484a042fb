"""Deployments. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from kube.api.apps import Deployment, RollingUpdateDeployment
from master.statemetrics.family import Family, Sample, StateKind, plain, statuses
from master.statemetrics.metadata import created, deleted, generation, identity, owner

# A condition's reason that is not one of the controller's reads as "unknown".
_REASONS = frozenset(
    {
        "", "MinimumReplicasAvailable", "MinimumReplicasUnavailable", "ReplicaSetUpdated",
        "ReplicaSetCreateError", "NewReplicaSetCreated", "NewReplicaSetAvailable",
        "FoundNewReplicaSet", "ProgressDeadlineExceeded", "DeploymentPaused", "DeploymentResumed",
        "FailedCreate", "FailedDelete",
    }
)  # fmt: skip
Read = Callable[[RollingUpdateDeployment], int | str | None]


def _conditions(deployment: Deployment) -> Iterable[Sample]:
    for condition in deployment.status.conditions:
        reason = condition.reason if condition.reason in _REASONS else "unknown"
        yield from statuses(condition.status, reason=reason, condition=condition.type)


def _pods(read: Read) -> Callable[[Deployment], float | None]:
    """A number of pods, also where the spec has a percentage; upstream rounds both up."""

    def number(deployment: Deployment) -> float | None:
        rolling = deployment.spec.strategy.rolling_update if deployment.spec.strategy else None
        value = read(rolling) if rolling else None
        if isinstance(value, str):
            digits = value.removesuffix("%")
            if not value.endswith("%") or not digits.isdecimal():
                return None
            return math.ceil(int(digits) * (deployment.spec.replicas or 0) / 100)
        return value

    return number


def _status(
    suffix: str, help: str, read: Callable[[Deployment], float | None]
) -> Family[Deployment]:
    return plain(f"kube_deployment_status_{suffix}", help, lambda d: read(d) or 0)


KIND = StateKind(
    "deployments",
    Deployment,
    identity("deployment"),
    (
        created("kube_deployment"),
        _status("replicas", "Pods of the Deployment.", lambda d: d.status.replicas),
        _status("replicas_ready", "Its Ready pods.", lambda d: d.status.ready_replicas),
        _status("replicas_available", "Its available pods.", lambda d: d.status.available_replicas),
        _status(
            "replicas_unavailable",
            "Pods that it still lacks.",
            lambda d: d.status.unavailable_replicas,
        ),
        _status(
            "replicas_updated",
            "Its pods of the newest template.",
            lambda d: d.status.updated_replicas,
        ),
        plain(
            "kube_deployment_status_terminating_replicas",
            "Its pods that are being deleted.",
            lambda d: d.status.terminating_replicas,
        ),
        _status(
            "observed_generation",
            "The generation that the controller has seen.",
            lambda d: d.status.observed_generation,
        ),
        Family("kube_deployment_status_condition", "The Deployment's conditions.", _conditions),
        plain(
            "kube_deployment_spec_replicas", "Pods that it shall have.", lambda d: d.spec.replicas
        ),
        plain(
            "kube_deployment_spec_paused",
            "Whether it is paused.",
            lambda d: float(bool(d.spec.paused)),
        ),
        plain(
            "kube_deployment_spec_strategy_rollingupdate_max_unavailable",
            "Pods that may be missing during a rolling update.",
            _pods(lambda rolling: rolling.max_unavailable),
        ),
        plain(
            "kube_deployment_spec_strategy_rollingupdate_max_surge",
            "Pods that may be too many during a rolling update.",
            _pods(lambda rolling: rolling.max_surge),
        ),
        generation("kube_deployment"),
        owner("kube_deployment", says_controller=False),
        deleted("kube_deployment"),
    ),
)
