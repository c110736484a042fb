"""Services without a transport: plain async methods on generated messages, found by reflection.

A service is any object whose methods are named after the rpcs of a protobuf service, in
snake_case (`LeaseGrant` -> `lease_grant`), and take the request and a `CallContext`:

    unary:      async def put(self, request, context) -> Response
    streaming:  def watch(self, requests, context) -> AsyncIterator[Response]

A unary method that is called very often may be a plain function instead and return a `Reply`: then
no task waits for its answer. The answer may be bytes, a message that is encoded already. A
streaming method may yield a list of answers instead of one: many at once cost less.
They raise `RpcError`. An rpc without a method is answered UNIMPLEMENTED. An adapter
(`kube.rpc.grpcio`) serves the methods that `methods_of` returns.
"""

from __future__ import annotations

import asyncio
import enum
import inspect
import re
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kube.component.log import get_logger
from kube.rpc.errors import Code

log = get_logger(__name__)


async def _nothing() -> None:
    """A transport without headers to send."""


@dataclass(slots=True)  # not frozen: that costs each call more than all else about it
class CallContext:
    """What a method may know about its call."""

    metadata: Mapping[str, str | bytes] = field(default_factory=dict)
    peer: str = ""
    # The client's certificate as PEM, None without one. A function: few calls ask.
    peer_certificate: Callable[[], bytes | None] = lambda: None
    # Sends the head of a streamed answer now, so that the caller knows that its call stands.
    send_headers: Callable[[], Awaitable[None]] = _nothing
    # Breaks the call off; what still waits for the client is dropped.
    cut: Callable[[], None] = lambda: None


class Reply:
    """An answer that is still to come. Settled once; whoever asked hears of it in the same turn.

    `finish` makes the answer out of what it is settled with, and may raise.
    """

    __slots__ = ("_finish", "_then", "error", "value")

    def __init__(self, finish: Callable[[Any], Any]) -> None:
        self._finish = finish
        self._then: Callable[[Reply], None] | None = None
        self.value: Any = None
        self.error: BaseException | None = None

    def done(self) -> bool:
        return self.value is not None or self.error is not None

    def set_result(self, value: Any) -> None:
        try:
            self.value = self._finish(value)
        except Exception as error:
            self.error = error
        self._settled()

    def set_exception(self, error: BaseException) -> None:
        self.error = error
        self._settled()

    def _settled(self) -> None:
        if self._then is None:
            return
        try:
            self._then(self)
        except Exception:  # the transport's business, not that of whoever settles many of these
            log.exception("an answer was not sent")

    def then(self, callback: Callable[[Reply], None]) -> None:
        """Call back once, now if it is settled already."""
        self._then = callback
        if self.done():
            callback(self)

    def __await__(self) -> Generator[Any, None, Any]:
        """For transports and tests that wait in a coroutine."""
        if not self.done():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.then(lambda _: None if waiter.done() else waiter.set_result(None))
            yield from waiter
        if self.error is not None:
            raise self.error
        return self.value


class Shape(enum.Enum):
    """Which sides stream. Values as grpc's metrics label `grpc_type` them."""

    UNARY = "unary"
    SERVER_STREAM = "server_stream"
    CLIENT_STREAM = "client_stream"
    BIDI_STREAM = "bidi_stream"


@dataclass(frozen=True, slots=True)
class Method:
    service: str
    name: str
    shape: Shape
    request: type[Message]
    handler: Callable[..., Any]
    # Kept, for they are asked for at every call.
    path: str = field(init=False)
    replies: bool = field(init=False)  # the handler is a plain function and returns a `Reply`

    def __post_init__(self) -> None:
        plain = not inspect.iscoroutinefunction(self.handler)
        object.__setattr__(self, "path", f"/{self.service}/{self.name}")
        object.__setattr__(self, "replies", self.shape is Shape.UNARY and plain)


class Observer(Protocol):
    """Hears of every call; `kube.rpc.metrics` counts them."""

    def started(self, method: Method) -> None: ...

    def handled(self, method: Method, code: Code, seconds: float) -> None: ...

    def received(self, method: Method, size: int) -> None: ...

    def sent(self, method: Method, size: int) -> None: ...


def methods_of(descriptor: ServiceDescriptor, implementation: object) -> Iterator[Method]:
    """The rpcs of `descriptor` that `implementation` has a method for."""
    for rpc in descriptor.methods:
        handler = getattr(implementation, snake_case(rpc.name), None)
        if handler is not None:
            yield Method(
                descriptor.full_name,
                rpc.name,
                _SHAPES[rpc.client_streaming, rpc.server_streaming],
                GetMessageClass(rpc.input_type),
                handler,
            )


def snake_case(name: str) -> str:
    """`LeaseGrant` -> `lease_grant`, `HashKV` -> `hash_kv`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


_SHAPES = {
    (False, False): Shape.UNARY,
    (False, True): Shape.SERVER_STREAM,
    (True, False): Shape.CLIENT_STREAM,
    (True, True): Shape.BIDI_STREAM,
}
