"""HTTP/1.1 on an asyncio transport: h11 holds the protocol, this the bounds and the clock.

One request at a time; what comes in meanwhile waits, so much and no more. A request that breaks a
bound is answered with its status and the connection closed.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, cast

import h11

from kube.component.log import get_logger
from kube.http.listener import Accepted
from kube.http.messages import Handler, Request, Response, failure, request_of

log = get_logger(__name__)
_LAST_READ_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Limits:
    max_header_bytes: int = 16 << 10
    max_header_fields: int = 128
    max_body_bytes: int = 1 << 20
    # Until a connection's first request, and then until a request that has begun is whole.
    request_seconds: float = 30.0
    idle_seconds: float = 120.0  # between two requests
    stall_seconds: float = 30.0  # a client that takes nothing of its answer is given up
    farewell_seconds: float = 0.5  # between the refusal of a request and the end
    max_waiting_bytes: int = 64 << 10  # of requests that come before the last one is answered


class HttpConnection(Accepted):
    def __init__(self, handler: Handler, limits: Limits, known: set[HttpConnection]) -> None:
        self._handler = handler
        self._limits = limits
        self._known = known
        self._loop = asyncio.get_running_loop()
        self.closed = self._loop.create_future()
        self._http = h11.Connection(h11.SERVER, limits.max_header_bytes)
        self._asked: h11.Request | None = None
        self._body = bytearray()
        self._waiting = b""
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writable: asyncio.Future[None] | None = None
        self._streaming = self._draining = self._half_closed = self._refused = False
        self._answered = False  # at least one request

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        accepted = transport.get_extra_info("socket")
        if accepted is not None:  # a client that is gone without a word ends a stream, too
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._known.add(self)
        self._due(self._limits.request_seconds)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._task is None:
            self._read(data)
            return
        self._waiting += data
        if len(self._waiting) <= self._limits.max_waiting_bytes:
            return
        if self._streaming:
            self._transport.abort()  # unread, its end would not be noticed either
        else:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client says no more, but may well read its answer, if that comes soon."""
        self._half_closed = True
        self._due(self._limits.stall_seconds)
        tls = self._transport.get_extra_info("ssl_object") is not None  # knows no half
        return self._task is not None and not self._streaming and not tls

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()
        self._watch_reader(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def connection_lost(self, error: Exception | None) -> None:
        self._known.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    # -- time

    def _due(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._transport.abort)

    def _watch_reader(self, left: int) -> None:
        """Look again later: whether anything was taken of what waits for the client."""

        def look() -> None:
            now = self._transport.get_write_buffer_size()
            if now >= left:
                self._transport.abort()
            else:
                self._watch_reader(now)

        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._limits.stall_seconds, look)

    # -- requests

    def _read(self, data: bytes) -> None:
        """Everything that is whole, up to the end of one request."""
        try:
            if data:  # to h11, nothing means the end
                self._http.receive_data(data)
            while self._task is None and not self._refused:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    self._more(event)
                elif isinstance(event, h11.EndOfMessage):
                    self._whole()
                else:
                    break
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint)

    def _begin(self, asked: h11.Request) -> None:
        self._asked = asked
        self._body.clear()
        self._due(self._limits.request_seconds)
        names = [bytes(name) for name, _ in asked.headers]
        size = len(asked.target) + sum(len(name) + len(value) for name, value in asked.headers)
        if not asked.http_version.startswith(b"1."):
            self._refuse(505)
        elif size > self._limits.max_header_bytes or len(names) > self._limits.max_header_fields:
            self._refuse(431)  # h11 looks at what is not whole yet
        elif b"content-length" in names and b"transfer-encoding" in names:
            # Two servers may see two different requests in it (RFC 9112 6.3): smuggling.
            self._refuse(400)
        elif asked.method == b"CONNECT":
            self._refuse(405)
        elif self._announced(asked) > self._limits.max_body_bytes:
            self._refuse(413)
        elif self._http.they_are_waiting_for_100_continue:
            self._write(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))

    @staticmethod
    def _announced(asked: h11.Request) -> int:
        return next((int(value) for name, value in asked.headers if name == b"content-length"), 0)

    def _more(self, data: h11.Data) -> None:
        self._body += data.data
        if len(self._body) > self._limits.max_body_bytes:
            self._refuse(413)

    def _whole(self) -> None:
        assert self._asked is not None
        if self._timer is not None:
            self._timer.cancel()
        asked, body = self._asked, bytes(self._body)
        self._body.clear()
        headers: dict[str, str] = {}
        for raw, value in asked.headers:
            name = raw.decode("latin-1")
            one = value.decode("latin-1")
            headers[name] = f"{headers[name]}, {one}" if name in headers else one
        target, method = asked.target.decode("latin-1"), asked.method.decode("latin-1")
        try:
            request = request_of(
                method, target, headers, body, self._peer(), self._certificate, self._names
            )
        except ValueError:
            self._refuse(400)
            return
        self._task = self._loop.create_task(self._serve(request), name="page")

    def _peer(self) -> str:
        name: Any = self._transport.get_extra_info("peername")
        return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else ""

    def _certificate(self) -> bytes | None:
        tls = self._transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        return ssl.DER_cert_to_PEM_cert(der).encode() if der else None

    def _names(self) -> Mapping[str, Any] | None:
        tls = self._transport.get_extra_info("ssl_object")
        return tls.getpeercert() if tls is not None else None

    # -- answers

    async def _serve(self, request: Request) -> None:
        try:
            response = await self._handler(request)
        except Exception:
            log.exception("a page failed", path=request.path)
            response = failure(500)
        try:
            await self._send(response, empty=request.method == "HEAD")
            await self._drained()
        except h11.LocalProtocolError:
            log.exception("a page is no valid answer", path=request.path)
            self._transport.abort()
            return
        self._next()

    async def _send(self, response: Response, *, empty: bool) -> None:
        body = response.body
        if isinstance(body, bytes):
            last = [("Connection", "close")] if self._draining else []
            self._write(
                _head(response, ("Content-Length", str(len(body))), *last),
                *([h11.Data(data=body)] if body and not empty else []),
                h11.EndOfMessage(),
            )
            return
        self._streaming = True
        try:
            await self._stream(response, body, empty=empty)
        finally:
            self._streaming = False

    async def _stream(self, response: Response, body: AsyncIterator[bytes], *, empty: bool) -> None:
        self._write(_head(response))
        try:
            async for piece in body:
                if self._half_closed:
                    break
                self._write(h11.Data(data=piece))
                await self._drained()
        except h11.LocalProtocolError:
            raise
        except Exception:
            log.exception("a page broke off")
            self._transport.abort()
            return
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
        self._write(h11.EndOfMessage())

    def _write(self, *events: Any) -> None:
        data = b"".join(self._http.send(event) or b"" for event in events)
        if data and not self._transport.is_closing():
            self._transport.write(data)

    async def _drained(self) -> None:
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def _next(self) -> None:
        self._task = None
        self._answered = True
        http = self._http
        done = http.our_state is h11.DONE and http.their_state is h11.DONE
        if self._draining or self._half_closed or not done:
            self._hang_up()
            return
        http.start_next_cycle()
        self._due(self._limits.idle_seconds)
        waiting, self._waiting = self._waiting, b""
        self._transport.resume_reading()
        self._read(waiting)

    def _refuse(self, status: int) -> None:
        """Say why, and close once the client had time to read it: it may still be sending, and to
        close before it has stopped would take the answer away from it."""
        self._refused = True
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = failure(status, None, ("Connection", "close"))
            body = cast(bytes, answer.body)
            length = ("Content-Length", str(len(body)))
            self._write(_head(answer, length), h11.Data(data=body), h11.EndOfMessage())
        if self._transport.can_write_eof():
            self._transport.write_eof()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._limits.farewell_seconds, self._hang_up)

    # -- the end

    def _hang_up(self) -> None:
        """Close with what is written; a client that does not read it has a bounded time."""
        if self._transport.is_closing():
            return
        self._transport.close()
        self._due(self._limits.stall_seconds)

    def drain(self) -> None:
        """After the answer that is being made, close. Who has just come may still ask; between two
        requests, what was sent before it hears of the end is read before it does."""
        self._draining = True
        if self._streaming:
            self._transport.close()
        elif self._task is None and self._answered:
            self._loop.call_later(_LAST_READ_SECONDS, self._close_idle)

    def _close_idle(self) -> None:
        if self._task is None:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


def _head(response: Response, *more: tuple[str, str]) -> h11.Response:
    headers = [*response.headers, ("Date", formatdate(usegmt=True)), *more]
    reason = HTTPStatus(response.status).phrase.encode()
    return h11.Response(status_code=response.status, headers=headers, reason=reason)
