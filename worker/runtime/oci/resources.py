"""CRI resource limits to OCI `linux.resources`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kube.stubs.cri import api_pb2 as cri


@dataclass(frozen=True, slots=True)
class DeviceRule:
    """A line of devices.list; None stands for any number."""

    type: str
    major: int | None
    minor: int | None
    access: str


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What decides how a spec looks on this node; read once, at start."""

    capabilities: frozenset[str]
    # The lowest oom_score_adj that we may give: our own, unless we hold CAP_SYS_RESOURCE.
    oom_score_floor: int = -1000
    cgroup_v2: bool = False
    # cgroup controllers that exist (v1 hierarchies or cgroup.controllers).
    controllers: frozenset[str] = frozenset()
    # Whether the kernel accounts swap; without it a swap limit cannot be set.
    swap: bool = True
    # Where the cgroups of pods go that name no parent of their own.
    cgroup_parent: str = "/muster"
    # The devices that this machine itself may use; empty when nothing is kept from it.
    devices: tuple[DeviceRule, ...] = ()
    # How many files a container may open (soft, hard); None: as many as the runtime itself.
    open_files: tuple[int, int] | None = None


def device_rules(listed: str) -> tuple[DeviceRule, ...]:
    """What a cgroup's devices.list says (cgroup v1). Empty: every device is allowed."""
    rules = []
    for line in listed.splitlines():
        kind, numbers, access = line.split()
        if kind == "a":
            return ()
        major, minor = (None if n == "*" else int(n) for n in numbers.split(":"))
        rules.append(DeviceRule(kind, major, minor, access))
    return tuple(rules)


def oom_score_adj(wanted: int, facts: NodeFacts) -> int:
    return max(wanted, facts.oom_score_floor)


def linux_resources(res: cri.LinuxContainerResources, facts: NodeFacts) -> dict[str, Any]:
    """The limits that the request names; zero means "not given" in CRI."""
    out: dict[str, Any] = {}
    if cpu := _cpu(res):
        out["cpu"] = cpu
    if memory := _memory(res, facts):
        out["memory"] = memory
    # Kubelets list every page size with limit 0; only nodes with the controller can set any.
    if "hugetlb" in facts.controllers and res.hugepage_limits:
        out["hugepageLimits"] = [
            {"pageSize": h.page_size, "limit": h.limit} for h in res.hugepage_limits
        ]
    if facts.cgroup_v2 and res.unified:
        out["unified"] = dict(sorted(res.unified.items()))
    return out


def _cpu(res: cri.LinuxContainerResources) -> dict[str, Any]:
    cpu: dict[str, Any] = {
        "shares": res.cpu_shares,
        "quota": res.cpu_quota,
        "period": res.cpu_period,
        "cpus": res.cpuset_cpus,
        "mems": res.cpuset_mems,
    }
    return {key: value for key, value in cpu.items() if value}


def _memory(res: cri.LinuxContainerResources, facts: NodeFacts) -> dict[str, Any]:
    memory: dict[str, Any] = {}
    if res.memory_limit_in_bytes:
        memory["limit"] = res.memory_limit_in_bytes
    if res.memory_swap_limit_in_bytes and facts.swap:
        memory["swap"] = res.memory_swap_limit_in_bytes
    return memory


def merged(
    old: cri.LinuxContainerResources, new: cri.LinuxContainerResources
) -> cri.LinuxContainerResources:
    """`old` with every field that `new` gives, as UpdateContainerResources asks."""
    result = cri.LinuxContainerResources()
    result.CopyFrom(old)
    if new.hugepage_limits:
        del result.hugepage_limits[:]
    result.MergeFrom(new)
    return result
