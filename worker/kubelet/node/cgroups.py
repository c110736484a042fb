"""The pods' cgroups: /kubepods/burstable/pod<uid> with the pod's own limits.

Works on cgroup v1 hierarchies, on the unified v2, and on both side by side (hybrid): each
mounted hierarchy gets the directory, and each limit goes to whichever has its file.
Containers' cgroups below are the OCI runtime's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from kube.component.log import get_logger
from worker.kubelet import metrics
from worker.kubelet.pod.qos import CPU_PERIOD_US, CgroupLimits, cpu_weight

log = get_logger(__name__)

# Hierarchies whose limits are the pod's. Others are left to the OCI runtime, which knows how
# to fill a cpuset before a process may enter it.
V1_CONTROLLERS = ("cpu", "cpuacct", "memory", "pids")
V2_CONTROLLERS = ("cpu", "memory", "pids", "io", "cpuset")


class Cgroups:
    """Creates and removes pod cgroups under `mount` (normally /sys/fs/cgroup)."""

    def __init__(self, mount: Path = Path("/sys/fs/cgroup"), pod_max_pids: int = -1) -> None:
        self._mount = mount
        # Tasks of one pod. It bounds a fork bomb, which else takes the whole node's.
        self._pod_max_pids = pod_max_pids
        self.unified = (mount / "cgroup.controllers").exists()

    def create(self, parent: str, limits: CgroupLimits) -> None:
        """Make the pod's cgroup and write its limits, which may be there already."""
        began = time.monotonic()
        if self.unified:
            self._create_v2(parent, limits)
        else:
            self._create_v1(parent, limits)
        metrics.CGROUP_SECONDS.labels("create").observe(time.monotonic() - began)

    def _create_v1(self, parent: str, limits: CgroupLimits) -> None:
        for controller in V1_CONTROLLERS:
            if (self._mount / controller).is_dir():
                (self._mount / controller / parent.lstrip("/")).mkdir(parents=True, exist_ok=True)
        cpu = self._mount / "cpu" / parent.lstrip("/")
        _write(cpu / "cpu.shares", limits.cpu_shares)
        if limits.cpu_quota_us:
            _write(cpu / "cpu.cfs_period_us", CPU_PERIOD_US)
            _write(cpu / "cpu.cfs_quota_us", limits.cpu_quota_us)
        if limits.memory_bytes:
            memory = self._mount / "memory" / parent.lstrip("/")
            _write(memory / "memory.limit_in_bytes", limits.memory_bytes)
        self._limit_pids(self._mount / "pids" / parent.lstrip("/"))

    def _create_v2(self, parent: str, limits: CgroupLimits) -> None:
        directory = self._mount
        for part in parent.strip("/").split("/"):
            # A controller must be handed down at each level before a child can use it.
            _hand_down(directory)
            directory = directory / part
            directory.mkdir(exist_ok=True)
        _hand_down(directory)
        _write(directory / "cpu.weight", cpu_weight(limits.cpu_shares))
        if limits.cpu_quota_us:
            _write(directory / "cpu.max", f"{limits.cpu_quota_us} {CPU_PERIOD_US}")
        if limits.memory_bytes:
            _write(directory / "memory.max", limits.memory_bytes)
        self._limit_pids(directory)

    def _limit_pids(self, directory: Path) -> None:
        if self._pod_max_pids > 0:
            _write(directory / "pids.max", self._pod_max_pids)

    def remove(self, parent: str) -> bool:
        """Remove the pod's cgroup everywhere. False while something still lives in it."""
        began = time.monotonic()
        # A list, so that one busy hierarchy does not keep the others from being cleaned.
        gone = [_remove_tree(d / parent.lstrip("/")) for d in self._hierarchies()]
        metrics.CGROUP_SECONDS.labels("destroy").observe(time.monotonic() - began)
        return all(gone)

    def pods(self, root: str) -> Iterator[tuple[str, str]]:
        """(uid, cgroup) of every pod cgroup under `root`, for cleaning up after lost pods."""
        seen: set[str] = set()
        for hierarchy in self._hierarchies():
            base = hierarchy / root.strip("/") / "kubepods"
            for kind in ("", "burstable", "besteffort"):
                for found in (base / kind).glob("pod*"):
                    parent = "/" + str(found.relative_to(hierarchy))
                    if parent not in seen:
                        seen.add(parent)
                        yield found.name.removeprefix("pod"), parent

    def _hierarchies(self) -> list[Path]:
        if self.unified:
            return [self._mount]
        return [d for d in self._mount.iterdir() if d.is_dir() and not d.is_symlink()]


def _hand_down(directory: Path) -> None:
    try:
        offered = (directory / "cgroup.controllers").read_text().split()
    except OSError:
        return
    for controller in V2_CONTROLLERS:
        if controller in offered:
            _write(directory / "cgroup.subtree_control", f"+{controller}")


def _write(path: Path, value: int | str) -> None:
    """A limit that the kernel refuses is logged: the pod runs, with a weaker bound."""
    try:
        path.write_text(str(value))
    except OSError as error:
        log.warning("cgroup limit not written", file=str(path), value=value, error=str(error))


def _remove_tree(directory: Path) -> bool:
    if not directory.is_dir():
        return True
    for child in directory.iterdir():
        if child.is_dir():
            _remove_tree(child)
    try:
        directory.rmdir()
    except OSError:
        return not directory.exists()
    return True
