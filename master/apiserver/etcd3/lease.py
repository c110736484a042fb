"""Leases for keys that expire: one lease serves many keys of the same time to live.

Like kube-apiserver's lease manager: a lease is used for at most a minute and a thousand
objects, and lives a little longer than asked so that the last key on it gets its full time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from master.apiserver.etcd3.store import Store

REUSE_SECONDS = 60.0
REUSE_OBJECTS = 1000


@dataclass(slots=True)
class _Granted:
    lease: int
    until: float
    used: int


class LeasePool:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._granted: dict[int, _Granted] = {}
        self._lock = asyncio.Lock()

    async def lease(self, ttl_seconds: int) -> int:
        """A lease that keeps a key for at least `ttl_seconds`."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            granted = self._granted.get(ttl_seconds)
            if granted and now < granted.until and granted.used < REUSE_OBJECTS:
                granted.used += 1
                return granted.lease
            lease = await self._store.grant_lease(ttl_seconds + int(REUSE_SECONDS))
            self._granted[ttl_seconds] = _Granted(lease, now + REUSE_SECONDS, 1)
            return lease
