"""When a node counts as lost, and what its conditions, taints and zone then are. Pure.

Follows pkg/controller/nodelifecycle: the controller trusts its own clock only. A heartbeat
is a *change* of the node's Ready condition or of its Lease; how old the timestamps in them
look does not matter, so clocks need not agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from kube.api.coordination import Lease
from kube.api.core import Node, NodeCondition, Taint
from kube.machinery.conditions import find, is_true
from kube.machinery.times import format_time

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
# condition -> status -> taint (upstream's nodeConditionToTaintKeyStatusMap)
CONDITION_TAINTS: Mapping[str, Mapping[str, str]] = {
    "Ready": {"False": NOT_READY, "Unknown": UNREACHABLE},
    "MemoryPressure": {"True": "node.kubernetes.io/memory-pressure"},
    "DiskPressure": {"True": "node.kubernetes.io/disk-pressure"},
    "NetworkUnavailable": {"True": "node.kubernetes.io/network-unavailable"},
    "PIDPressure": {"True": "node.kubernetes.io/pid-pressure"},
}
_MANAGED = {UNSCHEDULABLE} | {key for by in CONDITION_TAINTS.values() for key in by.values()}
_HEARTBEAT_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")

NORMAL, PARTIAL, FULL = "Normal", "PartialDisruption", "FullDisruption"


@dataclass(frozen=True, slots=True)
class Health:
    """What was last seen of a node, and when by our clock it was seen to change."""

    heartbeat: str = ""
    renewed: str = ""
    probed: float = 0.0


def observe(known: Health | None, node: Node, lease: Lease | None, now: float) -> Health:
    """The health after a look at the node and its lease. First sight counts as a heartbeat:
    a controller that just started gives everybody the full grace."""
    ready = condition(node, "Ready")
    heartbeat = f"{ready.status} {ready.last_heartbeat_time}" if ready is not None else ""
    renewed = lease.spec.renew_time if lease is not None else ""
    if known is None:
        return Health(heartbeat, renewed, now)
    # Our own verdict "Unknown" changes the condition too, and is no sign of life.
    ours = ready is not None and ready.status == "Unknown"
    alive = (heartbeat != known.heartbeat and not ours) or renewed != known.renewed
    return Health(heartbeat, renewed, now if alive else known.probed)


def condition(node: Node, type_: str) -> NodeCondition | None:
    return find(node.status.conditions, type_)


def is_ready(node: Node) -> bool:
    return is_true(node.status.conditions, "Ready")


def deadline(node: Node, health: Health, grace: float, startup_grace: float) -> float:
    """When the node is lost unless it shows a sign of life before."""
    never_reported = condition(node, "Ready") is None
    return health.probed + (startup_grace if never_reported else grace)


def lost_conditions(node: Node, now: datetime) -> tuple[NodeCondition, ...] | None:
    """The conditions of a node past its deadline; None when they say so already."""
    stamp = format_time(now)
    changed = False
    found = {c.type: c for c in node.status.conditions}
    for type_ in _HEARTBEAT_CONDITIONS:
        old = found.get(type_)
        if old is None:
            found[type_] = NodeCondition(
                type=type_, status="Unknown", reason="NodeStatusNeverUpdated",
                message="Kubelet never posted node status.",
                last_heartbeat_time=node.metadata.creation_timestamp,
                last_transition_time=stamp,
            )  # fmt: skip
            changed = True
        elif old.status != "Unknown":
            found[type_] = msgspec.structs.replace(
                old, status="Unknown", reason="NodeStatusUnknown",
                message="Kubelet stopped posting node status.", last_transition_time=stamp,
            )  # fmt: skip
            changed = True
    return tuple(found.values()) if changed else None


# -- taints


def wanted_taints(node: Node, *, evict: bool, now: datetime) -> tuple[Taint, ...]:
    """The node's taints as its conditions demand; the user's own are kept.

    `evict` False withholds new NoExecute taints (nothing may be evicted now); those that are
    there and still right stay.
    """
    schedule = _no_schedule(node)
    execute = _no_execute(node)
    kept = [taint for taint in node.spec.taints if not _is_managed(taint)]
    stamp = format_time(now)
    for key in schedule:
        kept.append(_present(node, key, "NoSchedule") or _new(key, "NoSchedule", stamp))
    if execute:
        there = _present(node, execute, "NoExecute")
        if there is not None or evict:
            kept.append(there or _new(execute, "NoExecute", stamp))
    return node.spec.taints if _same(kept, node.spec.taints) else tuple(kept)


def wants_eviction(node: Node) -> bool:
    """Whether a NoExecute taint is due and missing: what the eviction rate limits."""
    key = _no_execute(node)
    return bool(key) and _present(node, key, "NoExecute") is None


def _no_schedule(node: Node) -> list[str]:
    keys = [
        by[c.status]
        for c in node.status.conditions
        if (by := CONDITION_TAINTS.get(c.type)) and c.status in by
    ]
    return [*keys, UNSCHEDULABLE] if node.spec.unschedulable else keys


def _no_execute(node: Node) -> str:
    ready = condition(node, "Ready")
    return CONDITION_TAINTS["Ready"].get(ready.status, "") if ready is not None else ""


def _is_managed(taint: Taint) -> bool:
    if taint.effect == "NoExecute":
        return taint.key in (NOT_READY, UNREACHABLE)
    return taint.effect == "NoSchedule" and taint.key in _MANAGED


def _present(node: Node, key: str, effect: str) -> Taint | None:
    return next((t for t in node.spec.taints if (t.key, t.effect) == (key, effect)), None)


def _new(key: str, effect: str, stamp: str) -> Taint:
    # Upstream stamps only NoExecute taints: they are what eviction delays count from.
    return Taint(key=key, effect=effect, time_added=stamp)


def _same(one: Iterable[Taint], other: Iterable[Taint]) -> bool:
    def identities(taints: Iterable[Taint]) -> set[tuple[str, str, str]]:
        return {(taint.key, taint.effect, taint.value) for taint in taints}

    return identities(one) == identities(other)


# -- zones


def zone_of(node: Node) -> str:
    """Region and zone as upstream joins them; "" for a lab without."""
    labels = node.metadata.labels
    region = labels.get("topology.kubernetes.io/region", "")
    zone = labels.get("topology.kubernetes.io/zone", "")
    return f"{region}:\x00:{zone}" if region or zone else ""


def zone_state(nodes: Sequence[Node], unhealthy_threshold: float) -> str:
    """How much of a zone is gone (ComputeZoneState)."""
    ready = sum(is_ready(node) for node in nodes)
    lost = len(nodes) - ready
    if not ready and lost:
        return FULL
    if lost > 2 and lost / len(nodes) >= unhealthy_threshold:
        return PARTIAL
    return NORMAL


def eviction_rate(state: str, size: int, rate: float, secondary: float, large: int) -> float:
    """Nodes per second that may be tainted in a zone of this state and size."""
    if state == PARTIAL:
        return secondary if size > large else 0.0
    return rate


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket of one token: the first eviction is immediate, the next must wait."""

    tokens: float = 1.0
    at: float = 0.0

    def take(self, rate: float, now: float) -> tuple[Bucket, bool]:
        tokens = min(1.0, self.tokens + max(0.0, now - self.at) * rate)
        if tokens < 1.0 or rate <= 0:
            return Bucket(tokens, now), False
        return Bucket(tokens - 1.0, now), True

    def wait(self, rate: float) -> float:
        """Seconds until a token is there; a long time when none ever comes."""
        return (1.0 - self.tokens) / rate if rate > 0 else 3600.0
