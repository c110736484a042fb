"""What etcd refuses before a request reaches the log (etcd server: api/v3rpc/key.go's rules)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from master.kvstore.errors import (
    DuplicateKey,
    EmptyKey,
    InvalidSortOption,
    KeyNotFound,
    LeaseProvided,
    TooManyOps,
    ValueProvided,
)
from muster.etcd import rpc_pb2

MAX_TXN_OPS = 128


def check_range(request: rpc_pb2.RangeRequest) -> None:
    if not request.key:
        raise EmptyKey
    if request.sort_order not in rpc_pb2.RangeRequest.SortOrder.values():
        raise InvalidSortOption
    if request.sort_target not in rpc_pb2.RangeRequest.SortTarget.values():
        raise InvalidSortOption


def check_put(request: rpc_pb2.PutRequest) -> None:
    if not request.key:
        raise EmptyKey
    if request.ignore_value and request.value:
        raise ValueProvided
    if request.ignore_lease and request.lease:
        raise LeaseProvided


def check_delete_range(request: rpc_pb2.DeleteRangeRequest) -> None:
    if not request.key:
        raise EmptyKey


def check_txn(request: rpc_pb2.TxnRequest, max_ops: int = MAX_TXN_OPS) -> None:
    _check_ops(request, max_ops)
    # The branches exclude each other, so each is judged for itself.
    _writes(request.success)
    _writes(request.failure)


def _check_ops(request: rpc_pb2.TxnRequest, allowed: int) -> None:
    ops = max(len(request.compare), len(request.success), len(request.failure))
    if ops > allowed:
        raise TooManyOps
    if any(not compare.key for compare in request.compare):
        raise EmptyKey
    for op in (*request.success, *request.failure):
        _check_op(op, allowed - ops)


def _check_op(op: rpc_pb2.RequestOp, allowed: int) -> None:
    match op.WhichOneof("request"):
        case "request_range":
            check_range(op.request_range)
        case "request_put":
            check_put(op.request_put)
        case "request_delete_range":
            check_delete_range(op.request_delete_range)
        case "request_txn":
            _check_ops(op.request_txn, allowed)
        case _:
            raise KeyNotFound  # an empty operation: etcd's answer to it


@dataclass(slots=True)
class _Writes:
    """The keys that a list of operations puts and the ranges that it deletes."""

    puts: set[bytes] = field(default_factory=set)
    deletes: list[tuple[bytes, bytes]] = field(default_factory=list)

    def add_put(self, key: bytes) -> None:
        if key in self.puts or any(_covers(interval, key) for interval in self.deletes):
            raise DuplicateKey
        self.puts.add(key)


def _covers(interval: tuple[bytes, bytes], key: bytes) -> bool:
    """As etcd's check sees it: an end of "\\0" is before every key, not behind all of them."""
    start, end = interval
    return start <= key < end if end else key == start


def _writes(ops: Sequence[rpc_pb2.RequestOp]) -> _Writes:
    """One revision may write a key only once. A nested transaction runs one of its branches."""
    writes = _Writes()
    writes.deletes = [
        (op.request_delete_range.key, op.request_delete_range.range_end)
        for op in _of_kind(ops, "request_delete_range")
    ]
    for op in _of_kind(ops, "request_txn"):
        success, failure = _writes(op.request_txn.success), _writes(op.request_txn.failure)
        for key in sorted(success.puts | failure.puts):
            writes.add_put(key)
        writes.deletes += success.deletes + failure.deletes
    for op in _of_kind(ops, "request_put"):
        writes.add_put(op.request_put.key)
    return writes


def _of_kind(ops: Iterable[rpc_pb2.RequestOp], kind: str) -> Iterator[rpc_pb2.RequestOp]:
    return (op for op in ops if op.WhichOneof("request") == kind)
