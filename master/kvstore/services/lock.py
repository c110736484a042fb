"""v3lockpb.Lock: a lock that the store itself waits for (etcd: server/etcdserver/api/v3lock)."""

from __future__ import annotations

from kube.rpc.service import CallContext
from kube.stubs.etcd import lock_pb2, rpc_pb2
from master.kvstore.services.kv import KvService
from master.kvstore.services.turns import Turns, told_as_unknown


class LockService:
    def __init__(self, turns: Turns, kv: KvService) -> None:
        self._turns = turns
        self._kv = kv

    async def lock(
        self, request: lock_pb2.LockRequest, context: CallContext
    ) -> lock_pb2.LockResponse:
        """Held as long as the key exists: until `unlock`, or the end of the lease."""
        prefix = request.name + b"/"
        with told_as_unknown():
            lease = await self._turns.lease(request.lease, context)
            place = await self._turns.join(prefix, lease, b"", context)
            header = await self._turns.wait(prefix, place, context)
        return lock_pb2.LockResponse(header=header, key=place.key)

    async def unlock(
        self, request: lock_pb2.UnlockRequest, context: CallContext
    ) -> lock_pb2.UnlockResponse:
        with told_as_unknown():
            answer = await self._kv.delete_range(
                rpc_pb2.DeleteRangeRequest(key=request.key), context
            )
        header = rpc_pb2.DeleteRangeResponse.FromString(answer).header
        return lock_pb2.UnlockResponse(header=header)
