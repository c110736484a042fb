"""Quality of service on the node: a pod's cgroup, and its resources in the kernel's units.

Pure. Follows upstream's `qos/policy.go` and `cm/helpers_linux.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kube.api import core
from kube.api.base import Quantity
from kube.machinery.qos import BEST_EFFORT, GUARANTEED, limits_of, qos_class, requests_of
from kube.machinery.quantity import milli, whole

CPU_PERIOD_US = 100_000
MIN_SHARES, MAX_SHARES = 2, 262_144
MIN_QUOTA_US = 1_000


@dataclass(frozen=True, slots=True)
class CgroupLimits:
    """What the kernel is told. None leaves the kernel's default."""

    cpu_shares: int
    cpu_quota_us: int | None = None
    memory_bytes: int | None = None


def cpu_shares(cpu_milli: int) -> int:
    return min(max(cpu_milli * 1024 // 1000, MIN_SHARES), MAX_SHARES)


def cpu_quota(cpu_milli: int) -> int | None:
    """CFS quota in microseconds a period; None for no limit."""
    return max(cpu_milli * CPU_PERIOD_US // 1000, MIN_QUOTA_US) if cpu_milli else None


def cpu_weight(shares: int) -> int:
    """cgroup v2's weight (1..10000) for v1's shares (2..262144), as runc and crun map it."""
    return 1 + (shares - MIN_SHARES) * 9999 // (MAX_SHARES - MIN_SHARES)


def container_limits(container: core.Container) -> CgroupLimits:
    limits = limits_of(container)
    return CgroupLimits(
        cpu_shares=cpu_shares(milli(requests_of(container).get("cpu", 0))),
        cpu_quota_us=cpu_quota(milli(limits.get("cpu", 0))),
        memory_bytes=whole(limits.get("memory", 0)) or None,
    )


def pod_limits(spec: core.PodSpec) -> CgroupLimits:
    """The pod's cgroup: the sum of its containers, and a limit only where all of them have one."""
    shares = sum(milli(requests_of(c).get("cpu", 0)) for c in spec.containers)
    peak = max((milli(requests_of(c).get("cpu", 0)) for c in spec.init_containers), default=0)
    cpu = _pod_limit(spec, "cpu", milli)
    return CgroupLimits(
        cpu_shares=cpu_shares(max(shares, peak)),
        cpu_quota_us=cpu_quota(cpu),
        memory_bytes=_pod_limit(spec, "memory", whole) or None,
    )


def _pod_limit(spec: core.PodSpec, name: str, unit: Callable[[Quantity], int]) -> int:
    mains = [unit(limits_of(c).get(name, 0)) for c in spec.containers]
    inits = [unit(limits_of(c).get(name, 0)) for c in spec.init_containers]
    if not all(mains) or not all(inits):
        return 0
    always = [
        limit
        for c, limit in zip(spec.init_containers, inits, strict=True)
        if c.restart_policy == "Always"
    ]
    return max(sum(mains) + sum(always), max(inits, default=0) + sum(always))


def oom_score_adj(spec: core.PodSpec, container: core.Container, node_memory: int) -> int:
    """The more of its request a container uses up, the earlier the kernel should choose it."""
    kind = qos_class(spec)
    if kind == GUARANTEED or (spec.priority or 0) >= 2_000_000_000:
        return -997
    if kind == BEST_EFFORT:
        return 1000
    request = whole(requests_of(container).get("memory", 0))
    score = 1000 - 1000 * request // max(node_memory, 1)
    # Between the guaranteed (-997 and 3 above) and the best effort ones.
    return min(max(score, 3), 999)


def cgroup_parent(root: str, uid: str, kind: str) -> str:
    """`/kubepods/burstable/pod<uid>` under `root`; guaranteed pods sit in /kubepods itself."""
    return "/".join((root.rstrip("/"), *_parts(kind), f"pod{uid}"))


def _parts(kind: str) -> Iterable[str]:
    if kind == GUARANTEED:
        return ("kubepods",)
    return ("kubepods", kind.lower())
