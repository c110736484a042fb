"""How connections come and go: a cap on them, servers that leave, calls that move on."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from kube.component.tls import TlsFiles
from kube.rpc.channel import Channel, ChannelOptions
from kube.rpc.dial import open_channel
from kube.rpc.errors import Code
from kube.rpc.h2.binding import why_not
from kube.rpc.h2.connection import Settings
from kube.rpc.h2.server import h2_server
from kube.rpc.listen import Listen
from kube.rpc.names import TRANSPORTS
from kube.rpc.transports import rpc_server
from kube.stubs.etcd.rpc_pb2 import PutRequest as Msg
from tests.component.pki_fixture import Pki
from tests.component.rpc_echo import Recorder, caller, echo_server, failure, methods, until
from tests.component.rpc_frames import GOAWAY, RST, SETTINGS, frame

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"the shim: {why_not()}")

FAST = ChannelOptions(connect_seconds=30.0, backoff_seconds=(0.02, 0.1))


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


@asynccontextmanager
async def opened(
    target: str, tls: TlsFiles | None = None, transport: str = "nghttp2"
) -> AsyncIterator[Channel]:
    channel = open_channel(target, tls.material() if tls else None, FAST, transport)
    try:
        yield channel
    finally:
        await channel.close()


async def test_connections_above_the_cap_are_closed_and_a_freed_place_is_taken(
    seen: Recorder,
) -> None:
    async with echo_server("nghttp2", seen, settings=Settings(max_connections=2)) as port:
        target = f"127.0.0.1:{port}"
        async with opened(target) as one, opened(target) as two, opened(target) as three:
            for channel in (one, two):
                assert (await caller(channel, "Unary")(Msg(key=b"a"), timeout=60)).key == b"a"
            failed = await failure(caller(three, "Unary")(Msg(), timeout=60))
            assert failed.code is Code.UNAVAILABLE
            # Who is in stays in.
            assert (await caller(one, "Unary")(Msg(key=b"b"), timeout=60)).key == b"b"
            await two.close()
            async with asyncio.timeout(60):
                while not three.connected:
                    with suppress(Exception):
                        await three.ready()
            assert (await caller(three, "Unary")(Msg(key=b"c"), timeout=60)).key == b"c"


async def test_a_channel_closed_while_it_dials_fails_its_calls_and_cancels_nobody() -> None:
    """A task that waits for its call must live on: it was not the one that was cancelled."""
    with socket.socket() as silent:
        silent.setblocking(False)
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        channel = open_channel(f"127.0.0.1:{silent.getsockname()[1]}", None, FAST, "nghttp2")
        call = asyncio.create_task(failure(caller(channel, "Unary")(Msg(), timeout=60)))
        connection, _ = await asyncio.get_running_loop().sock_accept(silent)
        with connection:  # it never says that it speaks HTTP/2
            await channel.close()
            assert (await call).code is Code.CANCELLED


async def test_unfinished_handshakes_make_room_for_the_next(seen: Recorder, pki: Pki) -> None:
    """Whoever says nothing is the first to go, the oldest first; nobody has to wait for that."""
    settings = Settings(max_connections=3, handshake_seconds=600.0)
    files = pki.issue("server")
    async with echo_server("nghttp2", seen, tls=files, settings=settings) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        async with asyncio.timeout(60), opened(f"127.0.0.1:{port}", files) as channel:
            assert (await caller(channel, "Unary")(Msg(key=b"a"), timeout=60)).key == b"a"
            assert await silent[0][0].read() == b""
        for _, each in silent:
            each.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_unix_socket_carries_calls_too(
    seen: Recorder, tmp_path: Path, transport: str
) -> None:
    address = f"unix:{tmp_path / 'rpc.sock'}"
    stale = socket.socket(socket.AF_UNIX)  # of a process that was killed
    stale.bind(str(tmp_path / "rpc.sock"))
    stale.close()
    async with (
        rpc_server(transport, methods(seen), [Listen(address, 0)], seen),
        opened(address, transport=transport) as channel,
    ):
        assert (await caller(channel, "Unary")(Msg(key=b"a"), timeout=60)).key == b"a"


# -- servers that do not look at a call


REFUSALS = {
    "refused-stream": frame(RST, 0, 1, struct.pack(">I", 7)) + frame(GOAWAY, 0, 0, b"\0" * 8),
    "goaway-below-it": frame(GOAWAY, 0, 0, b"\0" * 8),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_call_that_no_server_looked_at_moves_to_the_next_connection(
    seen: Recorder, refusal: bytes
) -> None:
    """RFC 9113 8.7: safe to repeat, also a write. The first connection refuses, then the real
    server is behind the same address."""
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            writer.write(frame(SETTINGS, 0, 0))
            said = b""
            while b"Unary" not in said and len(said) < 150:
                said += await reader.read(65536)
            writer.write(refusal)
            await reader.read()
            writer.close()
            return
        onward = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass(reader, onward[1]), _pass(onward[0], writer))

    async with echo_server("nghttp2", seen) as port:
        front = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with front:
            async with opened(f"127.0.0.1:{front.sockets[0].getsockname()[1]}") as channel:
                answer = await caller(channel, "Unary")(Msg(key=b"a"), timeout=60)
                assert (answer.key, connections) == (b"a", 2)
            await until(lambda: not seen.running)
    assert seen.codes == [("Unary", Code.OK)]


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


async def test_no_call_fails_while_servers_replace_each_other(seen: Recorder) -> None:
    """Each server is told to stop while 20 callers call; its successor stands behind the same
    address. What a server took it answers, what came too late goes to the successor."""
    answered, stop, ports = 0, asyncio.Event(), [0]

    async def start() -> AsyncExitStack:
        stack = AsyncExitStack()
        (ports[0],) = await stack.enter_async_context(
            h2_server(methods(seen), [Listen("127.0.0.1", 0)], seen)
        )
        return stack

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection("127.0.0.1", ports[0])
        await asyncio.gather(_pass(reader, onward[1]), _pass(onward[0], writer))

    async def call(channel: Channel) -> None:
        nonlocal answered
        while not stop.is_set():
            await caller(channel, "Unary")(Msg(key=b"slow", value=b"0.005"), timeout=60)
            answered += 1

    running = await start()
    front = await asyncio.start_server(forward, "127.0.0.1", 0)
    target = f"127.0.0.1:{front.sockets[0].getsockname()[1]}"
    try:
        async with front, opened(target) as channel, asyncio.TaskGroup() as callers:
            for _ in range(20):
                callers.create_task(call(channel))
            for _ in range(5):
                at = answered
                await until(lambda at=at: answered > at + 40)
                successor = await start()
                await running.aclose()
                running = successor
            stop.set()
    finally:
        await running.aclose()
    assert {code for _, code in seen.codes} == {Code.OK}
