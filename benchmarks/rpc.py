"""`python -m benchmarks.rpc`: processor time per call of both transports, in one run.

Servers are processes of their own, pinned to nothing; rounds alternate between the transports
so that both meet the same disturbances. Server side: h2load sends raw gRPC frames. Client
side: each client calls the same nghttp2 server from one process. Medians, µs of CPU per call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc.aio

from muster.etcd.rpc_pb2 import PutRequest as Msg
from muster.rpc.errors import Code
from muster.rpc.h2.client import Channel
from muster.rpc.listen import Listen
from muster.rpc.service import CallContext, Method, Shape
from muster.rpc.transports import TRANSPORTS, rpc_server

PATH = "/bench.Echo/Unary"
LOADS = ((1, 1), (16, 1), (1, 100), (100, 1))  # connections x streams


class Silent:
    def started(self, method: Method) -> None: ...
    def handled(self, method: Method, code: Code, seconds: float) -> None: ...
    def received(self, method: Method, size: int) -> None: ...
    def sent(self, method: Method, size: int) -> None: ...


async def _echo(request: Msg, context: CallContext) -> Msg:
    return request


async def serve(transport: str) -> None:
    """The measured process: says its port, and its CPU time whenever a line comes in."""
    method = Method("bench.Echo", "Unary", Shape.UNARY, Msg, _echo)
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop.add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.readline()))
    async with rpc_server(transport, [method], [Listen("127.0.0.1", 0)], Silent()) as ports:
        print(ports[0], flush=True)
        while await lines.get():
            print(cpu_seconds(), flush=True)
    loop.remove_reader(sys.stdin)


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Server:
    def __init__(self, transport: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.rpc", "--serve", transport],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdin is not None and self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        self.port = int(self._out.readline())

    def cpu(self) -> float:
        self._in.write("\n")
        self._in.flush()
        return float(self._out.readline())

    def stop(self) -> None:
        self._in.close()
        self.process.wait(timeout=10)


def h2load(port: int, body: Path, calls: int, connections: int, streams: int) -> None:
    done = subprocess.run(
        ["h2load", f"-n{calls}", f"-c{connections}", f"-m{streams}", "-d", str(body),
         "-H", "content-type: application/grpc", "-H", "te: trailers",
         f"http://127.0.0.1:{port}{PATH}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"{calls} succeeded, 0 failed" in done.stdout, done.stdout


def servers(rounds: int, calls: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[float]]] = {name: {} for name in TRANSPORTS}
    running = {name: Server(name) for name in TRANSPORTS}
    with tempfile.TemporaryDirectory() as directory:
        message = Msg(key=b"k" * 20, value=b"v" * 100).SerializeToString()
        body = Path(directory) / "body"
        body.write_bytes(b"\0" + struct.pack(">I", len(message)) + message)
        try:
            for round_ in range(rounds + 1):
                for connections, streams in LOADS:
                    for name, server in running.items():
                        before = server.cpu()
                        h2load(server.port, body, calls, connections, streams)
                        spent = (server.cpu() - before) / calls * 1e6
                        if round_:  # the first one warms up
                            found[name].setdefault(f"{connections}x{streams}", []).append(spent)
        finally:
            for server in running.values():
                server.stop()
    return _medians(found)


async def _client_round(client: str, port: int, calls: int, parallel: int) -> float:
    how = (Msg.SerializeToString, Msg.FromString)
    channel: Any = (
        Channel("127.0.0.1", port)
        if client == "nghttp2"
        else grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    )
    request = Msg(key=b"k" * 20, value=b"v" * 100)
    async with channel:
        call = channel.unary_unary(PATH, *how)
        await call(request, timeout=10)

        async def caller() -> None:
            for _ in range(calls // parallel):
                await call(request, timeout=10)

        before = cpu_seconds()
        await asyncio.gather(*(caller() for _ in range(parallel)))
        return (cpu_seconds() - before) / calls * 1e6


def clients(rounds: int, calls: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[float]]] = {name: {} for name in TRANSPORTS}
    server = Server("nghttp2")
    try:
        for round_ in range(rounds + 1):
            for parallel in (1, 16, 100):
                for name in TRANSPORTS:
                    spent = asyncio.run(_client_round(name, server.port, calls, parallel))
                    if round_:
                        found[name].setdefault(f"par {parallel}", []).append(spent)
    finally:
        server.stop()
    return _medians(found)


def _medians(found: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    return {
        name: {load: round(statistics.median(values), 1) for load, values in loads.items()}
        for name, loads in found.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=TRANSPORTS, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=2000)
    arguments = parser.parse_args(argv)
    if arguments.serve:
        asyncio.run(serve(arguments.serve))
        return 0
    if shutil.which("h2load") is None:
        raise SystemExit("h2load is missing: apt-get install nghttp2-client")
    began = time.monotonic()
    result = {
        "unit": "µs of CPU per unary call, median",
        "server": servers(arguments.rounds, arguments.calls),
        "client": clients(arguments.rounds, arguments.calls),
        "seconds": 0.0,
    }
    result["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(result, indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
