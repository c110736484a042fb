"""Calls over libnghttp2: a channel to one server, with the shape that generated stubs expect.

channel = Channel("10.0.0.1", 6444, tls)
response = await channel.unary_unary(path, Request.SerializeToString, Response.FromString)(request)

So `ResourcesStub(channel)` works as with grpcio's asyncio channel. Failures are `RpcError`.
A channel dials when it is first used and again after its connection has ended.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from muster.rpc.errors import Code, RpcError
from muster.rpc.h2.clientcall import Call, unavailable
from muster.rpc.h2.connection import Connection, Settings
from muster.rpc.h2.session import Event, Kind
from muster.rpc.h2.wire import Metadata, encode_block

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]
_CONNECT_SECONDS = 20.0
_LINGER_SECONDS = 0.2


class Channel:
    """`tls` None is plain text; `server_name` is what the certificate must be for."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        *,
        server_name: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._host, self._port = host, port
        self._server_name = (server_name or host) if tls is not None else None
        self._tls = tls
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        self._settings = settings or Settings()
        self._connection: ClientConnection | None = None
        self._leaving: set[ClientConnection] = set()
        self._dialling: asyncio.Task[ClientConnection] | None = None
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._head = [
            (":method", "POST"),
            (":scheme", "http" if tls is None else "https"),
            (":authority", authority),
        ]
        self._tail = [
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "grpc-python-muster/1"),
        ]
        self._blocks: dict[str, bytes] = {}
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all calls (CANCELLED) and the connection."""
        self._closed = True
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.wait([self._dialling])
        connections = [*self._leaving, *([self._connection] if self._connection else [])]
        for connection in connections:
            connection.leave(RpcError("the channel was closed", Code.CANCELLED))
        closed = [connection.closed for connection in connections]
        if closed:
            # A TLS peer may let its half of the goodbye wait.
            await asyncio.wait(closed, timeout=_LINGER_SECONDS)
            for connection in connections:
                connection.abort()
            await asyncio.wait(closed)

    # -- what generated stubs ask for

    def unary_unary(self, path: str, *how: Any, **named: Any) -> Callable[..., Call]:
        return self._caller(path, False, *how, **named)

    unary_stream = unary_unary

    def stream_stream(self, path: str, *how: Any, **named: Any) -> Callable[..., Call]:
        return self._caller(path, True, *how, **named)

    stream_unary = stream_stream

    def _caller(
        self,
        path: str,
        streams: bool,
        request_serializer: Encode,
        response_deserializer: Decode,
        _registered_method: bool = False,
    ) -> Callable[..., Call]:
        def call(
            request: Any = None,
            *,
            timeout: float | None = None,
            metadata: Metadata = (),
        ) -> Call:
            """`request`: the message, or for a streaming one an (async) iterable or None."""
            return Call(
                self, path, request_serializer, response_deserializer, request,
                streams=streams, timeout=timeout, metadata=metadata,
            )  # fmt: skip

        return call

    # -- for its calls

    def block(self, path: str) -> bytes:
        """The headers that all calls of a method have in common."""
        block = self._blocks.get(path)
        if block is None:
            fields = [*self._head, (":path", path), *self._tail]
            block = self._blocks[path] = encode_block(fields)
        return block

    @property
    def connection(self) -> ClientConnection | None:
        """The one for new calls, if it stands."""
        return self._connection

    async def connect(self) -> ClientConnection:
        """Dial once for all who wait."""
        if self._closed:
            raise RpcError("the channel was closed", Code.CANCELLED)
        if self._connection is not None:
            return self._connection
        if self._dialling is None:
            self._dialling = asyncio.create_task(self._dial(), name="dial")
            self._dialling.add_done_callback(self._dialled)
        return await asyncio.shield(self._dialling)

    async def _dial(self) -> ClientConnection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: ClientConnection(self, self._settings),
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._server_name,
                )
        except (OSError, TimeoutError) as error:
            where = f"{self._host}:{self._port}"
            raise unavailable(f"failed to connect to {where}: {error!r}") from error
        self._connection = connection
        return connection

    def _dialled(self, task: asyncio.Task[ClientConnection]) -> None:
        self._dialling = None
        if not task.cancelled():
            task.exception()  # those who waited have it

    def going_away(self, connection: ClientConnection) -> None:
        """No new calls on it; the running ones end there."""
        if self._connection is connection:
            self._connection = None
            self._leaving.add(connection)

    def lost(self, connection: ClientConnection) -> None:
        self._leaving.discard(connection)
        if self._connection is connection:
            self._connection = None


class ClientConnection(Connection):
    def __init__(self, channel: Channel, settings: Settings) -> None:
        super().__init__(settings, server=False)
        self._channel = channel
        self._calls: dict[int, Call] = {}
        self._leaving = False

    def add(self, stream: int, call: Call) -> None:
        self._calls[stream] = call

    def forget(self, stream: int) -> None:
        self._calls.pop(stream, None)
        if self._leaving and not self._calls:
            self.loop.call_soon(self.retire)

    def calls(self) -> int:
        return len(self._calls)

    @property
    def full(self) -> bool:
        """More calls wait for a stream than make sense."""
        limits = self.settings.limits
        return self.session.streams >= limits.max_streams + self.settings.max_waiting_calls

    def leave(self, error: RpcError) -> None:
        for call in list(self._calls.values()):
            call.fail(error)
        self.session.goaway()
        self.flush()
        self.retire()

    def on_event(self, event: Event) -> None:
        kind, ends, stream, code, data = event
        if kind == Kind.GOAWAY:
            self._leaving = True
            self._channel.going_away(self)
            if not self._calls:
                self.loop.call_soon(self.retire)
            return
        call = self._calls.get(stream)
        if call is None:
            return
        if kind == Kind.MESSAGE:
            call.on_message(data)
        elif kind == Kind.HEADERS:
            call.on_headers(data, bool(ends))
        elif kind == Kind.TRAILERS:
            call.on_trailers(data)
        elif kind == Kind.END:
            call.on_trailers(b"")
        elif kind == Kind.CLOSED:
            call.on_closed(code)
        elif kind == Kind.DRAINED:
            call.on_drained()
        elif kind == Kind.REFUSED:
            call.on_refused(code)

    def on_lost(self, reason: str) -> None:
        self._channel.lost(self)
        for call in list(self._calls.values()):
            call.fail(unavailable(reason))
