"""Channels to the store's members, and the loop that turns to another one when a call fails.

The first member is home: on a lab's master it is the one beside the api-server, so that no other
machine's death cuts a connection. Who had to turn away comes home when home answers again.

Retrying is safe for every call made here: reads are idempotent, and `store.py` recognises its
own writes when an answer was lost (see `Store.commit`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

from kube.component.log import get_logger
from kube.component.tls import TlsMaterial
from kube.rpc.channel import ANY_SIZE, Channel, ChannelOptions
from kube.rpc.dial import open_channel
from kube.rpc.errors import Code, RpcError
from kube.rpc.listen import Keepalive
from kube.rpc.names import DEFAULT
from kube.stubs.etcd import rpc_pb2 as pb
from master.apiserver import metrics
from master.apiserver.etcd3.errors import (
    Compacted,
    FutureRevision,
    StoreError,
    StoreUnavailable,
    ValueTooLarge,
)

log = get_logger(__name__)
T = TypeVar("T")

# One call's answer is awaited this long before another member is asked; a member that is
# stopped (not dead) keeps its connections open, so only the clock tells.
ATTEMPT_SECONDS = 3.0
# In all; longer than an election (1 s) with a few retries, shorter than a client's patience.
TOTAL_SECONDS = 10.0
PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 0.5
# A machine without power refuses nothing: who does not answer a SYN in time is not there.
CONNECT_SECONDS = 1.0
# A member that failed is not asked for so long when there is another; and so often home is tried.
REST_SECONDS = 5.0

_OPTIONS = ChannelOptions(
    max_receive_bytes=ANY_SIZE,
    # etcd refuses pings more often than every five seconds, and those of idle connections.
    keepalive=Keepalive(6.0, 2.0),
    ping_when_idle=False,
    idle_seconds=60.0,
    connect_seconds=CONNECT_SECONDS,
    backoff_seconds=(0.1, 1.0),
)
_RETRIED = {
    Code.UNAVAILABLE,
    Code.DEADLINE_EXCEEDED,
    Code.CANCELLED,
    Code.INTERNAL,
    Code.UNKNOWN,
}
# What a member says that lives and has, or is about to have, a new leader: ask it again. Turning
# away could mean turning to the one that has just died.
_ASK_AGAIN = ("possibly due to previous leader failure", "etcdserver: leader changed")
_KV = pb.DESCRIPTOR.services_by_name["KV"]


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
        self._failed_at: dict[int, float] = {}
        self._streams: set[Callable[[], object]] = set()
        self._coming_home: asyncio.Task[None] | None = None

    @property
    def channel(self) -> Channel:
        return self._channels[self._current]

    def rotate(self, failed: Channel) -> None:
        """Ask another member from now on, unless somebody has already turned away."""
        if failed is not self.channel or len(self._channels) == 1:
            return
        now = asyncio.get_running_loop().time()
        self._failed_at[self._current] = now
        count = len(self._channels)
        others = [(self._current + step) % count for step in range(1, count)]
        rested = [i for i in others if now - self._failed_at.get(i, -REST_SECONDS) >= REST_SECONDS]
        self._current = (rested or others)[0]
        log.warning("turning to another etcd server", server=self._endpoints[self._current])
        if self._coming_home is None:
            self._coming_home = asyncio.create_task(self._come_home(), name="etcd home")

    async def _come_home(self) -> None:
        """Until the first member is asked again, streams included."""
        home = self._channels[0]
        while self._current != 0:
            await asyncio.sleep(REST_SECONDS)
            try:
                # Linearizable, so that members without a leader are skipped.
                await home.stub(_KV).Range(pb.RangeRequest(key=b"health"), timeout=CONNECT_SECONDS)
            except RpcError:
                continue
            if self._current != 0:
                self._current = 0
                log.info("back at the first etcd server", server=self._endpoints[0])
                for end in list(self._streams):
                    end()
        self._coming_home = None

    @contextmanager
    def stream(self, end: Callable[[], object]) -> Iterator[None]:
        """A stream that `end` ends: told when another member has become the one to ask."""
        self._streams.add(end)
        try:
            yield
        finally:
            self._streams.discard(end)

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
                if not any(text in error.message for text in _ASK_AGAIN):
                    self.rotate(channel)
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)

    async def close(self) -> None:
        if self._coming_home is not None:
            self._coming_home.cancel()
        for channel in self._channels:
            await channel.close()
