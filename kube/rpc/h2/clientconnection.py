"""One connection of a client: hands each stream's events to its call, and tells when it is lost."""

from __future__ import annotations

import asyncio
from typing import Protocol

from kube.rpc.errors import RpcError, unavailable
from kube.rpc.h2.connection import Connection, Settings
from kube.rpc.h2.session import Event, Kind


class Owner(Protocol):
    """Who dialled: the channel."""

    def going_away(self, connection: ClientConnection) -> None:
        """No new calls on it; the running ones end there."""

    def lost(self, connection: ClientConnection) -> None:
        """It is closed."""


class StreamEvents(Protocol):
    """What a call is told of its stream."""

    def on_headers(self, block: bytes, ends: bool) -> None: ...

    def on_message(self, data: bytes) -> None: ...

    def on_trailers(self, block: bytes) -> None: ...

    def on_closed(self, code: int) -> None: ...

    def on_drained(self) -> None: ...

    def on_refused(self, code: int) -> None: ...

    def fail(self, error: RpcError) -> None: ...


class ClientConnection(Connection):
    def __init__(self, channel: Owner, settings: Settings) -> None:
        super().__init__(settings, server=False)
        self._channel = channel
        # Set by the server's preface: before it nobody knows whether anybody listens.
        self.greeted: asyncio.Future[None] = self.loop.create_future()
        self._calls: dict[int, StreamEvents] = {}
        self._leaving = False

    def add(self, stream: int, call: StreamEvents) -> None:
        self._calls[stream] = call
        self.busy()

    def forget(self, stream: int) -> None:
        self._calls.pop(stream, None)
        if self._leaving and not self._calls:
            self.loop.call_soon(self.retire)

    def calls(self) -> int:
        return len(self._calls)

    @property
    def usable(self) -> bool:
        closing = self.transport is None or self.transport.is_closing()
        return not (self._leaving or closing or self.session.closed)

    @property
    def full(self) -> bool:
        """More calls wait for a stream than make sense."""
        limits = self.settings.limits
        return self.session.streams >= limits.max_streams + self.settings.max_waiting_calls

    def leave(self, error: RpcError) -> None:
        for call in list(self._calls.values()):
            call.fail(error)
        self.session.goaway()
        self.flush()
        self.retire()

    def on_event(self, event: Event) -> None:
        kind, ends, stream, code, data = event
        if kind == Kind.GOAWAY:
            self._leaving = True
            self._channel.going_away(self)
            if not self._calls:
                self.loop.call_soon(self.retire)
            return
        if kind == Kind.SETTINGS and not self.greeted.done():
            self.greeted.set_result(None)
        call = self._calls.get(stream)
        if call is None:
            return
        if kind == Kind.MESSAGE:
            call.on_message(data)
        elif kind == Kind.HEADERS:
            call.on_headers(data, bool(ends))
        elif kind == Kind.TRAILERS:
            call.on_trailers(data)
        elif kind == Kind.END:
            call.on_trailers(b"")
        elif kind == Kind.CLOSED:
            call.on_closed(code)
        elif kind == Kind.DRAINED:
            call.on_drained()
        elif kind == Kind.REFUSED:
            call.on_refused(code)

    def retire(self) -> None:
        self._channel.going_away(self)
        super().retire()

    def on_lost(self, reason: str) -> None:
        self._channel.lost(self)
        if not self.greeted.done():
            self.greeted.set_exception(unavailable(reason))
            self.greeted.exception()  # nobody may be waiting any more
        for call in list(self._calls.values()):
            call.fail(unavailable(reason))
