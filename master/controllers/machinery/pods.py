"""What controllers ask about a pod: is it active, ready, available. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from kube.api.core import Pod, PodCondition
from kube.machinery.conditions import find, is_true, put
from kube.machinery.times import parse_time


def is_finished(pod: Pod) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


def is_deleting(pod: Pod) -> bool:
    return bool(pod.metadata.deletion_timestamp)


def is_active(pod: Pod) -> bool:
    """Counts as a replica: neither finished nor on its way out."""
    return not is_finished(pod) and not is_deleting(pod)


def is_ready(pod: Pod) -> bool:
    return is_true(pod.status.conditions, "Ready")


def ready_since(pod: Pod) -> datetime | None:
    """When it last became ready, if it is."""
    ready = find(pod.status.conditions, "Ready")
    if ready is None or ready.status != "True":
        return None
    return parse_time(ready.last_transition_time)


def is_available(pod: Pod, min_ready_seconds: int, now: datetime) -> bool:
    """Ready for at least `min_ready_seconds`."""
    if not is_ready(pod):
        return False
    since = ready_since(pod)
    if not min_ready_seconds:
        return True
    return since is not None and since + timedelta(seconds=min_ready_seconds) <= now


def restarts(pod: Pod) -> int:
    return max((status.restart_count or 0 for status in pod.status.container_statuses), default=0)


def with_condition(pod: Pod, new: PodCondition, now: datetime) -> Pod:
    """`pod` with `new` in place of its type."""
    conditions = put(pod.status.conditions, new, now)
    status = msgspec.structs.replace(pod.status, conditions=conditions)
    return msgspec.structs.replace(pod, status=status)
