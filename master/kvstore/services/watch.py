"""etcdserverpb.Watch: one stream carries many watches. `watch.hub` decides, this moves bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager

from master.kvstore.errors import NoLeader, StoreError
from master.kvstore.mvcc.store import TO_THE_END
from master.kvstore.node import Node
from master.kvstore.services.common import caller_of, check_call, wants_leader
from master.kvstore.watch.watcher import Stream
from muster.etcd import rpc_pb2, wire_pb2
from muster.rpc.service import CallContext


class WatchService:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def watch(
        self, requests: AsyncIterator[rpc_pb2.WatchRequest], context: CallContext
    ) -> AsyncGenerator[wire_pb2.WatchResponse, None]:
        """Answers until the client goes; waiting for a slow client holds up nobody else."""
        check_call(self._node, context)
        session = _Session(self._node, context)
        reading = asyncio.create_task(session.read(requests), name="watch-requests")
        try:
            with session.ends_without_leader(wanted=wants_leader(context)):
                async for response in session.responses(reading):
                    self._node.fill(response.header)
                    if response.compact_revision:
                        response.header.revision = 0  # as in etcd: there is nothing to resume from
                    yield response
        finally:
            reading.cancel()
            self._node.hub.close(session.stream)


class _Session:
    """One client stream."""

    def __init__(self, node: Node, context: CallContext) -> None:
        self._node = node
        self._context = context
        self._wake = asyncio.Event()
        self._leaderless = False
        self.stream = Stream(self._wake.set)

    async def read(self, requests: AsyncIterator[rpc_pb2.WatchRequest]) -> None:
        try:
            async for request in requests:
                self._take(request)
        finally:
            self._wake.set()

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

    async def responses(self, reading: asyncio.Task[None]) -> AsyncIterator[wire_pb2.WatchResponse]:
        hub = self._node.hub
        while True:
            self._wake.clear()
            hub.catch_up(self.stream)
            batch = self.stream.take(hub.store.revision)
            for response in batch:
                yield response
            if self._leaderless:
                raise NoLeader
            if batch:
                continue
            if reading.done():
                return  # the client has closed its side
            if self.stream.all_synced:
                await self._wake.wait()
            else:
                await asyncio.sleep(0)  # more history to read: let others have their turn

    @contextmanager
    def ends_without_leader(self, *, wanted: bool) -> Iterator[None]:
        undo = self._node.on_leaderless(self._lost_leader) if wanted else None
        try:
            yield
        finally:
            if undo is not None:
                undo()

    def _lost_leader(self) -> None:
        self._leaderless = True
        self._wake.set()
