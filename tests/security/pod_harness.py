"""Attacks from a pod: one node for a module, pods in crowds, and what their containers said."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from kube.api import core
from kube.client.client import Client
from kube.machinery import errors
from tests.component.kubelet_harness import Machine, Pods, pod, until, waiting_reason

# Tells everything about the confinement of the process that runs it.
LOOK = """
grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd|Uid|Gid|Groups):' /proc/self/status
echo "uid_map: $(cat /proc/self/uid_map)"
echo "rootfs: $(touch /touched 2>/dev/null && echo writable || echo read-only)"
echo "first: $(tr '\\0' ' ' < /proc/1/cmdline)"
echo "proc_sys: $(grep ' /proc/sys ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1)"
echo "port_start: $(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)"
echo "chmod: $(chmod 777 /tmp 2>&1 && echo done)"
echo "volume: $(stat -c '%u %g' /volume 2>/dev/null)"
"""


def fields(text: str) -> dict[str, str]:
    """What `LOOK` printed."""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name: " ".join(value.split()) for name, _, value in pairs}


def looking(name: str, spec: dict[str, Any]) -> core.Pod:
    """A pod that runs `LOOK` once under the settings of `spec`."""
    return pod(name, "sh", "-c", LOOK, **{"restartPolicy": "Never"} | json.loads(json.dumps(spec)))


def ended(subject: core.Pod) -> bool:
    return subject.status.phase in ("Succeeded", "Failed")


def settled(subject: core.Pod) -> bool:
    """It ran, was refused, or says why it does not start."""
    return ended(subject) or waiting_reason(subject) not in (
        "", "ContainerCreating", "PodInitializing",
    )  # fmt: skip


async def all_settled(
    pods: Pods, wanted: dict[str, core.Pod]
) -> dict[str, core.Pod | errors.Invalid]:
    """Create them all, then wait for each; or what the api-server says against it."""

    async def one(name: str, subject: core.Pod) -> core.Pod | errors.Invalid:
        try:
            await pods.create(subject)
        except errors.Invalid as error:
            return error
        return await pods.when(name, "settles", settled)

    found = await asyncio.gather(*(one(name, subject) for name, subject in wanted.items()))
    return dict(zip(wanted, found, strict=True))


def log_of(node: Machine, subject: core.Pod, name: str = "c", attempt: int = 0) -> str:
    meta = subject.metadata
    directory = node.lab.logs / f"{meta.namespace}_{meta.name}_{meta.uid}" / name
    lines = (directory / f"{attempt}.log").read_text().splitlines()
    return "".join(line.split(" ", 3)[3] + "\n" for line in lines if line.count(" ") >= 3)


async def event(client: Client, name: str, reason: str) -> core.Event:
    """The pod's event of that reason, once it is there."""

    async def told() -> core.Event | None:
        events = await client.list(core.Event, "default")
        return next(
            (e for e in events.items if e.involved_object.name == name and e.reason == reason), None
        )

    return await until(f"event {reason} of {name}", told)


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
