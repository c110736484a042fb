"""What a ReplicaSet needs: how many pods more, or which ones less, and its status. Pure.

The order of scaling down is upstream's ActivePodsWithRanks (pkg/controller).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from kube.api.apps import ReplicaSet, ReplicaSetCondition, ReplicaSetStatus
from kube.api.core import Pod
from kube.api.meta import ObjectMeta
from kube.machinery.conditions import find, without
from kube.machinery.times import format_time, parse_time
from master.controllers.machinery.ownership import controller_ref
from master.controllers.machinery.pods import (
    is_active,
    is_available,
    is_ready,
    ready_since,
    restarts,
)

BURST_REPLICAS = 500
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "": 0, "Unknown": 1, "Running": 2}


@dataclass(frozen=True, slots=True)
class Plan:
    """Create this many pods, delete these. At most one of the two is not empty."""

    create: int = 0
    delete: tuple[Pod, ...] = ()


def plan(rs: ReplicaSet, pods: Sequence[Pod], related: Sequence[Pod], now: datetime) -> Plan:
    """`pods` are the ReplicaSet's own; `related` those of all ReplicaSets of its Deployment."""
    active = [pod for pod in pods if is_active(pod)]
    missing = desired(rs) - len(active)
    if missing >= 0:
        return Plan(create=min(missing, BURST_REPLICAS))
    doomed = deletion_order(active, related, now)[: min(-missing, BURST_REPLICAS)]
    return Plan(delete=tuple(doomed))


def desired(rs: ReplicaSet) -> int:
    return 1 if rs.spec.replicas is None else rs.spec.replicas


def deletion_order(pods: Sequence[Pod], related: Sequence[Pod], now: datetime) -> list[Pod]:
    """Those whose loss hurts least first."""
    crowd = Counter(pod.spec.node_name for pod in related if is_active(pod))

    def rank(pod: Pod) -> tuple[object, ...]:
        return (
            bool(pod.spec.node_name),
            _PHASES.get(pod.status.phase, 1),
            is_ready(pod),
            deletion_cost(pod),
            -crowd[pod.spec.node_name],
            _log_age(ready_since(pod), now),
            -restarts(pod),
            _log_age(parse_time(pod.metadata.creation_timestamp), now),
            pod.metadata.uid,
            pod.metadata.name,
        )

    return sorted(pods, key=rank)


def deletion_cost(pod: Pod) -> int:
    try:
        return int(pod.metadata.annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _log_age(since: datetime | None, now: datetime) -> int:
    """Ages are compared by order of magnitude, so that the pods of one roll-out are equal
    and chance (the uid) spreads the loss (KEP-2185)."""
    if since is None:
        return -1
    return int(math.log2(max(1.0, (now - since).total_seconds() * 1e9)))


def new_pod(rs: ReplicaSet) -> Pod:
    """A pod from the template; the server completes the name."""
    template = rs.spec.template
    return Pod(
        metadata=ObjectMeta(
            generate_name=f"{rs.metadata.name}-",
            namespace=rs.metadata.namespace,
            labels=template.metadata.labels,
            annotations=template.metadata.annotations,
            finalizers=template.metadata.finalizers,
            owner_references=(controller_ref(rs),),
        ),
        spec=template.spec,
    )


def status(
    rs: ReplicaSet, pods: Sequence[Pod], failure: tuple[str, str] | None, now: datetime
) -> ReplicaSetStatus:
    """The status that `pods` give; `failure` is the reason and message of a failed call."""
    active = [pod for pod in pods if is_active(pod)]
    wanted = rs.spec.template.metadata.labels.items()
    minimum = rs.spec.min_ready_seconds or 0
    return msgspec.structs.replace(
        rs.status,
        replicas=len(active),
        fully_labeled_replicas=sum(wanted <= pod.metadata.labels.items() for pod in active),
        ready_replicas=sum(is_ready(pod) for pod in active),
        available_replicas=sum(is_available(pod, minimum, now) for pod in active),
        observed_generation=rs.metadata.generation,
        conditions=_conditions(rs.status.conditions, failure, now),
    )


def _conditions(
    old: tuple[ReplicaSetCondition, ...], failure: tuple[str, str] | None, now: datetime
) -> tuple[ReplicaSetCondition, ...]:
    others = without(old, "ReplicaFailure")
    if failure is None:
        return others
    reason, message = failure
    known = find(old, "ReplicaFailure")
    if known is not None and known.reason == reason:
        return old
    stamp = format_time(now)
    new = ReplicaSetCondition(
        type="ReplicaFailure", status="True", reason=reason, message=message,
        last_transition_time=stamp,
    )  # fmt: skip
    return (*others, new)


def next_availability(rs: ReplicaSet, pods: Sequence[Pod], now: datetime) -> float | None:
    """Seconds until the next ready pod becomes available, if one is on its way there."""
    minimum = rs.spec.min_ready_seconds or 0
    waits = [
        minimum - (now - (ready_since(pod) or now)).total_seconds()
        for pod in pods
        if is_active(pod) and is_ready(pod) and not is_available(pod, minimum, now)
    ]
    return max(0.01, min(waits)) if waits else None
