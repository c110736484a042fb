"""From what was seen to when each phase of the recovery happened. Pure.

All times are seconds of the observer's clock; a Timeline gives them relative to the fault.
The order of the phases is the causal chain of a node failure in Kubernetes: heartbeat stops,
node-lifecycle marks, taint-eviction deletes, replicaset replaces, the scheduler binds, the
kubelet starts, endpointslice publishes, kube-proxy programs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeaseSeen:
    at: float
    node: str
    renewed_at: float  # the holder's clock


@dataclass(frozen=True, slots=True)
class NodeSeen:
    at: float
    name: str
    ready: bool
    unreachable: bool  # carries the NoExecute taint node.kubernetes.io/unreachable


@dataclass(frozen=True, slots=True)
class PodSeen:
    at: float
    uid: str
    name: str
    node: str
    deleting: bool
    running: bool
    ready: bool
    gone: bool = False


@dataclass(frozen=True, slots=True)
class EndpointsSeen:
    """The ready endpoints of the Service, over all its slices."""

    at: float
    ready_pods: frozenset[str]  # pod uids


@dataclass(frozen=True, slots=True)
class RulesSeen:
    """A node's kube-proxy says when its last successful sync was."""

    at: float
    node: str
    synced_at: float


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the prober: a connection of its own, so that each is balanced anew."""

    started: float
    ended: float
    ok: bool
    via: str  # the node whose NodePort was asked
    answer: str  # the pod that answered, or the error


@dataclass(frozen=True, slots=True)
class Case:
    """What the drill did: which machine, when, and whose pods were on it."""

    victim: str
    victim_pods: frozenset[str]
    survivors: tuple[str, ...]
    fault_at: float
    power_on_at: float | None = None


@dataclass(frozen=True, slots=True)
class Observations:
    leases: Sequence[LeaseSeen] = ()
    nodes: Sequence[NodeSeen] = ()
    pods: Sequence[PodSeen] = ()
    endpoints: Sequence[EndpointsSeen] = ()
    rules: Sequence[RulesSeen] = ()
    requests: Sequence[Request] = ()


@dataclass(frozen=True, slots=True)
class Phase:
    key: str
    title: str
    seconds: float | None  # after the fault; None when it was not seen
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    phases: tuple[Phase, ...]
    metrics: dict[str, float | None]

    def seconds(self, key: str) -> float | None:
        return next((phase.seconds for phase in self.phases if phase.key == key), None)


def first(times: Iterable[float]) -> float | None:
    return min(times, default=None)


def build(case: Case, seen: Observations) -> Timeline:
    """Stamp every phase and count the requests."""
    marks = _recovery_marks(case, seen) | _return_marks(case, seen)
    phases = tuple(
        Phase(key, title, _relative(marks.get(key), case.fault_at), detail(case, seen))
        for key, title, detail in _PHASES
    )
    return Timeline(phases, _metrics(case, seen, marks))


def _relative(at: float | None, fault_at: float) -> float | None:
    return None if at is None else round(at - fault_at, 3)


def _recovery_marks(case: Case, seen: Observations) -> dict[str, float | None]:
    nodes = [n for n in seen.nodes if n.name == case.victim and n.at >= case.fault_at]
    victims = [p for p in seen.pods if p.uid in case.victim_pods and p.at >= case.fault_at]
    fresh = replacements(case, seen.pods)
    withdrawn = _withdrawn_at(case, seen.endpoints)
    published = _published_at(case, seen.endpoints, fresh)
    synced = _synced_at(case, seen.rules, published)
    return {
        "last_lease": max(
            (entry.renewed_at for entry in seen.leases
             if entry.node == case.victim and entry.renewed_at <= case.fault_at),
            default=None,
        ),
        "fault": case.fault_at,
        "not_ready": first(n.at for n in nodes if not n.ready),
        "tainted": first(n.at for n in nodes if n.unreachable),
        "endpoints_withdrawn": withdrawn,
        "rules_withdrawn": _synced_at(case, seen.rules, withdrawn),
        "pods_deleted": _all_of(case.victim_pods, [p for p in victims if p.deleting or p.gone]),
        "replacements_created": _all_of(fresh, _of(seen.pods, fresh)),
        "scheduled": _all_of(fresh, [p for p in _of(seen.pods, fresh) if p.node]),
        "started": _all_of(fresh, [p for p in _of(seen.pods, fresh) if p.running]),
        "ready": _all_of(fresh, [p for p in _of(seen.pods, fresh) if p.ready]),
        "endpoints_published": published,
        "rules_synced": synced,
        "first_good_request": None if synced is None else first(
            r.ended for r in seen.requests if r.ok and r.started >= synced
        ),
    }  # fmt: skip


def _return_marks(case: Case, seen: Observations) -> dict[str, float | None]:
    on = case.power_on_at
    if on is None:
        return {}
    back = [n for n in seen.nodes if n.name == case.victim and n.at >= on and n.ready]
    gone = [p for p in seen.pods if p.uid in case.victim_pods and p.gone]
    return {
        "power_on": on,
        "rejoined": first(n.at for n in back),
        "untainted": first(n.at for n in back if not n.unreachable),
        "old_pods_gone": _all_of(case.victim_pods, gone),
    }


def replacements(case: Case, pods: Sequence[PodSeen]) -> frozenset[str]:
    """Pods first seen after the fault, as many as were lost (a later rollout does not count)."""
    before = {p.uid for p in pods if p.at < case.fault_at}
    born: list[str] = []
    for pod in pods:
        if pod.uid not in before and pod.uid not in born and not pod.gone:
            born.append(pod.uid)
    return frozenset(born[: len(case.victim_pods)])


def _of(pods: Sequence[PodSeen], uids: frozenset[str]) -> list[PodSeen]:
    return [p for p in pods if p.uid in uids]


def _all_of(uids: frozenset[str], seen: Sequence[PodSeen]) -> float | None:
    """When the last of `uids` was first seen so; None while one is missing."""
    firsts = {uid: first(p.at for p in seen if p.uid == uid) for uid in uids}
    times = [at for at in firsts.values() if at is not None]
    return max(times) if times and len(times) == len(firsts) else None


def _withdrawn_at(case: Case, seen: Sequence[EndpointsSeen]) -> float | None:
    return first(
        e.at for e in seen if e.at >= case.fault_at and not (e.ready_pods & case.victim_pods)
    )


def _published_at(case: Case, seen: Sequence[EndpointsSeen], fresh: frozenset[str]) -> float | None:
    if not fresh:
        return None
    return first(e.at for e in seen if e.at >= case.fault_at and fresh <= e.ready_pods)


def _synced_at(case: Case, seen: Sequence[RulesSeen], since: float | None) -> float | None:
    """When the last surviving node had synced its rules after `since`."""
    if since is None:
        return None
    times = [
        first(r.at for r in seen if r.node == node and r.synced_at >= since)
        for node in case.survivors
    ]
    known = [at for at in times if at is not None]
    return max(known) if known and len(known) == len(times) else None


def _metrics(
    case: Case, seen: Observations, marks: dict[str, float | None]
) -> dict[str, float | None]:
    """The figures that service levels are stated in."""
    during = [r for r in seen.requests if r.ended >= case.fault_at]
    failed = [r for r in during if not r.ok]
    withdrawn = marks["rules_withdrawn"]
    late = None if withdrawn is None else float(sum(r.started > withdrawn for r in failed))
    published = marks["endpoints_withdrawn"]
    # kube-proxy needs a moment from the API's word to the kernel's; these fell into it.
    syncing = None
    if published is not None and withdrawn is not None:
        syncing = float(sum(published < r.started <= withdrawn for r in failed))
    on = case.power_on_at
    rejoined = marks.get("untainted")
    return {
        "replacements_running_seconds": _relative(marks["started"], case.fault_at),
        "endpoints_withdrawn_seconds": _relative(marks["endpoints_withdrawn"], case.fault_at),
        "failed_requests": float(len(failed)),
        "failed_requests_while_rules_synced": syncing,
        "failed_requests_after_withdrawal": late,
        "failed_request_percent": round(100 * len(failed) / len(during), 2) if during else None,
        "longest_outage_seconds": _longest_outage(during),
        "rejoined_seconds": None if on is None else _relative(rejoined, on),
        "requests": float(len(during)),
    }


def _longest_outage(requests: Sequence[Request]) -> float | None:
    """The longest time between two good answers."""
    good = sorted(r.ended for r in requests if r.ok)
    if len(good) < 2:
        return None
    return round(max(b - a for a, b in itertools.pairwise(good)), 3)


Detail = Callable[[Case, Observations], str]


def _no_detail(case: Case, seen: Observations) -> str:
    return ""


def _victim(case: Case, seen: Observations) -> str:
    return case.victim


def _lost_pods(case: Case, seen: Observations) -> str:
    return ", ".join(sorted({p.name for p in _of(seen.pods, case.victim_pods)}))


def _new_pods(case: Case, seen: Observations) -> str:
    return ", ".join(sorted({p.name for p in _of(seen.pods, replacements(case, seen.pods))}))


def _new_places(case: Case, seen: Observations) -> str:
    fresh = _of(seen.pods, replacements(case, seen.pods))
    return ", ".join(sorted({f"{p.name} on {p.node}" for p in fresh if p.node}))


def _survivors(case: Case, seen: Observations) -> str:
    return "on " + ", ".join(case.survivors)


_PHASES: tuple[tuple[str, str, Detail], ...] = (
    ("last_lease", "last heartbeat (Lease renewed)", _victim),
    ("fault", "fault: power cut", _victim),
    ("not_ready", "node NotReady", _victim),
    ("tainted", "node tainted unreachable:NoExecute", _no_detail),
    ("endpoints_withdrawn", "dead endpoints withdrawn", _no_detail),
    ("rules_withdrawn", "rules without them synced", _survivors),
    ("pods_deleted", "pods of the node deleted", _lost_pods),
    ("replacements_created", "replacements created", _new_pods),
    ("scheduled", "replacements scheduled", _new_places),
    ("started", "replacements Running", _no_detail),
    ("ready", "replacements Ready", _no_detail),
    ("endpoints_published", "endpoints published", _no_detail),
    ("rules_synced", "rules synced", _survivors),
    ("first_good_request", "first good request with all in place", _no_detail),
    ("power_on", "machine switched on again", _victim),
    ("rejoined", "node Ready again", _victim),
    ("untainted", "taint removed", _no_detail),
    ("old_pods_gone", "old pods removed", _no_detail),
)
