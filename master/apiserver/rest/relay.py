"""An upgraded connection through the api-server: the kubelet and the client talk end to end.

The HTTP Upgrade request goes on to the kubelet with the api-server's certificate; after its
`101` both directions are copied as they are: WebSocket frames are kept apart, never looked into.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl

from aiohttp import web

from kube.component.webhandler import be_patient
from kube.machinery.errors import BadRequest, InternalError, StatusError, encode_status
from kube.machinery.remotecommand import ERROR, PROTOCOLS
from master.apiserver.rest.dial import CHUNK_BYTES, DIAL_SECONDS, HEAD_SECONDS, dial
from master.apiserver.rest.frames import FrameCutter

CLOSE_SECONDS = 0.5
# Frames that are written in one turn of the loop: each is a TLS record.
_FRAMES_A_TURN = 200
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
# Hop-by-hop headers that make the upgrade, and what belongs to it.
_FORWARDED = (
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Origin",
    "User-Agent",
)
_ERROR_CHANNEL = bytes([ERROR])
_SPDY_TEXT = (
    "this server streams exec and attach over WebSocket (v5.channel.k8s.io) only; SPDY was "
    "asked for: use kubectl 1.31 or newer, or set KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true"
)


async def relay_upgrade(
    request: web.Request, host: str, port: int, path: str, tls: ssl.SSLContext
) -> web.StreamResponse:
    """Forward the upgrade and copy until either side closes. Raises StatusError before that.

    A WebSocket client hears what the kubelet side says on the stream's error channel: told by
    an HTTP status, kubectl would try SPDY and show only that second failure.
    """
    upgrade = request.headers.get("Upgrade", "").lower()
    if upgrade.startswith("spdy"):
        raise BadRequest(_SPDY_TEXT)
    if upgrade != "websocket":
        raise BadRequest("Upgrade request required")
    try:
        reader, writer = await dial(host, port, tls)
    except StatusError as error:
        return await _tell_on_stream(request, error)
    try:
        head = await _handshake(request, reader, writer, host, port, path)
        return await _tunnel(request, reader, writer, head)
    except StatusError as error:
        return await _tell_on_stream(request, error)
    finally:
        writer.transport.abort()  # without a farewell: it may not read any more


async def _tell_on_stream(request: web.Request, error: StatusError) -> web.StreamResponse:
    # kubectl does not answer the closing handshake; it is not waited for long.
    stream = web.WebSocketResponse(protocols=PROTOCOLS, timeout=CLOSE_SECONDS)
    await stream.prepare(request)
    await stream.send_bytes(_ERROR_CHANNEL + encode_status(error))
    await stream.close()
    return stream


async def _handshake(
    request: web.Request,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    host: str,
    port: int,
    path: str,
) -> bytes:
    """Send the upgrade request; the kubelet's `101` head. Any other answer becomes an error."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}"]
    for name in _FORWARDED:
        lines += [f"{name}: {value}" for value in request.headers.getall(name, [])]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
    except TimeoutError as error:
        raise InternalError("the kubelet did not answer the upgrade: timeout") from error
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
        raise InternalError(f"the kubelet did not answer the upgrade: {error}") from error
    status = _STATUS.match(head)
    if status is None:
        raise InternalError("the kubelet did not answer the upgrade: no HTTP")
    if status[1] == b"101":
        return head
    raise await _refusal(reader, head, int(status[1]))


async def _refusal(reader: asyncio.StreamReader, head: bytes, status: int) -> StatusError:
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            body = await reader.read(4096)
    except TimeoutError:
        body = b""
    text = body.decode(errors="replace").strip() or head.split(b"\r\n", 1)[0].decode()
    return (BadRequest if status < 500 else InternalError)(text)


async def _tunnel(
    request: web.Request,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    head: bytes,
) -> web.StreamResponse:
    """Take the client's connection over from the HTTP server and copy both ways."""
    response = _Hijacked(head)
    await response.prepare(request)
    transport = request.transport
    protocol = request.protocol
    if transport is None:
        return response
    be_patient(request)
    pump = _ClientPump(transport, protocol, writer)
    # From here on the client's bytes are ours, not HTTP.
    transport.set_protocol(pump)
    try:
        transport.write(head)
        await _pour(reader, transport, pump)
    except OSError:
        pass  # one side broke off; both end
    finally:
        pump.end()
        protocol.force_close()
        transport.close()
    return response


async def _pour(
    reader: asyncio.StreamReader, transport: asyncio.Transport, pump: _ClientPump
) -> None:
    """From the kubelet to the client, as fast as the client takes it."""
    cutter = FrameCutter()
    while chunk := await reader.read(CHUNK_BYTES):
        for number, piece in enumerate(cutter.cut(chunk), 1):
            if transport.is_closing():
                return
            transport.write(piece)
            await pump.drained()
            if number % _FRAMES_A_TURN == 0:
                await asyncio.sleep(0)


class _Hijacked(web.StreamResponse):
    """A response whose head is written by us, byte for byte as the kubelet sent it."""

    def __init__(self, head: bytes) -> None:
        super().__init__(status=101)
        self._head = head

    async def _start(self, request: web.BaseRequest) -> None:  # type: ignore[override]  # it has no writer
        self._req = request
        return

    async def write_eof(self, data: bytes = b"") -> None:
        return None


class _ClientPump(asyncio.Protocol):
    """The client's side after the upgrade: its bytes go to the kubelet, as fast as that takes them.

    `former` is the HTTP server's protocol, which has to hear of the connection's end.
    """

    def __init__(
        self,
        client: asyncio.Transport,
        former: asyncio.BaseProtocol,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._client = client
        self._former = former
        self._writer = writer
        self._draining: asyncio.Task[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        if self._writer.is_closing():
            return
        self._writer.write(data)
        waiting = self._writer.transport.get_write_buffer_size()
        if waiting > CHUNK_BYTES and self._draining is None:
            self._client.pause_reading()
            self._draining = asyncio.create_task(self._drain(), name="stream to the kubelet")

    async def _drain(self) -> None:
        with contextlib.suppress(OSError):
            await self._writer.drain()
        self._draining = None
        if not self._client.is_closing():
            self._client.resume_reading()

    def eof_received(self) -> bool:
        self.end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._may_write.set()
        self.end()
        self._former.connection_lost(exc)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    async def drained(self) -> None:
        if not self._may_write.is_set():
            await self._may_write.wait()

    def end(self) -> None:
        if self._draining is not None:
            self._draining.cancel()
        if not self._writer.is_closing():
            self._writer.close()
