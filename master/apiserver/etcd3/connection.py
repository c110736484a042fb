"""Channels to the store's members, and the loop that turns to another one when a call fails.

Retrying is safe for every call made here: reads are idempotent, and `store.py` recognises its
own writes when an answer was lost (see `Store.commit`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import grpc
from grpc import aio

from master.apiserver import metrics
from master.apiserver.etcd3.errors import (
    Compacted,
    FutureRevision,
    StoreError,
    StoreUnavailable,
    ValueTooLarge,
)
from muster.component.log import get_logger
from muster.component.tls import TlsMaterial, grpc_channel_credentials

log = get_logger(__name__)
T = TypeVar("T")

# One call's answer is awaited this long before another member is asked; a member that is
# stopped (not dead) keeps its connections open, so only the clock tells.
ATTEMPT_SECONDS = 3.0
# In all; longer than an election (1 s) with a few retries, shorter than a client's patience.
TOTAL_SECONDS = 10.0
PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 0.5

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # etcd refuses pings more often than every five seconds.
    ("grpc.keepalive_time_ms", 6_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    # gRPC core times an unanswered ping with this one (a minute by default).
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]
_RETRIED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}


def open_channel(url: str, tls: TlsMaterial | None) -> aio.Channel:
    """A channel to `https://host:port` (or http, for tests and trusted loopback stores)."""
    parts = urlsplit(url if "//" in url else f"//{url}")
    if parts.scheme == "http":
        return aio.insecure_channel(parts.netloc, options=_OPTIONS)
    if tls is None:
        raise StoreError(f"etcd server {url} needs --etcd-cafile, --etcd-certfile, --etcd-keyfile")
    return aio.secure_channel(parts.netloc, grpc_channel_credentials(tls), options=_OPTIONS)


def translate(error: aio.AioRpcError) -> StoreError:
    """etcd's code and text to our class (etcd api/v3rpc/rpctypes/error.go names the texts)."""
    text = error.details() or ""
    if "compacted" in text:
        return Compacted()
    if "future revision" in text:
        return FutureRevision(text)
    if "too large" in text or "larger than max" in text:
        return ValueTooLarge(text)
    if error.code() in _RETRIED:
        return StoreUnavailable(f"{error.code().name}: {text}")
    return StoreError(f"{error.code().name}: {text}")


class Connection:
    """The members, and which of them is asked first."""

    def __init__(self, endpoints: Sequence[str], tls: TlsMaterial | None) -> None:
        self._endpoints = tuple(endpoints)
        self._channels = [open_channel(url, tls) for url in endpoints]
        self._current = 0

    @property
    def channel(self) -> aio.Channel:
        return self._channels[self._current]

    def rotate(self, failed: aio.Channel) -> None:
        """Ask the next member from now on, unless somebody has already turned away."""
        if failed is self.channel and len(self._channels) > 1:
            self._current = (self._current + 1) % len(self._channels)
            log.warning("turning to another etcd server", server=self._endpoints[self._current])

    async def call(
        self,
        operation: str,
        attempt: Callable[[aio.Channel, float], Awaitable[T]],
        attempt_seconds: float = ATTEMPT_SECONDS,
        total_seconds: float = TOTAL_SECONDS,
    ) -> T:
        """Run `attempt` until a member answers. Raises StoreError.

        `operation` (get, list, txn, ...) is what the time is counted under.
        """
        with metrics.etcd_requests.labels(operation, "").time():
            return await self._until_answered(attempt, attempt_seconds, total_seconds)

    async def _until_answered(
        self,
        attempt: Callable[[aio.Channel, float], Awaitable[T]],
        attempt_seconds: float,
        total_seconds: float,
    ) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + total_seconds
        pause = PAUSE_SECONDS
        while True:
            channel = self.channel
            left = deadline - loop.time()
            try:
                return await attempt(channel, max(0.1, min(attempt_seconds, left)))
            except aio.AioRpcError as error:
                failure = translate(error)
                if not isinstance(failure, StoreUnavailable):
                    raise failure from error
                if loop.time() + pause >= deadline:
                    raise failure from error
                self.rotate(channel)
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()
