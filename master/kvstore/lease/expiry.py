"""When leases run out, as the present leader counts it. Time is handed in.

A new leader gives every lease its whole TTL again, since it cannot know what the old one had
heard (etcd's lessor does the same): a lease may live longer than its TTL, never shorter.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from master.kvstore.lease.lessor import Lease

_REVOKE_AGAIN_SECONDS = 3.0


class Expiry:
    def __init__(self) -> None:
        self.leading = False
        self._deadlines: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []  # may name deadlines that have since moved

    def lead(self, leases: Iterable[Lease], now: float, grace_seconds: float) -> None:
        """This member leads from now on. `grace` covers the time without a leader."""
        self.follow()
        self.leading = True
        for lease in leases:
            self.renew(lease.id, lease.ttl_seconds, now + grace_seconds)

    def follow(self) -> None:
        self.leading = False
        self._deadlines.clear()
        self._heap.clear()

    def renew(self, lease_id: int, ttl_seconds: int, now: float) -> None:
        if self.leading:
            self._deadlines[lease_id] = now + ttl_seconds
            heapq.heappush(self._heap, (now + ttl_seconds, lease_id))

    def forget(self, lease_id: int) -> None:
        self._deadlines.pop(lease_id, None)

    def remaining(self, lease_id: int, now: float) -> float | None:
        deadline = self._deadlines.get(lease_id)
        return None if deadline is None else deadline - now

    def expired(self, now: float, limit: int) -> list[int]:
        """Up to `limit` leases that have run out. Named again later if nobody revokes them."""
        out: list[int] = []
        again: list[int] = []
        while self._heap and self._heap[0][0] <= now and len(out) < limit:
            _, lease_id = heapq.heappop(self._heap)
            deadline = self._deadlines.get(lease_id)
            if deadline is None or deadline > now or lease_id in out:
                continue
            out.append(lease_id)
            again.append(lease_id)
        for lease_id in again:
            heapq.heappush(self._heap, (now + _REVOKE_AGAIN_SECONDS, lease_id))
        return out
