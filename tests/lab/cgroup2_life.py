"""A machine's life on a host of pure cgroup version 2; run by test_local_cgroup2.py.

Its caller has given it mounts of its own, with only cgroup2 under /sys/fs/cgroup. Where the
host's controllers are in use by version 1, that hierarchy has none, so that what is looked at
is everything but the limits. Prints what it saw, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from provision.providers.base import LabNetwork, LabSpec, MachineSpec, Problem
from provision.providers.identity import new_host_key
from provision.providers.local import cgroupfs, checks
from provision.providers.local.provider import LocalProvider


async def no_problems(lab: LabSpec) -> list[Problem]:
    return []


def make_lab(directory: Path, *, own_users: bool) -> LabSpec:
    private, public = new_host_key()
    key = directory / "id_ed25519"
    key.touch(0o600)
    key.write_text(private)
    network = LabNetwork("10.213.6.0/24", "10.213.6.1", "10.213.6.254")
    machine = MachineSpec("m1", "master", "10.213.6.11", 1, 256)
    options = {"user_namespaces": own_users}
    return LabSpec("t-cgroup2", network, (machine,), directory / "lab", public, key, options)


async def ssh(provider: LocalProvider, lab: LabSpec, command: str) -> str:
    target = await provider.ssh_target(lab, "m1")
    known = lab.ssh_private_key.with_name("known_hosts")
    known.write_text(target.known_hosts_line + "\n")
    done = subprocess.run(
        [
            *("ssh", "-F", "none", "-i", str(target.key_file), "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={known}", f"{target.user}@{target.host}", command),
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stdout.strip()


async def live(lab: LabSpec) -> dict[str, object]:
    provider = LocalProvider()
    seen: dict[str, object] = {"kind": cgroupfs.host_layout().kind}
    try:
        await provider.create(lab)
        seen["system"] = await ssh(provider, lab, "systemctl is-system-running --wait")
        seen["mounts"] = await ssh(provider, lab, "grep -c ' cgroup2\\? ' /proc/mounts")
        seen["pid 1"] = await ssh(provider, lab, "grep ^0:: /proc/1/cgroup")
        seen["service"] = await ssh(provider, lab, "ls /sys/fs/cgroup/system.slice/ssh.service")
        disk = Path("/proc/partitions").read_text().split()[4:6]
        seen["host's disk"] = await ssh(
            provider, lab, f"mknod /root/d b {disk[0]} {disk[1]} 2>&1; head -c1 /root/d 2>&1"
        )
        seen["host's sysctl"] = await ssh(
            provider, lab, "umount /proc/sys; echo /x > /proc/sys/kernel/core_pattern; echo $?"
        )
        for verb in (provider.pause, provider.resume, provider.stop, provider.start):
            await verb(lab)
            seen[verb.__name__] = (await provider.states(lab))["m1"]
        await provider.power_off(lab)
        seen["power_off"] = (await provider.states(lab))["m1"]
    finally:
        await provider.destroy(lab)
    seen["left"] = [str(path) for path in Path("/sys/fs/cgroup").glob("mu-t-cgroup2*")]
    return seen


if __name__ == "__main__":
    checks.host_problems = no_problems  # it would rightly refuse a host without controllers
    sys.stdout.write(
        json.dumps(asyncio.run(live(make_lab(Path(sys.argv[1]), own_users=sys.argv[2] == "own"))))
    )
