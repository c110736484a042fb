"""What a fault is, and what it works on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.robustness.clients import Clients, Compactor
from tests.robustness.cluster import Cluster, wait_for
from tests.robustness.members import Member

Act = Callable[["World"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class World:
    cluster: Cluster
    clients: Clients
    compactor: Compactor
    rng: random.Random

    async def sleep(self, low: float, high: float) -> None:
        await asyncio.sleep(self.rng.uniform(low, high))

    async def writes(self, count: int, seconds: float = 60.0) -> None:
        """Wait until so many more were acknowledged."""
        goal = self.clients.acknowledged + count
        await wait_for(lambda: self.clients.acknowledged >= goal, seconds, f"{count} more writes")

    def anybody(self) -> Member:
        return self.cluster.pick()[0]

    def others(self, *members: Member) -> list[Member]:
        return [member for member in self.cluster.members if member not in members]


@dataclass(frozen=True, slots=True)
class Fault:
    act: Act
    least_members: int = 1
    small_disk: bool = False
    relayed: bool = False  # what is said goes through relays
    failpoint: str = ""  # armed at their first start in all members but the first of several
    possible: Callable[[], bool] = lambda: True


FAULTS: dict[str, Fault] = {}


def fault(name: str, **limits: Any) -> Callable[[Act], Act]:
    def register(act: Act) -> Act:
        FAULTS[name] = Fault(act, **limits)
        return act

    return register
