"""Members compare their data: the leader from time to time, and whoever starts, before it joins.

etcd: --experimental-corrupt-check-time and --experimental-initial-corrupt-check. Equal logs make
equal states; if two members differ at the same revision, a disk, memory or bug has lied. The
leader raises the alarm that stops all writes until somebody has looked; who starts stops again.
"""

from __future__ import annotations

import asyncio
import ssl

import msgspec

from kube.component.failure import CannotRun
from kube.component.log import get_logger
from kube.stubs.etcd import command_pb2, rpc_pb2
from master.kvstore.digest import Digest, digest
from master.kvstore.errors import StoreError
from master.kvstore.node import Node
from master.kvstore.transport.peers import NO_ANSWER, ask

log = get_logger(__name__)
_ANSWER_SECONDS = 10.0


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


async def check_before_joining(node: Node, tls: ssl.SSLContext | None) -> None:
    """CannotRun when another member holds other data than this one's disk says."""
    while node.applied < node.commit:  # noqa: ASYNC110 - once, for one tick: the known is applied
        await asyncio.sleep(node.timing.tick_seconds)
    mine = await digest(node.machine.mvcc, node.machine.mvcc.revision)
    for member in (other for other in node.members if node.id != other.ID):
        theirs = await _digest_at(member.peerURLs[0], tls, mine.revision)
        if theirs is not None and mine.differs(theirs):
            raise CannotRun(
                f"{node.id:x} found data inconsistency with peers: {member.ID:x} holds other data "
                f"at revision {mine.revision}. Replace one of them: member remove, member add, "
                "start with an empty data directory"
            )


async def _digest_at(url: str, tls: ssl.SSLContext | None, revision: int) -> Digest | None:
    """None when nobody answers there, or somebody who is not at this revision."""
    try:
        answer = await ask(url, tls, "digest", str(revision).encode(), _ANSWER_SECONDS)
    except NO_ANSWER:
        return None
    return msgspec.msgpack.decode(answer.payload, type=Digest) if answer.ok else None


async def find_corrupt(node: Node) -> list[int]:
    """Members whose digest at the leader's revision differs; who lags or is away is not asked."""
    mine = await digest(node.machine.mvcc, node.machine.mvcc.revision)
    different = []
    for member, peer in list(node.peers.items()):
        try:
            answer = await peer.request("digest", str(mine.revision).encode(), _ANSWER_SECONDS)
        except StoreError:
            continue
        if answer.ok:
            theirs = msgspec.msgpack.decode(answer.payload, type=Digest)
            if mine.differs(theirs):
                different.append(member)
    return different
