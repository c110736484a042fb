"""etcdserverpb.KV: reads after a read barrier, writes through the log."""

from __future__ import annotations

from typing import Any

from master.kvstore.auth import rules
from master.kvstore.machine import Applied
from master.kvstore.mvcc import ranges, txn, validate
from master.kvstore.mvcc.records import field
from master.kvstore.node import Node
from master.kvstore.services.common import caller_of, check_call, check_size, signature, signed
from muster.etcd import command_pb2, rpc_pb2, wire_pb2
from muster.rpc.service import CallContext, Reply

# Tags of encoded fields: a Command's `put`, a PutResponse's `prev_kv`.
_PUT = b"\x1a"
_PREV_KV = b"\x12"


class KvService:
    def __init__(self, node: Node) -> None:
        self._node = node

    def range(self, request: rpc_pb2.RangeRequest, context: CallContext) -> Reply:
        """The most frequent read: no task either."""
        check_call(self._node, context, learner_may=request.serializable)
        validate.check_range(request)
        reply = Reply(lambda _: self._range_answer(request, context))
        if request.serializable:
            reply.set_result(None)
        else:
            self._node.pass_barrier(reply)
        return reply

    def _range_answer(self, request: rpc_pb2.RangeRequest, context: CallContext) -> bytes:
        node = self._node
        rules.check_range(node.auth, caller_of(node, context), request)
        store = node.machine.mvcc
        answer = ranges.execute(store, request)
        return node.header(store.revision) + answer

    def put(self, request: rpc_pb2.PutRequest, context: CallContext) -> Reply:
        """The most frequent write: no task, and the request goes into the log as it came."""
        node = self._node
        check_call(node, context)
        validate.check_put(request)
        check_size(node, request)
        node.check_space(len(request.key) + len(request.value))
        request.DiscardUnknownFields()  # what is known nests nothing, so every member can decode it
        command = signature(caller_of(node, context)) + field(_PUT, request.SerializeToString())
        reply = Reply(self._put_answer)
        node.propose_encoded(command, reply)
        return reply

    def _put_answer(self, applied: Applied) -> bytes:
        if applied.error is not None:
            raise applied.error
        (change,) = applied.changes
        header = self._node.header(change.record.mod)
        if change.prev is not None and applied.command.put.prev_kv:
            return header + field(_PREV_KV, change.prev.encoded)
        return header

    async def delete_range(self, request: rpc_pb2.DeleteRangeRequest, context: CallContext) -> Any:
        check_call(self._node, context)
        validate.check_delete_range(request)
        check_size(self._node, request)
        return await self._agree(command_pb2.Command(delete_range=request), context)

    async def txn(self, request: rpc_pb2.TxnRequest, context: CallContext) -> Any:
        check_call(self._node, context)
        validate.check_txn(request, self._node.limits.max_txn_ops)
        if txn.read_only(request):
            return await self._read_only_txn(request, context)
        check_size(self._node, request)
        self._node.check_space(request.ByteSize())
        return await self._agree(command_pb2.Command(txn=request), context)

    async def _read_only_txn(
        self, request: rpc_pb2.TxnRequest, context: CallContext
    ) -> wire_pb2.TxnResponse:
        if not txn.serializable(request):
            await self._node.read_barrier()
        machine = self._node.machine
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

    async def _agree(self, command: command_pb2.Command, context: CallContext) -> Any:
        applied = await self._node.propose(signed(self._node, context, command))
        self._node.fill(applied.response.header)
        return applied.response
