"""What travels between members: a length, a checksum, a kind, a msgpack payload.

A connection begins with a `Hello` from each side. Afterwards the dialler sends messages and
requests, the acceptor answers requests; a snapshot has a connection of its own.
"""

from __future__ import annotations

import asyncio
import enum
import struct
import zlib
from collections.abc import Callable

import msgspec

from master.kvstore.raft.messages import Message

PROTOCOL = 2
MAX_FRAME_BYTES = 64 << 20
REMOVED = b"removed"  # instead of a hello, to one who is in the cluster no more
# Length of what follows the head's first two fields, crc32 of it, its kind. TCP's own checksum
# lets one damaged segment in 65,536 pass, and without TLS nothing else would notice.
_HEAD = struct.Struct(">IIB")
_KIND_BYTES = 1


class FrameKind(enum.IntEnum):
    HELLO = 0
    MESSAGES = 1
    REQUEST = 2
    RESPONSE = 3
    SNAPSHOT = 4


class BadFrame(Exception):
    """What came is not this protocol. The connection is closed; the member goes on."""


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """`incarnation` is new for each start of a process: a change of it tells of a restart."""

    protocol: int
    cluster_id: int
    sender: int
    to: int
    incarnation: int
    peer_urls: tuple[str, ...] = ()  # where the sender listens, for one who has not heard of it

    @property
    def stranger(self) -> bool:
        """Somebody who was added but knows no ids yet. May ask about the cluster, no more."""
        return not self.sender


class Request(msgspec.Struct, frozen=True, array_like=True):
    id: int
    method: str
    payload: bytes = b""


class Response(msgspec.Struct, frozen=True, array_like=True):
    id: int
    ok: bool
    payload: bytes = b""


class SnapshotPart(msgspec.Struct, frozen=True, array_like=True):
    """The first part carries Raft's message; the answer to it is how many bytes are there
    already, from an attempt that broke off. The last part says so."""

    data: bytes
    message: Message | None = None
    last: bool = False


Frame = Hello | tuple[Message, ...] | Request | Response | SnapshotPart
_encode = msgspec.msgpack.Encoder().encode
_DECODERS: dict[FrameKind, Callable[[bytes | bytearray], Frame]] = {
    FrameKind.HELLO: msgspec.msgpack.Decoder(Hello).decode,
    FrameKind.MESSAGES: msgspec.msgpack.Decoder(tuple[Message, ...]).decode,
    FrameKind.REQUEST: msgspec.msgpack.Decoder(Request).decode,
    FrameKind.RESPONSE: msgspec.msgpack.Decoder(Response).decode,
    FrameKind.SNAPSHOT: msgspec.msgpack.Decoder(SnapshotPart).decode,
}
_KINDS: dict[type, FrameKind] = {
    Hello: FrameKind.HELLO,
    tuple: FrameKind.MESSAGES,
    Request: FrameKind.REQUEST,
    Response: FrameKind.RESPONSE,
    SnapshotPart: FrameKind.SNAPSHOT,
}


def encode(frame: Frame) -> bytes:
    payload = _encode(frame)
    kind = _KINDS[type(frame)]
    return _HEAD.pack(len(payload) + _KIND_BYTES, _crc(kind, payload), kind) + payload


async def read(reader: asyncio.StreamReader) -> tuple[Frame, int]:
    """The next frame and its size. BadFrame before anything large is allocated for it."""
    length, crc, kind = _HEAD.unpack(await reader.readexactly(_HEAD.size))
    if not _KIND_BYTES <= length <= MAX_FRAME_BYTES:
        raise BadFrame(f"frame of {length} bytes")
    payload = await reader.readexactly(length - _KIND_BYTES)
    return _decode(crc, kind, payload), length + _HEAD.size - _KIND_BYTES


def _decode(crc: int, kind: int, payload: bytes | bytearray) -> Frame:
    if _crc(kind, payload) != crc:
        raise BadFrame("damaged on its way")
    try:
        return _DECODERS[FrameKind(kind)](payload)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise BadFrame(str(error)) from error


class FrameReader(asyncio.StreamReader):
    """A stream for `read` that hands batches of messages to `deliver` in the turn of the loop in
    which they arrive. They are nearly all there is between members, and waking a coroutine
    for each would cost more than all the rest that is done with one."""

    deliver: Callable[[tuple[Message, ...], int], None] | None = None  # a batch and its size

    def __init__(self) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._part = bytearray()  # the beginning of a frame
        self._through = 0  # what is still to come of a frame that is for `read`

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # asyncio gives bytes
        if self.exception() is not None:
            return
        if self._part:
            self._part += data
            del self._part[: self._split(self._part)]
        elif (done := self._split(data)) < len(data):
            self._part += data[done:]

    def _split(self, data: bytes | bytearray) -> int:
        """Give away what is whole. How much of `data` that was."""
        at = 0
        while True:
            if self._through:
                piece = data[at : at + self._through]
                super().feed_data(piece)
                at += len(piece)
                self._through -= len(piece)
            if len(data) - at < _HEAD.size:
                return at
            length, crc, kind = _HEAD.unpack_from(data, at)
            body = at + _HEAD.size
            end = body + length - _KIND_BYTES
            fits = _KIND_BYTES <= length <= MAX_FRAME_BYTES
            if self.deliver is None or kind != FrameKind.MESSAGES or not fits:
                self._through = max(end, body) - at
            elif len(data) < end:
                return at
            else:
                try:
                    frame = _decode(crc, kind, data[body:end])
                except BadFrame as error:
                    self.set_exception(error)
                    return len(data)
                assert isinstance(frame, tuple)
                self.deliver(frame, end - at)
                at = end


def _crc(kind: int, payload: bytes | bytearray) -> int:
    return zlib.crc32(payload, kind)
