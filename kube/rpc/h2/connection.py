"""A session on an asyncio transport: bytes in and out, back-pressure, pings and idle time.

Both sides build on it. It holds the only clock of this package; the session has none.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Any, cast

from kube.http.listener import Accepted
from kube.rpc.h2.session import Event, Kind, Limits, Session

# Fed piece by piece: what one piece can unpack to bounds the memory of its events.
_PIECE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Settings:
    """Both sides' limits and times. The times are gRPC's, shorter where a lab wants it."""

    limits: Limits = field(default_factory=Limits)
    # A peer from which nothing was heard is pinged, and given up if it does not answer.
    keepalive_seconds: float = 60.0
    keepalive_timeout_seconds: float = 20.0
    # Until the peer's HTTP/2 preface; TLS has the same again for itself.
    handshake_seconds: float = 10.0
    # Without a call for so long the connection is closed; 0: never.
    idle_seconds: float = 0.0
    # Whether a connection without calls is pinged, too.
    ping_when_idle: bool = True
    # So long, and so many at once, may answers wait for a connection whose unsent bytes are at
    # their cap; then they are dropped.
    stall_seconds: float = 10.0
    max_waiting_answers: int = 32
    # The most calls that may wait to be taken by a busy server (client side).
    max_waiting_calls: int = 10_000
    # What all clients of a server together do not read; then the largest part of it goes.
    max_unsent_bytes_of_all: int = 256 << 20
    # Of one listener, handshakes included (server side). More are closed at once.
    max_connections: int = 5000


class Connection(Accepted):
    """Subclasses answer events (`on_event`) and hear of the end (`on_lost`)."""

    def __init__(self, settings: Settings, *, server: bool) -> None:
        self.settings = settings
        self.session = Session(settings.limits, server=server)
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.closed = self.loop.create_future()
        self._paused = False
        self._flushing = False
        self._inside = False  # of the session: no other call into it may begin
        self._greeted = False
        self._pinged_at: float | None = None  # until something is heard
        self._certificate: bytes | None = None  # b"": there is none
        self._peer = ""
        self._room: asyncio.Future[None] | None = None
        self._waiting = 0
        self._born = self._heard = self._busy = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None

    # -- for subclasses

    def on_event(self, event: Event) -> None:
        raise AssertionError("a subclass answers events")

    def on_lost(self, reason: str) -> None:
        raise AssertionError("a subclass ends its calls")

    def calls(self) -> int:
        raise AssertionError("a subclass counts its calls")

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self.transport.abort()  # the peer speaks something else
            return
        self._watch()
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._heard = self.loop.time()
        self._pinged_at = None
        self._flushing = True  # what is answered at once goes out with the flush below
        self._inside = True
        try:
            if len(data) <= _PIECE_BYTES:
                self._feed(data)
            else:
                for at in range(0, len(data), _PIECE_BYTES):
                    self._feed(data[at : at + _PIECE_BYTES])
        finally:
            self._flushing = self._inside = False
        self.flush()

    def _feed(self, data: bytes) -> None:
        for event in self.session.feed(data):
            self._dispatch(event)

    def _dispatch(self, event: Event) -> None:
        if not self._greeted and event[0] == Kind.SETTINGS:
            self._greeted = True
            if self._timer is not None:
                self._timer.cancel()
                self._watch()  # from now on for signs of life
        self.on_event(event)

    def eof_received(self) -> None:
        return None  # a half-closed connection is of no use to HTTP/2

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.session.close()
        self._wake()
        if not self.closed.done():
            self.closed.set_result(None)
        self.on_lost(str(error) if error else "the connection was closed")

    # -- sending

    def flush_soon(self) -> None:
        """Once per turn of the loop: answers of the same turn share a write."""
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush_now)

    def flush_large(self) -> None:
        """At once, if that can be: where many large answers are made in one turn, each would be out
        of the processor's cache when its turn to be written came."""
        if self._inside:
            self.flush_soon()
        else:
            self.flush()

    def _flush_now(self) -> None:
        self._flushing = False
        self.flush()

    def flush(self) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        more = True
        self._inside = True
        try:
            while more and not self._paused:
                data, more = self.session.pull()
                if data:
                    transport.write(data)
                for event in self.session.events():
                    self._dispatch(event)
        finally:
            self._inside = False
        if self.session.unsent <= self.settings.limits.max_unsent_bytes // 2:
            self._wake()
        if self.session.error or self.session.done:
            self._hang_up(transport)

    def _hang_up(self, transport: asyncio.Transport) -> None:
        """Close with what is written; a peer that does not read it has a bounded time."""
        transport.close()
        self.loop.call_later(self.settings.handshake_seconds, transport.abort)

    async def room(self) -> None:
        """Until the connection as a whole has room for more unsent bytes."""
        if self._room is None:
            self._room = self.loop.create_future()
        await asyncio.shield(self._room)

    async def room_for_answer(self) -> bool:
        """The same for an answer in memory: bounded in time and number. False: drop it."""
        if self._waiting >= self.settings.max_waiting_answers:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(self.settings.stall_seconds):
                await self.room()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return True

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    @property
    def stands(self) -> bool:
        """Nobody has ended it, which shows in `connection_lost` only later."""
        return self.transport is not None and not self.transport.is_closing()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    # -- time

    def _watch(self) -> None:
        """One timer per connection looks at everything that may take too long."""
        due = self._look()
        if self.transport is not None and not self.transport.is_closing():
            self._timer = self.loop.call_at(max(due, self.loop.time() + 0.01), self._watch)

    def _look(self) -> float:
        """Do what is due. Returns when something will be, as far as is known now."""
        now = self.loop.time()
        settings = self.settings
        if not self._greeted:
            due = self._born + settings.handshake_seconds
            if now >= due:
                self.abort()
            return due
        if self.calls():
            self._busy = now
        dues = [self._look_for_life(now)]
        if settings.idle_seconds:
            dues.append(self._busy + settings.idle_seconds)
            if now >= dues[-1]:
                self.leave_idle()
        return min(dues)

    def _look_for_life(self, now: float) -> float:
        settings = self.settings
        if self._pinged_at is not None:
            due = self._pinged_at + settings.keepalive_timeout_seconds
            if now >= due:
                self.abort()
            return min(due, now + settings.keepalive_seconds)
        if not settings.ping_when_idle and not self.calls():
            return now + settings.keepalive_seconds
        due = self._heard + settings.keepalive_seconds
        if now < due:
            return due
        self._pinged_at = now
        self.session.ping()
        self.flush()
        return now + min(settings.keepalive_timeout_seconds, settings.keepalive_seconds)

    def busy(self) -> None:
        """A call begins: from now on the connection counts as used."""
        self._busy = self.loop.time()

    def leave_idle(self) -> None:
        self.session.goaway()
        self.flush()
        self.retire()

    def retire(self) -> None:
        """The last call has ended and a GOAWAY is out: nothing keeps the connection."""
        if self.transport is not None and not self.transport.is_closing():
            self._hang_up(self.transport)

    # -- who is there

    def peer(self) -> str:
        """As gRPC writes addresses: `ipv4:10.0.0.1:4711`, `ipv6:%5B::1%5D:4711`."""
        if not self._peer:
            self._peer = self._read_peer()
        return self._peer

    def _read_peer(self) -> str:
        name: Any = self.transport.get_extra_info("peername") if self.transport else None
        if not isinstance(name, tuple):
            return "unix:"
        if ":" in name[0]:
            return f"ipv6:%5B{name[0]}%5D:{name[1]}"
        return f"ipv4:{name[0]}:{name[1]}"

    def peer_certificate(self) -> bytes | None:
        """PEM, as grpcio gives it; None without TLS or without a certificate."""
        if self._certificate is None:
            self._certificate = self._read_certificate()
        return self._certificate or None

    def _read_certificate(self) -> bytes:
        tls = self.transport.get_extra_info("ssl_object") if self.transport else None
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        return ssl.DER_cert_to_PEM_cert(der).encode() if der else b""
