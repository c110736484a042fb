"""Time: how long a tick is, what follows from it, and the task that ticks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic


@dataclass(frozen=True, slots=True)
class Timing:
    tick_seconds: float = 0.1
    election_ticks: int = 10

    @property
    def election_seconds(self) -> float:
        return self.tick_seconds * self.election_ticks

    @property
    def request_seconds(self) -> float:
        """How long a request may take, an election included (etcd: 5 s + 2 x election)."""
        return 5.0 + 2 * self.election_seconds

    @property
    def least_lease_seconds(self) -> int:
        """A lease must outlive an election (etcd: 3/2 election timeouts, rounded up)."""
        return -int(-1.5 * self.election_seconds // 1)


async def tick_forever(timing: Timing, tick: Callable[[], None]) -> None:
    due = monotonic()
    while True:
        due += timing.tick_seconds
        now = monotonic()
        if due < now - timing.election_seconds:
            due = now  # the machine slept: that time did not pass for the others' messages
        await asyncio.sleep(max(0.0, due - now))
        tick()
