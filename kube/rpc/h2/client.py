"""Calls over libnghttp2: a channel to one server, with the shape that generated stubs expect.

channel = Channel("10.0.0.1", 6444, tls)
response = await channel.unary_unary(path, Request.SerializeToString, Response.FromString)(request)

So `ResourcesStub(channel)` works as with grpcio's asyncio channel. Failures are `RpcError`.
A channel dials when it is first used and again after its connection has ended.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from kube.component.tls import TlsMaterial, client_context_from
from kube.rpc import channel
from kube.rpc.errors import Code, RpcError, unavailable
from kube.rpc.h2.clientcall import Call
from kube.rpc.h2.clientconnection import ClientConnection
from kube.rpc.h2.connection import Settings
from kube.rpc.h2.session import Limits
from kube.rpc.h2.wire import Metadata, encode_block

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]
_LINGER_SECONDS = 0.2
_MAX_UINT32 = 2**32 - 1


class Channel(channel.Channel):
    """`tls` None is plain text; `server_name` is what the certificate must be for.

    With `port` 0 `host` is the path of a unix socket.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        *,
        server_name: str | None = None,
        settings: Settings | None = None,
        options: channel.ChannelOptions | None = None,
    ) -> None:
        super().__init__()
        self._options = options or channel.ChannelOptions()
        self._host, self._port = host, port
        self._server_name = (server_name or host) if tls is not None else None
        self._tls = tls
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        self._settings = settings or Settings()
        self._connection: ClientConnection | None = None
        self._leaving: set[ClientConnection] = set()
        self._dialling: asyncio.Task[ClientConnection] | None = None
        self._failures = 0  # to connect, one after the other
        self._failure: RpcError | None = None
        self._retry_at = 0.0
        authority = self._options.authority
        if not authority and port:
            authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._head = [
            (":method", "POST"),
            (":scheme", "http" if tls is None else "https"),
            (":authority", authority or "localhost"),
        ]
        self._tail = [
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "grpc-python-muster/1"),
        ]
        self._blocks: dict[str, bytes] = {}
        self._closed = False

    @classmethod
    def open(
        cls, target: str, material: TlsMaterial | None, options: channel.ChannelOptions
    ) -> Channel:
        """As `kube.rpc.channel.open_channel` names servers and what it asks."""
        tls = client_context_from(material) if material is not None else None
        settings = _settings(options)
        if target.startswith("unix:"):
            path = "/" + target.removeprefix("unix:").lstrip("/")
            return cls(path, 0, tls, settings=settings, options=options)
        host, _, port = target.rpartition(":")
        return cls(host.strip("[]"), int(port), tls, settings=settings, options=options)

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

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def ready(self) -> None:
        wait = self._retry_at - asyncio.get_running_loop().time()
        if wait > 0 and self._connection is None and self._dialling is None:
            await asyncio.sleep(wait)
        await self.connect()

    async def connect(self) -> ClientConnection:
        """Dial once for all who wait. In the back-off after a failure, fail with that at once."""
        if self._closed:
            raise RpcError("the channel was closed", Code.CANCELLED)
        if self._connection is not None:
            return self._connection
        if self._dialling is None:
            if self._failure is not None and asyncio.get_running_loop().time() < self._retry_at:
                raise unavailable(self._failure.message)
            self._dialling = asyncio.create_task(self._dial(), name="dial")
            self._dialling.add_done_callback(_seen)
        dialling = self._dialling
        try:
            return await asyncio.shield(dialling)
        except asyncio.CancelledError:
            if self._closed and dialling.done():  # not who waits was cancelled: the channel closed
                raise RpcError("the channel was closed", Code.CANCELLED) from None
            raise

    async def _dial(self) -> ClientConnection:
        connection: ClientConnection | None = None
        try:
            async with asyncio.timeout(self._options.connect_seconds):
                connection = await self._reach()
                await connection.greeted
                if not connection.usable:
                    raise unavailable("the server left at once")
        except asyncio.CancelledError:
            if connection is not None:
                connection.abort()
            raise
        except (OSError, TimeoutError, RpcError) as error:
            if connection is not None:
                connection.abort()
            where = f"{self._host}:{self._port}" if self._port else self._host
            self._failure = unavailable(f"failed to connect to {where}: {error!r}")
            self._retry_at = asyncio.get_running_loop().time() + self._back_off()
            raise self._failure from error
        finally:
            # At once, not when the task's callbacks run: who comes in between would be told of
            # the failure without a wait, and asking again and again never let them run.
            self._dialling = None
        self._failures, self._failure = 0, None
        self._connection = connection
        return connection

    async def _reach(self) -> ClientConnection:
        loop = asyncio.get_running_loop()
        made = ClientConnection(self, self._settings)
        if self._port:
            await loop.create_connection(
                lambda: made, self._host, self._port,
                ssl=self._tls, server_hostname=self._server_name,
            )  # fmt: skip
        else:
            await loop.create_unix_connection(lambda: made, self._host)
        return made

    def _back_off(self) -> float:
        first, longest = self._options.backoff_seconds
        seconds: float = min(first * 2**self._failures, longest)
        self._failures = min(self._failures + 1, 30)
        return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - spreads clients, guards nothing

    def going_away(self, connection: ClientConnection) -> None:
        """No new calls on it; the running ones end there."""
        if self._connection is connection:
            self._connection = None
            self._leaving.add(connection)

    def lost(self, connection: ClientConnection) -> None:
        self._leaving.discard(connection)
        if self._connection is connection:
            self._connection = None


def _seen(task: asyncio.Task[ClientConnection]) -> None:
    if not task.cancelled():
        task.exception()  # those who waited have it


def _settings(options: channel.ChannelOptions) -> Settings:
    size = options.max_receive_bytes
    # Of a large answer one half may still be coming in while the other is being taken.
    limits = Limits(max_message_bytes=size)
    received = min(max(limits.max_received_bytes, 2 * size), _MAX_UINT32)
    return Settings(
        limits=replace(limits, max_received_bytes=received),
        keepalive_seconds=options.keepalive.seconds,
        keepalive_timeout_seconds=options.keepalive.timeout_seconds,
        ping_when_idle=options.ping_when_idle,
        idle_seconds=options.idle_seconds,
    )
