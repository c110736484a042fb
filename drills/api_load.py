"""The drill's second client: updates of one small object, over REST as kubectl makes them.

Each write is a connection of its own to the address that kubectl uses, so that a master that is
gone is felt as a user would feel it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from drills.events import ApiWrite
from kube.component.tls import client_context_from, load_kubeconfig

NAME = "drill-load"


class ApiWriter:
    """Writes on schedule, whatever became of the last write."""

    def __init__(
        self,
        kubeconfig: Path,
        namespace: str,
        *,
        per_second: float,
        timeout: float,
        record: Callable[[ApiWrite], None],
    ) -> None:
        config = load_kubeconfig(kubeconfig)
        self._context = client_context_from(config.material)
        self._collection = f"{config.server}/api/v1/namespaces/{namespace}/configmaps"
        self._interval = 1 / per_second
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._record = record

    async def run(self) -> None:
        """Until cancelled; the object that was written is removed then."""
        connector = aiohttp.TCPConnector(ssl=self._context, force_close=True, limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=self._timeout) as session:
            try:
                await self._keep_writing(session)
            finally:
                await self._remove(session)

    async def _keep_writing(self, session: aiohttp.ClientSession) -> None:
        loop = asyncio.get_running_loop()
        due, number = loop.time(), 0
        async with asyncio.TaskGroup() as writes:
            while True:
                number += 1
                writes.create_task(self.one(session, number), name="api-write")
                due += self._interval
                await asyncio.sleep(max(0.0, due - loop.time()))

    async def one(self, session: aiohttp.ClientSession, number: int) -> None:
        """One write; what is no 2xx, and what does not answer in time, is a failure."""
        started = time.time()
        body = {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME},
            "data": {"n": str(number)},
        }  # fmt: skip
        try:
            async with session.patch(
                f"{self._collection}/{NAME}?fieldManager=muster-drill&force=true", json=body,
                headers={"Content-Type": "application/apply-patch+yaml"},
            ) as response:  # fmt: skip
                answer = str(response.status)
                ok = response.status < 300
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            answer, ok = str(error) or type(error).__name__, False
        self._record(ApiWrite(started, time.time(), ok, "api", answer))

    async def _remove(self, session: aiohttp.ClientSession) -> None:
        try:
            async with session.delete(f"{self._collection}/{NAME}"):
                return
        except (aiohttp.ClientError, OSError, TimeoutError):
            return
