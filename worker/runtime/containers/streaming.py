"""The streaming server: WebSockets for exec and attach, behind one-time URLs.

CRI's Exec and Attach only answer with a URL; whoever presents it (the kubelet, for a user) gets
the stream. A URL holds a random token, works once, and expires soon when it is not used.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from aiohttp import WSMsgType, web

from kube.component.log import get_logger
from kube.component.peers import until_gone
from kube.component.webapp import serve_app
from kube.component.webhandler import be_patient
from kube.machinery import remotecommand
from kube.stubs.cri import api_pb2 as cri
from worker.runtime.containers import channels, conmon
from worker.runtime.containers.conmon import Monitored
from worker.runtime.containers.execs import Execs, ExecStream
from worker.runtime.errors import InvalidArgument, RuntimeFailure, Unavailable

log = get_logger(__name__)
TOKEN_SECONDS = 60.0
MAX_PENDING = 1000
_CHUNK = 1 << 15
_DRAIN_SECONDS = 0.5
_MAX_PACKET = 8193
_MAX_MESSAGE = 4 << 20


@dataclass(frozen=True, slots=True)
class ExecSession:
    container_id: str
    command: tuple[str, ...]
    terminal: bool
    stdin: bool
    stdout: bool
    stderr: bool


@dataclass(frozen=True, slots=True)
class AttachSession:
    monitored: Monitored
    terminal: bool
    stdin: bool
    stdout: bool
    stderr: bool


Session = ExecSession | AttachSession


class _Peer:
    """The client's side of a stream."""

    def __init__(self, ws: web.WebSocketResponse) -> None:
        self._ws = ws
        self.protocol = ws.ws_protocol or remotecommand.V4

    async def send(self, channel: int, data: bytes) -> None:
        with suppress(ConnectionError):
            await self._ws.send_bytes(channels.encode(channel, data))

    async def receive(
        self,
    ) -> AsyncIterator[channels.Input | channels.EndOfInput | channels.Resize]:
        async for message in self._ws:
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                continue
            # The Python client sends what is text in text frames, channel number included.
            data = message.data.encode() if message.type is WSMsgType.TEXT else message.data
            decoded = channels.decode(data, self.protocol)
            if decoded is not None:
                yield decoded


class _Target(Protocol):
    async def write(self, data: bytes) -> None: ...
    def close_stdin(self) -> None: ...
    def resize(self, rows: int, columns: int) -> None: ...


class StreamingServer:
    def __init__(self, execs: Execs) -> None:
        self._execs = execs
        self._pending: dict[str, tuple[float, Session]] = {}
        self._base = ""

    @asynccontextmanager
    async def serving(self, host: str, port: int, tls: ssl.SSLContext | None) -> AsyncIterator[str]:
        """Serve while the block runs; yields the base URL."""
        app = web.Application()
        app.router.add_get("/{kind:exec|attach}/{token}", self._handle)
        async with serve_app(app, host, port, tls) as bound:
            self._base = f"{'https' if tls else 'http'}://{host}:{bound}"
            yield self._base

    def url(self, session: Session) -> str:
        if not (session.stdin or session.stdout or session.stderr):
            raise InvalidArgument("one of stdin, stdout and stderr must be asked for")
        if session.terminal and session.stderr:
            raise InvalidArgument("a terminal has no separate stderr")
        now = time.monotonic()
        self._pending = {t: p for t, p in self._pending.items() if p[0] > now}
        if len(self._pending) >= MAX_PENDING:
            raise Unavailable("too many streams wait to be opened")
        token = secrets.token_urlsafe(24)
        self._pending[token] = (now + TOKEN_SECONDS, session)
        kind = "exec" if isinstance(session, ExecSession) else "attach"
        return f"{self._base}/{kind}/{token}"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        deadline, session = self._pending.pop(request.match_info["token"], (0.0, None))
        if session is None or deadline < time.monotonic():
            raise web.HTTPNotFound(text="no such stream: the token is unknown, used or expired")
        # No heartbeat: its answer would not be read while the container does not read its stdin.
        ws = web.WebSocketResponse(protocols=remotecommand.PROTOCOLS, max_msg_size=_MAX_MESSAGE)
        if not ws.can_prepare(request):
            raise web.HTTPBadRequest(text="this server speaks WebSocket only")
        be_patient(request)
        await ws.prepare(request)
        gone = asyncio.create_task(until_gone(request.transport, ws.ping), name="stream client")
        serving = asyncio.create_task(self._answer(session, _Peer(ws)), name="stream")
        try:
            await asyncio.wait({gone, serving}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                with suppress(ConnectionError):
                    await ws.close()
        finally:
            await _end(gone, serving)
        return ws

    async def _answer(self, session: Session, peer: _Peer) -> None:
        try:
            await self._serve(session, peer)
        except (RuntimeFailure, OSError) as error:
            await peer.send(remotecommand.ERROR, channels.failure_status(str(error)))

    async def _serve(self, session: Session, peer: _Peer) -> None:
        if isinstance(session, AttachSession):
            await _attach(session, peer)
            return
        async with self._execs.stream(
            session.container_id, session.command,
            terminal=session.terminal, stdin=session.stdin,
        ) as stream:  # fmt: skip
            code = await _exec(session, stream, peer)
        if code is not None:
            await peer.send(remotecommand.ERROR, channels.exit_status(code))


async def _exec(session: ExecSession, stream: ExecStream, peer: _Peer) -> int | None:
    """Pump until the command ends; None when the client left before."""
    outputs = [
        asyncio.create_task(_pump(reader, channel, wanted, peer), name="exec output")
        for reader, channel, wanted in (
            (stream.stdout, remotecommand.STDOUT, session.stdout),
            (stream.stderr, remotecommand.STDERR, session.stderr),
        )
        if reader is not None
    ]
    inputs = asyncio.create_task(_feed(peer, stream, session.stdin), name="exec input")
    ended = asyncio.create_task(stream.wait(), name="exec end")
    try:
        await asyncio.wait({inputs, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            return None
        # The command's own output is in the pipes by now; a child it left may hold them open.
        await asyncio.wait(outputs, timeout=_DRAIN_SECONDS)
        return ended.result()
    finally:
        await _end(*outputs, inputs, ended)


async def _pump(reader: asyncio.StreamReader, channel: int, wanted: bool, peer: _Peer) -> None:
    # A terminal whose last user has gone reads as EIO: its end of file.
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            if wanted:
                await peer.send(channel, data)


async def _feed(peer: _Peer, target: _Target, stdin: bool) -> None:
    """Until the client goes away."""
    async for message in peer.receive():
        if isinstance(message, channels.Input) and stdin:
            await target.write(message.data)
        elif isinstance(message, channels.EndOfInput):
            target.close_stdin()
        elif isinstance(message, channels.Resize):
            target.resize(message.rows, message.columns)


class _Attached:
    """A container's stdio by way of its conmon."""

    def __init__(self, monitored: Monitored) -> None:
        self._monitored = monitored
        self.socket = conmon.attach(monitored)

    async def write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        for start in range(0, len(data), _MAX_PACKET - 1):
            await loop.sock_sendall(self.socket, data[start : start + _MAX_PACKET - 1])

    def close_stdin(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def resize(self, rows: int, columns: int) -> None:
        with suppress(OSError):
            conmon.resize(self._monitored, rows, columns)


async def _attach(session: AttachSession, peer: _Peer) -> None:
    attached = _Attached(session.monitored)
    output = asyncio.create_task(_pump_packets(attached, session, peer), name="attach output")
    inputs = asyncio.create_task(_feed(peer, attached, session.stdin), name="attach input")
    try:
        done, _ = await asyncio.wait({output, inputs}, return_when=asyncio.FIRST_COMPLETED)
        if output in done:
            await peer.send(remotecommand.ERROR, channels.exit_status(0))
    finally:
        await _end(output, inputs)
        attached.socket.close()


async def _pump_packets(attached: _Attached, session: AttachSession, peer: _Peer) -> None:
    loop = asyncio.get_running_loop()
    wanted = {2: (remotecommand.STDOUT, session.stdout), 3: (remotecommand.STDERR, session.stderr)}
    with suppress(OSError):
        while packet := await loop.sock_recv(attached.socket, _MAX_PACKET):
            channel, send = wanted.get(packet[0], (0, False))
            if send:
                await peer.send(channel, packet[1:])


async def _end(*tasks: asyncio.Task[object] | asyncio.Task[None] | asyncio.Task[int]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def exec_session(request: cri.ExecRequest) -> ExecSession:
    if not request.cmd:
        raise InvalidArgument("exec without a command")
    return ExecSession(
        request.container_id, tuple(request.cmd), request.tty,
        request.stdin, request.stdout, request.stderr,
    )  # fmt: skip


def attach_session(request: cri.AttachRequest, monitored: Monitored) -> AttachSession:
    return AttachSession(monitored, request.tty, request.stdin, request.stdout, request.stderr)
