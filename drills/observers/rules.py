"""When each node's kube-proxy last synced its rules, by its own word."""

from __future__ import annotations

import asyncio
import time

import aiohttp

from drills.events import RulesSeen
from drills.observers.base import Scope
from drills.observers.scrape import sample, scraping

LAST_SYNC = "kubeproxy_sync_proxy_rules_last_timestamp_seconds"
POLL_SECONDS = 0.1


async def watch(scope: Scope) -> None:
    async with asyncio.TaskGroup() as group:
        for machine in scope.lab.spec.machines:
            group.create_task(_one(scope, machine.name, machine.address), name="observe-rules")


async def _one(scope: Scope, name: str, address: str) -> None:
    async with scraping(scope.lab.monitoring, f"https://{address}:10249/metrics") as scrape:
        last = 0.0
        while True:
            try:
                synced = sample(await scrape(), LAST_SYNC)
                if synced is not None and synced > last:
                    last = synced
                    scope.seen.note(RulesSeen(time.time(), name, synced))
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass  # it is down, or cut off: its last word stands
            await asyncio.sleep(POLL_SECONDS)
