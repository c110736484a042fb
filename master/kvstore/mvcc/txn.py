"""Txn: compare, choose a branch, run it as one revision (etcd api: etcdserverpb.TxnRequest).

All choices are made, and everything that can fail is checked, before the first write.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from kube.stubs.etcd import rpc_pb2
from master.kvstore.errors import Compacted, FutureRevision, KeyNotFound, LeaseNotFound
from master.kvstore.mvcc import ranges
from master.kvstore.mvcc.records import Change, Record, field, fields, varint
from master.kvstore.mvcc.store import Mvcc, WriteTxn

_Compare = rpc_pb2.Compare

# TxnResponse: 2 succeeded (true), 3 responses; each of those: 1 range, 2 put, 3 delete, 4 txn.
_SUCCEEDED, _RESPONSES = b"\x10\x01", b"\x1a"
_RANGE, _PUT, _DELETE, _TXN = b"\x0a", b"\x12", b"\x1a", b"\x22"
# All responses: 1 header; in it: 3 revision.
_HEADER, _REVISION = b"\x0a", b"\x18"
_EMPTY_HEADER = field(_HEADER, b"")
# PutResponse: 2 prev_kv. DeleteRangeResponse: 2 deleted, 3 prev_kvs.
_PREV_KV, _DELETED, _PREV_KVS = b"\x12", b"\x10", b"\x1a"


class Answer(NamedTuple):
    """An encoded response without its header, and the revision that the header must say."""

    revision: int
    body: bytes


# Nearly every operation is a put that nothing can be wrong with: a row of those is one kind.
_PLAIN_PUTS = "plain_puts"


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which branch runs: its operations by kind, a nested transaction as its own plan."""

    succeeded: bool
    ops: Sequence[tuple[str, Any]]


def read_only(request: rpc_pb2.TxnRequest) -> bool:
    """Whether no branch writes: such a transaction needs no place in the log."""
    for op in chain(request.success, request.failure):
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
) -> Answer:
    """Run `request` inside `txn`. Raises before anything is written, or not at all."""
    plan = _plan(store, request)
    _check_puts(store, plan, leases)
    _check_ranges(store, plan)
    body = _run(store, txn, plan)
    return Answer(txn.revision, body)


def put(store: Mvcc, request: rpc_pb2.PutRequest, leases: Container[int]) -> Change:
    """A put that is no part of a transaction."""
    _check_lease(request, leases)
    _check_kept(store, request)
    return store.put(request.key, *_value_and_lease(store, request))


def delete_range(txn: WriteTxn, request: rpc_pb2.DeleteRangeRequest) -> Answer:
    deleted = txn.delete_range(request.key, request.range_end)
    body = _DELETED + varint(len(deleted)) if deleted else b""
    if request.prev_kv:
        body += fields(_PREV_KVS, [record.encoded for record in deleted])
    return Answer(txn.revision, body)


def _plan(store: Mvcc, request: rpc_pb2.TxnRequest) -> _Plan:
    """Nested comparisons, too, look at the state before the transaction."""
    succeeded = all(_holds(store, compare) for compare in request.compare)
    ops: list[tuple[str, Any]] = []
    row: list[rpc_pb2.PutRequest] = []
    for op in request.success if succeeded else request.failure:
        kind = op.WhichOneof("request")
        assert kind is not None, "validated before it was proposed"
        inner = getattr(op, kind)
        if kind == "request_put" and not (inner.lease or inner.ignore_value or inner.ignore_lease):
            if not row:
                ops.append((_PLAIN_PUTS, row))
            row.append(inner)
        else:
            row = []
            ops.append((kind, _plan(store, inner) if kind == "request_txn" else inner))
    return _Plan(succeeded, ops)


def _check_puts(store: Mvcc, plan: _Plan, leases: Container[int]) -> None:
    """All of them before any range is looked at, as in etcd: that decides which error is told."""
    for kind, inner in plan.ops:
        if kind == "request_put":
            _check_kept(store, inner)
            _check_lease(inner, leases)
        elif kind == "request_txn":
            _check_puts(store, inner, leases)


def _check_ranges(store: Mvcc, plan: _Plan) -> None:
    for kind, inner in plan.ops:
        if kind == "request_txn":
            _check_ranges(store, inner)
        elif kind == "request_range" and inner.revision:
            if inner.revision > store.revision:
                raise FutureRevision
            if inner.revision < store.compacted:
                raise Compacted


def _check_lease(request: rpc_pb2.PutRequest, leases: Container[int]) -> None:
    if request.lease and request.lease not in leases:
        raise LeaseNotFound


def _check_kept(store: Mvcc, request: rpc_pb2.PutRequest) -> None:
    """What is to be kept must be there."""
    if (request.ignore_value or request.ignore_lease) and store.get(request.key) is None:
        raise KeyNotFound


def _run(store: Mvcc, txn: WriteTxn, plan: _Plan) -> bytes:
    """The encoded TxnResponse without its header."""
    parts = [_SUCCEEDED] if plan.succeeded else []
    for kind, inner in plan.ops:
        if kind == _PLAIN_PUTS:
            changes = txn.put_all(inner)
            as_ever = _put_response(txn, None)  # nearly always
            parts += [
                _put_response(txn, change.prev) if change.prev and request.prev_kv else as_ever
                for request, change in zip(inner, changes, strict=True)
            ]
        elif kind == "request_put":
            prev = txn.put(inner.key, *_value_and_lease(store, inner))
            parts.append(_put_response(txn, prev if inner.prev_kv else None))
        elif kind == "request_range":
            # Without a revision it sees what the transaction has written so far.
            answer = ranges.execute(store, inner)
            parts.append(_response(_RANGE, _header(txn.revision) + answer))
        elif kind == "request_txn":
            parts.append(_response(_TXN, _EMPTY_HEADER + _run(store, txn, inner)))
        else:
            deleted = delete_range(txn, inner)
            parts.append(_response(_DELETE, _header(deleted.revision) + deleted.body))
    return b"".join(parts)


def _put_response(txn: WriteTxn, prev: Record | None) -> bytes:
    before = field(_PREV_KV, prev.encoded) if prev is not None else b""
    return _response(_PUT, _header(txn.revision) + before)


def _response(kind: bytes, response: bytes) -> bytes:
    """One of TxnResponse.responses."""
    return field(_RESPONSES, field(kind, response))


def _header(revision: int) -> bytes:
    """Inside a transaction it says nothing else."""
    return field(_HEADER, _REVISION + varint(revision))


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
            return have > want  # type: ignore[operator]  # both of the target's type
        case _Compare.LESS:
            return have < want  # type: ignore[operator]  # both of the target's type
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
