"""A port of gRPC that serves pages, too: who speaks what is told apart, and pages over HTTP/2 are
bounded as calls are."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest

from kube.component.tls import TlsFiles, client_context
from kube.http.connection import Limits as HttpLimits
from kube.http.messages import Request, Response, text
from kube.rpc.errors import RpcError
from kube.rpc.h2.binding import why_not
from kube.rpc.h2.connection import Settings
from kube.rpc.h2.server import h2_server
from kube.rpc.h2.session import Limits
from kube.rpc.listen import Listen, Site
from kube.stubs.etcd.rpc_pb2 import PutRequest as Msg
from tests.component.pki_fixture import Pki
from tests.component.rpc_echo import SERVICE, Recorder, caller, channel, methods
from tests.component.rpc_frames import (
    ACK,
    CALM,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    MAGIC,
    RST,
    SETTINGS,
    frame,
    literal,
)

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"the shim: {why_not()}")

HTTP = HttpLimits(max_body_bytes=300_000)
SETTINGS_FOR_TEST = Settings(
    limits=Limits(max_received_bytes=500_000, max_unsent_bytes=1 << 20),
    handshake_seconds=30.0,
    stall_seconds=30.0,
    max_connections=4,
)
# Where time shall run out. Elsewhere it must not, however slow the machine is.
HASTY = (
    replace(HTTP, request_seconds=1.0, stall_seconds=0.5),
    replace(SETTINGS_FOR_TEST, handshake_seconds=0.5, stall_seconds=0.3),
)
GET = b"GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass
class Pages:
    asked: list[Request] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: Request) -> Response:
        self.asked.append(request)
        if request.path == "/endless":
            return Response(body=self.endless())
        if request.path == "/large":
            return Response(body=b"x" * (2 << 20))
        return text(f"{request.method} {request.path} {len(request.body)}")

    async def endless(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 10_000
                await asyncio.sleep(0)
        finally:
            self.ended.set()


@pytest.fixture
async def pages() -> Pages:
    return Pages()


@asynccontextmanager
async def serving(
    pages: Pages, tls: TlsFiles | None = None, *, hasty: bool = False
) -> AsyncIterator[int]:
    seen = Recorder()
    listen = [Listen("127.0.0.1", 0, tls)]
    http, settings = HASTY if hasty else (HTTP, SETTINGS_FOR_TEST)
    async with h2_server(
        methods(seen), listen, seen, site=Site(pages, http), settings=settings
    ) as ports:
        yield ports[0]


@pytest.fixture
async def port(pages: Pages) -> AsyncIterator[int]:
    """Calls must still be served afterwards."""
    async with serving(pages) as port:
        yield port
        await serves_calls(port)


@pytest.fixture
async def hasty_port(pages: Pages) -> AsyncIterator[int]:
    async with serving(pages, hasty=True) as port:
        yield port
        await serves_calls(port)


async def serves_calls(port: int) -> None:
    """At once, or when those who hung up just now count no more."""
    async with asyncio.timeout(60):
        while True:
            async with channel("nghttp2", port) as honest:
                with suppress(RpcError):
                    assert await caller(honest, "Unary")(Msg(key=b"ok")) == Msg(key=b"ok")
                    return
            await asyncio.sleep(0.01)


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def rest(self) -> bytes:
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    async def frame(self) -> tuple[int, int, int, bytes]:
        head = await self.reader.readexactly(9)
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        return kind, flags, stream, await self.reader.readexactly(int.from_bytes(head[:3], "big"))

    async def until(self, wanted: int, stream: int) -> bytes:
        """The payload of the next such frame of the stream."""
        while True:
            kind, _, of, payload = await self.frame()
            if (kind, of) == (wanted, stream):
                return payload


@asynccontextmanager
async def connected(
    port: int, tls: ssl.SSLContext | None = None, *, h2: bool = False
) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", port, ssl=tls))
    try:
        if h2:
            # The server's own settings count once they are acknowledged.
            client.writer.write(MAGIC + frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0))
        async with asyncio.timeout(60):
            yield client
    finally:
        client.writer.close()
        with suppress(OSError):
            await client.writer.wait_closed()


def headers(path: bytes, *more: tuple[bytes, bytes], method: bytes = b"\x83") -> bytes:
    """HPACK; 0x83 is POST, 0x82 GET."""
    fields = [(b":authority", b"a"), (b":path", path), *more]
    return method + b"\x86" + b"".join(literal(name, value) for name, value in fields)


def open_(stream: int, block: bytes, *, end: bool) -> bytes:
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


async def curl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "curl", "-s", "--max-time", "60", *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.decode()


async def test_calls_and_pages_share_a_port(port: int, pages: Pages) -> None:
    url = f"http://127.0.0.1:{port}/page"
    shown = ["-w", " %{http_version} %{http_code}"]
    assert await curl(*shown, url) == "GET /page 0 1.1 200"
    assert await curl(*shown, "--http2-prior-knowledge", url) == "GET /page 0 2 200"
    assert await curl(*shown, "--http2-prior-knowledge", "-d", "abc", url) == "POST /page 3 2 200"
    assert await curl("--http2-prior-knowledge", "-I", "-o", "/dev/null", *shown, url) == " 2 200"
    async with channel("grpcio", port) as calls:
        assert await caller(calls, "Unary")(Msg(key=b"x"), timeout=60) == Msg(key=b"x")
    assert all(request.peer.endswith(tuple("0123456789")) for request in pages.asked)


async def test_tls_says_who_speaks_what(pages: Pages, pki: Pki) -> None:
    files = pki.issue("pages")
    async with serving(pages, files) as port:
        for offered, expected in (
            (["h2", "http/1.1"], "h2"),
            (["http/1.1"], "http/1.1"),
            ([], None),
        ):
            context = client_context(files)
            if offered:
                context.set_alpn_protocols(offered)
            async with connected(port, context, h2=expected == "h2") as client:
                tls = client.writer.get_extra_info("ssl_object")
                assert tls.selected_alpn_protocol() == expected
                if expected == "h2":
                    block = headers(b"/page", method=b"\x82")
                    client.writer.write(open_(1, block, end=True))
                    assert await client.until(DATA, 1) == b"GET /page 0"
                else:
                    client.writer.write(GET)
                    assert (await client.rest()).endswith(b"GET /page 0")
        assert all(request.peer_certificate() for request in pages.asked[:1])
        # HTTP/2 that was not agreed on is none.
        async with connected(port, client_context(files), h2=True) as client:
            assert (await client.rest()).startswith(b"HTTP/1.1 505")


async def test_a_slow_preface_is_one_all_the_same(port: int) -> None:
    async with connected(port) as client:
        for at in range(len(MAGIC)):
            client.writer.write(MAGIC[at : at + 1])
            await client.writer.drain()
            await asyncio.sleep(0)
        client.writer.write(frame(SETTINGS, 0, 0))
        assert (await client.frame())[0] == SETTINGS


@pytest.mark.parametrize("data", [b"", b"P", MAGIC[:13]])
async def test_who_does_not_say_what_it_speaks_is_given_up(hasty_port: int, data: bytes) -> None:
    async with connected(hasty_port) as client:
        client.writer.write(data)
        assert await client.rest() == b""


async def test_what_is_neither_is_told(port: int) -> None:
    async with connected(port) as client:
        client.writer.write(b"PRINT 1\r\n\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")


async def test_all_connections_count_against_one_cap(port: int) -> None:
    async with connected(port), connected(port) as one, connected(port, h2=True):
        one.writer.write(GET.replace(b"close", b"keep-alive"))
        await one.reader.readuntil(b"GET /page 0")
        async with connected(port) as last:
            last.writer.write(GET)
            async with connected(port) as refused:
                refused.writer.write(GET)
                assert await refused.rest() == b""
            assert (await last.rest()).endswith(b"GET /page 0")


async def test_a_large_body_is_refused(port: int, pages: Pages) -> None:
    async with connected(port, h2=True) as client:
        client.writer.write(open_(1, headers(b"/page"), end=False))
        for _ in range(20):
            client.writer.write(frame(DATA, 0, 1, b"x" * 16_000))
        assert b"413" in await client.until(HEADERS, 1)
        client.writer.write(open_(3, headers(b"/page"), end=True))
        assert await client.until(DATA, 3) == b"POST /page 0"
    assert [len(request.body) for request in pages.asked] == [0]


async def test_many_bodies_at_once_are_bounded(port: int, pages: Pages) -> None:
    """Each is below its limit; together they are not."""
    async with connected(port, h2=True) as client:
        for stream in (1, 3, 5):
            client.writer.write(open_(stream, headers(b"/page"), end=False))
            for _ in range(12):
                client.writer.write(frame(DATA, 0, stream, b"x" * 16_000))
        assert await client.until(RST, 5) == struct.pack(">I", CALM)
        client.writer.write(frame(DATA, END_STREAM, 1) + frame(DATA, END_STREAM, 3))
        assert await client.until(DATA, 1) == b"POST /page 192000"
        assert await client.until(DATA, 3) == b"POST /page 192000"
        # What they held is free again.
        client.writer.write(open_(7, headers(b"/page"), end=False))
        for _ in range(12):
            client.writer.write(frame(DATA, 0, 7, b"x" * 16_000))
        client.writer.write(frame(DATA, END_STREAM, 7))
        assert await client.until(DATA, 7) == b"POST /page 192000"


async def test_a_body_that_does_not_come_is_given_up(hasty_port: int) -> None:
    async with connected(hasty_port, h2=True) as client:
        client.writer.write(open_(1, headers(b"/page"), end=False))
        assert b"408" in await client.until(HEADERS, 1)


async def test_a_length_that_is_wrong_is_reset(port: int, pages: Pages) -> None:
    async with connected(port, h2=True) as client:
        block = headers(b"/page", (b"content-length", b"5"))
        client.writer.write(open_(1, block, end=False) + frame(DATA, END_STREAM, 1, b"abc"))
        await client.until(RST, 1)
    assert pages.asked == []


async def test_the_last_content_type_says_whether_it_is_a_call(port: int) -> None:
    """The shim and Python must not disagree about how its body is cut."""
    page, call = (b"content-type", b"text/html"), (b"content-type", b"application/grpc")
    path = f"/{SERVICE}/Unary".encode()
    async with connected(port, h2=True) as client:
        client.writer.write(
            open_(1, headers(path, call, page), end=False)
            + frame(DATA, END_STREAM, 1, b"\0\0\0\0\0")
            + open_(3, headers(path, page, call, (b"te", b"trailers")), end=False)
            + frame(DATA, END_STREAM, 3, b"\0\0\0\0\0")
        )
        assert await client.until(DATA, 1) == b"POST " + path + b" 5"
        assert await client.until(DATA, 3) == b"\0\0\0\0\0"


async def test_an_endless_page_ends_with_its_stream(port: int, pages: Pages) -> None:
    """And waits for a reader meanwhile: the windows are never opened."""
    async with connected(port, h2=True) as client:
        client.writer.write(open_(1, headers(b"/endless"), end=True))
        await client.until(DATA, 1)
        assert not pages.ended.is_set()
        client.writer.write(frame(RST, 0, 1, struct.pack(">I", 8)))
        await pages.ended.wait()


async def test_large_pages_that_nobody_reads_are_dropped(hasty_port: int) -> None:
    """One above the bound waits in full, the next ones are dropped after a while."""
    async with connected(hasty_port, h2=True) as client:
        for stream in (1, 3):
            client.writer.write(open_(stream, headers(b"/large"), end=True))
        assert await client.until(RST, 3) == struct.pack(">I", CALM)


async def test_a_stopping_server_ends_endless_pages(pages: Pages) -> None:
    async with serving(pages) as port, connected(port, h2=True) as two, connected(port) as one:
        two.writer.write(open_(1, headers(b"/endless"), end=True))
        await two.until(DATA, 1)
        one.writer.write(GET.replace(b"/page", b"/endless"))
        await one.reader.readuntil(b"x" * 100)
        undecided = await asyncio.open_connection("127.0.0.1", port)
    assert pages.ended.is_set()
    undecided[1].close()
