"""One call on the client: awaited for its one response, or iterated (`read`) for many.

It begins when it is first awaited, read or written, except that a deadline counts from its
making. Leaving it (`cancel`) resets its stream.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator
from typing import Any, Protocol

from kube.rpc.errors import CallFailed, Code, RpcError, unavailable
from kube.rpc.h2.clientconnection import ClientConnection
from kube.rpc.h2.session import CANCEL, FULL, REFUSED_STREAM, refusal
from kube.rpc.h2.wire import (
    BadHeader,
    Metadata,
    code_of_reset,
    decode_block,
    decode_metadata,
    encode_block,
    encode_metadata,
    format_timeout,
    parse_status,
)

# What `read` returns after the last message (grpc.aio has EOF for it).
EOF: Any = None


# So often is a call begun anew that no server has looked at (gRFC A6, "transparent retries").
_MOVES = 3


class Dialler(Protocol):
    """What a call needs of its channel."""

    @property
    def connection(self) -> ClientConnection | None: ...

    async def connect(self) -> ClientConnection: ...

    def block(self, path: str) -> bytes: ...

    def going_away(self, connection: ClientConnection) -> None: ...


class Call:
    def __init__(
        self,
        channel: Dialler,
        path: str,
        encode: Callable[[Any], bytes],
        decode: Callable[[bytes], Any],
        request: Any,
        *,
        streams: bool,
        timeout: float | None,
        metadata: Metadata,
    ) -> None:
        self._channel = channel
        self._path = path
        self._encode, self._decode = encode, decode
        self._request = request
        self._streams = streams
        self._metadata = metadata
        self._loop = asyncio.get_running_loop()
        self._deadline = None if timeout is None else self._loop.time() + timeout
        self._timer: asyncio.TimerHandle | None = None
        self._connection: ClientConnection | None = None
        self._stream = 0
        self._begun: asyncio.Future[None] | None = None
        self._messages: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._head: dict[str, str] | None = None
        self._error: RpcError | None = None
        self._trailers: dict[str, str | bytes] = {}
        self._pump: asyncio.Task[None] | None = None
        self._moves = 0
        self._moving: asyncio.Task[None] | None = None
        self.over = False

    # -- what callers use

    def __await__(self) -> Generator[Any, None, Any]:
        return self._single().__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._iterate()

    async def read(self) -> Any:
        """The next response, None after the last; raises if the call failed."""
        await self._begin()
        while not self._messages:
            if self.over:
                if self._error is not None:
                    raise self._error
                return EOF
            await self._change()
        data = self._messages.popleft()
        assert self._connection is not None
        if self._connection.session.consume(self._stream, len(data)):
            self._connection.flush_soon()  # the server may send again
        return self._decode(data)

    async def write(self, request: Any) -> None:
        """Waits while the server reads more slowly than we write."""
        await self._begin()
        connection = self._connection
        if self.over or connection is None:
            raise self._error or RpcError("the call has ended", Code.CANCELLED)
        data = self._encode(request)
        while (pending := connection.session.send(self._stream, data)) == FULL:
            await connection.room()
        connection.flush_soon()
        if pending < 0:
            raise self._error or RpcError("the call has ended", Code.CANCELLED)
        if pending >= connection.settings.limits.stream_high_bytes:
            self._writable = self._loop.create_future()
            await self._writable

    async def done_writing(self) -> None:
        await self._begin()
        if self._connection is not None and not self.over:
            self._connection.session.finish(self._stream)
            self._connection.flush_soon()

    async def initial_metadata(self) -> dict[str, str | bytes]:
        """Once the server has accepted the call."""
        await self._begin()
        while self._head is None:
            if self._error is not None:
                raise self._error
            if self.over:
                return {}
            await self._change()
        return decode_metadata(self._head)

    def trailing_metadata(self) -> dict[str, str | bytes]:
        """Complete once the call is over."""
        return self._trailers

    def cancel(self) -> bool:
        if self.over:
            return False
        self.fail(RpcError("Locally cancelled by application!", Code.CANCELLED))
        return True

    def done(self) -> bool:
        return self.over

    # -- how it runs

    async def _single(self) -> Any:
        try:
            response = await self.read()
            if response is None:
                raise RpcError("the server sent no response", Code.INTERNAL)
            if await self.read() is not None:
                raise RpcError("the server sent more than one response", Code.INTERNAL)
            return response
        finally:
            self.cancel()

    async def _iterate(self) -> AsyncIterator[Any]:
        try:
            while (response := await self.read()) is not None:
                yield response
        finally:
            self.cancel()

    async def _begin(self) -> None:
        """Open the stream, once; errors are kept for who reads."""
        if self._connection is not None or self.over:
            return
        if self._begun is not None:
            await self._begun
            return
        self._begun = self._loop.create_future()
        try:
            await self._find_connection()
        except BaseException:
            self.cancel()
            raise
        finally:
            self._begun.set_result(None)

    async def _find_connection(self) -> None:
        try:
            while not self._open(self._channel.connection or await self._dial()):
                self._count_move()
        except RpcError as error:
            self.fail(error)

    def _count_move(self) -> None:
        self._moves += 1
        if self._moves > _MOVES:
            raise unavailable("one connection after the other takes no more calls")

    async def _dial(self) -> ClientConnection:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._channel.connect()
        except TimeoutError as error:
            raise _too_late() from error

    def _open(self, connection: ClientConnection) -> bool:
        """False if the connection takes no more calls."""
        if self.over:
            return True
        if connection.full:
            raise RpcError("too many calls wait for this connection", Code.RESOURCE_EXHAUSTED)
        block = self._channel.block(self._path)
        if self._deadline is not None:
            left = self._deadline - self._loop.time()
            if left <= 0:
                raise _too_late()
            block += encode_block([("grpc-timeout", format_timeout(left))])
            if self._timer is None:
                self._timer = self._loop.call_later(left, self.fail, _too_late())
        if self._metadata:
            try:
                block += encode_block(encode_metadata(self._metadata))
            except BadHeader as error:
                raise RpcError(str(error), Code.INTERNAL) from error
        message = None if self._streams else self._encode(self._request)
        stream = connection.session.request(block, message, end=not self._streams)
        if stream == FULL:
            raise RpcError("too many bytes wait on this connection", Code.RESOURCE_EXHAUSTED)
        if stream < 0:
            self._channel.going_away(connection)  # out of stream numbers, or told to leave
            return False
        self._connection, self._stream = connection, stream
        connection.add(stream, self)
        connection.flush_soon()
        if self._streams and self._request is not None:
            self._pump = self._loop.create_task(self._write_all(), name=self._path)
        return True

    async def _write_all(self) -> None:
        """A request iterator's messages, until it ends or the call does."""
        try:
            if isinstance(self._request, AsyncIterable):
                async for request in self._request:
                    await self.write(request)
            else:
                for request in self._request:
                    await self.write(request)
            await self.done_writing()
        except RpcError as error:
            self.fail(error)
        except Exception as error:
            self.fail(RpcError(f"the request iterator failed: {error!r}", Code.UNKNOWN))

    async def _change(self) -> None:
        if self._waiter is None or self._waiter.done():
            self._waiter = self._loop.create_future()
        await asyncio.shield(self._waiter)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- events of the stream

    def on_headers(self, block: bytes, ends: bool) -> None:
        headers = decode_block(block)
        if not ends:
            self._head = headers
            if headers.get(":status") != "200":
                code, message = parse_status(headers)
                self.fail(RpcError(message, code))
            elif headers.get("grpc-encoding", "identity") != "identity":
                self.fail(RpcError("the answer is compressed", Code.UNIMPLEMENTED))
            self._wake()
        else:
            self._end(headers)

    def on_message(self, data: bytes) -> None:
        self._messages.append(data)
        self._wake()

    def on_trailers(self, block: bytes) -> None:
        self._end(decode_block(block))

    def on_closed(self, code: int) -> None:
        if code == REFUSED_STREAM and self._head is None and not self._streams and not self.over:
            # Never looked at, also by a server that has just said GOAWAY (RFC 9113 8.7).
            self._move()
            return
        self._finish(RpcError(f"the stream was reset (HTTP/2 error {code})", code_of_reset(code)))

    def _move(self) -> None:
        """Begin anew, on another connection if this one is being left."""
        assert self._connection is not None
        self._connection.forget(self._stream)
        self._connection = None
        try:
            self._count_move()
        except RpcError as error:
            self.fail(error)
            return
        self._moving = self._loop.create_task(self._find_connection(), name=self._path)

    def on_drained(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def on_refused(self, code: int) -> None:
        self.fail(refusal(code))

    def _end(self, headers: dict[str, str]) -> None:
        code, message = parse_status(headers)
        try:
            self._trailers = decode_metadata(headers)
        except BadHeader as error:
            code, message = Code.INTERNAL, f"bad header: {error}"
        if code is Code.OK:
            self._finish(None)
            return
        error_ = CallFailed(message, code)
        error_.trailers = tuple(self._trailers.items())
        self._finish(error_)

    def fail(self, error: RpcError) -> None:
        """End it from this side."""
        if self.over:
            return
        if self._connection is not None:
            self._connection.session.reset(self._stream, CANCEL)
            self._connection.flush_soon()
        self._messages.clear()
        self._finish(error)

    def _finish(self, error: RpcError | None) -> None:
        if self.over:
            return
        self.over = True
        self._error = error
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is not None:
            if self._streams:  # an answer before our last message ends our half, too
                self._connection.session.reset(self._stream, CANCEL)
                self._connection.flush_soon()
            self._connection.forget(self._stream)
        for task in (self._pump, self._moving):
            if task is not None and task is not asyncio.current_task(self._loop):
                task.cancel()
        self._wake()
        self.on_drained()


def _too_late() -> RpcError:
    return RpcError("Deadline Exceeded", Code.DEADLINE_EXCEEDED)
