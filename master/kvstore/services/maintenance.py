"""etcdserverpb.Maintenance: a member's own state, alarms, checksums, snapshots, leadership."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from kube.component.version import ETCD_VERSION
from kube.rpc.service import CallContext
from kube.stubs.etcd import command_pb2, rpc_pb2
from master.kvstore import state
from master.kvstore.errors import (
    BadLeaderTransferee,
    Compacted,
    InvalidDowngradeTarget,
    NoInflightDowngrade,
    NotLeader,
    RequestTimeout,
    WrongDowngradeVersion,
)
from master.kvstore.machine import alarm_response
from master.kvstore.node import Node
from master.kvstore.services.common import caller_of, check_call, require_admin
from master.kvstore.wal import snapshot

# etcd's file before the first key. JSON leaves a size of 0 out, and etcd never has one.
_EMPTY_BYTES = 5 * 4096
_VERSION = re.compile(r"v?\d+\.\d+(\.\d+)?")


class MaintenanceService:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def status(
        self, request: rpc_pb2.StatusRequest, context: CallContext
    ) -> rpc_pb2.StatusResponse:
        node = self._node
        response = rpc_pb2.StatusResponse(
            version=ETCD_VERSION,
            dbSize=_EMPTY_BYTES + node.machine.mvcc.total_bytes,
            dbSizeInUse=_EMPTY_BYTES + node.machine.mvcc.total_bytes,
            leader=node.core.leader,
            raftIndex=node.commit,
            raftTerm=node.core.term,
            raftAppliedIndex=node.applied,
            errors=self._errors(),
            isLearner=node.is_learner,
        )
        node.fill(response.header)
        return response

    def _errors(self) -> list[str]:
        errors = [] if self._node.has_leader else ["etcdserver: no leader"]
        for member, alarm in sorted(self._node.machine.alarms):
            # As text, so without what is zero. Whoever may raise alarms may raise one that has no
            # name: etcd keeps that, too.
            known = rpc_pb2.AlarmType.DESCRIPTOR.values_by_number.get(alarm)
            name = known.name if known else alarm
            who, what = f"memberID:{member} " if member else "", f"alarm:{name} " if alarm else ""
            errors.append(who + what)
        return errors

    async def alarm(self, request: rpc_pb2.AlarmRequest, context: CallContext) -> Any:
        check_call(self._node, context)
        caller_of(self._node, context)  # everybody may, but a token must be valid
        if request.action == rpc_pb2.AlarmRequest.GET:
            # Of all members, whatever member the request names.
            alarms = {
                (member, alarm)
                for member, alarm in self._node.machine.alarms
                if request.alarm in (rpc_pb2.NONE, alarm)
            }
            response = alarm_response(rpc_pb2.ResponseHeader(), alarms)
        else:
            applied = await self._node.propose(command_pb2.Command(alarm=request))
            response = applied.response
        self._node.fill(response.header)
        return response

    async def defragment(
        self, request: rpc_pb2.DefragmentRequest, context: CallContext
    ) -> rpc_pb2.DefragmentResponse:
        """There is nothing to do: compaction leaves no holes in this store's state. The answer
        has no header, in etcd neither."""
        check_call(self._node, context)
        require_admin(self._node, context)
        return rpc_pb2.DefragmentResponse()

    async def hash(
        self, request: rpc_pb2.HashRequest, context: CallContext
    ) -> rpc_pb2.HashResponse:
        check_call(self._node, context)
        require_admin(self._node, context)
        store = self._node.machine.mvcc
        response = rpc_pb2.HashResponse()
        self._node.fill(response.header)
        response.hash = await asyncio.to_thread(store.history().hash, store.revision)
        return response

    async def hash_kv(
        self, request: rpc_pb2.HashKVRequest, context: CallContext
    ) -> rpc_pb2.HashKVResponse:
        check_call(self._node, context)
        require_admin(self._node, context)
        store = self._node.machine.mvcc
        revision = request.revision or store.revision
        if request.revision > 0:  # up to a negative one there is nothing: that has a checksum, too
            store.check_readable(revision)
            if revision == store.compacted:
                raise Compacted  # as in etcd, though it can be read
        response = rpc_pb2.HashKVResponse(compact_revision=store.compacted, hash_revision=revision)
        self._node.fill(response.header)
        response.hash = await asyncio.to_thread(store.history().hash, revision)
        return response

    async def snapshot(
        self, request: rpc_pb2.SnapshotRequest, context: CallContext
    ) -> AsyncIterator[rpc_pb2.SnapshotResponse]:
        """The state at one moment, then its sha256: the content of a snapshot file."""
        check_call(self._node, context, learner_may=True)
        require_admin(self._node, context)
        captured = self._node.snapshots.capture()
        header = rpc_pb2.ResponseHeader()
        self._node.fill(header)
        plan = await asyncio.to_thread(state.plan, captured)
        left = plan.size + snapshot.HASH_BYTES
        pieces = snapshot.stream(plan.pages())
        while left:
            blob = await asyncio.to_thread(next, pieces)
            left -= len(blob)
            yield rpc_pb2.SnapshotResponse(
                header=header, remaining_bytes=left, blob=blob, version=ETCD_VERSION
            )

    async def downgrade(
        self, request: rpc_pb2.DowngradeRequest, context: CallContext
    ) -> rpc_pb2.DowngradeResponse:
        """There is no older version of this store: no target is ever valid, no job ever runs."""
        check_call(self._node, context)
        require_admin(self._node, context)
        await self._node.read_barrier()
        if request.action == rpc_pb2.DowngradeRequest.CANCEL:
            raise NoInflightDowngrade
        if not _VERSION.fullmatch(request.version):
            raise WrongDowngradeVersion
        raise InvalidDowngradeTarget

    async def move_leader(
        self, request: rpc_pb2.MoveLeaderRequest, context: CallContext
    ) -> rpc_pb2.MoveLeaderResponse:
        check_call(self._node, context)
        require_admin(self._node, context)
        node = self._node
        if not node.is_leader:
            raise NotLeader
        if request.targetID != node.id:
            if not node.transfer_leadership(request.targetID):
                raise BadLeaderTransferee
            await self._wait_for_leader(request.targetID)
        return rpc_pb2.MoveLeaderResponse()  # without a header, as etcd's

    async def _wait_for_leader(self, member: int) -> None:
        timing = self._node.timing
        for _ in range(2 * timing.election_ticks):
            if self._node.core.leader == member:
                return
            await asyncio.sleep(timing.tick_seconds)
        raise RequestTimeout
