"""The workload's pods: those that the fault took, and those that came for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drills.events import Case, Observations, PodSeen, first, last
from drills.phases.base import PhaseKind


def replacements(case: Case, pods: Sequence[PodSeen]) -> frozenset[str]:
    """Pods first seen after the fault, as many as were lost (a later rollout does not count)."""
    before = {p.uid for p in pods if p.at < case.fault_at}
    born: list[str] = []
    for pod in pods:
        if pod.uid not in before and pod.uid not in born and not pod.gone:
            born.append(pod.uid)
    return frozenset(born[: len(case.victim_pods)])


def _every(
    uids: frozenset[str], pods: Sequence[PodSeen], holds: Callable[[PodSeen], bool]
) -> float | None:
    """When the last of `uids` was first seen so; None while one is missing."""
    return last(first(p.at for p in pods if p.uid == uid and holds(p)) for uid in uids)


def _new(case: Case, seen: Observations, holds: Callable[[PodSeen], bool]) -> float | None:
    pods = seen.of(PodSeen)
    fresh = replacements(case, pods)
    # While some are still to come, nothing can be said of all of them.
    if len(fresh) < len(case.victim_pods):
        return None
    return _every(fresh, pods, holds)


def _deleted(case: Case, seen: Observations) -> float | None:
    pods = [p for p in seen.of(PodSeen) if p.at >= case.fault_at]
    return _every(case.victim_pods, pods, lambda pod: pod.deleting or pod.gone)


def _created(case: Case, seen: Observations) -> float | None:
    return _new(case, seen, lambda pod: True)


def _scheduled(case: Case, seen: Observations) -> float | None:
    return _new(case, seen, lambda pod: bool(pod.node))


def started(case: Case, seen: Observations) -> float | None:
    return _new(case, seen, lambda pod: pod.running)


def _ready(case: Case, seen: Observations) -> float | None:
    return _new(case, seen, lambda pod: pod.ready)


def _gone(case: Case, seen: Observations) -> float | None:
    return _every(case.victim_pods, seen.of(PodSeen), lambda pod: pod.gone)


def restarted(case: Case, seen: Observations) -> float | None:
    """When the last of the hit pods runs again with a higher restart count than before."""
    pods = seen.of(PodSeen)
    before = {p.uid: p.restarts for p in pods if p.at < case.fault_at}
    return _every(
        case.victim_pods, [p for p in pods if p.at >= case.fault_at],
        lambda pod: pod.running and pod.ready and pod.restarts > before.get(pod.uid, 0),
    )  # fmt: skip


def _names(case: Case, seen: Observations, uids: frozenset[str]) -> str:
    return ", ".join(sorted({p.name for p in seen.of(PodSeen) if p.uid in uids}))


def _lost_names(case: Case, seen: Observations) -> str:
    return _names(case, seen, case.victim_pods)


def _new_names(case: Case, seen: Observations) -> str:
    return _names(case, seen, replacements(case, seen.of(PodSeen)))


def _new_places(case: Case, seen: Observations) -> str:
    pods = seen.of(PodSeen)
    fresh = replacements(case, pods)
    return ", ".join(sorted({f"{p.name} on {p.node}" for p in pods if p.uid in fresh and p.node}))


WATCH = ("pods",)
DELETED = PhaseKind(
    "pods_deleted", "pods of the node deleted", "metadata.deletionTimestamp of each pod",
    _deleted, _lost_names, WATCH,
)  # fmt: skip
CREATED = PhaseKind(
    "replacements_created", "replacements created", "the watch's first event of each new pod",
    _created, _new_names, WATCH,
)  # fmt: skip
SCHEDULED = PhaseKind(
    "scheduled", "replacements scheduled", "spec.nodeName of each new pod", _scheduled,
    _new_places, WATCH,
)  # fmt: skip
STARTED = PhaseKind(
    "started", "replacements Running", "each new pod's phase and container states", started,
    observers=WATCH,
)  # fmt: skip
READY = PhaseKind(
    "ready", "replacements Ready", "each new pod's condition Ready", _ready, observers=WATCH
)
RESTARTED = PhaseKind(
    "restarted", "containers running again", "each hit pod's restart count rose, and it is Ready",
    restarted, _lost_names, WATCH,
)  # fmt: skip
GONE = PhaseKind(
    "old_pods_gone", "old pods removed", "the watch's DELETED event of each pod", _gone,
    observers=WATCH, after_heal=True,
)  # fmt: skip
