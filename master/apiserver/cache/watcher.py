"""One watch request: a bounded queue between the cache and a client's stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from master.apiserver.cache.entry import Entry, Selection
from master.apiserver.cache.window import CacheEvent, as_seen

# A client that is this far behind is cut off; it resumes from its last resourceVersion.
MAX_BACKLOG = 10_000


class WatcherClosed(Exception):
    """The cache ended this watch: too slow, or its history was lost. `expired` says which."""

    def __init__(self, expired: bool) -> None:
        super().__init__("watch closed")
        self.expired = expired


class Watcher:
    def __init__(self, selection: Selection, initial: Iterable[tuple[str, Entry]] = ()) -> None:
        self.selection = selection
        self._queue: deque[tuple[str, Entry]] = deque(initial)
        self._wake = asyncio.Event()
        self._closed: WatcherClosed | None = None
        if self._queue:
            self._wake.set()

    def offer(self, event: CacheEvent) -> None:
        """Queue the event if this watcher is to see it. Never blocks."""
        seen = as_seen(event, self.selection)
        if seen is None or self._closed:
            return
        if len(self._queue) >= MAX_BACKLOG:
            self.close(expired=False)
            return
        self._queue.append(seen)
        self._wake.set()

    def close(self, expired: bool) -> None:
        self._closed = WatcherClosed(expired)
        self._wake.set()

    async def next_batch(self, timeout: float) -> list[tuple[str, Entry]]:
        """What has come in, waiting up to `timeout` for the first. Raises WatcherClosed."""
        if not self._queue and not self._closed:
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                return []
        if self._queue:
            batch = list(self._queue)
            self._queue.clear()
            if not self._closed:
                self._wake.clear()
            return batch
        if self._closed:
            raise self._closed
        return []
