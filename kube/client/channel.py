"""gRPC channels to the api-servers: which one is in use, and when to move to the next.

A `ServerList` sticks to one server while it works. A call starts only on a channel that is
connected, so a call that never found one has surely not been sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from kube.component.tls import TlsMaterial
from kube.rpc.channel import Channel, ChannelOptions
from kube.rpc.dial import open_channel
from kube.rpc.errors import Code, RpcError
from kube.rpc.listen import Keepalive
from kube.rpc.names import DEFAULT

# A machine that lost power sends no reset: only an unanswered ping tells. One second without
# traffic, then two for the answer: noticed within about three seconds.
OPTIONS = ChannelOptions(
    max_receive_bytes=256 * 2**20,  # a LIST of the largest lab in one message
    keepalive=Keepalive(1.0, 2.0),
    connect_seconds=5.0,
    backoff_seconds=(0.05, 1.0),
)
# What a server of the Resources service must take, and how it notices that a client is gone.
MAX_RECEIVE_BYTES = 16 * 2**20
SERVER_KEEPALIVE = Keepalive(2.0, 3.0)


class NoServer(Exception):
    """No api-server accepted a connection in time; nothing has been sent."""


class ServerList:
    """The api-servers of a lab and the channel to the one in use."""

    def __init__(
        self,
        servers: Sequence[str],
        material: TlsMaterial | None,
        connect_timeout: float = 1.0,
        transport: str = DEFAULT,
        options: ChannelOptions = OPTIONS,
    ) -> None:
        if not servers:
            raise ValueError("no api-server given (--api-servers host:6444[,host:6444...])")
        self.servers = tuple(servers)
        self._material = material
        self._connect_timeout = connect_timeout
        self._transport = transport
        self._options = options
        self._channels: dict[int, Channel] = {}
        self._current = 0
        self._closed = False

    def apart(self) -> ServerList:
        """The same servers with connections of its own, for another event loop."""
        return ServerList(self.servers, self._material, self._connect_timeout, self._transport)

    @property
    def current(self) -> str:
        return self.servers[self._current]

    async def ready(self) -> tuple[str, Channel]:
        """A connected channel, trying each server once. Raises NoServer."""
        for _ in self.servers:
            if self._closed:  # or who asks again would open a connection that nobody closes
                raise NoServer("the client was closed")
            server, channel = self.current, self._channel(self._current)
            if channel.connected or await self._connect(channel):
                return server, channel
            self.failed(server)
        raise NoServer(f"no api-server answers: {', '.join(self.servers)}")

    def failed(self, server: str) -> None:
        """Move on to the next server, unless somebody already left this one."""
        if self.current == server:
            self._current = (self._current + 1) % len(self.servers)

    async def close(self) -> None:
        self._closed = True
        channels, self._channels = list(self._channels.values()), {}
        await asyncio.gather(*(channel.close() for channel in channels))

    def _channel(self, index: int) -> Channel:
        if index not in self._channels:
            server = self.servers[index]
            self._channels[index] = open_channel(
                server, self._material, self._options, self._transport
            )
        return self._channels[index]

    async def _connect(self, channel: Channel) -> bool:
        """Whether it gets connected before the timeout or a refusal."""
        # With other servers to try there is no reason to wait for this one's next attempt.
        alone = len(self.servers) == 1
        try:
            async with asyncio.timeout(self._connect_timeout):
                while True:
                    try:
                        await channel.ready()
                    except RpcError as error:
                        closed = error.code is Code.CANCELLED
                        if closed or not alone:
                            return False
                    else:
                        return True
        except TimeoutError:
            return False
