"""etcdserverpb.Watch: one stream carries many watches. `watch.hub` decides, this moves bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from kube.rpc.service import CallContext
from kube.stubs.etcd import rpc_pb2
from master.kvstore.errors import NoLeader, StoreError
from master.kvstore.mvcc.store import TO_THE_END
from master.kvstore.node import Node
from master.kvstore.services.common import caller_of, check_call, wants_leader
from master.kvstore.watch.watcher import Stream


class WatchService:
    def __init__(self, node: Node) -> None:
        self._node = node

    def watch(
        self, requests: AsyncIterator[rpc_pb2.WatchRequest], context: CallContext
    ) -> AsyncGenerator[list[bytes], None]:
        """Answers until the client goes; waiting for a slow client holds up nobody else."""
        return _Session(self._node, context).responses(requests)


class _Session:
    """One client stream."""

    def __init__(self, node: Node, context: CallContext) -> None:
        self._node = node
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._woken = False
        self._sleep: asyncio.Future[None] | None = None
        self._leaderless = False
        self.stream = Stream(self._wake, node.header)

    def _wake(self) -> None:
        """There may be something to send. What asyncio.Event does, at a third of its cost: every
        event that is delivered wakes a stream."""
        self._woken = True
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_result(None)

    async def _woken_up(self) -> None:
        if not self._woken:
            self._sleep = self._loop.create_future()
            await self._sleep

    async def _read(self, requests: AsyncIterator[rpc_pb2.WatchRequest]) -> None:
        try:
            async for request in requests:
                self._take(request)
        finally:
            self._wake()

    def _take(self, request: rpc_pb2.WatchRequest) -> None:
        match request.WhichOneof("request_union"):
            case "create_request":
                self._create(request.create_request)
            case "cancel_request":
                self._node.hub.cancel(self.stream, request.cancel_request.watch_id)
            case "progress_request":
                self.stream.want_progress()

    def _create(self, request: rpc_pb2.WatchCreateRequest) -> None:
        try:
            caller = caller_of(self._node, self._context)
            key = request.key or TO_THE_END
            self._node.auth.check_range(caller, key, request.range_end)
        except StoreError as error:
            reason = f"rpc error: code = {error.code.label} desc = {error.message}"
            self._node.hub.refuse(self.stream, reason)
        else:
            self._node.hub.create(self.stream, request)

    async def responses(
        self, requests: AsyncIterator[rpc_pb2.WatchRequest]
    ) -> AsyncGenerator[list[bytes], None]:
        check_call(self._node, self._context)
        reading = asyncio.create_task(self._read(requests), name="watch-requests")
        undo = (
            self._node.leadership.on_leaderless(self._lost_leader)
            if wants_leader(self._context)
            else None
        )
        try:
            while True:
                self._woken = False
                self._node.hub.catch_up(self.stream)
                batch = self.stream.take(self._node.hub.store.revision)
                if batch:
                    yield batch
                if self._leaderless:
                    raise NoLeader
                if batch:
                    continue
                if reading.done():
                    reading.result()  # a client that has no more to say still listens
                if self.stream.all_synced:
                    await self._woken_up()
                else:
                    await asyncio.sleep(0)  # more history to read: let others have their turn
        finally:
            reading.cancel()
            self._node.hub.close(self.stream)
            if undo is not None:
                undo()

    def _lost_leader(self) -> None:
        self._leaderless = True
        self._wake()
