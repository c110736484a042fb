"""Watchers that go on where they were, at whichever member, whatever happens."""

from __future__ import annotations

import asyncio
import random
from time import monotonic
from typing import Any

from kube.rpc.errors import RpcError
from kube.stubs.etcd import rpc_pb2, rpc_pb2_grpc
from tests.robustness.clients import Clients
from tests.robustness.history import Response, Session, Watch
from tests.robustness.members import Member
from tests.robustness.rpcs import event_of, watch_request

_PROGRESS = rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest())


class Watcher:
    """`patience_seconds`: so long may a stream be silent before another member is asked."""

    def __init__(
        self,
        watch: Watch,
        clients: Clients,
        rng: random.Random,
        *,
        start: int,
        patience_seconds: float,
        restless: bool = False,
    ) -> None:
        self.watch = watch
        self.next = start  # 0: from now on
        self._clients = clients
        self._rng = rng
        self._patience = patience_seconds
        self._restless = restless

    async def work(self) -> None:
        while True:
            member = self._rng.choice(self._clients.members)
            await self._session(member)
            await asyncio.sleep(0.05)

    async def _session(self, member: Member) -> None:
        session = Session(self.next, member.name)
        self.watch.sessions.append(session)
        metadata = (("hasleader", "true"),) if self._rng.random() < 0.5 else ()
        stub: Any = rpc_pb2_grpc.WatchStub(member.channel)
        call = stub.Watch(None, metadata=metadata)
        try:
            await self._follow(call, session)
        except RpcError as error:
            session.ended = f"{error.code.label}: {error.message}"
        except TimeoutError:
            session.ended = "silent"
        finally:
            call.cancel()
        if not session.responses and not session.compacted:
            self.watch.sessions.pop()  # it never came to anything

    async def _follow(self, call: Any, session: Session) -> None:
        watch = self.watch
        async with asyncio.timeout(self._patience):
            await call.write(
                watch_request(
                    watch.prefix, self.next,
                    prev_kv=watch.prev_kv, puts=watch.puts, deletes=watch.deletes,
                )
            )  # fmt: skip
        leave_at = monotonic() + (self._rng.uniform(0.3, 2.0) if self._restless else 1e9)
        while True:
            async with asyncio.timeout(self._patience):
                response = await call.read()
            if response is None:
                session.ended = "ended"
                return
            self._take(response, session)
            if response.canceled:
                return
            if monotonic() > leave_at:
                session.ended = "left"
                return
            if self._restless and self._rng.random() < 0.1:
                await call.write(_PROGRESS)

    def _take(self, response: rpc_pb2.WatchResponse, session: Session) -> None:
        revision = response.header.revision
        if response.canceled:
            session.compacted = response.compact_revision
            session.ended = f"cancelled: {response.cancel_reason}"
            self.next = max(self.next, response.compact_revision + 1)
        elif response.created:
            if not session.start:
                session.start = self.next = revision + 1
        else:
            events = [event_of(event) for event in response.events]
            session.responses.append(
                Response(monotonic(), revision, events, fragment=response.fragment)
            )
            reached = events[-1].mod if events else revision
            self.next = max(self.next, reached + 1)
