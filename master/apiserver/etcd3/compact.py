"""Compaction every five minutes, by one of the api-servers (apiserver storage/etcd3/compact.go).

The key `compact_rev_key` decides who: each api-server remembers the key's version and tries to
put with that version compared; who succeeds compacts to the revision of five minutes ago.
"""

from __future__ import annotations

import asyncio

from kube.component.log import get_logger
from kube.rpc.channel import Channel
from kube.stubs.etcd import rpc_pb2 as pb
from master.apiserver.etcd3.connection import Connection
from master.apiserver.etcd3.errors import StoreError
from master.apiserver.etcd3.store import KV, Store

log = get_logger(__name__)
KEY = b"compact_rev_key"
INTERVAL_SECONDS = 300.0


async def run_compactor(store: Store, interval: float = INTERVAL_SECONDS) -> None:
    """Compact for ever. A store that is away is tried again after the next interval."""
    version, revision = 0, 0
    while True:
        await asyncio.sleep(interval)
        try:
            version, revision = await compact_once(store, version, revision)
        except StoreError as error:
            log.warning("compaction failed", error=str(error))


async def compact_once(store: Store, version: int, revision: int) -> tuple[int, int]:
    """Try to be the one who compacts to `revision`; returns what to try next."""
    answer = await _compare_version(store.connection, version, revision)
    current = answer.header.revision
    if not answer.succeeded:
        found = answer.responses[0].response_range.kvs
        return (found[0].version if found else 0), current
    if revision > 0:
        await store.compact(revision)
        log.info("compacted the store", revision=revision)
    return version + 1, current


async def _compare_version(connection: Connection, version: int, revision: int) -> pb.TxnResponse:
    request = pb.TxnRequest(
        compare=[
            pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.VERSION, key=KEY, version=version)
        ],
        success=[pb.RequestOp(request_put=pb.PutRequest(key=KEY, value=str(revision).encode()))],
        failure=[pb.RequestOp(request_range=pb.RangeRequest(key=KEY))],
    )

    async def attempt(channel: Channel, timeout: float) -> pb.TxnResponse:
        answer: pb.TxnResponse = await channel.stub(KV).Txn(request, timeout=timeout)
        return answer

    return await connection.call("txn", attempt)
