"""A Deployment's status: counts, Available, Progressing, ReplicaFailure. Pure.

`kubectl rollout status` reads these numbers and the reasons of Progressing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from kube.api.apps import Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet
from kube.machinery.conditions import find, without
from kube.machinery.times import format_time, parse_time
from master.controllers.workloads.deployment_revision import find_new, replicas_of
from master.controllers.workloads.deployment_rolling import bounds

NEW_AVAILABLE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED = "DeploymentPaused"
RESUMED = "DeploymentResumed"
# "No deadline", in upstream's words: MaxInt32.
_NO_DEADLINE = 2**31 - 1


def status(
    deployment: Deployment, replicasets: Sequence[ReplicaSet], created: str, now: datetime
) -> DeploymentStatus:
    """`created` is the name of a ReplicaSet that was made just now, or ""."""
    new = find_new(deployment, replicasets)
    counted = _counts(deployment, replicasets, new)
    conditions = _available(deployment, counted, now)
    conditions = _progressing(deployment, counted, conditions, new, created, now)
    conditions = _failure(conditions, replicasets, new, now)
    return msgspec.structs.replace(counted, conditions=conditions)


def _counts(
    deployment: Deployment, replicasets: Sequence[ReplicaSet], new: ReplicaSet | None
) -> DeploymentStatus:
    available = sum(rs.status.available_replicas or 0 for rs in replicasets)
    wanted = sum(replicas_of(rs) for rs in replicasets)
    return msgspec.structs.replace(
        deployment.status,
        observed_generation=deployment.metadata.generation,
        replicas=sum(rs.status.replicas or 0 for rs in replicasets),
        updated_replicas=(new.status.replicas or 0) if new is not None else 0,
        ready_replicas=sum(rs.status.ready_replicas or 0 for rs in replicasets),
        available_replicas=available,
        unavailable_replicas=max(0, wanted - available),
    )


def with_condition(
    conditions: tuple[DeploymentCondition, ...],
    new: tuple[str, str, str, str],
    now: datetime,
    *,
    refresh: bool = False,
) -> tuple[DeploymentCondition, ...]:
    """Set (type, status, reason, message). Unchanged status and reason leave it alone,
    unless `refresh`: progress was made and the deadline starts anew."""
    type_, state, reason, message = new
    old = find(conditions, type_)
    if old is not None and (old.status, old.reason) == (state, reason) and not refresh:
        return conditions
    stamp = format_time(now)
    moved = old.last_transition_time if old is not None and old.status == state else stamp
    fresh = DeploymentCondition(
        type=type_, status=state, reason=reason, message=message,
        last_update_time=stamp, last_transition_time=moved,
    )  # fmt: skip
    return (*without(conditions, type_), fresh)


def _available(
    deployment: Deployment, counted: DeploymentStatus, now: datetime
) -> tuple[DeploymentCondition, ...]:
    minimum = replicas_of(deployment) - bounds(deployment).unavailable
    if (counted.available_replicas or 0) >= minimum:
        text = "Deployment has minimum availability."
        new = ("Available", "True", "MinimumReplicasAvailable", text)
    else:
        text = "Deployment does not have minimum availability."
        new = ("Available", "False", "MinimumReplicasUnavailable", text)
    return with_condition(counted.conditions, new, now)


def _progressing(
    deployment: Deployment,
    counted: DeploymentStatus,
    conditions: tuple[DeploymentCondition, ...],
    new: ReplicaSet | None,
    created: str,
    now: datetime,
) -> tuple[DeploymentCondition, ...]:
    if not has_deadline(deployment):
        return without(conditions, "Progressing")
    current = find(conditions, "Progressing")
    if deployment.spec.paused:
        if current is not None and current.reason == TIMED_OUT:
            return conditions
        return with_condition(
            conditions, ("Progressing", "Unknown", PAUSED, "Deployment is paused"), now
        )
    if current is not None and current.reason == PAUSED:
        conditions = with_condition(
            conditions, ("Progressing", "Unknown", RESUMED, "Deployment is resumed"), now
        )
    elif created:
        text = f'Created new replica set "{created}"'
        return with_condition(
            conditions, ("Progressing", "True", "NewReplicaSetCreated", text), now
        )
    elif current is None and new is not None:
        text = f'Found new replica set "{new.metadata.name}"'
        conditions = with_condition(
            conditions, ("Progressing", "True", "FoundNewReplicaSet", text), now
        )
    return _advance(deployment, counted, conditions, new, now)


def _advance(
    deployment: Deployment,
    counted: DeploymentStatus,
    conditions: tuple[DeploymentCondition, ...],
    new: ReplicaSet | None,
    now: datetime,
) -> tuple[DeploymentCondition, ...]:
    subject = f'ReplicaSet "{new.metadata.name}"' if new else (
        f'Deployment "{deployment.metadata.name}"'
    )  # fmt: skip
    current = find(conditions, "Progressing")
    if is_complete(deployment, counted):
        text = f"{subject} has successfully progressed."
        return with_condition(conditions, ("Progressing", "True", NEW_AVAILABLE, text), now)
    if _settled(counted, current):
        return conditions
    if has_progressed(deployment.status, counted):
        text = f"{subject} is progressing."
        return with_condition(
            conditions, ("Progressing", "True", "ReplicaSetUpdated", text), now, refresh=True
        )
    if _timed_out(deployment, current, now):
        text = f"{subject} has timed out progressing."
        return with_condition(conditions, ("Progressing", "False", TIMED_OUT, text), now)
    return conditions


def is_complete(deployment: Deployment, counted: DeploymentStatus) -> bool:
    total = replicas_of(deployment)
    return (
        counted.updated_replicas == total
        and counted.replicas == total
        and counted.available_replicas == total
        and (counted.observed_generation or 0) >= (deployment.metadata.generation or 0)
    )


def _settled(counted: DeploymentStatus, current: DeploymentCondition | None) -> bool:
    """The roll-out was done once; pods that fail later are no failed roll-out."""
    same = counted.replicas == counted.updated_replicas
    return same and current is not None and current.reason == NEW_AVAILABLE


def has_progressed(old: DeploymentStatus, new: DeploymentStatus) -> bool:
    def outdated(status: DeploymentStatus) -> int:
        return (status.replicas or 0) - (status.updated_replicas or 0)

    return (
        (new.updated_replicas or 0) > (old.updated_replicas or 0)
        or outdated(new) < outdated(old)
        or (new.ready_replicas or 0) > (old.ready_replicas or 0)
        or (new.available_replicas or 0) > (old.available_replicas or 0)
    )


def has_deadline(deployment: Deployment) -> bool:
    return deployment.spec.progress_deadline_seconds not in (None, _NO_DEADLINE)


def seconds_to_deadline(deployment: Deployment, status: DeploymentStatus, now: datetime) -> float:
    """Until the deadline of the last progress; negative when it has passed."""
    current = find(status.conditions, "Progressing")
    since = parse_time(current.last_update_time) if current is not None else None
    deadline = deployment.spec.progress_deadline_seconds or 0
    return deadline - (now - (since or now)).total_seconds()


def _timed_out(deployment: Deployment, current: DeploymentCondition | None, now: datetime) -> bool:
    if current is None or current.reason == NEW_AVAILABLE:
        return False
    if current.reason == TIMED_OUT:
        return True
    status = DeploymentStatus(conditions=(current,))
    return seconds_to_deadline(deployment, status, now) < 0


def awaits_deadline(deployment: Deployment, status: DeploymentStatus) -> bool:
    """Whether the deadline can still strike, so that somebody must look again then."""
    current = find(status.conditions, "Progressing")
    if not has_deadline(deployment) or current is None or deployment.spec.paused:
        return False
    return current.reason not in (NEW_AVAILABLE, TIMED_OUT)


def _failure(
    conditions: tuple[DeploymentCondition, ...],
    replicasets: Sequence[ReplicaSet],
    new: ReplicaSet | None,
    now: datetime,
) -> tuple[DeploymentCondition, ...]:
    """ReplicaFailure is the new ReplicaSet's, else any old one's."""
    ordered = [new, *replicasets] if new is not None else list(replicasets)
    for rs in ordered:
        for found in rs.status.conditions:
            if found.type == "ReplicaFailure":
                failure = ("ReplicaFailure", found.status, found.reason, found.message)
                return with_condition(conditions, failure, now)
    return without(conditions, "ReplicaFailure")
