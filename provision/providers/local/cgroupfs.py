"""Makes, kills, freezes and removes machines' cgroups. What to write is decided in `cgroups`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from provision.providers.base import ProviderError
from provision.providers.local import bpf
from provision.providers.local.cgroups import (
    DEVICE_RULES,
    OPTIONAL_LIMITS,
    ROOT,
    V2_DELEGATED,
    WEIGHT,
    CgroupLayout,
    Hierarchy,
    MachineSize,
    limits,
    parse_layout,
)
from provision.providers.local.names import lab_cgroup

_EMPTY_SECONDS = 10.0


def host_layout() -> CgroupLayout:
    mountinfo = Path("/proc/self/mountinfo").read_text()
    for candidate in (Path(ROOT), Path(ROOT) / "unified"):
        controllers = candidate / "cgroup.controllers"
        if controllers.exists():
            return parse_layout(mountinfo, controllers.read_text())
    return parse_layout(mountinfo, "")


def make(layout: CgroupLayout, lab: str, machine: str, size: MachineSize, owner: int = 0) -> None:
    """A fresh directory in every hierarchy, locked down and sized, before any process joins.

    `owner` is the host's user that the machine's root is: what it sees as the root is its own.
    """
    for hierarchy in layout.hierarchies:
        _make_directory(hierarchy, hierarchy.lab(lab), layout)
        directory = hierarchy.machine(lab, machine)
        if _make_directory(hierarchy, directory, layout):
            _guard(hierarchy, directory)
        _apply_limits(hierarchy, directory, size)
        _weigh(hierarchy, hierarchy.lab(lab))
        inside = hierarchy.inside(lab, machine)
        _make_directory(hierarchy, inside, layout)
        for path in (inside, *inside.iterdir()):
            if path == inside or path.is_file():
                os.chown(path, owner, owner)


def procs_files(layout: CgroupLayout, lab: str, machine: str) -> list[str]:
    """Where a process writes itself to become part of the machine."""
    return [str(h.inside(lab, machine) / "cgroup.procs") for h in layout.hierarchies]


def lab_present(layout: CgroupLayout, lab: str) -> bool:
    return any(hierarchy.lab(lab).is_dir() for hierarchy in layout.hierarchies)


def machines_present(layout: CgroupLayout, lab: str) -> set[str]:
    return {
        entry.name
        for hierarchy in layout.hierarchies
        if hierarchy.lab(lab).is_dir()
        for entry in hierarchy.lab(lab).iterdir()
        if entry.is_dir()
    }


def processes(layout: CgroupLayout, lab: str, machine: str) -> set[int]:
    """Every process in any of the machine's cgroups, nested ones included."""
    pids: set[int] = set()
    for hierarchy in layout.hierarchies:
        for directory in tree(hierarchy.machine(lab, machine)):
            with contextlib.suppress(FileNotFoundError, OSError):
                pids.update(int(p) for p in (directory / "cgroup.procs").read_text().split())
    return pids


def set_frozen(layout: CgroupLayout, lab: str, machine: str, *, frozen: bool) -> None:
    unified = layout.unified
    if unified is not None:
        file, value = unified.machine(lab, machine) / "cgroup.freeze", str(int(frozen))
    else:
        freezer = layout.carrying("freezer")
        assert freezer is not None  # `check` refuses such a host
        file = freezer.machine(lab, machine) / "freezer.state"
        value = "FROZEN" if frozen else "THAWED"
    if frozen:
        file.write_text(value)
    else:
        with contextlib.suppress(FileNotFoundError):
            file.write_text(value)


def is_frozen(layout: CgroupLayout, lab: str, machine: str) -> bool:
    unified = layout.unified
    if unified is not None:
        file, value = unified.machine(lab, machine) / "cgroup.freeze", "1"
    else:
        freezer = layout.carrying("freezer")
        assert freezer is not None
        file, value = freezer.machine(lab, machine) / "freezer.self_freezing", "1"
    try:
        return file.read_text().strip() == value
    except FileNotFoundError:
        return False


async def kill(layout: CgroupLayout, lab: str, machine: str) -> None:
    """Kill everything in the machine, at once where the kernel can, and wait until it is gone."""
    deadline = asyncio.get_running_loop().time() + _EMPTY_SECONDS
    while pids := processes(layout, lab, machine):
        _kill_once(layout, lab, machine, pids)
        # Version 1's freezer holds back even SIGKILL.
        set_frozen(layout, lab, machine, frozen=False)
        if asyncio.get_running_loop().time() > deadline:
            raise ProviderError(
                f'machine "{machine}" still has processes {sorted(pids)} after SIGKILL',
                "look for one in uninterruptible sleep (ps -o pid,stat,wchan)",
            )
        await asyncio.sleep(0.01)


def _kill_once(layout: CgroupLayout, lab: str, machine: str, pids: set[int]) -> None:
    unified = layout.unified
    if unified is not None:
        with contextlib.suppress(OSError):
            (unified.machine(lab, machine) / "cgroup.kill").write_text("1")
    for pid in pids:
        _kill_member(pid, f"/{lab_cgroup(lab)}/{machine}")


def _kill_member(pid: int, group: str) -> None:
    """SIGKILL `pid`, unless it has been recycled since: its cgroup is read through a pidfd."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Once the pidfd is held, the number cannot come to mean another process unnoticed.
        membership = Path(f"/proc/{pid}/cgroup").read_text()
        if any(is_within(line, group) for line in membership.splitlines()):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return
    finally:
        os.close(handle)


def is_within(membership: str, group: str) -> bool:
    """Whether a line of /proc/<pid>/cgroup (`9:memory:/a/b`) names `group` or a part of it."""
    path = membership.split(":", 2)[2]
    return path == group or path.startswith(group + "/")


async def remove_machine(layout: CgroupLayout, lab: str, machine: str) -> None:
    for hierarchy in layout.hierarchies:
        await _remove_tree(hierarchy.machine(lab, machine))


async def remove_lab(layout: CgroupLayout, lab: str) -> None:
    for hierarchy in layout.hierarchies:
        await _remove_tree(hierarchy.lab(lab))


async def _remove_tree(top: Path) -> None:
    """rmdir bottom-up. The kernel says EBUSY for a moment after the last process has gone."""
    deadline = asyncio.get_running_loop().time() + _EMPTY_SECONDS
    for directory in reversed(list(tree(top))):
        while True:
            try:
                directory.rmdir()
            except FileNotFoundError:
                break
            except OSError as error:
                late = asyncio.get_running_loop().time() > deadline
                if error.errno != errno.EBUSY or late:
                    raise ProviderError(f"cannot remove cgroup {directory}: {error}") from error
                await asyncio.sleep(0.01)
            else:
                break


def tree(top: Path) -> Iterator[Path]:
    for root, _, _ in os.walk(top):
        yield Path(root)


def _make_directory(hierarchy: Hierarchy, directory: Path, layout: CgroupLayout) -> bool:
    fresh = not directory.exists()
    directory.mkdir(exist_ok=True)
    if hierarchy.version == 2:
        if layout.kind == "v2":
            _delegate(directory.parent)
    elif "cpuset" in hierarchy.controllers:
        # A version 1 cpuset starts empty, and no process can enter an empty one.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not (directory / name).read_text().strip():
                (directory / name).write_text((directory.parent / name).read_text())
        (directory / "cgroup.clone_children").write_text("1")
    return fresh


def _weigh(hierarchy: Hierarchy, lab: Path) -> None:
    """The lab weighs what its machines weigh together."""
    weight = WEIGHT[hierarchy.version]
    if "cpu" in hierarchy.controllers:
        total = sum(int(file.read_text()) for file in lab.glob(f"*/{weight.file}"))
        (lab / weight.file).write_text(str(min(total, weight.most)))


def _delegate(parent: Path) -> None:
    """Hand the controllers on from `parent` to its children.

    Only on a pure version 2 host: in a hybrid one an empty cgroup.controllers inside the
    machine is what makes crun accept the version 1 controllers.
    """
    available = (parent / "cgroup.controllers").read_text().split()
    enabled = (parent / "cgroup.subtree_control").read_text().split()
    wanted = [f"+{c}" for c in V2_DELEGATED if c in available and c not in enabled]
    if wanted:
        (parent / "cgroup.subtree_control").write_text(" ".join(wanted))


def _guard(hierarchy: Hierarchy, directory: Path) -> None:
    if hierarchy.version == 2:
        # Where version 1 has the device rules this comes on top, for the sysctls; `checks` tells of
        # a kernel without such programs, and refuses one that has no other device rules.
        if not bpf.why_not():
            bpf.guard(directory, DEVICE_RULES)
    elif "devices" in hierarchy.controllers:
        _lock_devices(directory)


def _lock_devices(directory: Path) -> None:
    """Must come before the directory has children: the kernel says EINVAL afterwards."""
    (directory / "devices.deny").write_text("a")
    for rule in DEVICE_RULES:
        (directory / "devices.allow").write_text(rule)


def _apply_limits(hierarchy: Hierarchy, directory: Path, size: MachineSize) -> None:
    for name, value in limits(hierarchy, size):
        file = directory / name
        if name in OPTIONAL_LIMITS and not file.exists():
            continue
        try:
            file.write_text(value)
        except OSError as error:
            raise ProviderError(
                f"cannot set {file} to {value}: {error.strerror}",
                "give the machine a smaller size, or the host a larger one",
            ) from error
