"""What the kubelet knows of its machine: size, system, pressure. Reads files only."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from kube.api import core

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Machine:
    """The size of the machine: what a lab says it has, else what the host has."""

    cpu_milli: int
    memory_bytes: int
    pids: int | None = None  # the most tasks that it may have, where that is not the kernel's limit


class MachineInfoError(Exception):
    """--machine-info names a file that does not say what it should."""


def read_machine(info: Path) -> Machine:
    """`{"cpus": 2, "memory_mib": 2048}`. On a machine that has no such file, the host's size.

    /proc in a system container shows the host, so a lab's machines are told their size.
    """
    if not info.exists():
        return Machine((os.cpu_count() or 1) * 1000, _meminfo("MemTotal"))
    try:
        document = json.loads(info.read_text())
        pids = document.get("pids")
        return Machine(
            round(float(document["cpus"]) * 1000),
            int(document["memory_mib"]) * 2**20,
            None if pids is None else int(pids),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise MachineInfoError(
            f'"{info}" must be {{"cpus": number, "memory_mib": integer}}: {error!r}'
        ) from error


def _meminfo(field: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0]) * 1024
    return 0


def memory_available(capacity: int) -> int:
    """What the machine has left: of its cgroup's size where it is one, else as the kernel says."""
    if any(
        (_CGROUP / name).exists() for name in ("memory.current", "memory/memory.usage_in_bytes")
    ):
        return capacity - memory_used()
    return _meminfo("MemAvailable")


def memory_used() -> int:
    """Bytes that cannot be reclaimed cheaply, of this machine: usage without inactive files."""
    v2, v1 = _CGROUP / "memory.current", _CGROUP / "memory" / "memory.usage_in_bytes"
    for usage, stat, field in (
        (v2, _CGROUP / "memory.stat", "inactive_file"),
        (v1, _CGROUP / "memory" / "memory.stat", "total_inactive_file"),
    ):
        if usage.exists():
            return max(int(usage.read_text()) - _stat(stat, field), 0)
    return _meminfo("MemTotal") - _meminfo("MemAvailable")


def _stat(path: Path, field: str) -> int:
    for line in path.read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == field:
            return int(value)
    return 0


def cpu_used_seconds() -> float:
    """CPU seconds that the machine has used since it started."""
    v2, v1 = _CGROUP / "cpu.stat", _CGROUP / "cpuacct" / "cpuacct.usage"
    if v1.exists():
        return int(v1.read_text()) / 1e9
    return _stat(v2, "usage_usec") / 1e6 if v2.exists() else 0.0


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system, as statvfs(3) sees it."""

    capacity: int
    available: int
    inodes: int
    inodes_free: int


def disk(path: Path) -> Disk:
    vfs = os.statvfs(path)
    return Disk(vfs.f_blocks * vfs.f_frsize, vfs.f_bavail * vfs.f_frsize, vfs.f_files, vfs.f_favail)


def pids_used(limit: int | None) -> tuple[int, int]:
    """(tasks now, the most that there may be)."""
    if limit is not None:  # a system container, whose /proc counts the host's tasks
        v1 = _CGROUP / "pids" / "pids.current"
        return int((v1 if v1.exists() else _CGROUP / "pids.current").read_text()), limit
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    with Path("/proc/loadavg").open() as file:
        return int(file.read().split()[3].split("/")[1]), most


def system_info() -> core.NodeSystemInfo:
    """The parts of node.status.nodeInfo that files and uname tell."""
    machine_id = _text(Path("/etc/machine-id"))
    return core.NodeSystemInfo(
        kernel_version=os.uname().release,
        os_image=_os_release(),
        machine_id=machine_id,
        system_uuid=_text(Path("/sys/class/dmi/id/product_uuid")) or machine_id,
        boot_id=boot_id(),
        operating_system="linux",
    )


def boot_id() -> str:
    """Of the machine: /proc of a system container has the host's, so PID 1's start is added."""
    boot = _text(Path("/proc/sys/kernel/random/boot_id"))
    try:
        started = Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return boot
    return f"{boot}-{started}"


def _os_release() -> str:
    for line in _text(Path("/etc/os-release")).splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip('"')
    return "Linux"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
