"""Whether the ports of the components that a fault hits accept connections."""

from __future__ import annotations

import asyncio
import contextlib
import time

from drills.events import ComponentSeen
from drills.observers.base import Scope

PORTS = {
    "kvstore": 2381,
    "apiserver": 6443,
    "scheduler": 10259,
    "controller-manager": 10257,
    "runtime": 10011,
    "kubelet": 10250,
    "proxy": 10249,
    "network": 10012,
}
POLL_SECONDS = 0.05
TIMEOUT_SECONDS = 0.5


async def watch(scope: Scope) -> None:
    async with asyncio.TaskGroup() as group:
        for machine, component in scope.components:
            group.create_task(_one(scope, machine, component), name="observe-component")


async def _one(scope: Scope, machine: str, component: str) -> None:
    last: bool | None = None
    while True:
        up = await _accepts(scope.lab.address(machine), PORTS[component])
        if up != last:
            last = up
            scope.seen.note(ComponentSeen(time.time(), machine, component, up))
        await asyncio.sleep(POLL_SECONDS)


async def _accepts(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
