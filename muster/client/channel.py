"""gRPC channels to the api-servers: which one is in use, and when to move to the next.

A `ServerList` sticks to one server while it works. A call starts only on a channel that is
connected, so a call that never found one has surely not been sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
from grpc import aio

from muster.component.tls import TlsMaterial, grpc_channel_credentials
from muster.rpc.listen import Keepalive

Options = tuple[tuple[str, int], ...]

# A machine that lost power sends no reset: only an unanswered ping tells. One second without
# traffic, then two for the answer: noticed within about three seconds.
KEEPALIVE_SECONDS = 1.0
KEEPALIVE_TIMEOUT_SECONDS = 2.0
_MESSAGE_BYTES = 256 * 2**20  # a LIST of the largest lab in one message

CLIENT_OPTIONS: Options = (
    ("grpc.keepalive_time_ms", int(KEEPALIVE_SECONDS * 1000)),
    ("grpc.keepalive_timeout_ms", int(KEEPALIVE_TIMEOUT_SECONDS * 1000)),
    # gRPC core times an unanswered ping with this one (a minute by default), not with
    # keepalive_timeout, which only bounds unacknowledged TCP data.
    ("grpc.http2.ping_timeout_ms", int(KEEPALIVE_TIMEOUT_SECONDS * 1000)),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    # Channels of one process must not share a connection's fate or back-off.
    ("grpc.use_local_subchannel_pool", 1),
)

# What a server of the Resources service must take, and how it notices that a client is gone.
MAX_RECEIVE_BYTES = 16 * 2**20
SERVER_KEEPALIVE = Keepalive(2.0, 3.0)
# The same as grpcio's options, with the leave to ping: for servers that tests make by hand.
SERVER_OPTIONS: Options = (
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 3000),
    ("grpc.http2.ping_timeout_ms", 3000),
    ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
)


class NoServer(Exception):
    """No api-server accepted a connection in time; nothing has been sent."""


class ServerList:
    """The api-servers of a lab and the channel to the one in use."""

    def __init__(
        self,
        servers: Sequence[str],
        material: TlsMaterial | None,
        connect_timeout: float = 1.0,
    ) -> None:
        if not servers:
            raise ValueError("no api-server given (--api-servers host:6444[,host:6444...])")
        self.servers = tuple(servers)
        self._credentials = grpc_channel_credentials(material) if material else None
        self._connect_timeout = connect_timeout
        self._channels: dict[int, aio.Channel] = {}
        self._current = 0

    @property
    def current(self) -> str:
        return self.servers[self._current]

    async def ready(self) -> tuple[str, aio.Channel]:
        """A connected channel, trying each server once. Raises NoServer."""
        for _ in self.servers:
            server, channel = self.current, self._channel(self._current)
            if await self._connected(channel):
                return server, channel
            self.failed(server)
        raise NoServer(f"no api-server answers: {', '.join(self.servers)}")

    def failed(self, server: str) -> None:
        """Move on to the next server, unless somebody already left this one."""
        if self.current == server:
            self._current = (self._current + 1) % len(self.servers)

    async def close(self) -> None:
        channels, self._channels = list(self._channels.values()), {}
        await asyncio.gather(*(channel.close() for channel in channels))

    def _channel(self, index: int) -> aio.Channel:
        if index not in self._channels:
            self._channels[index] = self._open(self.servers[index])
        return self._channels[index]

    def _open(self, server: str) -> aio.Channel:
        if self._credentials is None:
            return aio.insecure_channel(server, options=CLIENT_OPTIONS)
        return aio.secure_channel(server, self._credentials, options=CLIENT_OPTIONS)

    async def _connected(self, channel: aio.Channel) -> bool:
        """Whether the channel is, or gets, connected before the timeout or a refusal."""
        state = channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            return True
        try:
            async with asyncio.timeout(self._connect_timeout):
                return await self._await_connection(channel, state)
        except TimeoutError:
            return False

    async def _await_connection(
        self, channel: aio.Channel, state: grpc.ChannelConnectivity
    ) -> bool:
        # A refused connection stays in TRANSIENT_FAILURE until its back-off ends. With other
        # servers to try there is no reason to wait for that.
        alone = len(self.servers) == 1
        while state is not grpc.ChannelConnectivity.READY:
            await channel.wait_for_state_change(state)
            state = channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE and not alone:
                return False
        return True
