"""One watch request: a bounded queue between the cache and a client's stream.

What waits here are references to entries that the cache holds anyway. A client that does not read
would keep alive what the cache has let go of, so it may be no further behind than the window of
recent events reaches back; together all watchers then hold no more than the window does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from master.apiserver.cache.entry import Entry, Selection
from master.apiserver.cache.window import ADDED, CacheEvent, Seen, as_seen

# Taken at once: what a client does not read of them is held besides the queue.
_BATCH_EVENTS, _BATCH_BYTES = 64, 64 << 10


class WatcherClosed(Exception):
    """The cache ended this watch: too slow, or its history was lost. `expired` says which."""

    def __init__(self, expired: bool) -> None:
        super().__init__("watch closed")
        self.expired = expired


def _nothing() -> None:
    """Nobody wants to hear of it."""


class Watcher:
    """`since` is the revision of `initial`, the state to begin with, or of the last event before
    `missed`. `cut` is called when the client is given up while something is being written to it."""

    def __init__(
        self,
        selection: Selection,
        since: int = 0,
        initial: Sequence[Entry] = (),
        missed: Iterable[Seen] = (),
    ) -> None:
        self.selection = selection
        self.cut: Callable[[], None] = _nothing
        self._since = since
        self._initial = initial
        self._given = 0  # of the initial entries
        self._queue: deque[Seen] = deque(missed)
        self._taken = 0  # revision of the oldest that is being written; 0: nothing is
        self._wake = asyncio.Event()
        self._closed: WatcherClosed | None = None
        if self._initial or self._queue:
            self._wake.set()

    def offer(self, event: CacheEvent) -> None:
        """Queue the event if this watcher is to see it. Never blocks."""
        seen = as_seen(event, self.selection)
        if seen is None or self._closed:
            return
        self._queue.append(seen)
        self._wake.set()

    def behind(self) -> int | None:
        """The revision whose state it still holds; None when it has given everything away."""
        if self._taken:
            return self._taken
        if self._given < len(self._initial):
            return self._since
        return self._queue[0][1].revision if self._queue else None

    def give_up(self) -> None:
        """It is too slow. What waits is given to who waits for more; who is still busy with what
        it took does not read. Its client resumes from the last resourceVersion that it saw."""
        if self._closed:
            return
        self.close(expired=False)
        if self._taken:
            self._given, self._initial = 0, ()
            self._queue.clear()
            self.cut()

    def close(self, expired: bool) -> None:
        self._closed = WatcherClosed(expired)
        self._wake.set()

    async def next_batch(self, timeout: float) -> list[Seen]:
        """Some of what has come in, waiting up to `timeout` for the first. Raises WatcherClosed."""
        self._taken = 0
        if not self._pending() and not self._closed:
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                return []
        if batch := self._take():
            return batch
        if self._closed:
            raise self._closed
        return []

    def _pending(self) -> bool:
        return bool(self._queue) or self._given < len(self._initial)

    def _take(self) -> list[Seen]:
        if self._given < len(self._initial):
            return self._take_initial()
        batch: list[Seen] = []
        size = 0
        while self._queue and len(batch) < _BATCH_EVENTS and size < _BATCH_BYTES:
            batch.append(self._queue.popleft())
            size += len(batch[-1][1].data)
        if batch:
            self._taken = batch[0][1].revision
        elif not self._closed:
            self._wake.clear()
        return batch

    def _take_initial(self) -> list[Seen]:
        self._taken = self._since
        start, size = self._given, 0
        while self._given < len(self._initial) and size < _BATCH_BYTES:
            size += len(self._initial[self._given].data)
            self._given += 1
        batch = [(ADDED, entry) for entry in self._initial[start : self._given]]
        if self._given == len(self._initial):
            self._given, self._initial = 0, ()
        return batch
