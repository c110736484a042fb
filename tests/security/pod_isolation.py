"""What a pod gets away with on its node: the attempts, and how pods of each kind fare with them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from provision.images import build_all
from tests.component.kubelet_harness import Machine, Pods, machine, pod
from tests.security.pod_harness import ended, log_of

# Nothing here changes the node, also where it succeeds: files are opened for writing and closed.
ATTEMPTS = {
    "be root of the node outside of its namespaces": "grep -q '^ *0 *0 ' /proc/self/uid_map",
    "see the node's processes": "[ $(ls /proc | grep -c '^[0-9]') -gt 20 ]",
    "mount a file system": "mkdir /m && mount -t tmpfs none /m",
    "make a user namespace": "unshare -U true",
    "make a network namespace": "unshare -n true",
    "open /proc/sys/kernel/core_pattern for writing": ": >> /proc/sys/kernel/core_pattern",
    "read the kernel's log": "dmesg",
    "make a device node": "mknod /null c 1 3",
    "make a cgroup": "cd /sys/fs/cgroup; [ ! -d memory ] || cd memory; mkdir x",
    "read the firmware's tables": "[ -n \"$(ls /sys/firmware)\" ]",
    "change its host name": "hostname elsewhere",
    "change its network's addresses": "ip addr add 10.9.9.9/32 dev lo",
    "send raw packets": "ping -c 1 -W 1 127.0.0.1",
    "change owners of its own files": "touch /own && chown 1000 /own",
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "seccomp RuntimeDefault": {
        "container": {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}
    },
    "hostUsers false": {"hostUsers": False},
    "restricted": {
        "hostUsers": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 1000},
        "container": {
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
        },
    },
    "privileged": {"container": {"securityContext": {"privileged": True}}},
}


def script() -> str:
    tries = (f"({command}) > /dev/null 2>&1" for command in ATTEMPTS.values())
    return "\n".join(f"{command} && echo '|yes' || echo '|no'" for command in tries)


def attempt_all(node: Machine) -> dict[str, list[bool]]:
    """For each kind of pod, which attempts succeed."""
    return asyncio.run(_attempt_all(node))


async def _attempt_all(node: Machine) -> dict[str, list[bool]]:
    async with node.client() as client:
        pods = Pods(client)
        found = {}
        for number, (kind, spec) in enumerate(KINDS.items()):
            name = f"kind-{number}"
            await pods.create(pod(name, "sh", "-c", script(), restartPolicy="Never", **_copy(spec)))
            over = await pods.when(name, "is over", ended)
            words = log_of(node, over).split("|")[1:]
            found[kind] = [word.strip() == "yes" for word in words]
            assert len(found[kind]) == len(ATTEMPTS), log_of(node, over)
        await pods.clean()
        return found


def _copy(spec: dict[str, Any]) -> dict[str, Any]:
    return {key: dict(value) if isinstance(value, dict) else value for key, value in spec.items()}


def rows() -> Sequence[tuple[str, ...]]:
    """The rows of the table: an attempt, and the outcome for each kind of pod."""
    with tempfile.TemporaryDirectory() as directory:
        images = Path(directory)
        build_all(images)
        with machine(images, "crun") as node:
            found = attempt_all(node)
    return [
        (attempt, *("succeeds" if found[kind][number] else "refused" for kind in KINDS))
        for number, attempt in enumerate(ATTEMPTS)
    ]
