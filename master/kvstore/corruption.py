"""The leader compares its data with the others' (etcd: --experimental-corrupt-check-time).

Equal logs make equal states; if two members differ at the same revision, a disk, memory or bug
has lied. The alarm stops the cluster from answering until somebody has looked.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from master.kvstore.errors import StoreError
from muster.component.log import get_logger
from muster.etcd import command_pb2, rpc_pb2

if TYPE_CHECKING:
    from master.kvstore.node import Node

log = get_logger(__name__)
_ANSWER_SECONDS = 10.0


class Digest(msgspec.Struct, frozen=True, array_like=True):
    """What a member holds up to a revision. Comparable only at the same compaction."""

    hash: int
    compacted: int
    revision: int


def digest(node: Node, revision: int) -> Digest:
    """Raises Compacted or FutureRevision when this member is not there (any more)."""
    store = node.machine.mvcc
    store.check_readable(revision)
    return Digest(store.hash(revision), store.compacted, revision)


async def watch_for_corruption(node: Node, interval_seconds: float) -> None:
    while True:
        await asyncio.sleep(interval_seconds)
        if node.is_leader:
            for member in await find_corrupt(node):
                log.error("member holds other data than the leader", member=f"{member:x}")
                alarm = rpc_pb2.AlarmRequest(
                    action=rpc_pb2.AlarmRequest.ACTIVATE, memberID=member, alarm=rpc_pb2.CORRUPT
                )
                try:
                    await node.propose(command_pb2.Command(alarm=alarm))
                except StoreError as error:
                    log.warning("alarm not raised", error=error.message)


async def find_corrupt(node: Node) -> list[int]:
    """Members whose digest at the leader's revision differs; who lags or is away is not asked."""
    mine = digest(node, node.machine.mvcc.revision)
    different = []
    for member, peer in list(node.peers.items()):
        try:
            answer = await peer.request("digest", str(mine.revision).encode(), _ANSWER_SECONDS)
        except StoreError:
            continue
        if answer.ok:
            theirs = msgspec.msgpack.decode(answer.payload, type=Digest)
            if theirs.compacted == mine.compacted and theirs != mine:
                different.append(member)
    return different
