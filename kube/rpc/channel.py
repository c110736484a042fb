"""What a client of one server is, whichever transport carries it: a channel, stubs, options.

`kube.rpc.dial.open_channel` makes one. A call is awaited for its one response or iterated for
many. Whatever carries it, it fails with `RpcError`, trailing metadata included.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from kube.rpc.listen import Keepalive

# etcd's clients take answers of any size: the server is trusted, and its limits hold.
ANY_SIZE = 2**31 - 1
# As good as never, as gRPC's own: Go's servers take pings that they did not allow for abuse.
_KEEPALIVE = Keepalive(7200.0, 20.0)


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """What a client asks of its channel, in the terms that both transports have."""

    max_receive_bytes: int = 4 << 20
    # After so long without a byte the server is pinged, and given up without an answer.
    keepalive: Keepalive = _KEEPALIVE
    # Also while nothing is being called. etcd takes more than two such pings for abuse.
    ping_when_idle: bool = True
    # Without a call for so long the connection is closed; 0: never.
    idle_seconds: float = 0.0
    connect_seconds: float = 20.0
    # Between two attempts to connect: doubled from the first to the second after each failure.
    backoff_seconds: tuple[float, float] = (0.1, 1.0)
    # Sent as the server's name in place of its address (containerd takes no socket's path).
    authority: str = ""


class Channel(ABC):
    """One server. Connects when it is first used, and again after the connection was lost."""

    def __init__(self) -> None:
        self._stubs: dict[str, Stub] = {}

    def stub(self, service: ServiceDescriptor) -> Stub:
        """The service's rpcs as attributes: `channel.stub(KV).Put(request, timeout=3)`."""
        stub = self._stubs.get(service.full_name)
        if stub is None:
            stub = self._stubs[service.full_name] = Stub(self, service)
        return stub

    @property
    @abstractmethod
    def connected(self) -> bool: ...

    @abstractmethod
    async def ready(self) -> None:
        """Return once connected. Waits a back-off out, tries once, raises RpcError."""

    @abstractmethod
    async def close(self) -> None: ...

    # What a stub asks for, ours and a generated one alike.

    @abstractmethod
    def unary_unary(self, path: str, *how: Any, **named: Any) -> Callable[..., Any]: ...

    @abstractmethod
    def unary_stream(self, path: str, *how: Any, **named: Any) -> Callable[..., Any]: ...

    @abstractmethod
    def stream_unary(self, path: str, *how: Any, **named: Any) -> Callable[..., Any]: ...

    @abstractmethod
    def stream_stream(self, path: str, *how: Any, **named: Any) -> Callable[..., Any]: ...


class Stub:
    """As the generated stubs, but from the descriptor: those import grpcio."""

    def __init__(self, channel: Channel, service: ServiceDescriptor) -> None:
        makers = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }
        for rpc in service.methods:
            make = makers[rpc.client_streaming, rpc.server_streaming]
            encode = GetMessageClass(rpc.input_type).SerializeToString
            decode = GetMessageClass(rpc.output_type).FromString
            path = f"/{service.full_name}/{rpc.name}"
            setattr(self, rpc.name, make(path, encode, decode))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Any]: ...
