"""A peer that means harm gets an error or a closed connection, and costs bounded memory."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from kube.rpc.errors import Code, RpcError
from kube.rpc.h2.binding import why_not
from kube.rpc.h2.client import Channel
from kube.rpc.h2.connection import Settings
from kube.rpc.h2.session import Event, Kind, Limits, Session
from kube.rpc.h2.wire import decode_block, encode_block
from kube.stubs.etcd.rpc_pb2 import PutRequest as Msg
from tests.component.rpc_echo import (
    SERVICE,
    Recorder,
    caller,
    channel,
    echo_server,
    failure,
    until,
)
from tests.component.rpc_frames import (
    CALM,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAGIC,
    MESSAGE,
    PADDED,
    PING,
    REQUEST,
    RST,
    SETTINGS,
    WINDOW,
    frame,
    literal,
)

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"the shim: {why_not()}")


class Attacker:
    """A raw connection that can read frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.sent = 0

    async def send(self, data: bytes) -> bool:
        """False once the server has closed."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError:
            return False
        self.sent += len(data)
        return not self.reader.at_eof()

    async def frames(self) -> list[tuple[int, int, int, bytes]]:
        """What the server says until it closes."""
        found = []
        try:
            async with asyncio.timeout(60):
                while True:
                    head = await self.reader.readexactly(9)
                    length = int.from_bytes(head[:3], "big")
                    kind, flags, stream = struct.unpack(">BBI", head[3:])
                    found.append((kind, flags, stream, await self.reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return found

    async def goaway(self) -> int | None:
        """The code of the GOAWAY with which the server closes, None if it just closes."""
        for kind, _, _, payload in await self.frames():
            if kind == GOAWAY:
                return int.from_bytes(payload[4:8], "big")
        return None


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


_attackers: list[Attacker] = []


@pytest.fixture(autouse=True)
async def hang_up() -> AsyncIterator[None]:
    """Every attacker's socket is closed, whatever the test said."""
    yield
    while _attackers:
        writer = _attackers.pop().writer
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


SETTINGS_FOR_TEST = Settings(
    limits=Limits(max_unsent_bytes=8 << 20), handshake_seconds=1.0, stall_seconds=0.5,
)  # fmt: skip


@pytest.fixture
async def port(seen: Recorder) -> AsyncIterator[int]:
    """A server that must still serve after each attack."""
    async with echo_server("nghttp2", seen, settings=SETTINGS_FOR_TEST) as port:
        yield port
        async with channel("grpcio", port) as honest:
            assert await caller(honest, "Unary")(Msg(key=b"ok"), timeout=60) == Msg(key=b"ok")


async def attack(port: int, *, greet: bool = True) -> Attacker:
    attacker = Attacker(*await asyncio.open_connection("127.0.0.1", port))
    _attackers.append(attacker)
    if greet:
        await attacker.send(MAGIC + frame(SETTINGS, 0, 0))
    return attacker


async def flood(attacker: Attacker, piece: bytes, most: int) -> bool:
    """Send `piece` over and over; whether the server stopped it before `most` bytes."""
    while attacker.sent < most:
        if not await attacker.send(piece):
            return True
        await asyncio.sleep(0)
    return False


def opened(stream: int, flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream, REQUEST)


async def test_rapid_reset(port: int, seen: Recorder) -> None:
    attacker = await attack(port)
    burst = b"".join(
        opened(stream) + frame(RST, 0, stream, struct.pack(">I", 8)) for stream in range(1, 8001, 2)
    )
    await attacker.send(burst)
    await attacker.frames()  # until it closes; that may overtake the GOAWAY
    await until(lambda: seen.running == 0)
    assert len(seen.codes) <= 2100


@pytest.mark.parametrize(
    "piece",
    [frame(PING, 0, 0, b"12345678") * 1000, frame(SETTINGS, 0, 0) * 1000],
    ids=["ping", "settings"],
)
async def test_floods_that_want_answers(port: int, piece: bytes) -> None:
    assert await flood(await attack(port), piece, 64 << 20)


async def test_continuation_flood(port: int) -> None:
    attacker = await attack(port)
    await attacker.send(frame(HEADERS, 0, 1, REQUEST))
    field = literal(b"x", b"y" * 1000)
    assert await flood(attacker, frame(CONTINUATION, 0, 1, field) * 10, 4 << 20)


def bomb(times: int) -> bytes:
    """4 KB in the dynamic table, then references to it of one byte each."""
    return REQUEST + literal(b"x-bomb", b"b" * 4000, index=True) + b"\xbe" * times


async def test_a_block_of_many_header_bytes_is_reset(port: int) -> None:
    attacker = await attack(port)
    await attacker.send(frame(HEADERS, END_HEADERS, 1, bomb(20)))
    await attacker.send(opened(3) + frame(DATA, END_STREAM, 3, MESSAGE))
    await attacker.send(frame(GOAWAY, 0, 0, b"\0" * 8))
    frames = await attacker.frames()
    resets = [(stream, payload) for kind, _, stream, payload in frames if kind == RST]
    assert resets == [(1, struct.pack(">I", CALM))]
    assert [s for kind, flags, s, _ in frames if kind == HEADERS and flags & END_STREAM] == [3]


async def test_hpack_bomb(port: int) -> None:
    attacker = await attack(port)
    await attacker.send(frame(HEADERS, END_HEADERS, 1, bomb(12_000)))
    await attacker.frames()  # until it closes


async def test_repeated_large_blocks_end_the_connection(port: int) -> None:
    attacker = await attack(port)
    for number in range(20):
        await attacker.send(frame(HEADERS, END_HEADERS, 2 * number + 1, bomb(20)))
    assert await attacker.goaway() in (CALM, None)  # the close may overtake it


async def test_too_many_fields(port: int) -> None:
    attacker = await attack(port)
    await attacker.send(frame(HEADERS, END_HEADERS, 1, REQUEST + literal(b"a", b"") * 200))
    await attacker.send(frame(GOAWAY, 0, 0, b"\0" * 8))
    assert [s for kind, _, s, _ in await attacker.frames() if kind == RST] == [1]


BAD = {
    "no-preface": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + b"x" * 100,
    "oversize": MAGIC + frame(SETTINGS, 0, 0) + b"\xff\xff\xff" + b"\0\0\0\0\0\1",
    "padding": MAGIC + frame(SETTINGS, 0, 0) + opened(1) + frame(DATA, PADDED, 1, b"\xff"),
    "index": MAGIC + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\x0f"),
    "even-stream": MAGIC + frame(SETTINGS, 0, 0) + opened(2),
    "data-on-idle": MAGIC + frame(SETTINGS, 0, 0) + frame(DATA, 0, 7, b"x"),
    "window": MAGIC + frame(SETTINGS, 0, 0) + frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff"),
    "zero-window-update": MAGIC + frame(SETTINGS, 0, 0) + frame(WINDOW, 0, 0, b"\0\0\0\0"),
    "settings-length": MAGIC + frame(SETTINGS, 0, 0, b"abc"),
    "ping-length": MAGIC + frame(SETTINGS, 0, 0) + frame(PING, 0, 0, b"abc"),
    "lone-continuation": MAGIC + frame(SETTINGS, 0, 0) + frame(CONTINUATION, 4, 1, b""),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
async def test_bad_frames_end_the_connection(port: int, data: bytes) -> None:
    attacker = await attack(port, greet=False)
    await attacker.send(data)
    await attacker.frames()  # returns only when the server closes


async def test_a_length_prefix_reserves_nothing(port: int, seen: Recorder) -> None:
    """A message that announces 4 MB and sends none costs what was sent."""
    session = Session(Limits(), server=True)
    session.feed(MAGIC + frame(SETTINGS, 0, 0))
    for stream in range(1, 1001, 2):
        session.feed(opened(stream) + frame(DATA, 0, stream, b"\0\0\x3f\xff\xff1234"))
    assert session.received == 500 * 4
    session.close()


async def test_messages_that_nobody_takes_are_bounded(port: int) -> None:
    limits = Limits(max_received_bytes=1 << 20, stream_window=1 << 20)
    session = Session(limits, server=True)
    session.feed(MAGIC + frame(SETTINGS, 0, 0))
    part = b"p" * 16_000
    for stream in range(1, 401, 2):
        session.feed(opened(stream) + frame(DATA, 0, stream, b"\0\0\x1f\xff\xff" + part))
    assert session.received <= 1 << 20
    session.close()


async def test_a_reader_with_a_zero_window(port: int, seen: Recorder) -> None:
    """Its answers wait within the cap; above the cap they are dropped, never piled up."""
    attacker = await attack(port, greet=False)
    no_window = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    await attacker.send(MAGIC + no_window)
    want = Msg(key=b"big", value=b"1000000").SerializeToString()
    body = b"\0" + struct.pack(">I", len(want)) + want
    for number in range(50):
        stream = 2 * number + 1
        await attacker.send(opened(stream) + frame(DATA, END_STREAM, stream, body))
    await until(lambda: len(seen.codes) == 50)
    codes = [code for _, code in seen.codes]
    assert codes.count(Code.OK) <= 9
    assert codes.count(Code.RESOURCE_EXHAUSTED) >= 41
    attacker.writer.close()


async def test_readers_with_zero_windows_are_bounded_together(seen: Recorder) -> None:
    """Each leaves less unread than a connection may; all of them together too much: some go."""
    settings = Settings(max_unsent_bytes_of_all=4 << 20)
    want = Msg(key=b"big", value=b"1000000").SerializeToString()
    body = b"\0" + struct.pack(">I", len(want)) + want
    no_window = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    async with echo_server("nghttp2", seen, settings=settings) as port:
        attackers = [await attack(port, greet=False) for _ in range(10)]
        for attacker in attackers:
            await attacker.send(MAGIC + no_window + opened(1) + frame(DATA, END_STREAM, 1, body))
        ends = [asyncio.create_task(one.reader.read()) for one in attackers]
        await until(lambda: sum(end.done() for end in ends) == 6)
        async with channel("grpcio", port) as honest:
            assert await caller(honest, "Unary")(Msg(key=b"ok"), timeout=60) == Msg(key=b"ok")
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)


async def test_more_answers_than_the_cap_for_an_honest_reader(seen: Recorder) -> None:
    """A burst above the cap waits for the reader; nothing is lost."""
    settings = Settings(limits=Limits(max_unsent_bytes=2 << 20))
    async with (
        echo_server("nghttp2", seen, settings=settings) as port,
        channel("grpcio", port) as open_,
    ):
        call = caller(open_, "Unary")
        big = Msg(key=b"big", value=b"1000000")
        answers = await asyncio.gather(*(call(big, timeout=60) for _ in range(25)))
    assert {len(answer.value) for answer in answers} == {1_000_000}


async def test_a_client_that_never_reads(port: int, seen: Recorder) -> None:
    """The socket fills; the server stops reading for it at a bound, or closes."""
    attacker = await attack(port)
    attacker.writer.transport.pause_reading()
    piece = b"".join(
        opened(2 * n + 1) + frame(DATA, END_STREAM, 2 * n + 1, MESSAGE) for n in range(200)
    )
    await attacker.send(piece)
    await until(lambda: len(seen.codes) == 200)
    attacker.writer.close()


async def test_silence_instead_of_a_preface(port: int) -> None:
    attacker = await attack(port, greet=False)
    assert await attacker.frames() is not None  # closed after handshake_seconds


async def test_a_dead_peer_is_pinged_and_given_up(seen: Recorder) -> None:
    settings = Settings(keepalive_seconds=0.5, keepalive_timeout_seconds=0.5)
    async with echo_server("nghttp2", seen, settings=settings) as port:
        attacker = await attack(port)
        frames = await attacker.frames()
    assert PING in [kind for kind, flags, *_ in frames if flags == 0]


async def test_an_idle_connection_is_closed_kindly(seen: Recorder) -> None:
    settings = replace(SETTINGS_FOR_TEST, idle_seconds=0.3)
    async with (
        echo_server("nghttp2", seen, settings=settings) as port,
        channel("nghttp2", port) as open_,
    ):
        call = caller(open_, "Unary")
        await call(Msg())
        await until(lambda: open_.connection is None)
        assert await call(Msg(key=b"again")) == Msg(key=b"again")


@pytest.mark.parametrize(
    ("path", "kind", "status"), [("GET", "application/grpc", "405"), ("POST", "text/html", "415")]
)
async def test_what_is_no_grpc_is_told_so(port: int, path: str, kind: str, status: str) -> None:
    client = Session(Limits(), server=False)
    fields = [(":method", path), (":scheme", "http"), (":authority", "a"), (":path", "/")]
    client.request(encode_block([*fields, ("content-type", kind)]), None, end=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(client.pull()[0])
    events: list[Event] = []
    async with asyncio.timeout(60):
        while not (heads := [e for e in events if e[0] == Kind.HEADERS]):
            events += client.feed(await reader.read(65536))
    assert decode_block(heads[0][4])[":status"] == status
    writer.close()
    client.close()


# -- hostile servers


async def served(answer: Callable[[int], bytes]) -> tuple[asyncio.Server, int]:
    """A server that sends `answer(1)` once the first request is there."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(SETTINGS, 0, 0))
        seen = b""
        while f"/{SERVICE}".encode() not in seen and b"\x04\x83" not in seen:
            piece = await reader.read(65536)
            if not piece:
                break
            seen += piece
            if len(seen) > 150:
                break
        writer.write(answer(1))
        try:
            await writer.drain()
            await reader.read()
        except OSError:
            pass
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


OK = b"\x88" + literal(b"content-type", b"application/grpc")
ANSWERS: dict[str, tuple[bytes, set[Code]]] = {
    "bomb": (
        frame(HEADERS, 4, 1, OK + literal(b"b", b"b" * 4000, index=True) + b"\xbe" * 12_000),
        {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED},
    ),
    "too-large": (
        frame(HEADERS, 4, 1, OK) + frame(DATA, 0, 1, b"\0\x7f\xff\xff\xff"),
        {Code.RESOURCE_EXHAUSTED},
    ),
    "compressed": (
        frame(HEADERS, 4, 1, OK) + frame(DATA, 0, 1, b"\1\0\0\0\1x"),
        {Code.INTERNAL},
    ),
    "truncated": (
        frame(HEADERS, 4, 1, OK) + frame(DATA, END_STREAM, 1, b"\0\0\0\0\5x"),
        {Code.INTERNAL},
    ),
    "no-status": (frame(HEADERS, 4, 1, OK) + frame(DATA, END_STREAM, 1, MESSAGE), {Code.UNKNOWN}),
    "http-503": (frame(HEADERS, 5, 1, b"\x08\x03503"), {Code.UNAVAILABLE}),
    # Asked again, on the same connection, where nothing more is said.
    "refused": (frame(RST, 0, 1, struct.pack(">I", 7)), {Code.DEADLINE_EXCEEDED}),
    "garbage": (b"\xff" * 100, {Code.UNAVAILABLE}),
    "push": (frame(5, 4, 1, b"\0\0\0\2" + REQUEST), {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED}),
    "goaway": (frame(GOAWAY, 0, 0, b"\0" * 8), {Code.UNAVAILABLE}),
}


@pytest.mark.parametrize(("answer", "codes"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_the_client_survives_its_server(answer: bytes, codes: set[Code]) -> None:
    server, port = await served(lambda stream: answer)
    async with server, Channel("127.0.0.1", port) as open_:
        # Where no answer comes, the time must run out; where one comes, it must not.
        seconds = 2 if Code.DEADLINE_EXCEEDED in codes else 60
        failed = await failure(caller(open_, "Unary")(Msg(), timeout=seconds))
        assert failed.code in codes


async def test_a_server_that_says_nothing() -> None:
    """Not even its preface: given up long before the call's deadline."""
    talking: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda r, w: talking.append(w), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = Settings(handshake_seconds=0.3)
    async with server, Channel("127.0.0.1", port, settings=settings) as open_:
        failed = await failure(caller(open_, "Unary")(Msg(), timeout=60))
        assert failed.code is Code.UNAVAILABLE
        for writer in talking:
            writer.close()


async def test_nobody_listens() -> None:
    async with Channel("127.0.0.1", 1) as open_:
        with pytest.raises(RpcError) as caught:
            await caller(open_, "Unary")(Msg(), timeout=60)
        assert caught.value.code is Code.UNAVAILABLE


def test_blocks_that_are_none_are_refused() -> None:
    """Our own mistakes too: the shim never reads beyond what it was given."""
    session = Session(Limits(), server=False)
    for block in (b"no-nul", b"name\0value", b"\0", encode_block([("a", "b")] * 300)):
        assert session.request(block, b"", end=True) < 0
    session.close()
