"""Opens and cuts connections by the thousand: `python tools/soak_rpc.py --connections N --seed S`.

One process holds a server and its clients, over real sockets, half of them with TLS. Each
connection makes calls of every kind and is cut at a random stage: before its preface, between two
bytes of a frame, in the middle of a message, of a stream, of an answer, or kindly. What must hold
at the end: no task, no descriptor and no call is left, and memory has not grown with their number.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import resource
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kube.component.tls import TlsFiles, client_context
from kube.rpc.channel import Channel, ChannelOptions
from kube.rpc.dial import open_channel
from kube.rpc.errors import Code, RpcError
from kube.rpc.h2.connection import Settings
from kube.rpc.h2.server import h2_server
from kube.rpc.h2.session import Limits, Session
from kube.rpc.h2.wire import encode_block
from kube.rpc.listen import Listen
from kube.rpc.service import CallContext, Method, Shape
from kube.stubs.etcd.rpc_pb2 import PutRequest as Msg
from provision.pki.authority import LeafRequest, issue, new_authority

SERVICE = "soak.Echo"
PARALLEL = 50
GROWTH_KIB = 20_000  # allowed from the first half's least to the second's
OPTIONS = ChannelOptions(connect_seconds=30.0, backoff_seconds=(0.01, 0.1))


class Running:
    """Counts calls that the server has begun and not ended."""

    def __init__(self) -> None:
        self.now = self.handled_ = 0
        self._none = asyncio.Event()

    def started(self, method: Method) -> None:
        self.now += 1
        self._none.clear()

    def handled(self, method: Method, code: Code, seconds: float) -> None:
        self.now -= 1
        self.handled_ += 1
        if not self.now:
            self._none.set()

    async def none(self, seconds: float) -> None:
        """Until no call is running."""
        async with asyncio.timeout(seconds):
            if self.now:
                await self._none.wait()

    def received(self, method: Method, size: int) -> None: ...

    def sent(self, method: Method, size: int) -> None: ...


async def _unary(request: Msg, context: CallContext) -> Msg:
    await asyncio.sleep(len(request.key) / 1000)
    return request


async def _down(request: Msg, context: CallContext) -> AsyncIterator[Msg]:
    for _ in range(200):
        yield request
        await asyncio.sleep(0)


async def _up(requests: AsyncIterator[Msg], context: CallContext) -> Msg:
    async for request in requests:
        last = request
    return last


async def _both(requests: AsyncIterator[Msg], context: CallContext) -> AsyncIterator[Msg]:
    async for request in requests:
        yield request


METHODS = (
    Method(SERVICE, "Unary", Shape.UNARY, Msg, _unary),
    Method(SERVICE, "Down", Shape.SERVER_STREAM, Msg, _down),
    Method(SERVICE, "Up", Shape.CLIENT_STREAM, Msg, _up),
    Method(SERVICE, "Both", Shape.BIDI_STREAM, Msg, _both),
)


def pki(directory: Path) -> TlsFiles:
    now = datetime.now(UTC)
    authority = new_authority("soak-ca", now)
    request = LeafRequest("soak", server=True, client=True, addresses=("127.0.0.1",))
    pair = issue(authority, request, now)
    files = TlsFiles(directory / "tls.crt", directory / "tls.key", directory / "ca.crt")
    files.cert.write_bytes(pair.cert)
    files.key.write_bytes(pair.key)
    files.ca.write_bytes(authority.cert)
    return files


# -- one connection's life


async def by_channel(rng: random.Random, port: int, tls: TlsFiles | None) -> None:
    """A proper client: a few calls at once, then it goes, perhaps in the middle of them."""
    channel = open_channel(f"127.0.0.1:{port}", tls.material() if tls else None, OPTIONS)
    calls = [asyncio.create_task(one_call(rng, channel)) for _ in range(rng.randint(1, 6))]
    if rng.random() < 0.6:
        await asyncio.wait(calls, timeout=rng.random() * 0.1)
    else:
        await asyncio.wait(calls)
    if rng.random() < 0.3:
        for call in calls:
            call.cancel()
    await channel.close()
    await asyncio.gather(*calls, return_exceptions=True)


async def one_call(rng: random.Random, channel: Channel) -> None:
    how = (Msg.SerializeToString, Msg.FromString)
    message = Msg(key=b"k" * rng.randint(0, 20), value=b"v" * rng.choice((0, 100, 100_000)))
    timeout = rng.choice((None, None, 0.001, 0.05))
    with suppress(RpcError):
        match rng.randrange(4):
            case 0:
                await channel.unary_unary(f"/{SERVICE}/Unary", *how)(message, timeout=timeout)
            case 1:
                stop = rng.randint(1, 200)
                down = channel.unary_stream(f"/{SERVICE}/Down", *how)(message, timeout=timeout)
                async for _ in down:
                    stop -= 1
                    if not stop:
                        down.cancel()
                        break
            case 2:
                up = channel.stream_unary(f"/{SERVICE}/Up", *how)
                await up([message] * rng.randint(1, 20), timeout=timeout)
            case 3:
                both = channel.stream_stream(f"/{SERVICE}/Both", *how)(timeout=timeout)
                for _ in range(rng.randint(1, 20)):
                    await both.write(message)
                    await both.read()
                if rng.random() < 0.5:
                    await both.done_writing()
                both.cancel()


REQUEST = encode_block(
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", f"/{SERVICE}/Down"),
     ("te", "trailers"), ("content-type", "application/grpc")]
)  # fmt: skip


async def by_bytes(rng: random.Random, port: int, tls: ssl.SSLContext | None) -> None:
    """A client that says the beginning of something and is gone, with or without a goodbye."""
    said = b""
    if rng.random() < 0.9:
        session = Session(Limits(), server=False)
        for _ in range(rng.randint(1, 5)):
            session.request(REQUEST, Msg(value=b"v" * 1000).SerializeToString(), end=True)
        said = session.pull()[0]
        session.close()
        said = said[: rng.randint(0, len(said))]
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    except OSError:
        return
    try:
        writer.write(said)
        await writer.drain()
        async with asyncio.timeout(rng.random() * 0.02):
            await reader.read(rng.choice((1, 100, 65536)))
    except (OSError, TimeoutError):
        pass
    finally:
        if rng.random() < 0.5:
            writer.transport.abort()
        else:
            writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def half_a_handshake(rng: random.Random, port: int) -> None:
    """TCP to the TLS port, and a few bytes that are no TLS, or none."""
    with suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(rng.randbytes(rng.randint(0, 20)))
        await asyncio.sleep(rng.random() * 0.02)
        writer.transport.abort()
        await writer.wait_closed()


# -- the whole


def memory_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only, no Path for each


async def soak(connections: int, seed: int, files: TlsFiles) -> str:
    """What is wrong, or nothing."""
    running = Running()
    context = client_context(files)
    tasks_before, descriptors_before = len(asyncio.all_tasks()), descriptors()
    listen = [Listen("127.0.0.1", 0), Listen("127.0.0.1", 0, files)]
    settings = Settings(handshake_seconds=5.0)
    async with h2_server(METHODS, listen, running, settings=settings) as (plain, secure):

        async def life(number: int) -> None:
            rng = random.Random(f"{seed}/{number}")
            tls = rng.random() < 0.5
            port = secure if tls else plain
            match rng.randrange(5):
                case 0 | 1:
                    await by_channel(rng, port, files if tls else None)
                case 2 | 3:
                    await by_bytes(rng, port, context if tls else None)
                case _:
                    await half_a_handshake(rng, secure)

        samples: list[int] = []
        numbers = iter(range(connections))

        async def worker() -> None:
            for number in numbers:
                await life(number)
                if number % (connections // 8) == connections // 8 - 1:
                    gc.collect()
                    samples.append(memory_kib())

        async with asyncio.TaskGroup() as workers:
            for _ in range(PARALLEL):
                workers.create_task(worker())
        await running.none(30)
    gc.collect()
    await asyncio.sleep(0.1)
    # The allocator's high-water mark takes a while to be reached: the second half counts.
    middle = len(samples) // 2
    grown = min(samples[middle:]) - min(samples[:middle])
    tasks, open_ = len(asyncio.all_tasks()), descriptors()
    print(
        f"{connections} connections, {running.handled_} calls; memory by eighths {samples} KiB, "
        f"second half to first {grown:+} KiB; tasks {tasks_before} -> {tasks}, "
        f"descriptors {descriptors_before} -> {open_}"
    )
    if tasks > tasks_before:
        return f"tasks are left: {asyncio.all_tasks()}"
    if open_ > descriptors_before:
        return "descriptors are left"
    return f"memory grew by {grown} KiB" if grown > GROWTH_KIB else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        wrong = asyncio.run(soak(arguments.connections, arguments.seed, pki(Path(scratch))))
    if wrong:
        print(f"seed {arguments.seed}: {wrong}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
