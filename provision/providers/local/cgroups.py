"""A host's cgroup hierarchies and what a machine gets of them. Pure; `cgroupfs` does the I/O.

Two worlds: version 1, a mounted hierarchy for each controller (often with a bare version 2
hierarchy beside them, "hybrid"), and pure version 2, where one hierarchy carries everything.
A machine has a directory in each hierarchy of the host, with its limits and rules, and within it
another, which it sees as the root, thanks to its cgroup namespace (cgroup_namespaces(7)). It can
write its own root's files, never those above: what holds for the machine lies out of its reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from provision.providers.local.names import lab_cgroup

ROOT = "/sys/fs/cgroup"
CPU_PERIOD_US = 100_000
INSIDE = "root"  # what the machine takes for the root of the hierarchy
_V1 = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
_V1_RARE = ("net_cls", "net_prio", "hugetlb", "perf_event", "rdma", "misc", "debug")
V1_CONTROLLERS = frozenset((*_V1, *_V1_RARE))
# What a machine's own systemd and the container runtimes inside it want to use.
V2_DELEGATED = ("cpu", "cpuset", "io", "memory", "pids")

# Everything but these is refused: a machine can make device nodes, but not open the host's
# disks through them. 5:1 is never created inside, but crun cannot start without the right to it.
DEVICE_RULES = (
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",  # null
    "c 1:5 rwm",  # zero
    "c 1:7 rwm",  # full
    "c 1:8 rwm",  # random
    "c 1:9 rwm",  # urandom
    "c 5:0 rwm",  # tty
    "c 5:1 rwm",  # console
    "c 5:2 rwm",  # ptmx
    "c 136:* rwm",  # pts
    "c 10:200 rwm",  # net/tun
    "c 10:229 rwm",  # fuse
)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted cgroup hierarchy. `options` mounts the same one again inside a machine."""

    mountpoint: Path
    version: Literal[1, 2]
    controllers: frozenset[str] = frozenset()
    options: str = ""

    def lab(self, lab: str) -> Path:
        return self.mountpoint / lab_cgroup(lab)

    def machine(self, lab: str, machine: str) -> Path:
        return self.lab(lab) / machine

    def inside(self, lab: str, machine: str) -> Path:
        return self.machine(lab, machine) / INSIDE


@dataclass(frozen=True, slots=True)
class CgroupLayout:
    hierarchies: tuple[Hierarchy, ...]

    @property
    def kind(self) -> Literal["v1", "hybrid", "v2", "none"]:
        versions = {h.version for h in self.hierarchies}
        if versions == {1, 2}:
            return "hybrid"
        if versions == {1}:
            return "v1"
        return "v2" if versions == {2} else "none"

    @property
    def unified(self) -> Hierarchy | None:
        """The version 2 hierarchy, whose cgroup.kill and cgroup.freeze act on a whole tree."""
        return next((h for h in self.hierarchies if h.version == 2), None)

    def carrying(self, controller: str) -> Hierarchy | None:
        return next((h for h in self.hierarchies if controller in h.controllers), None)

    def missing(self) -> list[str]:
        """What a machine with systemd needs and this host does not mount."""
        if self.kind == "v2":
            unified = self.unified
            assert unified is not None
            return [c for c in ("cpu", "memory", "pids") if c not in unified.controllers]
        wanted = ("cpu", "memory", "devices", "freezer", "pids", "name=systemd")
        return [c for c in wanted if self.carrying(c) is None]


@dataclass(frozen=True, slots=True)
class MachineSize:
    cpus: float
    memory_mib: int
    pids: int | None = None


@dataclass(frozen=True, slots=True)
class Weight:
    """How one version of cgroups says who gets how much of a busy host."""

    file: str
    one: int  # of a single busy process beside it
    most: int

    def of(self, cpus: float) -> int:
        """A machine counts for as many busy processes as it has processors, a lab for all its
        machines': else everything on it would have to share what one process gets."""
        return min(max(2, int(self.one * cpus)), self.most)


WEIGHT = {1: Weight("cpu.shares", 1024, 262_144), 2: Weight("cpu.weight", 100, 10_000)}


def parse_layout(mountinfo: str, v2_controllers: str) -> CgroupLayout:
    """The layout from /proc/self/mountinfo and, for version 2, its root's cgroup.controllers."""
    found: dict[Path, Hierarchy] = {}
    for line in mountinfo.splitlines():
        fields, _, tail = line.partition(" - ")
        mountpoint = Path(fields.split()[4])
        kind, _, super_options = tail.split(" ", 2)
        if mountpoint != Path(ROOT) and Path(ROOT) not in mountpoint.parents:
            continue
        if kind == "cgroup2":
            found[mountpoint] = Hierarchy(mountpoint, 2, frozenset(v2_controllers.split()))
        elif kind == "cgroup":
            found[mountpoint] = _version1(mountpoint, super_options)
    return CgroupLayout(tuple(found[path] for path in sorted(found)))


def _version1(mountpoint: Path, super_options: str) -> Hierarchy:
    options = super_options.split(",")
    named = [option for option in options if option.startswith("name=")]
    controllers = [option for option in options if option in V1_CONTROLLERS]
    mount_options = ["none", *named] if named else controllers
    return Hierarchy(mountpoint, 1, frozenset(controllers + named), ",".join(mount_options))


def limits(hierarchy: Hierarchy, size: MachineSize) -> Iterator[tuple[str, str]]:
    """The files of a machine's directory that set its size, in the order of writing.

    Swap is not handed out on top of memory: a machine of 512 MiB has 512 MiB.
    """
    quota = max(1000, int(size.cpus * CPU_PERIOD_US))
    memory = str(size.memory_mib * 1024 * 1024)
    if hierarchy.version == 2:
        if "cpu" in hierarchy.controllers:
            yield "cpu.max", f"{quota} {CPU_PERIOD_US}"
            yield WEIGHT[2].file, str(WEIGHT[2].of(size.cpus))
        if "memory" in hierarchy.controllers:
            yield "memory.max", memory
            yield "memory.swap.max", "0"
        if "pids" in hierarchy.controllers and size.pids is not None:
            yield "pids.max", str(size.pids)
        return
    if "cpu" in hierarchy.controllers:
        yield "cpu.cfs_period_us", str(CPU_PERIOD_US)
        yield "cpu.cfs_quota_us", str(quota)
        yield WEIGHT[1].file, str(WEIGHT[1].of(size.cpus))
    if "memory" in hierarchy.controllers:
        yield "memory.limit_in_bytes", memory
        yield "memory.memsw.limit_in_bytes", memory
    if "pids" in hierarchy.controllers and size.pids is not None:
        yield "pids.max", str(size.pids)


# Only there when the kernel accounts swap.
OPTIONAL_LIMITS = frozenset({"memory.swap.max", "memory.memsw.limit_in_bytes"})


@dataclass(frozen=True, slots=True)
class CgroupMount:
    """A mount that a machine makes for itself, inside its cgroup namespace."""

    target: str
    kind: Literal["cgroup", "cgroup2"]
    options: str


def mounts_inside(layout: CgroupLayout) -> tuple[CgroupMount, ...]:
    """The host's hierarchies at the same places, each showing only the machine's own part."""
    return tuple(
        CgroupMount(str(h.mountpoint), "cgroup" if h.version == 1 else "cgroup2", h.options)
        for h in layout.hierarchies
    )


def links_inside(layout: CgroupLayout) -> dict[str, str]:
    """`cpu` -> `cpu,cpuacct` and the like, for hierarchies that carry several controllers."""
    return {
        f"{ROOT}/{controller}": h.mountpoint.name
        for h in layout.hierarchies
        if h.version == 1 and len(h.controllers) > 1
        for controller in sorted(h.controllers)
    }
