"""TLS of an accepted connection, with so little memory that thousands of them may be open.

asyncio's own gives each connection 256 KiB to read into, for its whole life, although nothing stays
there from one read to the next. Here all connections of a listener share that buffer.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from collections.abc import Callable
from typing import Any, cast

_READ_BYTES = 64 << 10
# What waits for a client that does not read; the rest waits with whoever makes it.
WRITE_BYTES = 16 << 10
# Of a connection that is closed: for the client's own farewell.
_SHUTDOWN_SECONDS = 5.0


class ReadBuffer:
    """What a connection reads is taken out of it before anybody else reads."""

    def __init__(self) -> None:
        self.bytes = bytearray(_READ_BYTES)
        self.view = memoryview(self.bytes)


class ServerTls(sslproto.SSLProtocol):
    max_size = _READ_BYTES

    def __init__(
        self,
        connection: asyncio.Protocol,
        context: ssl.SSLContext,
        waiter: asyncio.Future[None],
        buffer: ReadBuffer,
        handshake_seconds: float,
        stall_seconds: float | None,
        give_up: Callable[[], None],
    ) -> None:
        super().__init__(
            asyncio.get_running_loop(), connection, context, waiter, server_side=True,
            ssl_handshake_timeout=cast(int, handshake_seconds),
            ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
        )  # fmt: skip
        own: Any = self
        own._ssl_buffer, own._ssl_buffer_view = buffer.bytes, buffer.view
        own._set_read_buffer_limits(high=_READ_BYTES)
        own._set_write_buffer_limits(high=WRITE_BYTES)

        self._connection = connection
        self._stall_seconds = stall_seconds
        self._give_up = give_up
        self._look: asyncio.TimerHandle | None = None

    # -- a client that does not read

    def pause_writing(self) -> None:
        super().pause_writing()
        own: Any = self
        # asyncio tells the protocol only once as much again waits to be encrypted.
        if self.stands and not own._app_writing_paused:
            own._app_writing_paused = True
            own._app_protocol.pause_writing()
        if self._stall_seconds is not None:
            self._look_at(self._unsent())

    def resume_writing(self) -> None:
        self._look_no_more()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._look_no_more()
        super().connection_lost(cast(Any, exc))

    def _unsent(self) -> int:
        transport = cast(Any, self)._transport
        return transport.get_write_buffer_size() if transport is not None else 0

    def _look_at(self, left: int) -> None:
        """Look again later: whether anything was taken of what waits for the client."""
        self._look_no_more()
        loop = asyncio.get_running_loop()
        self._look = loop.call_later(cast(float, self._stall_seconds), self._looked, left)

    def _looked(self, left: int) -> None:
        now = self._unsent()
        if now < left or getattr(self._connection, "patient", False):
            self._look_at(now)
        else:
            self._give_up()

    def _look_no_more(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None

    # -- the handshake

    @property
    def stands(self) -> bool:
        """Whether the handshake came to its end: a client may just have gone."""
        return cast(Any, self)._app_state is not sslproto.AppProtocolState.STATE_INIT

    @property
    def shown_certificate(self) -> bool:
        """Whether the client has one that the context accepts; after the handshake."""
        return bool(cast(Any, self)._extra.get("peercert"))
