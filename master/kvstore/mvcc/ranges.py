"""RangeRequest with all its options (etcd api: etcdserverpb.RangeRequest)."""

from __future__ import annotations

import sys
from collections.abc import Callable

from kube.stubs.etcd import rpc_pb2
from master.kvstore.mvcc.records import Record, fields, varint
from master.kvstore.mvcc.store import Mvcc

_Request = rpc_pb2.RangeRequest

# RangeResponse: 2 kvs, 3 more (true), 4 count.
_KVS, _MORE, _COUNT = b"\x12", b"\x18\x01", b"\x20"

_SORT_KEYS: dict[int, Callable[[Record], bytes | int]] = {
    _Request.KEY: lambda record: record.key,
    _Request.VERSION: lambda record: record.version,
    _Request.CREATE: lambda record: record.create,
    _Request.MOD: lambda record: record.mod,
    _Request.VALUE: Record.value,
}


def execute(store: Mvcc, request: rpc_pb2.RangeRequest) -> bytes:
    """Serve a range from `store`: an encoded RangeResponse without its header. Raises Compacted
    or FutureRevision."""
    revision = request.revision
    if revision > 0:
        store.check_readable(revision)
    else:
        revision = store.head
    if request.count_only:
        count = store.count(request.key, request.range_end, revision)
        return _count(count)
    in_key_order = request.sort_target == _Request.KEY and request.sort_order != _Request.DESCEND
    filters = _filters(request)
    # Sorting and filtering need all keys; else one key beyond the limit tells whether there
    # is more. Whoever names a target but no order gets the first by key, sorted: so does etcd.
    unsorted = in_key_order or request.sort_order == _Request.NONE
    limited = 0 < request.limit < sys.maxsize and unsorted and not filters
    limit = request.limit + 1 if limited else 0
    records, count = store.scan(request.key, request.range_end, revision, limit)
    for keep in filters:
        records = list(filter(keep, records))
    if not in_key_order:
        records.sort(
            key=_SORT_KEYS[request.sort_target], reverse=request.sort_order == _Request.DESCEND
        )
    more = 0 < request.limit < len(records)
    if more:
        del records[request.limit :]
    encoded = (
        [record.without_value() for record in records]
        if request.keys_only
        else [record.encoded for record in records]
    )
    return fields(_KVS, encoded) + (_MORE if more else b"") + _count(count)


def _count(count: int) -> bytes:
    return _COUNT + varint(count) if count else b""


def _filters(request: rpc_pb2.RangeRequest) -> list[Callable[[Record], bool]]:
    filters: list[Callable[[Record], bool]] = []
    if least := request.min_mod_revision:
        filters.append(lambda record: record.mod >= least)
    if most := request.max_mod_revision:
        filters.append(lambda record: record.mod <= most)
    if oldest := request.min_create_revision:
        filters.append(lambda record: record.create >= oldest)
    if newest := request.max_create_revision:
        filters.append(lambda record: record.create <= newest)
    return filters
