"""Feeds sessions of both sides with broken HTTP/2: `python tools/fuzz_rpc.py --count N --seed S`.

In memory, no sockets. An input is a valid conversation (or loose frames), mutated: bytes
flipped, cut, repeated, frames reordered, lengths changed. What must hold: no crash, no hang,
memory within the limits, and every announced stream is told to have closed or is still open.
Prints the seed of an input that breaks a rule; the same seed replays it.
"""

from __future__ import annotations

import random
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kube.rpc.h2.session import Kind, Limits, Session
from kube.rpc.h2.wire import decode_block, decode_metadata, encode_block, is_grpc
from tools.fuzz import harness

MAGIC = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Small, so that limits are met often.
LIMITS = Limits(
    max_streams=8,
    stream_window=4096,
    connection_window=65535,
    max_header_bytes=1024,
    max_header_fields=16,
    max_message_bytes=3000,
    max_received_bytes=8000,
    max_unsent_bytes=20_000,
    stream_high_bytes=1000,
)
REQUEST = encode_block(
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/s/m"),
     ("te", "trailers"), ("content-type", "application/grpc"), ("x-bin", "AAE")]
)  # fmt: skip
PAGES = [
    encode_block([(":method", method), (":scheme", "http"), (":authority", "a"), (":path", "/p"),
                  *more])
    for method in ("GET", "POST")
    for more in ([], [("content-type", "application/json")])
]  # fmt: skip
HEAD = encode_block([(":status", "200"), ("content-type", "application/grpc")])
TRAILERS = encode_block([("grpc-status", "0"), ("grpc-message", "%41"), ("d-bin", "AA")])
FRAME_TYPES = range(11)
MAX_FRAME = 16 << 10


def message(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 10, 500, 2999, 3001)))


def conversation(rng: random.Random, *, to_server: bool) -> bytes:
    """Valid bytes as one side would say them."""
    client, server = Session(LIMITS, server=False), Session(LIMITS, server=True)
    said = b""
    for _ in range(rng.randint(1, 5)):
        asked = REQUEST if rng.random() < 0.7 else rng.choice(PAGES)
        client.request(asked, message(rng), end=rng.random() < 0.8)
        data, _ = client.pull()
        events = server.feed(data)
        said += data if to_server else b""
        for kind, _, stream, _, body in events:
            if kind == Kind.MESSAGE:
                server.consume(stream, len(body))
                server.answer(stream, HEAD, message(rng), rng.choice((TRAILERS, b"")))
        data, _ = server.pull()
        client.feed(data)
        said += data if not to_server else b""
    if rng.random() < 0.3:
        (client if to_server else server).ping(7)
        (client if to_server else server).goaway()
        said += (client if to_server else server).pull()[0]
    client.close()
    server.close()
    return said


def frames(data: bytes, *, magic: bool) -> list[bytes]:
    """The conversation in frames; the client's preface goes first and alone."""
    found = []
    at = 0
    if magic and data.startswith(MAGIC):
        found.append(MAGIC)
        at = len(MAGIC)
    while at + 9 <= len(data):
        length = int.from_bytes(data[at : at + 3], "big")
        found.append(data[at : at + 9 + length])
        at += 9 + length
    return found


def loose_frame(rng: random.Random) -> bytes:
    payload = rng.randbytes(rng.choice((0, 4, 5, 8, 30, 200)))
    head = struct.pack(">I", len(payload))[1:] + bytes(
        (rng.choice(FRAME_TYPES), rng.choice((0, 1, 4, 5, 8, 9, 0x20, 0xFF)))
    )
    return head + struct.pack(">I", rng.choice((0, 1, 2, 3, 5, 7, 1 << 31, 0x7FFFFFFF))) + payload


def mutate(rng: random.Random, parts: list[bytes]) -> list[bytes]:
    parts = list(parts)
    for _ in range(rng.randint(0, 4)):
        where = rng.randrange(len(parts))
        match rng.randrange(8):
            case 0:
                parts.insert(where + 1, loose_frame(rng))
            case 1:
                parts.insert(where, parts[rng.randrange(len(parts))])
            case 2:
                del parts[where]
            case 3:
                parts[where] = parts[where][: rng.randrange(len(parts[where]) + 1)]
            case 4:
                parts += [loose_frame(rng)] * rng.choice((1, 3, 50))
            case 5:
                other = rng.randrange(len(parts))
                parts[where], parts[other] = parts[other], parts[where]
            case _:
                flipped = bytearray(parts[where])
                if flipped:
                    flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
                parts[where] = bytes(flipped)
        if not parts:
            parts = [loose_frame(rng)]
    return parts


def drive(rng: random.Random, session: Session, parts: list[bytes], *, server: bool) -> None:
    """As an application would: answer what can be answered, sometimes late, sometimes not."""
    open_: set[int] = set()
    pages: set[int] = set()  # requests that are no gRPC: their bodies come in pieces
    if not server:
        for _ in range(rng.randint(0, 4)):
            stream = session.request(REQUEST, message(rng), end=rng.random() < 0.5)
            if stream > 0:
                open_.add(stream)
        session.pull()
    data = b"".join(parts)
    step = rng.choice((1 << 20, 1 << 20, 100, 7))
    for at in range(0, len(data), step):
        for kind, _, stream, _, body in session.feed(data[at : at + step]):
            react(rng, session, kind, stream, body, open_, pages, server=server)
        if rng.random() < 0.7:
            session.pull()
            for kind, _, stream, _, body in session.events():
                react(rng, session, kind, stream, body, open_, pages, server=server)
        check(session, open_)
        if session.error or session.done:
            break


def react(
    rng: random.Random, session: Session, kind: int, stream: int, body: bytes,
    open_: set[int], pages: set[int], *, server: bool,
) -> None:  # fmt: skip
    if kind in (Kind.HEADERS, Kind.TRAILERS):
        open_.add(stream)
        try:
            headers = decode_block(body)
            if kind == Kind.HEADERS and not is_grpc(headers):
                pages.add(stream)
            decode_metadata(headers)
        except ValueError:
            session.reset(stream, 1)
    elif kind == Kind.CLOSED:
        assert stream in open_, "closed and never opened"
        open_.discard(stream)
    elif kind == Kind.MESSAGE:
        assert stream in open_, "a message of a stream that is not open"
        most = MAX_FRAME if server and stream in pages else LIMITS.max_message_bytes
        assert len(body) <= most, "a message above the limit"
        if rng.random() < 0.8:
            session.consume(stream, len(body))
        if server:
            answer(rng, session, stream, body)
        elif rng.random() < 0.3:
            session.send(stream, body)
    elif kind == Kind.REFUSED:
        session.reset(stream, 8)


def answer(rng: random.Random, session: Session, stream: int, body: bytes) -> None:
    match rng.randrange(5):
        case 0:
            session.answer(stream, HEAD, body, TRAILERS)
        case 1:
            session.headers(stream, HEAD)
            session.send(stream, body)
        case 2:
            session.headers(stream, HEAD + TRAILERS, end=True)
        case 3 if rng.random() < 0.5:
            session.answer(stream, HEAD, body, b"")
        case 3:
            session.finish(stream, TRAILERS)
        case _:
            session.reset(stream, 2)


def check(session: Session, open_: set[int]) -> None:
    most = LIMITS.max_received_bytes + LIMITS.max_streams * 4 * (
        LIMITS.stream_window + LIMITS.max_message_bytes
    )
    assert session.received <= most, f"{session.received} bytes are held"
    assert session.unsent <= LIMITS.max_unsent_bytes + 2 * LIMITS.max_message_bytes
    assert session.streams <= LIMITS.max_streams + 8, f"{session.streams} streams"


def one(seed: int) -> int:
    # Test data, not secrets.
    rng = random.Random(seed)
    server = rng.random() < 0.7
    if rng.random() < 0.1:
        parts = [MAGIC, *(loose_frame(rng) for _ in range(rng.randint(1, 20)))]
    else:
        parts = frames(conversation(rng, to_server=server), magic=server)
    session = Session(LIMITS, server=server)
    drive(rng, session, mutate(rng, parts), server=server)
    session.close()
    return 1


if __name__ == "__main__":
    raise SystemExit(harness.main(__doc__, {"rpc": one}))
