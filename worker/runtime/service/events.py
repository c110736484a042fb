"""Container events for evented PLEG (KEP-3386): every subscriber has a bounded queue.

A subscriber that does not keep up is dropped; it subscribes again and lists, as after any gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from kube.stubs.cri import api_pb2 as cri
from worker.runtime.errors import Unavailable

QUEUE_LENGTH = 1000
# An event, or why there will be no more.
Item = cri.ContainerEventResponse | Unavailable


class EventBroker:
    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Item]] = set()

    @property
    def wanted(self) -> bool:
        return bool(self._queues)

    def publish(self, event: cri.ContainerEventResponse) -> None:
        for queue in list(self._queues):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                self._end(queue, "events were lost because they were read too slowly")

    def close(self) -> None:
        """End all subscriptions, so that a stop need not wait for those who only listen."""
        for queue in list(self._queues):
            self._end(queue, "the runtime is stopping")

    def _end(self, queue: asyncio.Queue[Item], why: str) -> None:
        self._queues.discard(queue)
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(Unavailable(why))

    @contextmanager
    def subscription(self) -> Iterator[AsyncIterator[cri.ContainerEventResponse]]:
        """Events from now on, in order, for as long as the block runs."""
        queue: asyncio.Queue[Item] = asyncio.Queue(QUEUE_LENGTH)
        self._queues.add(queue)
        try:
            yield _events(queue)
        finally:
            self._queues.discard(queue)


async def _events(queue: asyncio.Queue[Item]) -> AsyncIterator[cri.ContainerEventResponse]:
    while not isinstance(item := await queue.get(), Unavailable):
        yield item
    raise item
