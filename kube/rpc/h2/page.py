"""One request on the server that is no gRPC: its body is gathered, then a page answers it.

To its connection it is a call like any other (`calls.ServerCall`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Protocol

from kube.component.log import get_logger
from kube.http.messages import Response, failure, request_of
from kube.rpc.errors import RpcError
from kube.rpc.h2.connection import Connection
from kube.rpc.h2.session import ENHANCE_YOUR_CALM, FULL, INTERNAL_ERROR
from kube.rpc.h2.wire import encode_block
from kube.rpc.listen import Site

log = get_logger(__name__)


class Owner(Protocol):
    """What a page needs of its connection besides the session."""

    page_bytes: int  # of all requests' bodies

    def forget(self, call: PageCall) -> None: ...


class PageCall:
    def __init__(
        self, owner: Owner, connection: Connection, stream: int, headers: dict[str, str], site: Site
    ) -> None:
        self._owner = owner
        self._connection = connection
        self._headers = headers
        self._site = site
        self._body = bytearray()
        self._held = 0  # of it, until the page is over
        self._writable: asyncio.Future[None] | None = None
        self.stream = stream
        self.task: asyncio.Task[None] | None = None
        self.over = False
        self._timer = connection.loop.call_later(site.limits.request_seconds, self._refuse, 408)

    # -- events of the stream

    def message(self, data: bytes) -> None:
        if self.over:
            return
        self._body += data
        self._held += len(data)
        self._owner.page_bytes += len(data)
        if len(self._body) > self._site.limits.max_body_bytes:
            self._refuse(413)
        elif self._owner.page_bytes > self._connection.settings.limits.max_received_bytes:
            self._reset(ENHANCE_YOUR_CALM)
        elif self._connection.session.consume(self.stream, len(data)):
            self._connection.flush_soon()

    def end(self) -> None:
        if self.over or self.task is not None:
            return
        self._timer.cancel()
        self.task = self._connection.loop.create_task(self._serve(), name="page")

    def drained(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def gone(self) -> None:
        self._close()
        if self.task is not None:
            self.task.cancel()

    def fail(self, error: RpcError) -> None:
        """The server is stopping, or too much waits on the connection."""
        self._refuse(503)
        if self.task is not None:
            self.task.cancel()

    # -- the answer

    async def _serve(self) -> None:
        headers = {name: one for name, one in self._headers.items() if not name.startswith(":")}
        method, target = self._headers[":method"], self._headers[":path"]
        try:
            request = request_of(
                method, target, headers, bytes(self._body), self._connection.peer(),
                self._connection.peer_certificate,
            )  # fmt: skip
        except ValueError:
            self._refuse(400)
            return
        self._body.clear()
        try:
            response = await self._site.handler(request)
        except Exception:
            log.exception("a page failed", path=request.path)
            response = failure(500)
        if isinstance(response.body, bytes):
            await self._answer(response, response.body, empty=method == "HEAD")
        else:
            await self._stream(response, response.body)

    async def _answer(self, response: Response, body: bytes, *, empty: bool) -> None:
        head = _head(response, ("content-length", str(len(body))))
        session = self._connection.session
        while not self.over:
            if empty or not body:
                done = session.headers(self.stream, head, end=True)
            else:
                done = session.answer(self.stream, head, body, b"")
            if done != FULL:
                break
            if not await self._connection.room_for_answer():
                self._reset(ENHANCE_YOUR_CALM)
                return
        self._done()

    async def _stream(self, response: Response, body: AsyncIterator[bytes]) -> None:
        self._connection.session.headers(self.stream, _head(response))
        self._connection.flush_soon()
        try:
            async for piece in body:
                await self._send(piece)
        except Exception:
            log.exception("a page broke off")
            self._reset(INTERNAL_ERROR)
            return
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
        self._connection.session.finish(self.stream)
        self._done()

    async def _send(self, piece: bytes) -> None:
        """Waits while the client reads more slowly than the page writes."""
        connection = self._connection
        while (pending := connection.session.send(self.stream, piece)) == FULL:
            connection.flush_soon()
            await connection.room()
        connection.flush_soon()
        if pending >= connection.settings.limits.stream_high_bytes:
            self._writable = connection.loop.create_future()
            await self._writable

    def _refuse(self, status: int) -> None:
        if self.over:
            return
        answer = failure(status)
        assert isinstance(answer.body, bytes)
        head = _head(answer, ("content-length", str(len(answer.body))))
        if self._connection.session.answer(self.stream, head, answer.body, b"") < 0:
            self._connection.session.reset(self.stream, ENHANCE_YOUR_CALM)
        self._done()

    def _reset(self, code: int) -> None:
        self._connection.session.reset(self.stream, code)
        self._done()

    def _done(self) -> None:
        self._connection.flush_soon()
        self._close()

    def _close(self) -> None:
        if self.over:
            return
        self.over = True
        self._timer.cancel()
        self._body.clear()
        self._owner.page_bytes -= self._held
        self._owner.forget(self)


def _head(response: Response, *more: tuple[str, str]) -> bytes:
    fields = [(":status", str(response.status)), ("date", formatdate(usegmt=True)), *more]
    fields += [(name.lower(), value) for name, value in response.headers]
    return encode_block(fields)
