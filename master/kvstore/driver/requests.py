"""What members ask each other beside Raft's messages, and who may ask it of whom."""

from __future__ import annotations

import msgspec

from master.kvstore.cluster import ClusterInfo
from master.kvstore.digest import digest
from master.kvstore.driver.leadership import Leadership
from master.kvstore.driver.leases import Leases
from master.kvstore.driver.replica import Replica
from master.kvstore.errors import LearnerNotReady, NotLeader
from master.kvstore.members import check_promote
from master.kvstore.raft.core import Core
from master.kvstore.wal.log import Identity, MemberIdentity

# A learner may vote when it has this much of what the leader has (etcd: readyPercent).
_IN_SYNC = 0.9


class PeerRequests:
    def __init__(
        self,
        identity: Identity,
        core: Core,
        replica: Replica,
        leadership: Leadership,
        leases: Leases,
    ) -> None:
        self._identity = identity
        self._core = core
        self._replica = replica
        self._leadership = leadership
        self._leases = leases

    async def answer(self, method: str, payload: bytes) -> bytes:
        """A request of another member."""
        if method == "ping":
            return b""
        if method == "digest":
            return msgspec.msgpack.encode(await digest(self._replica.machine.mvcc, int(payload)))
        if method == "cluster":
            return msgspec.msgpack.encode(self._cluster_info())
        if not self._leadership.mine:
            raise NotLeader
        if method == "lease_renew":
            return str(await self._leases.renew(int(payload))).encode()
        if method == "lease_state":
            return msgspec.msgpack.encode(await self._leases.state(int(payload)))
        if method == "promote_ready":
            self._check_promotion(int(payload))
            return b""
        raise NotLeader

    def _cluster_info(self) -> ClusterInfo:
        listed = self._replica.machine.members.listed()
        members = tuple(MemberIdentity(m.ID, m.name, tuple(m.peerURLs)) for m in listed)
        started = tuple(member.ID for member in listed if member.clientURLs)
        return ClusterInfo(self._identity.cluster_id, self._identity.members, members, started)

    async def promote_ready(self, member: int) -> None:
        """Raise unless the learner `member` may vote now. Only the leader knows."""
        if self._leadership.mine:
            self._check_promotion(member)
        else:
            await self._leadership.ask("promote_ready", str(member).encode())

    def _check_promotion(self, member: int) -> None:
        members = self._replica.machine.members
        progress = self._core.progress.get(member)
        if progress is not None and member in members.learners:
            if progress.match < _IN_SYNC * self._core.progress[self._core.id].match:
                raise LearnerNotReady
            check_promote(members, member)
