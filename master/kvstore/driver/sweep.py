"""What compactions have superseded goes away in pieces, between everything else."""

from __future__ import annotations

import asyncio

from master.kvstore.driver.lifecycle import Lifecycle
from master.kvstore.driver.replica import Replica

_RECORDS = 2000  # at once: about a millisecond


class Sweeper:
    def __init__(self, replica: Replica, life: Lifecycle) -> None:
        self._replica = replica
        self._life = life
        self._sweeping = False
        self._on_swept: list[asyncio.Future[None]] = []

    def schedule(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self._life.spawn(self._sweep(), "sweep")

    async def _sweep(self) -> None:
        while self._replica.machine.mvcc.sweep(_RECORDS):  # noqa: ASYNC110 - works, does not wait
            await asyncio.sleep(0)
        self._sweeping = False  # in the turn that found nothing: a compaction may be the next thing
        for waiter in self._on_swept:
            waiter.set_result(None)
        self._on_swept = []

    async def swept(self) -> None:
        """Return once the memory of what is compacted is free."""
        if self._sweeping:
            waiter = asyncio.get_running_loop().create_future()
            self._on_swept.append(waiter)
            await asyncio.shield(waiter)
