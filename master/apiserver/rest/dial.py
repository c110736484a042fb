"""One GET on a kubelet, of which nothing is believed: its answer is taken piece by piece.

A node may be hostile. It has a deadline for the connection, for TLS and for its headers; these are
bounded; it cannot send the api-server elsewhere (redirects are errors), have it unpack anything, or
be read faster than the client takes it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import h11

from kube.machinery.errors import InternalError, ServiceUnavailable

DIAL_SECONDS = 5.0
HEAD_SECONDS = 30.0
CHUNK_BYTES = 64 << 10
MAX_HEAD_BYTES = 64 << 10
# Events of an answer that is cut into tiny chunks, in one turn of the loop.
_EVENTS_A_TURN = 200


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content: AsyncIterator[bytes]


async def dial(
    host: str, port: int, tls: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=tls, limit=MAX_HEAD_BYTES
            )
    except (OSError, TimeoutError) as error:
        why = str(error) or "i/o timeout"
        raise ServiceUnavailable(f"error dialing backend: {host}:{port}: {why}") from error
    writer.transport.set_write_buffer_limits(high=CHUNK_BYTES)
    return reader, writer


@asynccontextmanager
async def get(host: str, port: int, path: str, tls: ssl.SSLContext) -> AsyncIterator[Answer]:
    """Raises ServiceUnavailable, InternalError; the content may raise InternalError, too."""
    reader, writer = await dial(host, port, tls)
    try:
        conversation = _Conversation(reader, path)
        writer.write(conversation.ask(f"{host}:{port}"))
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                await writer.drain()
                status = await conversation.head()
        except TimeoutError as error:
            raise InternalError(f"the kubelet did not answer {path}: timeout") from error
        yield Answer(status, conversation.content())
    except OSError as error:
        raise InternalError(f"the connection to the kubelet broke off: {error}") from error
    finally:
        writer.transport.abort()  # what is left of the answer is of no use


class _Conversation:
    def __init__(self, reader: asyncio.StreamReader, path: str) -> None:
        self._reader = reader
        self._path = path
        self._http = h11.Connection(h11.CLIENT, MAX_HEAD_BYTES)

    def ask(self, host: str) -> bytes:
        headers = [("Host", host), ("Accept-Encoding", "identity"), ("Connection", "close")]
        request = h11.Request(method="GET", target=self._path, headers=headers)
        return (self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")

    async def head(self) -> int:
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                return event.status_code
            if not isinstance(event, h11.InformationalResponse):
                raise InternalError(f"the kubelet did not answer {self._path}")

    async def content(self) -> AsyncIterator[bytes]:
        """What has come in, together; tiny chunks do not become tiny pieces."""
        while True:
            pieces: list[bytes] = []
            event = await self._next()
            while isinstance(event, h11.Data) and len(pieces) < _EVENTS_A_TURN:
                pieces.append(bytes(event.data))
                event = self._parsed()
            if pieces:
                yield b"".join(pieces)
            if isinstance(event, h11.Data):
                yield bytes(event.data)
                await asyncio.sleep(0)
            elif event is not h11.NEED_DATA:
                return

    async def _next(self) -> object:
        while (event := self._parsed()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(CHUNK_BYTES))
        return event

    def _parsed(self) -> object:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise InternalError(f"the kubelet's answer is no HTTP: {error}") from error
