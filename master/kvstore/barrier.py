"""Linearizable reads in batches: one ReadIndex for everybody who waits at that moment."""

from __future__ import annotations

import asyncio
import heapq
import secrets
from collections.abc import Callable
from itertools import count
from typing import Protocol

from master.kvstore.errors import RequestTimeout, StoreError
from master.kvstore.raft.core import Read

_RETRY_SECONDS = 0.5
_CONTEXT_BYTES = 8


class Waiter(Protocol):
    """Who wants to read: a future, or a `Reply` of the transport."""

    def done(self) -> bool: ...

    def set_result(self, nothing: None, /) -> None: ...

    def set_exception(self, error: StoreError, /) -> None: ...


# Until when somebody waits.
Waiting = tuple[float, Waiter]


class ReadBarrier:
    """Whoever comes while a question is under way waits for the next: its answer might be too
    old for it (dissertation 6.4 takes the commit index after the read arrived)."""

    def __init__(self, ask: Callable[[bytes], None]) -> None:
        self.retries = 0
        self._ask = ask
        # What was asked before a restart may be answered only now: it is no answer to this life.
        self._numbers = count(secrets.randbits(62))
        self._context = b""
        self._asked_at = 0.0
        self._asking: list[Waiting] = []
        self._next: list[Waiting] = []
        self._applying: list[tuple[int, int, list[Waiting]]] = []
        self._applied = 0

    def wait(self, waiter: Waiter, now: float, deadline: float) -> None:
        """Settle `waiter` once a read of the local state is linearizable for it."""
        self._next.append((deadline, waiter))
        if not self._asking:
            # A turn of the loop gathers all reads that arrive together.
            asyncio.get_running_loop().call_soon(self._start, now)

    def _start(self, now: float) -> None:
        if self._asking or not self._next:
            return
        self._asking, self._next = self._next, []
        self._context = next(self._numbers).to_bytes(_CONTEXT_BYTES, "big")
        self._put(now)

    def _put(self, now: float) -> None:
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
            for _, waiter in heapq.heappop(self._applying)[2]:
                if not waiter.done():
                    waiter.set_result(None)

    def tick(self, now: float, *, leader_changed: bool) -> None:
        """Ask again when the answer is overdue or the one who was asked leads no more.

        It stays the same question: whoever waits for it was there before it was first asked, so
        an answer to any asking will do. Over a slow network no other one would ever come.
        """
        self._expire(now)
        if not self._asking:
            self._start(now)
        elif leader_changed or now - self._asked_at >= _RETRY_SECONDS:
            self.retries += 1
            self._put(now)

    def _expire(self, now: float) -> None:
        """Give up on whoever has waited long enough, and forget who waits no more."""
        self._asking = _still_waiting(self._asking, now)
        self._next = _still_waiting(self._next, now)
        self._applying = [(i, n, _still_waiting(all_, now)) for i, n, all_ in self._applying]

    def fail_all(self, error: StoreError) -> None:
        waiting = [*self._asking, *self._next]
        waiting += [waiter for _, _, waiters in self._applying for waiter in waiters]
        self._asking, self._next, self._applying = [], [], []
        for _, waiter in waiting:
            if not waiter.done():
                waiter.set_exception(error)


def _still_waiting(waiting: list[Waiting], now: float) -> list[Waiting]:
    for deadline, waiter in waiting:
        if deadline <= now and not waiter.done():
            waiter.set_exception(RequestTimeout())
    return [(deadline, waiter) for deadline, waiter in waiting if not waiter.done()]
