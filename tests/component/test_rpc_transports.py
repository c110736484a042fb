"""Every server with every client: grpcio is the reference, and nobody can tell ours from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from kube.rpc.errors import Code
from kube.rpc.h2.binding import why_not
from kube.stubs.etcd.rpc_pb2 import PutRequest as Msg
from tests.component.pki_fixture import Pki
from tests.component.rpc_echo import (
    Recorder,
    caller,
    channel,
    collect,
    echo_server,
    failure,
    settled,
    until,
)

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"the shim: {why_not()}")
PAIRS = [(s, c) for s in ("nghttp2", "grpcio") for c in ("nghttp2", "grpcio")]


@dataclass
class Pair:
    seen: Recorder
    channel: Any
    server: str
    client: str

    def __getattr__(self, name: str) -> Any:
        return caller(self.channel, name)


@pytest.fixture(params=PAIRS, ids=lambda pair: f"{pair[0]}-server-{pair[1]}-client")
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    server, client = request.param
    seen = Recorder()
    async with echo_server(server, seen) as port, channel(client, port) as open_:
        yield Pair(seen, open_, server, client)


async def test_unary(pair: Pair) -> None:
    request = Msg(key=b"k", value=b"v" * 1000)
    assert await pair.Unary(request) == request
    assert await pair.Unary(Msg()) == Msg()
    await until(lambda: pair.seen.codes == [("Unary", Code.OK)] * 2)
    assert pair.seen.contexts[0].peer.startswith("ipv4:127.0.0.1:")


async def test_three_megabytes_both_ways(pair: Pair) -> None:
    request = Msg(key=b"k", value=bytes(range(256)) * 12_000)
    assert await pair.Unary(request) == request


async def test_many_at_once(pair: Pair) -> None:
    requests = [Msg(key=str(i).encode(), value=b"x" * i) for i in range(400)]
    assert await asyncio.gather(*(pair.Unary(r, timeout=30) for r in requests)) == requests


async def test_metadata(pair: Pair) -> None:
    sent = (("plain", "some text"), ("raw-bin", b"\x00\x01\xff"), ("empty-bin", b""))
    await pair.Unary(Msg(), metadata=sent)
    got = pair.seen.contexts[0].metadata
    assert {name: got[name] for name, _ in sent} == dict(sent)
    assert not {"te", "content-type", ":path", "grpc-timeout"} & set(got)


async def test_errors_carry_code_message_and_trailers(pair: Pair) -> None:
    failed = await failure(pair.Unary(Msg(key=b"fail")))
    assert (failed.code, failed.message) == (Code.NOT_FOUND, "nothing hére: 100 %\n")
    assert failed.trailers["detail"] == "plain"
    assert failed.trailers["detail-bin"] == b"\x00\xff\x01"


async def test_a_crash_is_unknown(pair: Pair) -> None:
    failed = await failure(pair.Unary(Msg(key=b"crash")))
    assert failed.code is Code.UNKNOWN
    assert "boom" in failed.message


async def test_unknown_method(pair: Pair) -> None:
    assert (await failure(pair.Missing(Msg()))).code is Code.UNIMPLEMENTED


async def test_deadline(pair: Pair) -> None:
    await pair.Unary(Msg(), timeout=60)  # connecting shall not take from the short deadline
    while len(pair.seen.contexts) < 2:  # on a slow machine it may be over before it is heard
        failed = await failure(pair.Unary(Msg(key=b"hang"), timeout=0.2))
        assert failed.code is Code.DEADLINE_EXCEEDED
    await until(pair.seen.handler_ended.is_set)


async def test_a_deadline_that_is_met(pair: Pair) -> None:
    await pair.Unary(Msg(key=b"slow", value=b"0.05"), timeout=60)
    await asyncio.gather(*(pair.Unary(Msg(), timeout=0.0001 + i) for i in range(30, 60)))


async def test_cancellation_stops_the_handler(pair: Pair) -> None:
    call = pair.Unary(Msg(key=b"hang"))
    waiting = asyncio.ensure_future(failure(call))
    await until(lambda: pair.seen.contexts)
    call.cancel()
    assert (await waiting).code is Code.CANCELLED
    await until(pair.seen.handler_ended.is_set)
    await until(lambda: pair.seen.running == 0)


async def test_a_message_above_the_limit(pair: Pair) -> None:
    failed = await failure(pair.Unary(Msg(value=b"x" * (5 << 20))))
    assert failed.code is Code.RESOURCE_EXHAUSTED
    assert await pair.Unary(Msg(key=b"after")) == Msg(key=b"after")


@pytest.mark.parametrize(("count", "size"), [(0, 0), (500, 10), (40, 200_000)])
async def test_server_stream(pair: Pair, count: int, size: int) -> None:
    got = await collect(pair.ServerStream(Msg(value=f"{count} {size}".encode())))
    assert [message.key for message in got] == [str(i).encode() for i in range(count)]
    assert all(len(message.value) == size for message in got)


async def test_a_stream_may_give_several_answers_at_once_and_encoded_ones(pair: Pair) -> None:
    got = await collect(pair.ServerStream(Msg(key=b"at once", value=b"1 1")))
    assert [message.key for message in got] == [b"message", b"encoded", b"0"]


async def test_a_stream_that_fails_after_messages(pair: Pair) -> None:
    got = []

    async def run() -> None:
        async for message in pair.ServerStream(Msg(key=b"fail", value=b"3 10")):
            got.append(message)

    failed = await failure(run())
    assert (failed.code, len(got)) == (Code.NOT_FOUND, 3)
    assert failed.trailers["detail-bin"] == b"\x00\xff\x01"


async def test_headers_come_before_the_first_message(pair: Pair) -> None:
    call = pair.ServerStream(Msg(key=b"head", value=b"1 1"))
    async with asyncio.timeout(60):
        await call.initial_metadata()
    call.cancel()


async def test_a_stream_that_is_left_is_stopped(pair: Pair) -> None:
    call = pair.ServerStream(Msg(value=b"100000 100"))
    async for _ in call:
        break
    call.cancel()
    await until(pair.seen.handler_ended.is_set)
    await until(lambda: pair.seen.running == 0)


async def test_client_stream(pair: Pair) -> None:
    async def requests() -> AsyncIterator[Msg]:
        for _ in range(50):
            yield Msg(value=b"x" * 40_000)

    assert (await pair.ClientStream(requests())).value == b"2000000"
    assert (await pair.ClientStream(iter(()))).value == b"0"


async def test_an_answer_before_the_last_request(pair: Pair) -> None:
    async def requests() -> AsyncIterator[Msg]:
        yield Msg(key=b"enough")
        await asyncio.sleep(60)

    async with asyncio.timeout(60):
        assert (await pair.ClientStream(requests())).value == b"early"


async def test_bidi_ping_pong_and_half_close(pair: Pair) -> None:
    call = pair.Bidi()
    for number in range(50):
        await call.write(Msg(key=str(number).encode()))
        assert (await call.read()).key == str(number).encode()
    await call.done_writing()
    assert await call.read() in (None, grpc.aio.EOF)


async def test_bidi_error_while_the_client_may_still_write(pair: Pair) -> None:
    call = pair.Bidi()
    await call.write(Msg(key=b"fail"))
    assert (await failure(call.read())).code is Code.NOT_FOUND
    await until(lambda: pair.seen.running == 0)


async def test_bidi_pipelined(pair: Pair) -> None:
    async def requests() -> AsyncIterator[Msg]:
        for number in range(300):
            yield Msg(key=str(number).encode(), value=b"p" * 3000)

    got = await collect(pair.Bidi(requests()))
    assert [message.key for message in got] == [str(i).encode() for i in range(300)]


def read_ahead(transport: str) -> int:
    """What may be on its way to who reads nothing. grpcio widens its window as it sees fit, more so
    on a busy machine."""
    return (128 if transport == "grpcio" else 20) << 20


async def test_a_slow_reader_holds_its_writer_back(pair: Pair) -> None:
    """The handler may not run ahead of a client that does not read."""
    call = pair.ServerStream(Msg(value=b"5000 100000"))
    assert (await call.read()).key == b"0"
    assert await settled(lambda: pair.seen.produced) * 100_000 < read_ahead(pair.client)
    call.cancel()
    await until(lambda: pair.seen.running == 0)


async def test_a_slow_handler_holds_its_client_back(pair: Pair) -> None:
    call = pair.Bidi()
    await call.write(Msg(key=b"stall"))
    written = 0

    async def write() -> None:
        nonlocal written
        while True:
            await call.write(Msg(value=b"w" * 100_000))
            written += 1

    writing = asyncio.create_task(write())
    assert await settled(lambda: written) * 100_000 < read_ahead(pair.server)
    writing.cancel()
    call.cancel()
    await asyncio.wait([writing])
    await until(lambda: pair.seen.running == 0)


async def test_gzip_is_refused_with_the_right_code() -> None:
    seen = Recorder()
    async with echo_server("nghttp2", seen) as port, channel("grpcio", port) as open_:
        call = caller(open_, "Unary")
        failed = await failure(call(Msg(value=b"z" * 5000), compression=grpc.Compression.Gzip))
        assert failed.code is Code.UNIMPLEMENTED
        assert await call(Msg()) == Msg()


@pytest.mark.parametrize(("server", "client"), PAIRS)
async def test_mutual_tls(pki: Pki, server: str, client: str) -> None:
    """The handler learns who calls; without a certificate nobody gets in."""
    identity = pki.issue("rpc-server")
    mine = pki.issue("rpc-client", organizations=("team",))
    seen = Recorder()
    async with echo_server(server, seen, tls=identity) as port:
        async with channel(client, port, tls=mine) as open_:
            await caller(open_, "Unary")(Msg(key=b"x" * 100_000))
        pem = seen.certificates[0]
        assert pem is not None and pem.strip() == mine.cert.read_bytes().strip()
        async with channel(client, port) as plain:
            failed = await failure(caller(plain, "Unary")(Msg(), timeout=60))
            assert failed.code is Code.UNAVAILABLE


@pytest.mark.parametrize("client", ["nghttp2", "grpcio"])
async def test_a_stopping_server_lets_running_calls_end(client: str) -> None:
    seen = Recorder()
    server = echo_server("nghttp2", seen)
    port = await server.__aenter__()
    async with channel(client, port) as open_:
        call = caller(open_, "Unary")
        slow = asyncio.ensure_future(call(Msg(key=b"slow", value=b"0.2")))
        hung = asyncio.ensure_future(failure(call(Msg(key=b"hang"))))
        await until(lambda: len(seen.contexts) == 2)
        stopping = asyncio.create_task(server.__aexit__(None, None, None))
        assert (await slow).key == b"slow"
        assert (await hung).code is Code.UNAVAILABLE
        await stopping
        assert (await failure(call(Msg(), timeout=60))).code is Code.UNAVAILABLE
    assert seen.running == 0
