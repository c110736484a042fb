"""Key ranges that a user may read or write, and whether a request stays inside them."""

from __future__ import annotations

from collections.abc import Iterable

from kube.stubs.etcd import auth_pb2
from master.kvstore.mvcc.store import TO_THE_END

READ, WRITE, BOTH = (
    auth_pb2.Permission.READ,
    auth_pb2.Permission.WRITE,
    auth_pb2.Permission.READWRITE,
)
Interval = tuple[bytes, bytes | None]  # from, up to but without; None: to the end


def interval(key: bytes, range_end: bytes) -> Interval:
    if not range_end:
        return key, key + b"\0"
    return key, None if range_end == TO_THE_END else range_end


def allows(
    permissions: Iterable[auth_pb2.Permission], wanted: int, key: bytes, range_end: bytes
) -> bool:
    """Whether the permissions of kind `wanted`, taken together, cover [key, range_end)."""
    given = sorted(
        (interval(p.key, p.range_end) for p in permissions if p.permType in (wanted, BOTH)),
        key=lambda one: one[0],
    )
    reached, end = interval(key, range_end)
    for first, last in given:
        if first > reached:
            return False  # sorted: nothing later begins earlier
        if last is None:
            return True
        if last <= reached:
            continue  # nothing new; an empty range wants a permission for its key at least
        reached = last
        if end is not None and reached >= end:
            return True
    return False
