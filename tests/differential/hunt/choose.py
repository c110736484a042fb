"""Chance with a memory for few keys: what is drawn often meets what was drawn before."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kube.stubs.etcd import rpc_pb2
from tests.differential.hunt.steps import COMPACTED, NOW

_T = TypeVar("_T")
KEYS = (b"a", b"b", b"ba", b"bb", b"c", b"p/1", b"p/2", b"p/3")
ODD_KEYS = (b"", b"\0", b"a\0", b"\xff", b"\xff\xff", b"z", b"p/", b"\0\0")
ENDS = (b"\0", b"b", b"c", b"p0", b"p/3", b"\xff", b"z", b"a", b"a\0", b"\0\0", b"ba")
VALUES = (b"1", b"2", b"x", b"", b"longer than the others", b"\xff\0")
LEASES = (1, 2, 3, 4)
MOST, LEAST = (1 << 63) - 1, -(1 << 63)


class Chance:
    def __init__(self, seed: int, *, forward: bool = False) -> None:
        self.random = random.Random(seed)
        # With permissions, it depends on the shape of a tree in etcd who may ask for a range that
        # ends before it begins.
        self._forward = forward

    def maybe(self, probability: float) -> bool:
        return self.random.random() < probability

    def one(self, some: Sequence[_T]) -> _T:
        return self.random.choice(some)

    def below(self, number: int) -> int:
        return self.random.randrange(number)

    def weighted(self, table: Sequence[tuple[float, _T]]) -> _T:
        return self.random.choices([one for _, one in table], [weight for weight, _ in table])[0]

    def key(self) -> bytes:
        return self.one(ODD_KEYS) if self.maybe(0.06) else self.one(KEYS)

    def end(self) -> bytes:
        return b"" if self.maybe(0.4) else self.one(ENDS)

    def span(self) -> tuple[bytes, bytes]:
        key, end = self.key(), self.end()
        if self._forward and end != b"\0" and end <= key:
            end = b""
        return key, end

    def value(self) -> bytes:
        return self.one(VALUES)

    def lease(self) -> int:
        return self.one((0, -1, 5, 77, MOST)) if self.maybe(0.1) else self.one(LEASES)

    def revision(self) -> int:
        """Of what is there, mostly; 0 a good part of the time."""
        return self.weighted(
            (
                (30, 0),
                (30, NOW - self.below(8)),
                (4, NOW + 1 + self.below(3)),
                (8, COMPACTED + self.below(3) - 1),
                (3, self.one((1, 2, -1, LEAST, MOST))),
            )
        )

    def bound(self) -> int:
        return self.revision() if self.maybe(0.12) else 0

    def enum(self, known: int) -> int:
        return self.one((known, 99, -1)) if self.maybe(0.04) else self.below(known)

    # --- KV

    def range(self) -> rpc_pb2.RangeRequest:
        plain = self.maybe(0.4)
        key, end = self.span()
        return rpc_pb2.RangeRequest(
            key=key,
            range_end=end,
            revision=0 if plain else self.revision(),
            limit=0 if plain else self.one((0, 0, 1, 2, 3, 100, -1, MOST)),
            sort_order=self.enum(3) if self.maybe(0.5) else 0,
            sort_target=self.below(5) if self.maybe(0.5) else 0,
            serializable=self.maybe(0.2),
            keys_only=self.maybe(0.2),
            count_only=self.maybe(0.1),
            min_mod_revision=self.bound(),
            max_mod_revision=self.bound(),
            min_create_revision=self.bound(),
            max_create_revision=self.bound(),
        )

    def put(self) -> rpc_pb2.PutRequest:
        ignore_value, ignore_lease = self.maybe(0.1), self.maybe(0.1)
        return rpc_pb2.PutRequest(
            key=self.key(),
            value=b"" if ignore_value and self.maybe(0.8) else self.value(),
            lease=0 if (ignore_lease and self.maybe(0.8)) or self.maybe(0.7) else self.lease(),
            prev_kv=self.maybe(0.3),
            ignore_value=ignore_value,
            ignore_lease=ignore_lease,
        )

    def delete(self) -> rpc_pb2.DeleteRangeRequest:
        key, end = self.span()
        return rpc_pb2.DeleteRangeRequest(key=key, range_end=end, prev_kv=self.maybe(0.4))

    def compare(self) -> rpc_pb2.Compare:
        key, end = self.span()
        compare = rpc_pb2.Compare(
            key=key,
            range_end=b"" if self.maybe(0.7) else end,
            result=self.enum(4),
            target=self.enum(5),
        )
        operands: dict[int, tuple[str, Callable[[], Any]]] = {
            rpc_pb2.Compare.VERSION: ("version", lambda: self.below(4)),
            rpc_pb2.Compare.CREATE: ("create_revision", self.revision),
            rpc_pb2.Compare.MOD: ("mod_revision", self.revision),
            rpc_pb2.Compare.VALUE: ("value", self.value),
            rpc_pb2.Compare.LEASE: ("lease", self.lease),
        }
        fitting = operands.get(compare.target)
        if fitting is None or self.maybe(0.06):
            fitting = self.one(list(operands.values()))
        if not self.maybe(0.05):
            setattr(compare, fitting[0], fitting[1]())
        return compare

    def txn(self, depth: int = 0) -> rpc_pb2.TxnRequest:
        return rpc_pb2.TxnRequest(
            compare=[self.compare() for _ in range(self.one((0, 0, 1, 1, 2, 3)))],
            success=self.ops(depth),
            failure=self.ops(depth),
        )

    def ops(self, depth: int) -> list[rpc_pb2.RequestOp]:
        """Puts of different keys, mostly: else nearly all would be refused as duplicates."""
        fresh = list(KEYS)
        self.random.shuffle(fresh)
        ops = []
        for _ in range(self.one((0, 1, 1, 2, 3, 4))):
            kind = self.weighted(((8, "put"), (6, "range"), (2, "delete"), (2, "txn"), (0.1, "")))
            op = rpc_pb2.RequestOp()
            if kind == "put":
                op.request_put.CopyFrom(self.put())
                if not self.maybe(0.1):
                    op.request_put.key = fresh.pop()
                if self.maybe(0.9) and not op.request_put.value:
                    op.request_put.ignore_value = False
            elif kind == "range":
                op.request_range.CopyFrom(self.range())
                op.request_range.sort_order %= 3
            elif kind == "delete":
                op.request_delete_range.CopyFrom(self.delete())
                if self.maybe(0.8):
                    op.request_delete_range.key = fresh.pop()
                    op.request_delete_range.range_end = b""
            elif kind == "txn" and depth < 3:
                op.request_txn.CopyFrom(self.txn(depth + 1))
            ops.append(op)
        return ops
