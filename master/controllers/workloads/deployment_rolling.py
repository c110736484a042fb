"""How a Deployment moves its ReplicaSets: one step at a time, within its bounds. Pure.

Follows pkg/controller/deployment (rolling.go, recreate.go, sync.go): at most maxSurge pods
above the wanted number, at most maxUnavailable below it, unhealthy old pods first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from kube.api.apps import Deployment, ReplicaSet
from kube.api.core import Pod
from master.controllers.machinery.pods import is_finished
from master.controllers.workloads.deployment_revision import (
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    find_new,
    new_replicaset,
    next_revision,
    oldest_first,
    renewed,
    replicas_of,
    revision_of,
    scale_annotations,
)

DEFAULT_HISTORY = 10


@dataclass(frozen=True, slots=True)
class Create:
    replicaset: ReplicaSet


@dataclass(frozen=True, slots=True)
class Update:
    """Write the ReplicaSet; `before` is its size before, for the event."""

    replicaset: ReplicaSet
    before: int


@dataclass(frozen=True, slots=True)
class Delete:
    replicaset: ReplicaSet


Action = Create | Update | Delete


@dataclass(frozen=True, slots=True)
class Bounds:
    """maxSurge and maxUnavailable as numbers of pods."""

    surge: int
    unavailable: int


def bounds(deployment: Deployment) -> Bounds:
    """Percentages resolved: surge rounds up, unavailable down; never both zero."""
    strategy, total = deployment.spec.strategy, replicas_of(deployment)
    if strategy is None or strategy.type == "Recreate":
        return Bounds(0, total)
    rolling = strategy.rolling_update
    surge = _scaled("25%" if rolling is None else rolling.max_surge, total, up=True)
    down = _scaled("25%" if rolling is None else rolling.max_unavailable, total, up=False)
    if surge == 0 and down == 0:
        down = 1
    return Bounds(surge, min(down, total) if total else down)


def _scaled(value: int | str | None, total: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    exact = int((value or "25%").removesuffix("%")) * total / 100
    return math.ceil(exact) if up else math.floor(exact)


def is_rolling(deployment: Deployment) -> bool:
    strategy = deployment.spec.strategy
    return strategy is None or strategy.type != "Recreate"


def max_replicas(deployment: Deployment) -> int:
    total = replicas_of(deployment)
    return total + bounds(deployment).surge if is_rolling(deployment) and total else total


def plan(
    deployment: Deployment, replicasets: Sequence[ReplicaSet], pods: Sequence[Pod]
) -> list[Action]:
    """The next step. Each step shows up in a ReplicaSet's status and so causes the next one."""
    new = find_new(deployment, replicasets)
    olds = [rs for rs in replicasets if new is None or rs.metadata.uid != new.metadata.uid]
    if deployment.spec.paused or _was_scaled(deployment, replicasets):
        return proportional(deployment, new, olds)
    if new is not None:
        fresh = renewed(deployment, new, next_revision(olds))
        if fresh != new:
            return [Update(fresh, replicas_of(new))]
    if is_rolling(deployment):
        steps = _rolling(deployment, new, olds)
    else:
        steps = _recreate(deployment, new, olds, pods)
    if not steps and is_complete(deployment, new):
        return cleanup(deployment, olds)
    return steps


def _was_scaled(deployment: Deployment, replicasets: Sequence[ReplicaSet]) -> bool:
    """Whether spec.replicas changed since the sizes were chosen."""
    for rs in replicasets:
        known = rs.metadata.annotations.get(DESIRED_REPLICAS, "")
        if replicas_of(rs) and known.isdigit() and int(known) != replicas_of(deployment):
            return True
    return False


def is_complete(deployment: Deployment, new: ReplicaSet | None) -> bool:
    total = replicas_of(deployment)
    return new is not None and replicas_of(new) == total == (new.status.available_replicas or 0)


def resized(deployment: Deployment, rs: ReplicaSet, replicas: int) -> list[Action]:
    """The update that gives `rs` this size and notes what it was chosen from; none if equal."""
    noted = scale_annotations(deployment, max_replicas(deployment))
    annotations = rs.metadata.annotations | noted
    if replicas_of(rs) == replicas and annotations == rs.metadata.annotations:
        return []
    meta = msgspec.structs.replace(rs.metadata, annotations=annotations)
    spec = msgspec.structs.replace(rs.spec, replicas=replicas)
    return [Update(msgspec.structs.replace(rs, metadata=meta, spec=spec), replicas_of(rs))]


# -- rolling update


def _rolling(
    deployment: Deployment, new: ReplicaSet | None, olds: Sequence[ReplicaSet]
) -> list[Action]:
    size = new_size(deployment, new, olds)
    if new is None:
        top = max_replicas(deployment)
        return [Create(new_replicaset(deployment, size, next_revision(olds), top))]
    if size != replicas_of(new):
        return resized(deployment, new, size)
    return shrink_old(deployment, new, olds)


def new_size(deployment: Deployment, new: ReplicaSet | None, olds: Sequence[ReplicaSet]) -> int:
    """How large the new ReplicaSet may be now: maxSurge bounds the sum of all."""
    total = replicas_of(deployment)
    current = replicas_of(new) if new is not None else 0
    if current > total:
        return total
    everyone = current + sum(replicas_of(rs) for rs in olds)
    room = total + bounds(deployment).surge - everyone
    return current if room <= 0 else current + min(room, total - current)


def shrink_old(deployment: Deployment, new: ReplicaSet, olds: Sequence[ReplicaSet]) -> list[Action]:
    """Scale old ReplicaSets down as far as availability allows, broken pods first."""
    total = replicas_of(deployment)
    minimum = total - bounds(deployment).unavailable
    everyone = replicas_of(new) + sum(replicas_of(rs) for rs in olds)
    coming = max(0, replicas_of(new) - (new.status.available_replicas or 0))
    spare = everyone - minimum - coming
    if spare <= 0:
        return []
    sizes = {rs.metadata.uid: replicas_of(rs) for rs in olds}
    for rs in oldest_first(olds):
        unhealthy = max(0, sizes[rs.metadata.uid] - (rs.status.available_replicas or 0))
        step = min(spare, unhealthy)
        sizes[rs.metadata.uid] -= step
        spare -= step
    # A status may still count pods that an earlier step has given up: at most the spec counts.
    available = sum(min(rs.status.available_replicas or 0, replicas_of(rs)) for rs in [new, *olds])
    surplus = max(0, available - minimum)
    for rs in oldest_first(olds):
        step = min(surplus, sizes[rs.metadata.uid])
        sizes[rs.metadata.uid] -= step
        surplus -= step
    return [
        action
        for rs in oldest_first(olds)
        if sizes[rs.metadata.uid] != replicas_of(rs)
        for action in resized(deployment, rs, sizes[rs.metadata.uid])
    ]


# -- recreate


def _recreate(
    deployment: Deployment,
    new: ReplicaSet | None,
    olds: Sequence[ReplicaSet],
    pods: Sequence[Pod],
) -> list[Action]:
    """All old pods go, and only when the last has gone do the new ones come."""
    shrinking = [a for rs in olds if replicas_of(rs) for a in resized(deployment, rs, 0)]
    if shrinking:
        return shrinking
    old_uids = {rs.metadata.uid for rs in olds}
    for pod in pods:
        owners = {ref.uid for ref in pod.metadata.owner_references}
        if owners & old_uids and not is_finished(pod):
            return []
    total = replicas_of(deployment)
    if new is None:
        return [Create(new_replicaset(deployment, total, next_revision(olds), total))]
    return [] if replicas_of(new) == total else resized(deployment, new, total)


# -- scaling


def proportional(
    deployment: Deployment, new: ReplicaSet | None, olds: Sequence[ReplicaSet]
) -> list[Action]:
    """Spread a change of spec.replicas over all ReplicaSets with pods, by their shares."""
    total = replicas_of(deployment)
    everyone = [*olds, new] if new is not None else list(olds)
    active = [rs for rs in everyone if replicas_of(rs)]
    if len(active) <= 1:
        only = active[0] if active else new or _latest(olds)
        return resized(deployment, only, total) if only is not None else []
    if new is not None and replicas_of(new) == total == (new.status.available_replicas or 0):
        return [a for rs in olds if replicas_of(rs) for a in resized(deployment, rs, 0)]
    if not is_rolling(deployment):
        return []
    return _spread(deployment, active)


def _latest(replicasets: Sequence[ReplicaSet]) -> ReplicaSet | None:
    return max(replicasets, key=revision_of, default=None)


def _spread(deployment: Deployment, active: Sequence[ReplicaSet]) -> list[Action]:
    to_add = max_replicas(deployment) - sum(replicas_of(rs) for rs in active)
    ordered = oldest_first(active)
    if to_add > 0:
        ordered.reverse()
    ordered.sort(key=replicas_of, reverse=True)
    sizes, added = [], 0
    for rs in ordered:
        share = _share(deployment, rs, to_add - added) if to_add else 0
        sizes.append(replicas_of(rs) + share)
        added += share
    # What rounding left over goes to the largest.
    sizes[0] = max(0, sizes[0] + to_add - added)
    return [
        action
        for rs, size in zip(ordered, sizes, strict=True)
        for action in resized(deployment, rs, size)
    ]


def _share(deployment: Deployment, rs: ReplicaSet, left: int) -> int:
    noted = rs.metadata.annotations.get(MAX_REPLICAS, "")
    before = int(noted) if noted.isdigit() and int(noted) else rs.status.replicas or 0
    if not left or not before:
        return 0
    target = replicas_of(rs) * max_replicas(deployment) / before
    share = math.floor(target + 0.5) - replicas_of(rs)
    return min(share, left) if left > 0 else max(share, left)


# -- history


def cleanup(deployment: Deployment, olds: Sequence[ReplicaSet]) -> list[Action]:
    """Delete the oldest empty ReplicaSets beyond revisionHistoryLimit."""
    limit = deployment.spec.revision_history_limit
    keep = DEFAULT_HISTORY if limit is None else limit
    candidates = [rs for rs in olds if not rs.metadata.deletion_timestamp]
    excess = sorted(candidates, key=revision_of)[: max(0, len(candidates) - keep)]
    return [Delete(rs) for rs in excess if _is_empty(rs)]


def _is_empty(rs: ReplicaSet) -> bool:
    seen = (rs.metadata.generation or 0) <= (rs.status.observed_generation or 0)
    return not replicas_of(rs) and not rs.status.replicas and seen
