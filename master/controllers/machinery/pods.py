"""What controllers ask about a pod: is it active, ready, available. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from kube.api.core import Pod, PodCondition
from kube.machinery.times import format_time, parse_time


def is_finished(pod: Pod) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


def is_deleting(pod: Pod) -> bool:
    return bool(pod.metadata.deletion_timestamp)


def is_active(pod: Pod) -> bool:
    """Counts as a replica: neither finished nor on its way out."""
    return not is_finished(pod) and not is_deleting(pod)


def condition(pod: Pod, type_: str) -> PodCondition | None:
    return next((c for c in pod.status.conditions if c.type == type_), None)


def is_ready(pod: Pod) -> bool:
    ready = condition(pod, "Ready")
    return ready is not None and ready.status == "True"


def ready_since(pod: Pod) -> datetime | None:
    """When it last became ready, if it is."""
    ready = condition(pod, "Ready")
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
    """`pod` with `new` in place of its type; the transition time moves only with the status."""
    old = condition(pod, new.type)
    moved = old is None or old.status != new.status
    stamp = format_time(now) if moved or old is None else old.last_transition_time
    new = msgspec.structs.replace(new, last_transition_time=stamp)
    others = tuple(c for c in pod.status.conditions if c.type != new.type)
    status = msgspec.structs.replace(pod.status, conditions=(*others, new))
    return msgspec.structs.replace(pod, status=status)
