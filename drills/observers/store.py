"""What each member of the store says of itself: does it lead, does it know a leader."""

from __future__ import annotations

import asyncio
import time

import aiohttp

from drills.events import StoreSeen
from drills.lab import DrillLab
from drills.observers.base import Scope
from drills.observers.scrape import Scrape, sample, scraping

LEADS, HAS_LEADER = "etcd_server_is_leader", "etcd_server_has_leader"
POLL_SECONDS = 0.05


async def watch(scope: Scope) -> None:
    async with asyncio.TaskGroup() as group:
        for name in scope.lab.masters():
            group.create_task(_one(scope, name), name="observe-store")


async def _one(scope: Scope, name: str) -> None:
    last: tuple[bool, bool, bool] | None = None
    async with scraping(scope.lab.store_monitoring, _url(scope.lab, name)) as scrape:
        while True:
            now = await _state(scrape)
            if now != last:
                last = now
                up, leads, has_leader = now
                scope.seen.note(StoreSeen(time.time(), name, up, leads, has_leader))
            await asyncio.sleep(POLL_SECONDS)


async def leader(lab: DrillLab) -> str:
    """The master whose member leads just now; "" for none."""
    for name in lab.masters():
        async with scraping(lab.store_monitoring, _url(lab, name)) as scrape:
            if (await _state(scrape))[1]:
                return name
    return ""


def _url(lab: DrillLab, name: str) -> str:
    return f"https://{lab.address(name)}:2381/metrics"


async def _state(scrape: Scrape) -> tuple[bool, bool, bool]:
    """(answers, leads, knows a leader)."""
    try:
        text = await scrape()
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False, False, False
    return True, sample(text, LEADS) == 1, sample(text, HAS_LEADER) == 1
