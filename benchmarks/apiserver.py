"""`python -m benchmarks.apiserver`: what one api-server spends on a request, and its size.

Starts one member of the store and one api-server on loopback without TLS, in a directory of its
own, and speaks REST and gRPC on one connection each, one request at a time. A figure is the
server's CPU time a request in the best of many short runs: neighbours on the machine only ever add
to it.
`--tree` measures another checkout with the same script, so that two are compared in the same hour.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import msgspec

from kube.api.core import Pod
from kube.api.meta import ObjectMeta
from kube.client.client import Client
from kube.machinery import scheme

STORE, PEER, REST, RPC = 23790, 23800, 26443, 26444
URL = f"http://127.0.0.1:{REST}"
PODS = "/api/v1/namespaces/default/pods"
READY_SECONDS = 60
WATCHERS = 20
# Requests in one run, of which the best one counts.
BURST = 25


def spawn(tree: Path, log: Path, *args: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    with log.open("wb") as out:
        command = [sys.executable, "-m", *args]
        return subprocess.Popen(command, cwd=tree, env=environment, stdout=out, stderr=out)


def cpu_seconds(pid: int) -> float:
    """Of all its threads; the kernel's own account, in nanoseconds."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def pss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def pod(name: str) -> bytes:
    container = {
        "name": "c",
        "image": "registry.example/app:1",
        "ports": [{"containerPort": 80}],
        "env": [{"name": f"E{i}", "value": "v"} for i in range(5)],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }
    spec = {"containers": [container], "nodeSelector": {"a": "b"}}
    meta = {"name": name, "labels": {"app": "bench"}}
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    return json.dumps(made).encode()


async def ready(session: aiohttp.ClientSession) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        try:
            async with session.get(f"{URL}/api/v1/namespaces/default") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.02)
    raise SystemExit("the api-server did not become ready")


class Bench:
    def __init__(self, session: aiohttp.ClientSession, pid: int) -> None:
        self._session = session
        self._pid = pid
        self.figures: dict[str, float] = {}

    async def call(self, method: str, path: str, body: bytes = b"", media: str = "json") -> bytes:
        headers = {"Content-Type": f"application/{media}"} if body else {}
        async with self._session.request(
            method, URL + path, data=body or None, headers=headers
        ) as answer:
            data = await answer.read()
            if answer.status >= 300:
                raise SystemExit(f"{method} {path}: {answer.status} {data[:300]!r}")
            return data

    async def spent(self, name: str, count: int, run: Callable[[int], Awaitable[object]]) -> None:
        """CPU microseconds a request."""
        size = min(BURST, count)
        found = []
        for start in range(0, count - size + 1, size):
            began = cpu_seconds(self._pid)
            for number in range(start, start + size):
                await run(number)
            found.append((cpu_seconds(self._pid) - began) / size)
        self.figures[f"{name}, µs"] = min(found) * 1e6

    async def run(self, pods: int, count: int) -> None:
        merge = "merge-patch+json"
        await self.spent("create", pods, lambda n: self.call("POST", PODS, pod(f"p{n}")))
        await self.spent("get", count, lambda n: self.call("GET", f"{PODS}/p{n % pods}"))
        objects = [await self.call("GET", f"{PODS}/p{n % pods}") for n in range(min(count, pods))]

        async def update(number: int) -> None:
            value = json.loads(objects[number])
            value["metadata"]["labels"]["turn"] = "1"
            await self.call("PUT", f"{PODS}/p{number}", json.dumps(value).encode())

        def label(key: str, kind: str) -> Callable[[int], Awaitable[object]]:
            def patch(n: int) -> Awaitable[object]:
                body = json.dumps({"metadata": {"labels": {key: str(n)}}}).encode()
                return self.call("PATCH", f"{PODS}/p{n % pods}", body, kind)

            return patch

        await self.spent("update", len(objects), update)
        await self.spent("merge patch", count, label("a", merge))
        await self.spent("strategic patch", count, label("b", "strategic-merge-patch+json"))
        await self.spent(f"list of {pods}", 20, lambda _: self.call("GET", PODS))
        await self.watched(count, label("c", merge))
        await self.components(count)

    async def components(self, count: int) -> None:
        """The same over gRPC, as components speak."""
        async with Client.connect([f"127.0.0.1:{RPC}"]) as client:
            made = scheme.decode(Pod, pod("x"))

            def named(number: int) -> Pod:
                meta = ObjectMeta(name=f"g{number}", namespace="default", labels={"app": "rpc"})
                return msgspec.structs.replace(made, metadata=meta)

            async def update(number: int) -> None:
                labels = {"app": "rpc", "turn": "1"}
                meta = msgspec.structs.replace(objects[number].metadata, labels=labels)
                await client.update(msgspec.structs.replace(objects[number], metadata=meta))

            await self.spent("gRPC create", count, lambda n: client.create(named(n)))
            await self.spent("gRPC get", count, lambda n: client.get(Pod, f"g{n}", "default"))
            objects = [await client.get(Pod, f"g{n}", "default") for n in range(count)]
            await self.spent("gRPC update", count, update)
            await self.spent(f"gRPC list of {count}", 20, lambda _: client.list(
                Pod, "default", label_selector="app=rpc"))  # fmt: skip

    async def watched(self, count: int, patch: Callable[[int], Awaitable[object]]) -> None:
        """Merge patches that each of WATCHERS watches hears of."""

        async def watch() -> None:
            seen = 0
            query = "?watch=1&resourceVersion=" + version
            async with self._session.get(URL + PODS + query) as answer:
                async for _ in answer.content:
                    seen += 1
                    if seen == count:
                        return

        version = json.loads(await self.call("GET", f"{PODS}?limit=1"))["metadata"][
            "resourceVersion"
        ]
        began = cpu_seconds(self._pid)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WATCHERS):
                tasks.create_task(watch())
            await asyncio.sleep(0.5)
            for number in range(count):
                await patch(number)
        spent = (cpu_seconds(self._pid) - began) / count * 1e6
        self.figures[f"merge patch heard by {WATCHERS} watches, µs"] = spent


async def measure(tree: Path, place: Path, pods: int, count: int) -> dict[str, float]:
    client, peer = f"http://127.0.0.1:{STORE}", f"http://127.0.0.1:{PEER}"
    store = spawn(
        tree, place / "store.log", "master.kvstore", "--name", "s1",
        "--data-dir", str(place / "data"), "--listen-client-urls", client,
        "--advertise-client-urls", client, "--listen-peer-urls", peer,
        "--initial-advertise-peer-urls", peer, "--initial-cluster", f"s1={peer}",
        "--listen-metrics-urls", "",
    )  # fmt: skip
    await asyncio.sleep(2)
    began = time.monotonic()
    server = spawn(
        tree, place / "apiserver.log", "master.apiserver", "--etcd-servers", client,
        "--bind-address", "127.0.0.1", "--secure-port", str(REST), "--grpc-port", str(RPC),
    )  # fmt: skip
    try:
        connector = aiohttp.TCPConnector(limit=WATCHERS + 1)
        async with aiohttp.ClientSession(connector=connector) as session:
            await ready(session)
            bench = Bench(session, server.pid)
            bench.figures["start to ready, s"] = time.monotonic() - began
            bench.figures["CPU until ready, s"] = cpu_seconds(server.pid)
            bench.figures["PSS at rest, MB"] = pss_mb(server.pid)
            await bench.run(pods, count)
            bench.figures[f"PSS with {pods} pods, MB"] = pss_mb(server.pid)
            return bench.figures
    finally:
        for process in (server, store):
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.apiserver", description=__doc__)
    parser.add_argument("--tree", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--pods", type=int, default=3000)
    parser.add_argument("--count", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as place:
        figures = asyncio.run(measure(args.tree, Path(place), args.pods, args.count))
    for name, value in figures.items():
        sys.stdout.write(f"{name:45} {value:10.1f}\n")


if __name__ == "__main__":
    main()
