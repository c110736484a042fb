"""One call on the server: from its headers to its status.

The events of its stream come in from the connection; its method runs as a task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping
from time import monotonic
from typing import Any, Protocol

from google.protobuf.message import DecodeError, Message

from kube.component.log import get_logger
from kube.rpc.errors import Code, RpcError
from kube.rpc.h2.connection import Connection
from kube.rpc.h2.session import CANCEL, ENHANCE_YOUR_CALM, FULL
from kube.rpc.h2.wire import BadHeader, encode_block, status_fields
from kube.rpc.listen import Translate
from kube.rpc.service import CallContext, Method, Observer, Reply, Shape

log = get_logger(__name__)

_HEAD = encode_block([(":status", "200"), ("content-type", "application/grpc")])
_OK = encode_block([("grpc-status", "0")])
_LARGE_BYTES = 64 << 10
_ENCODINGS = [("grpc-accept-encoding", "identity")]


class Owner(Protocol):
    """What a call needs of its server."""

    @property
    def observer(self) -> Observer: ...

    @property
    def translate(self) -> Translate | None: ...

    def forget(self, call: ServerCall) -> None: ...

    def press(self) -> None: ...


class ServerCall:
    """`context` is what the method sees. A call is answered exactly once, or reset."""

    __slots__ = (
        "_connection", "_context", "_ended", "_failure", "_head_sent", "_id", "_messages",
        "_method", "_owner", "_started", "_task", "_timer", "_waiter", "_writable", "code", "over",
    )  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        connection: Connection,
        stream: int,
        method: Method,
        metadata: Mapping[str, str | bytes],
        timeout: float | None,
    ) -> None:
        self._owner = owner
        self._connection = connection
        self._id = stream
        self._method = method
        self._context = CallContext(
            metadata, connection.peer(), connection.peer_certificate, self.send_headers, self.cut
        )
        self._messages: deque[bytes] = deque()
        self._ended = self._head_sent = self.over = False
        self._failure: RpcError | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._started = monotonic()
        self.code = Code.CANCELLED
        self._timer = (
            None if timeout is None else connection.loop.call_later(timeout, self.fail, _too_late())
        )
        owner.observer.started(method)
        if method.shape in (Shape.CLIENT_STREAM, Shape.BIDI_STREAM):
            self._start()

    # -- events of the stream

    def message(self, data: bytes) -> None:
        if self.over:
            return
        self._owner.observer.received(self._method, len(data))
        self._messages.append(data)
        self._wake()
        if self._task is None and len(self._messages) > 1:
            self.fail(RpcError("a unary request has one message", Code.INTERNAL))

    def end(self) -> None:
        self._ended = True
        if self.over:
            return
        if self._task is not None:
            self._wake()
        elif self._messages:
            self._start()
        else:
            self.fail(RpcError("a unary request has one message", Code.INTERNAL))

    def drained(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def gone(self) -> None:
        """The client has cancelled, or its connection is lost: nobody waits for an answer."""
        if not self.over:
            self._close()
        self._cancel()

    def fail(self, error: RpcError) -> None:
        """Answer with `error` now and stop the method."""
        self._answer_error(error)
        self._cancel()

    def cut(self) -> None:
        """No status either: it would wait behind what the client does not read."""
        if self.over:
            return
        self._connection.session.reset(self._id, ENHANCE_YOUR_CALM)
        self.code = Code.RESOURCE_EXHAUSTED
        self._connection.flush_soon()
        self._close()
        self._cancel()

    # -- the method

    def _start(self) -> None:
        if self._method.replies:
            self._ask_for_reply()
        else:
            self._task = self._spawn(self._run())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._connection.loop.create_task(work, name=self._method.name)

    def _ask_for_reply(self) -> None:
        try:
            reply = self._method.handler(self._request(), self._context)
        except Exception as error:
            self._answer_error(self._status(error))
        else:
            reply.then(self._replied)

    def _replied(self, reply: Reply) -> None:
        if self.over:
            return
        if isinstance(reply.error, Exception):
            self._answer_error(self._status(reply.error))
            return
        data = _encoded(reply.value)
        if (done := self._try_answer(data)) == FULL:
            self._task = self._spawn(self._answer(data))
        else:
            self._answered(done, len(data))

    async def _run(self) -> None:
        try:
            if self._method.shape in (Shape.UNARY, Shape.CLIENT_STREAM):
                await self._answer(await self._method.handler(self._request(), self._context))
            else:
                await self._stream(self._method.handler(self._request(), self._context))
        except Exception as error:
            self._answer_error(self._status(error))
        except asyncio.CancelledError:
            # Ours: the answer is out. Somebody else's: the client is told.
            if not self.over:
                self._answer_error(RpcError("the server is stopping", Code.UNAVAILABLE))
            raise

    def _status(self, error: Exception) -> RpcError:
        if isinstance(error, RpcError):
            return error
        if isinstance(error, DecodeError):
            return RpcError("the request is no valid message", Code.INTERNAL)
        return self._foreign(error)

    def _foreign(self, error: Exception) -> RpcError:
        known = self._owner.translate(error) if self._owner.translate else None
        if known is not None:
            return known
        log.exception("a method failed", method=self._method.path)
        return RpcError(f"Unexpected {type(error)}: {error}", Code.UNKNOWN)

    def _request(self) -> Any:
        if self._method.shape in (Shape.CLIENT_STREAM, Shape.BIDI_STREAM):
            return self._requests()
        data = self._messages.popleft()
        self._connection.session.consume(self._id, len(data))
        return self._method.request.FromString(data)

    async def _requests(self) -> AsyncIterator[Message]:
        while True:
            while not self._messages:
                if self._ended:
                    return
                self._waiter = self._connection.loop.create_future()
                await self._waiter
            data = self._messages.popleft()
            if self._connection.session.consume(self._id, len(data)):
                self._connection.flush_soon()  # the client may send again
            yield self._method.request.FromString(data)

    async def _stream(self, responses: AsyncIterator[Message]) -> None:
        try:
            async for response in responses:
                await self.send_headers()
                for one in response if isinstance(response, list) else (response,):
                    await self._send(_encoded(one))
                self._connection.flush_soon()
        finally:
            close = getattr(responses, "aclose", None)
            if close is not None:
                await close()
        self._finish(_OK, Code.OK)

    # -- the answer

    async def send_headers(self) -> None:
        if not self._head_sent and not self.over:
            self._head_sent = True
            self._connection.session.headers(self._id, _HEAD)
            self._connection.flush_soon()

    async def _send(self, data: bytes) -> None:
        """Waits while the client reads more slowly than the method writes."""
        connection = self._connection
        while (pending := connection.session.send(self._id, data)) == FULL:
            connection.flush_soon()
            await connection.room()
        self._owner.observer.sent(self._method, len(data))
        if pending >= connection.settings.limits.stream_high_bytes:
            connection.flush_soon()
            self._owner.press()
            self._writable = connection.loop.create_future()
            await self._writable

    async def _answer(self, response: Message | bytes) -> None:
        data = _encoded(response)
        connection = self._connection
        while not self.over and (done := self._try_answer(data)) == FULL:
            if not await connection.room_for_answer():
                break  # so slow a reader loses its answer, not our memory
        if self.over:
            return
        if done == FULL:
            connection.session.reset(self._id, ENHANCE_YOUR_CALM)
            self.code = Code.RESOURCE_EXHAUSTED
        self._answered(done, len(data))

    def _answered(self, done: int, size: int) -> None:
        if done >= 0:
            self._owner.observer.sent(self._method, size)
            self.code = Code.OK
        self._close()
        if size >= _LARGE_BYTES:
            self._connection.flush_large()
            self._owner.press()
        else:
            self._connection.flush_soon()

    def _try_answer(self, data: bytes) -> int:
        session = self._connection.session
        if not self._head_sent:
            return session.answer(self._id, _HEAD, data, _OK)
        done = session.send(self._id, data)
        return done if done < 0 else session.finish(self._id, _OK)

    def _answer_error(self, error: RpcError) -> None:
        if self.over:
            return
        try:
            fields = status_fields(error.code, error.message, error.trailers)
        except BadHeader as bad:
            log.error("trailers cannot be sent", method=self._method.path, error=str(bad))
            fields = status_fields(Code.INTERNAL, f"bad trailers: {bad}")
        if error.code is Code.UNIMPLEMENTED:
            fields += _ENCODINGS
        self._finish(encode_block(fields), error.code)

    def _finish(self, trailers: bytes, code: Code) -> None:
        if self.over:
            return
        session = self._connection.session
        if self._head_sent:
            failed = session.finish(self._id, trailers)
        else:
            failed = session.headers(self._id, _HEAD + trailers, end=True)
        if failed:
            session.reset(self._id, CANCEL)
        self.code = code
        self._connection.flush_soon()
        self._close()

    def _close(self) -> None:
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        self._messages.clear()
        self._owner.observer.handled(self._method, self.code, monotonic() - self._started)
        self._owner.forget(self)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _cancel(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()

    @property
    def stream(self) -> int:
        return self._id

    @property
    def task(self) -> asyncio.Task[None] | None:
        return self._task


def _encoded(response: Message | bytes) -> bytes:
    return response if isinstance(response, bytes) else response.SerializeToString()


def _too_late() -> RpcError:
    return RpcError("Deadline Exceeded", Code.DEADLINE_EXCEEDED)
