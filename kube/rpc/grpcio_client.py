"""grpcio's asyncio channel in the shape of `kube.rpc.channel`: its failures become RpcError."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import grpc
from grpc import aio

from kube.component.tls import TlsMaterial, grpc_channel_credentials
from kube.rpc.channel import Channel, ChannelOptions
from kube.rpc.errors import CallFailed, Code, RpcError, unavailable

_READY = grpc.ChannelConnectivity.READY


class GrpcioChannel(Channel):
    def __init__(self, target: str, tls: TlsMaterial | None, options: ChannelOptions) -> None:
        super().__init__()
        self._target = target
        settings = _settings(options)
        if tls is None:
            self._channel = aio.insecure_channel(target, options=settings)
        else:
            credentials = grpc_channel_credentials(tls)
            self._channel = aio.secure_channel(target, credentials, options=settings)

    @property
    def connected(self) -> bool:
        return self._channel.get_state() is _READY

    async def ready(self) -> None:
        state = self._channel.get_state(try_to_connect=True)
        while state is not _READY:
            await self._channel.wait_for_state_change(state)
            state = self._channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                raise unavailable(f"failed to connect to {self._target}")

    async def close(self) -> None:
        await self._channel.close()

    def unary_unary(self, path: str, *how: Any, **named: Any) -> Callable[..., GrpcioCall]:
        return _wrapped(self._channel.unary_unary(path, *how, **named))

    def unary_stream(self, path: str, *how: Any, **named: Any) -> Callable[..., GrpcioCall]:
        return _wrapped(self._channel.unary_stream(path, *how, **named))

    def stream_unary(self, path: str, *how: Any, **named: Any) -> Callable[..., GrpcioCall]:
        return _wrapped(self._channel.stream_unary(path, *how, **named))

    def stream_stream(self, path: str, *how: Any, **named: Any) -> Callable[..., GrpcioCall]:
        return _wrapped(self._channel.stream_stream(path, *how, **named))


def _settings(options: ChannelOptions) -> list[tuple[str, Any]]:
    keepalive = options.keepalive
    first, longest = (int(seconds * 1000) for seconds in options.backoff_seconds)
    settings: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", options.max_receive_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", int(keepalive.seconds * 1000)),
        ("grpc.keepalive_timeout_ms", int(keepalive.timeout_seconds * 1000)),
        # gRPC core times an unanswered ping with this one (a minute by default), not with
        # keepalive_timeout, which only bounds unacknowledged TCP data.
        ("grpc.http2.ping_timeout_ms", int(keepalive.timeout_seconds * 1000)),
        ("grpc.keepalive_permit_without_calls", int(options.ping_when_idle)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", first),
        # Also how long one attempt has at least.
        ("grpc.min_reconnect_backoff_ms", min(longest, 500)),
        ("grpc.max_reconnect_backoff_ms", longest),
        # Channels of one process must not share a connection's fate or back-off.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if options.idle_seconds:
        settings.append(("grpc.client_idle_timeout_ms", int(options.idle_seconds * 1000)))
    if options.authority:
        settings.append(("grpc.default_authority", options.authority))
    return settings


def _wrapped(method: Callable[..., Any]) -> Callable[..., GrpcioCall]:
    def call(*args: Any, **named: Any) -> GrpcioCall:
        return GrpcioCall(method(*args, **named))

    return call


class GrpcioCall:
    """What callers use of a call."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result().__await__()

    async def _result(self) -> Any:
        try:
            return await self._call
        except aio.AioRpcError as error:
            raise _failure(error) from error

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for response in self._call:
                yield response
        except aio.AioRpcError as error:
            raise _failure(error) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Not this task was cancelled but the call, by somebody else's `cancel`.
            raise RpcError("Locally cancelled by application!", Code.CANCELLED) from error
        finally:
            self._call.cancel()

    async def initial_metadata(self) -> dict[str, str | bytes]:
        # That of a refused call is empty; what it failed with is told to who reads on.
        return dict(await self._call.initial_metadata() or ())

    def cancel(self) -> bool:
        return bool(self._call.cancel())

    def done(self) -> bool:
        return bool(self._call.done())


def _failure(error: aio.AioRpcError) -> RpcError:
    failed = CallFailed(error.details() or "", Code(error.code().value[0]))
    failed.trailers = tuple((str(key), value) for key, value in error.trailing_metadata() or ())
    return failed
