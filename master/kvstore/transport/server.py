"""The incoming side: accepts the other members and hands what they send to the driver."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kube.component.log import get_logger
from kube.http.listener import Accepted, Listener, listening_socket
from kube.rpc.errors import RpcError
from master.kvstore.errors import BadMemberUrls
from master.kvstore.members import check_urls
from master.kvstore.raft.messages import Message, MessageType, SnapshotMeta
from master.kvstore.transport import frames
from master.kvstore.transport.frames import (
    PROTOCOL,
    BadFrame,
    FrameReader,
    Hello,
    Request,
    Response,
    SnapshotPart,
)
from master.kvstore.wal.snapshot import Incoming

log = get_logger(__name__)
_HELLO_SECONDS = 5.0
_GRACE_SECONDS = 1.0
# Each member dials each other one, and a new one asks before it joins.
_MAX_CONNECTIONS = 500
_SILENCE_SECONDS = 30.0  # peers ping far more often: whoever is silent so long is gone


@dataclass(frozen=True, slots=True)
class PeerHandlers:
    """The driver's side of what comes in."""

    removed: Callable[[int], bool]  # whether that member was taken out of the cluster
    greeted: Callable[[Hello], None]  # a member of this cluster, maybe one not heard of yet
    messages: Callable[[tuple[Message, ...]], None]
    request: Callable[[str, bytes], Awaitable[bytes]]
    incoming: Callable[[int, SnapshotMeta], Incoming]  # where a snapshot of that sender goes
    snapshot: Callable[[Message, Path], Awaitable[None]]  # it is there
    received: Callable[[int, int], None]  # member, bytes


class _PeerConnection(asyncio.StreamReaderProtocol, Accepted):
    def __init__(
        self,
        reader: asyncio.StreamReader,
        accepted: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    ) -> None:
        super().__init__(reader, accepted)
        self.closed = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.closed.done():
            self.closed.set_result(None)


class PeerServer:
    def __init__(self, me: Hello, handlers: PeerHandlers) -> None:
        self._me = me
        self._handlers = handlers
        self._connections: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
        """Accept peers while the block runs; yields the bound port."""
        listener = Listener(
            listening_socket(host, port),
            lambda: _PeerConnection(FrameReader(), self._accepted),
            tls,
            handshake_seconds=_HELLO_SECONDS,
            max_connections=_MAX_CONNECTIONS,
            trusting=tls is None,
        )
        try:
            yield listener.port
        finally:
            await listener.stop(_GRACE_SECONDS)
            for task in list(self._connections):
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, FrameReader)
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            sender = await self._greet(reader, writer)
            await self._serve(sender, reader, writer)
        except BadFrame as error:
            log.warning("peer refused", address=writer.get_extra_info("peername"), error=str(error))
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side went away, or we stop
        finally:
            self._connections.discard(task)
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        async with asyncio.timeout(_HELLO_SECONDS):
            hello, _ = await frames.read(reader)
        if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
            raise BadFrame("not a member's hello")
        if not hello.stranger:
            self._check_member(hello, writer)
            self._handlers.greeted(hello)
        writer.write(frames.encode(self._me))
        return hello.sender

    def _check_member(self, hello: Hello, writer: asyncio.StreamWriter) -> None:
        if hello.cluster_id != self._me.cluster_id:
            raise BadFrame(f"a member of another cluster ({hello.cluster_id:x})")
        if hello.to != self._me.sender:
            raise BadFrame(f"meant for {hello.to:x}, which is not here")
        if self._handlers.removed(hello.sender):
            writer.write(frames.encode(Response(0, False, frames.REMOVED)))
            raise BadFrame(f"member {hello.sender:x} was removed")
        if hello.peer_urls:  # kept, and dialled from now on
            try:
                check_urls(hello.peer_urls)
            except BadMemberUrls as error:
                raise BadFrame(f"listens on no URL: {hello.peer_urls}") from error

    async def _serve(self, sender: int, reader: FrameReader, writer: asyncio.StreamWriter) -> None:
        tasks: set[asyncio.Task[None]] = set()
        if sender:
            reader.deliver = partial(self._deliver, sender, writer)
        try:
            while True:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    frame, size = await frames.read(reader)
                if not sender and not isinstance(frame, Request):
                    raise BadFrame("a stranger may only ask")
                if isinstance(frame, tuple):
                    self._deliver(sender, writer, frame, size)
                    continue
                self._handlers.received(sender, size)
                if isinstance(frame, Request):
                    task = asyncio.create_task(self._answer(frame, writer), name=frame.method)
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                elif isinstance(frame, SnapshotPart) and frame.message is not None:
                    await self._receive_snapshot(frame.message, sender, reader, writer)
                else:
                    raise BadFrame("unexpected frame")
        finally:
            for task in tasks:
                task.cancel()

    def _deliver(
        self, sender: int, writer: asyncio.StreamWriter, messages: tuple[Message, ...], size: int
    ) -> None:
        self._handlers.received(sender, size)
        if self._handlers.removed(sender) and any(m.type is MessageType.PRE_VOTE for m in messages):
            writer.close()  # it has missed its removal: when it dials again it is told
            return
        self._handlers.messages(messages)

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        try:
            payload = await self._handlers.request(request.method, request.payload)
            answer = Response(request.id, True, payload)
        except RpcError as error:
            answer = Response(request.id, False, type(error).__name__.encode())
        except ValueError as error:  # what it asks about is no number, or no such thing
            log.warning("peer refused", method=request.method, error=str(error))
            writer.close()
            return
        if not writer.transport.is_closing():
            writer.write(frames.encode(answer))

    async def _receive_snapshot(
        self,
        message: Message,
        sender: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if message.snapshot is None:
            raise BadFrame("a snapshot without its place in the log")
        incoming = await asyncio.to_thread(self._handlers.incoming, sender, message.snapshot)
        writer.write(frames.encode(Response(0, True, str(incoming.size).encode())))
        while True:
            async with asyncio.timeout(_SILENCE_SECONDS):
                part, size = await frames.read(reader)
            self._handlers.received(sender, size)
            if not isinstance(part, SnapshotPart):
                raise BadFrame("a snapshot was interrupted")
            await asyncio.to_thread(incoming.add, part.data)
            if part.last:
                break
        try:
            await self._handlers.snapshot(message, await asyncio.to_thread(incoming.finish))
        except RpcError as error:
            writer.write(frames.encode(Response(0, False, error.message.encode())))
            return
        writer.write(frames.encode(Response(0, True)))
