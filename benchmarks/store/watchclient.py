"""A client of many watches that only counts what it is sent, so that servers are the bottleneck.

It speaks as much HTTP/2 (RFC 9113) as that takes: opens streams with windows that never close,
acknowledges SETTINGS and PING, and looks for a marker in the DATA of each stream.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from kube.stubs.etcd import rpc_pb2

_HEAD = struct.Struct(">HBBBI")  # length (24 bits), type, flags, stream
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_HEADERS = 1, 4
_MOST = (1 << 31) - 1
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_INITIAL_WINDOW_SIZE = 4  # the setting's number
_REFILL_BYTES = 1 << 30
_READ_BYTES = 1 << 20


class WatchClient:
    """Watches of `key`, one connection for each port given; counts `marker` in what comes."""

    def __init__(self, key: bytes, marker: bytes) -> None:
        self._key, self._marker = key, marker
        self._connections: list[_Connection] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for connection in self._connections:
            connection.socket.close()
        self._selector.close()

    def connect(self, port: int, streams: int, watches: int) -> None:
        """One more connection with so many streams of so many watches each."""
        connection = _Connection(port, self._key, self._marker, streams, watches)
        self._connections.append(connection)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)

    @property
    def count(self) -> int:
        return sum(connection.count for connection in self._connections)

    def look_for(self, marker: bytes) -> None:
        """Count this one from now on."""
        for connection in self._connections:
            connection.look_for(marker)

    def receive(self, wanted: int, seconds: float, *, quiet_seconds: float = 0) -> bool:
        """Read until `wanted` markers have come. False: not within that time, or too long
        nothing at all."""
        deadline = time.monotonic() + seconds
        while self.count < wanted:
            ready = self._selector.select(quiet_seconds or 0.5)
            if (quiet_seconds and not ready) or time.monotonic() > deadline:
                return False
            for key, _ in ready:
                key.data.read()
        return True


class _Connection:
    def __init__(self, port: int, key: bytes, marker: bytes, streams: int, watches: int) -> None:
        self.count = 0
        self._credit = 0
        self._rest = b""
        self._last: dict[int, bytes] = {}
        self.look_for(marker)
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, _MOST)
        window = struct.pack(">I", _MOST - 65535)
        self.socket.sendall(
            _PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW, 0, 0, window)
        )
        request = rpc_pb2.WatchRequest(
            create_request=rpc_pb2.WatchCreateRequest(key=key)
        ).SerializeToString()
        create = b"\0" + struct.pack(">I", len(request)) + request
        block = _header_block(port)
        for stream in range(1, 2 * streams, 2):
            self.socket.sendall(_frame(_HEADERS, _END_HEADERS, stream, block))
            self.socket.sendall(_frame(_DATA, 0, stream, create) * watches)

    def look_for(self, marker: bytes) -> None:
        self._marker = marker
        self._keep = len(marker) - 1
        self.count = 0
        self._last.clear()

    def read(self) -> None:
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise SystemExit("a watched member closed the connection")
        self._credit += len(data)
        if self._credit >= _REFILL_BYTES:
            self.socket.sendall(_frame(_WINDOW, 0, 0, struct.pack(">I", self._credit)))
            self._credit = 0
        data = self._rest + data
        at, end = 0, len(data) - 9
        while at <= end:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            following = at + 9 + (high << 8 | low)
            if following > len(data):
                break
            if kind == _DATA:
                self._look(stream, data[at + 9 : following])
            elif kind in (_SETTINGS, _PING) and not flags & _ACK:
                echo = data[at + 9 : following] if kind == _PING else b""
                self.socket.sendall(_frame(kind, _ACK, 0, echo))
            elif kind in (_RST, _GOAWAY):
                raise SystemExit(f"a watched member ended a stream: frame type {kind}")
            at = following
        self._rest = data[at:]

    def _look(self, stream: int, payload: bytes) -> None:
        """A marker may be cut in two by the frames of its stream."""
        text = self._last.get(stream, b"") + payload
        self.count += text.count(self._marker)
        self._last[stream] = text[-self._keep :]


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _HEAD.pack(len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload


def _header_block(port: int) -> bytes:
    """HPACK (RFC 7541 6.2.2): literals without indexing, each name and value as it is."""
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/etcdserverpb.Watch/Watch"),
        (":authority", f"127.0.0.1:{port}"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    )
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)


def _text(text: str) -> bytes:
    data = text.encode()
    assert len(data) < 127
    return bytes((len(data),)) + data


def spread(total: int, parts: int) -> Sequence[int]:
    """`total` in `parts` nearly equal numbers."""
    return [total // parts + (number < total % parts) for number in range(parts)]
