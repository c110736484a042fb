"""How long nobody can write after the leader was killed with SIGKILL.

From the kill to the first acknowledged put that was sent after it. Both survivors are sent a new
put every 10 ms, each waits as long as it takes. The killed member is started again in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from benchmarks.store.clusters import PROGRAMS, Cluster, Member, wait_for
from benchmarks.store.figures import Figures, Line
from kube.rpc.errors import RpcError
from kube.rpc.h2.client import Channel
from kube.stubs.etcd import rpc_pb2, rpc_pb2_grpc

OUTAGE = Line("leader killed, to the first write", "s", more_is_better=False, goal=0.5)
_EVERY_SECONDS = 0.01
_GIVE_UP_SECONDS = 30.0
_BACK_SECONDS = 60.0


def run(both: dict[str, Cluster], kills: int, figures: Figures) -> None:
    for round_ in range(kills):
        for program in PROGRAMS if round_ % 2 else PROGRAMS[::-1]:
            cluster = both[program]
            leader = cluster.leader()
            survivors = [member for member in cluster.members if member is not leader]
            figures.add(OUTAGE, program, asyncio.run(_outage(leader, survivors)))
            assert leader.process is not None
            leader.process.wait()
            leader.start(cluster.flag)
            _wait_whole(cluster)


def _wait_whole(cluster: Cluster) -> None:
    """All members answer, and know of the same leader."""

    def agree() -> bool:
        found = [member.status() for member in cluster.members]
        leaders = {status.leader for status in found if status is not None}
        return None not in found and len(leaders) == 1 and 0 not in leaders

    wait_for(agree, _BACK_SECONDS, f"three members of {cluster.program}")
    cluster.wait_serving()


async def _outage(leader: Member, survivors: list[Member]) -> float:
    async with contextlib.AsyncExitStack() as stack:
        stubs = [await stack.enter_async_context(_stub(member)) for member in survivors]
        for stub in stubs:
            await stub.Put(rpc_pb2.PutRequest(key=b"bench/kill"), timeout=10)
        tasks: set[asyncio.Task[None]] = set()
        leader.kill()
        killed = time.monotonic()
        acknowledged: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        async def put(stub: rpc_pb2_grpc.KVAsyncStub) -> None:
            with contextlib.suppress(RpcError):
                await stub.Put(rpc_pb2.PutRequest(key=b"bench/kill"), timeout=_GIVE_UP_SECONDS)
                if not acknowledged.done():
                    acknowledged.set_result(time.monotonic())

        while not acknowledged.done() and time.monotonic() - killed < _GIVE_UP_SECONDS:
            for stub in stubs:
                tasks.add(asyncio.create_task(put(stub)))
            await asyncio.wait([acknowledged], timeout=_EVERY_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not acknowledged.done():
            raise SystemExit(f"{leader.program}: nobody wrote for {_GIVE_UP_SECONDS:.0f} s")
        return acknowledged.result() - killed


@contextlib.asynccontextmanager
async def _stub(member: Member) -> AsyncIterator[rpc_pb2_grpc.KVAsyncStub]:
    """By our lean client, towards both: grpcio's is slower than what is measured."""
    async with Channel("127.0.0.1", member.client_port) as channel:
        # It has the shape that generated stubs expect.
        yield rpc_pb2_grpc.KVStub(channel)
