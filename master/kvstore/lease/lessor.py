"""Which leases exist and which keys hang on them. Replicated: no clock here.

When a lease runs out is the leader's own business (`expiry`); it then proposes a revocation, so
that all members delete the keys at the same place in the log.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from master.kvstore.errors import LeaseExists, LeaseNotFound, LeaseTtlTooLarge
from master.kvstore.mvcc.records import Change

MAX_TTL_SECONDS = 9_000_000_000


@dataclass(slots=True)
class Lease:
    id: int
    ttl_seconds: int
    keys: set[bytes] = field(default_factory=set)


class Lessor:
    def __init__(self) -> None:
        self.leases: dict[int, Lease] = {}

    def __contains__(self, lease_id: object) -> bool:
        return lease_id in self.leases

    def grant(self, lease_id: int, ttl_seconds: int) -> Lease:
        if lease_id == 0:
            raise LeaseNotFound
        if ttl_seconds > MAX_TTL_SECONDS:
            raise LeaseTtlTooLarge
        if lease_id in self.leases:
            raise LeaseExists
        lease = self.leases[lease_id] = Lease(lease_id, ttl_seconds)
        return lease

    def get(self, lease_id: int) -> Lease:
        try:
            return self.leases[lease_id]
        except KeyError:
            raise LeaseNotFound from None

    def revoke(self, lease_id: int) -> list[bytes]:
        """The keys to delete now, in the order in which every member deletes them."""
        return sorted(self.get(lease_id).keys)

    def forget(self, lease_id: int) -> None:
        del self.leases[lease_id]

    def follow(self, changes: Iterable[Change]) -> None:
        """Keep the attachments in step with what was written."""
        if not self.leases:
            return
        for change in changes:
            before = change.prev.lease if change.prev else 0
            after = change.record.lease
            if before == after:
                continue
            if before in self.leases:
                self.leases[before].keys.discard(change.record.key)
            if after in self.leases:
                self.leases[after].keys.add(change.record.key)
