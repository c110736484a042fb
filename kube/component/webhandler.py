"""aiohttp's connection with the bounds and deadlines that aiohttp does not have.

Headers, bodies and readers that stand still are given up; the heads of all requests together hold
a bounded amount of memory. The defaults are the Kubernetes api-server's, or Go's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler

from kube.http.visit import Accepted, reset

_LAST_READ_SECONDS = 0.02
_FAREWELL_SECONDS = 0.5
_PIECE_BYTES = 512 << 10  # the most that is read at once, and more
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 32\r\nConnection: close\r\n\r\n"
    b"Request Header Fields Too Large\n"
)


@dataclass(frozen=True, slots=True)
class WebLimits:
    header_seconds: float = 32.0  # from the first byte (of a new connection: at once) to the last
    body_seconds: float = 60.0
    idle_seconds: float = 90.0  # between two requests
    stall_seconds: float = 30.0  # a client that takes nothing of its answer
    head_bytes: int = 1 << 20  # request line and headers (net/http's DefaultMaxHeaderBytes)
    header_fields: int = 256
    # Of heads that are not whole yet, in all connections: what exceeds `free_head_bytes` in each.
    free_head_bytes: int = 16 << 10
    all_head_bytes: int = 32 << 20


@dataclass(slots=True)
class Heads:
    """What the unfinished heads of all connections hold."""

    limits: WebLimits
    held: int = 0

    def charge(self, before: int, size: int) -> bool:
        """Whether a head may grow from `before` to `size`."""
        more = self._counted(size) - self._counted(before)
        if size > self.limits.head_bytes or self.held + more > self.limits.all_head_bytes:
            return False
        self.held += more
        return True

    def release(self, size: int) -> None:
        self.held -= self._counted(size)

    def _counted(self, size: int) -> int:
        return max(size - self.limits.free_head_bytes, 0)


class WebHandler(RequestHandler, Accepted):
    """One connection."""

    __slots__ = ("_asked", "_deadline", "_draining", "_head", "_heads", "_payload", "closed")

    def __init__(self, server: web.Server, heads: Heads, **options: Any) -> None:
        limits = heads.limits
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=cast(Any, None),
            keepalive_timeout=limits.idle_seconds,
            # Larger than what is refused here, with an answer that its client can read.
            max_line_size=limits.head_bytes + _PIECE_BYTES,
            max_field_size=limits.head_bytes + _PIECE_BYTES,
            max_headers=limits.header_fields,
            # Compressed bodies are left as they come: who reads them bounds what they become.
            auto_decompress=False,
            **options,
        )
        self.closed = self._loop.create_future()
        self._heads = heads
        self._head = 0  # bytes of a request that is not whole
        self._asked = False  # at least one request
        self._draining = False
        self._payload: StreamReader = EMPTY_PAYLOAD  # of the last request
        self._deadline: asyncio.TimerHandle | None = None

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._due(self._heads.limits.header_seconds)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._release_head()
        self._cancel_deadline()
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._upgraded or self._payload_parser is not None:
            super().data_received(data)
            return
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._whole()
        elif data and self._payload.is_eof():
            self._more_head(len(data))

    # -- heads and bodies

    def _more_head(self, size: int) -> None:
        if not self._heads.charge(self._head, self._head + size):
            self._refuse()
            return
        if not self._head and self._asked:
            self._due(self._heads.limits.header_seconds)
        self._head += size

    def _whole(self) -> None:
        self._release_head()
        self._asked = True
        if self._messages:
            self._payload = self._messages[-1][1]
        if self._payload.is_eof():
            self._cancel_deadline()
        else:
            self._due(self._heads.limits.body_seconds)
            self._payload.on_eof(self._cancel_deadline)
        if self._draining:
            self.close()  # after the answer

    def _release_head(self) -> None:
        self._heads.release(self._head)
        self._head = 0

    def _refuse(self) -> None:
        """Say why, and close once the client had time to read it: it may still be sending."""
        if self.transport is None or self._request_in_progress:
            self.force_close()
            return
        self.transport.write(_TOO_LARGE)
        self._release_head()
        self._close = True  # what comes now is ignored
        self._cancel_deadline()
        self._deadline = self._loop.call_later(_FAREWELL_SECONDS, self.force_close)

    def _make_error_handler(self, err_info: Any) -> Any:
        if isinstance(err_info.exc, LineTooLong):
            err_info = type(err_info)(431, err_info.exc, err_info.message)
        return super()._make_error_handler(err_info)

    # -- time

    def _due(self, seconds: float) -> None:
        self._cancel_deadline()
        self._deadline = self._loop.call_later(seconds, self.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # -- the end

    def drain(self) -> None:
        """After the answer that is being made, close. Who has just come may still ask."""
        self._draining = True
        if self._request_in_progress or self._messages:
            self.close()
        elif self._asked:
            self._loop.call_later(_LAST_READ_SECONDS, self._close_idle)

    def _close_idle(self) -> None:
        if not self._request_in_progress and not self._messages:
            self.force_close()

    async def drained(self) -> None:
        if self._paused:
            await self._drain_helper()

    def abort(self) -> None:
        if self.transport is not None:
            reset(self.transport)


# -- for handlers, of their own connection


async def drained(request: web.Request) -> None:
    """Once the client has taken so much that more may be written."""
    if isinstance(request.protocol, WebHandler):
        await request.protocol.drained()


def abort(request: web.Request) -> None:
    """Whatever is still to be sent is dropped."""
    if isinstance(request.protocol, WebHandler):
        request.protocol.abort()


def be_patient(request: web.Request) -> None:
    """A person reads this answer, or a program that a person has stopped: for ever, if need be."""
    if isinstance(request.protocol, WebHandler):
        request.protocol.patient = True
