"""A listener that closes answers or refuses whoever has connected, and resets nobody.

The clients connect and ask while the server's loop does not turn, so that all of them are in the
kernel's queue when it closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from kube.component.tls import client_context, server_context
from kube.component.webapp import serve_app
from kube.http.connection import Limits
from kube.http.messages import Pages, Request, Response, text
from kube.http.server import http_server
from kube.rpc.h2.server import h2_server
from kube.rpc.listen import Listen, Site
from kube.rpc.metrics import PrometheusObserver
from tests.component.pki_fixture import Pki

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
CLIENTS = 100
Serve = Callable[[ssl.SSLContext | None], AbstractAsyncContextManager[int]]


async def healthz(_: Request) -> Response:
    return text("ok")


def pages(tls: ssl.SSLContext | None) -> AbstractAsyncContextManager[int]:
    return http_server(Pages({"/healthz": healthz}), "127.0.0.1", 0, tls)


def application(tls: ssl.SSLContext | None) -> AbstractAsyncContextManager[int]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/healthz", answer)
    return serve_app(app, "127.0.0.1", 0, tls)


@asynccontextmanager
async def beside_grpc(tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    assert tls is None
    site = Site(Pages({"/healthz": healthz}), Limits())
    listen = [Listen("127.0.0.1", 0)]
    async with h2_server([], listen, PrometheusObserver("closing"), site=site) as (port,):
        yield port


SERVERS = {"pages": pages, "application": application, "beside gRPC": beside_grpc}


@pytest.mark.parametrize("serve", SERVERS.values(), ids=SERVERS)
async def test_who_waits_in_the_queue_is_answered(serve: Serve) -> None:
    clients = [socket.socket() for _ in range(CLIENTS)]
    try:
        async with asyncio.timeout(60), serve(None) as port:
            for client in clients:  # all in one turn of the loop
                client.settimeout(60)
                client.connect(("127.0.0.1", port))
                client.sendall(GET)
        answers = await asyncio.gather(*(asyncio.to_thread(read, one) for one in clients))
    finally:
        for client in clients:
            client.close()
    assert answers == [b"HTTP/1.1 200"] * CLIENTS


@pytest.mark.parametrize("name", ["pages", "application"])
async def test_also_over_tls(name: str, pki: Pki) -> None:
    """Here the handshake is still to come, too."""
    files = pki.issue("closing")
    clients = [socket.socket() for _ in range(20)]
    try:
        async with asyncio.timeout(60), SERVERS[name](server_context(files)) as port:
            for client in clients:
                client.settimeout(60)
                client.connect(("127.0.0.1", port))
            context = client_context(files)
            asking = [asyncio.to_thread(ask_secured, one, context) for one in clients]
            answers = asyncio.gather(*asking)
            await asyncio.sleep(0)  # the threads start; nobody is accepted yet
        assert await answers == [b"HTTP/1.1 200"] * len(clients)
    finally:
        for client in clients:
            client.close()


def ask_secured(client: socket.socket, context: ssl.SSLContext) -> bytes:
    with context.wrap_socket(client, server_hostname="127.0.0.1") as opened:
        opened.sendall(GET)
        return read(opened)


def read(client: socket.socket) -> bytes:
    """The beginning of an answer; a reset is told as such."""
    try:
        return client.recv(12)
    except ConnectionError as error:
        return repr(error).encode()


async def test_who_comes_later_is_refused() -> None:
    async with pages(None) as port:
        pass
    with pytest.raises(ConnectionRefusedError), contextlib.closing(socket.socket()) as client:
        client.settimeout(60)
        client.connect(("127.0.0.1", port))


async def test_nobody_is_reset_between_open_and_closed() -> None:
    """A client that connects again and again meanwhile is answered or refused, each time."""
    seen: set[bytes] = set()

    async def look(port: int) -> None:
        while b"refused" not in seen:
            seen.add(await asyncio.to_thread(once, port))

    async with pages(None) as port:
        looking = [asyncio.create_task(look(port)) for _ in range(4)]
        while b"HTTP/1.1 200" not in seen:
            await asyncio.sleep(0.01)
    async with asyncio.timeout(60):
        await asyncio.gather(*looking)
    assert seen == {b"HTTP/1.1 200", b"refused"}


def once(port: int) -> bytes:
    with socket.socket() as client:
        client.settimeout(60)
        try:
            client.connect(("127.0.0.1", port))
        except ConnectionRefusedError:
            return b"refused"
        client.sendall(GET)
        return read(client)


async def test_a_unix_socket_too(tmp_path: Path) -> None:
    path = tmp_path / "pages.sock"
    clients = [socket.socket(socket.AF_UNIX) for _ in range(CLIENTS)]
    try:
        async with (
            asyncio.timeout(60),
            http_server(Pages({"/healthz": healthz}), f"unix:{path}", 0, None),
        ):
            for client in clients:
                client.settimeout(60)
                client.connect(str(path))
                client.sendall(GET)
        answers = await asyncio.gather(*(asyncio.to_thread(read, one) for one in clients))
    finally:
        for client in clients:
            client.close()
    assert answers == [b"HTTP/1.1 200"] * CLIENTS
    assert not path.exists()
