"""Leases as clients keep them: the leader's clock decides, the others ask it.

Which leases there are is replicated (`lease/lessor.py`); when they run out only the leader counts
(`lease/expiry.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic

import msgspec

from kube.component.log import get_logger
from kube.stubs.etcd import command_pb2, rpc_pb2
from master.kvstore.auth.store import ROOT
from master.kvstore.driver.clock import Timing
from master.kvstore.driver.leadership import Leadership
from master.kvstore.driver.replica import Replica
from master.kvstore.errors import LeaseNotFound
from master.kvstore.lease.expiry import Expiry
from master.kvstore.raft.core import Core, ProposalDropped

log = get_logger(__name__)

_EXPIRE_SECONDS = 0.5
_EXPIRE_AT_ONCE = 1000


class LeaseState(msgspec.Struct, frozen=True, array_like=True):
    """A leader's answer about a lease. `remaining` -1: no such lease."""

    granted: int
    remaining: int
    keys: list[bytes] = []


class Leases:
    def __init__(
        self,
        core: Core,
        replica: Replica,
        leadership: Leadership,
        timing: Timing,
        read_barrier: Callable[[], Awaitable[None]],
    ) -> None:
        self._core = core
        self._replica = replica
        self._leadership = leadership
        self._timing = timing
        self._read_barrier = read_barrier
        self._expiry = Expiry()
        self._last_expiry = 0.0

    def least_ttl(self, ttl_seconds: int) -> int:
        return max(ttl_seconds, self._timing.least_lease_seconds)

    async def renew(self, lease_id: int) -> int:
        """The TTL that the lease has again. LeaseNotFound when it is gone or has run out."""
        if self._leadership.mine:
            # One that slept while others elected the next leader may not promise any more, nor
            # may a new one before it has applied what the last one wrote: revocations.
            await self._read_barrier()
        if not self._leadership.mine:
            return int(await self._leadership.ask("lease_renew", str(lease_id).encode()))
        lease = self._replica.machine.lessor.get(lease_id)
        remaining = self._expiry.remaining(lease_id, monotonic())
        if remaining is None or remaining <= 0:
            raise LeaseNotFound  # its revocation is on the way
        self._expiry.renew(lease_id, lease.ttl_seconds, monotonic())
        return lease.ttl_seconds

    def seconds(self, lease_id: int) -> float:
        """What is left of it; without end where nobody counts, on a follower."""
        remaining = self._expiry.remaining(lease_id, monotonic())
        return inf if remaining is None else remaining

    async def state(self, lease_id: int) -> LeaseState:
        if not self._leadership.mine:
            answer = await self._leadership.ask("lease_state", str(lease_id).encode())
            return msgspec.msgpack.decode(answer, type=LeaseState)
        lease = self._replica.machine.lessor.leases.get(lease_id)
        remaining = self._expiry.remaining(lease_id, monotonic())
        if lease is None or remaining is None or remaining < 0:
            return LeaseState(0, -1)
        return LeaseState(lease.ttl_seconds, int(remaining), sorted(lease.keys))

    def applied(self, kind: str, command: command_pb2.Command) -> None:
        if kind == "lease_grant":
            grant = command.lease_grant
            self._expiry.renew(grant.ID, grant.TTL, monotonic())
        elif kind == "lease_revoke":
            self._expiry.forget(command.lease_revoke.ID)

    def leader_changed(self, now: float) -> None:
        if self._core.leader == self._core.id:
            leases = self._replica.machine.lessor.leases.values()
            self._expiry.lead(leases, now, self._timing.election_seconds)
        else:
            self._expiry.follow()

    def tick(self, now: float) -> None:
        if now - self._last_expiry >= _EXPIRE_SECONDS:
            self._last_expiry = now
            self._revoke_expired(now)

    def _revoke_expired(self, now: float) -> None:
        """Appended at once or not at all. In a queue it could wait for the next leader, with whom
        clients may have renewed the lease."""
        if not self._leadership.mine:
            return
        # Nobody's permission is needed for the end of a lease: the store itself acts.
        revocations = [
            command_pb2.Command(
                lease_revoke=rpc_pb2.LeaseRevokeRequest(ID=lease_id),
                user=ROOT,
                auth_revision=self._replica.machine.auth.revision,
            )
            for lease_id in self._expiry.expired(now, _EXPIRE_AT_ONCE)
        ]
        try:
            if revocations:
                self._core.propose([command.SerializeToString() for command in revocations])
        except ProposalDropped:
            log.info("leases not revoked yet", count=len(revocations))
