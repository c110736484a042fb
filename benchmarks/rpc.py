"""`python -m benchmarks.rpc`: processor time per call of both transports, in one run.

Servers are processes of their own, pinned to nothing; rounds alternate between the variants so
that all meet the same disturbances. Server side: h2load sends raw gRPC frames, in the clear and
over TLS (it has no client certificate; our own client's rounds do mutual TLS). A stream is one
call with a hundred answers. Where uvloop can be imported, nghttp2 is measured on it, too.
Medians, µs of CPU per call, or per message of a stream.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kube.component.tls import TlsFiles
from kube.rpc.channel import Channel
from kube.rpc.dial import open_channel
from kube.rpc.errors import Code
from kube.rpc.listen import Listen
from kube.rpc.names import GRPCIO, NGHTTP2, TRANSPORTS
from kube.rpc.service import CallContext, Method, Shape
from kube.rpc.transports import rpc_server
from kube.stubs.etcd.rpc_pb2 import PutRequest as Msg
from provision.pki.authority import LeafRequest, issue, new_authority

SERVICE = "bench.Echo"
ANSWERS = 100  # of one stream
REQUEST = Msg(key=b"k" * 20, value=b"v" * 100)
UVLOOP = f"{NGHTTP2}+uvloop"


@dataclass(frozen=True)
class Load:
    """What h2load does: connections x streams, of calls to one method."""

    connections: int
    streams: int
    tls: bool = False
    method: str = "Unary"

    @property
    def name(self) -> str:
        what = f"{self.connections}x{self.streams}"
        return what + (" TLS" if self.tls else "") + (" stream" if self.method == "Stream" else "")


LOADS = (
    Load(1, 1), Load(16, 1), Load(1, 100), Load(100, 1),
    Load(1, 1, tls=True), Load(16, 1, tls=True), Load(1, 100, tls=True),
    Load(1, 1, method="Stream"), Load(16, 1, method="Stream"),
    Load(1, 1, tls=True, method="Stream"),
)  # fmt: skip


class Silent:
    def started(self, method: Method) -> None: ...
    def handled(self, method: Method, code: Code, seconds: float) -> None: ...
    def received(self, method: Method, size: int) -> None: ...
    def sent(self, method: Method, size: int) -> None: ...


async def _echo(request: Msg, context: CallContext) -> Msg:
    return request


async def _many(request: Msg, context: CallContext) -> AsyncIterator[Msg]:
    for _ in range(ANSWERS):
        yield request


METHODS = (
    Method(SERVICE, "Unary", Shape.UNARY, Msg, _echo),
    Method(SERVICE, "Stream", Shape.SERVER_STREAM, Msg, _many),
)


def tls_files(directory: Path) -> TlsFiles:
    return TlsFiles(directory / "tls.crt", directory / "tls.key", directory / "ca.crt")


def write_pki(directory: Path) -> None:
    now = datetime.now(UTC)
    authority = new_authority("bench-ca", now)
    pair = issue(
        authority, LeafRequest("bench", server=True, client=True, addresses=("127.0.0.1",)), now
    )
    files = tls_files(directory)
    files.cert.write_bytes(pair.cert)
    files.key.write_bytes(pair.key)
    files.ca.write_bytes(authority.cert)


async def serve(transport: str, directory: Path) -> None:
    """The measured process: says its ports, and its CPU time whenever a line comes in."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()

    def heard() -> None:
        line = sys.stdin.readline()
        if not line:
            loop.remove_reader(sys.stdin)  # readable for ever, and nothing more to read
        lines.put_nowait(line)

    loop.add_reader(sys.stdin, heard)
    listen = [
        Listen("127.0.0.1", 0),
        Listen("127.0.0.1", 0, tls_files(directory), client_auth=False),
    ]
    async with rpc_server(transport, METHODS, listen, Silent()) as ports:
        print(*ports, flush=True)
        while await lines.get():
            print(cpu_seconds(), flush=True)


def run(variant: str, main: Callable[[], object]) -> object:
    """On the event loop that the variant names."""
    factory = None
    if variant == UVLOOP:
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())  # type: ignore[arg-type]  # a coroutine of any result


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Server:
    def __init__(self, variant: str, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.rpc", "--serve", variant, "--pki", str(directory)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdin is not None and self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        self.port, self.tls_port = map(int, self._out.readline().split())

    def cpu(self) -> float:
        self._in.write("\n")
        self._in.flush()
        return float(self._out.readline())

    def stop(self) -> None:
        self._in.close()
        self.process.wait(timeout=10)


def h2load(server: Server, load: Load, body: Path, calls: int) -> None:
    scheme, port = ("https", server.tls_port) if load.tls else ("http", server.port)
    done = subprocess.run(
        ["h2load", f"-n{calls}", f"-c{load.connections}", f"-m{load.streams}", "-d", str(body),
         "-H", "content-type: application/grpc", "-H", "te: trailers",
         f"{scheme}://127.0.0.1:{port}/{SERVICE}/{load.method}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"{calls} succeeded, 0 failed" in done.stdout, done.stdout


def variants() -> tuple[str, ...]:
    return (*TRANSPORTS, UVLOOP) if importlib.util.find_spec("uvloop") else TRANSPORTS


def servers(rounds: int, calls: int, directory: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[float]]] = {name: {} for name in variants()}
    running = {name: Server(name, directory) for name in variants()}
    message = REQUEST.SerializeToString()
    body = directory / "body"
    body.write_bytes(b"\0" + struct.pack(">I", len(message)) + message)
    try:
        for round_ in range(rounds + 1):
            for load in LOADS:
                count = calls if load.method == "Unary" else max(calls // 20, load.connections)
                items = count if load.method == "Unary" else count * ANSWERS
                for name, server in running.items():
                    before = server.cpu()
                    h2load(server, load, body, count)
                    spent = (server.cpu() - before) / items * 1e6
                    if round_:  # the first one warms up
                        found[name].setdefault(load.name, []).append(spent)
    finally:
        for server in running.values():
            server.stop()
    return _medians(found)


async def _client_round(
    variant: str, target: str, tls: TlsFiles | None, calls: int, parallel: int
) -> float:
    transport = GRPCIO if variant == GRPCIO else NGHTTP2
    channel = open_channel(target, tls.material() if tls else None, transport=transport)
    try:
        return await _calls(channel, calls, parallel)
    finally:
        await channel.close()


async def _calls(channel: Channel, calls: int, parallel: int) -> float:
    how = (Msg.SerializeToString, Msg.FromString)
    call = channel.unary_unary(f"/{SERVICE}/Unary", *how)
    await call(REQUEST, timeout=10)

    async def caller() -> None:
        for _ in range(calls // parallel):
            await call(REQUEST, timeout=10)

    before = cpu_seconds()
    await asyncio.gather(*(caller() for _ in range(parallel)))
    return (cpu_seconds() - before) / calls * 1e6


def clients(rounds: int, calls: int, directory: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[float]]] = {name: {} for name in variants()}
    server = Server(NGHTTP2, directory)
    ways = {"": (server.port, None), " mTLS": (server.tls_port, tls_files(directory))}
    try:
        for round_ in range(rounds + 1):
            for parallel in (1, 16, 100):
                for way, (port, tls) in ways.items():
                    for name in variants():
                        spent = _one_round(name, f"127.0.0.1:{port}", tls, calls, parallel)
                        if round_:
                            found[name].setdefault(f"par {parallel}{way}", []).append(spent)
    finally:
        server.stop()
    return _medians(found)


def _one_round(variant: str, target: str, tls: TlsFiles | None, calls: int, parallel: int) -> float:
    spent = run(variant, lambda: _client_round(variant, target, tls, calls, parallel))
    assert isinstance(spent, float)
    return spent


def _medians(found: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    return {
        name: {load: round(statistics.median(values), 1) for load, values in loads.items()}
        for name, loads in found.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=variants(), help=argparse.SUPPRESS)
    parser.add_argument("--pki", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=2000)
    arguments = parser.parse_args(argv)
    if arguments.serve:
        transport = GRPCIO if arguments.serve == GRPCIO else NGHTTP2
        run(arguments.serve, lambda: serve(transport, arguments.pki))
        return 0
    if shutil.which("h2load") is None:
        raise SystemExit("h2load is missing: apt-get install nghttp2-client")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        write_pki(directory)
        result: dict[str, object] = {
            "unit": "µs of CPU per unary call, or per message of a stream; median",
            "server": servers(arguments.rounds, arguments.calls, directory),
            "client": clients(arguments.rounds, arguments.calls, directory),
        }
    result["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(result, indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
