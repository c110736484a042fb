"""Root in a local machine against its host: what the machine's walls keep out.

A machine shares the host's kernel, so this is no boundary against whoever means harm (see
docs/security.md); what it does keep out, it keeps out also from those who undo a mount.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provision.providers.base import LabNetwork, LabSpec, MachineSpec
from provision.providers.identity import new_host_key
from provision.providers.local import bpf, cgroupfs, loop
from provision.providers.local.provider import LocalProvider
from provision.providers.local.state import LabPaths

pytestmark = [
    pytest.mark.root,
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="making machines needs root"),
]

PROVIDER = LocalProvider()
PIDS = 400
# What `unshare` makes of /proc and /sys anew has no read-only mounts over it.
ANEW = "unshare --mount sh -c 'mkdir -p /mnt/p && mount -t proc proc /mnt/p && {}'"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabSpec]:
    directory = tmp_path_factory.mktemp("labs")
    private, public = new_host_key()
    key = directory / "id_ed25519"
    key.touch(0o600)
    key.write_text(private)
    machines = (
        MachineSpec("m1", "master", "10.213.31.11", 1, 512, disk_mib=256, pids=PIDS),
        MachineSpec("w1", "worker", "10.213.31.21", 1, 512),  # its disk is a directory
    )
    network = LabNetwork("10.213.31.0/24", "10.213.31.1", "10.213.31.254")
    spec = LabSpec("t-walls", network, machines, directory / "t-walls", public, key)
    asyncio.run(PROVIDER.create(spec))
    try:
        yield spec
    finally:
        asyncio.run(PROVIDER.destroy(spec))


def root_runs(lab: LabSpec, name: str, command: str) -> tuple[int, str]:
    target = asyncio.run(PROVIDER.ssh_target(lab, name))
    known = lab.ssh_private_key.with_name(f"known-{name}")
    known.write_text(target.known_hosts_line + "\n")
    options = (f"UserKnownHostsFile={known}", "BatchMode=yes", "LogLevel=ERROR")
    flags = [part for option in options for part in ("-o", option)]
    done = subprocess.run(
        ["ssh", "-F", "none", "-i", str(target.key_file), *flags, f"root@{target.host}", command],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout + done.stderr


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


guarded = pytest.mark.skipif(
    bool(bpf.why_not()) or cgroupfs.host_layout().unified is None,
    reason="the kernel takes no programs for cgroups, or cgroup version 2 is not mounted",
)


@guarded
@pytest.mark.parametrize(
    "attack",
    [
        "mount -o remount,rw,bind /proc/sys; echo '|/x' > /proc/sys/kernel/core_pattern",
        "umount /proc/sys; echo '|/x' > /proc/sys/kernel/core_pattern",
        ANEW.format('echo "|/x" > /mnt/p/sys/kernel/core_pattern'),
        ANEW.format("echo 1 > /mnt/p/sys/vm/swappiness"),
        ANEW.format("echo /x > /mnt/p/sys/kernel/modprobe"),
        ANEW.format("echo 7 > /mnt/p/sys/user/max_user_namespaces"),
        # In a cgroup of its own making, as a pod's processes are.
        "mkdir -p /sys/fs/cgroup/unified/x /sys/fs/cgroup/x 2>/dev/null; echo $$ >"
        " $(ls -d /sys/fs/cgroup/unified/x/cgroup.procs /sys/fs/cgroup/x/cgroup.procs"
        " 2>/dev/null | head -1); " + ANEW.format('echo "|/x" > /mnt/p/sys/kernel/core_pattern'),
    ],
)
def test_the_hosts_sysctls_cannot_be_written(lab: LabSpec, attack: str) -> None:
    names = ("kernel/core_pattern", "vm/swappiness", "kernel/modprobe", "user/max_user_namespaces")
    names = tuple(name for name in names if Path("/proc/sys", name).exists())
    values = {name: Path("/proc/sys", name).read_text() for name in names}
    try:
        code, text = root_runs(lab, "w1", attack)
        assert {name: Path("/proc/sys", name).read_text() for name in names} == values
        assert code != 0, text
    finally:
        for name, value in values.items():
            if Path("/proc/sys", name).read_text() != value:
                Path("/proc/sys", name).write_text(value)


@guarded
def test_sysctls_of_the_machines_own_namespaces_can(lab: LabSpec) -> None:
    for name, value in (("net/ipv4/ip_default_ttl", "71"), ("kernel/msgmax", "12345")):
        code, text = root_runs(lab, "w1", ANEW.format(f"echo {value} > /mnt/p/sys/{name}"))
        assert code == 0, text
        assert Path("/proc/sys", name).read_text().strip() != value


@pytest.mark.skipif(
    cgroupfs.host_layout().carrying("devices") is None, reason="version 2 has no list to widen"
)
def test_a_machine_cannot_widen_its_device_rules(lab: LabSpec) -> None:
    device = "c 10:237 rwm"  # loop-control
    for file in ("devices.allow", "init.scope/devices.allow"):
        root_runs(lab, "w1", f"echo '{device}' > /sys/fs/cgroup/devices/{file}")
    code, text = root_runs(lab, "w1", "rm -f /root/l; mknod /root/l c 10 237 && exec 3<>/root/l")
    assert code != 0
    assert "not permitted" in text


@pytest.mark.parametrize(
    ("controller", "file"),
    [("memory", "memory.limit_in_bytes"), ("cpu", "cpu.cfs_quota_us"), ("pids", "pids.max")],
)
def test_a_machines_limits_lie_where_it_cannot_write_them(
    lab: LabSpec, controller: str, file: str
) -> None:
    layout = cgroupfs.host_layout()
    hierarchy = layout.carrying(controller)
    if hierarchy is None or hierarchy.version == 2:
        pytest.skip(f"no version 1 hierarchy of {controller}")
    limit = hierarchy.machine(lab.name, "m1") / file
    before = limit.read_text()
    assert before.strip() not in ("max", "-1")
    root_runs(lab, "m1", f"find /sys/fs/cgroup -name {file} -exec sh -c 'echo -1 > {{}}' \\;")
    root_runs(lab, "m1", f"find /sys/fs/cgroup -name {file} -exec sh -c 'echo max > {{}}' \\;")
    assert limit.read_text() == before


FORK_BOMB = """
import os, signal, time
made = []
try:
    for _ in range(1000):
        made.append(os.fork())
        if made[-1] == 0:
            time.sleep(60)
            os._exit(0)
except BlockingIOError:
    print("refused after", len(made))
for pid in made:
    os.kill(pid, signal.SIGKILL)
"""


def test_a_fork_bomb_stays_in_its_machine(lab: LabSpec) -> None:
    code, text = root_runs(lab, "m1", f"python3 -c {shlex.quote(FORK_BOMB)}")
    assert code == 0, text
    assert text.startswith("refused after ")
    assert int(text.split()[2]) < PIDS
    assert root_runs(lab, "m1", "true")[0] == 0


@pytest.mark.skipif(bool(loop.why_not()), reason="no loop devices")
def test_a_full_disk_is_the_machines_own_and_given_back(lab: LabSpec) -> None:
    image = LabPaths(lab.state_dir).machine("m1").image
    free = shutil.disk_usage(image).free
    code, text = root_runs(lab, "m1", "cat /dev/zero > /var/full")
    assert code != 0
    assert "No space left" in text
    assert image.stat().st_blocks * 512 <= 300 << 20
    assert shutil.disk_usage(image).free > free - (2 << 30), "more than the disk of 256 MiB"
    full = image.stat().st_blocks
    assert root_runs(lab, "m1", "rm /var/full && sync -f /var")[0] == 0
    # The file system discards what was freed once its journal has it.
    wait_until(lambda: (full - image.stat().st_blocks) * 512 > 100 << 20)


OPEN_BY_HANDLE = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
mount = os.open("/var", os.O_RDONLY)
# ext4's root is inode 2; a handle of type 1 is inode and generation (0 for any old file system).
handle = struct.pack("=Ii", 8, 1) + struct.pack("=II", 2, 0)
found = libc.open_by_handle_at(mount, ctypes.create_string_buffer(handle), os.O_RDONLY)
sys.exit(0 if found >= 0 else os.strerror(ctypes.get_errno()))
"""


def test_files_of_the_shared_disk_cannot_be_opened_by_handle(lab: LabSpec) -> None:
    """The way out of a directory that others took before (open_by_handle_at(2))."""
    code, text = root_runs(lab, "w1", f"python3 -c {shlex.quote(OPEN_BY_HANDLE)}")
    assert code != 0
    assert "Operation not permitted" in text


@pytest.mark.parametrize(
    "attack",
    [
        "mount -t cgroup -o remount,none,name=systemd,release_agent=/x none /sys/fs/cgroup/systemd",
        "echo /x > /sys/fs/cgroup/memory/release_agent",
        "mount -t devtmpfs none /mnt && head -c1 /mnt/vda",
        "python3 -c 'import ctypes,sys; l = ctypes.CDLL(None, use_errno=True);"
        " sys.exit(l.syscall(246, 0, 0, 0, 0) != 0)'",  # kexec_load
        "swapon /var/nothing 2>&1 | grep -v 'No such'",
    ],
)
def test_ways_out_that_others_took(lab: LabSpec, attack: str) -> None:
    assert root_runs(lab, "w1", attack)[0] != 0
