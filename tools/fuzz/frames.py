"""What other members send, damaged: the connection ends, or what is read is what was sent.

Frames whose checksum was forged to fit reach a real acceptor: it may answer or close, but nothing
else happens, and nothing of it stays behind.
"""

from __future__ import annotations

import asyncio
import logging
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from master.kvstore.errors import StoreError
from master.kvstore.members import check_urls
from master.kvstore.raft.messages import (
    Entry,
    EntryKind,
    Membership,
    Message,
    MessageType,
    SnapshotMeta,
)
from master.kvstore.transport import frames
from master.kvstore.transport.frames import BadFrame, Frame, Hello, Request, Response, SnapshotPart
from master.kvstore.transport.server import PeerHandlers, PeerServer
from master.kvstore.wal.snapshot import SnapshotDirectory
from tools.fuzz.damage import damaged, in_memory, shuffled

_INPUTS = 40
_NEST = b"\x91" * 3000 + b"\xc0"  # an array in an array in an array ...


def episode(seed: int) -> int:
    rng = random.Random(seed)
    logging.disable(logging.WARNING)
    with asyncio.Runner() as runner, in_memory() as scratch:
        for number in range(_INPUTS):
            sent = _conversation(rng)
            if number % 2:
                runner.run(_read_damaged(rng, sent))
            else:
                data = b"".join(_forged(rng, one) for one in sent)
                runner.run(_served(_pieces(rng, data), SnapshotDirectory(scratch)))
    return _INPUTS


def _conversation(rng: random.Random) -> list[bytes]:
    hello = Hello(frames.PROTOCOL, 1, rng.choice((0, 2, 2, 2, 3)), 1, 5, ("http://127.0.0.1:1",))
    return [frames.encode(hello), *(_frame(rng) for _ in range(rng.randint(1, 6)))]


def _frame(rng: random.Random) -> bytes:
    meta = SnapshotMeta(
        rng.getrandbits(20), 3, Membership(frozenset((1, 2)), learners=frozenset((3,)))
    )
    some: Frame
    match rng.randrange(7):
        case 0:
            some = Request(rng.getrandbits(30), rng.choice(_METHODS), rng.choice(_PAYLOADS))
        case 1:
            some = Response(rng.getrandbits(30), rng.random() < 0.5, rng.randbytes(9))
        case 2:
            some = SnapshotPart(b"", _message(rng, meta))
        case 3:
            some = SnapshotPart(rng.randbytes(50), None, rng.random() < 0.5)
        case _:
            some = tuple(_message(rng, meta) for _ in range(rng.randint(0, 3)))
    return frames.encode(some)


_METHODS = ("ping", "digest", "cluster", "lease_renew", "none")
_PAYLOADS = (b"", b"7", b"-1", b"x", b"9" * 5000)


def _message(rng: random.Random, meta: SnapshotMeta) -> Message:
    return Message(
        rng.choice(tuple(MessageType)),
        1,
        2,
        rng.getrandbits(10),
        rng.getrandbits(20),
        entries=tuple(
            Entry(1, index, rng.randbytes(rng.choice((0, 30))), rng.choice(tuple(EntryKind)))
            for index in range(rng.randrange(4))
        ),
        context=rng.randbytes(rng.choice((0, 8))),
        snapshot=meta if rng.random() < 0.5 else None,
    )


async def _read_damaged(rng: random.Random, sent: list[bytes]) -> None:
    """Only what was sent may be read, or what else was on the line."""
    foreign = _frame(rng)
    known = [await _decoded(one) for one in (*sent, foreign)]
    if rng.random() < 0.3:
        sent = shuffled(rng, sent)
    reader = frames.FrameReader()
    found: list[Frame] = []
    if rng.random() < 0.5:
        reader.deliver = lambda batch, size: found.append(batch)
    whole = b"".join(sent)
    data = damaged(rng, whole, foreign) if rng.random() < 0.9 else whole
    for piece in _pieces(rng, data):
        reader.feed_data(piece)
    reader.feed_eof()
    try:
        while True:
            found.append((await frames.read(reader))[0])
    except (BadFrame, asyncio.IncompleteReadError):
        for frame in found:
            assert frame in known, f"never sent: {frame}"
        assert data != whole or len(found) == len(sent), "not all that came was read"


def _pieces(rng: random.Random, data: bytes) -> Iterator[bytes]:
    """As they may arrive."""
    step = rng.choice((1 << 20, 1 << 20, 200, 50, 5))
    return (data[at : at + step] for at in range(0, len(data), step))


async def _decoded(data: bytes) -> Frame:
    return (await frames.read(_fed(data)))[0]


def _fed(data: bytes) -> frames.FrameReader:
    reader = frames.FrameReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


def _forged(rng: random.Random, frame: bytes) -> bytes:
    """Another content, a checksum that fits it."""
    if rng.random() < 0.6:
        return frame
    kind, payload = frame[8], frame[9:]
    if rng.random() < 0.1:
        kind = rng.randrange(256)
    if rng.random() < 0.05 and 0x90 <= payload[0] < 0x9F:  # one more field, as of a later version
        payload = bytes((payload[0] + 1,)) + payload[1:] + _NEST
    else:
        payload = damaged(rng, payload)
    return struct.pack(">IIB", len(payload) + 1, zlib.crc32(payload, kind), kind) + payload


class _Memory(asyncio.Transport):
    """Where the acceptor's answers go."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


async def _served(pieces: Iterator[bytes], snapshots: SnapshotDirectory) -> None:
    """As for a connection that ends after `pieces`: it is closed, and no task is left."""
    loop = asyncio.get_running_loop()
    failures: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    transport = _Memory()
    reader = frames.FrameReader()
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    server = PeerServer(Hello(frames.PROTOCOL, 1, 1, 0, 9), _handlers(snapshots))
    serving = asyncio.create_task(server._accepted(reader, writer))
    for piece in pieces:
        reader.feed_data(piece)
        await asyncio.sleep(0)
    reader.feed_eof()
    await serving
    await asyncio.sleep(0)
    assert transport.closed, "the connection was left open"
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        await asyncio.wait([task])
    assert not failures, failures
    for frame in await _frames(bytes(transport.written)):
        assert isinstance(frame, Hello | Response), f"answered by {frame}"


async def _frames(data: bytes) -> list[Frame]:
    reader, found = _fed(data), []
    while not reader.at_eof():
        found.append((await frames.read(reader))[0])
    return found


def _handlers(snapshots: SnapshotDirectory) -> PeerHandlers:
    async def request(method: str, payload: bytes) -> bytes:
        if method == "none":
            raise StoreError
        return str(int(payload)).encode() if payload else b""

    async def snapshot(message: Message, received: Path) -> None:
        if received.stat().st_size % 2:
            raise StoreError("refused")

    return PeerHandlers(
        removed=lambda member: member == 3,
        greeted=lambda hello: check_urls(hello.peer_urls) if hello.peer_urls else None,
        messages=lambda messages: None,
        request=request,
        incoming=snapshots.incoming,
        snapshot=snapshot,
        received=lambda member, size: None,
    )
