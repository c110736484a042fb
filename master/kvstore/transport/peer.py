"""The outgoing side: one connection to one other member, kept up for ever."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from time import monotonic
from urllib.parse import urlsplit

from kube.component.log import get_logger
from master.kvstore.errors import Stopped
from master.kvstore.raft.messages import Message
from master.kvstore.transport import frames
from master.kvstore.transport.frames import BadFrame, Hello, Request, Response, SnapshotPart

log = get_logger(__name__)

_MAX_UNSENT_BYTES = 64 << 20
_RETRY_SECONDS = 0.1
_MAX_RETRY_SECONDS = 1.0
# A machine that was powered off resets nothing: without the ping TCP would keep the old
# connection, and back off, for minutes after the machine is there again.
_CONNECT_SECONDS = 2.0
_PING_SECONDS = 2.0
_PING_ANSWER_SECONDS = 3.0
_SNAPSHOT_STEP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class PeerEvents:
    """What the driver wants to hear of a peer. Called on the loop, must not block."""

    gone: Callable[[int], None]  # its process is known to have ended
    removed: Callable[[], None]  # it says that this member is in the cluster no more
    unreachable: Callable[[int], None]  # messages to it were dropped
    sent: Callable[[int, int], None]  # bytes
    failed: Callable[[int], None]
    round_trip: Callable[[int, float], None]


class PeerClient:
    """Sends to one member. What cannot be sent now is dropped: Raft repeats what matters."""

    def __init__(
        self,
        peer_id: int,
        url: str,
        hello: Callable[[int], Hello],
        tls: ssl.SSLContext | None,
        events: PeerEvents,
    ) -> None:
        self.id = peer_id
        self.connected = False
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 2380
        self._tls = tls if parts.scheme == "https" else None
        self._hello = hello
        self._events = events
        self._writer: asyncio.StreamWriter | None = None
        self._outbox: list[Message] = []
        self._answers: dict[int, asyncio.Future[Response]] = {}
        self._ids = count(1)
        self._incarnation = 0
        self._is_there = asyncio.Event()

    def is_there(self) -> None:
        """The member dialled in, so it is worth while to dial it now: it may have started just
        after the last attempt."""
        self._is_there.set()

    def send(self, message: Message) -> None:
        """Queue, until `flush`."""
        self._outbox.append(message)

    def flush(self) -> None:
        """Everything that was queued leaves in one frame."""
        if not self._outbox:
            return
        outbox, self._outbox = tuple(self._outbox), []
        if not self._write(outbox):
            self._events.failed(self.id)
            self._events.unreachable(self.id)

    def _write(self, frame: frames.Frame) -> bool:
        writer = self._writer
        if writer is None or writer.transport.is_closing():
            return False
        if writer.transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            return False
        data = frames.encode(frame)
        writer.write(data)
        self._events.sent(self.id, len(data))
        return True

    async def request(self, method: str, payload: bytes, timeout: float) -> Response:
        """Ask the member for something small. Raises Stopped when it is out of reach."""
        number = next(self._ids)
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            if not self._write(Request(number, method, payload)):
                raise Stopped
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise Stopped from None
        finally:
            self._answers.pop(number, None)

    async def run(self) -> None:
        """Connect, listen for answers, connect again. Ends by cancellation."""
        delay = _RETRY_SECONDS
        while True:
            self._is_there.clear()
            try:
                reader, writer = await self._connect()
            except (OSError, TimeoutError, BadFrame, asyncio.IncompleteReadError) as error:
                if isinstance(error, ConnectionRefusedError):
                    self._events.gone(self.id)
                log.debug("peer not reached", peer=f"{self.id:x}", error=str(error))
                await self._pause(delay)
                delay = min(2 * delay, _MAX_RETRY_SECONDS)
                continue
            delay = _RETRY_SECONDS
            self._writer, self.connected = writer, True
            log.info("peer connected", peer=f"{self.id:x}")
            ping = asyncio.create_task(self._ping(), name=f"ping-{self.id:x}")
            try:
                await self._listen(reader)
            finally:
                ping.cancel()
                self._lost()
                writer.close()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_there.wait()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                self._host,
                self._port,
                ssl=self._tls,
                server_hostname=self._host if self._tls else None,
            )
            try:
                writer.write(frames.encode(self._hello(self.id)))
                answer, _ = await frames.read(reader)
                if isinstance(answer, Response) and answer.payload == frames.REMOVED:
                    self._events.removed()
                if not isinstance(answer, Hello):
                    raise BadFrame("no hello")
            except BaseException:
                writer.close()
                raise
        if self._incarnation not in (0, answer.incarnation):
            self._events.gone(self.id)
        self._incarnation = answer.incarnation
        return reader, writer

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                frame, _ = await frames.read(reader)
                if isinstance(frame, Response):
                    self._answered(frame)
        except (OSError, BadFrame, asyncio.IncompleteReadError) as error:
            log.info("peer lost", peer=f"{self.id:x}", error=str(error) or "closed")

    def _answered(self, response: Response) -> None:
        answer = self._answers.get(response.id)
        if answer is not None and not answer.done():
            answer.set_result(response)

    def _lost(self) -> None:
        self._writer, self.connected = None, False
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Stopped())
        self._events.unreachable(self.id)

    async def _ping(self) -> None:
        while True:
            started = monotonic()
            try:
                await self.request("ping", b"", _PING_ANSWER_SECONDS)
            except Stopped:
                self._events.failed(self.id)
                if self._writer is not None:
                    self._writer.transport.abort()
                return  # `run` connects again
            self._events.round_trip(self.id, monotonic() - started)
            await asyncio.sleep(_PING_SECONDS)

    async def send_snapshot(
        self, message: Message, pieces_from: Callable[[int], Iterator[bytes]]
    ) -> bool:
        """Send a snapshot on a connection of its own, from where the last attempt broke off.
        True once the peer has checked it."""
        try:
            reader, writer = await self._connect()
        except (OSError, TimeoutError, BadFrame, asyncio.IncompleteReadError):
            return False
        try:
            writer.write(frames.encode(SnapshotPart(b"", message)))
            async with asyncio.timeout(_SNAPSHOT_STEP_SECONDS):
                start, _ = await frames.read(reader)
            if not isinstance(start, Response):
                return False
            for piece in pieces_from(int(start.payload)):
                writer.write(frames.encode(SnapshotPart(piece)))
                async with asyncio.timeout(_SNAPSHOT_STEP_SECONDS):
                    await writer.drain()
            writer.write(frames.encode(SnapshotPart(b"", last=True)))
            answer, _ = await frames.read(reader)
            return isinstance(answer, Response) and answer.ok
        except (OSError, TimeoutError, ValueError, BadFrame, asyncio.IncompleteReadError):
            return False
        finally:
            writer.close()
