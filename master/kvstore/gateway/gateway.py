"""etcd's JSON gateway: a POST under /v3/ is a call of the rpc that its path stands for.

The same methods answer as over gRPC, with the same checks. A token comes in `Authorization`. As in
etcd, a client certificate names nobody here: there the gateway calls with the server's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from time import monotonic

from google.protobuf.message import Message

from kube.component.log import get_logger
from kube.http.messages import Request, Response, failure
from kube.rpc.errors import Code, RpcError
from kube.rpc.h2.wire import BadHeader, parse_timeout
from kube.rpc.service import CallContext, Method, Observer, Shape
from master.kvstore.gateway.jsonpb import BadJson, dumped, json_of, message_of, values
from master.kvstore.gateway.routes import Route, routes

log = get_logger(__name__)

# HTTP's status of gRPC's (grpc-gateway 1.9: HTTPStatusFromCode).
_STATUS = {
    Code.OK: 200, Code.CANCELLED: 408, Code.UNKNOWN: 500, Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504, Code.NOT_FOUND: 404, Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403, Code.UNAUTHENTICATED: 401, Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 412, Code.ABORTED: 409, Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501, Code.INTERNAL: 500, Code.UNAVAILABLE: 503, Code.DATA_LOSS: 500,
}  # fmt: skip
_JSON = ("Content-Type", "application/json")
_FROM_GRPC = ("Grpc-Metadata-Content-Type", "application/grpc")
_METADATA = "grpc-metadata-"
# What is larger is read and written in a thread: the loop has other clients.
_LARGE_BYTES = 32 << 10


class Gateway:
    def __init__(
        self, methods: Iterable[Method], observer: Observer, max_request_bytes: int
    ) -> None:
        self._routes = routes(methods)
        self._observer = observer
        self._max_request_bytes = max_request_bytes

    async def __call__(self, request: Request) -> Response:
        route = self._routes.get(request.path)
        if route is None:
            return failure(404)
        if request.method != "POST":
            return failure(405)
        streams = route.method.shape in (Shape.CLIENT_STREAM, Shape.BIDI_STREAM)
        try:
            context, timeout = _context(request)
            asked = await self._read(route, request.body, many=streams)
        except BadJson as error:
            # etcd's gateway forgets to say whose fault it is where requests may be many.
            return _failed(RpcError(str(error), Code.UNKNOWN if streams else Code.INVALID_ARGUMENT))
        if route.method.shape is Shape.UNARY:
            return await self._call(route, asked[0], context, timeout)
        return await self._stream(route, asked, context)

    async def _read(self, route: Route, body: bytes, *, many: bool) -> list[Message]:
        read = _requests if many else _request
        if len(body) <= _LARGE_BYTES:
            return read(route.method.request, body)
        return await asyncio.to_thread(read, route.method.request, body)

    async def _call(
        self, route: Route, asked: Message, context: CallContext, timeout: float | None
    ) -> Response:
        try:
            with self._observed(route.method) as done:
                self._let_in(route.method, asked)
                async with asyncio.timeout(timeout):
                    answer = await route.method.handler(asked, context)
                data = answer if isinstance(answer, bytes) else answer.SerializeToString()
                self._observer.sent(route.method, len(data))
                done.append(Code.OK)
        except (RpcError, TimeoutError) as error:
            return _failed(_status(error))
        return Response(headers=(_JSON, _FROM_GRPC), body=await _written(route, data))

    async def _stream(self, route: Route, asked: list[Message], context: CallContext) -> Response:
        """Waits for the first answer: an error in its place is the response's status."""
        pieces = self._pieces(route, asked, context)
        try:
            first = await anext(pieces)
        except StopAsyncIteration:
            return Response(headers=(_JSON, _FROM_GRPC))
        except RpcError as error:
            return Response(_STATUS[error.code], (_JSON,), _stream_error(error))
        return Response(headers=(_JSON, _FROM_GRPC), body=_lines(first, pieces))

    async def _pieces(
        self, route: Route, asked: list[Message], context: CallContext
    ) -> AsyncGenerator[bytes, None]:
        method = route.method
        with self._observed(method) as done:
            for one in asked:
                self._let_in(method, one)
            stays = method.name == "Watch"  # it goes on when all is asked; keep-alives do not
            single = method.shape is Shape.SERVER_STREAM
            given = asked[0] if single else _each(asked, stays=stays)
            answers = method.handler(given, context)
            try:
                async for answer in answers:
                    for one in answer if isinstance(answer, list) else (answer,):
                        data = one if isinstance(one, bytes) else one.SerializeToString()
                        self._observer.sent(method, len(data))
                        yield b'{"result":' + await _written(route, data) + b"}\n"
                done.append(Code.OK)
            finally:
                close = getattr(answers, "aclose", None)
                if close is not None:
                    await close()

    def _let_in(self, method: Method, asked: Message) -> None:
        size = asked.ByteSize()
        self._observer.received(method, size)
        if size > self._max_request_bytes:
            reason = f"received message larger than max ({size} vs. {self._max_request_bytes})"
            raise RpcError(f"grpc: {reason}", Code.RESOURCE_EXHAUSTED)

    @contextmanager
    def _observed(self, method: Method) -> Iterator[list[Code]]:
        """Count the call. What it leaves in the list is how it ended, if nothing is raised."""
        started = monotonic()
        codes: list[Code] = []
        self._observer.started(method)
        try:
            yield codes
        except (RpcError, TimeoutError) as error:
            codes.append(_status(error).code)
            raise
        except Exception as error:
            codes.append(Code.UNKNOWN)
            log.exception("a method failed", method=method.path)
            raise RpcError(f"Unexpected {type(error)}: {error}", Code.UNKNOWN) from error
        finally:
            code = codes[-1] if codes else Code.CANCELLED
            self._observer.handled(method, code, monotonic() - started)


def _context(request: Request) -> tuple[CallContext, float | None]:
    """Headers that mean something to a call. Raises BadJson, as etcd words it."""
    metadata: dict[str, str | bytes] = {}
    for name, value in request.headers.items():
        if name == "authorization":
            metadata[name] = value
        elif name.startswith(_METADATA):
            metadata[name.removeprefix(_METADATA)] = value
    text = request.headers.get("grpc-timeout")
    try:
        timeout = None if text is None else parse_timeout(text)
    except BadHeader as error:
        raise BadJson(f"invalid grpc-timeout: {text}") from error
    return CallContext(metadata, request.peer), timeout


def _request(kind: type[Message], body: bytes) -> list[Message]:
    """The first value alone; nothing at all is a request with nothing set."""
    return [message_of(kind, next(values(_decoded(body)), None))]


def _requests(kind: type[Message], body: bytes) -> list[Message]:
    """All values. What is broken after the first ends them, as if the client had stopped there."""
    found: list[Message] = []
    try:
        for value in values(_decoded(body)):
            found.append(message_of(kind, value))
    except BadJson:
        if not found:
            raise
    return found


def _decoded(body: bytes) -> str:
    return body.decode("utf-8", "replace")


async def _each(asked: list[Message], *, stays: bool) -> AsyncIterator[Message]:
    for one in asked:
        yield one
    if stays:
        await asyncio.get_running_loop().create_future()


async def _written(route: Route, data: bytes) -> bytes:
    def write() -> bytes:
        return json_of(route.response.FromString(data))

    return write() if len(data) <= _LARGE_BYTES else await asyncio.to_thread(write)


async def _lines(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    try:
        yield first
        async for line in rest:
            yield line
    except RpcError as error:
        yield _stream_error(error)
    finally:
        await rest.aclose()


def _status(error: RpcError | TimeoutError) -> RpcError:
    if isinstance(error, RpcError):
        return error
    return RpcError("context deadline exceeded", Code.DEADLINE_EXCEEDED)


def _failed(error: RpcError) -> Response:
    body = {"error": error.message, "message": error.message, "code": int(error.code)}
    return Response(_STATUS[error.code], (_JSON,), dumped(body))


def _stream_error(error: RpcError) -> bytes:
    status = _STATUS[error.code]
    inner = {
        "grpc_code": int(error.code), "http_code": status, "message": error.message,
        "http_status": HTTPStatus(status).phrase,
    }  # fmt: skip
    return dumped({"error": inner})
