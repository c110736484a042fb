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
_DECODERS: dict[FrameKind, Callable[[memoryview], Frame]] = {
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
    if _crc(kind, payload) != crc:
        raise BadFrame("damaged on its way")
    try:
        frame = _DECODERS[FrameKind(kind)](memoryview(payload))
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise BadFrame(str(error)) from error
    return frame, length + _HEAD.size - _KIND_BYTES


def _crc(kind: int, payload: bytes) -> int:
    return zlib.crc32(payload, kind)
