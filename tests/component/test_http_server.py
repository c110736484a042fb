"""The small HTTP server behind every page: what it serves, and what it does not put up with."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest

from kube.component.tls import client_context, server_context
from kube.http.connection import HttpConnection, Limits
from kube.http.messages import Request, Response, text
from kube.http.server import http_server
from tests.component.pki_fixture import Pki

LIMITS = Limits(
    max_header_bytes=2000,
    max_body_bytes=5000,
    farewell_seconds=0.1,
    max_waiting_bytes=1000,
)
# Where time shall run out. Elsewhere it must not, however slow the machine is.
HASTY = replace(LIMITS, request_seconds=0.5, idle_seconds=0.5, stall_seconds=0.3)


@dataclass
class Pages:
    """Says what it was asked, slowly, badly, or without an end, as the path has it."""

    asked: list[Request] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: Request) -> Response:
        self.asked.append(request)
        match request.path:
            case "/waits":
                await self.go_on.wait()
            case "/fails":
                raise RuntimeError("on purpose")
            case "/breaks":
                return Response(body=self.breaks())
            case "/endless":
                return Response(body=self.endless())
            case "/large":
                return Response(body=b"x" * (32 << 20))
        return text(f"{request.method} {request.path} {len(request.body)}")

    async def breaks(self) -> AsyncIterator[bytes]:
        yield b"begun"
        raise RuntimeError("on purpose")

    async def endless(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"tick\n"
                await asyncio.sleep(0.01)
        finally:
            self.ended.set()


@pytest.fixture
async def pages() -> Pages:
    return Pages()


@pytest.fixture
async def port(pages: Pages) -> AsyncIterator[int]:
    async with http_server(pages, "127.0.0.1", 0, None, LIMITS) as port:
        yield port


@pytest.fixture
async def hasty_port(pages: Pages) -> AsyncIterator[int]:
    async with http_server(pages, "127.0.0.1", 0, None, HASTY) as port:
        yield port


@asynccontextmanager
async def connected(
    port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def said(port: int, data: bytes, seconds: float = 60) -> bytes:
    """Everything the server answers until it closes."""
    async with asyncio.timeout(seconds), connected(port) as (reader, writer):
        writer.write(data)
        try:
            return await reader.read()
        except ConnectionError:
            return b""


def get(path: str = "/", *more: str, close: bool = True) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: x", *more, *(["Connection: close"] if close else [])]
    return "\r\n".join([*lines, "", ""]).encode()


def post(body: bytes, *more: str) -> bytes:
    lines = ["POST /p HTTP/1.1", "Host: x", "Connection: close", *more, "", ""]
    return "\r\n".join(lines).encode() + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_a_page_is_answered(port: int, pages: Pages) -> None:
    answer = await said(port, get("/a%20b?verbose&n=1", "X-Two: a", "X-Two: b"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nGET /a b 0")
    asked = pages.asked[0]
    assert (asked.path, asked.query) == ("/a b", {"verbose": [""], "n": ["1"]})
    assert asked.headers["x-two"] == "a, b"


async def test_requests_follow_each_other_on_a_connection(port: int) -> None:
    """Also when they are sent at once."""
    answer = await said(port, get("/1", close=False) + get("/2", close=False) + get("/3"))
    assert [answer.index(f"GET /{n} 0".encode()) for n in (1, 2, 3)]
    assert answer.count(b"HTTP/1.1 200") == 3


async def test_head_has_no_body(port: int) -> None:
    answer = await said(port, get("/x").replace(b"GET", b"HEAD"))
    assert b"Content-Length: 9\r\n" in answer and answer.endswith(b"\r\n\r\n")


async def test_http_1_0_is_closed_after_its_answer(port: int) -> None:
    assert (await said(port, b"GET / HTTP/1.0\r\n\r\n")).endswith(b"GET / 0")


async def test_bodies_come_by_length_or_in_chunks(port: int) -> None:
    assert (await said(port, post(b"abc", "Content-Length: 3"))).endswith(b"POST /p 3")
    chunks = b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    assert (await said(port, post(chunks, "Transfer-Encoding: chunked"))).endswith(b"POST /p 3")


async def test_a_client_may_ask_whether_to_go_on(port: int) -> None:
    async with asyncio.timeout(60), connected(port) as (reader, writer):
        writer.write(post(b"", "Content-Length: 3", "Expect: 100-continue"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 Continue")
        writer.write(b"abc")
        assert (await reader.read()).endswith(b"POST /p 3")


async def test_an_answer_is_read_after_the_last_word(port: int) -> None:
    """A client may close its side first."""
    async with asyncio.timeout(60), connected(port) as (reader, writer):
        writer.write(get("/x", close=False))
        writer.write_eof()
        assert (await reader.read()).endswith(b"GET /x 0")


async def test_over_tls_with_a_client_certificate(pages: Pages, pki: Pki) -> None:
    files = pki.issue("pages")
    async with http_server(pages, "127.0.0.1", 0, server_context(files), LIMITS) as port:
        async with asyncio.timeout(60), connected(port, client_context(files)) as (reader, writer):
            writer.write(get("/x"))
            assert (await reader.read()).endswith(b"GET /x 0")
        stranger = ssl.create_default_context(cafile=str(files.ca))
        with suppress(OSError, ssl.SSLError):
            async with asyncio.timeout(60), connected(port, stranger) as (reader, writer):
                writer.write(get("/stranger"))
                assert await reader.read() == b""
    assert [request.path for request in pages.asked] == ["/x"]


async def test_a_failing_page_is_an_error_and_the_server_goes_on(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert status(await said(port, get("/fails"))) == 500
        assert b"begun" in await said(port, get("/breaks"))
    assert {record.message.split(" ")[0] for record in caplog.records} >= {"a"}
    assert status(await said(port, get())) == 200


async def test_a_stream_ends_with_its_client(port: int, pages: Pages) -> None:
    async with asyncio.timeout(60):
        async with connected(port) as (reader, writer):
            writer.write(get("/endless"))
            await reader.readuntil(b"tick\n")
        await pages.ended.wait()


async def test_a_stopping_server_ends_streams_and_answers_what_runs(pages: Pages) -> None:
    async with asyncio.timeout(60):
        async with http_server(pages, "127.0.0.1", 0, None, LIMITS) as port:
            streaming, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(get("/endless"))
            await streaming.readuntil(b"tick\n")
            waiting = asyncio.create_task(said(port, get("/waits")))
            idle = asyncio.create_task(said(port, get("/idle", close=False)))
            while len(pages.asked) < 3:
                await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.1, pages.go_on.set)
        assert (await waiting).endswith(b"GET /waits 0")
        assert (await idle).endswith(b"GET /idle 0")
        await streaming.read()  # to its end
        writer.close()
        assert pages.ended.is_set()


# -- peers that mean harm

HOSTILE = {
    "no HTTP": (b"\x00\x01\x02\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a blank in a name": (get("/", "X-A : b"), 400),
    "a control character": (get("/", "X: a\x00b"), 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/3.1": (b"GET / HTTP/3.1\r\nHost: x\r\n\r\n", 505),
    "a tunnel": (b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "an address that is none": (get("http://[::1/"), 400),
    "too many parameters": (get("/?" + "a&" * 200), 400),
    "a huge header": (get("/", "X: " + "a" * 3000), 431),
    "many headers": (get("/", *["X: a"] * 500), 431),
    "an endless first line": (b"GET /" + b"a" * 9000, 431),
    "a large body": (post(b"", "Content-Length: 5001"), 413),
    "a huge length": (post(b"", "Content-Length: " + "9" * 15), 413),
    "a length that is none": (post(b"", "Content-Length: -1"), 400),
    "two lengths": (post(b"abc", "Content-Length: 3", "Content-Length: 4"), 400),
    "length and chunks": (
        post(b"0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"),
        400,
    ),
    "chunks and length": (
        post(b"0\r\n\r\n", "Transfer-Encoding: chunked", "Content-Length: 5"),
        400,
    ),
    "another coding": (post(b"", "Transfer-Encoding: gzip, chunked"), 501),
    "two codings": (
        post(b"", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        501,
    ),
    "many chunks": (post(b"1\r\na\r\n" * 6000, "Transfer-Encoding: chunked"), 413),
    "a chunk without a size": (post(b"x\r\n", "Transfer-Encoding: chunked"), 400),
    "a chunk that does not end": (post(b"1\r\nabc\r\n", "Transfer-Encoding: chunked"), 400),
    "a long chunk extension": (
        post(b"1;" + b"a" * 9000, "Transfer-Encoding: chunked"),
        431,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_is_wrong_is_refused_and_the_connection_closed(
    port: int, pages: Pages, name: str
) -> None:
    data, expected = HOSTILE[name]
    follows = get("/smuggled") if expected != 431 else b""  # those are not whole
    answer = await said(port, data + follows)
    assert status(answer) == expected and b"Connection: close" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert "/smuggled" not in [request.path for request in pages.asked]
    assert status(await said(port, get())) == 200


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET / HT", id="half a line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n", id="half a header"),
        pytest.param(post(b"a", "Content-Length: 9"), id="half a body"),
        pytest.param(get("/", close=False), id="nothing more"),
    ],
)
async def test_who_says_nothing_is_given_up(hasty_port: int, data: bytes) -> None:
    await said(hasty_port, data)


@asynccontextmanager
async def listening(pages: Pages, limits: Limits) -> AsyncIterator[tuple[int, set[HttpConnection]]]:
    """The same protocol, and its connections to look at."""
    known: set[HttpConnection] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpConnection(pages, limits, known), "127.0.0.1", 0)
    async with asyncio.timeout(60), server:
        yield server.sockets[0].getsockname()[1], known


async def test_who_reads_nothing_is_given_up(pages: Pages) -> None:
    loop = asyncio.get_running_loop()
    async with listening(pages, HASTY) as (port, known):
        with socket.socket() as deaf:
            deaf.setblocking(False)
            await loop.sock_connect(deaf, ("127.0.0.1", port))
            await loop.sock_sendall(deaf, get("/large"))
            while not known:
                await asyncio.sleep(0.01)
            while known:
                await asyncio.sleep(0.05)
    assert [request.path for request in pages.asked] == ["/large"]


async def test_what_comes_during_an_answer_is_bounded(pages: Pages) -> None:
    """A client that goes on sending is read no further than the bound."""
    async with listening(pages, LIMITS) as (port, known), connected(port) as (_, writer):
        writer.write(get("/waits", close=False))
        while not pages.asked:
            await asyncio.sleep(0.01)
        (connection,) = known
        writer.write(get("/more", close=False) * 400_000)
        while connection._transport.is_reading():
            await asyncio.sleep(0.01)
        assert len(connection._waiting) <= LIMITS.max_waiting_bytes + (256 << 10)
        connection.abort()


async def test_who_talks_into_a_stream_is_cut_off(port: int, pages: Pages) -> None:
    async with asyncio.timeout(60), connected(port) as (reader, writer):
        writer.write(get("/endless", close=False))
        await reader.readuntil(b"tick\n")
        writer.write(get("/more", close=False) * 1000)
        await pages.ended.wait()
    assert [request.path for request in pages.asked] == ["/endless"]


async def test_fuzzed_requests_leave_the_server_well(hasty_port: int, pages: Pages) -> None:
    """Mutations of valid requests, cut into pieces: an answer or a closed connection, and no more
    than one answer to each request."""
    rng = random.Random(7)
    valid = [
        get("/a", close=False), get("/b"), post(b"abc", "Content-Length: 3"),
        post(b"2\r\nab\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
        get("/c", "Expect: 100-continue"), get("/d", "Upgrade: h2c", "Connection: upgrade"),
    ]  # fmt: skip

    async def attack() -> None:
        data = b"".join(rng.choice(valid) for _ in range(rng.randint(1, 3)))
        mutated = bytearray(data)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(mutated))
            match rng.randrange(4):
                case 0:
                    mutated[at] ^= 1 << rng.randrange(8)
                case 1:
                    del mutated[at : at + rng.randint(1, 9)]
                case 2:
                    mutated[at:at] = rng.choice(
                        (b"\r\n", b"\n", b":", b"\x00", b"Content-Length: 1\r\n")
                    )
                case _:
                    mutated[at:at] = mutated[: rng.randint(1, 30)]
            if not mutated:
                return
        pieces = [bytes(mutated[at : at + 17]) for at in range(0, len(mutated), 17)]
        with suppress(ConnectionError):
            async with connected(hasty_port) as (reader, writer):
                for piece in pieces if rng.random() < 0.3 else [bytes(mutated)]:
                    writer.write(piece)
                    await writer.drain()
                writer.write_eof()
                answers = await reader.read()
                assert answers == b"" or answers.startswith(b"HTTP/1.1 ")

    async with asyncio.timeout(200):
        for _ in range(40):
            await asyncio.gather(*(attack() for _ in range(25)))
    assert status(await said(hasty_port, get())) == 200


_UNPRIVILEGED = """
import asyncio, os
from kube.http.messages import text
from kube.http.server import http_server

async def page(request):
    return text("here")

async def main():
    async with http_server(page, "127.0.0.1", 0, None):
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

asyncio.run(main())
"""


@pytest.mark.root
def test_a_server_without_privileges_ends_cleanly() -> None:
    """Some kernels keep the filter that closes the listener's queue to the privileged."""
    done = subprocess.run(
        [sys.executable, "-c", _UNPRIVILEGED], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
