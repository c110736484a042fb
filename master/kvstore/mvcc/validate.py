"""What etcd refuses before a request reaches the log (etcd server: api/v3rpc/key.go's rules)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kube.stubs.etcd import rpc_pb2
from master.kvstore.errors import (
    DuplicateKey,
    EmptyKey,
    InvalidSortOption,
    KeyNotFound,
    LeaseProvided,
    TooManyOps,
    ValueProvided,
)
from master.kvstore.mvcc.store import TO_THE_END

MAX_TXN_OPS = 128
_SORT_ORDERS = frozenset(rpc_pb2.RangeRequest.SortOrder.values())
_SORT_TARGETS = frozenset(rpc_pb2.RangeRequest.SortTarget.values())


def check_range(request: rpc_pb2.RangeRequest) -> None:
    if not request.key:
        raise EmptyKey
    if request.sort_order not in _SORT_ORDERS or request.sort_target not in _SORT_TARGETS:
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
    success, failure = _check_ops(request, max_ops)
    # The branches exclude each other, so each is judged for itself.
    _writes(success)
    _writes(failure)


@dataclass(slots=True)
class _Branch:
    """What a list of operations may write."""

    puts: list[bytes] = field(default_factory=list)
    keeps: list[bytes] = field(default_factory=list)  # puts that keep a part of what is there
    deletes: list[tuple[bytes, bytes]] = field(default_factory=list)
    nested: list[tuple[_Branch, _Branch]] = field(default_factory=list)


def _check_ops(request: rpc_pb2.TxnRequest, allowed: int) -> tuple[_Branch, _Branch]:
    ops = max(len(request.compare), len(request.success), len(request.failure))
    if ops > allowed:
        raise TooManyOps
    if any(not compare.key for compare in request.compare):
        raise EmptyKey
    return (
        _check_branch(request.success, allowed - ops),
        _check_branch(request.failure, allowed - ops),
    )


def _check_branch(ops: Iterable[rpc_pb2.RequestOp], allowed: int) -> _Branch:
    branch = _Branch()
    for op in ops:
        match op.WhichOneof("request"):
            case "request_put":
                put = op.request_put
                if not (key := put.key):
                    raise EmptyKey
                branch.puts.append(key)
                if put.ignore_value or put.ignore_lease:
                    check_put(put)
                    branch.keeps.append(key)
            case "request_range":
                check_range(op.request_range)
            case "request_delete_range":
                delete = op.request_delete_range
                check_delete_range(delete)
                branch.deletes.append((delete.key, delete.range_end))
            case "request_txn":
                branch.nested.append(_check_ops(op.request_txn, allowed))
            case _:
                raise KeyNotFound  # an empty operation: etcd's answer to it
    return branch


@dataclass(slots=True)
class _Writes:
    """The keys that a branch puts and the ranges that it deletes, nested ones included."""

    deletes: list[tuple[bytes, bytes]]
    keeps: list[bytes]
    puts: set[bytes] = field(default_factory=set)

    def check_keeps(self) -> None:
        """`_covers` lets a deletion to the end pass, as etcd's check does; etcd then dies of a put
        that wants to keep what that has deleted."""
        starts = [start for start, end in self.deletes if end == TO_THE_END]
        if any(key >= start for key in self.keeps for start in starts):
            raise DuplicateKey

    def add_put(self, key: bytes) -> None:
        if key in self.puts:
            raise DuplicateKey
        for interval in self.deletes:
            if _covers(interval, key):
                raise DuplicateKey
        self.puts.add(key)


def _covers(interval: tuple[bytes, bytes], key: bytes) -> bool:
    """As etcd's check sees it: an end of "\\0" is before every key, not behind all of them."""
    start, end = interval
    return start <= key < end if end else key == start


def _writes(branch: _Branch) -> _Writes:
    """One revision may write a key only once. A nested transaction runs one of its branches."""
    writes = _Writes(list(branch.deletes), list(branch.keeps))
    for nested in branch.nested:
        success, failure = map(_writes, nested)
        for key in sorted(success.puts | failure.puts):
            writes.add_put(key)
        writes.deletes += success.deletes + failure.deletes
        writes.keeps += success.keeps + failure.keeps
    if branch.deletes or branch.nested:
        for key in branch.puts:
            writes.add_put(key)
    else:
        writes.puts = set(branch.puts)
        if len(writes.puts) < len(branch.puts):
            raise DuplicateKey
    writes.check_keeps()
    return writes
