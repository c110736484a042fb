"""What of this host stands in the way of a lab. Each finding says what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from provision.providers.base import LabSpec, Problem, ProviderError
from provision.providers.local import bpf, cgroupfs, hostfacts, loop, strays
from provision.providers.local.names import host_link
from provision.providers.local.network import run
from provision.providers.local.spec import own_users
from provision.providers.local.state import LabPaths, claimed_subnet
from provision.providers.local.subnets import TakenSubnet, routes_taken, subnet_problems

# A machine's own files, the shipped bundle and some images.
_DISK_MIB_PER_MACHINE = 512
# systemd, journald and each of our agents watch files; the kernel's default is 128 for all.
_INOTIFY_INSTANCES_PER_MACHINE = 8
_INOTIFY_INSTANCES_SPARE = 24
_TOOLS = {
    "ip": "iproute2",
    "nft": "nftables",  # drills: partitions and losses on the lab's bridge
    "sysctl": "procps",
    "mount": "mount",
    "mkfs.ext4": "e2fsprogs",
    "/usr/sbin/sshd": "openssh-server",
    "/usr/lib/systemd/systemd": "systemd",
    "/usr/share/base-passwd/passwd.master": "base-passwd",
    "/usr/bin/python3": "python3",
}
_CAPABILITIES = {
    "CAP_SYS_ADMIN": 21,
    "CAP_NET_ADMIN": 12,
    "CAP_MKNOD": 27,
    "CAP_SYS_CHROOT": 18,
    "CAP_KILL": 5,
    "CAP_DAC_OVERRIDE": 1,
}
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
# What the machine network uses, tried out in a namespace that vanishes with the process.
_NETWORK_TRIAL = "link add br0 type bridge\nlink add v0 type veth peer name v1\n"


@dataclass(frozen=True, slots=True)
class Guard:
    """Something that keeps machines from the host, where the kernel has it."""

    what: str
    lacking: str  # why this host does not; empty where it does


def guards() -> list[Guard]:
    layout = cgroupfs.host_layout()
    reason = bpf.why_not()
    if not reason and layout.unified is None:
        reason = "cgroup version 2 is not mounted (also beside version 1: /sys/fs/cgroup/unified)"
    return [
        Guard("machines cannot write the host's sysctls", reason),
        Guard("machines can have disks of a size of their own", loop.why_not()),
        Guard("machines can have users of their own (spec.local.userNamespaces)", users_lacking()),
    ]


def users_lacking(*directories: Path) -> str:
    """Why machines cannot have users of their own here; empty where they can.

    `directories` are those whose files would belong to them, besides the host's /usr.
    """
    module = f"{__package__}.usernet"
    places = [str(place) for place in (Path("/usr"), *directories)]
    done = subprocess.run(
        [sys.executable, "-S", "-m", module, "--try", *places],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.strip() or ("it failed" if done.returncode else "")


async def host_problems(lab: LabSpec) -> list[Problem]:
    if os.geteuid() != 0:
        return [Problem("machines of the local provider need root", "run the command as root")]
    problems = [*_tool_problems(), *_kernel_problems(), *_disk_problems(lab)]
    problems += [*_size_problems(lab), *_stray_problems(lab)]
    if not any("iproute2" in problem.packages for problem in problems):
        problems += await _network_problems(lab)
    if own_users(lab):
        problems += _user_problems(lab)
    return problems


def _size_problems(lab: LabSpec) -> Iterator[Problem]:
    """Several machines may share what there is; none may be given more."""
    most = hostfacts.memory_mib()
    for machine in lab.machines:
        if machine.memory_mib > most:
            yield Problem(
                f"{machine.name} is to have {machine.memory_mib} MiB of memory, this host {most}",
                "give it less (memory, in the lab file)",
            )


def _stray_problems(lab: LabSpec) -> Iterator[Problem]:
    if lab.name in strays.running() and LabPaths(lab.state_dir).claim_is_new():
        yield Problem(
            f'a lab "{lab.name}" runs here already, and {lab.state_dir} knows nothing of it',
            "`muster prune` removes what no lab owns; else give this one another name",
        )


def _user_problems(lab: LabSpec) -> Iterator[Problem]:
    shared = [lab.state_dir] if any(m.disk_mib is None for m in lab.machines) else []
    place = [next(p for p in (d, *d.parents) if p.exists()) for d in shared]
    if reason := users_lacking(*place):
        yield Problem(
            f"machines cannot have users of their own here ({reason})",
            "Linux 5.19 or newer, with /usr (and the state, where disk is none) on ext4, XFS or "
            "btrfs; or leave spec.local.userNamespaces out",
        )


def _tool_problems() -> Iterator[Problem]:
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None and not Path(tool).exists():
            yield Problem(f"{tool} is missing", f"apt-get install {package}", (package,))
    if not Path("/bin").is_symlink():
        yield Problem("/bin is not a link to /usr/bin", "apt-get install usrmerge", ("usrmerge",))


def _kernel_problems() -> Iterator[Problem]:
    capabilities = effective_capabilities(Path("/proc/self/status").read_text())
    lacking = [name for name, bit in _CAPABILITIES.items() if not capabilities >> bit & 1]
    if lacking:
        yield Problem(
            f"this root user lacks {', '.join(lacking)}",
            "run on the machine itself or in a privileged container",
        )
    for kind in _NAMESPACES:
        if not Path("/proc/self/ns", kind).exists():
            yield Problem(f"the kernel has no {kind} namespaces", "use a distribution's kernel")
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        yield Problem("the kernel has no overlay file system loaded", "modprobe overlay")
    layout = cgroupfs.host_layout()
    reason = bpf.why_not()
    if reason and layout.kind == "v2":
        yield Problem(
            f"the kernel takes no programs for cgroups ({reason}), and version 2 has no other "
            "device rules: a machine could open the host's disks",
            "use a distribution's kernel (CONFIG_CGROUP_BPF)",
        )
    for what in layout.missing():
        yield Problem(f"cgroup controller {what} is not available", cgroup_fix(layout.kind, what))


def cgroup_fix(kind: str, what: str) -> str:
    if kind == "v2":
        return f"boot without cgroup_disable={what}, and without a version 1 mount of it"
    name = what.removeprefix("name=")
    options = f"none,{what}" if what != name else name
    directory = f"/sys/fs/cgroup/{name}"
    return f"mkdir -p {directory} && mount -t cgroup -o {options} {name} {directory}"


def effective_capabilities(status: str) -> int:
    """CapEff of /proc/<pid>/status, a bit set in hexadecimal."""
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return int(line.split()[1], 16)


def _disk_problems(lab: LabSpec) -> Iterator[Problem]:
    paths = LabPaths(lab.state_dir)
    absent = [m for m in lab.machines if not paths.machine(m.name).exists]
    place = next(p for p in (lab.state_dir, *lab.state_dir.parents) if p.exists())
    free_mib = shutil.disk_usage(place).free // (1024 * 1024)
    needed_mib = _DISK_MIB_PER_MACHINE * len(absent)
    if free_mib < needed_mib:
        yield Problem(
            f"{place} has {free_mib} MiB free, and {len(absent)} machines need {needed_mib}",
            "make room there, or put the lab's state elsewhere",
        )
    with_image = [m.name for m in absent if m.disk_mib is not None]
    if with_image and (reason := loop.why_not()):
        yield Problem(
            f"{', '.join(with_image)} cannot have disks of their own: no loop device ({reason})",
            "modprobe loop, or let them share the host's disk (spec.local.disk: none)",
        )
    kind = file_system_of(place, Path("/proc/self/mountinfo").read_text())
    without_image = [m.name for m in absent if m.disk_mib is None]
    if kind == "overlay" and without_image:
        yield Problem(
            f"{place} is on an overlay file system, where containers cannot have another",
            f"give {', '.join(without_image)} a disk size, or put the lab's state elsewhere",
        )
    yield from _inotify_problems(len(lab.machines))


def _inotify_problems(machines: int) -> Iterator[Problem]:
    file = Path("/proc/sys/fs/inotify/max_user_instances")
    needed = machines * _INOTIFY_INSTANCES_PER_MACHINE + _INOTIFY_INSTANCES_SPARE
    if int(file.read_text()) < needed:
        yield Problem(
            f"fs.inotify.max_user_instances is too small for {machines} machines",
            f"sysctl -w fs.inotify.max_user_instances={max(needed, 1024)}",
        )


def file_system_of(place: Path, mountinfo: str) -> str:
    """The type of the file system that `place` is on: that of its longest mount point."""
    best, kind = Path("/"), ""
    for line in mountinfo.splitlines():
        fields, _, tail = line.partition(" - ")
        mountpoint = Path(fields.split()[4])
        inside = mountpoint == place or mountpoint in place.parents
        if inside and len(mountpoint.parts) >= len(best.parts):
            best, kind = mountpoint, tail.split(" ", 1)[0]
    return kind


async def _network_problems(lab: LabSpec) -> list[Problem]:
    problems = list(subnet_problems(lab, await _taken(lab)))
    claimed = claimed_subnet(lab.state_dir)
    if claimed not in (None, lab.network.subnet):
        problems.append(
            Problem(
                f'lab "{lab.name}" exists already, with subnet {claimed}',
                "remove that lab first, or give this one another name",
            )
        )
    try:
        await run("unshare", "--net", "ip", "-batch", "-", stdin=_NETWORK_TRIAL)
    except ProviderError as error:
        problems.append(
            Problem(
                f"the kernel cannot make bridges and veth pairs ({error.text})",
                "modprobe bridge veth, or use a distribution's kernel",
            )
        )
    return problems


async def _taken(lab: LabSpec) -> list[TakenSubnet]:
    routes: list[dict[str, object]] = json.loads(await run("ip", "-json", "-4", "route") or "[]")
    taken = list(routes_taken(routes, host_link(lab.name)))
    for other in lab.state_dir.parent.glob("*"):
        subnet = claimed_subnet(other) if other != lab.state_dir else None
        if subnet is not None:
            taken.append(TakenSubnet(IPv4Network(subnet), f'lab "{other.name}"'))
    return taken
