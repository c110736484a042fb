"""Container events for evented PLEG (KEP-3386): every subscriber has a bounded queue.

A subscriber that does not keep up is dropped; it subscribes again and lists, as after any gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from muster.cri import api_pb2 as cri
from worker.runtime.errors import Unavailable

QUEUE_LENGTH = 1000


class EventBroker:
    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[cri.ContainerEventResponse | None]] = set()

    @property
    def wanted(self) -> bool:
        return bool(self._queues)

    def publish(self, event: cri.ContainerEventResponse) -> None:
        for queue in list(self._queues):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                self._queues.discard(queue)
                queue.get_nowait()
                queue.put_nowait(None)

    @contextmanager
    def subscription(self) -> Iterator[AsyncIterator[cri.ContainerEventResponse]]:
        """Events from now on, in order, for as long as the block runs."""
        queue: asyncio.Queue[cri.ContainerEventResponse | None] = asyncio.Queue(QUEUE_LENGTH)
        self._queues.add(queue)
        try:
            yield _events(queue)
        finally:
            self._queues.discard(queue)


async def _events(
    queue: asyncio.Queue[cri.ContainerEventResponse | None],
) -> AsyncIterator[cri.ContainerEventResponse]:
    while (event := await queue.get()) is not None:
        yield event
    raise Unavailable("events were lost because they were read too slowly")
