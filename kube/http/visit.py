"""One accepted connection: it waits for the first word, then greets, then stands until it is over.

asyncio's transport, the TLS session and the protocol are made as late as can be, so that a client
which says nothing holds none of them.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from kube.component.log import get_logger
from kube.http.guests import Guest, Standing
from kube.http.servertls import WRITE_BYTES, ReadBuffer, ServerTls

_NO_LINGER = struct.pack("ii", 1, 0)

log = get_logger(__name__)


class Accepted(asyncio.Protocol):
    """Says when its connection is over. Of a patient one the reader may pause as it likes."""

    patient = False
    closed: asyncio.Future[None]


class Host(Protocol):
    """What a visit needs of its listener."""

    make: Callable[[], Accepted]
    tls: ssl.SSLContext | None
    handshake_seconds: float
    stall_seconds: float | None
    unsent_bytes: int
    buffer: ReadBuffer

    def standing(self, *, shown_certificate: bool) -> Standing: ...

    def risen(self, guest: Guest, standing: Standing) -> None: ...

    def gone(self, visit: Visit) -> None: ...


class Visit:
    guest: Guest

    def __init__(self, host: Host, accepted: socket.socket) -> None:
        self._host = host
        self._socket = accepted
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        # Done once the handshake is over, well or not.
        self.greeted: asyncio.Future[None] = self._loop.create_future()

    def begin(self) -> None:
        if self._host.tls is None:
            self._greet()
            return
        self._loop.add_reader(self._socket, self._first_word)
        self._timer = self._loop.call_later(self._host.handshake_seconds, self.cut)

    def _first_word(self) -> None:
        self._loop.remove_reader(self._socket)
        self._greet()

    def _greet(self) -> None:
        connection = self._host.make()
        self._task = self._loop.create_task(self._connect(connection), name="greet")
        self._task.add_done_callback(lambda task: self._settled(task, connection))

    def _settled(self, task: asyncio.Task[None], connection: Accepted) -> None:
        stands = not task.cancelled() and task.exception() is None
        self._greeting_over()
        if stands:
            connection.closed.add_done_callback(lambda _: self._host.gone(self))
            return
        # A failed handshake is the client's affair; anything else is a fault of ours.
        if not task.cancelled() and not isinstance(task.exception(), OSError | EOFError):
            log.error("a connection could not be taken", error=repr(task.exception()))
        self._socket.close()
        self._host.gone(self)

    async def _connect(self, connection: Accepted) -> None:
        host = self._host
        _prepare(self._socket, host.unsent_bytes)
        if host.tls is None:
            self._transport, _ = await self._loop.connect_accepted_socket(
                lambda: connection, self._socket
            )
            self._transport.set_write_buffer_limits(high=WRITE_BYTES)
            return
        secured = self._loop.create_future()
        tls = ServerTls(
            connection, host.tls, secured, host.buffer, host.handshake_seconds, host.stall_seconds,
            self.cut,
        )  # fmt: skip
        self._transport, _ = await self._loop.connect_accepted_socket(lambda: tls, self._socket)
        self._transport.set_write_buffer_limits(high=WRITE_BYTES)
        try:
            await secured
        except BaseException:
            self._transport.abort()
            raise
        if not tls.stands:
            raise ConnectionAbortedError
        host.risen(self.guest, host.standing(shown_certificate=tls.shown_certificate))

    def _greeting_over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.greeted.done():
            self.greeted.set_result(None)

    def cut(self) -> None:
        """At once, whatever it is doing."""
        if self._task is None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._greeting_over()
            self._host.gone(self)
        elif not self._task.done():
            self._task.cancel()
        elif self._transport is not None:
            reset(self._transport)


def reset(transport: asyncio.Transport) -> None:
    """End it now, also in the kernel: there, what a client does not read would stay for long."""
    accepted = transport.get_extra_info("socket")
    if accepted is not None and not transport.is_closing():
        with suppress(OSError):
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def _prepare(accepted: socket.socket, unsent_bytes: int) -> None:
    with suppress(OSError):  # a unix socket has no such options
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent_bytes)
