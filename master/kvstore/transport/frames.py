"""What travels between members: a length, a kind, a msgpack payload.

A connection begins with a `Hello` from each side. Afterwards the dialler sends messages and
requests, the acceptor answers requests; a snapshot has a connection of its own.
"""

from __future__ import annotations

import asyncio
import enum

import msgspec

from master.kvstore.raft.messages import Message

PROTOCOL = 1
MAX_FRAME_BYTES = 64 << 20
REMOVED = b"removed"  # instead of a hello, to one who is in the cluster no more
_LENGTH_BYTES = 4


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


_encode = msgspec.msgpack.Encoder().encode
_MESSAGES = msgspec.msgpack.Decoder(tuple[Message, ...])
_DECODERS: dict[FrameKind, msgspec.msgpack.Decoder[object]] = {
    FrameKind.HELLO: msgspec.msgpack.Decoder(Hello),
    FrameKind.MESSAGES: _MESSAGES,  # type: ignore[dict-item]
    FrameKind.REQUEST: msgspec.msgpack.Decoder(Request),
    FrameKind.RESPONSE: msgspec.msgpack.Decoder(Response),
    FrameKind.SNAPSHOT: msgspec.msgpack.Decoder(SnapshotPart),
}
Frame = Hello | tuple[Message, ...] | Request | Response | SnapshotPart
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
    return (len(payload) + 1).to_bytes(_LENGTH_BYTES, "big") + bytes((kind,)) + payload


async def read(reader: asyncio.StreamReader) -> tuple[Frame, int]:
    """The next frame and its size. BadFrame before anything large is allocated for it."""
    length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    if not 1 <= length <= MAX_FRAME_BYTES:
        raise BadFrame(f"frame of {length} bytes")
    data = await reader.readexactly(length)
    try:
        frame = _DECODERS[FrameKind(data[0])].decode(memoryview(data)[1:])
    except (ValueError, msgspec.MsgspecError) as error:
        raise BadFrame(str(error)) from error
    return frame, length + _LENGTH_BYTES  # type: ignore[return-value]
