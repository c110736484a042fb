"""Serves transport-free services (`kube.rpc.service`) with grpcio's asyncio server.

async with grpc_server(methods, [Listen("0.0.0.0", 2379, tls)], observer) as ports: ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from kube.rpc.errors import Code, RpcError
from kube.rpc.listen import Keepalive, Listen, Translate
from kube.rpc.service import CallContext, Method, Observer, Shape

__all__ = ["Listen", "Translate", "grpc_server"]

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_GRACE_SECONDS = 1.0


@asynccontextmanager
async def grpc_server(
    methods: Iterable[Method],
    addresses: Sequence[Listen],
    observer: Observer,
    *,
    max_receive_bytes: int = 4 << 20,
    translate: Translate | None = None,
    keepalive: Keepalive | None = None,
) -> AsyncIterator[list[int]]:
    """Serve `methods` while the block runs; yields the bound ports in the order of `addresses`."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", max_receive_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
            # Clients such as etcdctl ping idle connections; do not take that for abuse.
            ("grpc.http2.min_ping_interval_without_data_ms", 5000),
            ("grpc.keepalive_permit_without_calls", 1),
            *(_keepalive_options(keepalive) if keepalive else ()),
        ]
    )
    server.add_generic_rpc_handlers((_Handlers(methods, observer, translate),))
    ports = [_bind(server, address) for address in addresses]
    await server.start()
    try:
        yield ports
    finally:
        await server.stop(_GRACE_SECONDS)


def _keepalive_options(keepalive: Keepalive) -> list[tuple[str, int]]:
    timeout = int(keepalive.timeout_seconds * 1000)
    return [
        ("grpc.keepalive_time_ms", int(keepalive.seconds * 1000)),
        ("grpc.keepalive_timeout_ms", timeout),
        # gRPC core times an unanswered ping with this one, not with keepalive_timeout.
        ("grpc.http2.ping_timeout_ms", timeout),
        ("grpc.http2.max_ping_strikes", 0),
    ]


def _bind(server: grpc.aio.Server, address: Listen) -> int:
    if address.host.startswith("unix:"):
        return server.add_insecure_port(address.host)
    target = f"[{address.host}]" if ":" in address.host else address.host
    target = f"{target}:{address.port}"
    if address.tls is None:
        return server.add_insecure_port(target)
    material = address.tls.material()
    credentials = grpc.ssl_server_credentials(
        [(material.key, material.cert)],
        root_certificates=material.ca if address.client_auth else None,
        require_client_auth=address.client_auth,
    )
    return server.add_secure_port(target, credentials)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc,unused-ignore]  # a class of unknown type
    def __init__(
        self, methods: Iterable[Method], observer: Observer, translate: Translate | None
    ) -> None:
        self._handlers = {
            method.path: _Call(method, observer, translate).handler() for method in methods
        }

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(details.method)


class _Call:
    """One rpc on grpcio: decode, count, call, encode, turn errors into statuses."""

    def __init__(self, method: Method, observer: Observer, translate: Translate | None) -> None:
        self._method = method
        self._observer = observer
        self._translate = translate

    def handler(self) -> Any:
        make, behaviour = {
            Shape.UNARY: (grpc.unary_unary_rpc_method_handler, self._single),
            Shape.CLIENT_STREAM: (grpc.stream_unary_rpc_method_handler, self._single),
            Shape.SERVER_STREAM: (grpc.unary_stream_rpc_method_handler, self._stream),
            Shape.BIDI_STREAM: (grpc.stream_stream_rpc_method_handler, self._stream),
        }[self._method.shape]
        return make(
            behaviour,
            request_deserializer=self._decode,
            response_serializer=self._encode,
        )

    def _decode(self, data: bytes) -> Message:
        self._observer.received(self._method, len(data))
        return self._method.request.FromString(data)

    def _encode(self, response: Message | bytes) -> bytes:
        data = response if isinstance(response, bytes) else response.SerializeToString()
        self._observer.sent(self._method, len(data))
        return data

    async def _single(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        return await self._observed(
            context, lambda: self._method.handler(request, _call_context(context))
        )

    async def _stream(
        self, request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Any]:
        started = monotonic()
        code = Code.CANCELLED
        self._observer.started(self._method)
        responses = self._method.handler(request, _call_context(context))
        try:
            async for response in responses:
                for one in response if isinstance(response, list) else (response,):
                    yield one
            code = Code.OK
        except Exception as error:
            failure = self._failure(error)
            code = failure.code if failure else Code.UNKNOWN
            if failure is None:
                raise
            await _abort(context, failure)
        finally:
            if hasattr(responses, "aclose"):
                await responses.aclose()
            self._observer.handled(self._method, code, monotonic() - started)

    async def _observed(
        self,
        context: grpc.aio.ServicerContext[Any, Any],
        call: Callable[[], Awaitable[Message]],
    ) -> Any:
        started = monotonic()
        code = Code.CANCELLED
        self._observer.started(self._method)
        try:
            response = await call()
            code = Code.OK
            return response
        except Exception as error:
            failure = self._failure(error)
            code = failure.code if failure else Code.UNKNOWN
            if failure is None:
                raise
            await _abort(context, failure)
        finally:
            self._observer.handled(self._method, code, monotonic() - started)

    def _failure(self, error: Exception) -> RpcError | None:
        if isinstance(error, RpcError):
            return error
        return self._translate(error) if self._translate else None


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: RpcError) -> None:
    await context.abort(_CODES[error.code.value], error.message, error.trailers)


def _call_context(context: grpc.aio.ServicerContext[Any, Any]) -> CallContext:
    return CallContext(
        metadata=dict(context.invocation_metadata() or ()),
        peer=context.peer(),
        peer_certificate=lambda: _peer_certificate(context),
        send_headers=lambda: context.send_initial_metadata(()),
    )


def _peer_certificate(context: grpc.aio.ServicerContext[Any, Any]) -> bytes | None:
    values = context.auth_context().get("x509_pem_cert")
    return bytes(next(iter(values))) if values else None
