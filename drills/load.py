"""The drill's own client: an open loop of requests to a Service's NodePort.

Each request is a connection of its own, so that kube-proxy's rules balance it anew, and each
starts on schedule whether or not earlier ones have come back (no coordinated omission).

No source port is used twice within a run, nor soon after it. A node's connection tracking keeps a
request that a dead endpoint never answered for two minutes (nf_conntrack_tcp_timeout_syn_sent), and
sends a new one from the same port there too: the drill would count its own past as a failure.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import time
from collections.abc import Callable, Iterator, Sequence

from drills.events import Request

SOURCE_PORTS = range(32768, 61000)  # those that Linux too gives to clients


def source_ports(now: float, per_second: float) -> Iterator[int]:
    """All of SOURCE_PORTS, round and round, from a place that moves on with the time. Pure.

    At `per_second` requests a run never comes back to the ports of one that ended just before.
    """
    start = int(now * per_second) % len(SOURCE_PORTS)
    return itertools.cycle([*SOURCE_PORTS[start:], *SOURCE_PORTS[:start]])


class Prober:
    """Asks each of `nodes` in turn; every finished request goes to `record`."""

    def __init__(
        self,
        nodes: Sequence[tuple[str, str]],
        port: int,
        *,
        per_second: float,
        timeout: float,
        record: Callable[[Request], None],
    ) -> None:
        self._nodes = itertools.cycle(nodes)
        self._port = port
        self._source_ports = source_ports(time.time(), per_second)
        self._interval = 1 / per_second
        self._timeout = timeout
        self._record = record

    async def run(self) -> None:
        """Send requests until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        async with asyncio.TaskGroup() as requests:
            while True:
                name, address = next(self._nodes)
                requests.create_task(self.one(name, address), name="probe")
                due += self._interval
                await asyncio.sleep(max(0.0, due - loop.time()))

    async def one(self, name: str, address: str) -> Request:
        """One request; a refusal, a reset, a timeout and a status other than 200 are failures."""
        started = time.time()
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._get(address)
            ok = True
        except (OSError, TimeoutError, ValueError) as error:
            answer, ok = str(error) or type(error).__name__, False
        request = Request(started, time.time(), ok, name, answer)
        self._record(request)
        return request

    async def _get(self, host: str) -> str:
        reader, writer = await self._connect(host)
        try:
            return await _body(host, reader, writer)
        finally:
            writer.close()

    async def _connect(self, host: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for port in self._source_ports:
            try:
                source = ("0.0.0.0", port)  # noqa: S104 - where to call from, as any client
                return await asyncio.open_connection(host, self._port, local_addr=source)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        raise AssertionError("ports come round and round")


async def _body(host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """The answer to `GET /`. Raises ValueError for any but 200."""
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    raw = await reader.read()
    head, _, body = raw.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].decode(errors="replace")
    if " 200 " not in status + " ":
        raise ValueError(f"unexpected answer: {status or 'nothing'}")
    return body.decode(errors="replace").strip()
