"""etcdserverpb.KV: reads after a read barrier, writes through the log."""

from __future__ import annotations

from kube.rpc.service import CallContext, Reply
from kube.stubs.etcd import command_pb2, rpc_pb2
from master.kvstore.auth import rules
from master.kvstore.machine import Applied
from master.kvstore.mvcc import ranges, txn, validate
from master.kvstore.mvcc.records import field
from master.kvstore.mvcc.txn import Answer
from master.kvstore.node import Node
from master.kvstore.proposals import checked
from master.kvstore.services.common import caller_of, check_call, check_size, signature, signed

# Tags of encoded fields: a Command's `put`, `delete_range`, `txn`; a PutResponse's `prev_kv`.
_PUT, _DELETE_RANGE, _TXN = b"\x1a", b"\x22", b"\x2a"
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
        caller = caller_of(node, context)
        rules.check_range(node.auth, caller, request)
        node.auth.check_current(caller)
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

    def delete_range(self, request: rpc_pb2.DeleteRangeRequest, context: CallContext) -> Reply:
        check_call(self._node, context)
        validate.check_delete_range(request)
        check_size(self._node, request)
        request.DiscardUnknownFields()
        return self._agree(_DELETE_RANGE, request.SerializeToString(), context)

    def txn(self, request: rpc_pb2.TxnRequest, context: CallContext) -> Reply:
        check_call(self._node, context)
        validate.check_txn(request, self._node.limits.max_txn_ops)
        if txn.read_only(request):
            return self._read_only_txn(request, context)
        check_size(self._node, request)
        request.DiscardUnknownFields()
        encoded = request.SerializeToString()
        self._node.check_space(len(encoded))
        return self._agree(_TXN, encoded, context)

    def _agree(self, kind: bytes, request: bytes, context: CallContext) -> Reply:
        command = signature(caller_of(self._node, context)) + field(kind, request)
        reply = Reply(self._agreed)
        self._node.propose_encoded(command if kind is not _TXN else checked(command), reply)
        return reply

    def _agreed(self, applied: Applied) -> bytes:
        if applied.error is not None:
            raise applied.error
        return self._whole(applied.response)

    def _whole(self, answer: Answer) -> bytes:
        return self._node.header(answer.revision) + answer.body

    def _read_only_txn(self, request: rpc_pb2.TxnRequest, context: CallContext) -> Reply:
        reply = Reply(lambda _: self._read_only_answer(request, context))
        if txn.serializable(request):
            reply.set_result(None)
        else:
            self._node.pass_barrier(reply)
        return reply

    def _read_only_answer(self, request: rpc_pb2.TxnRequest, context: CallContext) -> bytes:
        machine = self._node.machine
        caller = caller_of(self._node, context)
        rules.check_txn(machine.auth, machine.lessor, caller, request)
        machine.auth.check_current(caller)
        begun = machine.mvcc.begin()
        return self._whole(txn.execute(machine.mvcc, begun, request, machine.lessor))

    async def compact(
        self, request: rpc_pb2.CompactionRequest, context: CallContext
    ) -> rpc_pb2.CompactionResponse:
        """`physical` asks to wait until the space is free."""
        check_call(self._node, context)
        command = command_pb2.Command(compaction=request)
        applied = await self._node.propose(signed(self._node, context, command))
        response = applied.response
        assert isinstance(response, rpc_pb2.CompactionResponse)
        self._node.fill(response.header)
        if request.physical:
            await self._node.sweeper.swept()
        return response
