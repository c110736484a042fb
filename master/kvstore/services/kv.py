"""etcdserverpb.KV: reads after a read barrier, writes through the log."""

from __future__ import annotations

from typing import Any

from master.kvstore.auth import rules
from master.kvstore.errors import Corrupt
from master.kvstore.mvcc import ranges, txn, validate
from master.kvstore.node import Node
from master.kvstore.services.common import caller_of, check_call, check_size, signed
from muster.etcd import command_pb2, rpc_pb2, wire_pb2
from muster.rpc.service import CallContext


class KvService:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def range(
        self, request: rpc_pb2.RangeRequest, context: CallContext
    ) -> wire_pb2.RangeResponse:
        check_call(self._node, context, learner_may=request.serializable)
        validate.check_range(request)
        if not request.serializable:
            await self._node.read_barrier()
        rules.check_range(self._node.auth, caller_of(self._node, context), request)
        self._check_sound()
        store = self._node.machine.mvcc
        response = ranges.execute(store, request)
        self._node.fill(response.header)
        return response

    async def put(self, request: rpc_pb2.PutRequest, context: CallContext) -> Any:
        check_call(self._node, context)
        validate.check_put(request)
        check_size(request)
        self._node.check_space(len(request.key) + len(request.value))
        return await self._agree(command_pb2.Command(put=request), context)

    async def delete_range(self, request: rpc_pb2.DeleteRangeRequest, context: CallContext) -> Any:
        check_call(self._node, context)
        validate.check_delete_range(request)
        check_size(request)
        return await self._agree(command_pb2.Command(delete_range=request), context)

    async def txn(self, request: rpc_pb2.TxnRequest, context: CallContext) -> Any:
        check_call(self._node, context)
        validate.check_txn(request)
        if txn.read_only(request):
            return await self._read_only_txn(request, context)
        check_size(request)
        self._node.check_space(request.ByteSize())
        return await self._agree(command_pb2.Command(txn=request), context)

    async def _read_only_txn(
        self, request: rpc_pb2.TxnRequest, context: CallContext
    ) -> wire_pb2.TxnResponse:
        if not txn.serializable(request):
            await self._node.read_barrier()
        machine = self._node.machine
        self._check_sound()
        rules.check_txn(machine.auth, machine.lessor, caller_of(self._node, context), request)
        response = txn.execute(machine.mvcc, machine.mvcc.begin(), request, machine.lessor)
        self._node.fill(response.header)
        return response

    async def compact(
        self, request: rpc_pb2.CompactionRequest, context: CallContext
    ) -> rpc_pb2.CompactionResponse:
        """`physical` asks to wait until space is free: here it always is, when it is applied."""
        check_call(self._node, context)
        response = await self._agree(command_pb2.Command(compaction=request), context)
        assert isinstance(response, rpc_pb2.CompactionResponse)
        return response

    def _check_sound(self) -> None:
        if self._node.machine.corrupt:
            raise Corrupt

    async def _agree(self, command: command_pb2.Command, context: CallContext) -> Any:
        applied = await self._node.propose(signed(self._node, context, command))
        self._node.fill(applied.response.header)
        return applied.response
