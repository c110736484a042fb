"""Services without a transport: plain async methods on generated messages, found by reflection.

A service is any object whose methods are named after the rpcs of a protobuf service, in
snake_case (`LeaseGrant` -> `lease_grant`), and take the request and a `CallContext`:

    unary:      async def put(self, request, context) -> Response
    streaming:  def watch(self, requests, context) -> AsyncIterator[Response]

They raise `RpcError`. An rpc without a method is answered UNIMPLEMENTED. An adapter
(`muster.rpc.grpcio`) serves the methods that `methods_of` returns.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from muster.rpc.errors import Code


async def _nothing() -> None:
    """A transport without headers to send."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a method may know about its call."""

    metadata: Mapping[str, str | bytes] = field(default_factory=dict)
    peer: str = ""
    # The client's certificate as PEM, None without one. A function: few calls ask.
    peer_certificate: Callable[[], bytes | None] = lambda: None
    # Sends the head of a streamed answer now, so that the caller knows that its call stands.
    send_headers: Callable[[], Awaitable[None]] = _nothing


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

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"


class Observer(Protocol):
    """Hears of every call; `muster.rpc.metrics` counts them."""

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
