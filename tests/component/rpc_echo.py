"""One service on either transport, and one face for both clients: what the rpc tests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from kube.component.tls import TlsFiles, client_context
from kube.rpc.errors import Code, RpcError
from kube.rpc.grpcio import grpc_server
from kube.rpc.h2.client import Channel
from kube.rpc.h2.connection import Settings
from kube.rpc.h2.server import h2_server
from kube.rpc.listen import Listen
from kube.rpc.service import CallContext, Method, Shape
from kube.stubs.etcd.rpc_pb2 import PutRequest as Msg

SERVICE = "test.Echo"


@dataclass
class Recorder:
    """An observer that remembers, and what the handlers saw."""

    codes: list[tuple[str, Code]] = field(default_factory=list)
    contexts: list[CallContext] = field(default_factory=list)
    certificates: list[bytes | None] = field(default_factory=list)
    running: int = 0
    produced: int = 0
    consumed: int = 0
    handler_ended: asyncio.Event = field(default_factory=asyncio.Event)

    def started(self, method: Method) -> None:
        self.running += 1

    def handled(self, method: Method, code: Code, seconds: float) -> None:
        self.running -= 1
        self.codes.append((method.name, code))

    def received(self, method: Method, size: int) -> None: ...

    def sent(self, method: Method, size: int) -> None: ...


class NotFound(RpcError):
    code = Code.NOT_FOUND
    message = "nothing hére: 100 %\n"
    trailers = (("detail", "plain"), ("detail-bin", b"\x00\xff\x01"))


def methods(seen: Recorder) -> list[Method]:
    async def unary(request: Msg, context: CallContext) -> Msg:
        seen.contexts.append(context)
        # During the call: grpcio's context does not survive it.
        seen.certificates.append(context.peer_certificate())
        match request.key:
            case b"fail":
                raise NotFound
            case b"crash":
                raise ValueError("boom")
            case b"hang":
                try:
                    await asyncio.sleep(60)
                finally:
                    seen.handler_ended.set()
            case b"slow":
                await asyncio.sleep(float(request.value))
            case b"big":
                return Msg(value=b"x" * int(request.value))
        return request

    async def server_stream(
        request: Msg, context: CallContext
    ) -> AsyncIterator[Msg | list[Msg | bytes]]:
        count, size = (int(part) for part in request.value.split())
        if request.key == b"at once":
            yield [Msg(key=b"message"), Msg(key=b"encoded").SerializeToString()]
        if request.key == b"head":
            await context.send_headers()
            await asyncio.sleep(60)
        try:
            for number in range(count):
                yield Msg(key=str(number).encode(), value=b"s" * size)
                seen.produced += 1
            if request.key == b"fail":
                raise NotFound
        finally:
            seen.handler_ended.set()

    async def client_stream(requests: AsyncIterator[Msg], context: CallContext) -> Msg:
        total = 0
        async for request in requests:
            if request.key == b"enough":
                return Msg(value=b"early")
            total += len(request.value)
        return Msg(value=str(total).encode())

    async def bidi(requests: AsyncIterator[Msg], context: CallContext) -> AsyncIterator[Msg]:
        try:
            async for request in requests:
                seen.consumed += 1
                if request.key == b"fail":
                    raise NotFound
                if request.key == b"stall":
                    await asyncio.sleep(60)
                yield request
        finally:
            seen.handler_ended.set()

    return [
        Method(SERVICE, "Unary", Shape.UNARY, Msg, unary),
        Method(SERVICE, "ServerStream", Shape.SERVER_STREAM, Msg, server_stream),
        Method(SERVICE, "ClientStream", Shape.CLIENT_STREAM, Msg, client_stream),
        Method(SERVICE, "Bidi", Shape.BIDI_STREAM, Msg, bidi),
    ]


@asynccontextmanager
async def echo_server(
    transport: str,
    seen: Recorder,
    *,
    tls: TlsFiles | None = None,
    settings: Settings | None = None,
    max_receive_bytes: int = 4 << 20,
) -> AsyncIterator[int]:
    listen = [Listen("127.0.0.1", 0, tls)]
    server = (
        grpc_server(methods(seen), listen, seen, max_receive_bytes=max_receive_bytes)
        if transport == "grpcio"
        else h2_server(
            methods(seen), listen, seen, max_receive_bytes=max_receive_bytes, settings=settings
        )
    )
    async with server as ports:
        yield ports[0]


@asynccontextmanager
async def channel(
    transport: str, port: int, *, tls: TlsFiles | None = None, settings: Settings | None = None
) -> AsyncIterator[Any]:
    if transport == "nghttp2":
        context = client_context(tls) if tls else None
        async with Channel("127.0.0.1", port, context, settings=settings) as ours:
            yield ours
        return
    options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1)]
    if tls is None:
        theirs = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options)
    else:
        material = tls.material()
        credentials = grpc.ssl_channel_credentials(material.ca, material.key, material.cert)
        theirs = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options)
    async with theirs:
        yield theirs


def caller(channel_: Any, name: str) -> Any:
    make = {
        "Unary": "unary_unary", "ServerStream": "unary_stream",
        "ClientStream": "stream_unary", "Bidi": "stream_stream",
    }  # fmt: skip
    return getattr(channel_, make.get(name, "unary_unary"))(
        f"/{SERVICE}/{name}",
        request_serializer=Msg.SerializeToString,
        response_deserializer=Msg.FromString,
    )


@dataclass(frozen=True)
class Failure:
    code: Code
    message: str
    trailers: dict[str, Any]


async def failure(awaitable: Any) -> Failure:
    """How a call failed, from either client."""
    try:
        value = await awaitable
    except grpc.aio.AioRpcError as error:
        code = Code(error.code().value[0])
        return Failure(code, error.details() or "", dict(error.trailing_metadata() or ()))
    except RpcError as error:
        return Failure(error.code, error.message, dict(error.trailers))
    except asyncio.CancelledError:
        return Failure(Code.CANCELLED, "", {})
    raise AssertionError(f"the call did not fail: {value!r}")


async def collect(call: Any) -> list[Msg]:
    return [message async for message in call]


async def until(condition: Any, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def settled(value: Callable[[], int]) -> int:
    """A count once it has not grown for a while."""
    last, same = -1, 0
    while same < 5:
        await asyncio.sleep(0.05)
        same = same + 1 if value() == last else 0
        last = value()
    return last
