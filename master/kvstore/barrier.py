"""Linearizable reads in batches: one ReadIndex for everybody who waits at that moment."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

from master.kvstore.errors import RequestTimeout, StoreError
from master.kvstore.raft.core import Read

_RETRY_SECONDS = 0.5
_CONTEXT_BYTES = 8

Waiter = asyncio.Future[None]


class ReadBarrier:
    """Whoever comes while a question is under way waits for the next: its answer might be too
    old for it (dissertation 6.4 takes the commit index after the read arrived)."""

    def __init__(self, ask: Callable[[bytes], None]) -> None:
        self.retries = 0
        self._ask = ask
        self._numbers = count(1)
        self._context = b""
        self._asked_at = 0.0
        self._asking: list[Waiter] = []
        self._next: list[Waiter] = []
        self._applying: list[tuple[int, int, list[Waiter]]] = []
        self._applied = 0

    def wait(self, now: float) -> Waiter:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._next.append(waiter)
        if not self._asking:
            # A turn of the loop gathers all reads that arrive together.
            asyncio.get_running_loop().call_soon(self._start, now)
        return waiter

    def _start(self, now: float) -> None:
        if self._asking or not self._next:
            return
        self._asking, self._next = self._next, []
        self._put(now)

    def _put(self, now: float) -> None:
        self._context = next(self._numbers).to_bytes(_CONTEXT_BYTES, "big")
        self._asked_at = now
        self._ask(self._context)

    def answered(self, read: Read, now: float) -> None:
        if read.context != self._context or not self._asking:
            return
        heapq.heappush(self._applying, (read.index, next(self._numbers), self._asking))
        self._asking = []
        self.applied(self._applied)
        self._start(now)

    def applied(self, index: int) -> None:
        self._applied = index
        while self._applying and self._applying[0][0] <= index:
            for waiter in heapq.heappop(self._applying)[2]:
                if not waiter.done():
                    waiter.set_result(None)

    def tick(self, now: float, *, leader_changed: bool) -> None:
        """Ask again when the answer is overdue or the one who was asked leads no more."""
        if not self._asking:
            self._start(now)
        elif leader_changed or now - self._asked_at >= _RETRY_SECONDS:
            self._asking = [waiter for waiter in self._asking if not waiter.done()]
            self.retries += 1
            if self._asking:
                self._put(now)

    def fail_all(self, error: StoreError) -> None:
        waiting = [*self._asking, *self._next]
        waiting += [waiter for _, _, waiters in self._applying for waiter in waiters]
        self._asking, self._next, self._applying = [], [], []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(error)


async def within(waiter: Waiter, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await waiter
    except TimeoutError:
        raise RequestTimeout from None
