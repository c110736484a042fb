"""Channels to the store's members, and the loop that turns to another one when a call fails.

Retrying is safe for every call made here: reads are idempotent, and `store.py` recognises its
own writes when an answer was lost (see `Store.commit`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from master.apiserver import metrics
from master.apiserver.etcd3.errors import (
    Compacted,
    FutureRevision,
    StoreError,
    StoreUnavailable,
    ValueTooLarge,
)
from muster.component.log import get_logger
from muster.component.tls import TlsMaterial
from muster.rpc.channel import ANY_SIZE, Channel, ChannelOptions, open_channel
from muster.rpc.errors import Code, RpcError
from muster.rpc.listen import Keepalive
from muster.rpc.names import DEFAULT

log = get_logger(__name__)
T = TypeVar("T")

# One call's answer is awaited this long before another member is asked; a member that is
# stopped (not dead) keeps its connections open, so only the clock tells.
ATTEMPT_SECONDS = 3.0
# In all; longer than an election (1 s) with a few retries, shorter than a client's patience.
TOTAL_SECONDS = 10.0
PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 0.5

_OPTIONS = ChannelOptions(
    max_receive_bytes=ANY_SIZE,
    # etcd refuses pings more often than every five seconds, and those of idle connections.
    keepalive=Keepalive(6.0, 2.0),
    ping_when_idle=False,
    idle_seconds=60.0,
    connect_seconds=ATTEMPT_SECONDS,
    backoff_seconds=(0.1, 1.0),
)
_RETRIED = {
    Code.UNAVAILABLE,
    Code.DEADLINE_EXCEEDED,
    Code.CANCELLED,
    Code.INTERNAL,
    Code.UNKNOWN,
}


def channel_to(url: str, tls: TlsMaterial | None, transport: str) -> Channel:
    """A channel to `https://host:port` (or http, for tests and trusted loopback stores)."""
    parts = urlsplit(url if "//" in url else f"//{url}")
    if parts.scheme == "http":
        tls = None
    elif tls is None:
        raise StoreError(f"etcd server {url} needs --etcd-cafile, --etcd-certfile, --etcd-keyfile")
    return open_channel(parts.netloc, tls, _OPTIONS, transport)


def translate(error: RpcError) -> StoreError:
    """etcd's code and text to our class (etcd api/v3rpc/rpctypes/error.go names the texts)."""
    text = error.message
    if "compacted" in text:
        return Compacted()
    if "future revision" in text:
        return FutureRevision(text)
    if "too large" in text or "larger than max" in text:
        return ValueTooLarge(text)
    if error.code in _RETRIED:
        return StoreUnavailable(f"{error.code.name}: {text}")
    return StoreError(f"{error.code.name}: {text}")


class Connection:
    """The members, and which of them is asked first."""

    def __init__(
        self, endpoints: Sequence[str], tls: TlsMaterial | None, transport: str = DEFAULT
    ) -> None:
        self._endpoints = tuple(endpoints)
        self._channels = [channel_to(url, tls, transport) for url in endpoints]
        self._current = 0

    @property
    def channel(self) -> Channel:
        return self._channels[self._current]

    def rotate(self, failed: Channel) -> None:
        """Ask the next member from now on, unless somebody has already turned away."""
        if failed is self.channel and len(self._channels) > 1:
            self._current = (self._current + 1) % len(self._channels)
            log.warning("turning to another etcd server", server=self._endpoints[self._current])

    async def call(
        self,
        operation: str,
        attempt: Callable[[Channel, float], Awaitable[T]],
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
        attempt: Callable[[Channel, float], Awaitable[T]],
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
            except RpcError as error:
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
