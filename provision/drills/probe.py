"""The drill's own client: an open loop of requests to a Service's NodePort.

Each request is a connection of its own, so that kube-proxy's rules balance it anew, and each
starts on schedule whether or not earlier ones have come back (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence

from provision.drills.timeline import Request


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
                answer = await _get(address, self._port)
            ok = True
        except (OSError, TimeoutError, ValueError) as error:
            answer, ok = str(error) or type(error).__name__, False
        request = Request(started, time.time(), ok, name, answer)
        self._record(request)
        return request


async def _get(host: str, port: int) -> str:
    """The body of `GET /`. Raises ValueError for any answer but 200."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        raw = await reader.read(65536)
        while chunk := await reader.read(65536):
            raw += chunk
    finally:
        writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].decode(errors="replace")
    if " 200 " not in status + " ":
        raise ValueError(f"unexpected answer: {status or 'nothing'}")
    return body.decode(errors="replace").strip()
