"""The aiohttp servers' bounds: what half requests, bodies and silent clients may take."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from kube.component.tls import client_context, server_context
from kube.component.webapp import serve_app
from kube.component.webhandler import WebLimits, be_patient
from tests.component.pki_fixture import Pki

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
# Each deadline alone: the others are out of reach.
FAR = {
    "header_seconds": 600.0,
    "body_seconds": 600.0,
    "idle_seconds": 600.0,
    "stall_seconds": 600.0,
}


async def echo(request: web.Request) -> web.StreamResponse:
    if request.path == "/endless":
        response = web.StreamResponse()
        if "patient" in request.query:
            be_patient(request)
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"x" * 65536)
        return response
    return web.Response(text=f"{len(request.path_qs)} {len(await request.read())}")


@asynccontextmanager
async def served(pki: Pki | None = None, **limits: float) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", echo)
    tls = server_context(pki.issue("web")) if pki else None
    wanted = WebLimits(**{**FAR, **limits})  # type: ignore[arg-type]  # one of them is an int
    async with serve_app(app, "127.0.0.1", 0, tls, limits=wanted) as port:
        yield port


async def said(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(60):
            writer.write(data)
            with suppress(ConnectionError):
                return await reader.read()
            return b""
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("deadline", "data"),
    [
        ("header_seconds", b""),
        ("header_seconds", GET + b"X: "),
        ("idle_seconds", GET + b"\r\n" + GET + b"X: "),
        ("body_seconds", POST + b"half"),
        ("idle_seconds", GET + b"\r\n"),
    ],
)
async def test_each_part_has_its_deadline(deadline: str, data: bytes) -> None:
    async with served(**{deadline: 0.3}) as port:
        answer = await said(port, data)
        assert answer.count(b"HTTP/1.1 200") == data.count(b"\r\n\r\n") - data.count(b"POST")


async def test_a_slow_body_is_read_within_its_deadline() -> None:
    async with served(header_seconds=0.3, idle_seconds=0.3) as port:
        assert (await said(port, POST + b"0123456789")).endswith(b"1 10")


async def test_heads_may_be_long_but_not_all_of_them_at_once() -> None:
    limits = {"head_bytes": 300_000, "free_head_bytes": 1000, "all_head_bytes": 500_000}
    async with served(**limits) as port:
        long = b"GET /?" + b"a" * 200_000
        whole = long + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert (await said(port, whole)).endswith(b"200002 0")
        assert (await said(port, b"GET /?" + b"a" * 400_000)).startswith(b"HTTP/1.1 431 ")
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in held:
            writer.write(long)
        async with asyncio.timeout(60):  # until both are held
            while not (await said(port, long)).startswith(b"HTTP/1.1 431 "):
                await asyncio.sleep(0.01)
        assert b" 200 " in await said(port, GET + b"Connection: close\r\n\r\n")
        for _, writer in held:
            writer.close()
        async with asyncio.timeout(60):  # what they held is free again
            while b" 200 " not in await said(port, whole):
                await asyncio.sleep(0.01)


async def test_who_reads_nothing_is_given_up_unless_a_person_may_have_paused(pki: Pki) -> None:
    async with served(pki, stall_seconds=0.3) as port:
        context = client_context(pki.issue("web"))
        ended = []
        for path in ("/endless", "/endless?patient"):
            with socket.create_connection(("127.0.0.1", port)) as raw:
                raw.settimeout(60)
                opened = await asyncio.to_thread(
                    context.wrap_socket, raw, server_hostname="127.0.0.1"
                )
                with opened:
                    opened.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                    ended.append(await _ends(opened, 60 if not ended else 2))
        assert ended == [True, False]


async def _ends(opened: socket.socket, seconds: float) -> bool:
    """Whether the server ends it, without reading."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                await asyncio.sleep(0.02)
            return True
    return False
