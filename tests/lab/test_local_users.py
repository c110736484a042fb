"""Local machines with users of their own: root in one is nobody on the host."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.providers.base import LabNetwork, LabSpec, MachineSpec, Unprepared
from provision.providers.identity import new_host_key
from provision.providers.local import checks, processes
from provision.providers.local.provider import LocalProvider
from provision.providers.local.state import LabPaths
from provision.providers.local.users import COUNT, user_base
from tests.lab.test_local_machines import differences, host_state, ssh

pytestmark = [
    pytest.mark.root,
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="making machines needs root"),
    pytest.mark.skipif(bool(checks.users_lacking()), reason=checks.users_lacking()),
]

PROVIDER = LocalProvider()
NAME = "t-users"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabSpec]:
    directory = tmp_path_factory.mktemp("labs")
    private, public = new_host_key()
    key = directory / "id_ed25519"
    key.touch(0o600)
    key.write_text(private)
    machines = (
        MachineSpec("m1", "master", "10.213.33.11", 1, 512, disk_mib=256),
        MachineSpec("w1", "worker", "10.213.33.21", 1, 512),  # its disk is a directory
    )
    spec = LabSpec(
        NAME,
        LabNetwork("10.213.33.0/24", "10.213.33.1", "10.213.33.254"),
        machines,
        directory / NAME,
        public,
        key,
        {"user_namespaces": True},
    )
    before = host_state()
    asyncio.run(PROVIDER.create(spec))
    try:
        yield spec
    finally:
        asyncio.run(PROVIDER.destroy(spec))
    assert differences(before, host_state()) == []


def does(lab: LabSpec, name: str, command: str) -> str:
    code, text = ssh(lab, name, command)
    assert code == 0, text
    return text.strip()


def refused(lab: LabSpec, name: str, command: str) -> None:
    code, text = ssh(lab, name, command)
    assert code != 0, text
    assert "Permission denied" in text or "not permitted" in text, text


def test_every_machine_has_users_of_its_own(lab: LabSpec) -> None:
    bases = set()
    for name in ("m1", "w1"):
        assert does(lab, name, "systemctl is-system-running --wait") == "running"
        assert does(lab, name, "id -u") == "0"
        inside, base, count = does(lab, name, "cat /proc/self/uid_map").split()
        assert (inside, int(base)) == ("0", user_base(NAME, ["m1", "w1"], name))
        assert int(count) == COUNT
        record = processes.read_record(LabPaths(lab.state_dir).machine(name).process)
        assert record is not None
        assert Path(f"/proc/{record['pid']}").stat().st_uid == int(base)
        bases.add(base)
    assert len(bases) == 2


@pytest.mark.parametrize(
    "attack",
    [
        "echo /x > /proc/sys/kernel/core_pattern",
        "umount /proc/sys; echo /x > /proc/sys/kernel/core_pattern",
        "mkdir -p /mnt/p; mount -t proc p /mnt/p; echo /x > /mnt/p/sys/kernel/core_pattern",
        "mkdir -p /mnt/s; mount -t sysfs s /mnt/s; "
        "echo 1 > $(find /mnt/s/kernel -maxdepth 1 -type f -perm -200 | head -1)",
        "mknod /root/disk b 7 0",
        "mknod /root/memory c 1 1",
        "nsenter --target 1 --net --mount unshare --user true && "
        "echo 0 > /proc/sys/user/max_user_namespaces",
        "echo a > $(ls /sys/fs/cgroup/devices/devices.allow /nowhere 2>/dev/null)",
        "chroot /proc/1/root sh -c 'echo 1 > /proc/sys/vm/drop_caches'",
    ],
)
def test_its_root_does_nothing_that_is_the_hosts(lab: LabSpec, attack: str) -> None:
    if "devices.allow" in attack and not Path("/sys/fs/cgroup/devices").exists():
        pytest.skip("cgroup version 2 has no such file")
    refused(lab, "w1", attack)


def test_its_files_are_its_own(lab: LabSpec) -> None:
    # Its own root's, though they are the host's root's on the host's disk.
    for path in ("/usr/bin/env", "/usr/lib/systemd/systemd", "/etc/passwd", "/root", "/dev/null"):
        assert does(lab, "w1", f"stat -c %u {path}") == "0"
    does(lab, "w1", "touch /usr/local/mine /root/mine && chown 1000:1000 /root/mine")
    disk = LabPaths(lab.state_dir).machine("w1").disk
    assert (disk / "root/root/mine").stat().st_uid == 1000
    assert (disk / "usr-upper/local/mine").stat().st_uid == 0
    assert not Path("/usr/local/mine").exists()
    # What is nobody's inside cannot be given away, and nobody outside can be named.
    code, text = ssh(lab, "w1", f"chown {COUNT + 5} /root/mine")
    assert code != 0, text


def test_devices_tunnels_and_containers_of_its_own_work(lab: LabSpec) -> None:
    does(lab, "w1", "echo x > /dev/null && head -c4 /dev/urandom | wc -c")
    does(lab, "w1", "ip link add v0 type veth peer name v1 && ip link del v0")
    does(lab, "w1", "iptables-nft -t nat -A OUTPUT -j ACCEPT && iptables-nft -t nat -F OUTPUT")
    does(lab, "w1", "sysctl -qw net.ipv4.ip_forward=1")
    does(lab, "w1", "unshare --mount --pid --fork --mount-proc --net --uts true")
    top = "$(ls -d /sys/fs/cgroup/memory 2>/dev/null || echo /sys/fs/cgroup)"
    does(lab, "w1", f"mkdir {top}/mine && rmdir {top}/mine")


@pytest.mark.parametrize("name", ["m1", "w1"])
def test_power_off_and_stop_lose_nothing(lab: LabSpec, name: str) -> None:
    does(lab, name, "echo kept > /root/kept && chown 7:8 /root/kept && sync")
    base = does(lab, name, "cat /proc/self/uid_map")
    for end in (PROVIDER.power_off, PROVIDER.stop):
        asyncio.run(end(lab, [name]))
        asyncio.run(PROVIDER.start(lab, [name]))
        assert does(lab, name, "cat /root/kept; stat -c %u:%g /root/kept") == "kept\n7:8"
        assert does(lab, name, "cat /proc/self/uid_map") == base


def test_a_host_that_cannot_says_so_before_anything_is_made(
    lab: LabSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "users_lacking", lambda *places: "/usr: Invalid argument")
    with pytest.raises(Unprepared, match=r"users of their own here \(/usr: Invalid argument\)"):
        asyncio.run(PROVIDER.create(lab))


def test_why_files_cannot_be_shifted_is_said_with_their_place() -> None:
    assert checks.users_lacking() == ""
    assert checks.users_lacking(Path("/proc")).startswith("/proc: ")
