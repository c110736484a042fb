"""One HTTP/2 connection that carries gRPC, without I/O and without a clock.

Bytes go in by `feed`, which returns whole events; what is to be sent comes out of `pull`.
Everything here is a thin face of the shim, which `shim.h` describes.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from kube.rpc.errors import Code, RpcError
from kube.rpc.h2.binding import load

_HEAD = struct.Struct("<BBiII")
_PULL_BYTES = 64 << 10

# Results below 0 that callers tell apart (the shim's enum).
GONE = -2
FULL = -3

NO_ERROR = 0x0
INTERNAL_ERROR = 0x2
REFUSED_STREAM = 0x7
CANCEL = 0x8
ENHANCE_YOUR_CALM = 0xB


class Kind(enum.IntEnum):
    HEADERS = 1
    MESSAGE = 2
    END = 3  # the peer has said everything, without trailers
    TRAILERS = 4
    CLOSED = 5
    DRAINED = 6  # a stream that was told to wait may send again
    GOAWAY = 7
    PONG = 8
    REFUSED = 9  # `code` is a Refusal; nothing more of this stream will be delivered
    SETTINGS = 10


class Refusal(enum.IntEnum):
    TOO_LARGE = 1
    COMPRESSED = 2
    TRUNCATED = 3
    TOO_MUCH = 4


_REFUSALS = {
    Refusal.TOO_LARGE: (Code.RESOURCE_EXHAUSTED, "received message larger than max"),
    Refusal.COMPRESSED: (Code.INTERNAL, "a message is compressed, and no grpc-encoding was named"),
    Refusal.TRUNCATED: (Code.INTERNAL, "the stream ended inside a message"),
    Refusal.TOO_MUCH: (Code.RESOURCE_EXHAUSTED, "too many bytes wait on this connection"),
}


def refusal(code: int) -> RpcError:
    status, message = _REFUSALS[Refusal(code)]
    return RpcError(message, status)


# kind, ends the peer's side, stream, code, payload. A tuple: there are three per call.
Event = tuple[int, int, int, int, bytes]


class SessionError(Exception):
    """The connection is beyond use and must be closed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The shim's h2_limits; the comments there say what each one bounds."""

    max_streams: int = 1000
    stream_window: int = 1 << 20
    connection_window: int = 8 << 20
    max_header_bytes: int = 16 << 10
    max_header_fields: int = 128
    max_strikes: int = 10
    max_message_bytes: int = 4 << 20
    max_received_bytes: int = 64 << 20
    max_unsent_bytes: int = 64 << 20
    stream_high_bytes: int = 256 << 10
    resets_burst: int = 1000
    resets_per_second: int = 100


class Session:
    """Calls after `close` do nothing and say GONE."""

    def __init__(self, limits: Limits, *, server: bool) -> None:
        self._ffi, self._lib = load()
        wanted = self._ffi.new("h2_limits *", {"server": int(server), **asdict(limits)})
        handle = self._lib.h2_new(wanted)
        if handle == self._ffi.NULL:
            raise MemoryError
        self._handle = self._ffi.gc(handle, self._lib.h2_free)
        self._view = self._lib.h2_look(handle)
        self.error = 0

    def close(self) -> None:
        """Free the C side now rather than when Python collects it."""
        if self._handle is not None:
            self._ffi.release(self._handle)
            self._handle = self._view = None

    @property
    def closed(self) -> bool:
        return self._handle is None

    def feed(self, data: bytes) -> list[Event]:
        """What `data` completes. `error` is set once the connection is beyond use."""
        if self._handle is None:
            return []
        self.error = self._lib.h2_feed(self._handle, data, len(data))
        return self.events()

    def events(self) -> list[Event]:
        """Those that sending has caused (DRAINED, CLOSED) or `feed` has left."""
        view = self._view
        if view is None or not view.events_len:
            return []
        data = self._ffi.buffer(view.events, view.events_len)[:]
        self._lib.h2_clear(self._handle)
        return list(_split(data))

    def pull(self) -> tuple[bytes, bool]:
        """Bytes to send, and whether there may be more."""
        if self._handle is None:
            return b"", False
        more = self._lib.h2_pull(self._handle, _PULL_BYTES)
        if more < 0:
            self.error = more
        length = self._view.out_len
        return (self._ffi.buffer(self._view.out, length)[:] if length else b""), more > 0

    @property
    def done(self) -> bool:
        return self._handle is None or bool(self._lib.h2_done(self._handle))

    @property
    def unsent(self) -> int:
        return int(self._view.unsent) if self._view is not None else 0

    @property
    def received(self) -> int:
        return int(self._view.received) if self._view is not None else 0

    @property
    def streams(self) -> int:
        return int(self._view.streams) if self._view is not None else 0

    def request(self, block: bytes, message: bytes | None, *, end: bool) -> int:
        """Open a stream; its number, or below 0."""
        if self._handle is None:
            return GONE
        length = -1 if message is None else len(message)
        return int(
            self._lib.h2_request(self._handle, block, len(block), message or b"", length, int(end))
        )

    def headers(self, stream: int, block: bytes, *, end: bool = False) -> int:
        if self._handle is None:
            return GONE
        return int(self._lib.h2_headers(self._handle, stream, block, len(block), int(end)))

    def send(self, stream: int, message: bytes) -> int:
        """Bytes that wait on the stream now, GONE, or FULL: nothing was taken, try later."""
        if self._handle is None:
            return GONE
        return int(self._lib.h2_send(self._handle, stream, message, len(message)))

    def finish(self, stream: int, trailers: bytes = b"") -> int:
        if self._handle is None:
            return GONE
        return int(self._lib.h2_finish(self._handle, stream, trailers, len(trailers)))

    def answer(self, stream: int, block: bytes, message: bytes, trailers: bytes) -> int:
        """Headers, one message and trailers at once."""
        if self._handle is None:
            return GONE
        return int(
            self._lib.h2_answer(
                self._handle, stream, block, len(block), message, len(message),
                trailers, len(trailers),
            )
        )  # fmt: skip

    def reset(self, stream: int, code: int) -> int:
        if self._handle is None:
            return GONE
        return int(self._lib.h2_reset(self._handle, stream, code))

    def consume(self, stream: int, size: int) -> bool:
        """The application has taken a message of `size` bytes; True: tell the peer."""
        if self._handle is None:
            return False
        return int(self._lib.h2_consume(self._handle, stream, size)) > 0

    def ping(self, payload: int = 0) -> None:
        if self._handle is not None:
            self._lib.h2_ping(self._handle, payload)

    def notice(self) -> None:
        """Tell the peer to open no more streams (a GOAWAY that refuses none yet)."""
        if self._handle is not None:
            self._lib.h2_notice(self._handle)

    def goaway(self, code: int = NO_ERROR) -> None:
        if self._handle is not None:
            self._lib.h2_goaway(self._handle, code)


def _split(data: bytes) -> Iterator[Event]:
    at, end = 0, len(data)
    unpack, size = _HEAD.unpack_from, _HEAD.size
    while at < end:
        kind, flags, stream, code, length = unpack(data, at)
        at += size
        yield kind, flags, stream, code, data[at : at + length]
        at += length
