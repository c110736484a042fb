"""Txn: compare, choose a branch, run it as one revision (etcd api: etcdserverpb.TxnRequest).

All choices are made, and everything that can fail is checked, before the first write.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from master.kvstore.errors import Compacted, FutureRevision, KeyNotFound, LeaseNotFound
from master.kvstore.mvcc import ranges
from master.kvstore.mvcc.records import Change, Record
from master.kvstore.mvcc.store import Mvcc, WriteTxn
from muster.etcd import rpc_pb2, wire_pb2

_Compare = rpc_pb2.Compare


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which branch runs, here and in each nested transaction (None for other operations)."""

    succeeded: bool
    ops: Sequence[rpc_pb2.RequestOp]
    nested: tuple[_Plan | None, ...]


def read_only(request: rpc_pb2.TxnRequest) -> bool:
    """Whether no branch writes: such a transaction needs no place in the log."""
    for op in (*request.success, *request.failure):
        kind = op.WhichOneof("request")
        if kind == "request_txn":
            if not read_only(op.request_txn):
                return False
        elif kind != "request_range":
            return False
    return True


def serializable(request: rpc_pb2.TxnRequest) -> bool:
    """Whether every read in it may be answered from this member's state."""
    return all(
        op.request_range.serializable
        if op.WhichOneof("request") == "request_range"
        else serializable(op.request_txn)
        for op in (*request.success, *request.failure)
    )


def execute(
    store: Mvcc, txn: WriteTxn, request: rpc_pb2.TxnRequest, leases: Container[int]
) -> wire_pb2.TxnResponse:
    """Run `request` inside `txn`. Raises before anything is written, or not at all."""
    plan = _plan(store, request)
    _check(store, plan, leases)
    response = _run(store, txn, plan)
    response.header.revision = txn.revision
    return response


def put(store: Mvcc, request: rpc_pb2.PutRequest, leases: Container[int]) -> Change:
    """A put that is no part of a transaction."""
    _check_put(store, request, leases)
    return store.put(request.key, *_value_and_lease(store, request))


def delete_range(
    txn: WriteTxn, request: rpc_pb2.DeleteRangeRequest
) -> wire_pb2.DeleteRangeResponse:
    deleted = txn.delete_range(request.key, request.range_end)
    response = wire_pb2.DeleteRangeResponse(
        deleted=len(deleted),
        prev_kvs=[record.encoded for record in deleted] if request.prev_kv else [],
    )
    response.header.revision = txn.revision
    return response


def _plan(store: Mvcc, request: rpc_pb2.TxnRequest) -> _Plan:
    """Nested comparisons, too, look at the state before the transaction."""
    succeeded = all(_holds(store, compare) for compare in request.compare)
    ops = request.success if succeeded else request.failure
    nested = tuple(
        _plan(store, op.request_txn) if op.WhichOneof("request") == "request_txn" else None
        for op in ops
    )
    return _Plan(succeeded, ops, nested)


def _check(store: Mvcc, plan: _Plan, leases: Container[int]) -> None:
    for op, nested in zip(plan.ops, plan.nested, strict=True):
        if nested is not None:
            _check(store, nested, leases)
        elif op.HasField("request_put"):
            _check_put(store, op.request_put, leases)
        elif op.HasField("request_range") and (revision := op.request_range.revision):
            if revision > store.revision:
                raise FutureRevision
            if revision < store.compacted:
                raise Compacted


def _check_put(store: Mvcc, request: rpc_pb2.PutRequest, leases: Container[int]) -> None:
    if request.lease and request.lease not in leases:
        raise LeaseNotFound
    if (request.ignore_value or request.ignore_lease) and store.get(request.key) is None:
        raise KeyNotFound


def _run(store: Mvcc, txn: WriteTxn, plan: _Plan) -> wire_pb2.TxnResponse:
    response = wire_pb2.TxnResponse(succeeded=plan.succeeded)
    for op, nested in zip(plan.ops, plan.nested, strict=True):
        out = response.responses.add()
        if nested is not None:
            out.response_txn.CopyFrom(_run(store, txn, nested))
            out.response_txn.header.SetInParent()  # there, but empty
        elif op.HasField("request_range"):
            out.response_range.CopyFrom(_run_range(store, txn, op.request_range))
        elif op.HasField("request_put"):
            out.response_put.CopyFrom(_run_put(store, txn, op.request_put))
        else:
            out.response_delete_range.CopyFrom(delete_range(txn, op.request_delete_range))
    return response


def _run_range(store: Mvcc, txn: WriteTxn, request: rpc_pb2.RangeRequest) -> wire_pb2.RangeResponse:
    """Without a revision it sees what the transaction has written so far."""
    response = wire_pb2.RangeResponse.FromString(ranges.execute(store, request))
    response.header.revision = txn.revision
    return response


def _run_put(store: Mvcc, txn: WriteTxn, request: rpc_pb2.PutRequest) -> wire_pb2.PutResponse:
    prev = txn.put(request.key, *_value_and_lease(store, request))
    response = wire_pb2.PutResponse()
    response.header.revision = txn.revision
    if request.prev_kv and prev is not None:
        response.prev_kv = prev.encoded
    return response


def _value_and_lease(store: Mvcc, request: rpc_pb2.PutRequest) -> tuple[bytes, int]:
    value, lease = request.value, request.lease
    if request.ignore_value or request.ignore_lease:
        current = store.get(request.key)
        assert current is not None, "checked before the transaction began"
        value = current.value() if request.ignore_value else value
        lease = current.lease if request.ignore_lease else lease
    return value, lease


def _holds(store: Mvcc, compare: rpc_pb2.Compare) -> bool:
    records, _ = store.scan(compare.key, compare.range_end, store.revision, 0)
    if not records:
        # A key that is not there has no value to compare; its numbers are all zero.
        return compare.target != _Compare.VALUE and _compare(compare, None)
    return all(_compare(compare, record) for record in records)


def _compare(compare: rpc_pb2.Compare, record: Record | None) -> bool:
    have, want = _operands(compare, record)
    match compare.result:
        case _Compare.EQUAL:
            return have == want
        case _Compare.NOT_EQUAL:
            return have != want
        case _Compare.GREATER:
            # Both sides are of the compared target's type: int against int, bytes against bytes.
            return have > want  # type: ignore[operator]
        case _Compare.LESS:
            return have < want  # type: ignore[operator]
    return True  # a result that etcd does not know restricts nothing


def _operands(compare: rpc_pb2.Compare, record: Record | None) -> tuple[int | bytes, int | bytes]:
    match compare.target:
        case _Compare.VALUE:
            return (record.value() if record else b""), compare.value
        case _Compare.CREATE:
            return (record.create if record else 0), compare.create_revision
        case _Compare.MOD:
            return (record.mod if record else 0), compare.mod_revision
        case _Compare.LEASE:
            return (record.lease if record else 0), compare.lease
        case _Compare.VERSION:
            return (record.version if record else 0), compare.version
    return 0, 0  # what etcd does not know is equal
