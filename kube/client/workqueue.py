"""A queue of keys with client-go's semantics: one key is never worked on twice at once.

A key that is added while it is being worked on is queued again when the worker is done, and
a key that waits is not queued twice. `add_rate_limited` delays doubling per failing key.
"""

from __future__ import annotations

import asyncio
from collections import deque

from prometheus_client import Counter, Gauge, Histogram

_BUCKETS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
ADDS = Counter("workqueue_adds_total", "Keys added, by queue.", ["name"])
DEPTH = Gauge("workqueue_depth", "Keys that wait, by queue.", ["name"])
RETRIES = Counter("workqueue_retries_total", "Keys queued again after a failure.", ["name"])
WAITED = Histogram(
    "workqueue_queue_duration_seconds", "How long a key waited.", ["name"], buckets=_BUCKETS
)
WORKED = Histogram(
    "workqueue_work_duration_seconds", "How long a key was worked on.", ["name"], buckets=_BUCKETS
)
UNFINISHED = Gauge(
    "workqueue_unfinished_work_seconds", "Seconds of work in progress, by queue.", ["name"]
)
LONGEST = Gauge(
    "workqueue_longest_running_processor_seconds", "The longest work in progress.", ["name"]
)

# client-go's first delay; its last one is 1000 s, too long for a lab that heals in seconds.
FIRST_DELAY = 0.005
LAST_DELAY = 10.0


class ShutDown(Exception):
    """The queue ended; workers return."""


class WorkQueue:
    """Keys to reconcile. Belongs to one event loop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._queue: deque[str] = deque()
        self._dirty: set[str] = set()
        self._added: dict[str, float] = {}
        self._started: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._stopped = False
        DEPTH.labels(name=name).set(0)
        UNFINISHED.labels(name=name).set_function(lambda: sum(self._running()))
        LONGEST.labels(name=name).set_function(lambda: max(self._running(), default=0.0))

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, key: str) -> None:
        """Queue the key, unless it waits already."""
        if self._stopped or key in self._dirty:
            return
        ADDS.labels(name=self.name).inc()
        self._dirty.add(key)
        self._added[key] = self._loop.time()
        if key not in self._started:
            self._push(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Queue the key after a delay; of several delays the earliest counts."""
        if seconds <= 0:
            self.add(key)
            return
        if self._stopped:
            return
        when = self._loop.time() + seconds
        waiting = self._timers.get(key)
        if waiting is not None:
            if waiting.when() <= when:
                return
            waiting.cancel()
        self._timers[key] = self._loop.call_at(when, self._ripe, key)

    def add_rate_limited(self, key: str) -> None:
        """Queue a key that failed, after a delay that doubles with each failure."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        RETRIES.labels(name=self.name).inc()
        self.add_after(key, min(FIRST_DELAY * 2.0 ** min(failures, 30), LAST_DELAY))

    def failures(self, key: str) -> int:
        return self._failures.get(key, 0)

    def forget(self, key: str) -> None:
        """The key succeeded: its next failure starts from the first delay."""
        self._failures.pop(key, None)

    async def get(self) -> str:
        """The next key; it stays with the caller until `done`. Raises ShutDown."""
        while not self._queue:
            if self._stopped:
                raise ShutDown(self.name)
            await self._wait()
        key = self._queue.popleft()
        DEPTH.labels(name=self.name).set(len(self._queue))
        now = self._loop.time()
        WAITED.labels(name=self.name).observe(now - self._added.pop(key, now))
        self._dirty.discard(key)
        self._started[key] = now
        return key

    def done(self, key: str) -> None:
        """The worker finished; the key is queued again if it was added meanwhile."""
        began = self._started.pop(key, None)
        if began is not None:
            WORKED.labels(name=self.name).observe(self._loop.time() - began)
        if key in self._dirty:
            self._push(key)

    def shutdown(self) -> None:
        """Wake all workers with ShutDown once the queue is empty; accept nothing more."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        while self._waiters:
            self._wake_one()

    def _ripe(self, key: str) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _push(self, key: str) -> None:
        self._queue.append(key)
        DEPTH.labels(name=self.name).set(len(self._queue))
        self._wake_one()

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            # The key this waiter was woken for must not be lost with it.
            if waiter.done() and not waiter.cancelled():
                self._wake_one()
            raise

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _running(self) -> list[float]:
        now = self._loop.time()
        return [now - began for began in self._started.values()]
